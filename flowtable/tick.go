package flowtable

// TickOf converts nanoseconds of CLOCK_MONOTONIC to ticks (about 1.05 ms), the
// unit of every 32-bit time in the table.
func TickOf(ns int64) uint32 { return uint32(ns >> TickShift) }

// Ticks converts seconds to ticks, rounded up; for timeouts.
func Ticks(seconds uint32) uint32 {
	return uint32((uint64(seconds)*1_000_000_000 + 1<<TickShift - 1) >> TickShift)
}

// Since returns the ticks from then to now. It is negative when then lies in
// the future (XDP stamped a packet after the caller read the clock) and right
// across the wrap of the counter as long as the two are within 26 days.
func Since(now, then uint32) int32 { return int32(now - then) }
