package wire

import (
	"net/netip"

	"pgregory.net/rapid"

	"cohort/packet"
)

// Generators of valid messages: everything that Append must bring over.

func genAddr4(t *rapid.T, label string) packet.Addr {
	return packet.Addr(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, label))
}

func genKey(t *rapid.T) packet.FlowKey {
	return packet.FlowKey{
		Src: genAddr4(t, "src"), Dst: genAddr4(t, "dst"),
		SrcPort: rapid.Uint16().Draw(t, "sport"), DstPort: rapid.Uint16().Draw(t, "dport"),
		Proto: rapid.SampledFrom([]uint8{0, 1, 6, 17, 47, 255}).Draw(t, "proto"),
		Zone:  rapid.SampledFrom([]uint8{0, 0, 1, 255}).Draw(t, "zone"),
	}
}

func genConn(t *rapid.T) Conn {
	k := genKey(t)
	c := Conn{
		Key: k, Reply: genReply(t, k), Gen: rapid.Uint32().Draw(t, "gen"),
		In: rapid.Byte().Draw(t, "in"), Out: rapid.Byte().Draw(t, "out"),
		State: rapid.ByteMax(127).Draw(t, "state"), Flags: rapid.Byte().Draw(t, "flags"),
		Rule: rapid.Uint16().Draw(t, "rule"), Timeout: rapid.Uint16().Draw(t, "timeout"),
	}
	if c.State != 0 && rapid.Bool().Draw(t, "shifted") {
		c.SeqDelta = rapid.Uint32().Draw(t, "delta")
	}
	c.Bound = c.Translated() && rapid.Bool().Draw(t, "bound")
	return c
}

// genLast draws the last owner of an orphan; nothing else has one.
func genLast(t *rapid.T, flags uint8) LastOwner {
	if flags&ConnOrphan == 0 {
		return LastOwner{}
	}
	return LastOwner{ID: genNode(t, "last owner"), Life: rapid.Byte().Draw(t, "life")}
}

// genReply draws a translation of either side, both, or none.
func genReply(t *rapid.T, k packet.FlowKey) packet.FlowKey {
	r := k.Reverse()
	if rapid.Bool().Draw(t, "snat") {
		r.Dst, r.DstPort = genAddr4(t, "mapped"), rapid.Uint16().Draw(t, "mapped port")
	}
	if rapid.Bool().Draw(t, "dnat") {
		r.Src, r.SrcPort = genAddr4(t, "real"), rapid.Uint16().Draw(t, "real port")
	}
	if r == k.Reverse() {
		return packet.FlowKey{}
	}
	return r
}

func genNode(t *rapid.T, label string) NodeID {
	return NodeID(rapid.IntRange(0, MaxNodes-1).Draw(t, label))
}

func genVTEP(t *rapid.T) netip.Addr {
	switch rapid.IntRange(0, 2).Draw(t, "family") {
	case 0:
		return netip.Addr{}
	case 1:
		return genAddr4(t, "vtep").Netip()
	}
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "vtep6")))
}

func genText(t *rapid.T, label string) string { return rapid.StringN(0, 60, MaxString).Draw(t, label) }

func genMember(t *rapid.T, id NodeID) Member {
	return Member{
		ID: id, Name: genText(t, "name"), Serial: genText(t, "serial"), VTEP: genVTEP(t),
		Incarnation: Incarnation(rapid.Uint64().Draw(t, "inc")), Priority: rapid.Byte().Draw(t, "prio"),
	}
}

func genView(t *rapid.T) View {
	v := View{Term: rapid.Uint32().Draw(t, "term"), Epoch: rapid.Uint32().Draw(t, "epoch"), Config: rapid.Uint64().Draw(t, "config"), Control: genNode(t, "control"), Draining: rapid.Uint64().Draw(t, "draining")}
	for id := 1; id < MaxNodes; id++ {
		if rapid.IntRange(0, 9).Draw(t, "in") == 0 {
			v.Members = append(v.Members, genMember(t, NodeID(id)))
		}
	}
	return v
}

// genRanges draws ranges within [from, end), sorted and apart.
func genRanges(t *rapid.T, from, end uint32) (list []UnitRange) {
	for len(list) < MaxUnitRanges && from < end && rapid.IntRange(0, 9).Draw(t, "more") > 0 {
		first := rapid.Uint32Range(from, end-1).Draw(t, "range first")
		count := rapid.Uint32Range(1, end-first).Draw(t, "range count")
		list = append(list, UnitRange{first, count})
		from = first + count
	}
	return list
}

