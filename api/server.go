package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Provider answers for a node. All methods may be called concurrently and must
// return soon after ctx ends.
type Provider interface {
	Info(ctx context.Context) (Info, error)
	History(ctx context.Context) ([]Event, error)
	Health(ctx context.Context) (Health, error)
	Interfaces(ctx context.Context) ([]Interface, error)
	Counters(ctx context.Context) ([]Counter, error)
	Tables(ctx context.Context) (Tables, error)
	Exposure(ctx context.Context) (Exposure, error)

	// Conns calls visit for the connections this node holds, until visit
	// returns false or ctx ends. It may pass over those that f does not match;
	// the caller checks again. Visit must not keep the Conn. Connections that
	// come or go meanwhile may or may not be seen.
	Conns(ctx context.Context, f ConnFilter, visit func(*Conn) bool) error
}

// Server serves a Provider.
type Server struct {
	http http.Server
	mux  *http.ServeMux
	from Provider
	acts map[string]bool // paths that take POST as well
}

// NewServer returns a server for p. Connection errors go to errorLog; nil
// discards them.
func NewServer(p Provider, errorLog *log.Logger) *Server {
	if errorLog == nil {
		errorLog = log.New(io.Discard, "", 0)
	}
	s := &Server{from: p, mux: http.NewServeMux(), acts: map[string]bool{"/v1/cluster/forget": true, pathReload: true, pathAct: true}}
	s.http = http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, ErrorLog: errorLog}
	answer(s, "/v1/cluster/info", p.Info)
	answer(s, "/v1/cluster/history", p.History)
	answer(s, "/v1/cluster/health", p.Health)
	answer(s, pathExposure, p.Exposure)
	answer(s, "/v1/interfaces", p.Interfaces)
	answer(s, "/v1/counters", p.Counters)
	answer(s, "/v1/tables", p.Tables)
	s.mux.HandleFunc("/v1/conns", s.conns)
	s.mux.HandleFunc("/v1/conns/count", s.count)
	answer(s, "/v1/nat/pools", func(ctx context.Context) ([]NATPool, error) { return NATPools(ctx, p) })
	s.mux.HandleFunc("/v1/nat/blocks", s.natBlocks)
	s.mux.HandleFunc("/v1/nat/xlates", s.xlates)
	s.mux.HandleFunc("/v1/cluster/forget", s.forget)
	s.mux.HandleFunc(pathReload, s.reload)
	s.mux.HandleFunc(pathAct, s.act)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is no "+strconv.Quote(r.URL.Path))
	})
	return s
}

// Run serves l until ctx ends, then gives running requests a second, closes l
// and returns nil.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if s.http.Shutdown(last) != nil {
		s.http.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// ServeHTTP refuses everything but GET, and POST where something is done, and
// finds the answer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch acts := s.acts[r.URL.Path]; {
	case r.Method == http.MethodGet, acts && r.Method == http.MethodPost:
	case acts:
		w.Header().Set("Allow", "GET, POST")
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed; GET looks, POST does it")
		return
	default:
		w.Header().Set("Allow", http.MethodGet)
		fail(w, http.StatusMethodNotAllowed, r.Method+" is not allowed; this is read with GET")
		return
	}
	s.mux.ServeHTTP(w, r)
}

// answer serves what get returns as one JSON value.
func answer[T any](s *Server, path string, get func(context.Context) (T, error)) {
	s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		for name := range r.URL.Query() {
			fail(w, http.StatusBadRequest, "unknown parameter "+strconv.Quote(name)+"; there is none here")
			return
		}
		v, err := get(r.Context())
		if err != nil {
			fail(w, status(err), err.Error())
			return
		}
		send(w, v)
	})
}

// conns streams connections.
func (s *Server) conns(w http.ResponseWriter, r *http.Request) {
	filter, limit, err := parseFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	stream(w, limit, func(visit func(*Conn) bool) error {
		return s.from.Conns(r.Context(), filter, func(c *Conn) bool { return !filter.Match(c) || visit(c) })
	})
}

// stream sends what walk visits, a line each, at most limit (0 = all) of it,
// and an End.
func stream[T any](w http.ResponseWriter, limit int, walk func(visit func(*T) bool) error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	var end End
	err := walk(func(v *T) bool {
		if limit > 0 && end.Shown == limit {
			end.More = true
			return false
		}
		end.Shown++
		return lines.Encode(v) == nil
	})
	switch {
	case err == nil:
		lines.Encode(streamLine{End: &end})
	case end.Shown == 0:
		fail(w, status(err), err.Error())
	default: // the status has been sent: the error is a line like any other
		lines.Encode(streamLine{Error: err.Error()})
	}
}

// streamLine is a line of a stream that is none of its values.
type streamLine struct {
	End   *End   `json:"end,omitempty"`
	Error string `json:"error,omitempty"`
}

func (s *Server) count(w http.ResponseWriter, r *http.Request) {
	filter, _, err := parseFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	var n ConnCount
	err = s.from.Conns(r.Context(), filter, func(c *Conn) bool {
		if filter.Match(c) {
			n.add(c)
		}
		return true
	})
	if err != nil {
		fail(w, status(err), err.Error())
		return
	}
	send(w, n)
}

// forget forgets the node that the parameter node names; with GET it says what
// that would mean.
func (s *Server) forget(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "node" {
			fail(w, http.StatusBadRequest, "unknown parameter "+strconv.Quote(name)+"; known is node")
			return
		}
	}
	if len(q["node"]) != 1 || q.Get("node") == "" {
		fail(w, http.StatusBadRequest, "name one node; write node=NAME")
		return
	}
	n, ok := s.from.(NATProvider)
	if !ok {
		fail(w, status(ErrNoNAT), ErrNoNAT.Error())
		return
	}
	do := n.Forgettable
	if r.Method == http.MethodPost {
		do = n.Forget
	}
	f, err := do(r.Context(), q.Get("node"))
	if err != nil {
		fail(w, status(err), err.Error())
		return
	}
	send(w, f)
}

// natBlocks serves the blocks of the pool that the parameter pool names.
func (s *Server) natBlocks(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if name != "pool" {
			fail(w, http.StatusBadRequest, "unknown parameter "+strconv.Quote(name)+"; known is pool")
			return
		}
	}
	if len(q["pool"]) != 1 {
		fail(w, http.StatusBadRequest, "name one pool; write pool=NAME")
		return
	}
	n, ok := s.from.(NATProvider)
	if !ok {
		fail(w, status(ErrNoNAT), ErrNoNAT.Error())
		return
	}
	blocks, err := n.NATBlocks(r.Context(), q.Get("pool"))
	if err != nil {
		fail(w, status(err), err.Error())
		return
	}
	send(w, blocks)
}

// xlates streams translations.
func (s *Server) xlates(w http.ResponseWriter, r *http.Request) {
	filter, limit, err := parseXlateFilter(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	n, ok := s.from.(NATProvider)
	if !ok {
		fail(w, status(ErrNoNAT), ErrNoNAT.Error())
		return
	}
	stream(w, limit, func(visit func(*Xlate) bool) error {
		return n.Xlates(r.Context(), filter, func(x *Xlate) bool { return !filter.Match(x) || visit(x) })
	})
}

// status is the HTTP status for an error of the provider.
func status(err error) int {
	var no Refusal
	switch {
	case errors.Is(err, ErrNoNAT):
		return http.StatusNotFound
	case errors.As(err, &no):
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable
}

func send(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(streamLine{Error: message})
}
