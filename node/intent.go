package node

import "sync/atomic"

// intent is what an operator wants of this node, kept over restarts.
type intent struct {
	Leaving  bool // on its way out: it goes on with that
	Disabled bool
	Why      string
}

// intentFile keeps the newest intent on disk, and knows whether it is there.
type intentFile struct {
	file    *stateFile[intent]
	want    intent      // as it was written last, by the event loop
	leaving atomic.Bool // the newest intent is to leave, and it is on disk
}

func openIntent(dir string, fail func(error)) *intentFile {
	f := &intentFile{}
	f.file = newState(dir, "clustering.json", f.kept, fail)
	if i := f.file.load(); i != nil {
		f.want = *i
		f.kept(i)
	}
	go f.file.run()
	return f
}

// put writes an intent if it is another one.
func (f *intentFile) put(i intent) {
	if f.want == i {
		return
	}
	f.want = i
	f.leaving.Store(false) // what is on disk is another one's
	f.file.put(i)
}

// kept hears, on the writer's goroutine, what is on disk.
func (f *intentFile) kept(i *intent) { f.leaving.Store(i.Leaving) }

// close waits for the last write.
func (f *intentFile) close() { f.file.close() }
