package campaign

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"cohort/testenv/line"
	"cohort/testenv/topology"
)

func cut(d topology.Direction) func(*topology.Node) error {
	return func(n *topology.Node) error { return n.CutCCL(d) }
}

func mendCCL(n *topology.Node) error { return n.MendCCL(topology.Both) }

func dataLinks(up bool, ifaces ...string) func(*topology.Node) error {
	return func(n *topology.Node) (err error) {
		for _, i := range ifaces {
			if up {
				err = errors.Join(err, n.LinkUp(i))
			} else {
				err = errors.Join(err, n.LinkDown(i))
			}
		}
		return err
	}
}

// What a line does to both ways.
var (
	perfect = line.Fault{}
	bigLost = line.Fault{MTU: 1500}
	narrow  = line.Fault{Rate: 400_000, Classes: true}
)

// setLine gives both ways of a node's line a fault. It has a line before the
// load begins: plugging it in is a short cut of its own.
func setLine(f line.Fault) func(*topology.Node) error {
	return func(n *topology.Node) error {
		l, err := n.LineCCL(uint64(n.Index))
		if err != nil {
			return err
		}
		return errors.Join(l.Set(topology.NodeSends, f), l.Set(topology.NodeReceives, f))
	}
}

func lineEach(s *scene, victims []*topology.Node) error { return each(setLine(perfect))(s, victims) }

func lineAll(s *scene, _ []*topology.Node) error { return each(setLine(perfect))(s, s.Nodes) }

// linesProof says what the lines swallowed; nothing is an error.
func linesProof(s *scene) (string, error) {
	var big, full, crossed uint64
	for _, n := range s.Nodes {
		l, err := n.LineCCL(uint64(n.Index))
		if err != nil {
			return "", err
		}
		for _, way := range []line.Way{topology.NodeSends, topology.NodeReceives} {
			c := l.Counters(way)
			big, full, crossed = big+c.TooBig, full+c.Full, crossed+c.Delivered
		}
	}
	said := fmt.Sprintf("frames too large %d, without room %d, crossed %d", big, full, crossed)
	if big+full == 0 {
		return said, errors.New(said)
	}
	return said, nil
}

// fillLinks makes all control links narrow and sends many times what they carry
// through the cluster; only the receiving way is narrow, as a switch's port.
func fillLinks(s *scene, _ []*topology.Node) error {
	for _, n := range s.Nodes {
		l, err := n.LineCCL(uint64(n.Index))
		if err != nil {
			return err
		}
		if err := l.Set(topology.NodeReceives, narrow); err != nil {
			return err
		}
	}
	stop, err := flood(s, 24, 10*narrow.Rate)
	if err != nil {
		return err
	}
	s.undo = append(s.undo, stop)
	return nil
}

func emptyLinks(s *scene, _ []*topology.Node) error {
	for _, f := range s.undo {
		f()
	}
	s.undo = nil
	return each(setLine(perfect))(s, s.Nodes)
}

// flood sends so many bytes a second to a port of the server that swallows them,
// until stop, which waits. Idempotent.
func flood(s *scene, flows, rate int) (stop func(), err error) {
	sink, err := s.server.Namespace.ListenPacket("udp4", s.at(11).String())
	if err != nil {
		return nil, err
	}
	const size = 1400
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer sink.Close()
		packet := make([]byte, size)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		var conns []interface {
			Write([]byte) (int, error)
			Close() error
		}
		for range flows {
			c, err := s.client.DialUDP(s.at(11))
			if err != nil {
				return
			}
			defer c.Close()
			conns = append(conns, c)
		}
		for began, sent := time.Now(), 0; ; {
			for due := int(time.Since(began).Seconds() * float64(rate) / size); sent < due; sent++ {
				_, _ = conns[sent%len(conns)].Write(packet)
			}
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	done := false
	return func() {
		if !done {
			done = true
			close(quit)
		}
		<-ended
	}, nil
}

// busyCPUs begins twice as many busy processes as there are CPUs. They end with
// the round, with this process, or by themselves.
func busyCPUs(s *scene, _ []*topology.Node) (err error) {
	if s.idle, err = idleTicks(); err != nil {
		return err
	}
	for range 2 * runtime.NumCPU() {
		cmd := exec.Command("timeout", "20", "sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return err
		}
		s.undo = append(s.undo, func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			_ = cmd.Wait()
		})
	}
	return nil
}

func idleCPUs(s *scene, _ []*topology.Node) error {
	for _, f := range s.undo {
		f()
	}
	s.undo = nil
	return nil
}

// fullDisks leaves no node a place to write the view without the victim.
func fullDisks(s *scene, victims []*topology.Node) error {
	return errors.Join(each((*topology.Node).FillDisk)(s, s.Nodes), each(powerOff)(s, victims))
}

func freeDisks(s *scene, victims []*topology.Node) error {
	return errors.Join(each((*topology.Node).FreeDisk)(s, s.survivors(victims)), each((*topology.Node).PowerOn)(s, victims))
}

// slowness is how long each change takes on a slow disk; four make a new file
// that outlives the machine, so that the view is on disk long after it is over.
const slowness = failureHold

// diskEach makes the disks of all nodes such that can be slow.
func diskEach(s *scene, _ []*topology.Node) error {
	return each(func(n *topology.Node) error { return n.SlowDisk(0) })(s, s.Nodes)
}

// slowDisks lets no node write down soon what follows from the victim's death.
func slowDisks(s *scene, victims []*topology.Node) error {
	slow := func(n *topology.Node) error { return n.SlowDisk(slowness) }
	return errors.Join(each(slow)(s, s.Nodes), each(powerOff)(s, victims))
}

func fastDisks(s *scene, victims []*topology.Node) error {
	fast := func(n *topology.Node) error { return n.SlowDisk(0) }
	return errors.Join(each(fast)(s, s.survivors(victims)), each((*topology.Node).PowerOn)(s, victims))
}

// slowProof is how many changes waited, at the survivors.
func slowProof(s *scene) (string, error) {
	var least uint64
	for i, n := range s.survivors(s.struck) {
		if k := n.Slowed(); i == 0 || k < least {
			least = k
		}
	}
	said := fmt.Sprintf("%d changes or more waited at each", least)
	if least == 0 {
		return said, errors.New("a disk was never used")
	}
	return said, nil
}

// idleTicks is how long all CPUs together had nothing to do since boot.
func idleTicks() (idle uint64, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	var user, nice, system uint64
	_, err = fmt.Sscanf(string(b), "cpu %d %d %d %d", &user, &nice, &system, &idle)
	return idle, err
}

// busyProof says how much of the time the CPUs were idle; more than a tenth is
// an error.
func busyProof(s *scene) (string, error) {
	idle, err := idleTicks()
	if err != nil {
		return "", err
	}
	const hz = 100 // USER_HZ, of amd64
	share := float64(idle-s.idle) / hz / time.Since(s.begin).Seconds() / float64(runtime.NumCPU())
	said := fmt.Sprintf("CPUs idle for %.1f %% of the time", 100*share)
	if share > 0.1 {
		return said, errors.New(said)
	}
	return said, nil
}
