package behaviour

import (
	"bytes"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cohort/testenv/topology"
)

const stunPort = "3478"

// serveSTUN runs coturn at two addresses of a server, each with two ports (RFC
// 5780 needs both), until the test ends.
func serveSTUN(t *testing.T, h *topology.Host, second netip.Addr) {
	t.Helper()
	dir := t.TempDir()
	var said lockedBuffer
	cmd := exec.Command("turnserver", "-n", "--stun-only", "--no-auth", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp",
		"--relay-threads", "1", "-p", stunPort, "-L", h.Addr.String(), "-L", second.String(),
		"--log-file", "stdout", "--pidfile", dir+"/pid", "--userdb", dir+"/db")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &said, &said
	p, err := h.Namespace.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Done() })
	// Ask each of the four places from next door until it answers.
	for _, to := range []string{
		net.JoinHostPort(h.Addr.String(), "3478"), net.JoinHostPort(h.Addr.String(), "3479"),
		net.JoinHostPort(second.String(), "3478"), net.JoinHostPort(second.String(), "3479"),
	} {
		c, err := h.Namespace.DialUDP(netip.MustParseAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		eventually(t, "coturn answers at "+to+said.String(), func() bool {
			select {
			case <-p.Done():
				t.Fatalf("coturn ended: %v\n%s", p.Err(), said.String())
			default:
			}
			c.Write([]byte("\x00\x01\x00\x00\x21\x12\xa4\x42cohort-test-")) // a binding request
			c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			n, err := c.Read(make([]byte, 1500))
			return err == nil && n >= 20
		})
	}
}

// lockedBuffer keeps what a program says while it runs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stunBehaviour lets a client find out what translates it, and compares that
// with the rule that does.
func stunBehaviour(t *testing.T, s *site) {
	serveSTUN(t, s.server, s.stun)
	var asking sync.WaitGroup
	for name, c := range map[string]struct {
		from               *topology.Host
		mapping, filtering string
	}{
		"default":                      {s.plain, "NAT with Address and Port Dependent Mapping", "NAT with Address and Port Dependent Filtering"},
		"endpoint-independent":         {s.open, "NAT with Endpoint Independent Mapping", "NAT with Endpoint Independent Filtering"},
		"endpoint-independent mapping": {s.closed, "NAT with Endpoint Independent Mapping", "NAT with Address and Port Dependent Filtering"},
	} {
		for flag, want := range map[string]string{"-m": c.mapping, "-f": c.filtering} {
			asking.Go(func() { // most of the time they wait for what must not come
				out := output(t, c.from.Namespace, "turnutils_natdiscovery", flag, "-p", stunPort, s.server.Addr.String())
				if !strings.Contains(out, want+"!") {
					t.Errorf("%s, %s:\n%s\nwant %q", name, flag, out, want)
				}
			})
		}
	}
	asking.Wait()
}
