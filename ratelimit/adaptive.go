package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// AdaptiveConfig configures an [Adaptive]. All of it may be zero.
type AdaptiveConfig struct {
	// Name tells limits apart in events; "" is "adaptive".
	Name string

	// Min is what the limit never goes below: no backend is so small that it
	// could not have this many requests before it. 0 is 10; negative is an error.
	Min int
	// Max is what it never goes above: 0 is 4096, or Min where that is more; it
	// may not be less than Min.
	Max int
	// Initial is what it is as long as nothing was overloaded yet, and again after
	// five seconds in which nobody came near it: nothing is known then, and requests
	// that are merely held are no load. 0 is 1024, within Min and Max, in which it
	// must be otherwise. An overload sets the limit by what was answered. If it is
	// used up before, it doubles.
	Initial int

	// Tolerance is how many times its latency at rest a backend may take before
	// the limit goes down: more than 1, at most 10. 0 is 1.5.
	Tolerance float64
	// Allowance is how many requests may wait at the backend beyond what it works
	// on, so that it always has something to do. 0 is the square root of the
	// limit; negative is an error.
	Allowance int

	// DryRun has the limit worked out and told, but not kept: Limit is a number
	// that nobody reaches.
	DryRun bool

	// Observe is told of changes of the limit, and in a dry run of what would have
	// been shed; nil is nobody. It runs on the goroutine of a request, under no
	// lock.
	Observe func(context.Context, ShedEvent)
}

// ShedKind tells what a [ShedEvent] is about.
type ShedKind uint8

// The kinds of events.
const (
	// Shed: a request was turned away.
	Shed ShedKind = iota + 1
	// LimitChanged: the adaptive limit is another one.
	LimitChanged
)

// String returns the kind's name in logs and metrics.
func (k ShedKind) String() string {
	switch k {
	case Shed:
		return "shed"
	case LimitChanged:
		return "limit_changed"
	}
	return "event(?)"
}

// ShedEvent is a request that was shed, or a change of the limit.
type ShedEvent struct {
	Kind ShedKind
	// Name is that of the Adaptive or the Shedder.
	Name string
	// Limit is the limit, and InFlight how many requests are in flight; in a
	// LimitChanged that is a mean.
	Limit, InFlight int
	// Latency is how long answers take of late, and AtRest how long they do
	// without load; 0 is unknown.
	Latency, AtRest time.Duration
	// Priority is that of a request that was shed, and Waited how long it waited.
	Priority Priority
	Waited   time.Duration
	// RetryAfter is what it was told; 0 is nothing.
	RetryAfter time.Duration
	// DryRun tells that it was not shed in fact, and the limit is not kept.
	DryRun bool
}

const (
	defaultAdaptiveName = "adaptive"
	defaultMin          = 10
	defaultMax          = 4096
	defaultInitial      = 1024
	defaultTolerance    = 1.5
	maxAdaptive         = 1 << 20
	maxShedRetry        = time.Minute

	// boundless is a limit that nobody reaches, and that can be added up.
	boundless = math.MaxInt32
)

func (c AdaptiveConfig) normalize() (AdaptiveConfig, error) {
	var errs []error
	bad := func(field string, value any, must string) {
		errs = append(errs, fmt.Errorf("ratelimit: AdaptiveConfig.%s is %v: must be %s", field, value, must))
	}
	if c.Name == "" {
		c.Name = defaultAdaptiveName
	}
	switch {
	case c.Min == 0:
		c.Min = defaultMin
		if c.Max > 0 {
			c.Min = min(c.Min, c.Max)
		}
	case c.Min < 0 || c.Min > maxAdaptive:
		bad("Min", c.Min, fmt.Sprintf("from 1 to %d, or 0 for %d", maxAdaptive, defaultMin))
	}
	switch {
	case c.Max == 0:
		c.Max = max(defaultMax, c.Min)
	case c.Max < c.Min || c.Max > maxAdaptive:
		bad("Max", c.Max, fmt.Sprintf("from Min, here %d, to %d, or 0 for %d", c.Min, maxAdaptive, defaultMax))
	}
	switch {
	case c.Initial == 0:
		c.Initial = max(c.Min, min(c.Max, defaultInitial))
	case c.Initial < c.Min || c.Initial > c.Max:
		bad("Initial", c.Initial, fmt.Sprintf("from Min to Max, here %d to %d, or 0 for %d within them", c.Min, c.Max, defaultInitial))
	}
	if c.Tolerance == 0 {
		c.Tolerance = defaultTolerance
	}
	if !(c.Tolerance > 1 && c.Tolerance <= 10) {
		bad("Tolerance", c.Tolerance, "more than 1 and at most 10, or 0 for 1.5")
	}
	if c.Allowance < 0 || c.Allowance > maxAdaptive {
		bad("Allowance", c.Allowance, fmt.Sprintf("from 1 to %d, or 0 for the square root of the limit", maxAdaptive))
	}
	return c, errors.Join(errs...)
}

