package node

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"cohort/cluster/ownership"
	"cohort/cluster/translate"
	"cohort/nat"
	"cohort/packet"
)

// shortUnits has none to give.
type shortUnits struct{ translate.Units }

func (shortUnits) Want(int, int) {}

// An exhausted pool is one line a second, with the number of packets refused
// since the last, and none when there were none.
func TestNT11_ExhaustedPoolsAreLoggedWithTheNumberRefused(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	rules, err := nat.Compile(nat.Config{
		Pools: []nat.Pool{{Name: "guests", Addresses: []packet.Addr{{203, 0, 113, 9}}}, {Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}}},
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Pool: "egress"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ports := nat.NewPorts(rules.Geometry(), 0, rand.New(rand.NewPCG(1, 2)))
	tr := translate.New(rules, ports, shortUnits{}, nil, nil)
	refuse := func(n int) {
		k := udp(packet.Addr{10, 1, 0, 5}, 5000)
		for range n {
			tr.Source(0, 1, 2, k, k, 0, func(packet.FlowKey) bool { return false })
			tr.Refused()
		}
	}
	var r refusalLog
	r.log(zap.New(seen), refusals{})
	r.log(zap.New(seen), refusals{translator: tr})
	for _, n := range []int{3, 0, 2} {
		refuse(n)
		r.log(zap.New(seen), refusals{translator: tr})
		if n == 0 && logs.Len() != 0 {
			t.Errorf("nothing was refused, yet it says %v", logs.All())
		}
		for _, e := range logs.TakeAll() {
			f := e.ContextMap()
			if e.Level != zapcore.WarnLevel || f["pool"] != "egress" || f["refused"] != uint64(n) {
				t.Errorf("%v %s %v, want a warning about %d of egress", e.Level, e.Message, f, n)
			}
			n = 0
		}
		if n != 0 {
			t.Errorf("no line about %d refused packets", n)
		}
	}
}

// The limits of a host and of a mapping say so too, with who reached them last.
func TestNT11_ReachedLimitsAreLoggedWithTheNumberRefused(t *testing.T) {
	seen, logs := observer.New(zapcore.InfoLevel)
	rules, err := nat.Compile(nat.Config{
		Pools: []nat.Pool{{Name: "egress", Addresses: []packet.Addr{{203, 0, 113, 10}}, MaxBlocksPerHost: 1}},
		Rules: []nat.Rule{{Name: "out", Type: nat.DynamicPAT, From: 1, To: 2, Pool: "egress"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ports := nat.NewPorts(rules.Geometry(), 0, rand.New(rand.NewPCG(1, 2)))
	tr := translate.New(rules, ports, shortUnits{}, stingy{}, nil)
	host := packet.Addr{10, 1, 0, 5}
	tr.HostAnswer(0, 0, host, false)
	k := udp(host, 5000)
	if _, _, r := tr.Source(1, 1, 2, k, k, 0, func(packet.FlowKey) bool { return false }); r != ownership.ReasonNATHost {
		t.Fatal(r)
	}
	mapped := packet.FlowKey{Dst: packet.Addr{203, 0, 113, 10}, DstPort: 4001, Proto: packet.ProtoUDP}
	var r refusalLog
	now := refusals{translator: tr, mapping: mapped}
	for _, d := range [][2]uint64{{0, 0}, {3, 0}, {0, 0}, {0, 4}, {2, 1}} {
		now.hosts, now.inbound = now.hosts+d[0], now.inbound+d[1]
		r.log(zap.New(seen), now)
		var got [2]uint64
		for _, e := range logs.TakeAll() {
			f := e.ContextMap()
			switch n, _ := f["refused"].(uint64); {
			case e.Level == zapcore.WarnLevel && f["host"] == "10.1.0.5":
				got[0] += n
			case e.Level == zapcore.WarnLevel && f["mapped"] == "203.0.113.10" && f["port"] == uint16(4001):
				got[1] += n
			default:
				t.Errorf("%v %s %v", e.Level, e.Message, f)
			}
		}
		if got != d {
			t.Errorf("the log says %v, refused were %v", got, d)
		}
	}
}

// stingy gives no host anything.
type stingy struct{ translate.Hosts }
