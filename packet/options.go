package packet

// Options of IPv4 (RFC 791, 3.1): one byte, or a type, a length and data.
const (
	ipOptionEnd    = 0
	ipOptionNone   = 1
	ipOptionCopied = 0x80 // every fragment has it
	ipOptionLSRR   = 131  // loose source and record route
	ipOptionSSRR   = 137  // strict
)

// ipOption returns the first of some options and what is behind it. Nothing is left at
// their end; a length that they cannot have is RejectIPOptions.
func ipOption(b []byte) (first, rest []byte, r Reject) {
	for len(b) > 0 && b[0] == ipOptionNone {
		b = b[1:]
	}
	switch {
	case len(b) == 0 || b[0] == ipOptionEnd:
		return nil, nil, OK
	case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
		return nil, nil, RejectIPOptions
	}
	return b[:b[1]], b[b[1]:], OK
}

// checkOptions refuses what would take the packet by another way than the one that
// was judged (RFC 7126, 4.3 and 4.4), and what cannot be read.
func checkOptions(b []byte) Reject {
	for len(b) > 0 {
		first, rest, r := ipOption(b)
		switch {
		case r != OK:
			return r
		case len(first) > 0 && (first[0] == ipOptionLSRR || first[0] == ipOptionSSRR):
			return RejectSourceRoute
		}
		b = rest
	}
	return OK
}

// appendCopied appends those of a header's options, which were checked, that each
// fragment has, filled up to a multiple of four bytes.
func appendCopied(dst, options []byte) []byte {
	start := len(dst)
	for len(options) > 0 {
		first, rest, _ := ipOption(options)
		if len(first) > 0 && first[0]&ipOptionCopied != 0 {
			dst = append(dst, first...)
		}
		options = rest
	}
	for (len(dst)-start)%4 != 0 {
		dst = append(dst, ipOptionEnd)
	}
	return dst
}
