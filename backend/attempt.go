package backend

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/admit"
)

// attempt is one try to have one endpoint answer one request. It belongs to the
// goroutine of the request, except for what the writer of the body, the timer
// and the reader of a first byte do to the atomic parts.
type attempt struct {
	b      *Backend
	ep     *endpoint
	limits *Timeouts // 0 is no limit
	number int       // from 1
	peers  peers     // of the client's connection, where the endpoint is told

	ctx     context.Context
	cancel  context.CancelCauseFunc
	watch   watch
	expired chan struct{}                // closed when the timer fires; nil: remote
	fault   atomic.Pointer[timeoutError] // what it fired for
	upload  *upload                      // the request's body; nil: none
	stage   phase                        // how far it came; for the report
	at      moments

	conn     *h1conn // HTTP/1
	h2       *h2conn // HTTP/2
	inner    *inProcess
	addr     string // what was dialled; "": nothing, or a handler
	joined   atomic.Bool
	reused   bool
	written  atomic.Bool   // the request was sent whole
	sent     atomic.Bool   // of HTTP/2: the header section was sent, or is about to be
	once     bool          // the request must not be executed twice
	streamID atomic.Uint32 // of HTTP/2; 0: not known yet
	stream   bool          // the body has no end in sight: StreamIdle rules

	res      *http.Response
	waited   atomic.Int64 // for the body, in ns; where that has a limit
	gate     *pass
	slot     *admit.Semaphore // what a handler gives back when it returns; nil: nothing
	check    bool             // an active check; it takes no slot
	judges   [2]judge         // the limits that change, of the endpoint and of the backend
	finished bool
	awaited  bool // counted among those that wait for an answer
}

// start begins an attempt under the request's context. left is what remains of
// the budget until the final headers. The endpoint has given a slot, see
// [endpoint.acquire], or it is a check.
func (b *Backend) start(parent context.Context, ep *endpoint, number int, limits *Timeouts, budget, left time.Duration) *attempt {
	a := &attempt{b: b, ep: ep, limits: limits, number: number}
	if ep.inProcess() {
		a.expired = make(chan struct{})
	}
	a.ctx, a.cancel = context.WithCancelCause(parent)
	a.at.start = time.Now()
	a.watch.begin(a.at.start, a)
	a.watch.until(budget, left)
	return a
}

// limit is how long a phase that begins now may last; 0 is no limit.
func (a *attempt) limit(p phase) time.Duration {
	cfg := a.limits
	switch p {
	case phaseResolve:
		return cfg.Resolve
	case phaseConnect:
		if a.joined.Load() { // to all that another one does
			return cfg.Resolve + cfg.Connect + cfg.TLSHandshake
		}
		return cfg.Connect
	case phaseTLS:
		return cfg.TLSHandshake
	case phaseWrite:
		if a.inner != nil {
			return cfg.FirstByte // a handler may take its time between two reads
		}
		return cfg.Write
	case phaseFirstByte:
		return cfg.FirstByte
	case phaseHeaders:
		return cfg.HeaderStall
	case phaseBody:
		if a.stream {
			return cfg.StreamIdle
		}
		d, _ := a.bodyLimit()
		return d
	case phaseOff, phaseUpload, phaseFired:
	}
	return 0
}

// bodyLimit is how long a Read of the body may last that begins now. whole tells
// that it is what is left for the body in all.
func (a *attempt) bodyLimit() (d time.Duration, whole bool) {
	d = a.limits.BetweenBytes
	if all := a.limits.WholeBody; all > 0 {
		if left := max(all-time.Duration(a.waited.Load()), time.Microsecond); d <= 0 || left < d {
			return left, true
		}
	}
	return d, false
}

// timedOut is where the timer fires.
func (a *attempt) timedOut(e *timeoutError) {
	if _, whole := a.bodyLimit(); e.phase == phaseBody && whole && !a.stream {
		e.body, e.limit = true, a.limits.WholeBody
	}
	a.fault.Store(e)
	a.cancel(e)
	if a.expired != nil {
		close(a.expired)
	}
}

// uploadFailed ends the attempt since the client's body broke.
func (a *attempt) uploadFailed(err error) {
	a.cancel(&uploadError{err})
}

