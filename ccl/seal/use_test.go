package seal

import "testing"

// HL7, CL4: beats have a Sealer of their own under the cluster's keys. An attacker
// who changes the ports of datagrams, handshakes included, must not get a session
// of the one proved to the other: it would take the place of the real one.
func TestHL7_CL4_SessionOfOneUseIsNotProvedToAnother(t *testing.T) {
	with := func(use string) (a, b *Sealer) {
		list := make([]*Sealer, 2)
		for i, local := range []Config{{Local: addrA}, {Local: addrB}} {
			local.Keys, local.Rand, local.Use = []Key{key1}, entropy, use
			s, err := New(local)
			if err != nil {
				t.Fatal(err)
			}
			list[i] = s
		}
		return list[0], list[1]
	}
	control, peer := with("")
	beats, peerBeats := with("beats")
	prove(t, 0, control, peer)
	prove(t, 0, beats, peerBeats)

	// A datagram of the beats on the control port, and the other way round.
	stray := beats.Seal(nil, addrB, []byte{1})
	if o := open(t, peer, 0, addrA, stray, BadTag); o.Challenge != nil {
		t.Error("the control link challenges a session of the beats")
	}
	open(t, peerBeats, 0, addrA, control.Seal(nil, addrB, []byte{1}), BadTag)

	// A challenge made for the one is not answered by the other.
	nonce := peer.challengeFor(0, addrA, peer.peers[addrA], beats.Session())
	if o := open(t, beats, 0, addrB, peer.Seal(nil, addrA, nonce), BadTag); o.Response != nil {
		t.Error("the beats answer a challenge of the control link")
	}

	// And both sessions live.
	open(t, peer, 0, addrA, control.Seal(nil, addrB, []byte{1}), Accepted)
	open(t, peerBeats, 0, addrA, beats.Seal(nil, addrB, []byte{1}), Accepted)
}

func TestUseIsBounded(t *testing.T) {
	if _, err := New(Config{Local: addrA, Keys: []Key{key1}, Rand: entropy, Use: "seventeen letters"}); err == nil {
		t.Error("a use of 17 bytes is taken")
	}
}
