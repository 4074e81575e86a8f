package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/cluster/ownership"
	"cohort/dataplane"
	"cohort/nat"
)

var _ api.NATProvider = provider{}

// unitCopy is what this node knows of one NAT unit.
type unitCopy struct {
	holder, target wire.NodeID // 0 = nobody
	backup         wire.NodeID // directs its packets when the holder is gone
	here           bool        // this node may allocate from it
	known          bool        // this node knows all its uses: idle and used are right
	idle           bool
	used           int    // ports
	limbo          bool   // without a holder: on its way to one
	last           string // without a holder: the last one, by name
}

var errRecut = errors.New("the configuration changed at this moment: ask again")

// unitWalk copies units, a visit of the loop at a time.
type unitWalk struct {
	n       *Node
	rules   *nat.Rules
	recut   bool // other rules run by now
	first   int
	units   []unitCopy
	next    int // index into units
	lost    int // units without a holder
	told    int // index into units: of those before it explain has told
	names   [wire.MaxNodes]string
	now     int64
	self    wire.NodeID
	outside bool     // this node is in no view
	missing []string // whose return is waited for before units thaw
	open    bool     // members have not agreed yet on what they hold
}

// copyUnits copies the units first to first+count-1.
func (n *Node) copyUnits(ctx context.Context, rules *nat.Rules, first, count int) (*unitWalk, error) {
	w := &unitWalk{n: n, rules: rules, first: first, units: make([]unitCopy, count)}
	for w.next < count {
		if err := n.inLoop(ctx, w.visit); err != nil {
			return nil, err
		}
		if w.recut {
			return nil, errRecut
		}
	}
	for w.lost > 0 && w.told < count {
		if err := n.inLoop(ctx, w.explain); err != nil {
			return nil, err
		}
		if w.recut {
			return nil, errRecut
		}
	}
	return w, nil
}

// visit goes on for one visit of the loop.
func (w *unitWalk) visit(now int64) {
	if w.recut = w.rules != w.n.natRules(); w.recut {
		return
	}
	v, self := w.n.core.View()
	w.now, w.self, w.outside = now, self, v == nil
	if v != nil {
		for i := range v.Members {
			w.names[v.Members[i].ID] = v.Members[i].Name
		}
	}
	visit(dataplane.Now, w.batch)
}

func (w *unitWalk) batch() (more bool) {
	for range min(visitBatch, len(w.units)-w.next) {
		w.copy(w.first+w.next, &w.units[w.next])
		w.next++
	}
	return w.next < len(w.units)
}

// copy fills in one unit. Besides its holder, the node that has the stubs of
// the holder's connections knows the uses of a unit; and of one without a holder
// the node that directs it.
func (w *unitWalk) copy(unit int, u *unitCopy) {
	if w.outside {
		w.lost++
		return
	}
	m, ports := w.n.core.Units(), w.n.core.Translator().Ports()
	first, second, _ := m.Order(unit)
	u.holder, u.target, u.backup = m.Holder(unit), m.Target(unit), second
	if u.holder == 0 {
		u.backup = first
		w.lost++
	}
	u.here = ports.Held(unit)
	if u.known = u.holder == w.self || u.backup == w.self; u.known {
		u.idle, u.used = ports.Idle(w.now, unit), ports.Usage(unit)
	}
}

// statusBatch is of how many units the loop tells the status in one turn: some
// hundredths of a millisecond.
const statusBatch = 1024

// explain says of some units without a holder what became of them.
func (w *unitWalk) explain(int64) {
	if w.recut = w.rules != w.n.natRules(); w.recut {
		return
	}
	part := w.units[w.told:min(w.told+statusBatch, len(w.units))]
	s := w.n.core.Units().StatusOf(w.first+w.told, len(part))
	w.missing, w.open = s.Missing, s.Open
	w.told += len(part)
	for i := range s.Units {
		if u, now := &part[i], &s.Units[i]; u.holder == 0 {
			u.limbo, u.last = now.State == blocks.Limbo, now.Last
		}
	}
}

// why says why units are frozen.
func (w *unitWalk) why() string {
	switch {
	case w.outside:
		return "this node is in no view"
	case len(w.missing) == 1:
		return w.missing[0] + " is missing"
	case len(w.missing) > 1:
		return strings.Join(w.missing, ", ") + " are missing"
	case w.open:
		return "members still tell each other what they hold"
	}
	return "their holder has just gone, or a reload made them and old ports rest: they come back by themselves"
}

// state is the unit's in words.
func (u *unitCopy) state() string {
	switch {
	case u.holder == 0 && u.limbo:
		return api.BlockLimbo
	case u.holder == 0:
		return api.BlockFrozen
	case u.holder != u.target:
		return api.BlockLeased
	case u.known && u.idle:
		return api.BlockIdle
	}
	return api.BlockHeld
}

