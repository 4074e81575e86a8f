package wire

import "net/netip"

// HandlerFunc makes a Handler of one function that takes every message as a
// value. Each state message costs an allocation: for simulators, tools and
// tests.
type HandlerFunc func(from netip.Addr, m Message)

// HandleClaim implements Handler.
func (f HandlerFunc) HandleClaim(from netip.Addr, m *Claim) { f(from, *m) }

// HandleGrant implements Handler.
func (f HandlerFunc) HandleGrant(from netip.Addr, m *Grant) { f(from, *m) }

// HandleGranted implements Handler.
func (f HandlerFunc) HandleGranted(from netip.Addr, m *Granted) { f(from, *m) }

// HandleRedirect implements Handler.
func (f HandlerFunc) HandleRedirect(from netip.Addr, m *Redirect) { f(from, *m) }

// HandleQuery implements Handler.
func (f HandlerFunc) HandleQuery(from netip.Addr, m *Query) { f(from, *m) }

// HandleOwner implements Handler.
func (f HandlerFunc) HandleOwner(from netip.Addr, m *Owner) { f(from, *m) }

// HandleUpdate implements Handler.
func (f HandlerFunc) HandleUpdate(from netip.Addr, m *Update) { f(from, *m) }

// HandleClose implements Handler.
func (f HandlerFunc) HandleClose(from netip.Addr, m *Close) { f(from, *m) }

// HandleKept implements Handler.
func (f HandlerFunc) HandleKept(from netip.Addr, m *Kept) { f(from, *m) }

// HandleDelegate implements Handler.
func (f HandlerFunc) HandleDelegate(from netip.Addr, m *Delegate) { f(from, *m) }

// HandleReport implements Handler.
func (f HandlerFunc) HandleReport(from netip.Addr, m *Report) { f(from, *m) }

// HandleLease implements Handler.
func (f HandlerFunc) HandleLease(from netip.Addr, m *Lease) { f(from, *m) }

// HandleBind implements Handler.
func (f HandlerFunc) HandleBind(from netip.Addr, m *Bind) { f(from, *m) }

// HandleAlias implements Handler.
func (f HandlerFunc) HandleAlias(from netip.Addr, m *Alias) { f(from, *m) }

// HandleGone implements Handler.
func (f HandlerFunc) HandleGone(from netip.Addr, m *Gone) { f(from, *m) }

// HandleSynced implements Handler.
func (f HandlerFunc) HandleSynced(from netip.Addr, m *Synced) { f(from, *m) }

// HandleUnits implements Handler.
func (f HandlerFunc) HandleUnits(from netip.Addr, m Message) { f(from, m) }

// HandleMembership implements Handler.
func (f HandlerFunc) HandleMembership(from netip.Addr, m Message) { f(from, m) }
