package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cohort/testenv/netns"
)

// privsepDir is compiled into sshd; it must exist and be empty.
const privsepDir = "/run/sshd"

// SSHServer is a private sshd with keys of its own: no file of the system's
// sshd is read, and nobody without the key below Dir gets in.
type SSHServer struct {
	Addr netip.AddrPort

	dir  string
	proc *netns.Process
}

// ServeSSH starts sshd inside a namespace and waits until it listens. Keys and
// configuration are written to dir.
func ServeSSH(ctx context.Context, n *netns.Namespace, addr netip.AddrPort, dir string) (*SSHServer, error) {
	s := &SSHServer{Addr: addr, dir: dir}
	if err := s.prepare(ctx, n); err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd" // not in everybody's path
	}
	log, err := os.Create(filepath.Join(dir, "sshd.log"))
	if err != nil {
		return nil, fmt.Errorf("sshd: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(sshd, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stdout, cmd.Stderr = log, log
	if s.proc, err = n.Start(cmd); err != nil {
		return nil, err
	}
	if err := waitListening(ctx, n, addr); err != nil {
		s.Close()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("sshd: %w: %s", err, said)
	}
	return s, nil
}

// prepare writes keys and configuration.
func (s *SSHServer) prepare(ctx context.Context, n *netns.Namespace) error {
	if err := os.MkdirAll(privsepDir, 0o755); err != nil {
		return err
	}
	for _, key := range []string{"host_key", "user_key"} {
		var said bytes.Buffer
		cmd := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f", filepath.Join(s.dir, key))
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := n.Run(ctx, cmd); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, said.String())
		}
	}
	hostKey, err := os.ReadFile(filepath.Join(s.dir, "host_key.pub"))
	if err != nil {
		return err
	}
	known := fmt.Sprintf("[%v]:%d %s", s.Addr.Addr(), s.Addr.Port(), hostKey)
	settings := []string{
		"ListenAddress " + s.Addr.String(),
		"HostKey " + filepath.Join(s.dir, "host_key"),
		"AuthorizedKeysFile " + filepath.Join(s.dir, "user_key.pub"),
		"PidFile none", "StrictModes no", "UsePAM no", "UseDNS no", "PasswordAuthentication no",
		"KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password", "MaxStartups 100", "",
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "known_hosts"), []byte(known), 0o600),
		os.WriteFile(filepath.Join(s.dir, "sshd_config"), []byte(strings.Join(settings, "\n")), 0o600))
}

// Close kills the server; its sessions die with their namespace. Idempotent.
func (s *SSHServer) Close() error {
	err := s.proc.Kill()
	<-s.proc.Done()
	return err
}

// SSHSession is an interactive session whose far side repeats every line. It is
// used by one goroutine at a time.
type SSHSession struct {
	proc  *netns.Process
	in    io.WriteCloser
	lines chan string
	said  *bytes.Buffer // error output; read after proc.Done
	count int
	stall time.Duration
}

// Session logs in from another namespace, with the program ssh.
func (s *SSHServer) Session(from *netns.Namespace) (*SSHSession, error) {
	cmd := exec.Command("ssh", "-F", "none", "-T", "-p", strconv.Itoa(int(s.Addr.Port())), "-l", "root",
		"-i", filepath.Join(s.dir, "user_key"),
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile="+filepath.Join(s.dir, "known_hosts"), "-o", "GlobalKnownHostsFile=none",
		s.Addr.Addr().String(), "exec cat")
	x := &SSHSession{lines: make(chan string, 1), said: new(bytes.Buffer)}
	// Pipes of our own: those of exec would be closed under the reader by Wait.
	inRead, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	out, outWrite, err := os.Pipe()
	if err != nil {
		inRead.Close()
		in.Close()
		return nil, fmt.Errorf("ssh: %w", err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inRead, outWrite, x.said
	x.in = in
	x.proc, err = from.Start(cmd)
	inRead.Close()
	outWrite.Close()
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	go x.read(out)
	return x, nil
}

// read passes the lines on until the session ends.
func (x *SSHSession) read(out io.ReadCloser) {
	defer out.Close()
	defer close(x.lines)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		x.lines <- lines.Text()
	}
}

// Exchange sends a line and waits for its echo. The first one includes the
// login.
func (x *SSHSession) Exchange(ctx context.Context) error {
	x.count++
	want := "line " + strconv.Itoa(x.count)
	begin := time.Now()
	if _, err := fmt.Fprintln(x.in, want); err != nil {
		return x.failed(err)
	}
	select {
	case got, ok := <-x.lines:
		if !ok {
			return x.failed(io.ErrUnexpectedEOF)
		}
		if got != want {
			return fmt.Errorf("ssh: got %q for %q: %w", got, want, ErrContent)
		}
	case <-ctx.Done():
		return fmt.Errorf("ssh: no echo for %v: %w", time.Since(begin), ctx.Err())
	}
	if x.count > 1 {
		x.stall = max(x.stall, time.Since(begin))
	}
	return nil
}

// failed adds what ssh said before it ended.
func (x *SSHSession) failed(err error) error {
	x.proc.Kill()
	<-x.proc.Done()
	return fmt.Errorf("ssh: %w: %s", err, strings.TrimSpace(x.said.String()))
}

// Stall returns the longest exchange so far but the first.
func (x *SSHSession) Stall() time.Duration { return x.stall }

// Close ends the session in order, by force if the context ends first, and
// returns whether ssh was content.
func (x *SSHSession) Close(ctx context.Context) error {
	x.in.Close()
	err := x.proc.Wait(ctx)
	for range x.lines {
	}
	if err != nil {
		return fmt.Errorf("ssh: %w: %s", err, strings.TrimSpace(x.said.String()))
	}
	return nil
}
