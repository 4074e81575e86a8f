package demo

import (
	"context"
	"sync"
	"time"

	"cohort/testenv/traffic"
)

// typing is somebody at an ssh session: a line every tenth of a second.
type typing struct {
	session *traffic.SSHSession
	quit    chan struct{}
	once    sync.Once
	done    chan struct{}
	lines   int
	err     error
}

func startTyping(ctx context.Context, session *traffic.SSHSession) *typing {
	t := &typing{session: session, quit: make(chan struct{}), done: make(chan struct{})}
	go t.run(ctx)
	return t
}

func (t *typing) run(ctx context.Context) {
	defer close(t.done)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for t.err == nil {
		select {
		case <-t.quit:
			return
		case <-tick.C:
			if t.err = t.session.Exchange(ctx); t.err == nil {
				t.lines++
			}
		}
	}
}

// stop ends the typing and returns the lines that came back. Idempotent.
func (t *typing) stop() (int, error) {
	t.once.Do(func() { close(t.quit) })
	<-t.done
	return t.lines, t.err
}
