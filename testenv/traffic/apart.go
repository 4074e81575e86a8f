package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"

	"cohort/testenv/netns"
)

// apartEnv tells this program, started again, to be an echo server at an address.
const apartEnv = "COHORT_TRAFFIC_ECHO"

// Apart is an echo server in a process of its own: a process may have so many open
// files only, and ten thousand connections have twenty thousand ends.
type Apart struct {
	Addr    netip.AddrPort
	process *netns.Process
}

// BecomeApart serves until it is killed, in a process that ServeEchoApart has
// started, and returns at once in any other. TestMain calls it first.
func BecomeApart() {
	at := os.Getenv(apartEnv)
	if at == "" {
		return
	}
	err := echoApart(at)
	fmt.Fprintln(os.Stderr, "echo server:", err)
	os.Exit(1)
}

func echoApart(at string) error {
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp4", at)
	if err != nil {
		return err
	}
	fmt.Println("ready") // read by ServeEchoApart
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			continue // the peer left before it was accepted
		}
		go func() {
			defer c.Close()
			b := make([]byte, 2048) // not io.Copy: it takes two files more for a pipe
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				if _, err := c.Write(b[:n]); err != nil {
					return
				}
			}
		}()
	}
}

// ServeEchoApart starts this program again as an echo server in the namespace.
func ServeEchoApart(n *netns.Namespace, addr netip.AddrPort) (*Apart, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), apartEnv+"="+addr.String())
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	p, err := n.Start(cmd)
	w.Close()
	if err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		p.Kill()
		<-p.Done()
		return nil, fmt.Errorf("echo server at %v does not start: %w (does TestMain call BecomeApart?)", addr, err)
	}
	return &Apart{addr, p}, nil
}

// Close kills the server and waits for its end. Idempotent.
func (a *Apart) Close() {
	a.process.Kill()
	<-a.process.Done()
}
