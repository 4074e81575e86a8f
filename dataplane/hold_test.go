package dataplane

import "testing"

// FR10: large fragments that wait, for as long as 15 s, leave buffers to packets that do
// not wait. Each gives its place back, however it ends.
func TestFR10_HalfOfTheLargeBuffersMayBeHeld(t *testing.T) {
	io := &IO{cfg: IOConfig{Hold: 100, Jumbos: 8}}
	for range io.cfg.Jumbos {
		io.jumbos = append(io.jumbos, make([]byte, jumboSize))
	}
	take := func() *Frame {
		n := len(io.jumbos)
		if n == 0 {
			t.Fatal("no buffer is left for a packet that does not wait")
		}
		f := &Frame{buf: io.jumbos[n-1], jumbo: true, state: frameOut}
		io.jumbos = io.jumbos[:n-1]
		return f
	}
	for round := range 3 {
		var held []*Frame
		for range 2 * io.cfg.Jumbos {
			f := take()
			if !io.Hold(f) {
				io.Release(f)
				continue
			}
			if !io.Hold(f) {
				t.Fatal("what is held cannot stay")
			}
			held = append(held, f)
		}
		if len(held) != 4 || io.Held() != 4 || io.drops[DropNoJumbo] != uint64(12*(round+1)) {
			t.Fatalf("round %d: %d of 8 held, %d refused", round, len(held), io.drops[DropNoJumbo])
		}
		for _, f := range held {
			io.Release(f)
		}
	}
	if io.Held() != 0 || io.heldJumbos != 0 || len(io.jumbos) != 8 {
		t.Errorf("%d frames stay held, %d of them large; %d buffers are back", io.Held(), io.heldJumbos, len(io.jumbos))
	}
}
