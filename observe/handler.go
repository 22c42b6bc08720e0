package observe

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// Handler returns next with a request id, a slot for failures, an access line
// and metrics. A panic passes unchanged, after its line.
//
// A refresh of the cache that enters here again (cache.Config.Refresh) is not a
// request: it passes without a line of its own.
func (o *Observer) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.fillID(r.Context()) != "" {
			next.ServeHTTP(w, r)
			return
		}
		x := &exchange{observer: o, start: time.Now()}
		x.came(r)
		x.rec.id = o.requestID(r)
		x.rec.idValue = []string{x.rec.id}
		x.Init(w, x)

		ctx := failure.Track(context.WithValue(r.Context(), recordKey{}, &x.rec))
		inner := r.WithContext(ctx)
		inner.Header = withRequestID(r.Header, o.idHeader, x.rec.idValue)

		o.metrics.inFlight.Inc()
		returned := false
		defer func() {
			o.metrics.inFlight.Dec()
			if form := inner.MultipartForm; form != nil && r.MultipartForm == nil {
				r.MultipartForm = form // net/http removes the files of the request that it knows
			}
			x.end(ctx, r, returned)
		}()
		next.ServeHTTP(x, inner)
		returned = true
	})
}

// requestID returns the id that r came with if that can be trusted, or a new
// one.
func (o *Observer) requestID(r *http.Request) string {
	if o.cfg.TrustRequestID != nil {
		if v := r.Header[o.idHeader]; len(v) == 1 && errorpage.ValidRequestID(v[0]) && o.cfg.TrustRequestID(r) {
			return v[0]
		}
	}
	return errorpage.NewRequestID()
}

// withRequestID returns a copy of h with the id. h belongs to the caller, who
// may use it elsewhere at the same time.
func withRequestID(h http.Header, name string, value []string) http.Header {
	c := maps.Clone(h)
	if c == nil {
		c = make(http.Header, 1)
	}
	c[name] = value
	return c
}

// exchange is one request with its response.
type exchange struct {
	writer.Base
	observer *Observer
	rec      record
	start    time.Time
	// The request line as it came: inner handlers may change the URL in place.
	method, host, path, proto, peer string
	client                          netip.Addr // invalid: not known
}

// Bounds of what a client can put into a line.
const (
	maxMethod = 32
	maxHost   = 256
	maxPath   = 1024
)

func (x *exchange) came(r *http.Request) {
	x.method, x.host, x.proto, x.peer = clip(r.Method, maxMethod), clip(r.Host, maxHost), r.Proto, r.RemoteAddr
	if of := x.observer.cfg.ClientIP; of != nil {
		if addr, ok := of(r); ok {
			x.client = addr
		}
	}
	if r.URL != nil {
		x.path = clip(r.URL.EscapedPath(), maxPath)
	}
}

// Begin puts the id into the final header; before that a 1xx could clear it.
func (x *exchange) Begin(int) bool {
	x.Header()[x.observer.idHeader] = x.rec.idValue
	return true
}

// end tells of what became of the request. If next did not return it panicked.
func (x *exchange) end(ctx context.Context, r *http.Request, returned bool) {
	took := time.Since(x.start)
	story := x.rec.end()
	e, rung := failure.Outcome(ctx)

	s := summary{status: x.Status(), bytes: x.Bytes(), took: took, aborted: !returned}
	if r.Method == http.MethodHead {
		s.bytes = 0 // net/http takes the body and sends none
	}
	s.clientGone = e != nil && e.Cause == failure.ClientGone && rung == failure.Unmended
	if !x.Begun() || !returned {
		s.clientGone = s.clientGone || errors.Is(context.Cause(ctx), context.Canceled)
	}
	switch {
	case x.Begun():
	case s.clientGone:
		s.status = failure.StatusClientGone
		s.aborted = false // there is nothing that could have been cut off
	case returned:
		s.status = http.StatusOK // net/http sends it as soon as we return
		x.Begin(s.status)
	default:
		s.status = 0
	}

	o := x.observer
	o.metrics.request(s, story, e, rung)
	if o.cfg.SkipAccess == nil || !o.cfg.SkipAccess(r) {
		o.logAccess(ctx, x, s, story)
	}
	o.logFailures(ctx, &x.rec, s, story, e, rung)
}

// summary is how a request ended.
type summary struct {
	status     int // 499: the client left before it was answered; 0: cut off before
	bytes      int64
	took       time.Duration
	clientGone bool
	aborted    bool
}
