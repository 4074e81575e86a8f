// Package api is the management API of one node: JSON over HTTP on a unix
// socket (MG1), the server that a daemon runs and the client that commands use.
//
// The types are what users see. They name things by the words of the
// specification and do not follow the daemon's internals: a field is added, not
// renamed. Everything is read with GET; where something is done, POST does it.
//
//	GET /v1/cluster/info      Info
//	GET /v1/cluster/history   []Event
//	GET /v1/cluster/health    Health
//	GET /v1/cluster/exposure  Exposure
//	GET /v1/cluster/forget    Forgotten, of ?node=NAME: what POST would do
//	POST /v1/cluster/forget   Forgotten: the node is over
//	POST /v1/cluster/act      Acted, of ?verb=VERB and, for remove and promote, &node=NAME
//	GET /v1/interfaces        []Interface
//	GET /v1/counters          []Counter
//	GET /v1/tables            Tables
//	GET /v1/conns             one Conn a line, then one End
//	GET /v1/conns/count       ConnCount
//	GET /v1/nat/pools         []NATPool
//	GET /v1/nat/blocks        []NATBlock of ?pool=NAME
//	GET /v1/nat/xlates        one Xlate a line, then one End
//	POST /v1/reload           Reload
//
// An error is a status other than 200 (409 for a Refusal) with {"error": "one line"}. Connections
// and translations are streamed: neither side holds more than one of them at a
// time.
package api
