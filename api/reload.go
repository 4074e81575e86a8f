package api

import (
	"context"
	"errors"
	"net/http"
)

// Reloader is a Provider that can read its configuration again (NT7).
type Reloader interface {
	// Reload reads the key file and the cluster configuration, and makes the node ready for it, or
	// changes nothing and returns an error, ready to show, that wraps ErrRefused.
	Reload(ctx context.Context) (Reload, error)
}

// ErrRefused is wrapped by errors that are the request's fault.
var ErrRefused = errors.New("nothing was changed")

// The states of a Reload.
const (
	ReloadRuns     = "runs"     // it runs now, on all members of the view
	ReloadPrepared = "prepared" // it runs when all members of the view are ready for it
	ReloadSame     = "same"     // it ran before; what was prepared is discarded
)

// Reload is what a reload led to.
type Reload struct {
	Config  string   `json:"config"`            // checksum of policy and nat in the file
	State   string   `json:"state"`             // runs, prepared or same
	Waiting []string `json:"waiting,omitempty"` // prepared: members that are not ready
	Keys    []string `json:"keys,omitempty"`    // names of the link's keys: the first seals, all open (CL10)
}

// pathReload is where a Reload is asked for, with POST.
const pathReload = "/v1/reload"

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	n, ok := s.from.(Reloader)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed; POST does it")
		return
	}
	if !ok {
		fail(w, http.StatusNotFound, "this node cannot reload")
		return
	}
	done, err := n.Reload(r.Context())
	switch {
	case errors.Is(err, ErrRefused):
		fail(w, http.StatusConflict, err.Error())
	case err != nil:
		fail(w, status(err), err.Error())
	default:
		send(w, done)
	}
}

// Reload has the node read its cluster configuration again.
func (c *Client) Reload(ctx context.Context) (Reload, error) {
	return request[Reload](ctx, c, http.MethodPost, pathReload)
}
