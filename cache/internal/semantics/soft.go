package semantics

import "time"

// Soften is what becomes of a decision about a response that was softly purged:
// it counts as stale from then on, so that it may only stand in for a refresh
// that fails or is slow. For how long, its windows say as if it had gone stale
// now, if it has not yet; where the origin forbids stale answers it is not.
func Soften(d Decision, q Request, r *Response, now time.Time) Decision {
	if d.Verdict == Fresh || d.Verdict == StaleWhileRevalidate {
		d.Verdict, d.Fwd = Stale, "stale"
	}
	if r.TTL(now) > 0 {
		d.StaleAllowed = !r.NoCache && (r.SIE > 0 || q.StaleIfError > 0 && !r.MustRevalidate)
		d.StaleForbidden = ""
		if !d.StaleAllowed {
			d.StaleForbidden = r.Forbids
		}
	}
	return d
}