// generators has one entry for every type; TestEveryTypeHasAGenerator checks.
var generators = map[Type]func(*rapid.T) Message{
	TypeClaim: func(t *rapid.T) Message {
		if rapid.Bool().Draw(t, "re") {
			return Claim{Conn: genConn(t), Reregister: true}
		}
		return Claim{Conn: genConn(t), Serial: rapid.Uint32Max(MaxSerial).Draw(t, "serial")}
	},
	TypeGranted: func(t *rapid.T) Message {
		return Granted{Serial: rapid.Uint32Max(MaxSerial).Draw(t, "serial"), Bound: rapid.Bool().Draw(t, "bound")}
	},
	TypeGrant: func(t *rapid.T) Message { return Grant{Conn: genConn(t), Adopted: rapid.Bool().Draw(t, "ad")} },
	TypeRedirect: func(t *rapid.T) Message {
		return Redirect{Key: genKey(t), Owner: genNode(t, "owner"), Gen: rapid.Uint32().Draw(t, "gen")}
	},
	TypeQuery: func(t *rapid.T) Message { return Query{Key: genKey(t)} },
	TypeOwner: func(t *rapid.T) Message {
		return Owner{Key: genKey(t), Owner: genNode(t, "owner"), Gen: rapid.Uint32().Draw(t, "gen")}
	},
	TypeUpdate: func(t *rapid.T) Message {
		m := Update{Conn: genConn(t)}
		m.Last = genLast(t, m.Conn.Flags)
		return m
	},
	TypeClose: func(t *rapid.T) Message {
		k := genKey(t)
		return Close{Key: k, Reply: genReply(t, k), Gen: rapid.Uint32().Draw(t, "gen"), InOrder: rapid.Bool().Draw(t, "in order")}
	},
	TypeGone: func(t *rapid.T) Message { return Gone{Key: genKey(t)} },
	TypeSynced: func(t *rapid.T) Message {
		return Synced{View: rapid.Uint32().Draw(t, "view"), Phase: SyncPhase(rapid.Byte().Draw(t, "phase"))}
	},
	TypeBind: func(t *rapid.T) Message {
		m := Bind{
			Key: genKey(t), Conn: genKey(t), Gen: rapid.Uint32().Draw(t, "gen"),
			Timeout: rapid.Uint16().Draw(t, "timeout"), Flags: rapid.Byte().Draw(t, "flags"),
		}
		m.Last = genLast(t, m.Flags)
		return m
	},
	TypeAlias: func(t *rapid.T) Message { return Alias{Key: genKey(t), Conn: genKey(t)} },
	TypeKept: func(t *rapid.T) Message {
		return Kept{Key: genKey(t), Gen: rapid.Uint32().Draw(t, "gen"), State: rapid.Byte().Draw(t, "state")}
	},
	TypeDelegate: genDelegate,
	TypeReport:   genReport,
	TypeLease:    genLease,
	TypeUnits: func(t *rapid.T) Message {
		m := Units{
			View: rapid.Uint32().Draw(t, "view"), Lineage: rapid.Uint64().Draw(t, "lineage"), Geometry: rapid.Uint32().Draw(t, "geometry"),
			Sum: rapid.Uint64().Draw(t, "sum"), Took: rapid.Uint64().Draw(t, "took"), Flags: rapid.Byte().Draw(t, "flags"),
			First: rapid.Uint32Range(0, MaxUnits).Draw(t, "first"),
		}
		m.Count = rapid.Uint32Range(0, MaxUnits-m.First).Draw(t, "count")
		m.Held, m.Past = genRanges(t, m.First, m.First+m.Count), genRanges(t, m.First, m.First+m.Count)
		return m
	},
	TypeGiveUnits: func(t *rapid.T) Message {
		return GiveUnits{
			View: rapid.Uint32().Draw(t, "view"), Seq: rapid.Uint64().Draw(t, "seq"), Answer: rapid.Bool().Draw(t, "answer"),
			Pool: rapid.Uint16().Draw(t, "pool"), Left: rapid.Uint16().Draw(t, "left"), Units: genRanges(t, 0, MaxUnits),
		}
	},
	TypeWantUnits: func(t *rapid.T) Message {
		return WantUnits{View: rapid.Uint32().Draw(t, "view"), Pool: rapid.Uint16().Draw(t, "pool"), Count: rapid.Uint16().Draw(t, "count")}
	},
	TypeHostUnits: func(t *rapid.T) Message {
		return HostUnits{
			View: rapid.Uint32().Draw(t, "view"), Op: HostOp(rapid.Byte().Draw(t, "op")), Pool: rapid.Uint16().Draw(t, "pool"),
			Host: genAddr4(t, "host"), Count: rapid.Uint16().Draw(t, "count"),
		}
	},
	TypeRests: func(t *rapid.T) Message {
		m := Rests{View: rapid.Uint32().Draw(t, "view"), Departing: rapid.Bool().Draw(t, "departing"), First: rapid.Uint32Range(0, MaxUnits).Draw(t, "first")}
		m.Count = rapid.Uint32Range(0, MaxUnits-m.First).Draw(t, "count")
		for _, u := range genRanges(t, m.First, m.First+m.Count) {
			m.Units = append(m.Units, UnitRest{u.First, rapid.Uint32().Draw(t, "left")})
		}
		return m
	},
	TypeRoster: func(t *rapid.T) Message {
		var m Roster
		for range rapid.IntRange(0, MaxRoster).Draw(t, "n") {
			m.Entries = append(m.Entries, RosterEntry{Name: genText(t, "name"), Seen: rapid.Uint64().Draw(t, "seen"), Over: rapid.Bool().Draw(t, "over"), Forgotten: rapid.Uint64Range(0, 3).Draw(t, "forgotten")})
		}
		return m
	},
	TypeHeartbeat: func(t *rapid.T) Message {
		return Heartbeat{
			From: genMember(t, genNode(t, "id")), State: NodeState(rapid.Byte().Draw(t, "state")),
			Term: rapid.Uint32().Draw(t, "term"), Epoch: rapid.Uint32().Draw(t, "epoch"),
			Control: genNode(t, "control"), Alive: rapid.Uint64().Draw(t, "alive"), Prepared: rapid.Uint64().Draw(t, "prepared"),
			Down: rapid.Uint32().Draw(t, "down"), Narrow: rapid.Uint64().Draw(t, "narrow"), Flags: BeatFlags(rapid.Byte().Draw(t, "flags")),
		}
	},
	TypeElectionRequest: func(t *rapid.T) Message {
		return ElectionRequest{From: genMember(t, genNode(t, "id")), Cluster: genText(t, "cluster")}
	},
	TypeElectionReply: func(t *rapid.T) Message {
		return ElectionReply{
			From: genMember(t, genNode(t, "id")), Control: genNode(t, "control"),
			Term: rapid.Uint32().Draw(t, "term"), Epoch: rapid.Uint32().Draw(t, "epoch"),
		}
	},
	TypeJoin: func(t *rapid.T) Message {
		return Join{
			From: genMember(t, genNode(t, "id")), Cluster: genText(t, "cluster"), Version: genText(t, "version"),
			DataMTU: rapid.Uint16().Draw(t, "mtu"), Interfaces: rapid.SliceOfN(rapid.StringN(0, 20, MaxString), 0, MaxStrings).Draw(t, "ifs"),
			Config: rapid.Uint64().Draw(t, "config"), Prepared: rapid.Uint64().Draw(t, "prepared"),
			Tier: Tier{genText(t, "tier"), rapid.Uint16().Draw(t, "cpus"), rapid.Uint32().Draw(t, "connections")},
		}
	},
	TypeJoinRefused: func(t *rapid.T) Message { return JoinRefused{Reason: genText(t, "reason")} },
	TypeView:        func(t *rapid.T) Message { return ViewMsg{View: genView(t)} },
	TypeLeave:       func(t *rapid.T) Message { return Leave{From: genMember(t, genNode(t, "id"))} },
	TypeRemoved: func(t *rapid.T) Message {
		return Removed{
			Life: Incarnation(rapid.Uint64().Draw(t, "life")), Term: rapid.Uint32().Draw(t, "term"), Epoch: rapid.Uint32().Draw(t, "epoch"),
			Cause: Cause(rapid.Byte().Draw(t, "cause")), Reason: genText(t, "reason"),
		}
	},
	TypeExposure: func(t *rapid.T) Message {
		n := func(label string) uint32 { return rapid.Uint32().Draw(t, label) }
		m := Exposure{
			Owned: n("owned"), NoCopy: n("no copy"), Async: n("async"), Sync: n("sync"), Behind: n("behind"),
			Oldest: n("oldest"), P50: n("p50"), P99: n("p99"),
		}
		for id := NodeID(1); id < MaxNodes; id++ {
			if rapid.IntRange(0, 9).Draw(t, "holds") == 0 {
				m.Held = append(m.Held, HeldBy{Node: id, Count: n("count")})
			}
		}
		return m
	},
	TypeOrder: func(t *rapid.T) Message {
		return Order{
			Verb: OrderVerb(rapid.Byte().Draw(t, "verb")), Node: genNode(t, "node"),
			Term: rapid.Uint32().Draw(t, "term"), Epoch: rapid.Uint32().Draw(t, "epoch"),
		}
	},
	TypeProbe: func(t *rapid.T) Message {
		return Probe{ID: rapid.Uint32().Draw(t, "id"), Size: rapid.Uint16().Draw(t, "size"), From: genVTEP(t)}
	},
	TypeBeat: func(t *rapid.T) Message {
		return Beat{Life: Incarnation(rapid.Uint64().Draw(t, "life")), Stale: rapid.Uint32().Draw(t, "stale"), Flags: PulseFlags(rapid.Byte().Draw(t, "flags")),
			Number: rapid.Uint32().Draw(t, "number"), Sent: rapid.Uint64().Draw(t, "sent"), Late: rapid.Uint32().Draw(t, "late")}
	},
	TypeProbeReply: func(t *rapid.T) Message {
		return ProbeReply{ID: rapid.Uint32().Draw(t, "id"), Size: rapid.Uint16().Draw(t, "size")}
	},
}
