package backend

import (
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const defaultPanicThreshold = 0.25

// panicking tells whether so few endpoints are usable that the judgement of the
// others is doubted: they would be overrun, or a check is wrong. threshold is a
// share of all; negative: never.
func panicking(usable, all int, threshold float64) bool {
	return threshold >= 0 && all > 0 && (usable == 0 || float64(usable) < threshold*float64(all))
}

// trouble is why the judges of the endpoint want it out of use: endpoint_down or
// endpoint_ejected; 0 if they do not, or if the operator overrules them.
func (ep *endpoint) trouble() failure.Cause {
	switch {
	case ep.steered() == ForceUp:
		return 0
	case !ep.up():
		return failure.EndpointDown
	case ep.ejection.until.Load() != 0: // or on probation
		return failure.EndpointEjected
	}
	return 0
}

// probeAfter is how long after the end of its ejection an endpoint waits for a
// request that could be repeated elsewhere; then any will do.
const probeAfter = 10 * time.Second

// probes tells whether a request is to find out about an endpoint whose ejection
// is over: one a second does, preferably one that can be repeated if it fails.
func (ep *endpoint) probes(q *query, now int64) bool {
	return ep.probation(now) && ep.up() && len(q.tried) == 0 && ep.live.due(now) &&
		(q.repeatable || now-ep.ejection.until.Load() >= int64(probeAfter))
}
