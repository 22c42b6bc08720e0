package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/admit"
)

// ShedderConfig configures a [Shedder]. All of it may be zero.
type ShedderConfig struct {
	// Name tells shedders apart in events; "" is the name of Limit.
	Name string

	// Limit is how many requests may be with the handler at once. It is of this
	// Shedder alone. nil is a new [Adaptive] of Name and Observe, all else zero;
	// a fixed limit is one whose Min is its Max.
	Limit *Adaptive

	// Queue is how many requests may wait for a slot. 0 is as many as the limit,
	// at most 1024; negative is none. At most 1048576.
	Queue int
	// QueueWait is how long they may. 0 is 250 ms; negative is an error; at most
	// a minute, since a server's shutdown waits for those that wait.
	QueueWait time.Duration

	// Priority tells how late a request is shed. It is asked where there is no
	// slot, and in a dry run always. nil is [ByReserve].
	Priority func(*http.Request) Priority

	// Exempt tells which requests pass without a slot, whatever the load: health
	// checks. Clients must not be able to make theirs such. nil is none.
	Exempt func(*http.Request) bool

	// DryRun lets everything pass, and tells Observe what would have been shed. So
	// does a Limit in its dry run.
	DryRun bool

	// ErrorHandler answers the requests that are shed. nil is
	// [failure.WriteError].
	ErrorHandler failure.ErrorHandler

	// Observe is told of every request that is shed; nil is nobody. Changes of
	// the limit are told by Limit to its own. It runs on the goroutine of a
	// request, under no lock. So do Priority and Exempt, which must have no effect
	// on others: [Shedder.Explain] calls them, too.
	Observe func(context.Context, ShedEvent)
}

const (
	defaultShedWait = 250 * time.Millisecond
	maxShedWait     = time.Minute
	maxShedQueue    = 1024 // the default at most
)

func (c ShedderConfig) normalize() (ShedderConfig, error) {
	var errs []error
	bad := func(field string, value any, must string) {
		errs = append(errs, fmt.Errorf("ratelimit: ShedderConfig.%s is %v: must be %s", field, value, must))
	}
	if c.Queue > maxAdaptive {
		bad("Queue", c.Queue, fmt.Sprintf("at most %d, 0 for as many as the limit, or negative for none", maxAdaptive))
	}
	if c.QueueWait == 0 {
		c.QueueWait = defaultShedWait
	}
	if c.QueueWait < 0 || c.QueueWait > maxShedWait {
		bad("QueueWait", c.QueueWait, fmt.Sprintf("from 1ns to %v, or 0 for %v", maxShedWait, defaultShedWait))
	}
	if c.Priority == nil {
		c.Priority = ByReserve
	}
	if len(errs) > 0 {
		return c, errors.Join(errs...)
	}
	if c.Limit == nil {
		var err error
		if c.Limit, err = NewAdaptive(AdaptiveConfig{Name: c.Name, DryRun: c.DryRun, Observe: c.Observe}); err != nil {
			return c, err
		}
	}
	if c.Name == "" {
		c.Name = c.Limit.cfg.Name
	}
	c.DryRun = c.DryRun || c.Limit.Rehearsing()
	return c, nil
}

// Shedder keeps a handler, a foreign proxy say, at what it can work on: so many
// requests at once as its limit allows, a few more in a short line, and the rest is
// turned away before it costs anything. A backend of this module has the same built
// in (its Config.Limit).
//
// It is made by [NewShedder], safe for concurrent use, starts no goroutine and needs
// no end.
type Shedder struct {
	cfg   ShedderConfig
	limit *Adaptive
	slots *admit.Semaphore

	// criticals are those of priority Critical in line, in a dry run in flight.
	criticals atomic.Int64
}

// NewShedder returns a Shedder. Its error joins everything that is wrong with cfg.
func NewShedder(cfg ShedderConfig) (*Shedder, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	s := &Shedder{cfg: cfg, limit: cfg.Limit}
	if cfg.DryRun {
		s.slots = admit.New(admit.Fixed(boundless))
	} else {
		s.slots = admit.New(cfg.Limit)
	}
	return s, nil
}