// gradient requires that c is valid.
func (c AdaptiveConfig) gradient() gradient {
	return gradient{
		bounds: bounds{
			min: float64(c.Min), max: float64(c.Max), initial: float64(c.Initial),
			tolerance: c.Tolerance, allowance: float64(c.Allowance),
		},
		limit: max(float64(c.Min), min(float64(c.Initial), guess)), starting: true, pause: trialPause,
		cold: cold{open: true, limit: float64(c.Initial)},
	}
}

// Adaptive is a limit of requests in flight that finds out by itself how many a
// backend can work on: it goes down where answers take longer than at rest and
// more in flight do not finish more, and up where it is used and they don't. A
// backend that is slow because it is far away, or because its work is, is not
// throttled.
//
// It is made by [NewAdaptive], safe for concurrent use, and serves one backend. It
// starts no goroutine and needs no end.
type Adaptive struct {
	cfg   AdaptiveConfig
	epoch time.Time
	limit atomic.Int64 // that the gradient allows

	mu      sync.Mutex // guards what follows
	g       gradient
	refused refusals
}

// NewAdaptive returns an Adaptive. Its error joins everything that is wrong with
// cfg.
func NewAdaptive(cfg AdaptiveConfig) (*Adaptive, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	a := &Adaptive{cfg: cfg, epoch: time.Now(), g: cfg.gradient()}
	a.limit.Store(int64(cfg.Initial))
	return a, nil
}

// Limit is how many requests may be in flight now.
func (a *Adaptive) Limit() int {
	if a.cfg.DryRun {
		return boundless
	}
	return int(a.limit.Load())
}

// tell requires that mu is held, and releases it.
func (a *Adaptive) tell(ctx context.Context, ev ShedEvent) {
	ev.InFlight = int(a.g.rate*a.g.now.Seconds() + 0.5)
	changed := a.limit.Swap(int64(ev.Limit)) != int64(ev.Limit)
	a.mu.Unlock()
	if changed && a.cfg.Observe != nil {
		a.cfg.Observe(ctx, ev)
	}
}

// Began notes that a request goes to the backend, with a slot. What it returns has to
// be given to Ended at the request's end, whatever that is: so the limit knows how many
// are in flight, and how long those took that began behind so many.
func (a *Adaptive) Began() (mark uint64) { return a.began(context.Background()) }

func (a *Adaptive) began(ctx context.Context) (mark uint64) {
	a.mu.Lock()
	m, turned := a.g.began(time.Since(a.epoch))
	if !turned {
		a.mu.Unlock()
		return uint64(m)
	}
	a.tell(ctx, a.event(LimitChanged))
	return uint64(m)
}

// Ended is told the end of a request that [Adaptive.Began] was told of, once: the time
// until the final header section of an answer that is none of a failing backend, or
// with ok false the time until a failure. A failure that came fast says nothing about
// load and does not count; many that took long (a second, and four times the latency
// at rest) have the limit go down. With says false it says nothing about the backend
// but that it has not answered for so long: a client that left, an upgrade.
func (a *Adaptive) Ended(mark uint64, latency time.Duration, says, ok bool) {
	a.ended(context.Background(), mark, latency, says, ok)
}

func (a *Adaptive) ended(ctx context.Context, m uint64, latency time.Duration, says, ok bool) {
	a.mu.Lock()
	if !a.g.ended(time.Since(a.epoch), mark(m), latency, says, ok) {
		a.mu.Unlock()
		return
	}
	a.tell(ctx, a.event(LimitChanged))
}

// Done is told the end of a request by who does not tell Began and Ended, which is
// worse: requests that are merely held are not told from those that wait, then. What
// does not say anything about the backend must not be told: hits of a cache, clients
// that left, upgrades.
func (a *Adaptive) Done(latency time.Duration, ok bool) {
	a.done(context.Background(), latency, ok)
}

func (a *Adaptive) done(ctx context.Context, latency time.Duration, ok bool) {
	a.mu.Lock()
	turned := a.g.add(time.Since(a.epoch), latency, ok)
	if !turned {
		a.mu.Unlock()
		return
	}
	a.tell(ctx, a.event(LimitChanged))
}

