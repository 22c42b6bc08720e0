package observe

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/ratelimit"
)

const namespace = "holdfast"

// seconds are the buckets of all durations.
var seconds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// Keys of children, label values in the order of their labels.
type (
	causeRung      struct{ cause, rung string }
	endpoint       struct{ backend, endpoint string }
	endpointResult struct{ backend, endpoint, result string }
	endpointPhase  struct{ backend, endpoint, phase string }
	endpointDry    struct {
		endpoint
		dryRun bool
	}
	breakerPhase struct {
		breaker, phase string
		dryRun         bool
	}
	outcomeRung     struct{ outcome, rung string }
	limiterDecision struct{ limiter, decision string }
	limiterLimit    struct {
		limiter, limit string
		dryRun         bool
	}
	purgeKind struct {
		of   string
		soft bool
	}
	pageKind struct {
		status int
		format string
	}
)

// metrics has the children of all vectors, resolved once. It is one Collector,
// so that registering it succeeds or fails as a whole.
type metrics struct {
	collectors []prometheus.Collector

	inFlight     prometheus.Gauge
	requests     *children[int, prometheus.Counter]
	duration     *children[string, prometheus.Observer]
	bytes        prometheus.Counter
	clientGone   prometheus.Counter
	aborted      prometheus.Counter
	failures     *children[causeRung, prometheus.Counter]
	leftOut      *children[string, prometheus.Counter]
	attempts     *children[endpointResult, prometheus.Counter]
	response     *children[endpoint, prometheus.Observer]
	phases       *children[endpointPhase, prometheus.Counter]
	retries      *children[endpoint, prometheus.Counter]
	reused       *children[endpoint, prometheus.Counter]
	healthy      *children[endpoint, prometheus.Gauge]
	ejected      *children[endpoint, prometheus.Gauge]
	ejections    *children[endpointDry, prometheus.Counter]
	disputed     *children[endpoint, prometheus.Gauge]
	unresolved   *children[string, prometheus.Counter]
	tunnels      *children[endpoint, prometheus.Counter]
	breakerPhase *children[breakerPhase, prometheus.Gauge]
	changes      *children[breakerPhase, prometheus.Counter]
	refused      *children[breakerPhase, prometheus.Counter]
	outcomes     *children[outcomeRung, prometheus.Counter]
	collapsed    prometheus.Counter
	fills        *children[string, prometheus.Counter]
	fillFailures *children[string, prometheus.Counter]
	notStored    *children[string, prometheus.Counter]
	misses       *children[string, prometheus.Counter]
	purges       *children[purgeKind, prometheus.Counter]
	followers    prometheus.Counter
	fillBytes    prometheus.Counter
	objectSize   prometheus.Histogram
	stores       *stores
	backends     *backends
	decisions    *children[limiterDecision, prometheus.Counter]
	overflow     *children[string, prometheus.Counter]
	unidentified *children[string, prometheus.Counter]
	limitedBy    *children[limiterLimit, prometheus.Counter]
	delayed      *children[string, prometheus.Counter]
	delay        *children[string, prometheus.Counter]
	forwarded    *children[string, prometheus.Counter]
	pages        *children[pageKind, prometheus.Counter]
	panics       prometheus.Counter
	maintenance  *maintenance
	shedding     shedding
}

const other = "other"