// Handler puts the shedder in front of next, which is the backend: what stands
// further out, a cache, must not be under it. A request that is shed never reaches
// next: that is reported to the request's slot and answered by ErrorHandler, with
// 503, cause shed, and the Retry-After of [Adaptive.Refuse]. Handlers of one
// Shedder share its slots.
//
// A request has its slot until next returns, but a connection that is upgraded or
// hijacked, a CONNECT that is granted and a stream of events (text/event-stream)
// only until their headers.
//
// The limit learns from the time until the final header section of answers below
// 500, without that in which the client's body was awaited, and from failures: those
// that were reported beneath and count against the backend
// ([failure.Error.Verdict]), those of a status that does ([failure.CountsStatus]),
// and panics, which go on with the same value. Clients that left and answers that
// mended a failure say nothing.
func (s *Shedder) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cfg.Exempt != nil && s.cfg.Exempt(r) {
			next.ServeHTTP(w, r)
			return
		}
		p := Normal
		if s.cfg.DryRun {
			p = s.priority(r)
		}
		if !s.slots.TryAcquire() {
			if e := s.stand(r); e != nil {
				failure.Serve(w, r, e, s.cfg.ErrorHandler)
				return
			}
		}
		x := &shedAnswer{shedder: s, priority: p}
		x.serve(next, w, r)
	})
}

// allowed is the limit, be it kept or not.
func (s *Shedder) allowed() int { return max(1, int(s.limit.limit.Load())) }

// queue is how many may wait.
func (s *Shedder) queue() int {
	if s.cfg.Queue != 0 {
		return max(0, s.cfg.Queue)
	}
	return min(s.allowed(), maxShedQueue)
}

func (s *Shedder) priority(r *http.Request) Priority {
	if p := s.cfg.Priority(r); p <= Sheddable {
		return p
	}
	return Normal
}

// stand waits for a slot. The error is that there is none.
func (s *Shedder) stand(r *http.Request) *failure.Error {
	ctx, p := r.Context(), s.priority(r)
	s.limit.Full()
	class, queue := admit.Ordinary, s.queue()
	switch p {
	case Normal:
	case Critical:
		class = admit.High
		s.criticals.Add(1)
		defer s.criticals.Add(-1)
	case Sheddable:
		class, queue = admit.Low, 0
	}
	began := time.Now()
	err := s.slots.AcquireAs(ctx, class, queue, s.cfg.QueueWait)
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*admit.RefusedError](err)
	if !ok {
		waited := time.Since(began)
		if clientGone(ctx) {
			e := failure.New(failure.ClientGone, err)
			e.Phases[failure.PhaseQueue] = waited
			return e
		}
		st := s.slots.Stats() // its own deadline was sooner
		refused = &admit.RefusedError{
			Reason: admit.TimedOut, InFlight: st.InFlight, Limit: st.Limit, Queued: st.Queued, Queue: queue, Waited: waited,
		}
	}
	return s.refuse(ctx, p, refused)
}

// refuse tells of a request that is shed.
func (s *Shedder) refuse(ctx context.Context, p Priority, r *admit.RefusedError) *failure.Error {
	ev := s.limit.refuse(r.InFlight + r.Queued)
	ev.Name, ev.Limit, ev.InFlight = s.cfg.Name, r.Limit, r.InFlight
	ev.Priority, ev.Waited = p, r.Waited
	if s.cfg.Observe != nil {
		s.cfg.Observe(ctx, ev)
	}
	e := &failure.Error{Cause: failure.Shed, Detail: s.detail(ev, r), RetryAfter: ev.RetryAfter}
	e.Phases[failure.PhaseQueue] = r.Waited
	return e
}

func (s *Shedder) detail(ev ShedEvent, r *admit.RefusedError) string {
	d := fmt.Sprintf("limit %q: ", s.cfg.Name)
	if ev.Priority != Normal {
		d += ev.Priority.String() + ", "
	}
	if ev.Waited > 0 {
		d += fmt.Sprintf("waited %d ms, ", ev.Waited.Milliseconds())
	}
	if r.Reason == admit.Full {
		d += fmt.Sprintf("%d of %d waiting, ", r.Queued, r.Queue)
	}
	return d + fmt.Sprintf("%d of %d requests in flight, %s", r.InFlight, r.Limit, ev.latencies())
}
