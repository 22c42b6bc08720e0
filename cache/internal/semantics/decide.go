package semantics

import "time"

// Verdict says what may be done with a stored response for a request.
type Verdict uint8

// The verdicts.
const (
	// Revalidate: it is not used unless the origin confirms it.
	Revalidate Verdict = iota
	// Fresh: it answers.
	Fresh
	// StaleWhileRevalidate: it answers now, and is refreshed behind that.
	StaleWhileRevalidate
	// Stale: it is refreshed first.
	Stale
)

// Decision is what may be done with a stored response, and why.
type Decision struct {
	Verdict Verdict
	// StaleAllowed: it may answer if the refresh fails, takes too long, or can't
	// be attempted.
	StaleAllowed bool
	// Fwd is why the origin is asked (RFC 9211 section 2.2): "request" or
	// "stale"; "" if it is not.
	Fwd string
	// StaleForbidden is the directive that keeps a stale answer back; "" if none
	// does.
	StaleForbidden string
}

// Decide tells whether a stored response may answer a request (RFC 9111 section
// 4). The directives of the request are a preference (section 5.2.1): they are
// followed as long as the origin answers, and a visitor who reloads during an
// outage still gets the stale copy.
func Decide(q Request, r *Response, now time.Time) Decision {
	ttl := r.TTL(now)
	staleFor := -ttl
	d := Decision{StaleForbidden: r.Forbids}
	window := r.SIE
	if q.StaleIfError >= 0 && !r.MustRevalidate {
		window = max(window, q.StaleIfError)
	}
	d.StaleAllowed = !r.NoCache && (ttl > 0 || staleFor <= window && window > 0)
	if d.StaleAllowed {
		d.StaleForbidden = ""
	}
	asked := q.NoCache || q.MinFresh >= 0 && ttl < q.MinFresh
	accepted := q.MaxStale >= 0 && !r.MustRevalidate && staleFor <= q.MaxStale
	if q.MaxAge >= 0 {
		// Together with max-stale, that is how much older it may be (RFC 9111
		// sections 5.2.1.1 and 5.2.1.2).
		older := r.Age(now) - q.MaxAge
		accepted = accepted && older <= q.MaxStale
		asked = asked || older > 0 && !accepted
	}
	switch {
	case r.NoCache:
		d.Verdict, d.Fwd = Revalidate, "stale"
	case asked:
		d.Verdict, d.Fwd = Revalidate, "request"
	case ttl > 0:
		d.Verdict = Fresh
	case accepted, r.SWR > 0 && staleFor <= r.SWR:
		d.Verdict = StaleWhileRevalidate
	default:
		d.Verdict, d.Fwd = Stale, "stale"
	}
	return d
}
