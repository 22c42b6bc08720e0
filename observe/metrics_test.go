package observe

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/ratelimit"
)

func TestNew(t *testing.T) {
	reg := prometheus.NewRegistry()
	if _, err := New(Config{Registerer: reg}); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Registerer: reg})
	if err == nil || !strings.Contains(err.Error(), "Config.Registerer") {
		t.Errorf("a second Observer on one registry: %v", err)
	}
	_, err = New(Config{RequestIDHeader: "a b", Registerer: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "Config.RequestIDHeader") {
		t.Errorf("a wrong header name: %v", err)
	}
	for _, name := range []string{"X:Y", strings.Repeat("x", 65), "ä"} {
		if _, err := New(Config{RequestIDHeader: name}); err == nil {
			t.Errorf("New accepts the header name %q", name)
		}
	}
	failed := prometheus.NewRegistry()
	if _, err := New(Config{RequestIDHeader: "a b", Registerer: failed}); err == nil {
		t.Error("no error")
	}
	if _, err := New(Config{Registerer: failed}); err != nil {
		t.Errorf("after a New that failed the registry is not as before: %v", err)
	}
}

func TestRegisterers(t *testing.T) {
	serveOne := func(o *Observer) string {
		serve(o.Handler(http.NotFoundHandler()), get("/"))
		return scrape(t, o)
	}
	sample := `holdfast_requests_total{code="404"} 1`

	o, _ := newObserver(t, Config{})
	text := serveOne(o)
	wantSamples(t, text, sample)
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("an own registry lacks %s", name)
		}
	}

	reg := prometheus.NewRegistry()
	mine := prometheus.NewCounter(prometheus.CounterOpts{Name: "mine_total", Help: "mine"})
	if err := reg.Register(mine); err != nil {
		t.Fatal(err)
	}
	o, _ = newObserver(t, Config{Registerer: reg})
	text = serveOne(o)
	wantSamples(t, text, sample, "mine_total 0")
	if strings.Contains(text, "go_goroutines") {
		t.Error("a given registry has more than it was asked to take")
	}

	reg = prometheus.NewRegistry()
	o, _ = newObserver(t, Config{Registerer: prometheus.WrapRegistererWithPrefix("edge_", reg)})
	wantSamples(t, serveOne(o), sample)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range families {
		found = found || f.GetName() == "edge_holdfast_requests_total"
	}
	if !found {
		t.Errorf("the prefixed registry lacks the metrics: %v", families)
	}
}

