package bpf_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"
)

// TestXDPNeverUsesHalfAnUpdate rewrites a flow all the time, while packets of it
// go through the program. Two versions alternate, which differ in both cache
// words that matter: next hop and translated address. A packet leaves as one of
// them or goes to Go as busy; never with the next hop of one and the address of
// the other.
func TestXDPNeverUsesHalfAnUpdate(t *testing.T) {
	n := newNode(t, 1)
	_, f := n.addFlow(udpKey, translated(udpKey, mappedAddr, 1024))
	p := from(udpKey)
	in := p.bytes(t)
	versions := [2]pkt{p.sentTo(serverMAC), p.sentTo(clientMAC)}
	versions[0].key = f.Key[1].Reverse()
	versions[1].key = versions[0].key
	versions[1].key.Src = packet.AddrFrom(localAddr)
	want := [2]string{string(versions[0].bytes(t)), string(versions[1].bytes(t))}

	var stop atomic.Bool
	var writer sync.WaitGroup
	writer.Go(func() {
		for v := 1; !stop.Load(); v = 1 - v {
			rewriteFlow(f, versions[v].key.Reverse(), [2]uint16{toOutside, toInside}[v])
		}
	})
	defer writer.Wait()
	defer stop.Store(true)

	var left [2]int
	for i := 0; i < 20000 && (i < 2000 || left[0] == 0 || left[1] == 0); i++ {
		r := n.runData(in)
		switch {
		case r.outcome == bpf.PuntBusy:
			wantBytes(t, r.packet, in)
		case r.outcome == bpf.ForwardOwner && string(r.packet) == want[0]:
			left[0]++
		case r.outcome == bpf.ForwardOwner && string(r.packet) == want[1]:
			left[1]++
		default:
			t.Fatalf("%v with a mixture:\n%x", r.outcome, r.packet)
		}
	}
	if left[0] == 0 || left[1] == 0 {
		t.Errorf("versions left %v times: the writer did not run beside the program", left)
	}
}

// rewriteFlow changes a flow under its sequence word, as flowtable does; unlike
// flowtable it may change the key of the reply direction, which is not indexed
// here.
func rewriteFlow(f *flowtable.FlowSlot, reply packet.FlowKey, nh uint16) {
	atomic.AddUint32(&f.Seq, 1)
	f.Key[1] = reply
	f.NextHop[0] = nh
	atomic.AddUint32(&f.Seq, 1)
}
