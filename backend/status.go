package backend

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Status is the state of a backend at one moment. In JSON its names are those of
// the fields' tags, durations are numbers of milliseconds with names that end in
// Ms, times are RFC 3339, and causes are their tokens.
type Status struct {
	// Name and ID are the backend's: [Config.Name] and [Backend.ID].
	Name string `json:"name"`
	ID   string `json:"id"`
	// Available is [Backend.Available].
	Available bool `json:"available"`
	// InFlight counts the requests that came in and are not answered yet, Queued
	// those of them that wait for a slot.
	InFlight int `json:"inFlight"`
	Queued   int `json:"queued"`
	// OutageSince is since when every endpoint has refused connections; zero, and
	// not in JSON: at least one does not.
	OutageSince time.Time `json:"outageSince,omitzero"`
	// RetriesLeft is how many retries that send a request again may be made at
	// once; negative: there is no limit.
	RetriesLeft int `json:"retriesLeft"`
	// Endpoints are in the order in which they are configured.
	Endpoints []EndpointStatus `json:"endpoints"`
}

// Status is the state of the backend and of all its endpoints at this moment. It
// is for status pages: it takes some microseconds per endpoint.
func (b *Backend) Status() Status {
	st := b.now()
	now := time.Now()
	s := Status{
		Name: st.cfg.Name, ID: b.id, Available: b.Available(), InFlight: b.calls.count(), Queued: b.entrance.queued(),
		RetriesLeft: max(0, b.budget.left(&st.cfg, b.clock(now))), Endpoints: b.Endpoints(),
	}
	if s.RetriesLeft == math.MaxInt {
		s.RetriesLeft = -1
	}
	if since := b.outage.since.Load(); since != 0 {
		s.OutageSince = b.began.Add(time.Duration(since)).Round(0)
	}
	return s
}

// Endpoints is the state of all endpoints at this moment, as configured in
// order.
func (b *Backend) Endpoints() []EndpointStatus {
	endpoints := b.now().endpoints
	all := make([]EndpointStatus, len(endpoints))
	for i, ep := range endpoints {
		all[i] = ep.report(b)
	}
	return all
}

// EndpointStatus is the state of an endpoint at one moment; see [Status] for its
// form in JSON.
type EndpointStatus struct {
	Name string `json:"name"`
	// Address is where the endpoint is, host:port or the path of a socket. It
	// is "" of a handler, and while the name is not resolved.
	Address string `json:"address,omitempty"`
	// ResolveError is why the name could not be resolved the last time, ""
	// where it could. The addresses that were found before are kept.
	ResolveError string `json:"resolveError,omitempty"`
	Weight       int    `json:"weight"`
	Backup       bool   `json:"backup"`

	// State sums up: "up"; "down" by its check; "ejected"; "probation", its
	// ejection being over and nothing answered yet; "held", a moment after it
	// refused a connection or asked to be left alone; "force-up", "force-down" and
	// "drain" by [Backend.Steer].
	State string `json:"state"`
	// Healthy tells that the active check, if there is one, has not taken the
	// endpoint down.
	Healthy bool `json:"healthy"`
	// Since is when Healthy last changed.
	Since time.Time `json:"since"`
	// Reason is why it is not used, or used only where nothing else is:
	// endpoint_down, endpoint_ejected, held_down; 0, and not in JSON, if it is.
	Reason failure.Cause `json:"reason,omitzero"`
	// Detail is the result of the last active check, or the reason's facts.
	Detail string `json:"detail,omitempty"`
	// WrongCheck tells that the check has taken the endpoint down and live traffic
	// is answered nevertheless. Detail has how often, and what the check says.
	WrongCheck bool `json:"wrongCheck"`
	// Steering is what [Backend.Steer] set.
	Steering Steering `json:"steering"`
	// Drained tells that the endpoint is given no request (Drain, ForceDown) and
	// has none left.
	Drained bool `json:"drained"`

	// InFlight counts requests that the endpoint is working on, a handler's
	// that did not return although it was given up included. Active checks do not
	// count.
	InFlight int `json:"inFlight"`
	// Live is what the requests brought, Latency how long they took.
	Live    LiveStatus `json:"live"`
	Latency Latency    `json:"latency"`
	// Ejection is nil where there was none that still counts.
	Ejection *EjectionStatus `json:"ejection,omitempty"`
	// Checks are the last 64 active checks, the oldest first.
	Checks []Probe `json:"checks,omitempty"`
}

// LiveStatus is what the requests brought that an endpoint was given.
type LiveStatus struct {
	// LastSuccess and LastFailure are zero, and not in JSON, where there was none.
	// What says nothing about the endpoint, a client that left say, is neither.
	LastSuccess time.Time `json:"lastSuccess,omitzero"`
	LastFailure time.Time `json:"lastFailure,omitzero"`
	// RecentSuccesses and RecentFailures count the last ten seconds, or since the
	// last ejection if that is less.
	RecentSuccesses int `json:"recentSuccesses"`
	RecentFailures  int `json:"recentFailures"`
	// Attempts counts all that ended, Failures those that failed in any way.
	Attempts uint64 `json:"attempts"`
	Failures uint64 `json:"failures"`
	// Causes are the failures by their causes, the most frequent first.
	Causes []CauseCount `json:"causes,omitempty"`
}

