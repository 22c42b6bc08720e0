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

func (s *state) named(ep *endpoint, e *failure.Error) *failure.Error {
	c := *e
	c.Backend, c.Endpoint = s.cfg.Name, ep.name
	return &c
}

// maxReasons bounds the endpoints whose reasons are told in words.
const maxReasons = 32

// none explains that no endpoint may be used: each one's reason, and the
// earliest time at which one may be again. The reason of a lone endpoint is the
// failure itself.
func (s *state) none(q query, refused []refusal) *failure.Error {
	var wait time.Duration // until the earliest time that somebody named
	why := make([]string, 0, min(len(s.endpoints), maxReasons)+1)
	errs := make([]error, 0, len(refused))
	said := make(map[*endpoint]*failure.Error, len(refused))
	for _, r := range refused {
		said[r.ep] = r.err
	}
	for _, ep := range s.endpoints {
		e := said[ep]
		if e == nil {
			e = s.reason(ep, q)
		}
		if len(s.endpoints) == 1 {
			return e
		}
		text := e.Cause.String()
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		if d := e.RetryAfter; d > 0 && (wait == 0 || d < wait) {
			wait = d
		}
		if len(why) < maxReasons {
			why = append(why, ep.name+": "+text)
		}
		errs = append(errs, e)
	}
	if more := len(s.endpoints) - len(why); more > 0 {
		why = append(why, fmt.Sprintf("and %d more", more))
	}
	return &failure.Error{
		Cause: failure.NoEndpoint, Backend: s.cfg.Name, RetryAfter: wait, Err: errors.Join(errs...),
		Detail: fmt.Sprintf("0 of %d endpoints may be used: %s", len(s.endpoints), strings.Join(why, "; ")),
	}
}

// reason is why the balance does not use an endpoint.
func (s *state) reason(ep *endpoint, q query) *failure.Error {
	e := &failure.Error{Cause: failure.EndpointDown, Backend: s.cfg.Name, Endpoint: ep.name}
	trouble := ep.trouble()
	switch steered := ep.steered(); {
	case steered == ForceDown:
		e.Detail = "forced down by the operator"
	case steered == Drain:
		e.Detail = "drained by the operator"
	case trouble == failure.EndpointEjected:
		return ep.ejectedError(s.cfg.Name, s.b.clock(time.Now()))
	case trouble != 0:
		is := ep.status(s.b)
		e.Cause = trouble
		e.Detail = fmt.Sprintf("since %s: %s", is.Since.UTC().Format(time.RFC3339), is.Detail)
	case slices.Contains(q.tried, ep):
		e.Cause, e.Detail = failure.HeldDown, "tried already"
	default:
		// A backup that was not asked.
		e.Cause, e.Detail = failure.ConnectionLimit, "a backup, while others are merely full"
	}
	return e
}
