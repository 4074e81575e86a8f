package node

import (
	cryptorand "crypto/rand"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"cohort/ccl/wire"
	"cohort/cluster/blocks"
	"cohort/config"
	"cohort/dataplane"
	"cohort/flowtable"
	"cohort/nat"
	"cohort/node/core"
)

// openNAT compiles the configuration's NAT; nil when it has none.
func (n *Node) openNAT() (*core.NAT, error) {
	boot, cl := n.cfg.Bootstrap, n.cfg.Cluster
	if len(cl.NAT.Rules) == 0 && len(cl.NAT.Pools) == 0 {
		return nil, n.dp.SetNATAddresses(nil)
	}
	rules, err := nat.Compile(cl.NAT)
	if err != nil {
		return nil, err
	}
	if err := n.dp.SetNATAddresses(rules.Geometry().Table()); err != nil {
		return nil, err
	}
	seed, err := flowtable.NewSeed(cryptorand.Reader)
	if err != nil {
		return nil, err
	}
	n.stubs = flowtable.NewBackupStore(seed, 2*cl.Limits.Connections)
	if n.units, err = openUnits(boot, rules.Geometry().Checksum(), n); err != nil {
		return nil, err
	}
	var chacha [32]byte
	if _, err := cryptorand.Read(chacha[:]); err != nil {
		return nil, err
	}
	t := &core.NAT{
		Rules: rules, HoldDown: cl.NAT.HoldDown, HoldDownMax: cl.NAT.HoldDownMax, Stubs: n.stubs,
		Rand: rand.New(rand.NewChaCha8(chacha)), Seed: unitKey(n.cfg.Keys.Seed),
		Found: true, Remember: n.units.memory.put, Journal: n.units.journal,
	}
	if !n.resumed {
		n.beginUnits()
	}
	switch m, err := n.units.memory.read(); {
	case err != nil:
		// Without it this node would found the units anew, or give some to nodes that
		// it has never heard of, while others have them (NT4).
		return nil, fmt.Errorf("node: units: %w; it says who may have blocks of ports: restore it, or move it away and say `cohort forget` for this node at another one first", err)
	case m != nil:
		t.Memory = *m
	}
	return t, nil
}

// unitKey derives the key of the units' order from the cluster's
// seed.
func unitKey(k [32]byte) (key [16]byte) {
	sum := sha256.Sum256(append([]byte("cohort unit order 1"), k[:]...))
	copy(key[:], sum[:])
	return key
}

// Steer implements core.IO.
func (n *Node) Steer(directors []wire.NodeID) { copy(n.dp.NATUnits(), directors) }

// restoreUnits gives back what the daemon before held in this incarnation.
func (n *Node) restoreUnits(now int64) {
	if n.units == nil {
		return
	}
	held, view, ok := n.units.journal.held(n.incarnation)
	if !ok {
		n.units.journal.begin(n.incarnation)
	}
	j := n.units.journal
	n.core.RestoreUnits(now, core.Units{
		Life: n.incarnation, View: view, Held: held, Took: j.took(), Gone: j.gone(), Rests: j.rests(), Own: j.own(), Holds: j.holds(),
	})
}

// loseUnits says that nothing is left of a life that has begun to be resumed.
func (n *Node) loseUnits(now int64) {
	n.core.LoseUnits(now)
}

// beginUnits starts the journal of a new incarnation, which holds nothing.
func (n *Node) beginUnits() {
	if n.units != nil {
		n.units.journal.begin(n.incarnation)
	}
}

// unitState is what a later life of this node must know about units.
type unitState struct {
	memory  *stateFile[blocks.Memory] // outlives everything
	journal *unitJournal              // outlives the process
}

// journalPath is beside the control socket, and not in the state directory: the loop
// stores into that file as connections end, and a store may wait for a disk whose file
// system somebody has frozen (a snapshot of the guest). After a reboot it is worthless.
func journalPath(boot *config.Node) string {
	return strings.TrimSuffix(boot.ControlSocket, filepath.Ext(boot.ControlSocket)) + ".units"
}

func openUnits(boot *config.Node, cut uint32, n *Node) (*unitState, error) {
	path := journalPath(boot)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("node: units: %w", err)
	}
	j, err := openJournal(path, cut)
	if err != nil {
		return nil, fmt.Errorf("node: units: %w", err)
	}
	written := func(m *blocks.Memory) {
		n.post(func(now int64) { n.core.Units().Remembered(now, m.Version) })
	}
	fail := func(err error) {
		n.log.Warn("units not saved; this node gives none to nodes that it has not met", zap.Error(err))
	}
	return &unitState{memory: openState(boot.StateDir, "units.json", written, fail), journal: j}, nil
}

func (u *unitState) close() error {
	u.memory.close()
	return u.journal.close()
}

// post runs do in the loop, later. What comes after the loop's end is lost.
func (n *Node) post(do func(now int64)) {
	n.postMu.Lock()
	n.posted = append(n.posted, do)
	n.postMu.Unlock()
	n.wakeUp()
}

// runPosted runs what post has left.
func (n *Node) runPosted() {
	n.postMu.Lock()
	list := n.posted
	n.posted = nil
	n.postMu.Unlock()
	for _, do := range list {
		do(dataplane.Now())
	}
}
