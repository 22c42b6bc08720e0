package backend

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// refusal is why an endpoint may not be used for a request.
type refusal struct {
	ep  *endpoint
	err *failure.Error
}

// choose picks the endpoint for the next attempt of a request: round robin over
// those that are up, preferably one that was not tried and is not held down. It
// asks the gates until one permits. tried has the endpoints of earlier attempts;
// other demands one that is not among them.
//
// The error is why there is none.
func (s *state) choose(tried []*endpoint, other bool) (*endpoint, *pass, *failure.Error) {
	n := len(s.endpoints)
	start := 0
	if n > 1 {
		start = int(s.b.turn.Add(1) % uint64(n))
	}
	var refused []refusal
	now := s.b.clock(time.Now())
	// The better candidates come first: rank 0 is fresh, 1 held down, 2 tried
	// before, 3 both.
	for rank := range 4 {
		for i := range n {
			ep := s.endpoints[(start+i)%n]
			if r := s.rank(ep, tried); r != rank || other && r >= 2 {
				continue
			}
			if !ep.up() || ep.ejected(now) || ep.probation(now) && !ep.live.trial(now) {
				continue
			}
			if e := ep.acquire(); e != nil {
				refused = append(refused, refusal{ep, s.named(ep, e)})
				continue
			}
			done, err := permit(ep.asked())
			if err == nil {
				return ep, done, nil
			}
			ep.unused()
			refused = append(refused, refusal{ep, s.named(ep, err)})
		}
	}
	return nil, nil, s.none(refused)
}

func (s *state) rank(ep *endpoint, tried []*endpoint) int {
	rank := 0
	if ep.held(s.b) || ep.barredFor(s.b) > 0 {
		rank = 1
	}
	if slices.Contains(tried, ep) {
		rank += 2
	}
	return rank
}

func (s *state) named(ep *endpoint, e *failure.Error) *failure.Error {
	c := *e
	c.Backend, c.Endpoint = s.cfg.Name, ep.name
	return &c
}

// none explains that no endpoint may be used: each one's reason, and the
// earliest time at which one may be again. The reason of a lone endpoint is the
// failure itself.
func (s *state) none(refused []refusal) *failure.Error {
	why := make([]string, 0, len(s.endpoints))
	errs := make([]error, 0, len(refused))
	for _, ep := range s.endpoints {
		e := s.reason(ep, refused)
		if len(s.endpoints) == 1 {
			return e
		}
		text := e.Cause.String()
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		why = append(why, ep.name+": "+text)
		errs = append(errs, e)
	}
	return &failure.Error{
		Cause: failure.NoEndpoint, Backend: s.cfg.Name, RetryAfter: soonest(refused), Err: errors.Join(errs...),
		Detail: fmt.Sprintf("0 of %d endpoints may be used: %s", len(s.endpoints), strings.Join(why, "; ")),
	}
}

// soonest is the earliest time that a gate promised; 0: none did.
func soonest(refused []refusal) time.Duration {
	var first time.Duration
	for _, r := range refused {
		if d := r.err.RetryAfter; d > 0 && (first == 0 || d < first) {
			first = d
		}
	}
	return first
}

func (s *state) reason(ep *endpoint, refused []refusal) *failure.Error {
	for _, r := range refused {
		if r.ep == ep {
			return r.err
		}
	}
	if now := s.b.clock(time.Now()); ep.up() && (ep.ejected(now) || ep.probation(now)) {
		return ep.ejectedError(s.cfg.Name, now)
	}
	is := ep.status(s.b)
	if is.Healthy {
		return &failure.Error{Cause: failure.HeldDown, Backend: s.cfg.Name, Endpoint: ep.name, Detail: "tried already"}
	}
	return &failure.Error{
		Cause: failure.EndpointDown, Backend: s.cfg.Name, Endpoint: ep.name,
		Detail: fmt.Sprintf("since %s: %s", is.Since.UTC().Format(time.RFC3339), is.Detail),
	}
}
