package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/admit"
)

// call is one request on its way through the backend: its attempts, one after
// the other, and its answer.
type call struct {
	b      *Backend
	state  *state // when the request came in
	limits *Timeouts
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController

	began   time.Time
	upload  *upload // nil: no body
	length  int64
	header  http.Header // for remote endpoints; made when first needed
	upgrade string
	trailer string // names
	te      bool
	expect  bool
	fresh   bool // the next attempt needs a fresh connection

	mu      sync.Mutex // guards current and cutBy
	current *attempt
	other   *attempt // that is hedged; nil: none
	cutBy   error    // why the request is cut off

	slot       *admit.Semaphore // where a slot is held; nil: none is
	picked     *endpoint        // for the first attempt; nil: the balance picks
	pickedGate *pass

	bound    *endpoint // by the client's cookie; nil: none
	hash     uint64    // of HashKey; 0: none
	hashed   bool      // HashKey was asked
	tried    []*endpoint
	first    [2]*endpoint // room for the beginning of tried
	attempts int
	once     [4]failure.Cause // causes that permit one retry and had it
	nOnce    int
	decided  decision
	forgiven int  // attempts that do not count: what they met was waited for
	keyed    bool // its Idempotency-Key makes it replayable

	restartBy int64           // until when it waits for a restart; 0: it did not
	rested    time.Duration   // how long it did
	resuming  bool            // it was woken a moment ago
	hurried   bool            // the caller gave it less time than the configuration
	phases    failure.Timings // of the attempts that ended, and of waiting
	waited    failure.Timings // of waiting since the last attempt
	uploaded  time.Duration   // time in which the request's body was under way

	early     bool  // the response was begun before the upload ended
	status    int   // passed on to the client; 0: nothing yet
	total     int64 // body bytes passed on
	clientEnd clientDeadline
}

func (b *Backend) newCall(w http.ResponseWriter, r *http.Request) *call {
	s := b.now()
	c := &call{b: b, state: s, limits: s.limitsFor(r), w: w, r: r, rc: http.NewResponseController(w), began: time.Now()}
	c.upgrade = upgradeOf(r)
	c.te = hasToken(r.Header["Te"], "trailers")
	c.keyed = s.cfg.ReplayIdempotencyKey && r.Header.Get("Idempotency-Key") != ""
	if hasBody(r) {
		c.length = r.ContentLength
		c.expect = hasToken(r.Header["Expect"], "100-continue")
		c.trailer = trailerNames(r.Trailer)
		limit := s.cfg.ReplayBody
		if !idempotent(r.Method) && !c.keyed && !s.multiplexed {
			limit = 0 // never repeated once a byte of it was sent
		}
		c.upload = newUpload(r.Body, r.ContentLength, limit)
	}
	c.trustedDeadline()
	c.clientEnd.init(w, r, c.limits.ClientWrite)
	return c
}

func (c *call) cfg() *Config { return &c.state.cfg }

