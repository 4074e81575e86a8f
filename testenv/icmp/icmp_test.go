package icmp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"cohort/testenv/netns"
)

// namespace makes one that is gone after the test.
func namespace(t *testing.T) *netns.Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	tag, err := netns.NewTag()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.New(tag.Name("icmp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func TestEcho_MatchesItsOwnReplies(t *testing.T) {
	n := namespace(t)
	mine, err := Open(n, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	other, err := Open(n, 8)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	lo := netip.MustParseAddr("127.0.0.1")
	if err := other.Send(lo, 99, nil); err != nil {
		t.Fatal(err)
	}
	for seq := uint16(1); seq <= 3; seq++ {
		if err := mine.Send(lo, seq, []byte("odd")); err != nil {
			t.Fatal(err)
		}
		mine.SetReadDeadline(time.Now().Add(10 * time.Second))
		r, err := mine.Read()
		if err != nil || r.Seq != seq || r.From != lo || string(r.Payload) != "odd" {
			t.Errorf("reply %+v, %v; want sequence %d", r, err, seq)
		}
	}
	mine.SetReadDeadline(time.Now())
	if _, err := mine.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read after the deadline: %v", err)
	}
	mine.Close()
	if _, err := mine.Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after Close: %v", err)
	}
}

// What is queued is read at once, however long the deadline of Read is over, in the
// order in which it came; nothing is waited for.
func TestQueued_ReadsWhatIsThereAndDoesNotWait(t *testing.T) {
	n := namespace(t)
	mine, err := Open(n, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if r, ok, err := mine.Queued(); ok || err != nil {
		t.Errorf("from an empty socket: %+v, %v, %v", r, ok, err)
	}
	mine.SetReadDeadline(time.Now())
	lo := netip.MustParseAddr("127.0.0.1")
	for seq := uint16(1); seq <= 3; seq++ {
		if err := mine.Send(lo, seq, []byte("odd")); err != nil {
			t.Fatal(err)
		}
	}
	end := time.Now().Add(10 * time.Second)
	for seq := uint16(1); seq <= 3; {
		r, ok, err := mine.Queued()
		switch {
		case err != nil || time.Now().After(end):
			t.Fatalf("reply %d: %v, %v", seq, ok, err)
		case !ok:
			time.Sleep(time.Millisecond) // it may be between the two ends of the loopback
		case r.Seq != seq || r.From != lo || string(r.Payload) != "odd":
			t.Fatalf("reply %+v, want sequence %d", r, seq)
		default:
			seq++
		}
	}
	if r, ok, err := mine.Queued(); ok || err != nil {
		t.Errorf("after the last: %+v, %v, %v", r, ok, err)
	}
	mine.Close()
	if _, _, err := mine.Queued(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestParseReply_RefusesTheRest(t *testing.T) {
	good := appendRequest(nil, 7, 1, []byte("abc"))
	good[0] = typeReply
	sum := func(b []byte) []byte {
		b[2], b[3] = 0, 0
		c := checksum(b)
		b[2], b[3] = byte(c>>8), byte(c)
		return b
	}
	if _, ok := parseReply(sum(good), 7); !ok {
		t.Fatal("a good reply was refused")
	}
	damaged := append([]byte(nil), good...)
	damaged[9] ^= 1
	for name, b := range map[string][]byte{
		"empty": nil, "short": good[:7], "request": appendRequest(nil, 7, 1, nil), "damaged": damaged,
	} {
		if _, ok := parseReply(b, 7); ok {
			t.Errorf("%s: taken", name)
		}
	}
	if _, ok := parseReply(good, 8); ok {
		t.Error("another identifier: taken")
	}
}
