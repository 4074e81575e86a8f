package line

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"cohort/node/realtime"
	"cohort/testenv/netns"
)

// apartEnv tells this program, started again, to be a Line of a seed.
const apartEnv = "COHORT_LINE_SEED"

// apartPriority is above everything of a node: a switch waits for no node's CPU.
const apartPriority = 20

// Descriptors that a Line apart is started with.
const (
	fdA = 3 + iota
	fdB
	fdRequests
)

// request asks a Line apart for the counters of a way, and sets its fault first.
type request struct {
	Way   Way
	Fault *Fault
}

// reply is its answer.
type reply struct {
	Err      string
	Counters Counters
}

// apart is this process's end of a Line in another one.
type apart struct {
	mu      sync.Mutex // guards what follows
	control *os.File
	cmd     *exec.Cmd
}

// OpenApart is Open for tests that fill all CPUs and judge times: the relay is a
// process of its own, of real-time priority. A cable and a switch's port have no
// CPU in common with the nodes, and one that shares it, at ordinary priority,
// carries a frame when the busy programs of the nodes let it. TestMain must have
// called BecomeApart.
func OpenApart(ns *netns.Namespace, a, b string, seed uint64) (*Line, error) {
	p, err := openApart(ns, a, b, seed)
	if err != nil {
		return nil, fmt.Errorf("line %s-%s in %s apart: %w", a, b, ns.Name(), err)
	}
	return &Line{apart: p}, nil
}

func openApart(ns *netns.Namespace, a, b string, seed uint64) (*apart, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ends, err := sockets(ns, a, b)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, errors.Join(err, closeEnds(ends))
	}
	mine, its := os.NewFile(uintptr(pair[0]), "line"), os.NewFile(uintptr(pair[1]), "line")
	fa, fb := os.NewFile(uintptr(ends[0]), a), os.NewFile(uintptr(ends[1]), b)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), apartEnv+"="+strconv.FormatUint(seed, 10))
	cmd.ExtraFiles = []*os.File{fa, fb, its} // fdA and on
	cmd.Stderr = os.Stderr
	err = cmd.Start()
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	if err != nil {
		mine.Close()
		return nil, err
	}
	p := &apart{control: mine, cmd: cmd}
	if _, err := p.call(request{}); err != nil { // it has its priority
		return nil, errors.Join(fmt.Errorf("%w (does TestMain call line.BecomeApart?)", err), p.stop())
	}
	return p, nil
}

func (p *apart) call(q request) (Counters, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return Counters{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, err := p.control.Write(b); err != nil {
		return Counters{}, err
	}
	b = make([]byte, 4096)
	n, err := p.control.Read(b)
	if err != nil {
		return Counters{}, err
	}
	var r reply
	if err := json.Unmarshal(b[:n], &r); err != nil {
		return Counters{}, err
	}
	if r.Err != "" {
		return r.Counters, errors.New(r.Err)
	}
	return r.Counters, nil
}

// stop ends the process, and waits.
func (p *apart) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.control.Close(), p.cmd.Wait())
}

// BecomeApart relays until its control socket is closed, in a process that
// OpenApart has started, and returns at once in any other. TestMain calls it first.
func BecomeApart() {
	seed, err := strconv.ParseUint(os.Getenv(apartEnv), 10, 64)
	if err != nil {
		return
	}
	debug.SetGCPercent(400)
	if err := serveApart(seed); err != nil {
		fmt.Fprintln(os.Stderr, "line:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveApart(seed uint64) error {
	control := os.NewFile(fdRequests, "line")
	if err := realtime.Take(apartPriority); err != nil {
		return err
	}
	l, err := start([2]int{fdA, fdB}, seed)
	if err != nil {
		return err
	}
	b := make([]byte, 4096)
	for {
		n, err := control.Read(b)
		if err == io.EOF || n == 0 {
			return l.Close()
		}
		if err != nil {
			return err
		}
		var q request
		var r reply
		if err := json.Unmarshal(b[:n], &q); err != nil {
			return err
		}
		if q.Fault != nil {
			if err := l.Set(q.Way, *q.Fault); err != nil {
				r.Err = err.Error()
			}
		}
		r.Counters = l.Counters(q.Way)
		out, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if _, err := control.Write(out); err != nil {
			return err
		}
	}
}
