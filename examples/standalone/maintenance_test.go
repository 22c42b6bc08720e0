package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// planned is a site whose stored pages are fresh for an hour, or for a second, and
// which counts what it is asked for.
func planned(t *testing.T) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch {
		case strings.HasPrefix(r.URL.Path, "/hour"):
			w.Header().Set("Cache-Control", "max-age=3600")
		case strings.HasPrefix(r.URL.Path, "/second"):
			w.Header().Set("Cache-Control", "max-age=1")
		case strings.HasPrefix(r.URL.Path, "/strict"):
			w.Header().Set("Cache-Control", "max-age=1, must-revalidate")
		}
		fmt.Fprint(w, "the page ", r.URL.Path)
	}))
	t.Cleanup(origin.Close)
	return origin.URL, asked
}

// after asks until an answer is as wanted, and fails if that took longer than
// two seconds and what a busy machine takes for a request.
func after(t *testing.T, what string, ok func() bool) {
	t.Helper()
	began := time.Now()
	eventually(t, what, ok)
	if d := time.Since(began); d > 2*time.Second {
		t.Logf("%s: after %v", what, d)
		if d > 6*time.Second {
			t.Errorf("%s: after %v, want 2 s at most", what, d)
		}
	}
}

func TestMaintenanceFile(t *testing.T) {
	t.Parallel()
	origin, asked := planned(t)
	file := filepath.Join(t.TempDir(), "maintenance")
	p := start(t, "-backend", origin, "-maintenance-file", file)
	c := newClient(t)
	status := func(path string) int { return get(t, c, p.site+path).StatusCode }
	for _, path := range []string{"/hour", "/uncached"} {
		if s := status(path); s != http.StatusOK {
			t.Fatalf("%s: %d", path, s)
		}
	}
	end := time.Now().Add(time.Hour)
	if err := os.WriteFile(file, []byte(end.Format(time.RFC3339)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	after(t, "the page of maintenance", func() bool { return status("/uncached") == http.StatusServiceUnavailable })
	before := asked.Load()
	for _, path := range []string{"/hour", "/uncached", "/new"} {
		r := get(t, c, p.site+path, "Accept", "text/html")
		s, err := strconv.Atoi(r.Header.Get("Retry-After"))
		if left := int(time.Until(end) / time.Second); r.StatusCode != http.StatusServiceUnavailable || err != nil || s < left-1 || s > left+1 ||
			!strings.Contains(r.body, "<!doctype html>") || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %v %q, want the page with a Retry-After of %d", path, r.Status, r.Header, r.body, left)
		}
		if id := r.Header.Get("X-Request-Id"); id == "" || !strings.Contains(r.body, id) {
			t.Errorf("%s: the id %q is not on the page", path, id)
		}
	}
	if n := asked.Load(); n != before {
		t.Errorf("the site was asked %d times", n-before)
	}
	if r := get(t, c, p.admin+"/readyz"); r.StatusCode != http.StatusOK {
		t.Errorf("/readyz: %s, want 200: an instance in maintenance has a page to show", r.Status)
	}
	if text := get(t, c, p.admin+"/metrics").body; !strings.Contains(text, "\nholdfast_maintenance 1\n") || !strings.Contains(text, `holdfast_failures_total{cause="maintenance"`) {
		t.Errorf("the metrics do not tell of maintenance")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	after(t, "the site is back", func() bool { return status("/uncached") == http.StatusOK })
	for _, path := range []string{"/hour", "/new"} {
		if s := status(path); s != http.StatusOK {
			t.Errorf("%s: %d after the end", path, s)
		}
	}
	p.drained(t)
	for _, want := range []string{`msg="maintenance on" by=file`, "until=" + end.UTC().Format("2006-01-02"), `msg="maintenance off"`, "cause=maintenance"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("the log lacks %s", want)
		}
	}
}

// Inside of the cache what is stored goes on, fresh or stale, and the site is left
// alone.
func TestMaintenanceInside(t *testing.T) {
	t.Parallel()
	origin, asked := planned(t)
	file := filepath.Join(t.TempDir(), "maintenance")
	p := start(t, "-backend", origin, "-maintenance-file", file, "-maintenance-place", "inside")
	c := newClient(t)
	ask := func(path string) reply { return get(t, c, p.site+path, "Accept", "text/html") }
	stored := []string{"/hour", "/second", "/strict"}
	for _, path := range stored {
		if r := ask(path); r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, r.Status)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	after(t, "the page of maintenance", func() bool { return ask("/uncached").StatusCode == http.StatusServiceUnavailable })
	eventually(t, "what must be validated is stale", func() bool { return ask("/strict").StatusCode != http.StatusOK })
	eventually(t, "what may be stale is", func() bool { return strings.Contains(ask("/second").Header.Get("Cache-Status"), "detail=maintenance") })
	before := asked.Load()
	for range 3 {
		for _, path := range stored[:2] {
			if r := ask(path); r.StatusCode != http.StatusOK || r.body != "the page "+path || r.Header.Get("Retry-After") != "" {
				t.Errorf("%s: %s %q %v, want what is stored", path, r.Status, r.body, r.Header)
			}
		}
		for _, path := range []string{"/strict", "/new", "/uncached"} {
			if r := ask(path); r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.body, "<!doctype html>") || r.Header.Get("Retry-After") != "" {
				t.Errorf("%s: %s %q, want the page", path, r.Status, r.body)
			}
		}
		if r := post(t, c, p.site+"/order"); r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("POST: %s", r.Status)
		}
	}
	if n := asked.Load(); n != before {
		t.Errorf("the site was asked %d times", n-before)
	}
	if served, failed := p.sum(t, "holdfast_errorpage_served_total"), p.sum(t, "holdfast_failures_total", `cause="maintenance"`, `rung="unmended"`); served == 0 || served != failed {
		t.Errorf("%v pages were told of, and %v failures: want one for each", served, failed)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	after(t, "the site is back", func() bool { return ask("/uncached").StatusCode == http.StatusOK })
	for _, path := range []string{"/strict", "/new", "/second", "/hour"} {
		if r := ask(path); r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s after the end", path, r.Status)
		}
	}
}

