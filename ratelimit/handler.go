package ratelimit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Handler puts the limits in front of next. A request without a permit never
// reaches next: the refusal is reported to the request's slot and answered by
// ErrorHandler, with 429, cause rate_limited, Retry-After, and the RateLimit and
// RateLimit-Policy fields. Who is on the deny list gets the same without a time
// and without these fields. Requests that pass are not touched, nor are their
// answers unless Config.Headers is set.
func (l *Limiter) Handler(next http.Handler) http.Handler {
	headers := l.cfg.Headers && !l.cfg.DryRun
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var buf [claimsOnStack]claim
		cs, who := l.claims(r, buf[:0])
		d := l.admit(r.Context(), cs, &who)
		if !d.ok && !d.left && !l.cfg.DryRun {
			d.retryAfter = l.jitter(d.retryAfter)
		}
		l.observe(r.Context(), d, l.summarize(r, cs, &who))
		if !d.ok && !l.cfg.DryRun {
			l.refuse(w, r, d, cs, &who)
			return
		}
		if len(cs) > 0 && (headers || l.counts && d.ok) {
			l.watch(next, w, r, cs, d.ok)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// caller is who asks.
type caller struct {
	addr    netip.Addr // of the client; invalid: unknown, or nobody asked
	as      listing
	network netip.Prefix // that the lists have it by
}

// claims appends what r wants of each limit. Those that the lists decide about
// want nothing. The user's funcs run here, before any lock.
func (l *Limiter) claims(r *http.Request, cs []claim) ([]claim, caller) {
	var who caller
	if l.client {
		clientIP := l.cfg.ClientIP
		if clientIP == nil {
			clientIP = PeerIP
		}
		if addr, ok := clientIP(r); ok {
			who.addr, _ = clean(addr)
		}
		if l.lists != nil && who.addr.IsValid() {
			if who.as, who.network = l.lists.find(who.addr); who.as != unlisted {
				return cs, who
			}
		}
	}
	for _, lim := range l.limits {
		c := claim{limit: lim, cost: 1}
		if lim.Cost != nil {
			if c.cost = min(lim.Cost(r), lim.Burst); c.cost <= 0 {
				continue
			}
		}
		identified := false
		if lim.Key == nil {
			if identified = who.addr.IsValid(); identified {
				c.setAddr(who.addr, l.cfg.IPv4Bits, l.cfg.IPv6Bits)
			}
		} else {
			var key string
			if key, identified = lim.Key(r); identified {
				c.setKey(key)
			}
		}
		if !identified {
			c.from = unidentifiedBucket
		}
		cs = append(cs, c)
	}
	return cs, who
}

func (l *Limiter) admit(ctx context.Context, cs []claim, who *caller) decision {
	switch {
	case who.as == denied:
		return decision{}
	case len(cs) == 0:
		return decision{ok: true}
	case l.lines != nil:
		return l.lines.admit(ctx, cs)
	}
	return decide(cs)
}

// jitter prolongs the time that is told, and never shortens it.
func (l *Limiter) jitter(d time.Duration) time.Duration {
	if l.cfg.Jitter == 0 || d >= maxWait/2 {
		return d
	}
	return d + time.Duration(rand.Float64()*l.cfg.Jitter*float64(d)) //nolint:gosec // it spreads clients and protects nothing
}

func (l *Limiter) summarize(r *http.Request, cs []claim, who *caller) (s summary) {
	if l.cfg.Observe == nil {
		return s
	}
	s.listed = who.as != unlisted
	s.forwarded = l.misled(r)
	s.overflow = overflowed(cs)
	for i := range cs {
		s.unidentified = s.unidentified || cs[i].from == unidentifiedBucket
	}
	return s
}

// misled tells whether the peer of r is taken for the client though r seems to
// come from a proxy.
func (l *Limiter) misled(r *http.Request) bool {
	return l.client && l.cfg.ClientIP == nil && (r.Header[xForwardedFor] != nil || r.Header[forwarded] != nil)
}

func (l *Limiter) refuse(w http.ResponseWriter, r *http.Request, d decision, cs []claim, who *caller) {
	if d.left {
		failure.Serve(w, r, failure.New(failure.ClientGone, context.Cause(r.Context())), l.cfg.ErrorHandler)
		return
	}
	if d.limit != nil {
		setRefused(w.Header(), cs, d.retryAfter)
	}
	failure.Serve(w, r, l.refusal(d, cs, who, l.misled(r)), l.cfg.ErrorHandler)
}

// statusParams are the extra parameters of http_request_error (RFC 9209 section
// 2.3.19).
var statusParams = []failure.Param{
	{Key: "status-code", Value: http.StatusTooManyRequests},
	{Key: "status-phrase", Value: http.StatusText(http.StatusTooManyRequests)},
}

func (l *Limiter) refusal(d decision, cs []claim, who *caller, misled bool) *failure.Error {
	e := &failure.Error{Cause: failure.RateLimited, RetryAfter: d.retryAfter, Params: statusParams}
	if d.limit == nil {
		e.Detail = fmt.Sprintf("deny list of %q: %v is in %v", l.cfg.Name, who.addr, who.network)
		return e
	}
	c := &cs[d.claim]
	text := append(strconv.AppendQuote(append(make([]byte, 0, 160), "limit "...), d.limit.Name), ": "...)
	text = append(text, c.who()...)
	text = append(text, " over"...)
	if d.limit.Count != nil {
		text = append(text, ", in answers that count or are awaited,"...)
	}
	text = strconv.AppendFloat(append(text, ' '), d.limit.Rate, 'g', -1, 64)
	text = strconv.AppendInt(append(text, " per second (burst "...), int64(d.limit.Burst), 10)
	text = append(text, ')')
	if d.waited > 0 {
		text = append(strconv.AppendInt(append(text, ", waited "...), d.waited.Milliseconds(), 10), " ms"...)
	}
	if misled && (c.addr || c.from == unidentifiedBucket) {
		text = append(text, "; the request has forwarding fields, but no proxy is trusted: is the client's address a proxy's?"...)
	}
	e.Detail = string(text)
	return e
}

// who is for the operator.
func (c *claim) who() string {
	switch {
	case c.from == unidentifiedBucket:
		return "clients that can't be told apart are together"
	case c.from == overflowBucket:
		return "clients beyond the table are together"
	case c.addr:
		return string(c.keyBytes())
	}
	return "a client" // its key may be a secret
}
