package node

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// EL10: a node that leaves gives nothing away before the next daemon would go on with
// that. What is on disk counts, and only if nothing newer is on its way there.
func TestEL10_ADrainIsKeptWhenItIsOnDisk(t *testing.T) {
	defer func(d time.Duration) { stateRetry = d }(stateRetry)
	stateRetry = 10 * time.Millisecond
	dir := filepath.Join(t.TempDir(), "state")
	away := dir + " is away"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1000)
	f := openIntent(dir, func(err error) { failed <- err })
	kept := func() {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !f.leaving.Load(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v is never on disk", f.want)
			}
		}
	}
	first, second := intent{Leaving: true, Why: "drained"}, intent{Leaving: true, Why: "left"}
	f.put(first)
	<-failed // there is no such directory
	if f.leaving.Load() {
		t.Fatal("kept on a disk that takes nothing")
	}
	must(os.Mkdir(dir, 0o700))
	kept()
	f.put(first) // nothing new
	if !f.leaving.Load() {
		t.Fatal("the same again is not on disk")
	}

	must(os.Rename(dir, away))
	f.put(second)
	if f.leaving.Load() {
		t.Fatal("what is on disk is another one's")
	}
	<-failed
	if f.leaving.Load() {
		t.Fatal("kept, though it could not be written")
	}
	must(os.Rename(away, dir))
	kept()
	f.close()

	f = openIntent(dir, func(err error) { t.Error(err) })
	if f.want != second || !f.leaving.Load() {
		t.Errorf("the next daemon reads %+v, on disk: %v", f.want, f.leaving.Load())
	}
	f.put(intent{})
	f.close()
	if f.leaving.Load() {
		t.Error("it leaves although nobody wants that any more")
	}
	f = openIntent(dir, func(err error) { t.Error(err) })
	defer f.close()
	if f.want != (intent{}) || f.leaving.Load() {
		t.Errorf("the next daemon reads %+v, on disk: %v", f.want, f.leaving.Load())
	}
}
