package observe

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/ratelimit"
)

// shedding is what the adaptive limits and the shedders count.
type shedding struct {
	limit, inFlight, latency, atRest *children[string, prometheus.Gauge]
	sheds                            *children[shedKind, prometheus.Counter]
}

type shedKind struct {
	name, priority string
	dryRun         bool
}

func newShedding(m *metrics) shedding {
	of := []string{"limit"}
	return shedding{
		limit:    gauges(m, "shed_limit", "Requests that an adaptive limit lets in at once, or would in a dry run, from its first change on.", of, other, one, 0),
		inFlight: gauges(m, "shed_in_flight", "Requests in flight, the mean at the last change of the limit.", of, other, one, 0),
		latency:  gauges(m, "shed_latency_seconds", "Time until the final header section, at the last change of the limit.", of, other, one, 0),
		atRest:   gauges(m, "shed_latency_at_rest_seconds", "The same without load, as the limit has it.", of, other, one, 0),
		sheds: counters(m, "shed_total", "Requests that were turned away, by the shedder, or by the backend that keeps an adaptive limit; with dry_run they passed.",
			[]string{"limit", "priority", "dry_run"}, shedKind{other, other, false},
			func(k shedKind) []string { return []string{k.name, k.priority, strconv.FormatBool(k.dryRun)} }),
	}
}

func (s *shedding) event(ev ratelimit.ShedEvent) {
	switch ev.Kind {
	case ratelimit.Shed:
		s.sheds.of(shedKind{ev.Name, ev.Priority.String(), ev.DryRun}).Inc()
	case ratelimit.LimitChanged:
		s.limit.of(ev.Name).Set(float64(ev.Limit))
		s.inFlight.of(ev.Name).Set(float64(ev.InFlight))
		s.latency.of(ev.Name).Set(ev.Latency.Seconds())
		s.atRest.of(ev.Name).Set(ev.AtRest.Seconds())
	}
}

// backend counts a request that a backend shed by its limit, of which there is no
// event of the limit's own.
func (s *shedding) backend(name string) {
	s.sheds.of(shedKind{name, ratelimit.Normal.String(), false}).Inc()
}
