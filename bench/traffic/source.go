package traffic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
)

// Source makes packets. Not safe for concurrent use.
type Source struct {
	objs  trafficObjects
	frame []byte
}

// NewSource loads a source. Out is the interface that Send sends by, an index
// in the namespace of the thread that will call it; 0 for a source that only
// does Repeat.
func NewSource(shape Shape, out int) (*Source, error) {
	if shape.Flows < 1 || shape.Flows > MaxFlows {
		return nil, fmt.Errorf("traffic: %d connections, want 1 to %d", shape.Flows, MaxFlows)
	}
	if shape.Spread && shape.Flows > MaxSpread {
		return nil, fmt.Errorf("traffic: %d connections over servers, want at most %d", shape.Flows, MaxSpread)
	}
	spec, err := loadTraffic()
	if err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	if err := shape.configure(spec, out); err != nil {
		return nil, fmt.Errorf("traffic: %w", err)
	}
	s := &Source{frame: shape.template(0)[:shape.frameLen()]}
	if err := spec.LoadAndAssign(&s.objs, nil); err != nil {
		return nil, fmt.Errorf("traffic: load: %w", err)
	}
	return s, nil
}

func (s *Shape) configure(spec *ebpf.CollectionSpec, out int) error {
	var frames [2][words]uint64
	var ip, l4, at [2]uint32
	for kind := range frames {
		b := s.template(kind)
		for w := range words {
			frames[kind][w] = binary.NativeEndian.Uint64(b[8*w:])
		}
		ip[kind], l4[kind], at[kind] = s.sums(b)
	}
	hosts, servers := s.hosts(), s.servers()
	flag := func(b bool) uint32 {
		if b {
			return 1
		}
		return 0
	}
	var pause uint64
	if s.Rate > 0 {
		pause = batch * uint64(time.Second) / uint64(s.Rate)
	}
	var m [2]byte
	binary.BigEndian.PutUint16(m[:], mark)
	var errs []error
	for name, value := range map[string]any{
		"frames": frames, "ip_sum": ip, "l4_sum": l4, "check_at": at,
		"frame_len": uint32(s.frameLen()), "l3_off": uint32(s.l3()), "flows": uint32(s.Flows),
		"mixed": flag(s.UDP && !s.AllUDP), "reply": flag(s.Reply), "sequential": flag(s.Sequential),
		"out": uint32(out), "pause": pause, "host_base": hosts.base, "host_mask": hosts.mask, "port_shift": s.portShift(),
		"server_base": servers.base, "server_mask": servers.mask,
		"mark": binary.NativeEndian.Uint16(m[:]),
	} {
		errs = append(errs, spec.Variables[name].Set(value))
	}
	return errors.Join(errs...)
}

// Send puts packets on the interface and returns when all of them are where
// they go, as far as the calling CPU takes them. The caller is on a locked
// thread in the namespace of the interface. Each call is rounded up to whole
// batches of 64.
func (s *Source) Send(packets int) error {
	_, err := run(s.objs.Send, s.frame, 0, Batches(packets), batch, liveFrames)
	return err
}

// Turn makes connection i the next one of a sequential source.
func (s *Source) Turn(i int) error {
	if err := s.objs.Turn.Set(uint32(i)); err != nil {
		return fmt.Errorf("traffic: turn: %w", err)
	}
	return nil
}

// batch is the kernel's default for live frames, and maxBatch the most.
const (
	batch    = 64
	maxBatch = 256
)

// Batches is how many packets Send really sends.
func Batches(packets int) int {
	return (packets + batch - 1) / batch * batch
}

// Repeat sends packets through a program, as if they came in by an interface
// of the calling thread's namespace, and returns the time of each with the
// source's own. A nil program measures the source alone.
func (s *Source) Repeat(p *ebpf.Program, ifindex, packets int) (each time.Duration, err error) {
	if p == nil {
		p = s.objs.Nothing
	}
	if err := s.objs.Subject.Put(uint32(0), uint32(p.FD())); err != nil {
		return 0, fmt.Errorf("traffic: subject: %w", err)
	}
	return run(s.objs.Repeat, s.frame, ifindex, packets, 0, 0)
}

// One returns the packet of one connection: the frame that the program makes,
// for tests.
func (s *Source) One() ([]byte, error) {
	out := make([]byte, len(s.frame))
	opts := ebpf.RunOptions{Data: s.frame, DataOut: out}
	_, err := s.objs.Send.Run(&opts)
	return opts.DataOut, err
}

// Close releases the programs.
func (s *Source) Close() error { return s.objs.Close() }
