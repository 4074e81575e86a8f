package bpf_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"cohort/bpf"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// XDP verdicts, from linux/bpf.h.
const (
	xdpDrop     = 1
	xdpPass     = 2
	xdpRedirect = 4
)

// xdpMD is struct xdp_md.
type xdpMD struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// result is what a program made of one packet.
type result struct {
	verdict uint32
	outcome bpf.Outcome
	packet  []byte
	punt    *bpf.Punt // metadata, if the packet has any
}

// run sends one packet through a program. Exactly one counter must rise by one,
// and the verdict must be of its kind: every test proves that on the way.
func (n *node) run(p *ebpf.Program, in []byte) result {
	n.t.Helper()
	return n.runWithMetadata(p, in, 0)
}

func (n *node) runData(in []byte) result { n.t.Helper(); return n.run(n.data, in) }

func (n *node) runCCL(in []byte) result { n.t.Helper(); return n.run(n.ccl, in) }

// runWithMetadata calls the first meta bytes of in metadata that was there before.
func (n *node) runWithMetadata(p *ebpf.Program, in []byte, meta uint32) result {
	n.t.Helper()
	before := n.counters()
	ctx := xdpMD{Data: meta, DataEnd: uint32(len(in))}
	out := make([]byte, len(in)+512)
	opts := ebpf.RunOptions{Data: in, DataOut: out, Context: ctx, ContextOut: &ctx}
	verdict, err := p.Run(&opts)
	if errors.Is(err, unix.EINVAL) && meta > 32 && linuxBefore(n.t, 6, 12) {
		n.t.Skip("this kernel takes at most 32 bytes of metadata")
	}
	if err != nil {
		n.t.Fatalf("prog-run of %d bytes: %v", len(in), err)
	}
	r := result{verdict: verdict, outcome: n.counted(before)}
	// DataOut begins with the metadata.
	r.packet = opts.DataOut[ctx.Data:]
	if ctx.Data == bpf.PuntSize {
		r.punt = new(bpf.Punt)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(r.punt)), bpf.PuntSize), opts.DataOut)
	}
	if want := verdictOf(r.outcome); verdict != want {
		n.t.Fatalf("outcome %v left with XDP verdict %d, want %d", r.outcome, verdict, want)
	}
	return r
}

func linuxBefore(t testing.TB, major, minor uint32) bool {
	t.Helper()
	v, err := features.LinuxVersionCode()
	must(t, err)
	return v < major<<16|minor<<8
}

// counted returns the one outcome that was counted since before.
func (n *node) counted(before map[bpf.Outcome]uint64) bpf.Outcome {
	n.t.Helper()
	var found []bpf.Outcome
	after := n.counters()
	for o, v := range after {
		switch v - before[o] {
		case 0:
		case 1:
			found = append(found, o)
		default:
			n.t.Fatalf("outcome %v was counted %d times for one packet", o, v-before[o])
		}
	}
	if len(found) != 1 || !found[0].Known() {
		n.t.Fatalf("one packet counted as %v; counters %v", found, after)
	}
	return found[0]
}

func verdictOf(o bpf.Outcome) uint32 {
	switch o.Kind() {
	case bpf.KindPass:
		return xdpPass
	case bpf.KindForward, bpf.KindPunt:
		return xdpRedirect
	}
	return xdpDrop
}

func (r result) want(t testing.TB, o bpf.Outcome) result {
	t.Helper()
	if r.outcome != o {
		t.Fatalf("outcome %v, want %v", r.outcome, o)
	}
	return r
}

// word is a big-endian field of a packet.
func word(b []byte, at int) uint16 { return binary.BigEndian.Uint16(b[at:]) }
