package semantics

import (
	"math"
	"net/http"
	"strings"
	"time"
)

// AnyStale is the value of [Request.MaxStale] for max-stale without an
// argument: any age will do.
const AnyStale time.Duration = math.MaxInt64

// Request has the request directives (RFC 9111 section 5.2.1, RFC 5861 section
// 4). Durations are -1 where the directive is absent.
type Request struct {
	NoCache, NoStore, OnlyIfCached bool
	MaxAge, MinFresh, MaxStale     time.Duration
	StaleIfError                   time.Duration
}

// ParseRequest reads the directives of a request. Pragma: no-cache counts where
// there is no Cache-Control (RFC 9111 section 5.4). An argument that is no
// number is ignored, but that of max-age: that is 0. Of several the most
// restrictive counts (section 4.2.1).
func ParseRequest(h http.Header) Request {
	q := Request{MaxAge: -1, MinFresh: -1, MaxStale: -1, StaleIfError: -1}
	lines, ok := h["Cache-Control"]
	if !ok {
		if pragma, ok := h["Pragma"]; ok {
			eachDirective(pragma, func(name, _ string, has bool) {
				if !has && strings.EqualFold(name, "no-cache") {
					q.NoCache = true
				}
			})
		}
		return q
	}
	eachDirective(lines, q.add)
	return q
}

func (q *Request) add(name, arg string, has bool) {
	switch strings.ToLower(name) {
	case "no-cache":
		q.NoCache = true
	case "no-store":
		q.NoStore = true
	case "only-if-cached":
		q.OnlyIfCached = true
	case "max-age":
		q.MaxAge = least(q.MaxAge, parseDelta(arg).duration())
	case "min-fresh":
		if d := parseDelta(arg); d >= 0 {
			q.MinFresh = max(q.MinFresh, d.duration())
		}
	case "max-stale":
		if !has {
			q.MaxStale = least(q.MaxStale, AnyStale)
		} else if d := parseDelta(arg); d >= 0 {
			q.MaxStale = least(q.MaxStale, d.duration())
		}
	case "stale-if-error":
		if d := parseDelta(arg); d >= 0 {
			q.StaleIfError = least(q.StaleIfError, d.duration())
		}
	}
}

// least is the lesser of two; a negative first is none.
func least(a, b time.Duration) time.Duration {
	if a < 0 {
		return b
	}
	return min(a, b)
}
