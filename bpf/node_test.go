package bpf_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"unsafe"

	"cohort/bpf"
	"cohort/flowtable"
	"cohort/packet"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// node is one cluster node of these tests: both programs over one set of maps,
// its flow table, and sockets that punted packets are redirected to. Nothing is
// attached: packets go through the programs by prog-run.
type node struct {
	t    testing.TB
	id   uint8
	over family // of the CCL
	data *ebpf.Program
	ccl  *ebpf.Program
	maps bpf.DataMaps

	control  *bpf.Control
	members  []bpf.Member
	nexthops []bpf.Nexthop
	ifaces   []bpf.Iface
	units    []uint8 // directors of NAT units
	table    *flowtable.Table
}

// The kernel enters packets of prog-run on the loopback device.
const loopback = 1

// Interfaces, next hops and addresses that every test node has.
const (
	inside  = 1
	outside = 2

	toOutside = 1 // next hop numbers
	toInside  = 2

	outsideIfindex = 22
	insideIfindex  = 11
	cclIfindex     = 33

	testVNI  = 4711
	testView = 0x00300007
)

var (
	nodeMAC    = [6]uint8{2, 0, 0, 0, 0, 1} // of every data interface
	serverMAC  = [6]uint8{2, 0, 0, 0, 0, 0x22}
	clientMAC  = [6]uint8{2, 0, 0, 0, 0, 0x11}
	localAddr  = netip.MustParseAddr("10.1.0.1")
	localAddr6 = netip.MustParseAddr("2001:db8:1::1")
	clientAddr = netip.MustParseAddr("10.1.8.7")
	serverAddr = netip.MustParseAddr("192.0.2.80")
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loading BPF programs needs root")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
}

// tableSize is what one test node has room for.
type tableSize struct{ flows, forwards int }

// newNode loads the programs for one node that is a member of testView, holds a
// lease, and knows the nodes 1..3.
func newNode(t testing.TB, id uint8) *node { t.Helper(); return overIPv4.node(t, id) }

// node is newNode with a CCL of this family.
func (f family) node(t testing.TB, id uint8) *node {
	t.Helper()
	needRoot(t)
	n := &node{t: t, id: id, over: f}
	n.load(tableSize{flows: 255, forwards: 255})
	n.configure()
	return n
}

func (n *node) load(size tableSize, change ...func(*ebpf.CollectionSpec)) {
	n.t.Helper()
	dataSpec, err := bpf.LoadData()
	if err != nil {
		n.t.Fatal(err)
	}
	resize(dataSpec, size)
	n.over.choose(n.t, dataSpec)
	for _, c := range change {
		c(dataSpec)
	}
	var data bpf.DataObjects
	if err := dataSpec.LoadAndAssign(&data, nil); err != nil {
		n.t.Fatalf("load xdp_data: %+v", err)
	}
	n.t.Cleanup(func() { data.Close() })
	n.data, n.maps = data.XdpData, data.DataMaps

	cclSpec, err := bpf.LoadCcl()
	if err != nil {
		n.t.Fatal(err)
	}
	resize(cclSpec, size)
	n.over.choose(n.t, cclSpec)
	shared := make(map[string]*ebpf.Map)
	for name, m := range map[string]*ebpf.Map{
		bpf.DataMapControl: n.maps.Control, bpf.DataMapMembers: n.maps.Members, bpf.DataMapNexthops: n.maps.Nexthops,
		bpf.DataMapIndex: n.maps.Index, bpf.DataMapFlows: n.maps.Flows, bpf.DataMapForwards: n.maps.Forwards, bpf.DataMapDelegations: n.maps.Delegations,
		bpf.DataMapXsks: n.maps.Xsks, bpf.DataMapCounters: n.maps.Counters, bpf.DataMapIfaces: n.maps.Ifaces,
		bpf.DataMapIfindexToIface: n.maps.IfindexToIface, bpf.DataMapLocalAddrs: n.maps.LocalAddrs, bpf.DataMapLocalAddrs6: n.maps.LocalAddrs6,
		bpf.DataMapNatAddrs: n.maps.NatAddrs, bpf.DataMapNatUnits: n.maps.NatUnits,
	} {
		if _, used := cclSpec.Maps[name]; used {
			shared[name] = m
		}
	}
	var ccl bpf.CclObjects
	if err := cclSpec.LoadAndAssign(&ccl, &ebpf.CollectionOptions{MapReplacements: shared}); err != nil {
		n.t.Fatalf("load xdp_ccl: %+v", err)
	}
	n.t.Cleanup(func() { ccl.Close() })
	n.ccl = ccl.XdpCcl
	n.mapMemory(size)
}

