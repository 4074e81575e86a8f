package packet_test

import (
	"bytes"
	"testing"

	"cohort/packet"
	"cohort/packet/packettest"
)

// RFC 7126: what would choose the packet's way is not for a firewall, wherever among the
// options and in whichever fragment it stands.
func TestTR1_OptionsThatChooseTheWay(t *testing.T) {
	lsrr, ssrr := []byte{131, 7, 4, 192, 0, 2, 7, 0}, []byte{137, 7, 4, 192, 0, 2, 7, 0}
	alert := []byte{148, 4, 0, 0}
	for _, c := range []struct {
		name    string
		options []byte
		want    packet.Reject
	}{
		{"loose source route", lsrr, packet.RejectSourceRoute},
		{"strict source route", ssrr, packet.RejectSourceRoute},
		{"behind another", append(bytes.Clone(alert), lsrr...), packet.RejectSourceRoute},
		{"behind no-operation", append([]byte{1, 1, 1, 1}, ssrr...), packet.RejectSourceRoute},
		{"router alert", alert, packet.OK},
		{"record route", []byte{7, 7, 4, 0, 0, 0, 0, 0}, packet.OK},
		{"behind the end", append([]byte{0, 0, 0, 0}, lsrr...), packet.OK},
		{"length of one", []byte{148, 1, 0, 0}, packet.RejectIPOptions},
		{"longer than the header", []byte{148, 5, 0, 0}, packet.RejectIPOptions},
		{"a type alone", []byte{1, 1, 1, 148}, packet.RejectIPOptions},
	} {
		for _, offset := range []uint16{0, 80} {
			s := packettest.Spec{Key: web, IPOptions: len(c.options), MoreFragments: offset != 0, FragOffset: offset, Payload: make([]byte, 80)}
			s.Key.Proto = packet.ProtoUDP
			frame := packettest.Build(s)
			copy(frame[packet.EthernetLen+packet.IPv4Len:], c.options)
			want := c.want
			if want == packet.OK && offset != 0 {
				want = packet.RejectFragment
			}
			var p packet.Packet
			if got := p.Parse(frame); got != want {
				t.Errorf("%s, offset %d: %v, want %v", c.name, offset, got, want)
			}
		}
	}
}

// RFC 791, 3.1: options with the copied flag are in every fragment, the others in the
// first alone.
func TestTR1_FragmentsHaveTheOptionsThatAreCopied(t *testing.T) {
	options := []byte{7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 9, 1, 136, 4, 5, 6} // record route, router alert, nothing, stream
	s := packettest.Spec{Key: web, IPOptions: len(options), Payload: make([]byte, 500)}
	s.Key.Proto = packet.ProtoUDP
	frame := packettest.Build(s)
	at := packet.EthernetLen + packet.IPv4Len
	copy(frame[at:], options)
	for _, cut := range []int{0, len(options)} {
		var p packet.Packet
		if r := p.Parse(frame); r != packet.OK {
			t.Fatal(r)
		}
		count := 0
		for offset, more := 0, true; more; count++ {
			f, next := p.AppendFragment(nil, 128+cut, offset)
			want := options
			if offset > 0 {
				want = []byte{148, 4, 0, 9, 136, 4, 5, 6}
			}
			header := int(f[0]&15) * 4
			if got := f[packet.IPv4Len:header]; !bytes.Equal(got, want) || packet.Checksum(f[:header]) != 0 {
				t.Errorf("offset %d: options %v, want %v; sum %#x", offset, got, want, packet.Checksum(f[:header]))
			}
			if !bytes.Equal(f[header:], p.Data[p.L4+offset:p.L4+offset+len(f)-header]) || len(f) > 128+cut {
				t.Errorf("offset %d: %d bytes, not the packet's", offset, len(f))
			}
			offset, more = next, next != 0
		}
		if count < 4 {
			t.Errorf("%d fragments: the test tests nothing", count)
		}
	}
}
