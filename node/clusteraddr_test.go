package node

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

func TestEL7_TheAnnouncementIsAGratuitousARP(t *testing.T) {
	mac, addr := [6]byte{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("10.1.0.254").As4()
	p := gopacket.NewPacket(gratuitousARP(mac, addr), layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	switch {
	case p.ErrorLayer() != nil || eth == nil || arp == nil:
		t.Fatalf("%v", p)
	case eth.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || !bytes.Equal(eth.SrcMAC, net.HardwareAddr(mac[:])):
		t.Errorf("from %v to %v", eth.SrcMAC, eth.DstMAC)
	case arp.Operation != layers.ARPRequest || arp.AddrType != layers.LinkTypeEthernet || arp.Protocol != layers.EthernetTypeIPv4 ||
		!bytes.Equal(arp.SourceHwAddress, mac[:]) || !bytes.Equal(arp.DstHwAddress, make([]byte, 6)) ||
		!bytes.Equal(arp.SourceProtAddress, addr[:]) || !bytes.Equal(arp.DstProtAddress, addr[:]):
		t.Errorf("%+v", arp)
	}
}
