package backend

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// ejection is what passive health made of an endpoint. Times are as evidence has
// them.
type ejection struct {
	until atomic.Int64 // when it ends, and probation begins; 0: neither, or a dry run
	known atomic.Bool  // there is something that a success clears

	mu       sync.Mutex // guards what follows
	streak   streak
	sentence sentence
}

// ejected tells whether the endpoint is out of use for its failures. Once its
// time is over it is on probation: see [endpoint.probation].
func (ep *endpoint) ejected(now int64) bool {
	until := ep.ejection.until.Load()
	return until != 0 && now < until && ep.steered() != ForceUp
}

// probation tells whether the endpoint's ejection is over but nothing was
// answered since. It may be given a request for which [evidence.trial] gives the
// permission.
func (ep *endpoint) probation(now int64) bool {
	until := ep.ejection.until.Load()
	return until != 0 && now >= until && ep.steered() != ForceUp
}

// ejectedError is why the endpoint is not used.
func (ep *endpoint) ejectedError(name string, now int64) *failure.Error {
	ep.ejection.mu.Lock()
	s := ep.ejection.sentence
	ep.ejection.mu.Unlock()
	return &failure.Error{
		Cause: failure.EndpointEjected, Backend: name, Endpoint: ep.name, Detail: s.String(),
		RetryAfter: max(time.Duration(s.until-now), 0),
	}
}

func (s sentence) String() string {
	return fmt.Sprintf("ejected for %v after %v: %s", s.length, s.cause, s.why)
}

// judge is passive health: it learns the outcome of an attempt, and ejects the
// endpoint or takes it back.
func (b *Backend) judge(ep *endpoint, o *outcome, now int64) {
	st := b.now()
	if st.cfg.Ejection.Off || len(st.endpoints) == 1 {
		return
	}
	switch {
	case o.failure == nil:
		if ep.ejection.known.Load() {
			b.redeem(st, ep, o.began)
		}
	case o.verdict() != failure.Neutral:
		b.accuse(st, ep, o, now)
	}
	b.compare(st, now)
}

// redeem is a success of an attempt that began then.
func (b *Backend) redeem(st *state, ep *endpoint, began time.Time) {
	x := &ep.ejection
	at := b.clock(began)
	x.mu.Lock()
	s := &x.sentence
	out := s.until != 0
	if out && at < s.until && (at <= s.at || !s.grounds.disproved()) {
		x.mu.Unlock()
		return // it says nothing about what the ejection is for
	}
	x.streak = streak{}
	if out {
		s.at, s.until, s.released = 0, 0, b.clock(time.Now())
		x.until.Store(0)
	}
	x.known.Store(false)
	x.mu.Unlock()
	if out {
		ep.warmUp(b)
		b.endpointsChanged()
		b.observe(b.ctx, Event{
			Kind: EndpointReturned, Endpoint: ep.name, Address: ep.address(), DryRun: st.cfg.Ejection.DryRun, Detail: "answered after its ejection",
		})
	}
}

// accuse is a failure. Those of attempts that began before the endpoint's last
// ejection was over are part of what it was ejected for.
func (b *Backend) accuse(st *state, ep *endpoint, o *outcome, now int64) {
	cfg := &st.cfg.Ejection
	x := &ep.ejection
	began := b.clock(o.began)
	x.mu.Lock()
	s := &x.sentence
	if began < s.until || began < s.released {
		x.mu.Unlock()
		return
	}
	s.cause = o.failure.Cause
	why := noGrounds
	switch {
	case s.until == 0:
		x.streak, why = x.streak.next(o.verdict(), o.erred(), o.stalled(), cfg)
	case o.erred():
		why = erringAgain
	default:
		why = relapse
	}
	run := x.streak
	x.known.Store(true)
	x.mu.Unlock()
	switch why {
	case noGrounds:
		return
	case erring:
		if !blamed([2]tally{ep.live.window(now, 2), ep.live.window(now, windowSeconds)}, st.peers(ep, now), run) {
			return
		}
	case erringAgain:
		if st.peers(ep, now)[1].failing() >= 0.5 {
			b.redeem(st, ep, o.began) // it is no worse than the others
			return
		}
	case unreachable, failing, worse, relapse:
	}
	b.eject(st, ep, why, why.explain(run, o.failure), now)
}

