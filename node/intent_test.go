package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"

	"cohort/api"
	"cohort/cluster/health"
	"cohort/config"
)

// slowIntent is an intentFile whose disk takes each flush when the test gives it one.
// The files that need no flush are as fast as ever.
func slowIntent(t *testing.T, dir string) (f *intentFile, flush chan<- struct{}) {
	t.Helper()
	c := make(chan struct{})
	f = newIntent(dir, func(err error) { t.Error(err) })
	f.file.sync = func(file *os.File) error { <-c; return file.Sync() }
	f.start()
	return f, c
}

// await waits for what another goroutine does.
func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// next is what a daemon reads that starts with these files.
func next(t *testing.T, dir string) intent {
	t.Helper()
	f := newIntent(dir, func(err error) { t.Error(err) })
	f.start()
	want := f.want
	f.close()
	return want
}

// copied are the files of dir as they are: what a killed process leaves.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

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
	kept := func(i intent) {
		t.Helper()
		await(t, i.Why+" is on disk", func() bool { return f.keeps(i.Why) })
	}
	first, second := intent{Leaving: true, Why: "drained"}, intent{Leaving: true, Why: "left"}
	if f.keeps("") || !f.settled() {
		t.Fatal("nothing is wanted, and nothing is kept")
	}
	f.put(first)
	<-failed // there is no such directory
	if f.keeps(first.Why) || f.settled() {
		t.Fatal("kept on a disk that takes nothing")
	}
	must(os.Mkdir(dir, 0o700))
	kept(first)
	f.put(first) // nothing new
	if !f.keeps(first.Why) || f.keeps(second.Why) {
		t.Fatal("the same again is not on disk, or another one is")
	}

	must(os.Rename(dir, away))
	f.put(second)
	if f.keeps(second.Why) || f.keeps(first.Why) {
		t.Fatal("what is on disk is another one's")
	}
	<-failed
	if f.keeps(second.Why) {
		t.Fatal("kept, though it could not be written")
	}
	must(os.Rename(away, dir))
	kept(second)
	f.close()

	f = openIntent(dir, func(err error) { t.Error(err) })
	if f.want != second || !f.keeps(second.Why) {
		t.Errorf("the next daemon reads %+v, on disk: %v", f.want, f.settled())
	}
	f.put(intent{})
	f.close()
	if f.keeps(second.Why) || !f.settled() {
		t.Error("it leaves although nobody wants that any more")
	}
	if i := next(t, dir); i != (intent{}) {
		t.Errorf("the next daemon reads %+v", i)
	}
}

// EL10: the next daemon finds what was wanted a moment before this one was killed,
// however slow the disk is; and it gets that onto the disk.
func TestEL10_AKillBeforeTheDiskHasItLosesNoIntent(t *testing.T) {
	dir := t.TempDir()
	f, flush := slowIntent(t, dir)
	out, in := intent{Disabled: true, Why: "removed"}, intent{}
	var killed []string
	for _, want := range []intent{out, in, out} {
		f.put(want)
		serial := f.serial
		await(t, "the quick file", func() bool { i := f.quick.load(); return i != nil && i.Serial == serial })
		if f.settled() || f.keeps(want.Why) {
			t.Fatalf("%+v is on a disk that has flushed nothing", want)
		}
		if f.file.load() != nil {
			t.Fatal("the name is there before the content is flushed")
		}
		killed = append(killed, copied(t, dir))
	}
	close(flush) // the disk is fast again
	await(t, "the disk", f.settled)
	if !f.keeps(out.Why) {
		t.Errorf("on disk, but not kept: %+v", f.want)
	}
	f.close()
	for i, want := range []intent{out, in, out} {
		if got := next(t, killed[i]); got != want {
			t.Errorf("killed after %d: the next daemon reads %+v, want %+v", i, got, want)
		}
		if err := os.Remove(filepath.Join(killed[i], "clustering.now.json")); err != nil {
			t.Fatal(err)
		}
		if got := next(t, killed[i]); got != want {
			t.Errorf("killed after %d: the disk has %+v in the end, want %+v", i, got, want)
		}
	}
}

