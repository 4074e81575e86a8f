package traffic

import (
	"encoding/binary"

	"cohort/bpf"
	"cohort/packet"
)

// cclHeaders is where the IP packet begins in a data frame.
const cclHeaders = bpf.CCLPayload

// write makes the headers of a data frame (bpf/encap.h); length is that of the
// outer IP packet. No MAC is checked on the link.
func (c *CCLFrame) write(b []byte, length uint16) {
	be := binary.BigEndian
	be.PutUint16(b[12:], 0x0800)
	ip := b[ethernet:]
	ip[0], ip[8], ip[9] = 0x45, 64, packet.ProtoUDP
	be.PutUint16(ip[2:], length)
	be.PutUint16(ip[6:], 0x4000)
	from, to := c.From.As4(), c.To.As4()
	copy(ip[12:], from[:])
	copy(ip[16:], to[:])
	udp := ip[ipHeader:]
	be.PutUint16(udp[0:], 0xc000)
	be.PutUint16(udp[2:], bpf.CCLPort)
	be.PutUint16(udp[4:], length-ipHeader)
	vxlan := udp[8:]
	vxlan[0] = 0x08
	be.PutUint32(vxlan[4:], c.VNI<<8)
	be.PutUint16(b[bpf.CCLHeader-2:], bpf.CCLEthertype)
	h := b[bpf.CCLHeader:]
	h[0], h[1], h[2], h[3] = bpf.CCLHeaderVersion, bpf.CCLData, c.Node, 1
	be.PutUint32(h[4:], c.View)
	h[8], h[9] = c.Iface, c.Node
}
