package backend

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// keys lists the names in a JSON object, those of objects within it after a dot.
func keys(t *testing.T, data []byte) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	var names []string
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, one := range v {
				names = append(names, prefix+name)
				walk(prefix+name+".", one)
			}
		case []any:
			if len(v) > 0 {
				walk(prefix, v[0])
			}
		}
	}
	walk("", v)
	slices.Sort(names)
	return names
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := trio(t, Config{Name: "shop", RetryBudget: -1})
		eps := b.now().endpoints
		time.Sleep(time.Minute)
		settleAs(b, eps[0], nil)
		settleAs(b, eps[0], &failure.Error{Cause: failure.ClientGone})
		settleAs(b, eps[0], &failure.Error{Cause: failure.FirstByteTimeout})
		for range 3 {
			settleAs(b, eps[0], refused())
		}
		eps[0].latency.record(time.Since(b.began), 1500*time.Microsecond)
		b.recordHealth(eps[0], Probe{At: time.Now(), OK: true, Took: 2500 * time.Microsecond, Detail: "GET /: 200 OK"})
		for range 2 {
			b.recordHealth(eps[1], Probe{At: time.Now(), Detail: "GET /: 500 Internal Server Error, wanted 200-399"})
		}
		if err := b.Steer("c", Drain); err != nil {
			t.Fatal(err)
		}

		s := b.Status()
		if s.Name != "shop" || s.ID != b.ID() || s.RetriesLeft != -1 || len(s.Endpoints) != 3 || !s.OutageSince.IsZero() {
			t.Errorf("status = %+v", s)
		}
		one := s.Endpoints[0]
		if one.State != "probation" || one.Reason != failure.EndpointEjected || !one.Healthy || one.Weight != 1 {
			t.Errorf("state = %q, reason %v, want probation (its check was good), endpoint_ejected", one.State, one.Reason)
		}
		if l := one.Live; l.Attempts != 6 || l.Failures != 5 || l.Causes[0] != (CauseCount{failure.ConnectionRefused, 3}) || len(l.Causes) != 3 ||
			!l.LastFailure.Equal(time.Now()) {
			t.Errorf("live = %+v", l)
		}
		if e := one.Ejection; e == nil || !e.Active || e.Times != 1 || e.Length != 10*time.Second || e.Cause != failure.ConnectionRefused {
			t.Errorf("ejection = %+v", e)
		}
		if len(one.Checks) != 1 || one.Latency.Answers != 1 {
			t.Errorf("checks = %+v, latency = %+v, want one of each", one.Checks, one.Latency)
		}
		if two := s.Endpoints[1]; two.State != "down" || two.Healthy || two.Reason != failure.EndpointDown || !strings.Contains(two.Detail, "wanted 200-399") {
			t.Errorf("the second is %+v, want down", two)
		}
		if three := s.Endpoints[2]; three.State != "drain" || !three.Drained || three.Ejection != nil {
			t.Errorf("the third is %+v, want drained", three)
		}

		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		const e = "endpoints."
		want := []string{
			"available", "endpoints", e + "backup", e + "checks", e + "checks.at", e + "checks.detail", e + "checks.ok", e + "checks.tookMs", e + "detail",
			e + "drained", e + "ejection", e + "ejection.active", e + "ejection.cause", e + "ejection.detail", e + "ejection.lengthMs",
			e + "ejection.since", e + "ejection.times", e + "ejection.until", e + "healthy", e + "inFlight", e + "latency", e + "latency.answers",
			e + "latency.fastestMs", e + "latency.p50Ms", e + "latency.p90Ms", e + "latency.p95Ms", e + "latency.p99Ms", e + "live",
			e + "live.attempts", e + "live.causes", e + "live.causes.cause", e + "live.causes.count", e + "live.failures", e + "live.lastFailure",
			e + "live.lastSuccess", e + "live.recentFailures", e + "live.recentSuccesses", e + "name", e + "reason", e + "since", e + "state",
			e + "steering", e + "weight", e + "wrongCheck", "id", "inFlight", "name", "queued", "retriesLeft",
		}
		slices.Sort(want)
		if got := keys(t, data); !slices.Equal(got, want) {
			t.Errorf("names = %q, want %q", got, want)
		}
		for _, part := range []string{`"tookMs":2.5`, `"reason":"endpoint_ejected"`, `"steering":"drain"`, `"lengthMs":10000`, `"fastestMs":1.5`, `"cause":"connection_refused"`} {
			if !strings.Contains(string(data), part) {
				t.Errorf("JSON = %s, want %s in it", data, part)
			}
		}
	})
}

// A check that is wrong takes nothing from visitors, and the status says so.
func TestStatusWrongCheck(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "page")
	})
	seen := new(recorder)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: h, Name: "a"}}, Observe: seen.observe,
		Health: Health{Path: "/healthz", Interval: 5 * time.Millisecond},
	})
	await(t, "the check took it down", func() bool { return !b.Endpoints()[0].Healthy })
	for i := range 10 {
		if status := ask(b, http.MethodGet); status != 200 {
			t.Fatalf("request %d: %d, want 200: the check is wrong", i, status)
		}
	}
	await(t, "the check failed again", func() bool { return b.Endpoints()[0].WrongCheck })
	s := b.Endpoints()[0]
	if s.Healthy || !strings.HasPrefix(s.Detail, "the check is wrong: live traffic has been answered 10 times") ||
		!strings.HasSuffix(s.Detail, "GET /healthz: 404 Not Found, wanted 200-399") {
		t.Errorf("status = %+v, want a wrong check", s)
	}
	if n := len(seen.of(CheckDisputed)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

func TestStatusOfOutage(t *testing.T) {
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: new(switched)}}})
	if s := b.Status(); !s.OutageSince.IsZero() || !s.Available || s.Endpoints[0].State != "up" || s.RetriesLeft != 3 {
		t.Errorf("status = %+v, want all well and three retries left", s)
	}
	b.outage.since.Store(b.clock(time.Now()))
	if s := b.Status(); s.OutageSince.IsZero() || time.Since(s.OutageSince) > time.Hour {
		t.Errorf("outage since %v, want this moment", s.OutageSince)
	}
	b.outage.over()
}
