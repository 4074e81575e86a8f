package config

import (
	"net/netip"
	"slices"
	"time"
)

// Health says when a member counts as dead, what is watched, and how a node that is
// out comes back.
type Health struct {
	Fast            bool          // beats of a process beside the daemon: dead after 3 x 50 ms (HL7)
	HoldTime        time.Duration // silence that means dead, 0.3-45s; default 3s (HL1). With Fast, that of the event loop
	ElectionTimeout time.Duration // without an answer a node takes control; default 45s (EL1)
	Debounce        time.Duration // of a failed interface, 0.3-9s; default 0.5s (HL2)
	JoinGrace       time.Duration // after a join, without judgement of interfaces; default 90s (HL2)

	// How a node comes back (HL3) after a failed data interface, a failed control
	// link, and after others removed it because it was silent.
	RejoinInterface, RejoinLink, RejoinNode Rejoin
}

// Rejoin is a ladder of attempts.
type Rejoin struct {
	Attempts  int           // 0 = by hand only, RejoinForever = without end
	Interval  time.Duration // before the first attempt
	Variation int           // 1-3: each further pause is this many times the last one
}

// RejoinForever is Rejoin.Attempts without end.
const RejoinForever = -1

func defaultHealth() Health {
	return Health{
		HoldTime: 3 * time.Second, ElectionTimeout: 45 * time.Second,
		Debounce: 500 * time.Millisecond, JoinGrace: 90 * time.Second,
		RejoinInterface: Rejoin{3, 5 * time.Minute, 2},
		RejoinLink:      Rejoin{RejoinForever, 5 * time.Minute, 1},
		RejoinNode:      Rejoin{RejoinForever, 5 * time.Second, 1},
	}
}

func (h *Health) read(v value) {
	var profile *value
	v.fields(
		field{"profile", false, "profile: normal", func(v value) {
			profile = &v
			h.Fast = v.choice("normal", "fast") == "fast"
		}},
		field{"hold_time", false, "hold_time: 3s", func(v value) {
			h.HoldTime = v.duration(300*time.Millisecond, 45*time.Second)
		}},
		field{"election_timeout", false, "election_timeout: 45s", func(v value) {
			h.ElectionTimeout = v.duration(time.Second, 5*time.Minute)
		}},
		field{"interface_debounce", false, "interface_debounce: 500ms", func(v value) {
			h.Debounce = v.duration(300*time.Millisecond, 9*time.Second)
		}},
		field{"join_grace", false, "join_grace: 90s", func(v value) {
			h.JoinGrace = v.duration(0, time.Hour)
		}},
		field{"rejoin", false, "rejoin: {interface: {attempts: 3, interval: 5m, variation: 2}}", func(v value) {
			v.fields(
				field{"interface", false, rejoinExample, h.RejoinInterface.read},
				field{"control_link", false, rejoinExample, h.RejoinLink.read},
				field{"node", false, rejoinExample, h.RejoinNode.read},
			)
		}},
	)
	// 0 is a mistake that was named already.
	if h.Fast && h.HoldTime != 0 && h.HoldTime < minFastHold {
		profile.example = "hold_time: 500ms, or profile: normal"
		profile.wrong("fast needs a hold_time of at least %s, it is %s", short(minFastHold), short(h.HoldTime))
	}
}

// minFastHold is the least hold time beside the fast profile: the argument for the
// lease (cluster/pulse) needs it.
const minFastHold = 500 * time.Millisecond

const rejoinExample = "{attempts: 3, interval: 5m, variation: 2}"

func (r *Rejoin) read(v value) {
	v.fields(
		field{"attempts", false, "attempts: 3, or attempts: forever", func(v value) {
			if v.n.Value == "forever" {
				r.Attempts = RejoinForever
				return
			}
			r.Attempts = v.number(0, 1000)
		}},
		field{"interval", false, "interval: 5m", func(v value) { r.Interval = v.duration(time.Second, 24*time.Hour) }},
		field{"variation", false, "variation: 1", func(v value) { r.Variation = v.number(1, 3) }},
	)
}

// MaxTargets bounds the targets of an interface.
const MaxTargets = 16

// addTarget reads a host, asked by ICMP echo, or a host with a TCP port.
func (i *Interface) addTarget(v value) {
	s, ok := v.scalar("an address")
	if !ok {
		return
	}
	t, err := netip.ParseAddrPort(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil {
			v.wrong("%s is not an address, nor an address with a port", quote(s))
			return
		}
		t = netip.AddrPortFrom(a, 0)
	} else if t.Port() == 0 {
		v.wrong("%s has port 0", quote(s))
		return
	}
	switch {
	case !t.Addr().Is4() || !isUnicast(t.Addr()):
		v.wrong("%s is not the IPv4 address of a host", quote(s))
	case slices.Contains(i.Targets, t):
		v.wrong("%s is listed twice", s)
	case len(i.Targets) == MaxTargets:
		v.wrong("has more than %d addresses", MaxTargets)
	default:
		i.Targets = append(i.Targets, t)
	}
}
