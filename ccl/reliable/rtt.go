package reliable

// rtt estimates the round trip and the retransmission timeout (RFC 6298, with
// bounds for a link inside one room).
type rtt struct {
	smoothed, variation int64
	shift               uint // doublings since the last progress
}

func (r *rtt) restart() { *r = rtt{} }

// sample takes the time from sending to acknowledgement of a segment that was
// sent once (Karn).
func (r *rtt) sample(d int64) {
	d = max(d, 1)
	if r.smoothed == 0 {
		r.smoothed, r.variation = d, d/2
		return
	}
	diff := r.smoothed - d
	if diff < 0 {
		diff = -diff
	}
	r.variation += (diff - r.variation) / 4
	r.smoothed += (d - r.smoothed) / 8
}

// timeout returns the time to wait for an acknowledgement.
func (r *rtt) timeout() int64 {
	t := startRTO
	if r.smoothed != 0 {
		t = r.smoothed + max(4*r.variation, ackDelay)
	}
	t = max(t, minRTO) << r.shift
	return min(t, maxRTO)
}

func (r *rtt) backoff() {
	if r.timeout() < maxRTO {
		r.shift++
	}
}

func (r *rtt) progress() { r.shift = 0 }