// By default the site's own error pages pass; with -intercept-5xx they don't.
func TestIntercept5xxFlag(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Retry-After", "30")
		h.Set("Set-Cookie", "session=secret")
		h.Set("Access-Control-Allow-Origin", "https://app.example")
		h.Set("X-Powered-By", "something old")
		status, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		http.Error(w, "its own words", status)
	}))
	t.Cleanup(origin.Close)
	c := newClient(t)
	for _, on := range []bool{false, true} {
		p := start(t, "-backend", origin.URL, "-intercept-5xx="+strconv.FormatBool(on), "-retries", "0")
		for _, status := range []int{404, 500, 503} {
			r := get(t, c, fmt.Sprint(p.site, "/", status), "Accept", "text/html")
			page := on && status >= 500
			if r.StatusCode != status || strings.Contains(r.body, "<!doctype html>") != page || strings.Contains(r.body, "its own words") == page ||
				(r.Header.Get("Set-Cookie") == "") != page || (r.Header.Get("X-Powered-By") == "") != page ||
				r.Header.Get("Retry-After") != "30" || r.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Errorf("intercept %v, %d: %s %v %q", on, status, r.Status, r.Header, r.body)
			}
		}
	}
}

// A replaced answer that never ends keeps neither the connection nor the origin
// busy, and nobody takes the visitor for gone.
func TestInterceptEndlessAnswer(t *testing.T) {
	t.Parallel()
	left := make(chan struct{}, 100)
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { left <- struct{}{} }()
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusServiceUnavailable)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := fmt.Fprint(w, "data: still here\n\n"); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(origin.Close)
	p := start(t, "-backend", origin.URL, "-intercept-5xx", "-retries", "0")
	c := newClient(t)
	for i := range 2 {
		r := get(t, c, fmt.Sprint(p.site, "/events/", i), "Accept", "text/html")
		if r.StatusCode != http.StatusServiceUnavailable || !strings.Contains(r.body, "<!doctype html>") {
			t.Errorf("%s %q, want the page", r.Status, r.body)
		}
		select {
		case <-left:
		case <-time.After(patience):
			t.Fatal("the origin goes on")
		}
	}
	if n := p.sum(t, "holdfast_failures_total", `cause="upstream_5xx"`, `rung="unmended"`); n != 2 {
		t.Errorf("%v failures of the site, want 2", n)
	}
	if text := get(t, c, p.admin+"/metrics").body; !strings.Contains(text, "\nholdfast_client_gone_total 0\n") {
		t.Error("the visitor is taken for gone")
	}
}
