package node

import "sync/atomic"

// intent is what an operator wants of this node, kept over restarts.
type intent struct {
	Leaving  bool // on its way out: it goes on with that
	Disabled bool
	Why      string
}

// savedIntent is an intent in a file. Of two files the higher Serial is the newer one.
type savedIntent struct {
	intent
	Serial uint64
}

// intentFile keeps the newest intent in two files, and knows whether it is on disk.
// One outlives a loss of power, and is as slow as the disk. The other waits for no disk:
// the next daemon finds the intent there however soon after a verb this one is killed.
// What a loss of power makes of that file does not matter: it is damaged, or older, or
// what was wanted last.
type intentFile struct {
	file   *stateFile[savedIntent]
	quick  *stateFile[savedIntent]
	want   intent        // as it was written last, by the event loop
	serial uint64        // its
	disk   atomic.Uint64 // the serial of what is on disk
}

func openIntent(dir string, fail func(error)) *intentFile {
	f := newIntent(dir, fail)
	f.start()
	return f
}

func newIntent(dir string, fail func(error)) *intentFile {
	f := &intentFile{}
	f.file = newState(dir, "clustering.json", f.written, fail)
	// Whether that one is written changes no promise; of a full disk the other tells.
	f.quick = newState[savedIntent](dir, "clustering.now.json", nil, func(error) {})
	f.quick.sync = nil
	return f
}

// start reads what the last daemon wanted, and begins to write.
func (f *intentFile) start() {
	last, quick := savedIntent{}, f.quick.load()
	slow := f.file.load()
	if slow != nil {
		last = *slow
	}
	f.disk.Store(last.Serial)
	switch {
	case slow != nil && slow.Serial == 0:
		// A version wrote it that knew of no serials. If it came after this one, what is
		// in the other file is over.
		last.Serial = 1
		if quick != nil {
			last.Serial = quick.Serial + 1
		}
		f.file.put(last)
	case quick != nil && quick.Serial > last.Serial:
		last = *quick // it was killed before that was on disk
		f.file.put(last)
	}
	f.want, f.serial = last.intent, last.Serial
	go f.file.run()
	go f.quick.run()
}

// put writes an intent if it is another one.
func (f *intentFile) put(i intent) {
	if f.want == i {
		return
	}
	f.want = i
	f.serial++
	f.quick.put(savedIntent{i, f.serial})
	f.file.put(savedIntent{i, f.serial})
}

// written hears, on the writer's goroutine, what is on disk.
func (f *intentFile) written(i *savedIntent) { f.disk.Store(i.Serial) }

// settled reports whether the newest intent is on disk.
func (f *intentFile) settled() bool { return f.disk.Load() == f.serial }

// keeps reports whether it is on disk that the node is out, or leaves, for this reason.
func (f *intentFile) keeps(why string) bool {
	return (f.want.Leaving || f.want.Disabled) && f.want.Why == why && f.settled()
}

// close waits for the last write.
func (f *intentFile) close() {
	f.quick.close()
	f.file.close()
}
