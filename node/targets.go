package node

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cohort/cluster/health"
	"cohort/config"
)

// probeEvery is how often a target is asked, and how long it has for the answer.
const probeEvery = time.Second

// watchTargets asks the targets of an interface until ctx ends (HL6). Probes leave
// by that interface. A node that may not forward is not answered, and learns
// nothing.
func (n *Node) watchTargets(ctx context.Context, in *config.Interface) error {
	set := health.NewTargets(len(in.Targets))
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for round := uint16(0); ; round++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		answered := make([]bool, len(in.Targets))
		done := make(chan struct{})
		for i, t := range in.Targets {
			go func() {
				answered[i] = probe(ctx, in.Device, t, round)
				done <- struct{}{}
			}()
		}
		for range in.Targets {
			<-done
		}
		err := n.inLoop(ctx, func(now int64) {
			if n.members.view == nil {
				set.Forget()
			} else {
				for i, ok := range answered {
					set.Probed(i, ok)
				}
			}
			n.core.Targets(now, in.ID, set.Reached())
		})
		if err != nil {
			return nil // ctx has ended
		}
	}
}

// probe asks one target: by a connection to its port, or by an echo request.
func probe(ctx context.Context, device string, target netip.AddrPort, seq uint16) bool {
	ctx, cancel := context.WithTimeout(ctx, probeEvery)
	defer cancel()
	bound := func(_, _ string, c syscall.RawConn) (err error) {
		if e := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), device) }); e != nil {
			return e
		}
		return err
	}
	if target.Port() != 0 {
		c, err := (&net.Dialer{Control: bound}).DialContext(ctx, "tcp4", target.String())
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	c, err := (&net.ListenConfig{Control: bound}).ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		return false
	}
	defer c.Close()
	until, _ := ctx.Deadline()
	if c.SetDeadline(until) != nil {
		return false
	}
	ask := echoRequest(uint16(unix.Getpid()), seq)
	if _, err := c.WriteTo(ask, &net.IPAddr{IP: target.Addr().AsSlice()}); err != nil {
		return false
	}
	b := make([]byte, 128)
	for {
		size, from, err := c.ReadFrom(b)
		if err != nil {
			return false
		}
		a, _ := netip.AddrFromSlice(from.(*net.IPAddr).IP.To4())
		if a == target.Addr() && size >= 8 && b[0] == 0 && string(b[4:8]) == string(ask[4:8]) {
			return true
		}
	}
}

// echoRequest is an ICMP echo request without data (RFC 792).
func echoRequest(id, seq uint16) []byte {
	b := []byte{8, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	sum := uint32(0x0800) + uint32(id) + uint32(seq)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	return b
}