// requestWritten is reached when the request was sent whole.
func (a *attempt) requestWritten() {
	a.at.written.Store(int64(time.Since(a.at.start)))
	a.written.Store(true)
	a.watch.shift(phaseFirstByte)
}

// headersBegan is reached with the first byte of a header section.
func (a *attempt) headersBegan() {
	a.at.firstByte = time.Now()
	a.stage = phaseHeaders
	a.watch.enter(phaseHeaders)
}

// headersCame is reached with the last byte of a header section, before it is
// looked at: the backend is not to blame for the time that takes here. first
// tells that its first byte came with it.
func (a *attempt) headersCame(first bool) {
	if first {
		a.at.firstByte = time.Now()
		a.stage = phaseHeaders
	}
	a.watch.enter(phaseOff)
}

// awaitFirstByte waits for another header section, or for the first where the
// request could not be written.
func (a *attempt) awaitFirstByte() {
	a.stage = phaseFirstByte
	if a.conn != nil && a.conn.writer == nil {
		a.watch.enter(phaseFirstByte)
		return
	}
	a.watch.back()
}

// headersEnded is reached with the end of the final header section.
func (a *attempt) headersEnded() {
	a.at.headers = time.Now()
	if a.at.firstByte.IsZero() {
		a.at.firstByte = a.at.headers
	}
	a.stage = phaseBody
	a.watch.enter(phaseOff)
}

// exchange sends the request and returns the response up to its headers. The
// response's body is to be read through the attempt ([attempt.read]).
func (a *attempt) exchange(out *request, interim func(*http.Response)) (*http.Response, error) {
	var err error
	switch {
	case a.ep.inProcess():
		a.inner = newInProcess(a, out)
		a.res, err = a.inner.roundTrip(interim)
	default:
		a.res, err = a.remote(out, interim)
	}
	return a.res, err
}

// remote takes a connection and has it do the exchange.
func (a *attempt) remote(out *request, interim func(*http.Response)) (*http.Response, error) {
	a.once = !idempotent(out.http.Method)
	wish := wish{upgrade: out.upgrade != "", fresh: out.fresh, young: a.once}
	if err := a.ep.pool.acquire(a, wish); err != nil {
		return nil, err
	}
	a.at.ready = time.Now()
	if a.h2 != nil {
		return a.h2.roundTrip(a, out, interim)
	}
	return a.conn.roundTrip(a, out, interim)
}

// read is one Read of the response's body under the timer.
func (a *attempt) read(p []byte) (int, error) {
	if !a.watch.enter(phaseBody) {
		return 0, context.Cause(a.ctx)
	}
	var began time.Time
	if a.limits.WholeBody > 0 {
		began = time.Now()
	}
	n, err := a.res.Body.Read(p)
	if a.watch.enter(phaseOff) && !began.IsZero() {
		a.waited.Add(int64(time.Since(began)))
	}
	return n, err
}

// dry tells whether more of the body has to be waited for. HTTP/2 can't tell.
func (a *attempt) dry() bool {
	switch {
	case a.inner != nil:
		return a.inner.flushWanted()
	case a.conn != nil:
		return a.conn.dry()
	}
	return true
}

// finish ends the attempt with its outcome, nil for success. It may be called
// again, to no effect.
func (a *attempt) finish(e *failure.Error) {
	if a.finished {
		return
	}
	a.finished = true
	a.arrived() // unless a panic came in between it is long since known
	now := time.Now()
	a.judged(now.Sub(a.at.start), false, false) // where nobody else did
	whole := !a.at.done.IsZero()
	unfired := a.watch.end()
	switch {
	case a.inner != nil:
		a.inner.abandon()
	case a.conn != nil:
		if e != nil && e.Cause == failure.KeepaliveRace {
			a.ep.pool.closesEarly(now)
		}
		if a.conn.release(whole && unfired && !a.check, a.res) {
			a.ep.pool.put(a.conn, now)
		}
	case a.h2 != nil:
		a.h2.release(a)
	}
	a.cancel(nil)
	if a.inner == nil && !a.check {
		a.b.vacate(a.ep)
	}
	a.gate.done(e)
}