func TestEventsBecomeMetrics(t *testing.T) {
	o, log := newObserver(t, Config{})
	ctx := context.Background()
	var phases failure.Timings
	phases[failure.PhaseConnect], phases[failure.PhaseWait], phases[failure.PhaseBody] = time.Second, 2*time.Second, time.Minute

	o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "shop", Endpoint: "a", Attempt: 1, Failure: failure.New(failure.ConnectionRefused, nil), Retry: true})
	o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "shop", Endpoint: "b", Attempt: 2, Status: 200, Phases: phases, Reused: true})
	o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "shop", Endpoint: "b", Attempt: 1, Phases: phases, Detail: "given up: a answered first"})
	o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "shop", Failure: failure.New(failure.NoEndpoint, nil)})
	o.Backend(ctx, backend.Event{Kind: backend.HealthChanged, Backend: "shop", Endpoint: "a", Detail: "500, want 200 to 399"})
	o.Backend(ctx, backend.Event{Kind: backend.TunnelClosed, Backend: "shop", Endpoint: "b"})
	o.Backend(ctx, backend.Event{Kind: backend.EndpointEjected, Backend: "shop", Endpoint: "a"})
	o.Backend(ctx, backend.Event{Kind: backend.EndpointEjected, Backend: "shop", Endpoint: "b", DryRun: true})
	o.Backend(ctx, backend.Event{Kind: backend.CheckDisputed, Backend: "shop", Endpoint: "a"})
	o.Backend(ctx, backend.Event{Kind: backend.ResolveFailed, Backend: "shop", Detail: "shop.example: timeout"})
	o.Backend(ctx, backend.Event{Kind: backend.AddressesChanged, Backend: "shop", Detail: "shop.example has 192.0.2.1"})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Changed, Name: "trip", From: breaker.Closed, To: breaker.Open, Reason: "ratio", Requests: 20, Failures: 11, LastCause: failure.ConnectionRefused, RetryAfter: 5 * time.Second})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Refused, Name: "trip", From: breaker.Open, To: breaker.Open})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Refused, Name: "trip", From: breaker.Open, To: breaker.Open, DryRun: true})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Changed, Name: "trip", From: breaker.HalfOpen, To: breaker.Closed, Share: 0.25})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Refused, Name: "trip", From: breaker.Closed, To: breaker.Closed, Share: 0.5})
	o.Breaker(ctx, breaker.Event{Kind: breaker.Changed, Name: "trip", From: breaker.Open, To: breaker.HalfOpen})
	o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "shop", Failure: failure.New(failure.Shed, nil)})
	o.Shed(ctx, ratelimit.ShedEvent{Kind: ratelimit.Shed, Name: "site", Priority: ratelimit.Critical, DryRun: true})
	o.Cache(ctx, cache.Event{Kind: cache.Served, Outcome: cache.Stale, Rung: failure.StaleIfError, Collapsed: true})
	o.Cache(ctx, cache.Event{Kind: cache.Served, Outcome: cache.Hit})
	o.Cache(ctx, cache.Event{Kind: cache.Served, Outcome: cache.Miss, Fwd: "vary-miss"})
	o.Cache(ctx, cache.Event{Kind: cache.Purged, Detail: "tag", Soft: true})
	o.Cache(ctx, cache.Event{Kind: cache.Served, Outcome: cache.Bypass, Fwd: "method"})
	o.Cache(ctx, cache.Event{Kind: cache.FillDone, Stored: true, Size: 1000, Bytes: 900, Followers: 3})
	o.Cache(ctx, cache.Event{Kind: cache.FillDone, NotStored: "set_cookie"})
	o.Cache(ctx, cache.Event{Kind: cache.FillDone, Failure: failure.New(failure.Truncated, nil)})
	o.RateLimit(ctx, ratelimit.Event{Kind: ratelimit.Allowed, Name: "client"})
	o.RateLimit(ctx, ratelimit.Event{Kind: ratelimit.Limited, Name: "client", Overflow: true, Unidentified: true})
	o.RateLimit(ctx, ratelimit.Event{Kind: ratelimit.Limited, Name: "login", Limit: "hourly", DryRun: true, Forwarded: true})
	o.RateLimit(ctx, ratelimit.Event{Kind: ratelimit.Left, Name: "login", Waited: 250 * time.Millisecond})
	o.ErrorPage(ctx, errorpage.Event{Kind: errorpage.Served, Status: 502, Format: "html"})
	o.ErrorPage(ctx, errorpage.Event{Kind: errorpage.Recovered, Failure: failure.New(failure.Panic, nil)})

	wantSamples(t, scrape(t, o),
		`holdfast_backend_attempts_total{backend="shop",endpoint="a",result="connection_refused"} 1`,
		`holdfast_backend_attempts_total{backend="shop",endpoint="b",result="ok"} 1`,
		`holdfast_backend_attempts_total{backend="shop",endpoint="b",result="given_up"} 1`,
		`holdfast_backend_attempts_total{backend="shop",endpoint="",result="no_endpoint"} 1`,
		`holdfast_backend_response_seconds_sum{backend="shop",endpoint="b"} 3`,
		`holdfast_backend_phase_seconds_total{backend="shop",endpoint="b",phase="body"} 120`,
		`holdfast_backend_retries_total{backend="shop",endpoint="a"} 1`,
		`holdfast_backend_reused_total{backend="shop",endpoint="b"} 1`,
		`holdfast_backend_endpoint_healthy{backend="shop",endpoint="a"} 0`,
		`holdfast_backend_endpoint_healthy{backend="shop",endpoint="b"} 1`,
		`holdfast_backend_tunnels_closed_total{backend="shop",endpoint="b"} 1`,
		`holdfast_backend_endpoint_ejected{backend="shop",endpoint="a"} 1`,
		`holdfast_backend_ejections_total{backend="shop",dry_run="false",endpoint="a"} 1`,
		`holdfast_backend_ejections_total{backend="shop",dry_run="true",endpoint="b"} 1`,
		`holdfast_backend_check_disputed{backend="shop",endpoint="a"} 1`,
		`holdfast_backend_resolve_failures_total{backend="shop"} 1`,
		`holdfast_breaker_phase{breaker="trip",dry_run="false",phase="closed"} 0`,
		`holdfast_breaker_phase{breaker="trip",dry_run="false",phase="open"} 0`,
		`holdfast_breaker_phase{breaker="trip",dry_run="false",phase="half_open"} 1`,
		`holdfast_breaker_changes_total{breaker="trip",dry_run="false",to="open"} 1`,
		`holdfast_breaker_refused_total{breaker="trip",dry_run="false",phase="open"} 1`,
		`holdfast_breaker_refused_total{breaker="trip",dry_run="true",phase="open"} 1`,
		`holdfast_breaker_refused_total{breaker="trip",dry_run="false",phase="closed"} 1`,
		`holdfast_shed_total{dry_run="false",limit="shop",priority="normal"} 1`,
		`holdfast_shed_total{dry_run="true",limit="site",priority="critical"} 1`,
		`holdfast_cache_requests_total{outcome="stale",rung="stale_if_error"} 1`,
		`holdfast_cache_requests_total{outcome="hit",rung="none"} 1`,
		`holdfast_cache_collapsed_total 1`,
		`holdfast_cache_misses_total{reason="vary-miss"} 1`,
		`holdfast_cache_followers_total 3`,
		`holdfast_cache_purges_total{of="tag",soft="true"} 1`,
		`holdfast_cache_fill_body_bytes_total 900`,
		`holdfast_cache_stored_body_bytes_sum 1000`,
		`holdfast_cache_stored_body_bytes_bucket{le="1024"} 1`,
		`holdfast_cache_fills_total{result="stored"} 1`,
		`holdfast_cache_fills_total{result="not_stored"} 1`,
		`holdfast_cache_not_stored_total{reason="set_cookie"} 1`,
		`holdfast_cache_fill_failures_total{cause="truncated"} 1`,
		`holdfast_ratelimit_decisions_total{decision="allowed",limiter="client"} 1`,
		`holdfast_ratelimit_decisions_total{decision="limited",limiter="client"} 1`,
		`holdfast_ratelimit_overflow_total{limiter="client"} 1`,
		`holdfast_ratelimit_decisions_total{decision="would_limit",limiter="login"} 1`,
		`holdfast_ratelimit_decisions_total{decision="left",limiter="login"} 1`,
		`holdfast_ratelimit_limited_total{dry_run="true",limit="hourly",limiter="login"} 1`,
		`holdfast_ratelimit_limited_total{dry_run="false",limit="",limiter="client"} 1`,
		`holdfast_ratelimit_delayed_total{limiter="login"} 1`,
		`holdfast_ratelimit_delay_seconds_total{limiter="login"} 0.25`,
		`holdfast_ratelimit_forwarded_total{limiter="login"} 1`,
		`holdfast_ratelimit_unidentified_total{limiter="client"} 1`,
		`holdfast_errorpage_served_total{code="502",format="html"} 1`,
		`holdfast_errorpage_panics_total 1`,
	)

	if got := log.one(t, "cache purged"); got["of"] != "tag" || got["soft"] != true {
		t.Errorf("line = %v", got)
	}
	if got := log.one(t, "endpoint down"); got["level"] != "WARN" || got["endpoint"] != "a" || got["detail"] != "500, want 200 to 399" {
		t.Errorf("line = %v", got)
	}
	if got := log.one(t, "name not resolved"); got["level"] != "WARN" || got["detail"] != "shop.example: timeout" || got["endpoint"] != nil {
		t.Errorf("line = %v", got)
	}
	if got := log.one(t, "addresses changed"); got["level"] != "INFO" || got["backend"] != "shop" {
		t.Errorf("line = %v", got)
	}
	changes := log.all(t, "breaker changed")
	if len(changes) != 3 || changes[0]["level"] != "WARN" || changes[0]["last_cause"] != "connection_refused" || changes[1]["level"] != "INFO" || changes[1]["share"] != 0.25 {
		t.Errorf("lines = %v", changes)
	}
	for message, want := range map[string][2]string{
		"would refuse": {"breaker", "trip"}, "would limit": {"limiter", "login"}, "would shed": {"limit", "site"},
	} {
		if got := log.one(t, message); got[want[0]] != want[1] || got["dry_run"] != true || got["level"] != "INFO" {
			t.Errorf("line = %v, want %s", got, want)
		}
	}
}

