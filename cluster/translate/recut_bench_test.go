package translate

import (
	"math/rand/v2"
	"testing"

	"cohort/cluster/ownership"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/packet"
	"cohort/policy"
)

type nowhere struct{}

func (nowhere) Route(packet.Addr) (uint16, uint8, bool)               { return 0, 0, false }
func (nowhere) Judge(_, _ uint8, _ packet.FlowKey) (v policy.Verdict) { return v }

// BenchmarkReload is the longest step of a reload (NT7): blocks of another size
// for half a million translated connections that one node owns.
func BenchmarkReload(b *testing.B) {
	const flows = 1 << 19
	compile := func(size uint16) *nat.Rules {
		p := nat.Pool{Name: "egress", BlockSize: size}
		for i := range 16 {
			p.Addresses = append(p.Addresses, packet.Addr{203, 0, 113, byte(i + 1)})
		}
		r, err := nat.Compile(nat.Config{Pools: []nat.Pool{p}})
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	rules := [2]*nat.Rules{compile(512), compile(256)}
	var seed [10]uint64
	for i := range seed {
		seed[i] = uint64(i)*0x9e3779b97f4a7c15 + 1
	}
	table, err := flowtable.New(flowtable.NewMemory(flows+1, 16), seed)
	if err != nil {
		b.Fatal(err)
	}
	for i := range flows {
		k := packet.FlowKey{Src: packet.Addr{10, 1, byte(i >> 8), byte(i)}, Dst: packet.Addr{192, 0, 2, byte(i >> 16)}, SrcPort: 2000, DstPort: 443, Proto: packet.ProtoTCP}
		back := k.Reverse()
		back.Dst, back.DstPort = packet.Addr{203, 0, 113, byte(i%16 + 1)}, uint16(1024+i/16)
		if _, err := table.InsertFlow(flowtable.FlowSlot{Key: [2]packet.FlowKey{k, back}, Gen: 1, Flags: flowtable.FlowLive}); err != nil {
			b.Fatal(err)
		}
	}
	ports := nat.NewPorts(rules[0].Geometry(), 0, rand.New(rand.NewPCG(1, 2)))
	tr := New(rules[0], ports, nil, nil, nil)
	core := ownership.New(ownership.Config{
		Table: table, Copies: flowtable.NewBackupStore(seed, 16), Router: nowhere{}, Policy: nowhere{},
		NAT: tr, Stubs: flowtable.NewBackupStore(seed, 16),
	})
	for i := 0; b.Loop(); i++ {
		core.Reload(1, nowhere{}, func(r uint16) uint16 { return r }, tr.Recut(rules[(i+1)%2], 0, 0))
	}
	if ports.Uses(0) == 0 {
		b.Fatal("nothing was counted")
	}
}
