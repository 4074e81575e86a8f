package spray

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

// ipv4 is the smallest frame a tc test run takes as IPv4.
func ipv4() []byte {
	frame := make([]byte, 60)
	frame[12], frame[13], frame[14] = 0x08, 0x00, 0x45
	return frame
}

func newTest(t *testing.T) *Sprayer {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run sends packets through a program and returns its last verdict.
func run(t *testing.T, p *ebpf.Program, packets uint32) uint32 {
	t.Helper()
	verdict, err := p.Run(&ebpf.RunOptions{Data: ipv4(), Repeat: packets})
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func TestSpray_IsUniformOverTheLiveMarks(t *testing.T) {
	s := newTest(t)
	const packets = 40_000
	for _, live := range [][]uint32{{1, 2, 3, 4}, {2, 63}, {7}} {
		before := counts(t, s)
		if err := s.Set(live); err != nil {
			t.Fatal(err)
		}
		if verdict := run(t, s.objs.Spray, packets); verdict != 0 {
			t.Fatalf("verdict %d, want TC_ACT_OK", verdict)
		}
		after := counts(t, s)
		want := float64(packets) / float64(len(live))
		chi2, total := 0.0, uint64(0)
		for _, mark := range live {
			got := after[mark] - before[mark]
			chi2 += (float64(got) - want) * (float64(got) - want) / want
			total += got
		}
		if total != packets {
			t.Errorf("marks %v: %d of %d packets got one of them", live, total, packets)
		}
		// 3 degrees of freedom: 30 is exceeded once in a million runs.
		if chi2 > 30 {
			t.Errorf("marks %v: chi-square %.1f, not uniform", live, chi2)
		}
	}
}

func TestSpray_MarksNothingWithoutLiveHops(t *testing.T) {
	s := newTest(t)
	if err := s.Set(nil); err != nil {
		t.Fatal(err)
	}
	if verdict := run(t, s.objs.Spray, 100); verdict != 0 {
		t.Errorf("verdict %d, want TC_ACT_OK", verdict)
	}
	for mark, n := range counts(t, s) {
		if n != 0 {
			t.Errorf("mark %d was given to %d packets", mark, n)
		}
	}
	if err := s.Set(make([]uint32, MaxHops+1)); err == nil {
		t.Error("Set took more marks than there is room for")
	}
}

func TestCut_DropsEverything(t *testing.T) {
	s := newTest(t)
	if verdict := run(t, s.objs.Cut, 1); verdict != 2 {
		t.Errorf("verdict %d, want TC_ACT_SHOT", verdict)
	}
}

func counts(t *testing.T, s *Sprayer) [MaxHops]uint64 {
	t.Helper()
	var all [MaxHops]uint64
	for mark := range uint32(MaxHops) {
		n, err := s.Sent(mark)
		if err != nil {
			t.Fatal(err)
		}
		all[mark] = n
	}
	return all
}
