package observe

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/backend"
)

// maxBackends bounds the backends whose state is shown.
const maxBackends = 100

// BackendStatus adds the state of a backend to the metrics, with Status of a
// backend.Backend: what is in flight and what waits, and how long its endpoints
// take. status is called once now, for the name, and for every scrape, from any
// goroutine; it must not block.
//
// It is an error if there is a backend of that name, or if there are 100.
func (o *Observer) BackendStatus(status func() backend.Status) error {
	if status == nil {
		return errors.New("observe: BackendStatus(nil): must be a func, such as Status of a backend")
	}
	name := status().Name
	s := o.metrics.backends
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case slices.ContainsFunc(s.all, func(b watched) bool { return b.name == name }):
		return fmt.Errorf("observe: BackendStatus: there is a backend with the name %q", name)
	case len(s.all) >= maxBackends:
		return fmt.Errorf("observe: BackendStatus: %q is one too many, must be at most %d", name, maxBackends)
	}
	s.all = append(slices.Clip(s.all), watched{name, status})
	return nil
}

type watched struct {
	name   string
	status func() backend.Status
}

// backends shows what backends say of themselves when they are asked.
type backends struct {
	mu  sync.Mutex // guards all, whose elements never change
	all []watched

	inFlight, queued, retriesLeft, outage, endpointInFlight, latency *prometheus.Desc
}

func newBackends() *backends {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, append([]string{"backend"}, labels...), nil)
	}
	return &backends{
		inFlight:         desc("backend_in_flight", "Requests that came in and are not answered yet."),
		queued:           desc("backend_queued", "Requests that wait for one of them to end."),
		retriesLeft:      desc("backend_retries_left", "Retries that may be made at once; -1: there is no limit."),
		outage:           desc("backend_outage", "1 while every endpoint refuses connections."),
		endpointInFlight: desc("backend_endpoint_in_flight", "Requests that the endpoint is working on.", "endpoint"),
		latency:          desc("backend_endpoint_latency_seconds", "Time until the headers of good answers, of late.", "endpoint", "quantile"),
	}
}

// Describe implements prometheus.Collector.
func (s *backends) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.inFlight, s.queued, s.retriesLeft, s.outage, s.endpointInFlight, s.latency} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *backends) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	all := s.all
	s.mu.Unlock()
	for _, b := range all {
		st := b.status()
		gauge := func(d *prometheus.Desc, v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, clean(append([]string{b.name}, labels...))...)
		}
		outage := 0.
		if !st.OutageSince.IsZero() {
			outage = 1
		}
		gauge(s.inFlight, float64(st.InFlight))
		gauge(s.queued, float64(st.Queued))
		gauge(s.retriesLeft, float64(st.RetriesLeft))
		gauge(s.outage, outage)
		for _, ep := range st.Endpoints {
			gauge(s.endpointInFlight, float64(ep.InFlight), ep.Name)
			if l := ep.Latency; l.Answers > 0 {
				gauge(s.latency, l.P50.Seconds(), ep.Name, "0.5")
				gauge(s.latency, l.P90.Seconds(), ep.Name, "0.9")
				gauge(s.latency, l.P99.Seconds(), ep.Name, "0.99")
			}
		}
	}
}