func newMetrics() *metrics {
	m := &metrics{}

	m.inFlight = gauge(m, "requests_in_flight", "Requests being served.")
	m.requests = counters(m, "requests_total", "Requests by the status that was sent; 499: the client left before, 0: cut off before.",
		[]string{"code"}, 999, func(status int) []string { return []string{strconv.Itoa(status)} })
	m.duration = histograms(m, "request_duration_seconds", "Time from a request's arrival to its end, by what the cache did.",
		[]string{"cache"}, other, one)
	m.bytes = counter(m, "response_body_bytes_total", "Body bytes sent to clients.")
	m.clientGone = counter(m, "client_gone_total", "Requests whose client left before the end.")
	m.aborted = counter(m, "aborted_total", "Responses that were cut off.")
	m.failures = counters(m, "failures_total", "Failures of requests by cause, and by the rung that kept them from the visitor.",
		[]string{"cause", "rung"}, causeRung{other, other}, func(k causeRung) []string { return []string{k.cause, k.rung} })

	m.leftOut = counters(m, "log_lines_left_out_total", "Lines that were not logged, since there were too many of their kind; by message.", []string{"message"}, other, one)

	ep := func(k endpoint) []string { return []string{k.backend, k.endpoint} }
	epLabels, epOther := []string{"backend", "endpoint"}, endpoint{other, other}
	m.attempts = counters(m, "backend_attempts_total", `Attempts by their result: "ok", "given_up" (another one answered first) or a cause.`,
		[]string{"backend", "endpoint", "result"}, endpointResult{other, other, other},
		func(k endpointResult) []string { return []string{k.backend, k.endpoint, k.result} })
	m.response = histograms(m, "backend_response_seconds", "Time of an attempt until the final header section, or its failure.", epLabels, epOther, ep)
	m.phases = counters(m, "backend_phase_seconds_total", "Time that attempts spent in each phase.",
		[]string{"backend", "endpoint", "phase"}, endpointPhase{other, other, other},
		func(k endpointPhase) []string { return []string{k.backend, k.endpoint, k.phase} })
	m.retries = counters(m, "backend_retries_total", "Attempts that were followed by another one.", epLabels, epOther, ep)
	m.reused = counters(m, "backend_reused_total", "Attempts on a connection that had been used before.", epLabels, epOther, ep)
	m.healthy = gauges(m, "backend_endpoint_healthy", "1 unless the active check has taken the endpoint down.", epLabels, epOther, ep, 1)
	m.ejected = gauges(m, "backend_endpoint_ejected", "1 while the endpoint is ejected for the failures of its traffic.", epLabels, epOther, ep, 0)
	m.ejections = counters(m, "backend_ejections_total", "Ejections; with dry_run they were not acted on.", append(epLabels[:2:2], "dry_run"), endpointDry{endpoint: epOther},
		func(k endpointDry) []string { return append(ep(k.endpoint), strconv.FormatBool(k.dryRun)) })
	m.disputed = gauges(m, "backend_check_disputed", "1 while the active check says down and live traffic is answered.", epLabels, epOther, ep, 0)
	m.unresolved = counters(m, "backend_resolve_failures_total", "Names that could not be resolved any more.", []string{"backend"}, other, one)
	m.tunnels = counters(m, "backend_tunnels_closed_total", "Upgraded connections that ended.", epLabels, epOther, ep)

	bp := func(k breakerPhase) []string { return []string{k.breaker, k.phase, strconv.FormatBool(k.dryRun)} }
	bpOther := breakerPhase{breaker: other, phase: other}
	m.breakerPhase = gauges(m, "breaker_phase", "1 for the phase that the breaker is in, from its first change on; with dry_run it is not acted on.",
		[]string{"breaker", "phase", "dry_run"}, bpOther, bp, 0)
	m.changes = counters(m, "breaker_changes_total", "Changes by the phase that began.", []string{"breaker", "to", "dry_run"}, bpOther, bp)
	m.refused = counters(m, "breaker_refused_total", "Calls that were refused, by the phase, which is closed while the breaker recovers; with dry_run they passed.",
		[]string{"breaker", "phase", "dry_run"}, bpOther, bp)

	m.outcomes = counters(m, "cache_requests_total", "Requests by what the cache did, and by the rung if stale content was served.",
		[]string{"outcome", "rung"}, outcomeRung{other, other}, func(k outcomeRung) []string { return []string{k.outcome, k.rung} })
	m.collapsed = counter(m, "cache_collapsed_total", "Requests that shared the fetch of another one.")
	m.fills = counters(m, "cache_fills_total", "Fetches by their result: stored, not_stored, failed.", []string{"result"}, other, one)
	m.fillFailures = counters(m, "cache_fill_failures_total", "Fetches that failed, by cause.", []string{"cause"}, other, one)
	m.notStored = counters(m, "cache_not_stored_total", "Fetches whose response was not stored, by reason.", []string{"reason"}, other, one)

	m.misses = counters(m, "cache_misses_total", "Requests that needed a fetch, by why it was needed (RFC 9211 section 2.2).", []string{"reason"}, other, one)
	m.purges = counters(m, "cache_purges_total", "Purges by what they named, and whether they only made stale.", []string{"of", "soft"},
		purgeKind{of: other}, func(k purgeKind) []string { return []string{k.of, strconv.FormatBool(k.soft)} })
	m.followers = counter(m, "cache_followers_total", "Requests that waited for the fetch of another one, whatever it brought them.")
	m.fillBytes = counter(m, "cache_fill_body_bytes_total", "Body bytes that fetches received.")
	m.objectSize = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "cache_stored_body_bytes", Help: "Sizes of the responses that were stored.",
		Buckets: prometheus.ExponentialBuckets(256, 4, 10), // to 64 MiB
	})
	m.stores, m.backends = newStores(), newBackends()
	m.collectors = append(m.collectors, m.objectSize, m.stores, m.backends)

	m.decisions = counters(m, "ratelimit_decisions_total", "Decisions: allowed, limited, would_limit (a dry run), left (the client, while it waited).",
		[]string{"limiter", "decision"}, limiterDecision{other, other}, func(k limiterDecision) []string { return []string{k.limiter, k.decision} })
	m.overflow = counters(m, "ratelimit_overflow_total", "Decisions by the shared bucket, since the table was full.", []string{"limiter"}, other, one)
	m.unidentified = counters(m, "ratelimit_unidentified_total", "Requests whose client could not be told.", []string{"limiter"}, other, one)
	m.limitedBy = counters(m, "ratelimit_limited_total", `Refusals by the limit that refused, "" for the deny list; with dry_run they were not acted on.`,
		[]string{"limiter", "limit", "dry_run"}, limiterLimit{limiter: other, limit: other},
		func(k limiterLimit) []string { return []string{k.limiter, k.limit, strconv.FormatBool(k.dryRun)} })
	m.delayed = counters(m, "ratelimit_delayed_total", "Requests that were held back, whatever became of them.", []string{"limiter"}, other, one)
	m.delay = counters(m, "ratelimit_delay_seconds_total", "Time for which requests were held back.", []string{"limiter"}, other, one)
	m.forwarded = counters(m, "ratelimit_forwarded_total", "Requests with forwarding fields whose peer was taken for the client, since no proxy is trusted.",
		[]string{"limiter"}, other, one)

	m.shedding = newShedding(m)

	m.pages = counters(m, "errorpage_served_total", "Error pages by status and format.",
		[]string{"code", "format"}, pageKind{999, other}, func(k pageKind) []string { return []string{strconv.Itoa(k.status), k.format} })
	m.maintenance = newMaintenance()
	m.collectors = append(m.collectors, m.maintenance)
	m.panics = counter(m, "errorpage_panics_total", "Panics of handlers that were recovered.")
	return m
}