// NATPools implements api.NATProvider.
func (p provider) NATPools(ctx context.Context) ([]api.NATPool, error) {
	n := p.n
	if n.stubs == nil {
		return nil, api.ErrNoNAT
	}
	rules := n.natRules()
	g := rules.Geometry()
	w, err := n.copyUnits(ctx, rules, 0, g.Units())
	if err != nil {
		return nil, err
	}
	pools := make([]api.NATPool, len(g.Pools()))
	for i, of := range g.Pools() {
		pools[i] = w.pool(g, &of)
		pools[i].Here.Xlates = n.census.count(i)
	}
	if len(pools) == 0 {
		return pools, nil
	}
	// These are counted for the whole node: with several pools the first shows
	// them.
	err = n.inLoop(ctx, func(int64) {
		s, here := n.core.Units().Stats(), &pools[0].Here
		here.LeasesIn, here.LeasesOut = s.LeasesIn, s.LeasesOut
		here.Refused = n.refusals()
	})
	return pools, err
}

// refusals are the drops of what NAT could not translate.
func (n *Node) refusals() []api.NATRefusal {
	var list []api.NATRefusal
	for _, r := range ownership.Reasons() {
		if strings.HasPrefix(r.String(), "nat_") {
			list = append(list, api.NATRefusal{Reason: r.String(), Count: n.drops.owner[r]})
		}
	}
	return list
}

// pool counts the units of a pool.
func (w *unitWalk) pool(g *nat.Geometry, of *nat.PoolUnits) api.NATPool {
	p := api.NATPool{Name: of.Name, Type: of.Kind.String(), BlockSize: of.BlockSize, Blocks: api.NATCount{Total: of.Units}}
	for first := of.First; first < of.First+of.Units; first += of.PerAddress {
		shares := map[string]*api.NATShare{}
		for unit := first; unit < first+of.PerAddress; unit++ {
			u := &w.units[unit-w.first]
			ports := 1
			if of.Kind == nat.PoolPorts {
				ports = g.Describe(unit).Ports()
			}
			u.count(&p, ports)
			w.share(u, shares)
		}
		a := api.NATAddress{Address: g.Describe(first).Addr.Netip()}
		for _, s := range shares {
			a.Nodes = append(a.Nodes, *s)
		}
		slices.SortFunc(a.Nodes, func(a, b api.NATShare) int { return strings.Compare(a.Node, b.Node) })
		p.Addresses = append(p.Addresses, a)
	}
	if p.Blocks.Frozen > 0 {
		p.WaitsFor, p.Why = w.missing, w.why()
	}
	return p
}

// count adds the unit to its pool's figures.
func (u *unitCopy) count(p *api.NATPool, ports int) {
	free := u.holder != 0 && u.known && u.idle
	switch {
	case u.holder != 0:
		p.Blocks.Held++
	case u.limbo:
		p.Blocks.Limbo++
	default:
		p.Blocks.Frozen++
	}
	if free {
		p.Blocks.Free++
	}
	if u.here {
		p.Here.Held++
		p.Here.Ports += ports
		p.Here.PortsUsed += u.used
		if free {
			p.Here.Free++
		}
	}
}

// share adds the unit to what its node has of the address.
func (w *unitWalk) share(u *unitCopy, shares map[string]*api.NATShare) {
	node := w.names[u.holder]
	if u.holder == 0 {
		node = u.last
	}
	if node == "" || u.holder == 0 && u.limbo {
		return
	}
	s := shares[node]
	if s == nil {
		s = &api.NATShare{Node: node}
		shares[node] = s
	}
	s.Blocks++
	switch {
	case u.holder == 0:
		s.Frozen++
	case !u.known || s.Used < 0: // one that is not known spoils both sums
		s.Used, s.Free = -1, -1
	case u.idle:
		s.Free++
	default:
		s.Used++
	}
}

// NATBlocks implements api.NATProvider.
func (p provider) NATBlocks(ctx context.Context, pool string) ([]api.NATBlock, error) {
	n := p.n
	if n.stubs == nil {
		return nil, api.ErrNoNAT
	}
	rules := n.natRules()
	g := rules.Geometry()
	i := slices.IndexFunc(g.Pools(), func(of nat.PoolUnits) bool { return of.Name == pool })
	if i < 0 {
		return nil, nil
	}
	of := &g.Pools()[i]
	w, err := n.copyUnits(ctx, rules, of.First, of.Units)
	if err != nil {
		return nil, err
	}
	list := make([]api.NATBlock, of.Units)
	for i := range list {
		list[i] = w.block(g.Describe(of.First+i), &w.units[i])
	}
	return list, nil
}

func (w *unitWalk) block(d nat.Unit, u *unitCopy) api.NATBlock {
	b := api.NATBlock{
		Address: d.Addr.Netip(), First: d.First, Last: d.Last,
		Holder: w.names[u.holder], Backup: w.names[u.backup], Target: w.names[u.target],
		Uses: -1, State: u.state(),
	}
	if u.holder == 0 {
		b.Holder = u.last
	}
	if u.known {
		b.Uses = u.used
	}
	return b
}
