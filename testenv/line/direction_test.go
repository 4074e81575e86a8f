package line

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// numbered is an IPv4 frame of a size that carries its number, with a TOS.
func numbered(n uint32, size int, tos byte) []byte {
	b := make([]byte, size)
	b[12], b[13], b[14], b[15] = 8, 0, 0x45, tos
	binary.BigEndian.PutUint32(b[size-4:], n)
	return b
}

func number(b []byte) uint32 { return binary.BigEndian.Uint32(b[len(b)-4:]) }

// arrival is a frame that came out.
type arrival struct {
	n  uint32
	at int64
}

// play sends n frames of a size, one each interval, and takes what comes out.
func play(d *direction, n, size int, every int64) (out []arrival) {
	drain := func(until int64) {
		for at, ok := d.next(); ok && at <= until; at, ok = d.next() {
			for b := d.take(at); b != nil; b = d.take(at) {
				out = append(out, arrival{number(b), at})
			}
		}
	}
	for i := range n {
		now := int64(i) * every
		drain(now)
		d.offer(now, numbered(uint32(i), size, 0))
	}
	drain(1 << 60)
	return out
}

func with(seed uint64, f Fault) *direction {
	d := newDirection(seed)
	d.set(0, f)
	return d
}

func TestDirection_PerfectCableCarriesAllAtOnce(t *testing.T) {
	out := play(with(1, Fault{}), 1000, 100, 1000)
	for i, a := range out {
		if a.n != uint32(i) || a.at != int64(i)*1000 {
			t.Fatalf("arrival %d is frame %d at %d", i, a.n, a.at)
		}
	}
	if len(out) != 1000 {
		t.Errorf("%d of 1000 frames arrived", len(out))
	}
}

func TestDirection_LosesRepeatsAndReordersInMeasure(t *testing.T) {
	const n = 100_000
	f := Fault{Loss: 10, Duplicate: 10, Delay: time.Millisecond, Jitter: 5 * time.Millisecond}
	d := with(7, f)
	out := play(d, n, 100, 100_000)
	c := d.count
	for name, got := range map[string]uint64{"lost": c.Lost, "repeated": c.Duplicated} {
		if got < n/100*8/10 || got > n/100*12/10 {
			t.Errorf("%s: %d of %d frames, want about 1 %%", name, got, n)
		}
	}
	if uint64(len(out)) != n-c.Lost+c.Duplicated || c.Delivered != uint64(len(out)) {
		t.Errorf("%d arrived, %+v", len(out), c)
	}
	if c.Overtaken < n/2 { // a frame each 0.1 ms, jitter 5 ms
		t.Errorf("only %d frames were overtaken", c.Overtaken)
	}
	for _, a := range out {
		if late := a.at - int64(a.n)*100_000; late < 1e6 || late >= 6e6 {
			t.Fatalf("frame %d took %d ns, want 1 to 6 ms", a.n, late)
		}
	}
}

func TestDirection_SameSeedSameFate(t *testing.T) {
	f := Fault{Loss: 100, Duplicate: 100, Jitter: 5 * time.Millisecond}
	first := play(with(3, f), 2000, 100, 50_000)
	if !slices.Equal(first, play(with(3, f), 2000, 100, 50_000)) {
		t.Error("two runs with one seed differ")
	}
	if slices.Equal(first, play(with(4, f), 2000, 100, 50_000)) {
		t.Error("two seeds give one run")
	}
	// The same frames are lost when other things change.
	f.Jitter, f.Duplicate = 0, 0
	lost := func(out []arrival) (l []uint32) {
		for i := range uint32(2000) {
			if !slices.ContainsFunc(out, func(a arrival) bool { return a.n == i }) {
				l = append(l, i)
			}
		}
		return l
	}
	if !slices.Equal(lost(first), lost(play(with(3, f), 2000, 100, 50_000))) {
		t.Error("without jitter other frames are lost")
	}
}

func TestDirection_SwallowsWhatIsTooLarge(t *testing.T) {
	d := with(1, Fault{MTU: 1000})
	if out := play(d, 10, 1000+etherHeader, 1); len(out) != 10 {
		t.Errorf("%d of 10 frames of exactly the MTU crossed", len(out))
	}
	if out := play(d, 10, 1001+etherHeader, 1); len(out) != 0 || d.count.TooBig != 10 {
		t.Errorf("%d larger ones crossed, %+v", len(out), d.count)
	}
}

func TestDirection_CutAndFlapping(t *testing.T) {
	if d := with(1, Fault{Cut: true}); len(play(d, 10, 100, 1)) != 0 || d.count.Down != 10 {
		t.Errorf("a cut line carries frames: %+v", d.count)
	}
	d := with(1, Fault{Up: 30 * time.Millisecond, Down: 10 * time.Millisecond})
	out := play(d, 80, 100, 1e6)
	for _, a := range out {
		if a.n%40 >= 30 {
			t.Errorf("frame %d crossed while the line was down", a.n)
		}
	}
	if len(out) != 60 {
		t.Errorf("%d frames crossed, want 60 of 80", len(out))
	}
}

func TestDirection_RateAndQueue(t *testing.T) {
	// 1000 bytes each millisecond into half of that: half of it is lost, the rest
	// comes out in order at the rate, and no later than the queue is long.
	d := with(1, Fault{Rate: 500_000, Queue: 10})
	out := play(d, 2000, 1000, 1e6)
	if len(out) < 1000 || len(out) > 1015 || d.count.Full != uint64(2000-len(out)) {
		t.Errorf("%d frames crossed, %d had no room", len(out), d.count.Full)
	}
	for i, a := range out {
		if i > 0 && (a.at-out[i-1].at < 2e6 || a.n <= out[i-1].n) {
			t.Fatalf("frame %d at %d after frame %d at %d", a.n, a.at, out[i-1].n, out[i-1].at)
		}
		if a.at-int64(a.n)*1e6 > 24e6 {
			t.Fatalf("frame %d waited %d ns", a.n, a.at-int64(a.n)*1e6)
		}
	}
}

func TestDirection_ClassesOvertakeDataInAFullQueue(t *testing.T) {
	for _, classes := range []bool{false, true} {
		d := with(1, Fault{Rate: 500_000, Queue: 10, Classes: classes})
		lost, longest := 0, int64(0)
		out := map[uint32]int64{}
		for ms := range int64(2000) {
			d.offer(ms*1e6, numbered(uint32(ms), 1000, 0))
			if ms%100 == 0 {
				d.offer(ms*1e6, numbered(uint32(1e6+ms), 100, 0xc0))
			}
			for b := d.take(ms * 1e6); b != nil; b = d.take(ms * 1e6) {
				out[number(b)] = ms * 1e6
			}
		}
		for ms := int64(100); ms < 1900; ms += 100 {
			at, ok := out[uint32(1e6+ms)]
			if !ok {
				lost++
				continue
			}
			longest = max(longest, at-ms*1e6)
		}
		if classes && (lost > 0 || longest > 4e6) {
			t.Errorf("with classes %d control frames are lost, the slowest takes %d ns", lost, longest)
		}
		if !classes && lost == 0 && longest < 10e6 {
			t.Error("without classes the full queue holds up nobody: the test tests nothing")
		}
	}
}
