package wire

// A director grants a burst of claims with a burst of Granted. On the wire those that
// follow each other are one message, a byte for each after the first:
//
//	serial of the first, 3 bytes; 1 if Bound
//	for each of the others, a byte: how much larger its serial is than that before, 1 to
//	127, in the upper seven bits; 1 if Bound in the lowest

// MaxSerial is the largest number of a claim. The next claim of the same number is so
// many claims later that no answer to the one before can still be on its way: at 200,000
// claims a second that is more than a minute.
const MaxSerial = 1<<24 - 1

// maxStep is by how much two serials in one message may differ.
const maxStep = 127

func appendSerial(b []byte, n uint32) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }

// serial is the number of a claim.
func (r *reader) serial() uint32 {
	hi := r.u8()
	return uint32(hi)<<16 | uint32(r.u16())
}

// granted reads the first of the answers in a message.
func (r *reader) granted(m *Granted) {
	m.Serial = r.serial()
	bound := r.u8()
	if m.Bound = bound == 1; bound > 1 {
		r.fail(ErrValue)
	}
}

// more reads the next one, false at the end.
func (r *reader) more(m *Granted) bool {
	if r.err != nil || len(r.b) == 0 {
		return false
	}
	step := r.u8()
	if step>>1 == 0 {
		r.fail(ErrValue)
		return false
	}
	m.Serial, m.Bound = (m.Serial+uint32(step>>1))&MaxSerial, step&1 != 0
	return true
}

// Extend adds m to the message that begins at last and ends b, if one message can say
// both; ok is false, and b as it was, if not. m does not escape.
func Extend(b []byte, last int, m Message) (longer []byte, ok bool) {
	g, granted := m.(Granted)
	if !granted || last < 0 || len(b)-last < 2 || Type(b[last]) != TypeGranted || b[last+1] >= 0x7f {
		return b, false
	}
	r := reader{b: b[last+2:]}
	var before Granted
	for r.granted(&before); r.more(&before); {
	}
	step := (g.Serial - before.Serial) & MaxSerial
	if r.err != nil || step == 0 || step > maxStep {
		return b, false
	}
	b[last+1]++
	return append(b, byte(step)<<1|flag(g.Bound)), true
}
