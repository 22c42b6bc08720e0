package backend

import (
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Hedge has a request that takes longer than most asked of another endpoint as
// well; the first good answer is passed on. The zero value is off.
//
// It is for GET and HEAD without a body to remote endpoints, at most once per
// request, from when the request has taken as long as 95 of 100 answers of the
// backend do of late. Hedges are retries to the budget ([Config.RetryBudget]);
// where that is spent there is none. Upgrades and requests of a backend with
// [Config.Sticky] are not hedged, and no hedge goes to a backup.
//
// The slower attempt is cancelled and its connection closed, which says nothing
// about its endpoint to gates, ejection and limits; its event has no failure, and
// says so in Detail. An answer decides with its final header section: what
// breaks later breaks.
type Hedge struct {
	// On has requests hedged.
	On bool
	// MinDelay is the least wait before a hedge; 0 is 10 ms, negative is refused.
	MinDelay time.Duration
	// MinAnswers is how many answers have to be known before anything is hedged,
	// from the last half a minute; 0 is 100, negative is refused.
	MinAnswers int
}

const (
	defaultHedgeDelay   = 10 * time.Millisecond
	defaultHedgeAnswers = 100
	hedgeEvery          = time.Second // in which the delay is worked out anew
)

func (h *Hedge) check(fail failFunc) {
	durationField{"Hedge.MinDelay", &h.MinDelay, defaultHedgeDelay, false}.check(fail)
	if h.MinAnswers < 0 {
		fail("Config.Hedge.MinAnswers is %d: must be positive, or 0 for %d", h.MinAnswers, defaultHedgeAnswers)
	}
	if h.MinAnswers == 0 {
		h.MinAnswers = defaultHedgeAnswers
	}
}

// usual is how long most answers of the backend take, as worked out at a time.
type usual struct {
	at    atomic.Int64 // 0: never
	delay atomic.Int64 // 0: too little is known
}

// hedgeAfter is how long to wait before a hedge; 0: there is none.
func (s *state) hedgeAfter() time.Duration {
	u := &s.b.usual
	now := s.b.clock(time.Now())
	if at := u.at.Load(); (at == 0 || now-at >= int64(hedgeEvery)) && u.at.CompareAndSwap(at, now) {
		var all latencySlice
		for _, ep := range s.endpoints {
			ep.latency.addTo(&all, time.Duration(now))
		}
		var delay time.Duration
		if int(all.count) >= s.cfg.Hedge.MinAnswers {
			delay = max(all.quantile(0.95), s.cfg.Hedge.MinDelay)
		}
		u.delay.Store(int64(delay))
	}
	return time.Duration(u.delay.Load())
}

// hedging is how long to wait before the attempt that was begun gets another one
// beside it; 0: it does not.
func (c *call) hedging(a *attempt) time.Duration {
	if !c.cfg().Hedge.On || c.attempts != 1 || a.ep.inProcess() || c.upload != nil || c.upgrade != "" ||
		c.r.Method != http.MethodGet && c.r.Method != http.MethodHead || c.state.bonds != nil || len(c.state.endpoints) < 2 {
		return 0
	}
	return c.state.hedgeAfter()
}

// reply is what came of an exchange.
type reply struct {
	res   *http.Response
	err   error
	panic any // of the client's writer
}

// race has an attempt and the channel that its reply comes by.
type race struct {
	a    *attempt
	came chan reply
	got  *reply
}

// launch has the exchange go on on a goroutine of its own. It ends with the
// attempt, which is waited for.
func (c *call) launch(a *attempt, interim func(*http.Response)) *race {
	r := &race{a: a, came: make(chan reply, 1)}
	out := c.request(a.ep)
	go func() {
		var got reply
		defer func() {
			got.panic = recover()
			r.came <- got
		}()
		got.res, got.err = a.exchange(out, interim) //nolint:bodyclose // the attempt owns it until finish
	}()
	return r
}

// hedge is [call.try] with another attempt beside a, once a takes too long. It
// returns the attempt that won; the other one has ended.
func (c *call) hedge(a *attempt, delay time.Duration) (*attempt, *opening, *failure.Error) {
	one := c.launch(a, c.interim)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case got := <-one.came:
		return c.won(one, got, nil)
	case <-timer.C:
	}
	b := c.second(one)
	if b == nil {
		return c.won(one, <-one.came, nil)
	}
	two := c.launch(b, func(*http.Response) {})
	for {
		select {
		case got := <-one.came:
			if c.good(got) || two.got != nil {
				return c.won(one, got, two)
			}
			one.got = &got
		case got := <-two.came:
			if c.good(got) {
				return c.won(two, got, one)
			}
			two.got = &got
		}
		if one.got != nil && two.got != nil {
			return c.won(one, *one.got, two)
		}
	}
}

