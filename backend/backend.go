package backend

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Backend is one named service with one or more endpoints. It is an
// http.Handler and safe for concurrent use.
type Backend struct {
	state     atomic.Pointer[state]
	id        string // in Via and CDN-Loop
	began     time.Time
	stickyKey [sha256.Size]byte // where Sticky has none
	usual     usual
	hold      time.Duration // headerHold but in tests
	turn      turns
	dialer    dialer
	tunnels   tunnels

	setMu  sync.Mutex // guards the replacing of state, with what follows from it, and closed
	closed bool       // the state is the last one

	ejecting  sync.Mutex   // guards the decision about one more ejection
	comparing atomic.Int64 // when success rates are to be compared

	ctx      context.Context // of the endpoints and their checks; ends with the backend
	stop     context.CancelFunc
	checks   sync.WaitGroup
	handlers sync.WaitGroup // of in-process endpoints
	calls    inFlight
	entrance entrance
	budget   budget
	outage   outage
}

// New checks cfg and starts the active checks, if there are any. The error
// joins everything that is wrong.
func New(cfg Config) (*Backend, error) { return newWith(cfg, newDialer()) }

func newWith(cfg Config, d dialer) (*Backend, error) {
	from := cfg.TLS
	cfg, targets, err := resolved(cfg)
	if err != nil {
		return nil, err
	}
	b := &Backend{
		began: time.Now(), dialer: d, hold: headerHold,
		id: failure.DefaultName + "-" + strings.ToLower(rand.Text()[:10]),
	}
	_, _ = rand.Read(b.stickyKey[:]) // it does not fail
	b.calls.init()
	b.entrance.init(b)
	b.ctx, b.stop = context.WithCancel(context.Background())
	b.change(func(old *state, w *workshop) *state {
		next := b.plan(old, cfg, targets, true, w)
		next.tlsFrom = from
		return next
	})
	return b, nil
}

// ID is the name by which this backend goes in the Via and CDN-Loop fields of
// what it forwards (RFC 9110 section 7.6.3, RFC 8586), and by which it knows a
// request that comes back. It is a token, made up by New, and stays the same for
// the life of the Backend.
func (b *Backend) ID() string { return b.id }

// ServeHTTP answers r from one of the endpoints. It panics
// http.ErrAbortHandler where the response broke after its header section was
// sent.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := b.newCall(w, r)
	if !b.calls.enter(c) {
		b.refuse(c, &failure.Error{Cause: failure.Draining, Backend: c.cfg().Name}) //nolint:contextcheck // the call has the request
		return
	}
	defer b.calls.leave(c)
	if answerHere(w, r, c.state.remote) {
		return
	}
	if c.state.remote {
		if e := c.state.unfit(r); e != nil {
			b.refuse(c, e) //nolint:contextcheck // the call has the request
			return
		}
	}
	if e := c.enter(); e != nil { //nolint:contextcheck // the call has the request
		b.refuse(c, e) //nolint:contextcheck // the call has the request
		return
	}
	defer c.leave()
	b.budget.request(b.clock(c.began))
	if c.upgrade != "" && c.inProcess() { //nolint:contextcheck // the call has the request
		return
	}
	c.serve() //nolint:contextcheck // the call has the request
}

// serve runs the attempts and passes on what they bring.
func (c *call) serve() {
	defer c.clientEnd.disarm()
	defer c.stopUpload()
	defer c.unwind()
	a, o, e := c.run()
	if a == nil {
		c.stopUpload()
		c.refused(e)
		return
	}
	if o.res.StatusCode == http.StatusSwitchingProtocols {
		if e := c.tunnel(a, o.res); e != nil {
			e = c.complete(a, e)
			c.end(a, e, false)
			c.refused(e)
			return
		}
		c.end(a, nil, false)
		return
	}
	if broken := c.deliver(a, o, e); broken != nil {
		broken = c.complete(a, broken).With(failure.Note{Kind: failure.AfterHeaders})
		c.end(a, broken, false)
		failure.Report(c.r.Context(), broken)
		c.abort()
	}
	c.end(a, e, false)
	if c.total > transferSize {
		c.clientEnd.arm()
		c.flush() // while the deadline holds
	}
}

// unwind ends an attempt that a panic of the client's writer left behind.
func (c *call) unwind() {
	if a := c.current; a != nil && !a.finished {
		c.end(a, c.complete(a, failure.New(failure.ClientGone, errWriterPanicked)), false)
	}
}

var errWriterPanicked = errors.New("backend: the response writer panicked")

// inProcess answers an upgrade by a handler, if the balance has one.
func (c *call) inProcess() bool {
	if !c.state.endpoints[0].inProcess() && len(c.state.endpoints) == 1 {
		return false
	}
	ep, gate, refused := c.pick(false)
	switch {
	case refused != nil:
		c.b.refuse(c, refused)
	case !ep.inProcess():
		c.picked, c.pickedGate = ep, gate
		return false
	default:
		c.upgradeInProcess(ep, gate)
	}
	return true
}

// refused answers a request of which nothing was sent.
func (c *call) refused(e *failure.Error) {
	if c.status != 0 {
		failure.Report(c.r.Context(), e.With(failure.Note{Kind: failure.AfterHeaders}))
		c.abort()
	}
	if c.upload.begun() && !c.upload.finished() && c.r.ProtoMajor == 1 {
		c.w.Header()["Connection"] = closing
	}
	c.fail(e)
}

// refuse ends a request without an attempt.
func (b *Backend) refuse(c *call, e *failure.Error) {
	b.observe(c.r.Context(), Event{Kind: AttemptDone, Failure: e, Phases: c.waited})
	c.fail(e)
}

func (c *call) fail(e *failure.Error) { failure.Serve(c.w, c.r, e, c.cfg().ErrorHandler) }

func recovered(v any) *failure.Error { return failure.Recovered(v, debug.Stack()) }

func (b *Backend) observe(ctx context.Context, ev Event) {
	if cfg := &b.now().cfg; cfg.Observe != nil {
		ev.Backend = cfg.Name
		cfg.Observe(ctx, ev)
	}
}

// Available tells whether at least one endpoint may be used. Endpoints that are
// used in spite of their checks ([Config.PanicThreshold]) do not count.
func (b *Backend) Available() bool {
	return !b.calls.closing() && b.now().some(query{}, isTroubled)
}

var errShutdown = errors.New("backend: shut down")

// Shutdown ends the backend: further requests are refused as draining, checks,
// idle connections and tunnels end at once, and requests in flight are waited
// for. When ctx ends first they are cut off, with draining as their cause, and
// its error is returned. In-process handlers that do not return when their
// context is cancelled are not waited for then.
func (b *Backend) Shutdown(ctx context.Context) error {
	b.calls.close()
	b.closeSet()
	b.stop()
	b.outage.close()
	b.entrance.close(&failure.Error{Cause: failure.Draining, Backend: b.now().cfg.Name})
	b.tunnels.close()
	for _, ep := range b.now().endpoints {
		if ep.pool != nil {
			ep.pool.close()
		}
	}
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		b.checks.Wait()
		b.calls.wait()
		b.handlers.Wait()
	}()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	b.calls.cut(&failure.Error{Cause: failure.Draining, Backend: b.now().cfg.Name, Err: errShutdown})
	return ctx.Err()
}
