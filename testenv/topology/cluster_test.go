package topology

import "testing"

func TestAgree_WantsOneFormedCluster(t *testing.T) {
	two := func(epoch uint64, roleB, stateB string) Info {
		return Info{Epoch: epoch, Members: []Member{
			{Name: "fw-a", Role: "control", State: "in sync"}, {Name: "fw-b", Role: roleB, State: stateB},
		}}
	}
	good := two(3, "data", "in sync")
	for name, c := range map[string]struct {
		infos []Info
		want  bool
	}{
		"formed":               {[]Info{good, good}, true},
		"one node is silent":   {[]Info{good}, false},
		"different epochs":     {[]Info{good, two(4, "data", "in sync")}, false},
		"still joining":        {[]Info{good, two(3, "data", "joining")}, false},
		"two control nodes":    {[]Info{two(3, "control", "in sync"), two(3, "control", "in sync")}, false},
		"one sees itself only": {[]Info{good, {Epoch: 3, Members: good.Members[:1]}}, false},
		"nobody answers":       {nil, false},
	} {
		if got := agree(c.infos, 2); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
