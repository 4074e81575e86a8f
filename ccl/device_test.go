package ccl

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestCL2DeviceThatRefusesTheMTUIsNamedWithBothValues(t *testing.T) {
	w := newWiring(t, 1, DefaultMTU)
	w.in(w.nodes[0], func() error { // a macvlan cannot be larger than what it stands on
		under, err := netlink.LinkByName(ccl0)
		if err != nil {
			return err
		}
		m := &netlink.Macvlan{LinkAttrs: netlink.NewLinkAttrs(), Mode: netlink.MACVLAN_MODE_BRIDGE}
		m.Name, m.ParentIndex, m.MTU = "narrow0", under.Attrs().Index, 1500
		return netlink.LinkAdd(m)
	})
	cfg := w.config(0)
	cfg.Interface, cfg.MTU = "narrow0", 9198
	_, err := w.open(0, cfg)
	if !errors.Is(err, ErrMTU) {
		t.Fatal(err)
	}
	const want = "ccl: interface narrow0: mtu 9198 is needed (data mtu 9044 + 154), the device has 1500 and refuses more"
	if !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
}

func TestCL2MTUIsRaisedWhenItIsTooSmall(t *testing.T) {
	w := newWiring(t, 1, 1500)
	l := w.mustOpen(0, w.config(0))
	w.in(w.nodes[0], func() error {
		under, err := netlink.LinkByName(ccl0)
		if err != nil {
			return err
		}
		over, err := netlink.LinkByName(l.Name())
		if err != nil {
			return err
		}
		if under.Attrs().MTU != 1654 || over.Attrs().MTU != 1604 {
			t.Errorf("mtu %d below, %d above", under.Attrs().MTU, over.Attrs().MTU)
		}
		return nil
	})
}

// HL5: the device outlives the daemon and is adopted; one with other properties
// is replaced; something else under its name is not touched.
func TestDeviceIsAdoptedByTheNextRun(t *testing.T) {
	w := newWiring(t, 2, DefaultMTU)
	index := func() (n int) {
		w.in(w.nodes[0], func() error {
			l, err := netlink.LinkByName("cohort-vx77")
			if err == nil {
				n = l.Attrs().Index
			}
			return err
		})
		return n
	}
	if err := w.mustOpen(0, w.config(0)).Close(); err != nil {
		t.Fatal(err)
	}
	first := index()
	again := w.mustOpen(0, w.config(0))
	if index() != first {
		t.Error("the device was made anew")
	}
	b := w.mustOpen(1, w.config(1))
	b.Broadcast([]byte("hello"))
	again.Broadcast([]byte("hello"))
	collect(t, []*Link{again, b}, func(by [][]got) bool { return len(by[0]) == 1 && len(by[1]) == 1 })
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := w.config(0)
	cfg.VXLANPort, cfg.Name = 4999, "cohort-vx77"
	moved := w.mustOpen(0, cfg)
	if index() == first {
		t.Error("a device with another port was adopted")
	}
	w.in(w.nodes[0], moved.Remove)
	cfg.Name = ccl0
	if _, err := w.open(0, cfg); err == nil || !strings.Contains(err.Error(), "exists and is a veth") {
		t.Errorf("%v", err)
	}
}
