package node

import (
	"context"

	"cohort/api"
	"cohort/nat"
	"cohort/packet"
)

// Xlates implements api.NATProvider: of connections and mappings that this node
// owns or has a copy or a stub of.
func (p provider) Xlates(ctx context.Context, f api.XlateFilter, visit func(*api.Xlate) bool) error {
	n := p.n
	if n.stubs == nil {
		return api.ErrNoNAT
	}
	rules := n.natRules()
	var out []api.Xlate
	until := walkForwards
	if f.Local {
		until = walkCopies
	}
	walk := newTableWalk(n, until, func(e *entry) {
		if !e.translated() {
			return
		}
		list, count := xlatesOf(rules, e)
		for i := range count {
			if f.Match(&list[i]) {
				out = append(out, list[i])
			}
		}
	})
	for !walk.done() {
		out = out[:0]
		if err := n.inLoop(ctx, walk.visit); err != nil {
			return err
		}
		for i := range out {
			if !visit(&out[i]) {
				return nil
			}
		}
	}
	return nil
}

// xlatesOf describes what NAT does to an entry: one end is translated, or both
// of a hairpin.
func xlatesOf(rules *nat.Rules, e *entry) (list [2]api.Xlate, count int) {
	k := &e.keys
	add := func(real, mapped, remote packet.Addr, ports [3]uint16, rule uint16) {
		x := &list[count]
		count++
		c := &e.conn
		*x = api.Xlate{
			Type: api.XlateConnection, Protocol: c.Protocol,
			Real: endpoint(real, ports[0]), Mapped: endpoint(mapped, ports[1]),
			Roles: c.Roles, Owner: c.Owner, Pool: poolName(rules, mapped), Rule: rules.RuleName(rule),
			Gen: c.Gen, IdleMS: c.IdleMS, AgeMS: c.AgeMS, Timeout: c.Timeout,
		}
		if e.mapping() {
			x.Type = api.XlateMapping
			if k[0].Proto == 0 {
				x.Protocol = "any"
			}
			return
		}
		x.Remote = endpoint(remote, ports[2])
	}
	source, destination := e.rules(rules)
	if k[0].Src != k[1].Dst || k[0].SrcPort != k[1].DstPort {
		add(k[0].Src, k[1].Dst, k[1].Src, [3]uint16{k[0].SrcPort, k[1].DstPort, k[1].SrcPort}, source)
	}
	if k[0].Dst != k[1].Src || k[0].DstPort != k[1].SrcPort {
		add(k[1].Src, k[0].Dst, k[0].Src, [3]uint16{k[1].SrcPort, k[0].DstPort, k[0].SrcPort}, destination)
	}
	return list, count
}

// rules finds again which rules translate the source and the destination; 0
// where that is not known: of a stub, which has no interfaces.
func (e *entry) rules(r *nat.Rules) (source, destination uint16) {
	in, out := e.ifaces[0], e.ifaces[1]
	if in == 0 {
		return 0, 0
	}
	to := e.keys[1].Reverse() // but for the source, which is the mapped one:
	to.Src, to.SrcPort = e.keys[0].Src, e.keys[0].SrcPort
	source = r.Source(in, out, e.keys[0], to).Rule
	if _, rule, what := r.Destination(in, e.keys[0]); what == nat.Translated {
		return source, rule
	}
	// Through a mapping, whose rule is written for the other direction.
	return source, r.Source(out, in, e.keys[1], e.keys[1]).Rule
}

// poolName returns whose address it is, "" for that of a static rule.
func poolName(rules *nat.Rules, a packet.Addr) string {
	g := rules.Geometry()
	if i, ok := g.Pool(a); ok {
		return g.Pools()[i].Name
	}
	return ""
}