// What backends say of themselves is asked for when somebody looks.
func TestBackendStatus(t *testing.T) {
	o, _ := newObserver(t, Config{})
	st := backend.Status{
		Name: "shop", InFlight: 3, Queued: 2, RetriesLeft: -1, OutageSince: time.Now(),
		Endpoints: []backend.EndpointStatus{
			{Name: "a", InFlight: 1, Latency: backend.Latency{Answers: 9, P50: time.Second, P90: 2 * time.Second, P99: 3 * time.Second}},
			{Name: "b\xff"},
		},
	}
	status := func() backend.Status { return st }
	if err := o.BackendStatus(status); err != nil {
		t.Fatal(err)
	}
	wantSamples(t, scrape(t, o),
		`holdfast_backend_in_flight{backend="shop"} 3`,
		`holdfast_backend_queued{backend="shop"} 2`,
		`holdfast_backend_retries_left{backend="shop"} -1`,
		`holdfast_backend_outage{backend="shop"} 1`,
		`holdfast_backend_endpoint_in_flight{backend="shop",endpoint="a"} 1`,
		"holdfast_backend_endpoint_in_flight{backend=\"shop\",endpoint=\"b\uFFFD\"} 0",
		`holdfast_backend_endpoint_latency_seconds{backend="shop",endpoint="a",quantile="0.99"} 3`,
	)
	if st.OutageSince = (time.Time{}); !strings.Contains(scrape(t, o), `holdfast_backend_outage{backend="shop"} 0`) {
		t.Error("an outage that is over is still shown")
	}
	if err := o.BackendStatus(status); err == nil || !strings.Contains(err.Error(), `"shop"`) {
		t.Errorf("twice the same: %v", err)
	}
	if err := o.BackendStatus(nil); err == nil {
		t.Error("BackendStatus(nil): no error")
	}
	for i := 1; i < maxBackends; i++ {
		st.Name = strconv.Itoa(i)
		if err := o.BackendStatus(status); err != nil {
			t.Fatal(err)
		}
	}
	st.Name = "last"
	if err := o.BackendStatus(status); err == nil || !strings.Contains(err.Error(), "at most 100") {
		t.Errorf("one too many: %v", err)
	}
}