// event requires that mu is held.
func (a *Adaptive) event(k ShedKind) ShedEvent {
	return ShedEvent{
		Kind: k, Name: a.cfg.Name, Limit: a.g.allowed(),
		Latency: a.g.now, AtRest: a.g.rest, DryRun: a.cfg.DryRun,
	}
}

// Full notes that a request found no slot and has to wait or to go: the limit is
// used, whatever the mean. Who keeps the limit calls it.
func (a *Adaptive) Full() {
	a.mu.Lock()
	a.g.full(time.Since(a.epoch))
	a.mu.Unlock()
}

// Refuse notes that a request is turned away behind ahead others, in flight or
// waiting, and returns what to tell: the latency now and at rest, for the operator,
// and after what time it may be tried again. That is the time in which those ahead,
// and a random share of those that were turned away of late, will have been
// answered at the present rate, at most a minute; 0 where nothing is known.
func (a *Adaptive) Refuse(ahead int) (detail string, retryAfter time.Duration) {
	ev := a.refuse(ahead)
	return ev.latencies(), ev.RetryAfter
}

func (a *Adaptive) refuse(ahead int) ShedEvent {
	a.mu.Lock()
	recent := a.refused.count(time.Since(a.epoch))
	ev, rate := a.event(Shed), a.pace()
	a.mu.Unlock()
	ev.RetryAfter = waitAt(rate, float64(ahead)+rand.Float64()*max(rate, float64(recent))) //nolint:gosec // no secret
	return ev
}

// pace is how many answers there are per second; 0 is unknown, or none. It requires
// that mu is held.
func (a *Adaptive) pace() float64 {
	if at := time.Since(a.epoch); at-a.g.w.start > 2*time.Second+4*a.g.now {
		return 0
	}
	return a.g.rate
}

// waitAt is the time in which so many are answered, at most maxShedRetry; 0 is
// unknown.
func waitAt(rate, ahead float64) time.Duration {
	if rate <= 0 {
		return 0
	}
	return min(time.Duration(ahead/rate*float64(time.Second)), maxShedRetry)
}

func (e ShedEvent) latencies() string {
	if e.Latency == 0 {
		return "latency not known yet"
	}
	return fmt.Sprintf("latency %s now, %s at rest", milliseconds(e.Latency), milliseconds(e.AtRest))
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// Rehearsing tells whether it is a dry run: who keeps the limit then tells Rehearse
// of every request.
func (a *Adaptive) Rehearsing() bool { return a.cfg.DryRun }

// Rehearse is told in a dry run how many requests are in flight, the present one
// included. It reports the request as shed if it would have found no slot.
func (a *Adaptive) Rehearse(ctx context.Context, inFlight int) {
	if !a.cfg.DryRun || int64(inFlight) <= a.limit.Load() {
		return
	}
	a.mu.Lock()
	a.g.full(time.Since(a.epoch))
	ev := a.event(Shed)
	a.mu.Unlock()
	if a.cfg.Observe != nil {
		ev.InFlight = inFlight
		a.cfg.Observe(ctx, ev)
	}
}

// AdaptiveState is an [Adaptive] at one moment.
type AdaptiveState struct {
	Name  string `json:"name"`
	Limit int    `json:"limit"`
	// Latency is how long answers take of late, and AtRest how long they do
	// without load; 0 is unknown.
	Latency time.Duration `json:"latency_ns"`
	AtRest  time.Duration `json:"at_rest_ns"`
	// Rate is how many answers there were per second when it was last looked at.
	Rate float64 `json:"rate"`
	// DryRun tells that the limit is not kept.
	DryRun bool `json:"dry_run,omitempty"`
}

// State tells the state.
func (a *Adaptive) State() AdaptiveState {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AdaptiveState{
		Name: a.cfg.Name, Limit: a.g.allowed(), Latency: a.g.now, AtRest: a.g.rest,
		Rate: a.g.rate, DryRun: a.cfg.DryRun,
	}
}

// refusals counts those of the last second or two.
type refusals struct {
	since     time.Duration
	now, last int
}

// count counts one more, and tells how many there were.
func (r *refusals) count(at time.Duration) int {
	if gone := at - r.since; gone >= time.Second {
		if r.last = r.now; gone >= 2*time.Second {
			r.last = 0
		}
		r.now, r.since = 0, at
	}
	r.now++
	return max(r.now, r.last)
}