func one(s string) []string { return []string{s} }

func gauge(m *metrics, name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	m.collectors = append(m.collectors, g)
	return g
}

func counter(m *metrics, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	m.collectors = append(m.collectors, c)
	return c
}

func counters[K comparable](m *metrics, name, help string, labels []string, rest K, values func(K) []string) *children[K, prometheus.Counter] {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.collectors = append(m.collectors, vec)
	return newChildren(rest, func(k K) prometheus.Counter { return vec.WithLabelValues(clean(values(k))...) })
}

func histograms[K comparable](m *metrics, name, help string, labels []string, rest K, values func(K) []string) *children[K, prometheus.Observer] {
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: seconds}, labels)
	m.collectors = append(m.collectors, vec)
	return newChildren(rest, func(k K) prometheus.Observer { return vec.WithLabelValues(clean(values(k))...) })
}

func gauges[K comparable](m *metrics, name, help string, labels []string, rest K, values func(K) []string, initial float64) *children[K, prometheus.Gauge] {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.collectors = append(m.collectors, vec)
	return newChildren(rest, func(k K) prometheus.Gauge {
		g := vec.WithLabelValues(clean(values(k))...)
		g.Set(initial)
		return g
	})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors {
		c.Collect(ch)
	}
}

// expose registers m and returns the handler that serves it. The registerer
// that was given is left alone unless it is asked to.
func expose(m *metrics, given prometheus.Registerer, register bool) (http.Handler, error) {
	if given != nil && register {
		if err := given.Register(m); err != nil {
			return nil, err
		}
		if g, ok := given.(prometheus.Gatherer); ok {
			return promhttp.HandlerFor(g, promhttp.HandlerOpts{}), nil
		}
	}
	// One that can only register (a prefixing one, say) is read elsewhere.
	own := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		m,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := own.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(own, promhttp.HandlerOpts{}), nil
}

// request counts a request that ended.
func (m *metrics) request(s summary, st story, e *failure.Error, rung failure.Rung) {
	m.requests.of(s.status).Inc()
	outcome := "none"
	if st.cached {
		outcome = st.outcome.String()
	}
	m.duration.of(outcome).Observe(s.took.Seconds())
	m.bytes.Add(float64(s.bytes))
	if s.clientGone {
		m.clientGone.Inc()
	}
	if s.aborted {
		m.aborted.Inc()
	}
	if e != nil {
		m.failures.of(causeRung{e.Cause.String(), rung.String()}).Inc()
	}
}

