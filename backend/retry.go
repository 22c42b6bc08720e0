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
	keyed      bool            // it has an Idempotency-Key that counts
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
		if !idempotent(f.method) && !f.keyed {
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

// free tells whether a retry costs nothing of the budget: the request was not
// sent, or not taken.
func free(c failure.Cause) bool {
	return c.Row().Retry.Methods == failure.AnyMethod || c == failure.KeepaliveRace
}

// decision is what came of asking for another attempt.
type decision struct {
	of  *failure.Error
	ok  bool
	why *failure.Note // what stood against it; nil if the row permits none
}

// again decides about another attempt after e. It decides once: what the budget
// gave is not taken twice.
func (c *call) again(e *failure.Error) decision {
	if c.decided.of != e {
		c.decided = c.decide(e)
	}
	return c.decided
}

func (c *call) decide(e *failure.Error) decision {
	d := decision{of: e}
	cfg := c.cfg()
	f := retryFacts{
		method: c.r.Method, attempts: c.attempts - c.forgiven, limit: cfg.Retries, replayable: c.upload.replayable(), keyed: c.keyed,
		begun: c.status != 0, once: c.once[:c.nOnce], others: c.state.untried(c.tried),
	}
	ok, why := mayRetry(e, f)
	if ok && !free(e.Cause) && !c.b.budget.spend(cfg, c.b.clock(time.Now())) {
		d.why = &failure.Note{Kind: failure.RetryBudgetSpent}
		return d
	}
	if ok && !c.upload.claim() {
		f.replayable = false
		ok, why = mayRetry(e, f)
	}
	if d.ok = ok; why != "" {
		d.why = &failure.Note{Kind: failure.NotRetried, Detail: why}
	}
	return d
}

// maxBar bounds what an endpoint may ask for with Retry-After.
const maxBar = 5 * time.Minute

// bar keeps an endpoint out of the first choice that asked for it: it answered
// 503 or 429 with Retry-After. Where all are barred they are used as if none
// were.
func (ep *endpoint) bar(b *Backend, e *failure.Error) {
	if e.RetryAfter > 0 && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests) {
		ep.barredUntil.Store(b.clock(time.Now()) + int64(min(e.RetryAfter, maxBar)))
	}
}

// barredFor is how long it is still so; 0: it is not.
func (ep *endpoint) barredFor(b *Backend) time.Duration {
	until := ep.barredUntil.Load()
	if until == 0 {
		return 0
	}
	return time.Duration(max(0, until-b.clock(time.Now())))
}
