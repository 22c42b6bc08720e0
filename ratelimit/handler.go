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
		d, from := l.decide(r)
		l.observe(r.Context(), d, from.unidentified)
		if d.ok {
			next.ServeHTTP(w, r)
			return
		}
		l.fields.set(w.Header(), d)
		failure.Serve(w, r, l.refusal(d, from), l.cfg.ErrorHandler)
	})
}

// client is how a request was told apart: by addr if that is valid, by a key of
// the user's making, or not at all.
type client struct {
	addr         netip.Addr
	unidentified bool
}

func (l *Limiter) decide(r *http.Request) (decision, client) {
	if l.cfg.Key != nil {
		if key, ok := l.cfg.Key(r); ok {
			return l.take(key, 1), client{}
		}
	} else if addr, ok := l.cfg.ClientIP(r); ok && addr.IsValid() {
		var buf [maxKey]byte
		return l.take(string(appendAddrKey(buf[:0], addr)), 1), client{addr: addr}
	}
	return l.unidentified.take(1), client{unidentified: true}
}

// appendAddrKey appends the key of a client with that address.
func appendAddrKey(b []byte, addr netip.Addr) []byte {
	addr = addr.Unmap()
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil { // it drops a zone, too
			return network.AppendTo(b)
		}
	}
	return addr.AppendTo(b)
}

// statusParams are the extra parameters of http_request_error (RFC 9209 section
// 2.3.19).
var statusParams = []failure.Param{
	{Key: "status-code", Value: http.StatusTooManyRequests},
	{Key: "status-phrase", Value: http.StatusText(http.StatusTooManyRequests)},
}

func (l *Limiter) refusal(d decision, from client) *failure.Error {
	who := "a client" // its key may be a secret
	switch {
	case from.unidentified:
		who = "clients that can't be told apart are together"
	case d.overflow:
		who = "clients beyond the table are together"
	case from.addr.IsValid():
		who = string(appendAddrKey(nil, from.addr))
	}
	return &failure.Error{
		Cause: failure.RateLimited, RetryAfter: d.retryAfter, Params: statusParams,
		Detail: fmt.Sprintf("limit %q: %s over %v per second (burst %d)", l.cfg.Name, who, l.cfg.Rate, l.cfg.Burst),
	}
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
