package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
)

// Client asks the daemon behind a unix socket. It may be used concurrently.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client for the daemon at this socket. Nothing is opened
// before the first question.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Info returns the cluster as the node sees it.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return get[Info](ctx, c, "/v1/cluster/info")
}

// History returns the node's events, oldest first.
func (c *Client) History(ctx context.Context) ([]Event, error) {
	return get[[]Event](ctx, c, "/v1/cluster/history")
}

// Health returns what the node watches.
func (c *Client) Health(ctx context.Context) (Health, error) {
	return get[Health](ctx, c, "/v1/cluster/health")
}

// Interfaces returns the node's data interfaces and its link.
func (c *Client) Interfaces(ctx context.Context) ([]Interface, error) {
	return get[[]Interface](ctx, c, "/v1/interfaces")
}

// Counters returns all counters of the node.
func (c *Client) Counters(ctx context.Context) ([]Counter, error) {
	return get[[]Counter](ctx, c, "/v1/counters")
}

// Tables returns how full the node's tables are.
func (c *Client) Tables(ctx context.Context) (Tables, error) {
	return get[Tables](ctx, c, "/v1/tables")
}

// CountConns counts the node's connections that match f.
func (c *Client) CountConns(ctx context.Context, f ConnFilter) (ConnCount, error) {
	return get[ConnCount](ctx, c, "/v1/conns/count?"+f.query().Encode())
}

// Conns calls visit for at most limit (0 = all) connections that match f, until
// visit returns an error, which is returned. Visit must not keep the Conn.
func (c *Client) Conns(ctx context.Context, f ConnFilter, limit int, visit func(*Conn) error) (End, error) {
	var line struct {
		Conn
		streamLine
	}
	return c.stream(ctx, "/v1/conns", f.query(), limit, func(d *json.Decoder) (*streamLine, error) {
		line.Conn, line.streamLine = Conn{}, streamLine{}
		return &line.streamLine, d.Decode(&line)
	}, func() error { return visit(&line.Conn) })
}

// NATPools returns the pools in the order of the configuration.
func (c *Client) NATPools(ctx context.Context) ([]NATPool, error) {
	return get[[]NATPool](ctx, c, "/v1/nat/pools")
}

// NATBlocks returns the blocks of a pool by address and port.
func (c *Client) NATBlocks(ctx context.Context, pool string) ([]NATBlock, error) {
	return get[[]NATBlock](ctx, c, "/v1/nat/blocks?"+url.Values{"pool": {pool}}.Encode())
}

// Forgettable says what Forget would mean; a Refusal when it cannot be.
func (c *Client) Forgettable(ctx context.Context, node string) (Forgotten, error) {
	return get[Forgotten](ctx, c, forgetPath(node))
}

// Forget makes the cluster wait no longer for a node that is over. It takes
// seconds while a member does not answer. What cannot be is a Refusal.
func (c *Client) Forget(ctx context.Context, node string) (Forgotten, error) {
	return request[Forgotten](ctx, c, http.MethodPost, forgetPath(node))
}

func forgetPath(node string) string {
	return "/v1/cluster/forget?" + url.Values{"node": {node}}.Encode()
}

// Xlates is to translations what Conns is to connections.
func (c *Client) Xlates(ctx context.Context, f XlateFilter, limit int, visit func(*Xlate) error) (End, error) {
	var line struct {
		Xlate
		streamLine
	}
	return c.stream(ctx, "/v1/nat/xlates", f.query(), limit, func(d *json.Decoder) (*streamLine, error) {
		line.Xlate, line.streamLine = Xlate{}, streamLine{}
		return &line.streamLine, d.Decode(&line)
	}, func() error { return visit(&line.Xlate) })
}

// stream reads a stream line by line: next decodes one, and visit is called
// for those that are neither the end nor an error.
func (c *Client) stream(ctx context.Context, path string, q url.Values, limit int, next func(*json.Decoder) (*streamLine, error), visit func() error) (End, error) {
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	body, err := c.open(ctx, http.MethodGet, path+"?"+q.Encode())
	if err != nil {
		return End{}, err
	}
	defer body.Close()
	lines := json.NewDecoder(bufio.NewReaderSize(body, 64<<10))
	for {
		switch line, err := next(lines); {
		case errors.Is(err, io.EOF):
			return End{}, fmt.Errorf("ask cohortd at %s: the answer was cut off", c.socket)
		case err != nil:
			return End{}, fmt.Errorf("ask cohortd at %s: %w", c.socket, err)
		case line.Error != "":
			return End{}, fmt.Errorf("ask cohortd at %s: %s", c.socket, line.Error)
		case line.End != nil:
			return *line.End, nil
		}
		if err := visit(); err != nil {
			return End{}, err
		}
	}
}

func get[T any](ctx context.Context, c *Client, path string) (v T, err error) {
	return request[T](ctx, c, http.MethodGet, path)
}

func request[T any](ctx context.Context, c *Client, method, path string) (v T, err error) {
	body, err := c.open(ctx, method, path)
	if err != nil {
		return v, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return v, fmt.Errorf("ask cohortd at %s: %w", c.socket, err)
	}
	return v, nil
}

// open asks and returns the body of a good answer.
func (c *Client) open(ctx context.Context, method, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://cohortd"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask cohortd at %s: %w", c.socket, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var said streamLine
	if json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said) != nil || said.Error == "" {
		said.Error = resp.Status
	}
	if resp.StatusCode == http.StatusConflict {
		return nil, Refusal(said.Error)
	}
	return nil, fmt.Errorf("ask cohortd at %s: %s", c.socket, said.Error)
}

// explain says what a person can do about a failed connection.
func (c *Client) explain(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no socket %s: is cohortd running? (--socket names another)", c.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("nobody serves the socket %s: is cohortd running?", c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not use the socket %s: become root", c.socket)
	}
	return fmt.Errorf("ask cohortd at %s: %w", c.socket, err)
}
