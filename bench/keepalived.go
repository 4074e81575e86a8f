package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"cohort/testenv/netns"
	"cohort/testenv/topology"
)

// The peer: two Linux routers with keepalived, conntrackd in mode FTFW and nftables,
// set up as their own documentation says (conntrackd's examples/sync with
// primary-backup.sh). One of them has both virtual addresses and forwards all.
//
// It translates to an address that belongs to neither: masquerade would take the
// node's own one, which dies with it.
var (
	insideVIP  = netip.MustParsePrefix("10.1.0.254/24")
	outsideVIP = netip.MustParsePrefix("198.51.100.254/24")
)

// peerRules are a stateful firewall as the other benchmarks' peers have one, and
// source NAT. A connection that is not known is not picked up in its middle.
const peerRules = `table ip nat {
	chain post { type nat hook postrouting priority srcnat; oifname "out0" ip saddr 10.0.0.0/16 snat to ` + publicAddress + `; };
}
table inet filter {
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state invalid drop
		iifname "in0" oifname "out0" ct state new accept
	};
}
`

const conntrackdConf = `Sync {
	Mode FTFW { }
	UDP {
		IPv4_address %[1]s
		IPv4_Destination_Address %[2]s
		Port 3780
		Interface ccl0
		SndSocketBuffer 1249280
		RcvSocketBuffer 1249280
		Checksum on
	}
}
General {
	HashSize 32768
	HashLimit 131072
	LogFile %[3]s/conntrackd.log
	LockFile %[3]s/conntrackd.lock
	UNIX { Path %[3]s/conntrackd.ctl }
	NetlinkBufferSize 2097152
	NetlinkBufferSizeMaxGrowth 8388608
	Filter From Userspace {
		Protocol Accept { TCP UDP }
		Address Ignore { IPv4_address 127.0.0.1 IPv4_address %[1]s IPv4_address %[2]s }
	}
}
`

// primaryBackup is what conntrackd's primary-backup.sh does.
const primaryBackup = `#!/bin/sh
c="conntrackd -C %[1]s/conntrackd.conf"
case "$1" in
primary) $c -c; $c -f; $c -R; $c -B ;;
backup) $c -t; $c -n ;;
esac
echo "$1" >> %[1]s/role
`

const keepalivedConf = `global_defs {
	router_id %[1]s
	script_user root
	enable_script_security
	vrrp_version 3
	vrrp_garp_master_delay 1
}
vrrp_sync_group pair {
	group { inside outside }
	notify_master "%[2]s/primary-backup.sh primary"
	notify_backup "%[2]s/primary-backup.sh backup"
	notify_fault "%[2]s/primary-backup.sh fault"
}
vrrp_instance inside {
	interface in0
	state BACKUP
	virtual_router_id 51
	priority %[3]d
	advert_int %.2[4]f
	virtual_ipaddress { %[5]v dev in0 }
}
vrrp_instance outside {
	interface out0
	state BACKUP
	virtual_router_id 52
	priority %[3]d
	advert_int %.2[4]f
	virtual_ipaddress { %[6]v dev out0 }
}
`

// Priorities: the backup's is as high as it may be, for the time it waits beyond
// three advertisements is (256 - priority)/256 of one (RFC 5798, 6.1).
const (
	activePriority = 254
	backupPriority = 253
)

// linuxPair is the peer with the same time until a silent router counts as dead.
func linuxPair(name string, hold time.Duration) contender {
	advert := advertOf(hold)
	dead := 3*advert + advert*(256-backupPriority)/256
	return contender{
		name: name, hold: hold,
		said: fmt.Sprintf("advertisement every %v, master down after 3 of them and the skew of priority %d: %v; conntrackd FTFW on a link of its own", advert, backupPriority, dead.Round(time.Millisecond)),
		build: func(ctx context.Context, c contender, flows int) (*pairOfRouters, error) {
			top, err := topology.New(ctx, topology.Config{Nodes: 2, Mode: topology.Bare})
			if err != nil {
				return nil, err
			}
			p := &pairOfRouters{Topology: top, active: top.Nodes[0], close: top.Close}
			p.known = func(ctx context.Context) error { return knows(ctx, top.Nodes[1], flows) }
			if err := p.startLinux(ctx, advert); err != nil {
				return nil, fmt.Errorf("%w%s", err, closeWith(top))
			}
			return p, nil
		},
	}
}

// advertOf is a third of a hold time in the hundredths of a second that VRRP has.
func advertOf(hold time.Duration) time.Duration { return (hold / 3).Truncate(10 * time.Millisecond) }

// closeWith removes a network and returns what its programs have said.
func closeWith(top *topology.Topology) string {
	said := ""
	for _, n := range top.Nodes {
		for _, f := range []string{"conntrackd.out", "keepalived.out"} {
			if b, err := os.ReadFile(filepath.Join(n.Dir, f)); err == nil && len(b) > 0 {
				said += fmt.Sprintf("\n%s %s:\n%s", n.Name, f, b[max(0, len(b)-1000):])
			}
		}
	}
	_ = top.Close()
	return said
}

