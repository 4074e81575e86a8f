package pulse

import (
	"testing"
	"time"

	"cohort/ccl/wire"
)

const ms = int64(time.Millisecond)

// pass is one pass of the process with the beats of peer 0 that wait.
func pass(m *Machine, now int64, waiting ...wire.Beat) {
	m.Begin(now)
	for _, b := range waiting {
		m.Heard(now, 0, b, 0)
	}
	m.End(now)
}

// silence is what the event loop would count of peer 0.
func silence(m *Machine) int64 { return m.Attended() - m.Peer(0).At }

// HL7: three beats of 50 ms that are missing are a death, two are not, and then the
// node is asked first.
func TestHL7_ThreeMissingBeatsAreADeath(t *testing.T) {
	m := New(0, 1)
	pass(m, 0, wire.Beat{Life: 7})
	asked, alarms, at := 0, 0, int64(0)
	for at < 200*ms {
		m.Due(at)
		if m.Ask(at, 0) {
			asked++
			if at < 2*Period {
				t.Errorf("asked after %v", time.Duration(at))
			}
		}
		if m.Alarm() {
			alarms++
			if s := silence(m); s != Deadline || at != 150*ms {
				t.Errorf("silent at %v after %v", time.Duration(at), time.Duration(s))
			}
		}
		next := m.Next()
		if next <= at {
			t.Fatalf("wants to run at %v, it is %v", time.Duration(next), time.Duration(at))
		}
		at = next
		pass(m, at)
	}
	if asked < 2 || alarms != 1 {
		t.Errorf("asked %d times, %d alarms", asked, alarms)
	}
	pass(m, at, wire.Beat{Life: 7})
	for end := at + Deadline; at < end; pass(m, at) {
		at = m.Next()
		m.Due(at)
		m.Ask(at, 0)
	}
	if !m.Alarm() {
		t.Error("a second silence is no alarm")
	}
}

// HL7: silence is noticed when it is three beats long, and not with the next beat of
// one's own or the next question.
func TestHL7_SilenceIsNoticedAtOnce(t *testing.T) {
	m := New(0, 1)
	m.Due(0)
	const heard = 20 * ms // own beats are due at 0, 50, 100 ms and so on
	pass(m, heard, wire.Beat{Life: 7})
	for at := heard; at < 300*ms; {
		m.Due(at)
		m.Ask(at, 0)
		if m.Alarm() {
			if at != heard+Deadline {
				t.Errorf("noticed at %v", time.Duration(at))
			}
			return
		}
		at = m.Next()
		pass(m, at)
	}
	t.Error("not noticed")
}

// HL7: a busy machine. Time that this process overslept is not the silence of
// others, and what waited in the queue is read before anybody is judged.
func TestHL7_OwnLatenessIsNotTheSilenceOfOthers(t *testing.T) {
	for name, c := range map[string]struct {
		sleep   int64
		waiting []wire.Beat
		want    int64 // silence that is counted afterwards
	}{
		"on time":                    {50 * ms, nil, 50 * ms},
		"4 ms late, not worth it":    {54 * ms, nil, 54 * ms},
		"a second late, all is gone": {1050 * ms, nil, 50 * ms},
		"a second late, one waits":   {1050 * ms, []wire.Beat{{Life: 7}}, 0},
	} {
		m := New(0, 1)
		pass(m, 0, wire.Beat{Life: 7})
		m.Due(0)
		if next := m.Next(); next != 50*ms {
			t.Fatalf("next at %v", time.Duration(next))
		}
		pass(m, c.sleep, c.waiting...)
		if got := silence(m); got != c.want {
			t.Errorf("%s: silent for %v, want %v", name, time.Duration(got), time.Duration(c.want))
		}
		if late := max(c.sleep-50*ms, 0); late > 4*ms && m.Stats().Worst != late || late <= 4*ms && m.Stats().Worst != 0 {
			t.Errorf("%s: lateness %v", name, time.Duration(m.Stats().Worst))
		}
	}
}

// Silence ends where this process stopped to read: who does not run calls nobody
// silent, however long ago the newest beat is.
func TestHL7_SilenceCountsOnlyUpToTheLastReading(t *testing.T) {
	m := New(0, 1)
	pass(m, 0, wire.Beat{Life: 7})
	m.Begin(500 * ms) // and is not done reading
	if s := silence(m); s > 0 || m.Alarm() {
		t.Errorf("silent for %v before everything was read", time.Duration(s))
	}
}

func TestHL7_QuestionsAreAnsweredAndRationed(t *testing.T) {
	m := New(0, 1)
	ask := wire.Beat{Life: 7, Flags: wire.PulseAsk}
	for at, want := range map[int64]bool{0: true, 5 * ms: false, 10 * ms: true} {
		m := New(0, 1)
		m.Heard(-10*ms, 0, wire.Beat{Life: 7}, 0)
		first := m.Heard(0, 0, ask, 0)
		if at == 0 && !first || at > 0 && m.Heard(at, 0, ask, 0) != want {
			t.Errorf("asked again after %v: not %v", time.Duration(at), want)
		}
	}
	m.Heard(0, 0, wire.Beat{Life: 7}, 0)
	for at := int64(0); at < 2000*ms; at += ms {
		m.Ask(at, 0)
	}
	if n := m.Stats().Asked; n < 2 || n > 10 {
		t.Errorf("a dead node is asked %d times", n)
	}
	m.Heard(3000*ms, 0, wire.Beat{Life: 7, Flags: wire.PulseHold}, 0)
	if m.End(3500 * ms); m.Ask(3110*ms, 0) || m.Alarm() || !m.Peer(0).Hold {
		t.Error("a node that is to be judged by the hold time is asked, or is an alarm")
	}
}

