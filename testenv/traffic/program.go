package traffic

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"cohort/testenv/netns"
)

// Curl fetches Content(size) from ServeHTTP with the program curl and compares
// its sum.
func Curl(ctx context.Context, from *netns.Namespace, addr netip.AddrPort, size int64) error {
	h := sha256.New()
	var said bytes.Buffer
	cmd := exec.Command("curl", "-sS", "--noproxy", "*", fmt.Sprintf("http://%v/%d", addr, size))
	cmd.Stdout, cmd.Stderr = h, &said
	if err := from.Run(ctx, cmd); err != nil {
		return fmt.Errorf("curl: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != ContentSum(size) {
		return fmt.Errorf("curl: sha256 is %s: %w", got, ErrContent)
	}
	return nil
}

var pingSummary = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)

// PingProgram runs the program ping and returns how many replies came.
func PingProgram(ctx context.Context, from *netns.Namespace, to netip.Addr, count int, interval time.Duration) (received int, err error) {
	var out bytes.Buffer
	cmd := exec.Command("ping", "-n", "-q", "-c", strconv.Itoa(count),
		"-i", strconv.FormatFloat(interval.Seconds(), 'f', 3, 64), to.String())
	cmd.Stdout, cmd.Stderr = &out, &out
	err = from.Run(ctx, cmd)
	m := pingSummary.FindSubmatch(out.Bytes())
	if m == nil {
		return 0, fmt.Errorf("ping: no summary: %w: %s", err, strings.TrimSpace(out.String()))
	}
	received, _ = strconv.Atoi(string(m[2]))
	return received, nil // ping fails when nothing came: the number says so
}

// Iperf3 measures one TCP transfer with the program iperf3 and returns bits
// per second as its receiver saw them.
func Iperf3(ctx context.Context, from, server *netns.Namespace, addr netip.AddrPort, length time.Duration) (float64, error) {
	port := strconv.Itoa(int(addr.Port()))
	serving, err := server.Start(exec.Command("iperf3", "-s", "-1", "-B", addr.Addr().String(), "-p", port))
	if err != nil {
		return 0, err
	}
	defer func() { serving.Kill(); <-serving.Done() }()
	var out []byte
	err = retryRefused(ctx, func() (err error) {
		var b bytes.Buffer
		cmd := exec.Command("iperf3", "-J", "-c", addr.Addr().String(), "-p", port,
			"-t", strconv.Itoa(max(1, int(length.Seconds()))))
		cmd.Stdout = &b
		err = from.Run(ctx, cmd)
		if out = b.Bytes(); err == nil && bytes.Contains(out, []byte(`"error":`)) {
			err = errors.New("failed") // some versions exit with 0
		}
		return err
	}, func() bool { return bytes.Contains(out, []byte("refused")) })
	var result struct {
		Error string `json:"error"`
		End   struct {
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if bad := json.Unmarshal(out, &result); bad != nil || err != nil {
		return 0, fmt.Errorf("iperf3: %w: %s", errors.Join(err, bad), result.Error)
	}
	return result.End.Received.BitsPerSecond, nil
}

// retryRefused repeats what failed because its server does not listen yet.
func retryRefused(ctx context.Context, try func() error, refused func() bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || !refused() {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// waitListening waits until a server accepts connections, from its own
// namespace, so that nothing crosses the topology.
func waitListening(ctx context.Context, n *netns.Namespace, addr netip.AddrPort) error {
	var c *net.TCPConn
	var err error
	err = retryRefused(ctx, func() error { c, err = n.DialTCP(ctx, addr); return err },
		func() bool { return ctx.Err() == nil })
	if err != nil {
		return err
	}
	return c.Close()
}