func (g grounds) explain(run streak, e *failure.Error) string {
	status := ""
	if e.Status != 0 {
		status = fmt.Sprintf(" (status %d)", e.Status)
	}
	switch g {
	case relapse, erringAgain:
		return "it failed again when it was tried after its last ejection" + status
	case unreachable:
		return fmt.Sprintf("%d attempts in a row could not reach it", run.length())
	case noGrounds, failing, erring, worse:
	}
	return fmt.Sprintf("%d attempts in a row failed%s", run.length(), status)
}

// peers is what the other endpoints that are in use answered in the last two and
// in the last ten seconds.
func (s *state) peers(ep *endpoint, now int64) (sum [2]tally) {
	for _, one := range s.endpoints {
		if one == ep || one.ejection.until.Load() != 0 {
			continue
		}
		for i, seconds := range [2]int{2, windowSeconds} {
			t := one.live.window(now, seconds)
			sum[i].good += t.good
			sum[i].bad += t.bad
		}
	}
	return sum
}

// eject takes the endpoint out if that leaves enough of the others.
func (b *Backend) eject(st *state, ep *endpoint, why grounds, detail string, now int64) {
	cfg := &st.cfg.Ejection
	b.ejecting.Lock() // so that two at once don't each count on the other
	all, out, others := st.census(ep)
	x := &ep.ejection
	x.mu.Lock()
	again := x.sentence.until != 0
	if now < x.sentence.until || !again && !mayEject(cfg, all, out, others) || again && others == 0 {
		x.mu.Unlock()
		b.ejecting.Unlock()
		return
	}
	x.sentence = x.sentence.next(now, cfg)
	x.sentence.grounds, x.sentence.why = why, detail
	x.streak = streak{}
	x.known.Store(true)
	if !cfg.DryRun {
		x.until.Store(x.sentence.until)
	}
	s := x.sentence
	x.mu.Unlock()
	b.ejecting.Unlock()
	ep.live.forget()
	b.endpointsChanged()
	b.observe(b.ctx, Event{Kind: EndpointEjected, Endpoint: ep.name, Address: ep.address(), DryRun: cfg.DryRun, Detail: s.String()})
}

// census counts the endpoints that the operator has not taken away, those of
// them that are ejected or on probation, and those that could be used beside ep.
func (s *state) census(ep *endpoint) (all, out, others int) {
	for _, one := range s.endpoints {
		steered := one.steered()
		if steered == ForceDown || steered == Drain {
			continue
		}
		all++
		one.ejection.mu.Lock()
		ejected := one.ejection.sentence.until != 0
		one.ejection.mu.Unlock()
		switch {
		case steered == ForceUp:
			ejected = false
		case ejected:
			out++
		}
		if one != ep && !ejected && (one.up() || steered == ForceUp) && !one.held(s.b) {
			others++
		}
	}
	return all, out, others
}

// compare looks at the success rates of all endpoints, once per interval.
func (b *Backend) compare(st *state, now int64) {
	due := b.comparing.Load()
	if now < due || !b.comparing.CompareAndSwap(due, now+int64(st.cfg.Ejection.Interval)) || due == 0 {
		return
	}
	tallies := make([]tally, len(st.endpoints))
	for i, ep := range st.endpoints {
		if ep.ejection.until.Load() == 0 {
			tallies[i] = ep.live.window(now, windowSeconds)
		}
	}
	for _, i := range lowest(tallies, &st.cfg.Ejection) {
		ep, t := st.endpoints[i], tallies[i]
		peers := st.peers(ep, now)[1]
		detail := fmt.Sprintf("%.0f %% of its %d attempts succeeded, %.0f %% of those of the others",
			100*(1-t.failing()), t.volume(), 100*(1-peers.failing()))
		b.eject(st, ep, worse, detail, now)
	}
}

// reprieve is a good check: what could not be reached can be, and is tried at
// once.
func (x *ejection) reprieve(now int64) {
	if !x.known.Load() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := &x.sentence; s.until > now && s.grounds == unreachable {
		s.until = now
		if x.until.Load() != 0 {
			x.until.Store(now)
		}
	}
}

// pardon takes those back that may not be ejected under this configuration.
func (s *state) pardon() {
	if !s.cfg.Ejection.Off && !s.cfg.Ejection.DryRun && len(s.endpoints) != 1 {
		return
	}
	for _, ep := range s.endpoints {
		x := &ep.ejection
		x.mu.Lock()
		x.sentence.at, x.sentence.until = 0, 0
		x.streak = streak{}
		x.known.Store(false)
		x.until.Store(0)
		x.mu.Unlock()
	}
}
