package ownership

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cohort/flowtable"
	"cohort/packet"
)

// BenchmarkLongestCall is the longest that one call keeps a packet waiting while a
// node ages so many connections, in CPU time of the thread: the machine may be busy.
func BenchmarkLongestCall(b *testing.B) {
	for _, flows := range []int{1 << 18, 1 << 20, 1 << 22} {
		b.Run(fmt.Sprint(flows), func(b *testing.B) {
			runtime.LockOSThread() // the time is the thread's
			defer runtime.UnlockOSThread()
			c, now := large(b, flows)
			longest, all := time.Duration(0), time.Duration(0)
			timed := func(call func()) {
				began := cpuTime()
				call()
				took := cpuTime() - began
				longest, all = max(longest, took), all+took
			}
			for b.Loop() {
				for range 100 { // a second of a node
					now += 10 * ms
					timed(func() { c.Tick(now) })
					for more := true; more; {
						timed(func() { more = c.Work(now) })
					}
				}
			}
			b.ReportMetric(float64(longest.Microseconds()), "longest-us")
			b.ReportMetric(all.Seconds()/float64(b.N)*100, "%CPU")
		})
	}
}

func cpuTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return time.Duration(t.Nano())
}

// large returns the core of the only member, which owns so many connections.
func large(b *testing.B, flows int) (*Core, int64) {
	c := newCluster(b, 1)
	n := c.nodes[1]
	var seed [10]uint64
	for i := range seed {
		seed[i] = c.rng.Uint64() | 1
	}
	table, err := flowtable.New(flowtable.NewMemory(flows, 1), seed)
	if err != nil {
		b.Fatal(err)
	}
	n.core.table = table
	now := flowtable.TickOf(c.now)
	for i := range flows {
		k := packet.FlowKey{Dst: packet.Addr{192, 0, 2, 1}, SrcPort: 1024, DstPort: 53, Proto: packet.ProtoUDP}
		binary.BigEndian.PutUint32(k.Src[:], 10<<24+uint32(i))
		slot, err := table.InsertFlow(flowtable.FlowSlot{
			Key: [2]packet.FlowKey{k, k.Reverse()}, Iface: [2]uint8{1, 2}, NextHop: [2]uint16{1, 2}, Timeout: 3600, Created: now, Gen: 1,
		})
		if err != nil {
			b.Fatal(err)
		}
		for d := range 2 {
			table.Flow(slot).SetSeenAt(d, now)
		}
	}
	return n.core, c.now
}
