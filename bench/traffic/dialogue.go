package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// MaxOuts is how many ports a side of a Talk can have.
const MaxOuts = 16

// Out is a way out: an interface, and the MAC at the other end of its cable.
type Out struct {
	Ifindex int
	MAC     [6]byte
}

// Talk says who talks to whom. Connections are those of a Shape with Spread:
// Key tells the addresses and ports of each as the client has them.
type Talk struct {
	Flows int   // connections, at most MaxSpread
	Hosts int   // that open them, as in Shape
	UDP   bool  // one packet each way instead of TCP
	Outs  []Out // of this side; each packet leaves by one of them, chosen at random
	// ByFlow has a connection's packets of one direction leave by one port, as an
	// ECMP router does.
	ByFlow bool
	// Back has what is answered go back by the port where it came in: nodes that
	// know nothing of each other. With ByFlow a connection has one node.
	Back bool
	// Tiers bounds what the node behind each of Outs gets, by its number there; nil:
	// nothing does.
	Tiers *Tiers
}

// shape tells the keys of the connections.
func (t *Talk) shape() *Shape { return &Shape{Flows: t.Flows, Hosts: t.Hosts, Spread: true} }

// Said counts what a side has sent or heard since it was made.
type Said struct {
	Dialled  uint64 // first packets
	Opened   uint64 // SYN-ACKs heard by clients; SYNs by servers
	Answered uint64 // packets with data heard
	Closed   uint64 // FINs heard: at the client, a connection that is complete
	Refused  uint64 // RSTs heard
	Damaged  uint64 // packets with a wrong checksum or length
	Strange  uint64 // other packets of ours that nobody of this side expects
	Silent   uint64 // answers that found no room in the frame that was heard
}

const numSaid = 8

// side is what Dialer, Clients and Servers have in common.
type side struct {
	objs  dialogueObjects
	links []link.Link
}

// open loads a side; all interfaces are of the calling thread's namespace.
func (t *Talk) open(d Dialling) (*side, error) {
	if t.Flows < 1 || t.Flows > MaxSpread {
		return nil, fmt.Errorf("traffic: %d connections, want 1 to %d", t.Flows, MaxSpread)
	}
	if len(t.Outs) < 1 || len(t.Outs) > MaxOuts {
		return nil, fmt.Errorf("traffic: %d ways out, want 1 to %d", len(t.Outs), MaxOuts)
	}
	spec, err := loadDialogue()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	shape := t.shape()
	hosts, servers := shape.hosts(), shape.servers()
	var id, port [2]byte
	binary.BigEndian.PutUint16(id[:], mark)
	binary.BigEndian.PutUint16(port[:], ServerPort)
	var errs []error
	for name, value := range map[string]any{
		"outs": dialogueOuts(t.Outs), "num_outs": uint32(len(t.Outs)), "flows": uint32(t.Flows),
		"host_base": hosts.base, "host_mask": hosts.mask, "server_base": servers.base, "server_mask": servers.mask,
		"established": bit(d != First), "in_order": bit(d == InOrder), "udp": bit(t.UDP), "by_flow": bit(t.ByFlow), "back": bit(t.Back),
		"mark": binary.NativeEndian.Uint16(id[:]), "server_port": binary.NativeEndian.Uint16(port[:]),
	} {
		errs = append(errs, spec.Variables[name].Set(value))
	}
	opts, err := t.Tiers.into(spec)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	s := &side{}
	if err := spec.LoadAndAssign(&s.objs, opts); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
	}
	return s, nil
}

func dialogueOuts(outs []Out) (all [MaxOuts]dialoguePort) {
	for i, o := range outs {
		all[i] = dialoguePort{Ifindex: uint32(o.Ifindex), Mac: o.MAC}
	}
	return all
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// attach puts a program on every port of the side.
func (s *side) attach(p *ebpf.Program, outs []Out) error {
	for _, o := range outs {
		l, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: o.Ifindex, Flags: link.XDPDriverMode})
		if err != nil {
			return errors.Join(fmt.Errorf("traffic: interface %d: %w", o.Ifindex, err), s.Close())
		}
		s.links = append(s.links, l)
	}
	return nil
}

// Said returns the counters of all CPUs together.
func (s *side) Said() (said Said, err error) {
	var n [numSaid]uint64
	for i := range n {
		var each []uint64
		if err := s.objs.Counts.Lookup(uint32(i), &each); err != nil {
			return said, fmt.Errorf("traffic: counters: %w", err)
		}
		for _, c := range each {
			n[i] += c
		}
	}
	return Said{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}, nil
}