func (m *metrics) backend(ev backend.Event) {
	ep := endpoint{ev.Backend, ev.Endpoint}
	switch ev.Kind {
	case backend.AttemptDone:
		result, givenUp := "ok", ev.Failure == nil && ev.Status == 0 && ev.Detail != ""
		switch {
		case givenUp:
			result = "given_up"
		case ev.Failure != nil:
			result = ev.Failure.Cause.String()
		}
		m.attempts.of(endpointResult{ev.Backend, ev.Endpoint, result}).Inc()
		if ev.Attempt == 0 {
			if ev.Failure != nil && ev.Failure.Cause == failure.Shed {
				m.shedding.backend(ev.Backend)
			}
			return
		}
		m.healthy.of(ep) // from now on it is shown
		if !givenUp {    // how long it would have taken is not known
			m.response.of(ep).Observe((ev.Phases.Total() - ev.Phases[failure.PhaseBody]).Seconds())
		}
		for p, d := range ev.Phases {
			if d > 0 {
				m.phases.of(endpointPhase{ev.Backend, ev.Endpoint, failure.Phase(p).String()}).Add(d.Seconds())
			}
		}
		if ev.Retry {
			m.retries.of(ep).Inc()
		}
		if ev.Reused {
			m.reused.of(ep).Inc()
		}
	case backend.HealthChanged:
		healthy := 0.
		if ev.Healthy {
			healthy = 1
		}
		m.healthy.of(ep).Set(healthy)
	case backend.EndpointEjected:
		m.ejections.of(endpointDry{ep, ev.DryRun}).Inc()
		if !ev.DryRun {
			m.ejected.of(ep).Set(1)
		}
	case backend.EndpointReturned:
		m.ejected.of(ep).Set(0)
	case backend.CheckDisputed:
		disputed := 1.
		if ev.Healthy {
			disputed = 0
		}
		m.disputed.of(ep).Set(disputed)
	case backend.ResolveFailed:
		m.unresolved.of(ev.Backend).Inc()
	case backend.AddressesChanged:
	case backend.TunnelClosed:
		m.tunnels.of(ep).Inc()
	}
}

func (m *metrics) breaker(ev breaker.Event) {
	switch ev.Kind {
	case breaker.Changed:
		m.changes.of(breakerPhase{ev.Name, ev.To.String(), ev.DryRun}).Inc()
		for _, p := range []breaker.Phase{breaker.Closed, breaker.Open, breaker.HalfOpen} {
			in := 0.
			if p == ev.To {
				in = 1
			}
			m.breakerPhase.of(breakerPhase{ev.Name, p.String(), ev.DryRun}).Set(in)
		}
	case breaker.Refused:
		m.refused.of(breakerPhase{ev.Name, ev.From.String(), ev.DryRun}).Inc()
	}
}

func (m *metrics) cache(ev cache.Event) {
	switch ev.Kind {
	case cache.Served:
		rung := "none"
		if ev.Rung != failure.Unmended {
			rung = ev.Rung.String()
		}
		m.outcomes.of(outcomeRung{ev.Outcome.String(), rung}).Inc()
		if ev.Collapsed {
			m.collapsed.Inc()
		}
		if ev.Fwd != "" && ev.Outcome != cache.Bypass {
			m.misses.of(ev.Fwd).Inc()
		}
	case cache.Purged:
		m.purges.of(purgeKind{ev.Detail, ev.Soft}).Inc()
	case cache.FillDone:
		m.followers.Add(float64(ev.Followers))
		m.fillBytes.Add(float64(ev.Bytes))
		if ev.Stored {
			m.objectSize.Observe(float64(ev.Size))
		}
		switch {
		case ev.Failure != nil:
			m.fills.of("failed").Inc()
			m.fillFailures.of(ev.Failure.Cause.String()).Inc()
		case ev.Stored:
			m.fills.of("stored").Inc()
		default:
			m.fills.of("not_stored").Inc()
			m.notStored.of(ev.NotStored).Inc()
		}
	}
}

func (m *metrics) rateLimit(ev ratelimit.Event) {
	decision := ev.Kind.String()
	if ev.DryRun {
		decision = "would_limit"
	}
	m.decisions.of(limiterDecision{ev.Name, decision}).Inc()
	if ev.Kind == ratelimit.Limited {
		m.limitedBy.of(limiterLimit{ev.Name, ev.Limit, ev.DryRun}).Inc()
	}
	if ev.Waited > 0 {
		m.delayed.of(ev.Name).Inc()
		m.delay.of(ev.Name).Add(ev.Waited.Seconds())
	}
	if ev.Forwarded {
		m.forwarded.of(ev.Name).Inc()
	}
	if ev.Overflow {
		m.overflow.of(ev.Name).Inc()
	}
	if ev.Unidentified {
		m.unidentified.of(ev.Name).Inc()
	}
}

func (m *metrics) errorPage(ev errorpage.Event) {
	switch ev.Kind {
	case errorpage.Served:
		m.pages.of(pageKind{ev.Status, ev.Format}).Inc()
	case errorpage.Recovered:
		m.panics.Inc()
	default: // maintenance is a state, see Observer.Maintenance
	}
}
