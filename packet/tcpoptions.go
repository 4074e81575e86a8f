package packet

import "encoding/binary"

// NoWScale is TCPOptions.WScale of a SYN that offers no window scaling.
const NoWScale = 0xff

// maxWScale is the largest shift a receiver may use (RFC 7323, 2.3).
const maxWScale = 14

// TCPOptions is what a SYN negotiates.
type TCPOptions struct {
	MSS    uint16 // 0: not announced
	WScale uint8  // NoWScale: not offered
	SACK   bool   // selective acknowledgements permitted
	Signed bool   // by MD5 (RFC 2385) or TCP-AO (RFC 5925): nothing in the segments can change
}

// TCPOptions reads the options of a TCP segment; only those of a SYN mean
// anything. A malformed option ends the list, as it does in most hosts.
func (p *Packet) TCPOptions() TCPOptions {
	o := TCPOptions{WScale: NoWScale}
	if p.Proto != ProtoTCP || p.Payload < p.L4+TCPLen {
		return o
	}
	for b := p.Data[p.L4+TCPLen : p.Payload]; len(b) > 0; {
		kind := b[0]
		if kind == 0 { // end of list
			break
		}
		if kind == 1 { // padding
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			break
		}
		switch value := b[2:b[1]]; {
		case kind == 2 && len(value) == 2:
			o.MSS = binary.BigEndian.Uint16(value)
		case kind == 3 && len(value) == 1:
			o.WScale = min(value[0], maxWScale)
		case kind == 4 && len(value) == 0:
			o.SACK = true
		case kind == 19 || kind == 29:
			o.Signed = true
		}
		b = b[b[1]:]
	}
	return o
}
