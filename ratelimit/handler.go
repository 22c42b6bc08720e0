package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// Handler puts the limit in front of next. A request without a permit never
// reaches next: the refusal is reported to the request's slot and answered by
// ErrorHandler, with 429, cause rate_limited, Retry-After, and the RateLimit and
// RateLimit-Policy fields. Requests that pass are not touched.
func (l *Limiter) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, client := l.decide(r)
		l.observe(r.Context(), d, client == unidentified)
		if d.ok {
			next.ServeHTTP(w, r)
			return
		}
		l.fields.set(w.Header(), d)
		failure.Serve(w, r, l.refusal(r, d, client), l.cfg.ErrorHandler)
	})
}

// client is how a request was told apart.
type client uint8

const (
	byAddress client = iota
	byKey
	unidentified
)

func (l *Limiter) decide(r *http.Request) (decision, client) {
	if l.cfg.Key != nil {
		if key, ok := l.cfg.Key(r); ok {
			return l.take(key, 1), byKey
		}
	} else if addr, ok := l.cfg.ClientIP(r); ok && addr.IsValid() {
		var buf [maxKey]byte
		return l.take(string(appendAddrKey(buf[:0], addr)), 1), byAddress
	}
	return l.unidentified.take(1), unidentified
}

// appendAddrKey appends the key of a client with that address.
func appendAddrKey(b []byte, addr netip.Addr) []byte {
	addr = addr.Unmap()
	if addr.Is4() {
		return addr.AppendTo(b)
	}
	network, err := addr.Prefix(64)
	if err != nil { // not of an IPv6 address
		return addr.AppendTo(b)
	}
	return network.AppendTo(b)
}

// statusParams are the extra parameters of http_request_error (RFC 9209 section
// 2.3.19).
var statusParams = []failure.Param{
	{Key: "status-code", Value: http.StatusTooManyRequests},
	{Key: "status-phrase", Value: http.StatusText(http.StatusTooManyRequests)},
}

func (l *Limiter) refusal(r *http.Request, d decision, c client) *failure.Error {
	e := &failure.Error{Cause: failure.RateLimited, RetryAfter: d.retryAfter, Params: statusParams}
	who := "client"
	switch {
	case c == unidentified:
		who = "clients without an address or key, together,"
	case d.overflow:
		who = "clients beyond the table of keys, together,"
	case c == byAddress: // a key of another making may be a secret
		if addr, ok := l.cfg.ClientIP(r); ok {
			who = string(appendAddrKey(nil, addr))
		}
	}
	e.Detail = fmt.Sprintf("limit %q: %s over %v per second (burst %d)", l.cfg.Name, who, l.cfg.Rate, l.cfg.Burst)
	return e
}

// fields are the response fields of draft-ietf-httpapi-ratelimit-headers-10, as
// far as they are the same for every refusal.
type fields struct {
	policy []string
	state  string // up to the seconds
}

func newFields(name string, rate float64, burst int) fields {
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	quota, window := policy(rate, burst)
	return fields{
		policy: []string{fmt.Sprintf("%s;q=%d;w=%d", quoted, quota, window)},
		state:  quoted + ";r=0;t=",
	}
}

// maxInteger is the largest integer of a structured field (RFC 9651 section
// 3.3.1).
const maxInteger = 999_999_999_999_999

// policy tells a token bucket as a quota per window of whole seconds: a burst
// and the time in which it comes back, or what a second brings where that is
// more. It is rounded so as not to promise more than the bucket gives.
func policy(rate float64, burst int) (quota, window int64) {
	if rate > float64(burst) {
		return int64(rate), 1
	}
	return int64(burst), int64(min(math.Ceil(float64(burst)/rate), maxInteger))
}

// set requires that what is set is never written to: the policy is shared.
func (f fields) set(h http.Header, d decision) {
	seconds := (&failure.Error{RetryAfter: d.retryAfter}).RetryAfterSeconds()
	h["Ratelimit-Policy"] = f.policy[:1:1]
	h["Ratelimit"] = []string{f.state + strconv.Itoa(seconds)}
}
