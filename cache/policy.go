package cache

import (
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// ResponseView is what Config.Policy sees of a response: its final status and
// its header section, a copy. Where the origin confirmed a stored response (304),
// it is that response with its fields updated.
type ResponseView struct {
	Status int
	Header http.Header
}

// StoreRule says whether a response is stored.
type StoreRule uint8

// The rules.
const (
	// StoreByOrigin leaves it to RFC 9111, Config.StoreSetCookie and
	// Config.StatusTTL.
	StoreByOrigin StoreRule = iota
	// StoreNever: it is not stored.
	StoreNever
	// StoreAnyway: it is stored where the origin said no-store or private, or
	// gave no freshness. It is not where that would hand one visitor's content to
	// another, or is impossible: with Set-Cookie (see Config.StoreSetCookie), for a
	// request with Authorization unless the origin said that the response is for
	// all, with Vary: *, for a request with no-store, a 206 or 304, a status that
	// must-understand does not let us store, and what is too large.
	StoreAnyway
)

// Decision is what Config.Policy says about one response. The zero Decision is
// the origin's word.
type Decision struct {
	// Store says whether it is stored.
	Store StoreRule
	// TTL is its freshness from now on, whatever age it came with. 0 = what the
	// origin says; negative = stale at once. A no-cache of the origin stands,
	// unless Store is StoreAnyway.
	TTL time.Duration
	// StaleWhileRevalidate and StaleIfError are for how long after that it may
	// be used while it is refreshed, and if that fails. 0 = what the origin says,
	// or else Config; negative = not at all. An origin that forbids stale answers
	// (must-revalidate, proxy-revalidate, no-cache, s-maxage) outranks them, unless
	// Store is StoreAnyway; nothing makes an answer of 500 or more usable stale.
	StaleWhileRevalidate, StaleIfError time.Duration
	// Tags are tags beside those of Surrogate-Key and Cache-Tag, for
	// [Purge].Tag.
	Tags []string
}

// grant is d as semantics needs it; nil if it changes nothing there.
func (d *Decision) grant() *semantics.Grant {
	g := semantics.Grant{Anyway: d.Store == StoreAnyway, TTL: d.TTL, SWR: d.StaleWhileRevalidate, SIE: d.StaleIfError}
	if g == (semantics.Grant{}) {
		return nil
	}
	return &g
}

// ask asks Config.Policy about a response to r. bad is a panic of it, nil = none.
func (c *Cache) ask(r *http.Request, status int, h http.Header) (d Decision, bad *panicked) {
	if c.cfg.Policy == nil {
		return Decision{}, nil
	}
	defer func() {
		if v := recover(); v != nil {
			d, bad = Decision{}, &panicked{v, failure.Recovered(v, debug.Stack())}
		}
	}()
	return c.cfg.Policy(r, ResponseView{status, h.Clone()}), nil
}

// ask asks Config.Policy about the fetch's response. A panic of it is the
// fetch's failure: ok is false then.
func (x *fetch) ask(status int, h http.Header) (ok bool) {
	x.decision, x.policyPanic = x.f.cache.ask(x.r, status, h)
	return x.policyPanic == nil
}

// grants are the Config's options, with what Config.Policy says of a response.
func (c *Cache) grants(d *Decision) semantics.Options {
	o := c.options
	o.Grant = d.grant()
	return o
}

// storable is semantics.Storable with what Config.Policy says.
func (x *fetch) storable(status int, h http.Header) (ok bool, reason string) {
	if ok, reason = semantics.Storable(http.MethodGet, x.f.reqHeader, status, h, x.options()); ok && x.decision.Store == StoreNever {
		return false, reasonPolicy
	}
	return ok, reason
}

// options are the Config's, with what Config.Policy says of this response.
func (x *fetch) options() semantics.Options {
	return x.f.cache.grants(&x.decision)
}

// checkStatusTTL validates Config.StatusTTL.
func checkStatusTTL(m map[int]time.Duration) (errs []error) {
	for status, ttl := range m {
		if status < 200 || status > 599 || status == http.StatusPartialContent || status == http.StatusNotModified {
			errs = append(errs, fmt.Errorf("cache: Config.StatusTTL has the status %d: must be from 200 to 599, and neither 206 nor 304", status))
		}
		if ttl <= 0 {
			errs = append(errs, fmt.Errorf("cache: Config.StatusTTL[%d] is %v: must be positive; statuses that are left out have none", status, ttl))
		}
	}
	return errs
}
