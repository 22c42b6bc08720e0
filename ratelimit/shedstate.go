package ratelimit

import (
	"context"
	"net/http"
	"time"
)

// rehearse tells of a request in flight if it would have been shed.
func (s *Shedder) rehearse(ctx context.Context, p Priority) {
	inFlight, limit := s.slots.Stats().InFlight, s.allowed()
	if inFlight <= limit {
		return
	}
	a := s.limit
	a.mu.Lock()
	a.g.full(time.Since(a.epoch))
	ev, rate := a.event(Shed), a.pace()
	a.mu.Unlock()
	over := inFlight - limit
	if p == Critical { // the others would have made room
		over = min(over, int(s.criticals.Load())-limit)
	}
	if s.cfg.Observe == nil || !wouldShed(p, over, s.queue(), waitAt(rate, float64(over)), s.cfg.QueueWait) {
		return
	}
	ev.Name, ev.InFlight, ev.Priority, ev.DryRun = s.cfg.Name, inFlight, p, true
	s.cfg.Observe(ctx, ev)
}

// wouldShed tells whether a request is shed that is the over-th without a slot, where
// there would be one after a time; 0 is unknown.
func wouldShed(p Priority, over, queue int, after, patience time.Duration) bool {
	switch {
	case over <= 0:
		return false
	case p == Sheddable:
		return true
	}
	return over > queue || after > patience
}

// ShedExplanation is what a [Shedder] makes of a request.
type ShedExplanation struct {
	Name string `json:"name"`
	// Action is what is done with the request: pass, wait (in line, for a slot),
	// or shed.
	Action string `json:"action"`
	// DryRun tells that it passes, whatever Action says.
	DryRun bool `json:"dryRun,omitempty"`
	// Exempt tells that it passes without a slot.
	Exempt   bool     `json:"exempt,omitempty"`
	Priority Priority `json:"priority"`
	// Limit is how many may be in flight at once, and InFlight how many are; Queue
	// is how many may wait, and Waiting how many do.
	Limit    int `json:"limit"`
	InFlight int `json:"inFlight"`
	Queue    int `json:"queue"`
	Waiting  int `json:"waiting"`
	// RetryAfter is the time, in seconds, in which those ahead are answered, which
	// is the least that a request that is shed is told; 0 is unknown, or the
	// request is not shed.
	RetryAfter float64 `json:"retryAfter"`
}

// Explain tells what Handler would do with r now. It takes no slot and changes
// nothing; it does call Exempt and Priority.
func (s *Shedder) Explain(r *http.Request) ShedExplanation {
	st := s.slots.Stats()
	x := ShedExplanation{
		Name: s.cfg.Name, Action: "pass", DryRun: s.cfg.DryRun, Priority: s.priority(r),
		Limit: s.allowed(), InFlight: st.InFlight, Queue: s.queue(), Waiting: st.Queued,
	}
	if x.Exempt = s.cfg.Exempt != nil && s.cfg.Exempt(r); x.Exempt {
		return x
	}
	if x.InFlight+x.Waiting < x.Limit {
		return x
	}
	a := s.limit
	a.mu.Lock()
	rate := a.pace()
	a.mu.Unlock()
	criticals := int(s.criticals.Load())
	over := x.InFlight + x.Waiting - x.Limit + 1
	var after time.Duration
	if s.cfg.DryRun {
		after = waitAt(rate, float64(over))
		if criticals++; x.Priority == Critical {
			over = min(over, criticals-x.Limit)
		}
	} else if over = x.Waiting + 1; x.Priority == Critical {
		over = criticals + 1
	}
	switch {
	case wouldShed(x.Priority, over, x.Queue, after, s.cfg.QueueWait):
		x.Action = "shed"
		x.RetryAfter = waitAt(rate, float64(x.InFlight+x.Waiting)).Seconds()
	case over > 0:
		x.Action = "wait"
	}
	return x
}

// ShedderState is a [Shedder] at one moment.
type ShedderState struct {
	Name string `json:"name"`
	// Limit is that of the shedder, kept or not.
	Limit AdaptiveState `json:"limit"`
	// InFlight is how many requests have a slot. It may be over a limit that has
	// shrunk.
	InFlight int `json:"in_flight"`
	// Waiting is how many are in line, and Queue how many may be.
	Waiting int `json:"waiting"`
	Queue   int `json:"queue"`
	// Oldest is how long the first in line has waited.
	Oldest time.Duration `json:"oldest_ns"`
	// NewestFirst tells that the line is not served in order, since it was too
	// long for a second and more.
	NewestFirst bool `json:"newest_first,omitempty"`
	// DryRun tells that nothing is shed.
	DryRun bool `json:"dry_run,omitempty"`
}

// State tells the state.
func (s *Shedder) State() ShedderState {
	st := s.slots.Stats()
	return ShedderState{
		Name: s.cfg.Name, Limit: s.limit.State(), InFlight: st.InFlight, Waiting: st.Queued, Queue: s.queue(),
		Oldest: st.Oldest, NewestFirst: st.NewestFirst, DryRun: s.cfg.DryRun,
	}
}
