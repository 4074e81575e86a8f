package node

import (
	"fmt"
	"time"

	"cohort/api"
	"cohort/ccl/wire"
	"cohort/cluster/health"
	"cohort/cluster/membership"
	"cohort/config"
	"cohort/node/core"
)

// linkEvery is how often the control link's own interface is looked at.
const linkEvery = int64(100 * time.Millisecond)

// watched turns the configuration into what the core watches (HL2, HL3).
func watched(c *config.Cluster) core.Health {
	h := core.Health{Monitor: health.MonitorConfig{Debounce: c.Health.Debounce, Grace: c.Health.JoinGrace}}
	for i := range c.Interfaces {
		in := &c.Interfaces[i]
		h.Names[in.ID] = in.Name
		if in.Monitored {
			h.Monitor.Watched |= 1 << in.ID
		}
	}
	plans := health.Defaults()
	set := func(cause wire.Cause, r config.Rejoin) {
		p := &plans[cause]
		p.Attempts, p.Interval, p.Variation = r.Attempts, r.Interval, r.Variation
	}
	set(wire.CauseInterface, c.Health.RejoinInterface)
	set(wire.CauseLink, c.Health.RejoinLink)
	set(wire.CauseNode, c.Health.RejoinNode)
	h.Rejoin = &plans
	return h
}

// reportLinks tells the core the state of the data interfaces.
func (n *Node) reportLinks(now int64) {
	for _, l := range n.fib.Links() {
		n.cluster.link(now, l.ID, l.Up) // first: the core may take the addresses from here
		n.core.Interface(now, l.ID, l.Up)
	}
}

// watchControlLink tells the core whether the control link's interface works, and the
// packet path how large packets it takes.
func (n *Node) watchControlLink(now int64) {
	if now < n.nextLink {
		return
	}
	n.nextLink = now + linkEvery
	if mtu := n.link.Takes(); mtu > 0 {
		n.dp.SetCCLMTU(mtu)
	}
	n.core.ControlLink(now, n.link.Running())
}

// rejoinCheck is what health says of a node that is out: the cause, what was tried
// and when it is tried again (HL3). nil: it is not out.
func (n *Node) rejoinCheck(s *health.LadderStatus) *api.Check {
	if s.Phase == health.On {
		return nil
	}
	c := &api.Check{Member: n.cfg.Bootstrap.Name, Name: "rejoin", Since: wall(s.Since), Cause: health.CauseName(s.Cause) + ": " + s.Why}
	if s.Phase == health.Disabled {
		c.Cause += "; out until an operator lets it join"
	} else {
		next := wall(s.Next)
		c.Next = &next
		c.Cause += "; attempt " + fmt.Sprint(s.Attempt+1)
		if s.Attempts != health.Forever {
			c.Cause += fmt.Sprintf(" of %d", s.Attempts)
		}
	}
	return c
}

// narrowChecks are what health says of members whose control link does not carry
// full-sized packets (CL3).
func narrowChecks(s *membership.Status, at time.Time) (list []api.Check) {
	for _, w := range s.Narrow {
		c := api.Check{Member: w.Name, Name: "control link mtu", Since: at, Cause: "full-sized packets do not cross to or from " + w.To}
		if w.All {
			c.Cause += ": between no two members, so nobody is removed for it; see the mtu of the switch"
		}
		list = append(list, c)
	}
	return list
}

// interfaceCheck is what health says of a data interface.
func (n *Node) interfaceCheck(id uint8, up bool, now int64) api.Check {
	c := api.Check{Member: n.cfg.Bootstrap.Name, Name: "interface " + n.ifaceName(id), OK: up, Since: wall(n.started)}
	if in := n.cfg.Cluster.Interface(n.ifaceName(id)); !up {
		c.Cause = "down or without carrier"
		if in != nil && !in.Monitored {
			c.Cause += "; not monitored"
		}
	}
	broken, since := n.core.Monitor().Broken(id)
	if since != 0 {
		c.Since = wall(since)
	}
	if broken && up {
		c.OK, c.Cause = false, "its targets do not answer"
	}
	if !c.OK && n.core.Monitor().Grace(now) {
		c.Cause += "; not judged so soon after the join"
	}
	return c
}
