package campaign

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"cohort/testenv/topology"
)

// OpenersConfig describes Openers. All fields are needed.
type OpenersConfig struct {
	From     []*topology.Host
	TCP, UDP netip.AddrPort // echo servers
	// First and Ports are the local ports, used in turn by all clients in step,
	// so that they want the same port at the same time. A port's turn must not
	// come again before the cluster has forgotten its last one.
	First, Ports uint16
	Every        time.Duration // between two connections of one client and protocol
	Timeout      time.Duration // what takes longer has failed
}

// Opening is one attempt to open a connection, exchange some bytes and close it.
type Opening struct {
	Protocol     string         // tcp or udp
	Source       netip.AddrPort // before translation
	Began, Ended time.Time
	Err          error // nil: complete
}

// Openers begin new TCP connections and UDP exchanges all the time, whether
// earlier ones have come to their end or not.
type Openers struct {
	cfg    OpenersConfig
	cancel context.CancelFunc
	all    sync.WaitGroup
	mu     sync.Mutex // guards done
	done   []Opening
}

// StartOpeners begins.
func StartOpeners(ctx context.Context, cfg OpenersConfig) *Openers {
	ctx, cancel := context.WithCancel(ctx)
	o := &Openers{cfg: cfg, cancel: cancel}
	for i, h := range cfg.From {
		o.all.Go(func() { o.run(ctx, "tcp", i, h, o.tcp) })
		o.all.Go(func() { o.run(ctx, "udp", i, h, o.udp) })
	}
	return o
}

// Finish begins nothing more, waits for what runs and returns all of it.
// Idempotent.
func (o *Openers) Finish() []Opening {
	o.cancel()
	o.all.Wait()
	return o.done
}

func (o *Openers) run(ctx context.Context, protocol string, client int, h *topology.Host, one func(h *topology.Host, client, round int, port uint16) error) {
	tick := time.NewTicker(o.cfg.Every)
	defer tick.Stop()
	for round := 0; ; round++ {
		port := o.cfg.First + uint16(round)%o.cfg.Ports
		o.all.Go(func() {
			p := Opening{Protocol: protocol, Source: netip.AddrPortFrom(h.Addr, port), Began: time.Now()}
			p.Err = one(h, client, round, port)
			p.Ended = time.Now()
			o.mu.Lock()
			o.done = append(o.done, p)
			o.mu.Unlock()
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// tcp is one connection: a block there and back, and an end in order. One that
// fails ends with a reset, so that nothing of it lives on in the client.
func (o *Openers) tcp(h *topology.Host, client, round int, port uint16) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.cfg.Timeout)
	defer cancel()
	c, err := h.Namespace.DialTCPFrom(ctx, port, o.cfg.TCP)
	if err != nil {
		return err
	}
	defer c.Close()
	defer func() {
		if err != nil {
			c.SetLinger(0)
		}
	}()
	deadline, _ := ctx.Deadline()
	out := o.content(client, round, port)
	if err := exchange(c, out, make([]byte, len(out)), deadline); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, c); err != nil || n > 0 {
		return fmt.Errorf("%d bytes after the end: %w", n, err)
	}
	return nil
}

// udp is one exchange, asked for twice if need be.
func (o *Openers) udp(h *topology.Host, client, round int, port uint16) error {
	c, err := h.Namespace.DialUDPFrom(port, o.cfg.UDP)
	if err != nil {
		return err
	}
	defer c.Close()
	out, in := o.content(client, round, port), make([]byte, 100)
	for range 2 {
		if _, err = c.Write(out); err != nil {
			continue // an ICMP error about the first
		}
		c.SetReadDeadline(time.Now().Add(o.cfg.Timeout / 2))
		var n int
		if n, err = c.Read(in); err == nil && !bytes.Equal(in[:n], out) {
			err = errContent
		}
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			break
		}
	}
	return err
}

// content begins as sniff.Tuples wants it: client, port. Its first eight bytes
// are this opening's alone.
func (o *Openers) content(client, round int, port uint16) []byte {
	b := bytes.Repeat([]byte{byte(round)}, 64)
	binary.BigEndian.PutUint32(b, uint32(client))
	binary.BigEndian.PutUint16(b[4:], port)
	binary.BigEndian.PutUint16(b[6:], uint16(round/int(o.cfg.Ports)))
	return b
}
