package slowdisk

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// replace writes a file as the daemon does, to survive a loss of power.
func replace(dir, name, content string) error {
	f, err := os.Create(filepath.Join(dir, name+".new"))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func TestDisk_ChangesTakeAsLongAsAsked(t *testing.T) {
	dir := t.TempDir()
	if err := replace(dir, "state", "before"); err != nil {
		t.Fatal(err)
	}
	d, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	read := func(want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(dir, "state")); err != nil || string(b) != want {
			t.Errorf("%q, %v, want %q", b, err, want)
		}
	}
	read("before")
	if err := replace(dir, "state", "prompt"); err != nil || d.Slowed() != 0 {
		t.Errorf("%v, %d slowed before it was asked for", err, d.Slowed())
	}
	const delay = 20 * time.Millisecond
	d.SetDelay(delay)
	begin := time.Now()
	if err := replace(dir, "state", "late"); err != nil {
		t.Fatal(err)
	}
	// To make, flush and rename it, and to flush the directory; one that a signal of Go's
	// interrupts is asked for again.
	if n, took := d.Slowed(), time.Since(begin); n < 4 || took < 4*delay {
		t.Errorf("%d changes took %v", n, took)
	}
	read("late")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	read("late")
	if err := replace(dir, "state", "after"); err != nil {
		t.Errorf("below: %v", err)
	}
}

// Who has a file open goes on with it, and the server stays for that long.
func TestDisk_TakenOffWhileAFileIsOpen(t *testing.T) {
	dir := t.TempDir()
	d, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- d.Close() }()
	if _, err := f.WriteString("x"); err != nil {
		t.Errorf("a file that is open: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "open")); err != nil || string(b) != "x" {
		t.Errorf("%q, %v", b, err)
	}
}

// What was killed does not wait for the disk: the caller here is a process of its
// own, whose end would take a minute.
func TestDisk_AKilledWriterEnds(t *testing.T) {
	dir := t.TempDir()
	d, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.SetDelay(time.Minute)
	cmd := exec.Command("touch", filepath.Join(dir, "never"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for d.Slowed() == 0 { // ends with the test's time
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("a killed process waited %v for its disk", took)
	}
}