// What stores say of themselves is asked for when somebody looks.
func TestStores(t *testing.T) {
	o, _ := newObserver(t, Config{})
	st := cache.StoreStats{
		Entries: 1, EntryBytes: 2, EntryLimit: 3, FillBytes: 4, FillLimit: 5, Fills: 6, Evicted: 7, Expired: 8, Rejected: 9,
	}
	stats := func() cache.StoreStats { return st }
	for _, name := range []string{"main", "other\xff"} {
		if err := o.CacheStore(name, stats); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.CacheStore("main", stats); err == nil {
		t.Error("a second store of the same name is taken")
	}
	if err := o.CacheStore("none", nil); err == nil {
		t.Error("a store without a func is taken")
	}
	for i := range maxStores {
		if err := o.CacheStore(strconv.Itoa(i), stats); (err != nil) != (i >= maxStores-2) {
			t.Fatalf("store %d: %v", i, err)
		}
	}
	st.Entries = 10
	wantSamples(t, scrape(t, o),
		`holdfast_cache_store_entries{store="main"} 10`,
		`holdfast_cache_store_bytes{of="entries",store="main"} 2`,
		`holdfast_cache_store_limit_bytes{of="entries",store="main"} 3`,
		`holdfast_cache_store_bytes{of="fills",store="main"} 4`,
		`holdfast_cache_store_limit_bytes{of="fills",store="main"} 5`,
		`holdfast_cache_store_fills{store="main"} 6`,
		`holdfast_cache_store_evicted_total{store="main"} 7`,
		`holdfast_cache_store_expired_total{store="main"} 8`,
		`holdfast_cache_store_rejected_total{store="main"} 9`,
		"holdfast_cache_store_entries{store=\"other\uFFFD\"} 10",
	)
}

// Names that keep changing end in one common child.
func TestChildrenAreBounded(t *testing.T) {
	o, _ := newObserver(t, Config{})
	for i := range maxChildren + 50 {
		o.RateLimit(context.Background(), ratelimit.Event{Kind: ratelimit.Limited, Name: fmt.Sprintf("n%d", i)})
	}
	o.RateLimit(context.Background(), ratelimit.Event{Kind: ratelimit.Limited, Name: "n0"})
	text := scrape(t, o)
	wantSamples(t, text,
		`holdfast_ratelimit_decisions_total{decision="limited",limiter="n0"} 2`,
		`holdfast_ratelimit_decisions_total{decision="other",limiter="other"} 50`)
	if n := strings.Count(text, "\nholdfast_ratelimit_decisions_total{"); n != maxChildren+1 {
		t.Errorf("%d children, want %d", n, maxChildren+1)
	}
}

// A name from a configuration need not be UTF-8.
func TestLabelsAreCleaned(t *testing.T) {
	o, _ := newObserver(t, Config{})
	o.RateLimit(context.Background(), ratelimit.Event{Kind: ratelimit.Limited, Name: "a\xffb\n\""})
	wantSamples(t, scrape(t, o), `holdfast_ratelimit_decisions_total{decision="limited",limiter="a`+"\uFFFD"+`b\n\""} 1`)
}
