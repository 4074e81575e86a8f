package api

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The verbs of EL10. Those of Remote are about the node that is named; the others
// about the node that is asked.
const (
	VerbCreate  = "create"  // found a cluster, without waiting for peers that say nothing
	VerbJoin    = "join"    // join a cluster, found none
	VerbEnable  = "enable"  // look for a cluster as after a start
	VerbDrain   = "drain"   // as disable, of any node, and with more time for its connections to move
	VerbLeave   = "leave"   // out, until it is told to join, or its daemon starts again
	VerbDisable = "disable" // out, until it is told to join
	VerbBreak   = "break"   // the cluster ends: all nodes are disabled
	VerbRemove  = "remove"  // the named node is disabled
	VerbPromote = "promote" // the named node becomes the control node
)

// Verbs are those that a node can be told.
var Verbs = []string{VerbCreate, VerbJoin, VerbEnable, VerbDrain, VerbLeave, VerbDisable, VerbBreak, VerbRemove, VerbPromote}

// Remote reports whether a verb names a node. Drain may.
func Remote(verb string) bool { return verb == VerbRemove || verb == VerbPromote }

// Actor is a Provider that changes its part in the cluster.
type Actor interface {
	// Act carries out a verb, about node if one is named, and waits some seconds for
	// its effect; of a node that drains, as long as that takes. What cannot be is a Refusal.
	Act(ctx context.Context, verb, node string) (Acted, error)
}

// Acted is what became of a verb.
type Acted struct {
	State   string `json:"state"`             // of the node that was asked
	Control string `json:"control"`           // the control node as it sees it, "" = none
	Done    bool   `json:"done"`              // the effect is there; false: it was not seen yet
	Unsaved bool   `json:"unsaved,omitempty"` // not done yet only because its disk does not have it: a loss of power would undo it
	Left    int    `json:"left"`              // connections of a node on its way out; once it is out, those it went with
}

// pathAct is where a verb is said, with POST.
const pathAct = "/v1/cluster/act"

func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	a, ok := s.from.(Actor)
	q := r.URL.Query()
	verb, node := q.Get("verb"), q.Get("node")
	switch {
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed; POST does it")
		return
	case !ok:
		fail(w, http.StatusNotFound, "this node cannot be told")
		return
	case !slices.Contains(Verbs, verb):
		fail(w, http.StatusBadRequest, "unknown verb "+strconv.Quote(verb)+"; known are "+strings.Join(Verbs, ", "))
		return
	case Remote(verb) != (node != "") && verb != VerbDrain:
		fail(w, http.StatusBadRequest, "a node is named with remove, promote and drain only; write verb=promote&node=NAME")
		return
	}
	done, err := a.Act(r.Context(), verb, node)
	if err != nil {
		fail(w, status(err), err.Error())
		return
	}
	send(w, done)
}

// Act tells the node a verb; node is "" unless the verb is Remote, or drain.
func (c *Client) Act(ctx context.Context, verb, node string) (Acted, error) {
	q := url.Values{"verb": {verb}}
	if node != "" {
		q.Set("node", node)
	}
	return request[Acted](ctx, c, http.MethodPost, pathAct+"?"+q.Encode())
}
