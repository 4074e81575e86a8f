package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.uber.org/zap"

	"cohort/api"
	"cohort/cluster/membership"
	"cohort/config"
	"cohort/nat"
	"cohort/node/core"
)

// live is the part of the configuration that a reload changes, as it runs. It
// is immutable; a reload swaps it.
type live struct {
	cluster *config.Cluster // its policy and nat
	rules   *nat.Rules      // nil without NAT
	config  uint64          // checksum
}

// natRules are those that run; any goroutine may ask.
func (n *Node) natRules() *nat.Rules { return n.live.Load().rules }

// Reload implements api.Reloader.
func (p provider) Reload(ctx context.Context) (api.Reload, error) { return p.n.readAgain(ctx) }

// readAgain reads the key file and the cluster configuration once more. The keys
// are in use at once (CL10); the configuration is prepared: the node changes when all members of the view are ready for it (NT7). The file of the
// configuration that runs discards what was prepared.
func (n *Node) readAgain(ctx context.Context) (r api.Reload, err error) {
	next, setup, err := n.compile(n.cfg.Bootstrap.Config)
	keys, keyErr := config.LoadKeys(n.cfg.Bootstrap.KeyFile)
	if err = errors.Join(err, keyErr); err != nil {
		err = fmt.Errorf("%w: %w", err, api.ErrRefused)
		n.log.Warn("reload refused", zap.Error(err))
		return r, err
	}
	r.Config, r.Keys = membership.ConfigName(next.config), keys.IDs()
	var refused error
	err = n.inLoop(ctx, func(now int64) {
		if refused = n.useKeys(now, keys); refused != nil {
			return
		}
		was := n.live.Load()
		n.next, setup.RuleNumber = next, ruleNumbers(was.cluster.Rules, next.cluster.Rules)
		runs := n.core.Prepare(now, setup)
		switch {
		case was.config == next.config:
			r.State = api.ReloadSame
		case runs:
			r.State = api.ReloadRuns
		default:
			r.State, r.Waiting = api.ReloadPrepared, n.core.Member().Status(now).Unready
		}
	})
	if refused != nil {
		n.log.Warn("reload refused", zap.Error(refused))
		return api.Reload{}, refused
	}
	return r, err
}

// compile reads a file and makes it ready to run. Errors are ready to show.
func (n *Node) compile(file string) (*live, *core.Setup, error) {
	next, err := config.LoadCluster(file)
	if err != nil {
		return nil, nil, err
	}
	if err := next.Fits(file, n.cfg.Bootstrap); err != nil {
		return nil, nil, err
	}
	if err := n.cfg.Cluster.Reloads(file, next); err != nil {
		return nil, nil, err
	}
	judge, err := next.CompilePolicy()
	if err != nil {
		return nil, nil, err
	}
	s := &core.Setup{Config: next.Checksum(), Policy: judge, HoldDown: next.NAT.HoldDown, HoldDownMax: next.NAT.HoldDownMax}
	if next.Translates() {
		if s.NAT, err = nat.Compile(next.NAT); err != nil {
			return nil, nil, err
		}
	}
	return &live{next, s.NAT, s.Config}, s, nil
}

// ruleNumbers maps the numbers of rules to those of the rules of the same name.
func ruleNumbers(old, next []config.Rule) func(uint16) uint16 {
	names := make(map[string]uint16, len(next))
	for i := range next {
		names[next[i].Name] = uint16(i + 1)
	}
	return func(r uint16) uint16 {
		if r == 0 || int(r) > len(old) {
			return 0
		}
		return names[old[r-1].Name]
	}
}

// Reload implements core.IO: s, which was prepared, runs from here on.
func (n *Node) Reload(s *core.Setup) {
	n.live.Store(n.next)
	if s.NAT != nil {
		if n.xlog != nil {
			n.xlog.rules = s.NAT
		}
		if err := n.dp.SetNATAddresses(s.NAT.Geometry().Table()); err != nil {
			n.log.Error("translated addresses: return packets take the slow path", zap.Error(err))
		}
	}
	n.log.Info("configuration runs", zap.String("config", membership.ConfigName(s.Config)))
}

// waiting says what a prepared configuration waits for.
func waiting(s *membership.Status) string {
	text := "prepared " + membership.ConfigName(s.Prepared)
	if len(s.Unready) > 0 {
		text += ", waiting for " + strings.Join(s.Unready, ", ")
	}
	return text
}

// hangups reads the configuration again whenever a signal asks for it, until
// ctx ends.
func (n *Node) hangups(ctx context.Context) error {
	for {
		select {
		case <-n.cfg.Hangup:
		case <-ctx.Done():
			return nil
		}
		if r, err := n.readAgain(ctx); err == nil {
			n.log.Info("reloaded", zap.String("config", r.Config), zap.String("state", r.State), zap.Strings("waiting for", r.Waiting))
		}
	}
}