func TestHL7_ABeatEvery50ms(t *testing.T) {
	m := New(0, 0)
	sent := 0
	for at := int64(0); at < 1000*ms; at = m.Next() {
		if m.Due(at) {
			sent++
		}
	}
	if sent != 20 || m.Stats().Sent != 20 {
		t.Errorf("%d beats a second", sent)
	}
	if m.Due(1500*ms) && m.Due(1500*ms) {
		t.Error("two beats at once make up for a late one")
	}
}

func TestHL7_ProgressIsTakenFromTheBeat(t *testing.T) {
	m := New(0, 1)
	m.Heard(1000*ms, 0, wire.Beat{Life: 7, Stale: 300}, 0)
	m.Heard(1100*ms, 0, wire.Beat{Life: 7, Stale: 400}, 0)
	if p := m.Peer(0); p.Progress != 700*ms || p.At != 1100*ms || m.Stats().Late != 1 {
		t.Errorf("%+v, late %d", p, m.Stats().Late)
	}
}

// HL5, HL7: the lease of a beat, bounded by what the event loop permitted last, and
// never brought back to life.
func TestHL7_HL5_LeaseOfABeat(t *testing.T) {
	const now = 1000 * ms
	far := now + 1800*ms
	for name, c := range map[string]struct {
		lease, permit, want int64
		renew               bool
	}{
		"by a beat":                        {now + 30*ms, far, now + Lease, true},
		"no longer than permitted":         {now + 30*ms, now + 40*ms, now + 40*ms, true},
		"the loop is stuck":                {now + 30*ms, now - 400*ms, 0, false},
		"fenced":                           {0, far, 0, false},
		"it is over: this node was frozen": {now, far, 0, false},
		"a longer one is not shortened":    {now + 900*ms, far, 0, false},
	} {
		until, renew := Renew(now, now, c.lease, c.permit)
		if renew != c.renew || renew && until != c.want {
			t.Errorf("%s: %v %v", name, time.Duration(until-now), renew)
		}
	}
	if Covered(now, now+Lease+1) || !Covered(now, now+Lease) || !Covered(now, 0) {
		t.Error("what a beat covers is not its lease")
	}
}

// The argument of the package's comment, in numbers.
func TestHL7_HL5_LeaseEndsBeforeRemoval(t *testing.T) {
	const tick = 10 * ms
	if Lease+tick > Deadline-Period {
		t.Error("one lost beat, and the node forwards after its removal")
	}
	if MinHold*6/10+tick > MinHold-Deadline {
		t.Error("a stuck loop, and the node forwards after its removal")
	}
	if Lease <= Period+late {
		t.Error("the lease ends between two beats")
	}
}

func TestHL7_HL5_KeeperGivesAndMissesTheLease(t *testing.T) {
	var k Keeper
	look := func(now, lease, sent, permit int64, wantUntil int64, wantLapsed bool) {
		t.Helper()
		until, set, lapsed := k.Look(now, lease, sent, permit)
		if set != (wantUntil != 0) || set && until != wantUntil || lapsed != wantLapsed {
			t.Errorf("at %v: %v %v lapsed %v", time.Duration(now), time.Duration(until), set, lapsed)
		}
	}
	look(10*ms, 0, 0, 0, 0, false)                                 // no member
	look(1000*ms, 0, 900*ms, 1800*ms, 0, false)                    // permitted, but nobody beats
	look(1000*ms, 0, 990*ms, 1800*ms, 990*ms+Lease, false)         // the first one
	look(1050*ms, 990*ms+Lease, 1040*ms, 1800*ms, 0, false)        // renewed by the pulse
	look(1400*ms, 1120*ms, 1400*ms, 1800*ms, 0, true)              // frozen
	look(1410*ms, 1120*ms, 1400*ms, 0, 0, false)                   // in doubt
	look(1420*ms, 1120*ms, 1400*ms, 2000*ms, 1400*ms+Lease, false) // confirmed
	k.Fenced()
	look(1430*ms, 0, 1400*ms, 0, 0, false)
	look(1440*ms, 0, 1400*ms, 1450*ms, 1450*ms, false) // in again
	// A lease left by a daemon that was stopped in order is cut to what beats cover.
	k = Keeper{}
	look(2000*ms, 4000*ms, 1990*ms, 3000*ms, 1990*ms+Lease, false)
}

func TestHL7_PassesDoNotAllocate(t *testing.T) {
	m := New(0, 63)
	at := int64(0)
	if n := testing.AllocsPerRun(1000, func() {
		m.Begin(at)
		for i := range 63 {
			m.Heard(at, i, wire.Beat{Life: 7}, 0)
			m.Ask(at, i)
		}
		m.End(at)
		m.Due(at)
		m.Alarm()
		at = m.Next()
	}); n != 0 {
		t.Errorf("%v allocations a pass", n)
	}
}
