package cache

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// handler is a Cache in front of one next.
type handler struct {
	c    *Cache
	next http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.c
	if c.cfg.Refresh != nil {
		if m := markOf(r.Context()); m != nil && m.f.cache == c {
			if fetch := m.refresh.Swap(nil); fetch != nil {
				fetch.enter(h.next, w, r)
				return
			}
		}
	}
	switch how := c.passes(r); {
	case how.fwd == fwdUntouched:
		h.untouched(r.Context(), w, r)
		return
	case r.Method == http.MethodPost:
		h.post(w, r, how)
		return
	case how.fwd != "":
		h.forward(r.Context(), w, r, how)
		return
	}

	buf := c.keys.Get().(*[]byte)
	sel := c.normal.Select(r.Header)
	key, ok := c.keyer.append((*buf)[:0], r, sel)
	if !ok {
		*buf = key
		c.keys.Put(buf)
		h.forward(r.Context(), w, r, keyless)
		return
	}
	at, key := c.store.lookup(key, sel)
	now := time.Now()
	q := semantics.ParseRequest(r.Header)
	if at.object != nil {
		if d := at.judge(q, now); d.Verdict == semantics.Fresh && !semantics.HasOriginConditions(r.Header) {
			*buf = key
			c.keys.Put(buf)
			h.hit(w, r, at.object, now)
			return
		}
	}
	primary := string(key)
	*buf = key
	c.keys.Put(buf)
	if m := markOf(r.Context()); m != nil && m.f.cache == c && m.f.primary == primary {
		h.next.ServeHTTP(w, r) // a cache within itself: it would wait for its own fetch
		return
	}
	t := &task{handler: h, w: w, r: normalised(r, sel), client: r, primary: primary, q: q, start: now}
	t.run(r.Context(), at, now)
}

const fwdUntouched = "untouched"

// passes tells whether a request passes the cache by, whatever its key; fwd is
// "" if it does not.
func (c *Cache) passes(r *http.Request) forwarding {
	fwd := forwards(r)
	if fwd == "" && c.closing.Load() {
		return forwarding{fwd: "bypass", detail: failure.Draining.String(), outcome: Bypass}
	}
	return forwarding{fwd: fwd, outcome: Bypass}
}

// keyless is what becomes of a request that has no key.
var keyless = forwarding{fwd: "bypass", detail: "key", outcome: Bypass}

// forwards tells why a request is not for the cache at all, in the terms of RFC
// 9211 section 2.2; "" if it is. What may become another protocol keeps the
// original writer, unless it may change something if it does not.
func forwards(r *http.Request) string {
	switch {
	case r.Method == http.MethodConnect, semantics.Safe(r.Method) && upgrades(r.Header):
		return fwdUntouched
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return "method"
	case r.ContentLength != 0: // a body may choose the answer
		return "bypass"
	}
	return ""
}

// upgrades tells a request to switch protocols (RFC 9110 section 7.8). An offer
// of h2c is none: it was withdrawn (RFC 9113 section 3.1), and curl makes it with
// every request.
func upgrades(h http.Header) bool {
	if lines := h["Upgrade"]; len(lines) == 0 || len(lines) == 1 && strings.EqualFold(lines[0], "h2c") {
		return false
	}
	for _, line := range h["Connection"] {
		for token := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "upgrade") {
				return true
			}
		}
	}
	return false
}

// untouched hands the original writer on. Nothing is known of the answer.
func (h *handler) untouched(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	if h.c.cfg.Observe != nil {
		start := time.Now()
		defer func() {
			h.c.cfg.Observe(ctx, Event{Kind: Served, Outcome: Bypass, Fwd: "bypass", Duration: time.Since(start)})
		}()
	}
	h.next.ServeHTTP(w, r)
}

// forwarding is a request that is passed on without the store.
type forwarding struct {
	fwd     string
	detail  string
	outcome Outcome
	over    *over   // what is stored although it is passed on; nil = not known to be
	post    *posted // keeps the answer to a POST; nil = it is none
}

// forward passes a request on, with a writer that forwards everything, says
// so in Cache-Status and sees what an unsafe request invalidates.
func (h *handler) forward(ctx context.Context, w http.ResponseWriter, r *http.Request, how forwarding) {
	c := h.c
	start := time.Now()
	k := &keeper{forwarder: forwarder{c: c, r: r, how: how}, post: how.post}
	f := &k.forwarder
	f.Init(w, f)
	out := http.ResponseWriter(f)
	if how.post != nil {
		out = k
	}
	if c.cfg.Observe != nil {
		defer func() { // also when next panics
			e, rung := failure.Outcome(ctx)
			ev := Event{
				Kind: Served, Outcome: how.outcome, Fwd: how.fwd, Detail: how.detail, Rung: rung, Failure: e,
				Status: f.Status(), FwdStatus: f.Status(), Bytes: f.Bytes(), Duration: time.Since(start),
			}
			if f.Swallowed() && e != nil {
				ev.Outcome, ev.Status, ev.FwdStatus = Failed, e.HTTPStatus(), e.Received()
			}
			ev.Stored = how.post != nil && how.post.keeping
			c.cfg.Observe(ctx, ev)
		}()
	}
	h.next.ServeHTTP(out, r)
	if f.Swallowed() {
		how.over.answer(&how)
	}
	if f.Status() != 0 {
		return
	}
	if e, ok := failure.From(ctx); ok && e.Cause == failure.ClientGone {
		panic(http.ErrAbortHandler) // nobody is there, and nothing was answered
	}
	f.WriteHeader(http.StatusOK) // as net/http would now, but seen by Begin
}

type forwarder struct {
	writer.Base
	c   *Cache
	r   *http.Request
	how forwarding
}

// Begin is called before the client sees the answer, so that a client that
// changed something never reads the old content afterwards.
func (f *forwarder) Begin(status int) bool {
	if f.how.over != nil && !f.how.over.begin(status, f.Header()) {
		return false
	}
	s := semantics.CacheStatus{Fwd: f.how.fwd, FwdStatus: status, Detail: f.how.detail}
	renewed := false
	if f.how.post != nil {
		renewed = f.how.post.begin(status, f.Header())
		s.Stored = renewed
	}
	f.c.invalidate(f.r, status, f.Header(), renewed)
	if f.how.outcome == Miss && f.c.compresses(status, f.Header(), contentLength(f.Header())) {
		addVary(f.Header()) // as the response has that is stored
	}
	f.c.addStatus(f.Header(), s)
	return true
}
