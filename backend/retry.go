package backend

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// retryFacts is what a retry depends on besides the row of the cause.
type retryFacts struct {
	method     string
	attempts   int // made so far
	limit      int // Config.Retries
	replayable bool
	begun      bool            // something was sent to the client
	once       []failure.Cause // that had their only retry
	others     bool            // an endpoint that was not tried may be used
}

// mayRetry decides by the row of e's cause alone. why says what stood against a
// retry that the row permits as such; "" if it permits none.
func mayRetry(e *failure.Error, f retryFacts) (ok bool, why string) {
	r := e.Cause.Row().Retry
	switch r.Methods {
	case failure.NoMethod:
		return false, ""
	case failure.ReadMethods:
		if f.method != http.MethodGet && f.method != http.MethodHead {
			return false, "method " + f.method
		}
	case failure.IdempotentMethods:
		if !idempotent(f.method) {
			return false, "method " + f.method
		}
	case failure.AnyMethod:
	}
	switch {
	case r.Statuses != nil && !slices.Contains(r.Statuses, e.Status):
		return false, ""
	case f.begun:
		return false, "response begun"
	case !f.replayable:
		return false, "body not replayable"
	case r.Once && slices.Contains(f.once, e.Cause):
		return false, "once only"
	case f.attempts > f.limit:
		return false, "attempts spent"
	case r.Endpoint == failure.RequireOther && !f.others:
		return false, "no other endpoint"
	case e.RetryAfter > 0 && !f.others:
		return false, "Retry-After"
	}
	return true, ""
}

// idempotent tells whether sending the request twice means the same as once
// (RFC 9110 section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// backoffFor is the wait before another attempt at the same endpoint: 25 ms,
// doubling, with a quarter of jitter on either side.
func backoffFor(attempts int) time.Duration {
	d := 25 * time.Millisecond << min(attempts-1, 5)
	return d*3/4 + rand.N(d/2)
}

// untried tells whether an endpoint is left that was not tried and is up.
func (s *state) untried(tried []*endpoint) bool {
	for _, ep := range s.endpoints {
		if !slices.Contains(tried, ep) && ep.up() {
			return true
		}
	}
	return false
}
