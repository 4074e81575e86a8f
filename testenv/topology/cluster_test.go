package topology

import (
	"testing"

	"cohort/api"
)

func TestAgree_WantsOneFormedCluster(t *testing.T) {
	info := func(change func(*api.Info)) api.Info {
		i := api.Info{State: "in sync", Term: 1, Epoch: 3, Control: "fw-a", Members: []api.Member{
			{Name: "fw-a", State: "in sync"}, {Name: "fw-b", State: "in sync"},
		}}
		if change != nil {
			change(&i)
		}
		return i
	}
	good := info(nil)
	for name, c := range map[string]struct {
		infos []api.Info
		want  bool
	}{
		"formed":               {[]api.Info{good, good}, true},
		"nobody answers":       {nil, false},
		"one node is silent":   {[]api.Info{good}, false},
		"different epochs":     {[]api.Info{good, info(func(i *api.Info) { i.Epoch = 4 })}, false},
		"different terms":      {[]api.Info{good, info(func(i *api.Info) { i.Term = 2 })}, false},
		"different control":    {[]api.Info{good, info(func(i *api.Info) { i.Control = "fw-b" })}, false},
		"no control":           {[]api.Info{info(func(i *api.Info) { i.Control = "" }), good}, false},
		"member joins still":   {[]api.Info{good, info(func(i *api.Info) { i.Members[1].State = "joining" })}, false},
		"node itself fenced":   {[]api.Info{good, info(func(i *api.Info) { i.State = "fenced" })}, false},
		"one sees itself only": {[]api.Info{good, info(func(i *api.Info) { i.Members = i.Members[:1] })}, false},
	} {
		if got := agree(c.infos, 2); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