func (p *pairOfRouters) startLinux(ctx context.Context, advert time.Duration) error {
	for i, n := range p.Nodes {
		if err := linuxRouter(n, p.Nodes[1-i], activePriority-i, advert); err != nil {
			return fmt.Errorf("%s: %w", n.Name, err)
		}
		if i == 0 { // so that it is the active one from the start
			if err := until(ctx, func() (bool, error) { return hasVIPs(n) }); err != nil {
				return fmt.Errorf("%s does not become master: %w", n.Name, err)
			}
		}
	}
	for _, r := range []struct {
		ns  *netns.Namespace
		to  string
		via netip.Prefix
	}{{p.Inside.Namespace, "0.0.0.0/0", insideVIP}, {p.Outside.Namespace, "203.0.113.0/24", outsideVIP}} {
		dst, err := netlink.ParseIPNet(r.to)
		if err != nil {
			return err
		}
		if err := r.ns.Netlink().RouteReplace(&netlink.Route{Dst: dst, Gw: r.via.Addr().AsSlice()}); err != nil {
			return fmt.Errorf("route to %s: %w", r.to, err)
		}
	}
	// Its notify script ends with this.
	return until(ctx, func() (bool, error) {
		a, _ := os.ReadFile(filepath.Join(p.Nodes[0].Dir, "role"))
		b, _ := os.ReadFile(filepath.Join(p.Nodes[1].Dir, "role"))
		return bytes.HasSuffix(a, []byte("primary\n")) && bytes.HasSuffix(b, []byte("backup\n")), nil
	})
}

// linuxRouter sets one of the two up.
func linuxRouter(n, other *topology.Node, priority int, advert time.Duration) error {
	ns := n.Namespace()
	for _, s := range [][2]string{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/rp_filter", "0"},
		{"net/netfilter/nf_conntrack_tcp_loose", "0"},
	} {
		if err := ns.Sysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	if err := nft(ns, peerRules); err != nil {
		return err
	}
	files := []struct {
		name, text string
		mode       os.FileMode
	}{
		{"conntrackd.conf", fmt.Sprintf(conntrackdConf, n.CCL, other.CCL, n.Dir), 0o600},
		{"primary-backup.sh", fmt.Sprintf(primaryBackup, n.Dir), 0o700},
		{"keepalived.conf", fmt.Sprintf(keepalivedConf, n.Name, n.Dir, priority, advert.Seconds(), insideVIP, outsideVIP), 0o600},
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(n.Dir, f.name), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	if err := startLogged(n, "conntrackd", "-C", filepath.Join(n.Dir, "conntrackd.conf")); err != nil {
		return err
	}
	return startLogged(n, "keepalived", "--dont-fork", "--log-console", "--vrrp", "--use-file="+filepath.Join(n.Dir, "keepalived.conf"),
		"--pid="+filepath.Join(n.Dir, "keepalived.pid"), "--vrrp_pid="+filepath.Join(n.Dir, "vrrp.pid"))
}

// startLogged runs a daemon in the node's namespace, in whose directory its output
// goes; it dies with the namespace.
func startLogged(n *topology.Node, name string, args ...string) error {
	out, err := os.Create(filepath.Join(n.Dir, name+".out"))
	if err != nil {
		return err
	}
	defer out.Close() // the process has its own
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, n.Dir
	_, err = n.Namespace().Start(cmd)
	return err
}

// hasVIPs reports whether a node has both virtual addresses.
func hasVIPs(n *topology.Node) (bool, error) {
	nl := n.Namespace().Netlink()
	for iface, vip := range map[string]netip.Prefix{topology.InsideIface: insideVIP, topology.OutsideIface: outsideVIP} {
		l, err := nl.LinkByName(iface)
		if err != nil {
			return false, err
		}
		addrs, err := nl.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return false, err
		}
		has := false
		for _, a := range addrs {
			has = has || a.IP.String() == vip.Addr().String()
		}
		if !has {
			return false, nil
		}
	}
	return true, nil
}

// knows waits until the backup has so many connections of the other in its external
// cache, all of TCP established.
func knows(ctx context.Context, n *topology.Node, flows int) error {
	have := 0
	err := until(ctx, func() (bool, error) {
		var out bytes.Buffer
		cmd := exec.Command("conntrackd", "-C", filepath.Join(n.Dir, "conntrackd.conf"), "-e")
		cmd.Stdout = &out
		if err := n.Namespace().Run(ctx, cmd); err != nil {
			return false, err
		}
		have = 0
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "udp") || strings.Contains(line, "ESTABLISHED") {
				have++
			}
		}
		return have >= flows, nil
	})
	if err != nil {
		return fmt.Errorf("the backup knows of %d connections of %d: %w", have, flows, err)
	}
	return nil
}