// CauseCount is how often a cause occurred.
type CauseCount struct {
	Cause failure.Cause `json:"cause"`
	Count uint64        `json:"count"`
}

// EjectionStatus is the ejection of an endpoint, or its last one.
type EjectionStatus struct {
	// Active tells that the endpoint is ejected or on probation. In a dry run it
	// says what would be so.
	Active bool `json:"active"`
	DryRun bool `json:"dryRun,omitempty"`
	// Since and Until are when it began, and when it ends or probation began; zero,
	// and not in JSON, when it is not active.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Length is how long it lasts or lasted; in JSON "lengthMs".
	Length time.Duration `json:"-"`
	// Times is how many ejections are not forgiven: the next one's length depends
	// on it.
	Times int `json:"times"`
	// Cause is that of the failure that led to it, Detail why.
	Cause  failure.Cause `json:"cause,omitzero"`
	Detail string        `json:"detail"`
}

// MarshalJSON writes durations as milliseconds.
func (e EjectionStatus) MarshalJSON() ([]byte, error) {
	type plain EjectionStatus
	return json.Marshal(struct {
		plain
		Length float64 `json:"lengthMs"`
	}{plain(e), millis(e.Length)})
}

// status is the part that tells why an endpoint is used or not.
func (ep *endpoint) status(b *Backend) EndpointStatus {
	ep.mu.Lock()
	h := ep.health
	ep.mu.Unlock()
	set := ep.settings.Load()
	now := time.Now()
	clock := b.clock(now)
	s := EndpointStatus{
		Name: ep.name, Address: ep.address(), ResolveError: ep.resolveError(), Weight: set.weight, Backup: set.backup,
		State: "up", Healthy: h.up, Since: h.since, Detail: h.detail, WrongCheck: h.dispute.wrong,
		Steering: ep.steered(), InFlight: int(ep.inFlight.Load()),
	}
	switch {
	case !h.up:
		s.State, s.Reason = "down", failure.EndpointDown
		if h.dispute.wrong {
			s.Detail = h.explain(now)
		}
	case ep.ejected(clock):
		e := ep.ejectedError("", clock)
		s.State, s.Reason, s.Detail = "ejected", e.Cause, fmt.Sprintf("%s; %v left", e.Detail, e.RetryAfter.Round(time.Millisecond))
	case ep.probation(clock):
		s.State, s.Reason, s.Detail = "probation", failure.EndpointEjected, "tried again: "+ep.ejectedError("", clock).Detail
	case ep.held(b):
		s.State, s.Reason, s.Detail = "held", failure.HeldDown, "refused a connection a moment ago"
	default:
		if d := ep.barredFor(b); d > 0 {
			s.State, s.Reason = "held", failure.HeldDown
			s.Detail = fmt.Sprintf("asked with Retry-After to be left alone for another %v", d.Round(time.Second))
		}
	}
	if s.Steering != Automatic {
		s.State = s.Steering.String()
	}
	s.Drained = (s.Steering == Drain || s.Steering == ForceDown) && s.InFlight == 0
	return s
}

// report is all that is known of an endpoint.
func (ep *endpoint) report(b *Backend) EndpointStatus {
	s := ep.status(b)
	now := time.Now()
	clock := b.clock(now)
	s.Live = ep.live.status(b, clock)
	s.Latency = ep.latency.summary(time.Duration(clock))
	s.Ejection = ep.ejection.status(b, clock)
	ep.mu.Lock()
	s.Checks = ep.history.list()
	ep.mu.Unlock()
	return s
}

// wall is the time that a clock's reading stands for; zero for 0.
func (b *Backend) wall(clock int64) time.Time {
	if clock == 0 {
		return time.Time{}
	}
	return b.began.Add(time.Duration(clock)).Round(0)
}

func (v *evidence) status(b *Backend, now int64) LiveStatus {
	recent := v.window(now, windowSeconds)
	s := LiveStatus{
		LastSuccess: b.wall(v.good.Load()), LastFailure: b.wall(v.bad.Load()),
		RecentSuccesses: recent.good, RecentFailures: recent.bad,
		Attempts: v.attempts.Load(), Failures: v.failures.Load(),
	}
	for _, c := range failure.Causes() {
		if n := v.causes[c].Load(); n > 0 {
			s.Causes = append(s.Causes, CauseCount{c, n})
		}
	}
	slices.SortStableFunc(s.Causes, func(a, b CauseCount) int { return cmp.Compare(b.Count, a.Count) })
	return s
}

func (x *ejection) status(b *Backend, now int64) *EjectionStatus {
	x.mu.Lock()
	s := x.sentence
	x.mu.Unlock()
	cfg := &b.now().cfg.Ejection
	times := s.remembered(now, cfg)
	if s.until == 0 && times == 0 {
		return nil
	}
	return &EjectionStatus{
		Active: s.until != 0, DryRun: cfg.DryRun, Since: b.wall(s.at), Until: b.wall(s.until), Length: s.length, Times: times,
		Cause: s.cause, Detail: s.why,
	}
}
