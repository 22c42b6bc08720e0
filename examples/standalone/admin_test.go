package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/porttest"
)

// Readiness does not follow the origin: a proxy whose origin is down still has what
// it stored.
func TestAdmin(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write([]byte("page"))
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL, "-health", "/")
	c := newClient(t)
	if r := get(t, c, p.site+"/stored"); r.StatusCode != http.StatusOK {
		t.Fatalf("/stored = %s", r.Status)
	}

	if r := get(t, c, p.admin+"/healthz"); r.StatusCode != http.StatusOK || r.body != "ok\n" {
		t.Errorf("/healthz = %s %q", r.Status, r.body)
	}
	if r := get(t, c, p.admin+"/readyz"); r.StatusCode != http.StatusOK || !strings.HasPrefix(r.body, "ready\nendpoint "+hostOf(t, origin.URL)+": healthy") {
		t.Errorf("/readyz = %s %q", r.Status, r.body)
	}
	if r := get(t, c, p.admin+"/metrics"); r.StatusCode != http.StatusOK || !strings.Contains(r.body, `holdfast_cache_store_limit_bytes{of="entries",store="site"} `) {
		t.Errorf("/metrics = %s %q", r.Status, tail(r.body, 200))
	}
	for _, path := range []string{"/", "/debug/pprof/", "/healthz/", "/readyz/x", "/stored"} {
		if r := get(t, c, p.admin+path); r.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the admin listener = %s", path, r.Status)
		}
	}
	if r := post(t, c, p.admin+"/readyz"); r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /readyz = %s", r.Status)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} { // are the origin's, on the public listener
		if r := get(t, c, p.site+path); r.body != "page" {
			t.Errorf("%s on the public listener = %s %q", path, r.Status, r.body)
		}
	}

	origin.Close()
	porttest.Hold(t, hostOf(t, origin.URL))
	eventually(t, "/readyz tells of the check", func() bool {
		r := get(t, c, p.admin+"/readyz")
		if r.StatusCode != http.StatusOK {
			t.Fatalf("/readyz = %s %q, but what is stored can still be served", r.Status, r.body)
		}
		return strings.Contains(r.body, "down, endpoint_down: ") && strings.Contains(r.body, "no endpoint is up")
	})
	if r := get(t, c, p.site+"/stored"); r.StatusCode != http.StatusOK || !strings.Contains(r.Header.Get("Cache-Status"), "; hit") {
		t.Errorf("/stored = %s, Cache-Status %q", r.Status, r.Header.Get("Cache-Status"))
	}
	p.drained(t)
}

// Two proxies that each take the other for the site: an answer comes at once.
func TestLoop(t *testing.T) {
	a, b := freeAddr(t), freeAddr(t)
	first := start(t, "-listen", a, "-backend", "http://"+b)
	second := start(t, "-listen", b, "-backend", "http://"+a)
	began := time.Now()
	for _, headers := range [][]string{nil, {"Cdn-Loop", "other; v=1"}, {"Authorization", "Basic eDp5"}} {
		r := get(t, newClient(t), first.site+"/", headers...)
		if r.StatusCode != http.StatusBadGateway {
			t.Errorf("with %q: %s %q", headers, r.Status, r.Header)
		}
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v: the request waited for itself", d)
	}
	second.drained(t)
	first.drained(t)
	if !strings.Contains(first.stderr.String(), "cause=loop") {
		t.Error("the log does not name the cause")
	}
}

// With a rate, and several endpoints behind a gate each.
func TestRateAndEndpoints(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(r.Host + " " + r.Header.Get("X-Forwarded-For")))
	})
	a, b := httptest.NewServer(page), httptest.NewServer(page)
	defer a.Close()
	defer b.Close()
	p := start(t, "-backend", a.URL, "-backend", b.URL, "-rate", "1/m", "-burst", "4")
	c := newClient(t)
	a.Close() // one endpoint is gone: nobody notices
	for i := range 4 {
		r := get(t, c, p.site+"/", "X-Forwarded-For", "192.0.2.1")
		if want := hostOf(t, p.site) + " 127.0.0.1"; r.StatusCode != http.StatusOK || r.body != want {
			t.Errorf("request %d = %s %q, want %q", i, r.Status, r.body, want)
		}
	}
	r := get(t, c, p.site+"/", "X-Forwarded-For", "192.0.2.77")
	if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" ||
		!strings.Contains(r.Header.Get("Proxy-Status"), "cause=rate_limited") {
		t.Errorf("over the limit = %s %q", r.Status, r.Header)
	}
	ready := get(t, c, p.admin+"/readyz")
	for _, want := range []string{"endpoint " + hostOf(t, a.URL), "endpoint " + hostOf(t, b.URL), "breaker " + hostOf(t, a.URL) + ": closed"} {
		if !strings.Contains(ready.body, want) {
			t.Errorf("/readyz lacks %q:\n%s", want, ready.body)
		}
	}
	p.drained(t)
}