// run makes attempts until one is answered or no other may follow. It returns
// the attempt with its response, from which first bytes may have been read, or
// the failure that ends the request.
func (c *call) run() (*attempt, *opening, *failure.Error) {
	var last *failure.Error
	other := false
	defer func() {
		c.resumed()
		c.unpick()
	}()
	if e := c.sitOut(); e != nil {
		return nil, nil, c.unattempted(e)
	}
	for {
		if late := c.tooLate(nil, last); late != nil {
			return nil, nil, c.unattempted(late)
		}
		ep, gate, refused := c.choose(other)
		if refused != nil {
			woken, ended := c.shutOut(last, refused)
			switch {
			case woken:
				other = false
				continue
			case ended != nil:
				return nil, nil, c.unattempted(ended)
			case last == nil:
				return nil, nil, c.unattempted(refused)
			}
			return nil, nil, last.With(failure.Note{Kind: failure.NotRetried, Detail: refused.Cause.String()})
		}
		if late := c.tooLate(ep, last); late != nil {
			gate.unused()
			c.b.vacate(ep)
			return nil, nil, c.unattempted(late)
		}
		a := c.attempt(ep, gate)
		var open *opening
		var e *failure.Error
		if delay := c.hedging(a); delay > 0 {
			a, open, e = c.hedge(a, delay)
		} else {
			open, e = c.try(a)
		}
		if e == nil {
			return a, open, nil
		}
		if c.refusedByAll(e) {
			failure.Report(c.r.Context(), e)
			c.end(a, e, true)
			woken, ended := c.outlast(e, 0)
			if woken {
				last, other, c.fresh = e, false, false
				continue
			}
			if ended == nil {
				ended = c.stillRefused(e).With(failure.Note{Kind: failure.NotRetried, Detail: "down for too long"})
			}
			return nil, nil, ended
		}
		d := c.again(e)
		again := d.ok
		if again {
			failure.Report(c.r.Context(), e)
		} else if d.why != nil {
			e = e.With(*d.why)
		}
		if !again && open != nil {
			return a, open, e // the origin's own answer: passed as sent
		}
		c.end(a, e, again)
		if !again {
			return nil, nil, e
		}
		if err := c.backoff(e); err != nil {
			ended := endedBy(facts{ended: err})
			ended.Backend, ended.Endpoint, ended.Attempts, ended.Phases = c.cfg().Name, a.ep.name, c.attempts, c.phases
			ended.RequestWritten = a.written.Load()
			if ended.Cause == failure.TotalDeadline {
				c.outOfTime(ended)
			}
			return nil, nil, ended
		}
		last = e
		other = e.Cause.Row().Retry.Endpoint == failure.RequireOther
		c.fresh = e.Cause.Row().Retry.Fresh
	}
}

// unattempted reports the end of a request that had no attempt.
func (c *call) unattempted(e *failure.Error) *failure.Error {
	if c.attempts == 0 {
		c.b.observe(c.r.Context(), Event{Kind: AttemptDone, Failure: e, Phases: c.waited})
	}
	return e
}

// choose picks the endpoint for the next attempt; the first of an upgrade has
// been picked already.
func (c *call) choose(other bool) (*endpoint, *pass, *failure.Error) {
	if e := c.enter(); e != nil { // a handler may still have the slot
		return nil, nil, e
	}
	if ep := c.picked; ep != nil {
		c.picked = nil
		return ep, c.pickedGate, nil
	}
	return c.pick(other)
}

// unpick gives back what was picked for an attempt that was not made.
func (c *call) unpick() {
	if ep := c.picked; ep != nil {
		c.picked = nil
		c.pickedGate.unused()
		c.b.vacate(ep)
	}
}