func resize(spec *ebpf.CollectionSpec, size tableSize) {
	spec.Maps[bpf.DataMapIndex].MaxEntries = uint32(flowtable.IndexBuckets(size.flows, size.forwards))
	spec.Maps[bpf.DataMapFlows].MaxEntries = uint32(size.flows + 1)
	spec.Maps[bpf.DataMapForwards].MaxEntries = uint32(size.forwards + 1)
	spec.Maps[bpf.DataMapDelegations].MaxEntries = uint32(size.forwards + 1)
}

// mmapped maps the values of an array map into this process.
func mmapped[T any](t testing.TB, m *ebpf.Map) []T {
	t.Helper()
	n := int(m.MaxEntries())
	page := os.Getpagesize()
	size := (n*int(unsafe.Sizeof(*new(T))) + page - 1) / page * page
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatalf("mmap of %v: %v", m, err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return unsafe.Slice((*T)(unsafe.Pointer(&b[0])), n)
}

func (n *node) mapMemory(size tableSize) {
	n.t.Helper()
	n.control = &mmapped[bpf.Control](n.t, n.maps.Control)[0]
	n.members = mmapped[bpf.Member](n.t, n.maps.Members)
	n.nexthops = mmapped[bpf.Nexthop](n.t, n.maps.Nexthops)
	n.ifaces = mmapped[bpf.Iface](n.t, n.maps.Ifaces)
	n.units = flat(mmapped[bpf.NATUnits](n.t, n.maps.NatUnits))
	var err error
	if n.control.HashSeed, err = flowtable.NewSeed(rand.NewChaCha8([32]byte{42})); err != nil {
		n.t.Fatal(err)
	}
	mem := flowtable.Memory{
		Index:    mmapped[flowtable.Bucket](n.t, n.maps.Index),
		Flows:    mmapped[flowtable.FlowSlot](n.t, n.maps.Flows),
		Forwards: mmapped[flowtable.ForwardSlot](n.t, n.maps.Forwards),

		Delegations: mmapped[flowtable.DelegationSlot](n.t, n.maps.Delegations),
	}
	if n.table, err = flowtable.New(mem, n.control.HashSeed); err != nil {
		n.t.Fatal(err)
	}
	n.control.IndexMask = uint32(len(mem.Index) - 1)
}

func macOf(id uint8) [6]uint8 { return [6]uint8{2, 0, 0, 0, 99, id} }

// be32 is an address as C loads it from a packet.
func be32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

func (n *node) configure() {
	n.t.Helper()
	n.control.Lease = ^uint64(0)
	n.control.Layout = bpf.LayoutVersion
	n.control.View = testView
	n.control.Self = n.id
	n.control.Vni = testVNI
	n.control.CclIfindex = cclIfindex
	n.control.CclVtep = mapped(n.over.vtep(n.id))
	n.control.CclMac = macOf(n.id)
	for id := uint8(1); id <= 3; id++ {
		n.members[id] = bpf.Member{Vtep: mapped(n.over.vtep(id)), Mac: macOf(id), Flags: bpf.MemberAlive, Incarnation: 0xa0 + id}
	}
	n.members[n.id].Flags |= bpf.MemberSelf
	n.nexthops[toOutside] = bpf.Nexthop{Dmac: serverMAC, Smac: nodeMAC, Ifindex: outsideIfindex, Mtu: 1500, Iface: outside, Flags: bpf.NexthopValid}
	n.nexthops[toInside] = bpf.Nexthop{Dmac: clientMAC, Smac: nodeMAC, Ifindex: insideIfindex, Mtu: 1500, Iface: inside, Flags: bpf.NexthopValid}
	for _, id := range []int{inside, outside} {
		n.ifaces[id] = bpf.Iface{Mac: nodeMAC, Mtu: 1500}
	}
	n.enterBy(inside)
	n.put(n.maps.LocalAddrs, be32(localAddr), uint32(1))
	n.put(n.maps.LocalAddrs6, localAddr6.As16(), uint32(1))
	for _, iface := range []uint32{bpf.XSKCCL, inside, outside} {
		n.addSocket(iface)
	}
}

func (n *node) put(m *ebpf.Map, key, value any) {
	n.t.Helper()
	if err := m.Put(key, value); err != nil {
		n.t.Fatal(err)
	}
}

// enterBy makes packets of the data program come in on a logical interface.
func (n *node) enterBy(iface uint32) {
	n.t.Helper()
	n.put(n.maps.IfindexToIface, uint32(loopback), iface)
}

// addSocket gives queue 0 of an interface a socket. It is bound to nothing:
// prog-run shows the verdict and does not deliver.
func (n *node) addSocket(iface uint32) {
	n.t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { unix.Close(fd) })
	n.put(n.maps.Xsks, iface*bpf.XSKQueues, uint32(fd))
}

