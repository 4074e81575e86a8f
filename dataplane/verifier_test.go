package dataplane

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"cohort/bpf"

	"github.com/cilium/ebpf"
)

// What the verifier of every kernel since 5.2 allows a privileged program.
const (
	insnLimit  = 1_000_000 // instructions processed, over all paths
	stackLimit = 512       // bytes, callees included
)

// TestVerifierHasRoomToSpare loads the programs as Open does and reads what the
// verifier says of them. Half of each limit is this project's: what the next
// compiler or kernel adds must not stop a node from starting.
func TestVerifierHasRoomToSpare(t *testing.T) {
	h := newHost(t, 1500)
	d := h.open()
	s, err := programSpecs(&h.cfg)
	must(t, err)
	s.logLevel = ebpf.LogLevelStats
	maps, err := createMaps(s.maps())
	must(t, err)
	t.Cleanup(maps.close)
	data, err := s.loadData(maps, inside)
	must(t, err)
	defer data.Close()
	ccl, err := s.loadCCL(maps)
	must(t, err)
	defer ccl.Close()

	for _, p := range []struct {
		name     string
		measured *ebpf.Program
		attached []*ebpf.Program // the same, as Open loaded and attached them
	}{
		{bpf.DataProgXdpData, data, d.programs[:len(d.devices)]},
		{bpf.CclProgXdpCcl, ccl, d.programs[len(d.devices):]},
	} {
		v := readVerdict(t, p.measured.VerifierLog)
		t.Logf("verifier: %s: %s", p.name, v.said)
		if v.insns > insnLimit/2 {
			t.Errorf("%s: %d instructions processed, want at most %d", p.name, v.insns, insnLimit/2)
		}
		if v.stack > stackLimit/2 {
			t.Errorf("%s: %d bytes of stack, want at most %d", p.name, v.stack, stackLimit/2)
		}
		for _, a := range p.attached {
			info, err := a.Info()
			must(t, err)
			if n, ok := info.VerifiedInstructions(); !ok || int(n) != v.insns {
				t.Errorf("%s: attached after %d instructions, measured %d", p.name, n, v.insns)
			}
		}
	}
}

// verified is what the verifier says of a program that it takes.
type verified struct {
	insns, stack int // the stack of the program and of all its functions together
	said         string
}

var (
	stackLine = regexp.MustCompile(`(?m)^stack depth ([0-9+]+)$`)
	insnsLine = regexp.MustCompile(`(?m)^processed (\d+) insns .*$`)
)

func readVerdict(t *testing.T, log string) verified {
	t.Helper()
	stack, insns := stackLine.FindStringSubmatch(log), insnsLine.FindStringSubmatch(log)
	if stack == nil || insns == nil {
		t.Fatalf("the verifier said %q", log)
	}
	v := verified{said: strings.Join(strings.Split(strings.TrimSpace(log), "\n"), "; ")}
	for _, s := range strings.Split(stack[1], "+") {
		n, err := strconv.Atoi(s)
		must(t, err)
		v.stack += n
	}
	var err error
	v.insns, err = strconv.Atoi(insns[1])
	must(t, err)
	return v
}