// good tells whether a reply is an answer that may be passed on. A panic is for
// the request's own goroutine.
func (c *call) good(r reply) bool {
	if r.err != nil || r.panic != nil {
		return r.panic != nil
	}
	e, _ := c.judge(r.res)
	return e == nil
}

// second begins another attempt beside one. If a callback panics meanwhile, one
// has ended before the request goes on with that.
func (c *call) second(one *race) *attempt {
	decided := false
	defer func() {
		if !decided {
			one.a.cancel(errGivenUp)
			<-one.came
		}
	}()
	b := c.beside(one.a)
	decided = true
	return b
}

// beside begins a second attempt at another endpoint; nil: there is none, or the
// budget does not allow it.
func (c *call) beside(a *attempt) *attempt {
	q := c.query(true)
	if !c.state.untried(c.tried) {
		return nil
	}
	ep, gate, refused := c.state.choose(q)
	if refused != nil {
		return nil
	}
	now := c.b.clock(time.Now())
	if ep.inProcess() || ep.settings.Load().backup || ep.held(c.b) || ep.trouble() != 0 || !c.b.budget.spend(c.cfg(), now) {
		gate.unused()
		c.b.vacate(ep)
		return nil
	}
	c.forgiven++ // it is none of the retries
	b := c.attempt(ep, gate)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.other = a
	if c.cutBy != nil {
		a.cancel(c.cutBy)
	}
	return b
}

var errOutrun = errors.New("backend: another endpoint answered first")

// won goes on with the attempt whose reply is taken, and ends the other one, if
// there is one.
func (c *call) won(w *race, got reply, l *race) (*attempt, *opening, *failure.Error) {
	c.mu.Lock()
	c.current, c.other = w.a, nil
	c.mu.Unlock()
	if l != nil {
		lost := l.got
		if lost == nil {
			select {
			case r := <-l.came: // at the same moment
				if !c.good(r) {
					lost = &r
				}
			default:
				l.a.cancel(errOutrun)
				<-l.came
			}
		}
		c.lost(l.a, lost, w.a)
	}
	if got.panic != nil {
		panic(got.panic)
	}
	open, e := c.received(w.a, got.res, got.err)
	return w.a, open, e
}

// lost ends an attempt that was not the first. One that had failed by itself is
// a failure like others; any other says nothing.
func (c *call) lost(a *attempt, got *reply, to *attempt) {
	a.arrived()
	if got != nil {
		e := c.unlike(a, *got)
		failure.Report(c.r.Context(), e)
		c.end(a, e, true)
		return
	}
	now := time.Now()
	a.ep.load.outrun(now.Sub(c.b.began), now.Sub(a.at.start))
	phases := a.at.timings(a.stage, now)
	a.gate.unused()
	a.finish(nil)
	c.b.observe(c.r.Context(), Event{
		Kind: AttemptDone, Endpoint: a.ep.name, Address: a.addr, Attempt: a.number, Phases: phases, Reused: a.reused,
		Detail: "given up: " + to.ep.name + " answered first",
	})
}

// unlike is the failure of a reply that is not good.
func (c *call) unlike(a *attempt, got reply) *failure.Error {
	if got.err != nil {
		return c.complete(a, a.explain(got.err))
	}
	e, _ := c.judge(got.res)
	return c.complete(a, e)
}
