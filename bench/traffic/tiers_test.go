package traffic

import (
	"testing"

	"cohort/bpf"
)

// TestTiersGiveEachNodeItsRate: with packets that go to one of three nodes at random, a
// node gets what its bucket has been filled with by the clock, and its depth once; one
// without a rate gets all.
func TestTiersGiveEachNodeItsRate(t *testing.T) {
	const packets, depth = 12000, 50
	tiers := newTiers(t)
	outs := make([]Out, 3)
	for i := range outs {
		outs[i] = Out{Ifindex: 1, MAC: [6]byte{2, 0, 0, 0, 0, uint8(i)}}
	}
	s, err := (&Talk{Flows: 5, Hosts: 2, Outs: outs, Tiers: tiers}).open(First)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	defer s.Close()
	rates := []float64{0, 0.25, 0.5} // a third of the packets comes to each
	for node, rate := range rates {
		if err := tiers.Set(node, rate, depth); err != nil {
			t.Fatal(err)
		}
	}
	redirected := map[byte]uint64{}
	dropped := uint64(0)
	for range packets {
		switch verdict, frame := heard(t, s.objs.Dial, make([]byte, dialFrame)); verdict {
		case xdpRedirect:
			redirected[frame[5]]++
		case xdpDrop:
			dropped++
		default:
			t.Fatalf("verdict %d", verdict)
		}
	}
	var sum, refused uint64
	for node, rate := range rates {
		got, err := tiers.Taken(node)
		if err != nil {
			t.Fatal(err)
		}
		sum, refused = sum+got.Passed+got.Refused, refused+got.Refused
		offered := float64(got.Passed + got.Refused)
		if offered < packets/3*0.9 || offered > packets/3*1.1 || got.Passed != redirected[byte(node)] {
			t.Errorf("node %d was offered %v packets and passed %d, %d arrived", node, offered, got.Passed, redirected[byte(node)])
		}
		switch node {
		case 0, 2: // no bound, and one above what comes
			if got.Refused != 0 {
				t.Errorf("node %d refused %d packets at %g", node, got.Refused, rate)
			}
		case 1:
			if want := rate*packets + depth; float64(got.Passed) > want || float64(got.Passed) < want-10 {
				t.Errorf("node 1 got %d packets, want %g", got.Passed, want)
			}
		}
	}
	if sum != packets || refused != dropped {
		t.Errorf("%d packets were counted of %d, %d refused of %d", sum, packets, refused, dropped)
	}
}

// TestTiersAreSharedByAllCables: what a node gets over the link, it does not get from
// the routers. Control frames are not counted.
func TestTiersAreSharedByAllCables(t *testing.T) {
	tiers := newTiers(t)
	talk := Talk{Flows: 5, Hosts: 2, Tiers: tiers}
	client, server := newSide(t, talk, First), newSide(t, talk, First)
	spec, err := loadFabric()
	if err != nil {
		t.Fatal(err)
	}
	opts, err := tiers.into(spec)
	if err != nil {
		t.Fatal(err)
	}
	var ports [MaxOuts]fabricPort
	ports[7] = fabricPort{Ifindex: 1, Mac: [6]byte{2, 0, 0, 0, 0, 7}} // node 0
	dataType := uint16(bpf.CCLEthertype>>8 | bpf.CCLEthertype&0xff<<8)
	for name, v := range map[string]any{"ports": ports, "data_type": dataType} {
		if err := spec.Variables[name].Set(v); err != nil {
			t.Fatal(err)
		}
	}
	var fabric fabricObjects
	if err := spec.LoadAndAssign(&fabric, opts); err != nil {
		t.Fatal(err)
	}
	defer fabric.Close()
	control := make([]byte, 100)
	control[0], control[5] = 2, 7
	data := append([]byte(nil), control...)
	data[12], data[13] = 8, 0
	data[36], data[37] = 4789>>8, 4789&0xff
	data[62], data[63] = bpf.CCLEthertype>>8, bpf.CCLEthertype&0xff

	if err := tiers.Set(0, 1.0/1024, 4); err != nil {
		t.Fatal(err)
	}
	want := func(what string, got, want uint32) {
		t.Helper()
		if got != want {
			t.Errorf("%s: verdict %d, want %d", what, got, want)
		}
	}
	verdict, syn := heard(t, client.objs.Dial, make([]byte, dialFrame))
	want("the client's packet", verdict, xdpRedirect)
	for range 2 {
		verdict, _ = heard(t, fabric.Fabric, data)
		want("a data frame", verdict, xdpRedirect)
	}
	verdict, _ = heard(t, server.objs.Answer, syn)
	want("the answer", verdict, xdpRedirect)
	verdict, _ = heard(t, fabric.Fabric, data)
	want("a data frame past the depth", verdict, xdpDrop)
	verdict, _ = heard(t, server.objs.Answer, syn)
	want("an answer past the depth", verdict, xdpDrop)
	verdict, _ = heard(t, fabric.Fabric, control)
	want("a control frame", verdict, xdpRedirect)
	if got, err := tiers.Taken(0); err != nil || got != (Taken{4, 2}) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := tiers.Set(0, 2, 4); err != nil { // and what is not used is not saved up
		t.Fatal(err)
	}
	for range 100 {
		heard(t, client.objs.Dial, make([]byte, dialFrame))
	}
	for range 8 {
		heard(t, fabric.Fabric, data)
	}
	if got, err := tiers.Taken(0); err != nil || got != (Taken{103, 5}) {
		t.Errorf("after a pause: %+v, %v", got, err)
	}
}

func newTiers(t *testing.T) *Tiers {
	t.Helper()
	newSide(t, Talk{Flows: 1, Hosts: 1}, First) // or skips
	tiers, err := NewTiers()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tiers.Close() })
	for _, bad := range [][3]float64{{-1, 1, 1}, {MaxOuts, 1, 1}, {0, -1, 1}, {0, 1, 0}} {
		if tiers.Set(int(bad[0]), bad[1], bad[2]) == nil {
			t.Errorf("tier %v was set", bad)
		}
	}
	return tiers
}