func (c *call) attempt(ep *endpoint, gate *pass) *attempt {
	c.attempts++
	c.resumed()
	if c.tried == nil {
		c.tried = c.first[:0]
	}
	c.tried = append(c.tried, ep)
	left, _ := c.left()
	a := c.b.start(c.r.Context(), ep, c.attempts, c.limits, c.limits.UntilHeaders, max(left, time.Millisecond))
	if own, whole := ep.settings.Load().adaptive, c.cfg().Limit; own != nil || whole != nil {
		a.judges = [2]judge{judgeOf(own), judgeOf(whole)}
	}
	a.gate, a.upload = gate, c.upload
	if ep.proxy != 0 {
		a.peers = peersOf(c.r)
	}
	a.await()
	if ep.inProcess() {
		a.slot, c.slot = c.slot, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = a
	if c.cutBy != nil {
		a.cancel(c.cutBy)
	}
	return a
}

// cut ends the request for a reason of this side.
func (c *call) cut(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cutBy = cause
	if c.current != nil {
		c.current.cancel(cause)
	}
	if c.other != nil {
		c.other.cancel(cause)
	}
}

// try makes one attempt. With an opening and a failure the origin answered, but
// its answer says that it failed.
func (c *call) try(a *attempt) (*opening, *failure.Error) {
	res, err := a.exchange(c.request(a.ep), c.interim) //nolint:bodyclose // the attempt owns it until finish
	return c.received(a, res, err)
}

// received goes on with what came of the exchange.
func (c *call) received(a *attempt, res *http.Response, err error) (*opening, *failure.Error) {
	c.clientEnd.inner = a.inner
	if !a.reused && a.stage > phaseConnect {
		c.b.outage.connected()
	}
	a.arrived()
	if err != nil {
		return nil, c.complete(a, a.explain(err))
	}
	e, pass := c.judge(res)
	if e != nil {
		e = c.complete(a, e)
		if !pass {
			return nil, e
		}
		a.ep.bar(c.b, e)
		if c.again(e).ok {
			return nil, e
		}
	}
	if e == nil {
		a.gate.answer()
		a.ep.answered(c.b, a.at.start, a.at.headers, res.StatusCode == http.StatusSwitchingProtocols || eventStream(res.Header))
		a.measured()
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return &opening{res: res}, nil
	}
	open, broken := c.open(a, res, e)
	if broken != nil {
		return nil, broken
	}
	return open, e
}

// judge tells what is wrong with a response by its status: nothing, or a
// failure. pass tells that it goes to the client all the same.
func (c *call) judge(res *http.Response) (e *failure.Error, pass bool) {
	status := res.StatusCode
	switch {
	case status == http.StatusSwitchingProtocols && c.upgrade == "":
		return &failure.Error{Cause: failure.UpgradeFailed, Detail: "101 to a request without Upgrade"}, false
	case status == http.StatusSwitchingProtocols && !offered(c.upgrade, res.Header["Upgrade"]):
		return &failure.Error{
			Cause:  failure.UpgradeFailed,
			Detail: fmt.Sprintf("asked for %q, switched to %.64q", c.upgrade, res.Header.Get("Upgrade")),
		}, false
	case status == http.StatusNotModified && !conditional(c.r.Header):
		return &failure.Error{Cause: failure.BadValidation, Detail: "304 to a request without conditions"}, false
	case status == http.StatusPartialContent && len(c.r.Header["Range"]) == 0:
		return &failure.Error{Cause: failure.BadValidation, Detail: "206 to a request without Range"}, false
	case status >= 500:
		return &failure.Error{Cause: failure.Upstream5xx, Status: status, RetryAfter: retryAfter(res.Header, time.Now())}, true
	case status == http.StatusTooManyRequests:
		return &failure.Error{Cause: failure.Upstream429, Status: status, RetryAfter: retryAfter(res.Header, time.Now())}, true
	}
	return nil, true
}

// offered tells whether a switch went to protocols that were asked for (RFC 9110
// section 7.8).
func offered(asked string, to []string) bool {
	named := false
	for _, v := range to {
		for one := range listSeq(v) {
			if named = true; !hasToken([]string{asked}, one) {
				return false
			}
		}
	}
	return named
}

func conditional(h http.Header) bool {
	return len(h["If-None-Match"]) > 0 || len(h["If-Modified-Since"]) > 0 || len(h["If-Match"]) > 0 ||
		len(h["If-Unmodified-Since"]) > 0 || len(h["If-Range"]) > 0
}

// retryAfter is the time that the origin named (RFC 9110 section 10.2.3); 0:
// none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// explain names the cause of an error of the attempt.
func (a *attempt) explain(err error) *failure.Error {
	var writeErr error
	if a.conn != nil && a.conn.writer != nil {
		writeErr = a.conn.writer.settle()
	}
	f := facts{err: err, stage: a.stage, reused: a.reused, written: a.written.Load(), handler: a.inner != nil}
	if e := a.fault.Load(); e != nil {
		f.ended = e
	} else if a.ctx.Err() != nil {
		f.ended = context.Cause(a.ctx)
		if errors.Is(f.ended, context.Canceled) && a.inner == nil && a.upload.late() {
			f.ended = &uploadError{os.ErrDeadlineExceeded}
		}
	}
	if c := a.conn; c != nil {
		f.head, f.readErr = &c.head, c.readErr
		if closedConn(f.readErr) {
			f.writeErr = writeErr
		}
	}
	if c := a.h2; c != nil {
		f.http2, f.sent, f.once = true, a.sent.Load(), a.once
		f.goAway, f.broken = c.wire.goAway.Load(), c.wire.broken.Load()
		f.writing = c.wire.writing.Load()
		f.dead = c.cc.Err() != nil
		f.deaf = f.dead && c.wire.unheard()
		if id := a.streamID.Load(); id != 0 {
			f.tooLarge = c.wire.tooLarge.Load() == id
		}
		if s, ok := errors.AsType[streamError](err); ok {
			if f.peerReset = c.wire.wasReset(s.StreamID); f.peerReset && s.Code == codeHTTP11 {
				a.ep.onlyHTTP1(c)
			}
		}
		if s := c.wire.notH2.Load(); s != nil {
			f.garbage = *s
		}
	}
	return classify(f)
}

// complete adds what the call knows to a failure of its attempt.
func (c *call) complete(a *attempt, e *failure.Error) *failure.Error {
	e.Backend, e.Endpoint = c.cfg().Name, a.ep.name
	e.Attempts = c.attempts
	e.RequestWritten = a.written.Load()
	e.Phases = a.at.timings(a.stage, time.Now())
	e.Phases.Add(c.phases)
	return e
}

// end is the end of an attempt: it is counted, reported and its connection
// given back or closed.
func (c *call) end(a *attempt, e *failure.Error, again bool) {
	if a.finished {
		return
	}
	now := time.Now()
	phases := a.at.timings(a.stage, now)
	c.phases.Add(phases)
	uploaded := a.watch.stood()
	c.uploaded += uploaded
	a.ep.settled(c.b, &outcome{failure: e, began: a.at.start, headers: a.at.headers, ended: now, uploaded: uploaded, hurried: c.hurried})
	c.told(a, e, now, uploaded)
	a.finish(e)
	phases.Add(c.waited)
	c.waited = failure.Timings{}
	ev := Event{
		Kind: AttemptDone, Endpoint: a.ep.name, Address: a.addr, Attempt: a.number, Failure: e, Phases: phases, Reused: a.reused, Retry: again,
	}
	if a.res != nil {
		ev.Status = a.res.StatusCode
	}
	c.b.observe(c.r.Context(), ev)
}

// backoff waits before another attempt at an endpoint that failed a moment ago.
// The error is why the request ended meanwhile.
func (c *call) backoff(e *failure.Error) error {
	retry := e.Cause.Row().Retry
	if retry.Once && c.nOnce < len(c.once) {
		c.once[c.nOnce] = e.Cause
		c.nOnce++
	}
	if c.state.untried(c.tried) || retry.Fresh {
		return nil
	}
	d := backoffFor(c.attempts)
	if left, ok := c.left(); ok && left <= d {
		return &timeoutError{total: true, limit: c.limits.UntilHeaders}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.r.Context().Done():
		return context.Cause(c.r.Context())
	}
	c.waitedFor(failure.PhaseBackoff, d)
	return nil
}

// interim passes an informational response on. The header map keeps nothing of
// it.
func (c *call) interim(res *http.Response) {
	if c.status != 0 || !c.r.ProtoAtLeast(1, 1) || res.StatusCode == http.StatusContinue {
		return
	}
	h := c.w.Header()
	passed := make(http.Header, len(res.Header))
	endToEnd(passed, res.Header)
	before := make(http.Header, len(passed))
	for name, values := range passed {
		if have, ok := h[name]; ok {
			before[name] = have
		}
		h[name] = values
	}
	c.clientEnd.arm()
	c.w.WriteHeader(res.StatusCode)
	for name := range passed {
		if have, ok := before[name]; ok {
			h[name] = have
		} else {
			delete(h, name)
		}
	}
}
