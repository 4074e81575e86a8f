package node

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

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
			tr.Source(0, 1, 2, k, k, func(packet.FlowKey) bool { return false })
			tr.Refused()
		}
	}
	var r refusalLog
	r.log(zap.New(seen), nil)
	r.log(zap.New(seen), tr)
	for _, n := range []int{3, 0, 2} {
		refuse(n)
		r.log(zap.New(seen), tr)
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
