package campaign

import (
	"testing"
	"time"

	"cohort/testenv/track"
)

// swift is a tracker that notices a dead hop before the fast profile does.
var swift = track.Config{Interval: 20 * time.Millisecond, Losses: 3, Answers: 2}

var fastKills = []kill{
	{name: "fast-owner", role: "owner", fast: true, short: 0, whole: 100}, // the slice kills the control node, which owns as many as others,
	{name: "fast-control", role: "control", fast: true, short: 1, whole: 40},
	{name: "fast-daemon", role: "owner", daemon: true, fast: true, short: 1, whole: 40},
}

// In the fast profile, too, no established connection is lost, whoever dies: an
// owner or the control node by a power cut, or a daemon alone by kill -9, whose
// fast path stops by its lease before anybody else takes its connections.
func TestHL7_FastKillsLoseNoConnection(t *testing.T) {
	beside(t)
	for _, k := range fastKills {
		if killRounds(k.short, k.whole) == 0 {
			continue
		}
		t.Run(k.name, func(t *testing.T) { killCampaign(t, k) })
	}
}