// EL10: a loss of power may empty or tear what was not flushed, or bring back what it was
// before. What was on disk counts then; a file that is whole and newer was wanted.
func TestEL10_ALossOfPowerLeavesWhatWasOnDisk(t *testing.T) {
	out := intent{Disabled: true, Why: "removed"}
	for name, c := range map[string]struct {
		quick string
		want  intent
	}{
		"empty":        {"", out},
		"torn":         {`{"Leaving":false,"Disab`, out},
		"zeros":        {"\x00\x00\x00\x00", out},
		"as before":    {`{"Leaving":true,"Disabled":false,"Why":"drained","Serial":1}`, out},
		"the same":     {`{"Leaving":false,"Disabled":true,"Why":"removed","Serial":2}`, out},
		"newer":        {`{"Leaving":false,"Disabled":false,"Why":"","Serial":3}`, intent{}},
		"of no daemon": {`{}`, out},
	} {
		dir := t.TempDir()
		f := openIntent(dir, func(err error) { t.Error(err) })
		f.put(intent{Leaving: true, Why: "drained"})
		f.put(out)
		f.close()
		if err := os.WriteFile(f.quick.path, []byte(c.quick), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := next(t, dir); got != c.want {
			t.Errorf("%s: the next daemon reads %+v, want %+v", name, got, c.want)
		}
		f = openIntent(dir, func(err error) { t.Error(err) })
		f.put(intent{Disabled: true, Why: "again"}) // beyond all that is there
		f.close()
		if got := next(t, dir); got.Why != "again" {
			t.Errorf("%s: then it reads %+v", name, got)
		}
	}
}

// A file of a release before this one has no serial.
func TestEL10_AnIntentWithoutASerialIsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "clustering.json"), []byte(`{"Leaving":false,"Disabled":true,"Why":"said so"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := openIntent(dir, func(err error) { t.Error(err) })
	if want := (intent{Disabled: true, Why: "said so"}); f.want != want {
		t.Errorf("%+v", f.want)
	}
	await(t, "the disk", func() bool { return f.keeps("said so") })
	f.close()
}

// EL10: what a verb did is done when a restart would not undo it. Of remove that is what
// the node that was asked sees: the others do not hear a node leave before its disk has
// that it stays out. The sibling verbs say so themselves.
func TestEL10_AVerbIsDoneWhenARestartKeepsIt(t *testing.T) {
	c := newTestCluster(t, 3)
	a, b := c.nodes[0], c.nodes[1]
	dir := t.TempDir()
	var flush chan<- struct{}
	b.intent, flush = slowIntent(t, dir)
	a.intent = openIntent(t.TempDir(), func(err error) { t.Error(err) })
	defer func() { close(flush); b.intent.close(); a.intent.close() }()
	step := func() {
		c.run(10 * time.Millisecond)
		b.keepIntent()
	}
	given := 0
	onDisk := func() { // the disk works again, until what is wanted is on it
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !b.intent.settled(); {
			select {
			case flush <- struct{}{}:
				given++
			case <-time.After(time.Millisecond):
			}
			if time.Now().After(end) {
				t.Fatalf("%+v is never on disk", b.intent.want)
			}
		}
	}
	say := func(at *testNode, verb, node string) {
		t.Helper()
		if err := at.act(c.now, verb, node); err != nil {
			t.Fatal(verb, err)
		}
	}
	isDone := func(at *testNode, verb, node string) bool { return at.acted(c.now, verb, node).Done }

	say(a, api.VerbRemove, "fw-b")
	for range 50 {
		step()
		if isDone(a, api.VerbRemove, "fw-b") {
			t.Fatal("remove is done before the removed node's disk has it")
		}
	}
	if b.core.Ladder().Phase == health.Disabled {
		t.Fatal("it is out before its disk has it")
	}
	onDisk()
	killed := copied(t, dir)
	for range 10 {
		step()
	}
	if !isDone(a, api.VerbRemove, "fw-b") {
		t.Error("remove is not done in the end")
	}
	if got := next(t, killed); !got.Disabled {
		t.Errorf("remove: the next daemon reads %+v", got)
	}

	for _, v := range []struct {
		verb string
		want func(intent) bool
	}{
		{api.VerbEnable, func(i intent) bool { return i == intent{} }},
		{api.VerbBreak, func(i intent) bool { return i.Disabled }},
		{api.VerbCreate, func(i intent) bool { return i == intent{} }},
		{api.VerbDisable, func(i intent) bool { return i.Disabled }},
	} {
		say(b, v.verb, "")
		there := false // the effect, but for the disk
		for range 1000 {
			step()
			s := b.acted(c.now, v.verb, "")
			if s.Done {
				t.Fatalf("%s is done before the disk has it", v.verb)
			}
			if there = s.Unsaved; there {
				break
			}
		}
		if !there {
			t.Fatalf("%s has no effect: %+v", v.verb, b.core.Ladder())
		}
		onDisk()
		for range 1000 { // a drain writes twice: that it goes, and that it is out
			if step(); isDone(b, v.verb, "") {
				break
			}
			onDisk()
		}
		if !isDone(b, v.verb, "") {
			t.Errorf("%s is not done in the end: %+v", v.verb, b.acted(c.now, v.verb, ""))
		}
		if got := next(t, copied(t, dir)); !v.want(got) {
			t.Errorf("%s: the next daemon reads %+v", v.verb, got)
		}
	}
	if given == 0 {
		t.Error("nothing was flushed")
	}
}

// UP1, EL10: what a version that knows of one file only was told between two that know of
// both is newer than what the second file has of the first.
func TestUP1_EL10_AnOlderVersionsWordCountsAfterIt(t *testing.T) {
	for _, told := range []struct{ before, between intent }{
		{intent{Disabled: true, Why: "removed"}, intent{}},
		{intent{}, intent{Disabled: true, Why: "by hand"}},
	} {
		dir := t.TempDir()
		f := openIntent(dir, func(err error) { t.Error(err) })
		f.put(intent{Leaving: true, Why: "first"})
		f.put(told.before)
		f.close()
		b, err := json.Marshal(told.between)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "clustering.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 { // and once it has been read
			if got := next(t, dir); got != told.between {
				t.Errorf("told %+v, then %+v by an older version: the next daemon reads %+v", told.before, told.between, got)
			}
		}
	}
}

// The loop stores into the journal while packets wait: that is not in a directory that
// may be on a disk.
func TestNT4_TheJournalIsBesideTheSocket(t *testing.T) {
	boot := &config.Node{StateDir: t.TempDir(), ControlSocket: filepath.Join(t.TempDir(), "run", "fw-a.sock")}
	n := &Node{log: zap.NewNop()}
	u, err := openUnits(boot, 1, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(boot.ControlSocket), "fw-a.units")); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(boot.StateDir, "*held*")); err != nil || len(left) != 0 {
		t.Errorf("in the state directory: %v, %v", left, err)
	}
}