// addFlow makes this node the owner of an untranslated connection from inside
// to outside.
func (n *node) addFlow(k packet.FlowKey, change ...func(*flowtable.FlowSlot)) (uint32, *flowtable.FlowSlot) {
	n.t.Helper()
	f := flowtable.FlowSlot{
		Key:     [2]packet.FlowKey{k, k.Reverse()},
		NextHop: [2]uint16{toOutside, toInside},
		Iface:   [2]uint8{inside, outside},
	}
	for _, c := range change {
		c(&f)
	}
	slot, err := n.table.InsertFlow(f)
	if err != nil {
		n.t.Fatal(err)
	}
	return slot, n.table.Flow(slot)
}

// addForward makes this node a forwarder of one direction.
func (n *node) addForward(k packet.FlowKey, owner uint8) *flowtable.ForwardSlot {
	n.t.Helper()
	slot, err := n.table.InsertForward(flowtable.ForwardSlot{Key: k, Owner: owner, Incarnation: 0xa0 + owner, Gen: 77})
	if err != nil {
		n.t.Fatal(err)
	}
	return n.table.Forward(slot)
}

// counters returns how many packets left by each outcome. It reads all of them
// with one system call: in an emulated machine two calls for each outcome and
// packet would be most of the time that the tests take.
func (n *node) counters() map[bpf.Outcome]uint64 {
	n.t.Helper()
	cpus, err := ebpf.PossibleCPU()
	must(n.t, err)
	var at ebpf.MapBatchCursor
	keys, perCPU := make([]uint32, bpf.NumOutcomes), make([]uint64, bpf.NumOutcomes*cpus)
	read, err := n.maps.Counters.BatchLookup(&at, keys, perCPU, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // the latter: no more follow
		n.t.Fatal(err)
	}
	if read != bpf.NumOutcomes {
		n.t.Fatalf("read %d counters of %d", read, bpf.NumOutcomes)
	}
	got := make(map[bpf.Outcome]uint64)
	for i, o := range keys {
		for _, v := range perCPU[i*cpus : (i+1)*cpus] {
			if v != 0 {
				got[bpf.Outcome(o)] += v
			}
		}
	}
	return got
}
