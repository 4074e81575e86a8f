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

func TestEL7_TheAnnouncementIsAnUnsolicitedNeighbourAdvertisement(t *testing.T) {
	mac, addr := [6]byte{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("2001:db8:1::fffe")
	b := unsolicitedAdvertisement(mac, addr.As16())
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	na, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	switch {
	case p.ErrorLayer() != nil || eth == nil || ip == nil || icmp == nil || na == nil:
		t.Fatalf("%v", p)
	case eth.DstMAC.String() != "33:33:00:00:00:01" || !bytes.Equal(eth.SrcMAC, mac[:]):
		t.Errorf("from %v to %v", eth.SrcMAC, eth.DstMAC)
	case ip.HopLimit != 255 || !ip.SrcIP.Equal(addr.AsSlice()) || ip.DstIP.String() != "ff02::1" || int(ip.Length) != len(b)-54:
		t.Errorf("%+v", ip)
	case !na.Override() || na.Solicited() || na.Router() || !na.TargetAddress.Equal(addr.AsSlice()) ||
		len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(na.Options[0].Data, mac[:]):
		t.Errorf("%+v", na)
	}
	if err := icmp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	again := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(again, gopacket.SerializeOptions{ComputeChecksums: true}, icmp, gopacket.Payload(icmp.Payload))
	if err != nil || !bytes.Equal(again.Bytes(), b[54:]) {
		t.Errorf("checksum %#x, want %x (%v)", icmp.Checksum, again.Bytes()[2:4], err)
	}
}