// Odd returns the beginning of the last packet that was damaged or strange, zeros
// if there was none.
func (s *side) Odd() ([]byte, error) {
	var b [dialFrame]byte
	if err := s.objs.Odd.Get(&b); err != nil {
		return nil, fmt.Errorf("traffic: odd packet: %w", err)
	}
	return b[:], nil
}

// Close takes the side from its ports.
func (s *side) Close() error {
	var errs []error
	for _, l := range s.links {
		errs = append(errs, l.Close())
	}
	s.links = nil
	return errors.Join(append(errs, s.objs.Close())...)
}

// Dialer sends the first packets of connections, one after the other, or data
// of established ones, at random. Not safe for concurrent use.
type Dialer struct {
	*side
	batch int  // packets of a batch of the kernel
	first bool // they are the first ones of connections
}

// Dialling is what a Dialer sends.
type Dialling int

const (
	First   Dialling = iota // the first packet of one connection after the other
	AnyData                 // data of an open connection, chosen at random
	InOrder                 // data of one open connection after the other
)

// NewDialer loads a dialer.
func NewDialer(t Talk, d Dialling) (*Dialer, error) {
	s, err := t.open(d)
	if err != nil {
		return nil, err
	}
	if d != First {
		return &Dialer{side: s, batch: batch}, nil
	}
	switch l, err := link.AttachXDP(link.XDPOptions{Program: s.objs.Dial, Interface: loopback, Flags: link.XDPGenericMode}); {
	case err == nil:
		s.links = append(s.links, l)
	case !errors.Is(err, unix.EBUSY): // another one of this namespace is there: it waits, no more
		return nil, errors.Join(fmt.Errorf("traffic: dialer: %w", err), s.Close())
	}
	return &Dialer{side: s, batch: min(batch*len(t.Outs), maxBatch), first: true}, nil
}

// loopback is the index of a namespace's loopback interface, which nothing comes in by.
// A program that no interface has is put into the kernel's table of them for each run
// and taken out again, and each time it waits for a grace period of RCU: 30 ms a run here,
// in which the nodes have nothing to do.
const loopback = 1

// dialFrame is the room that a packet of a dialer begins with.
const dialFrame = ethernet + ipHeader + 20 + 12

// Dial sends packets, rounded up to whole batches of 64, and returns when all of
// them, and all that was said because of them, are where they go, as far as the
// calling CPU takes them. First packets are sent before any daemon on the same CPU looks
// at one: so each of n finds as many of them together as a single one, when it is given n
// times as many. More packets of data at once would only displace each other in the
// caches. The caller is on a locked thread in the namespace of the ports.
func (d *Dialer) Dial(packets int) error {
	packets = Batches(packets)
	send := func() error {
		for _, size := range []int{d.batch, batch} {
			if n := packets / size * size; n > 0 {
				if _, err := run(d.objs.Dial, make([]byte, dialFrame), 0, n, size, liveFrames); err != nil {
					return err
				}
				packets -= n
			}
		}
		return nil
	}
	if !d.first {
		return send()
	}
	return uninterrupted(send)
}

// uninterrupted runs do with real-time priority for the calling thread, which gets its
// own back afterwards.
func uninterrupted(do func() error) error {
	const self = 0
	own, err := unix.SchedGetAttr(self, 0)
	if err != nil {
		return fmt.Errorf("traffic: priority: %w", err)
	}
	fifo := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(self, &fifo, 0); err != nil {
		return fmt.Errorf("traffic: real-time priority: %w", err)
	}
	err = do()
	if e := unix.SchedSetAttr(self, own, 0); e != nil {
		return errors.Join(err, fmt.Errorf("traffic: priority: %w", e))
	}
	return err
}

// Clients goes on with what a Dialer began.
type Clients struct{ *side }

// NewClients attaches clients to all ports.
func NewClients(t Talk) (*Clients, error) {
	s, err := t.open(First)
	if err != nil {
		return nil, err
	}
	return &Clients{s}, s.attach(s.objs.Listen, t.Outs)
}

// Closing says whether clients close when they have been answered; at first
// they do not.
func (c *Clients) Closing(yes bool) error { return c.objs.Closes.Set(bit(yes)) }

// Servers answers whoever asks. It has no memory: what it says follows from
// what it hears.
type Servers struct{ *side }

// NewServers attaches servers to all ports.
func NewServers(t Talk) (*Servers, error) {
	s, err := t.open(First)
	if err != nil {
		return nil, err
	}
	return &Servers{s}, s.attach(s.objs.Answer, t.Outs)
}
