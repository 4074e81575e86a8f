// Package fragments is the fragment owner's part of FR10: it learns a datagram's ports
// from its first fragment, and lets the others follow.
//
// Nothing is put together. Fragments that come before the first are held; the first is
// judged as any packet of its connection (Config.Judge, the role logic), and what
// becomes of it becomes of all: each goes on as it came, under the first's ports, in
// the order of arrival. The transport checksum lies in the first fragment and changes
// by differences, so translation does not need the rest (docs/fragments.md).
//
// Overlapping fragments end their datagram (RFC 5722), a duplicate is dropped, and a
// record ends with the datagram's last byte, so that the identification may come again
// at once (RFC 4963). What does not become complete goes after Config.Life, and earlier
// where it would take another's room: the oldest first, for what works is young.
//
// The package never blocks, asks for no time but what it is given, and does not
// allocate once its records have grown. One goroutine calls it. It knows fragments by
// the handles of package ownership and never looks at bytes.
package fragments
