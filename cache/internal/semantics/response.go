package semantics

import (
	"net/http"
	"time"
)

// Response is what the fields of a response amount to, worked out once when
// it was received. It is not changed afterwards.
type Response struct {
	Status   int
	Received time.Time
	// Lifetime is the freshness lifetime (RFC 9111 section 4.2.1), InitialAge the
	// corrected initial age at Received (section 4.2.3).
	Lifetime, InitialAge time.Duration
	// SWR and SIE are for how long after its lifetime the response may be used
	// while it is being refreshed, and if that fails; 0 is not at all.
	SWR, SIE time.Duration
	// MustRevalidate: it may never be used stale, other than as SWR and SIE say;
	// Forbids is the directive that says so.
	MustRevalidate bool
	Forbids        string
	// NoCache: it is not used without being revalidated (RFC 9111 section 5.2.2.4).
	NoCache bool
	// Source is where the lifetime is from: "s-maxage", "max-age", "expires",
	// "heuristic", "policy" or "status" where the operator gave it, or "none"; of
	// a targeted field with its name before it.
	Source string
	// Heuristic: the lifetime is our guess, made from Last-Modified. It may be 0.
	Heuristic bool
	// Shareable: the origin said that it is for everybody, credentials or not
	// (RFC 9111 section 3.5).
	Shareable bool
	// Grant is what the operator said about it; nil = nothing.
	Grant *Grant
	// ETag and LastModified are the validators as received; "" is none.
	ETag, LastModified string
}

// heuristicShare and maxHeuristic bound the guess (RFC 9111 section 4.2.2).
const (
	heuristicShare = 10
	maxHeuristic   = 24 * time.Hour
	// keepValidated is for how long after all else a response is kept that can
	// still spare the transfer of its body.
	keepValidated = 24 * time.Hour
)

// Analyze works out what may be done with a response. sent and received are
// when its request went out and its header section came in. For a stored
// response that a 304 confirmed, h is what [Update] returned.
func Analyze(h http.Header, status int, sent, received time.Time, o Options) Response {
	d := parseDirectives(h, o.targets())
	r := Response{
		Status:       status,
		Received:     received,
		NoCache:      d.noCache,
		Shareable:    d.shared(),
		ETag:         first(h["Etag"]),
		LastModified: first(h["Last-Modified"]),
	}
	date, ok, _ := singleDate(h["Date"])
	if !ok {
		date = received
	}
	r.InitialAge = initialAge(h["Age"], date, sent, received)
	r.Lifetime, r.Heuristic = lifetime(&d, h, status, date)
	r.Source = source(&d, h, r.Heuristic)
	r.granted(d.explicit(h), &o)
	r.stale(&d, o)
	r.grantedWindows(&o)
	return r
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// longest is the greatest age and lifetime (RFC 9111 section 1.2.2): what is
// beyond it is it, so that sums of a few can't overflow.
const longest = time.Duration(maxDelta) * time.Second

// initialAge is corrected_initial_age of RFC 9111 section 4.2.3.
func initialAge(age []string, date, sent, received time.Time) time.Duration {
	return min(longest, max(apparentAge(date, sent, received), ageValue(age)+min(longest, max(0, received.Sub(sent)))))
}

// apparentAge is apparent_age of that section, in the whole seconds that a Date
// has. One whose second was not over when the request was sent may be of an answer
// to it, and tells of no age: or a max-age of 1 would on average be worth half a
// second.
func apparentAge(date, sent, received time.Time) time.Duration {
	if date.Add(time.Second).After(sent) {
		return 0
	}
	return max(0, received.Truncate(time.Second).Sub(date))
}

// ageValue reads Age. Of several members the first counts, and one that is no
// number is ignored (RFC 9111 section 5.1). Empty members are none (RFC 9110
// section 5.6.1.2).
func ageValue(lines []string) time.Duration {
	for _, line := range lines {
		for more := true; more; {
			var member string
			if member, line, more = nextMember(line); member != "" {
				return parseDelta(member).duration()
			}
		}
	}
	return 0
}

// lifetime is the freshness lifetime for a shared cache (RFC 9111 section
// 4.2.1). Information that can't be understood is read as "stale".
func lifetime(d *directives, h http.Header, status int, date time.Time) (life time.Duration, guess bool) {
	switch {
	case d.sMaxAge != absent:
		return d.sMaxAge.duration(), false
	case d.maxAge != absent:
		return d.maxAge.duration(), false
	}
	if !d.targeted {
		if expires, ok, present := singleDate(h["Expires"]); present {
			if !ok {
				return 0, false
			}
			return min(longest, max(0, expires.Sub(date))), false
		}
	}
	if !heuristic(status) && !d.public {
		return 0, false
	}
	modified, ok, _ := singleDate(h["Last-Modified"])
	if !ok {
		return 0, false
	}
	return min(max(0, date.Sub(modified)/heuristicShare), maxHeuristic), true
}

// source names what the lifetime was made of.
func source(d *directives, h http.Header, guess bool) string {
	name := "none"
	switch {
	case d.sMaxAge != absent:
		name = "s-maxage"
	case d.maxAge != absent:
		name = "max-age"
	case !d.targeted && len(h["Expires"]) > 0:
		return "expires"
	case guess:
		return "heuristic"
	}
	if d.targeted && name != "none" {
		return d.target + ": " + name
	}
	return name
}

// stale works out the windows. What the response says of itself outranks the
// s-maxage beside it, which implies proxy-revalidate (RFC 9111 section
// 5.2.2.10); what the operator says outranks nothing. An answer of 500 or more
// is never used stale. Nor has the operator a say where the origin gave neither
// freshness nor a time of modification: that is how pages for one visitor come.
func (r *Response) stale(d *directives, o Options) {
	switch {
	case d.noCache:
		r.MustRevalidate, r.Forbids = true, "no-cache"
		return
	case d.mustRevalidate:
		r.MustRevalidate, r.Forbids = true, "must-revalidate"
		return
	case d.proxyRevalidate:
		r.MustRevalidate, r.Forbids = true, "proxy-revalidate"
		return
	case r.Status >= 500:
		r.MustRevalidate, r.Forbids = true, "status"
		return
	case d.sMaxAge != absent:
		r.MustRevalidate, r.Forbids = true, "s-maxage"
	case r.Lifetime > 0 || r.Heuristic || d.public:
		r.SWR, r.SIE = min(o.StaleWhileRevalidate, longest), min(o.StaleIfError, longest)
	}
	if d.swr != absent {
		r.SWR = d.swr.duration()
	}
	if d.sie != absent {
		r.SIE = d.sie.duration()
	}
}

// Age is current_age of RFC 9111 section 4.2.3.
func (r *Response) Age(now time.Time) time.Duration {
	return r.InitialAge + max(0, now.Sub(r.Received))
}

// TTL is the freshness left, 0 or less when the response is stale.
func (r *Response) TTL(now time.Time) time.Duration {
	return r.Lifetime - r.Age(now)
}

// KeepFor is for how long from now on the response can be of any use: fresh,
// stale, or to be revalidated.
func (r *Response) KeepFor(now time.Time) time.Duration {
	keep := max(r.TTL(now)+max(r.SWR, r.SIE), 0)
	if r.ETag != "" || r.LastModified != "" {
		keep += keepValidated
	}
	return keep
}
