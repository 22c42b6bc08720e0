package cache

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

func TestTargets(t *testing.T) { // RFC 9213
	for _, tt := range []struct {
		targets []string
		headers []string
		hit     bool
	}{
		{nil, []string{"CDN-Cache-Control: max-age=60", "Cache-Control: no-store"}, true},
		{nil, []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=60"}, false},
		{nil, []string{"Edge-Cache-Control: no-store", "Cache-Control: max-age=60"}, true},
		{[]string{}, []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=60"}, true},
		{[]string{"edge-cache-control", "CDN-Cache-Control"}, []string{"CDN-Cache-Control: max-age=60", "Edge-Cache-Control: no-store"}, false},
		{[]string{"edge-cache-control", "CDN-Cache-Control"}, []string{"CDN-Cache-Control: max-age=60", "Edge-Cache-Control: No-Store"}, true},
	} {
		c := newCache(t, Config{Targets: tt.targets})
		h := c.Handler(page(200, "body", tt.headers...))
		first := do(h, "GET", "/")
		settled(t, c)
		a := do(h, "GET", "/")
		if hit := strings.Contains(a.cacheStatus(), "hit"); hit != tt.hit {
			t.Errorf("targets %q, %q: hit = %v, want %v", tt.targets, tt.headers, hit, tt.hit)
		}
		for _, line := range tt.headers {
			name, value, _ := strings.Cut(line, ": ")
			if first.header.Get(name) != value || a.header.Get(name) != value {
				t.Errorf("targets %q: %s is %q and %q downstream, want %q", tt.targets, name, first.header.Get(name), a.header.Get(name), value)
			}
		}
	}
	_, err := New(Config{Targets: []string{"Edge-Cache-Control", "a b", "cache-control", "edge-cache-control", ""}})
	if err == nil {
		t.Fatal("New() = nil, want errors")
	}
	for _, want := range []string{`Targets has "a b"`, `Targets has "cache-control"`, `Targets has "edge-cache-control" twice`, `Targets has ""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, want it to name %s", err, want)
		}
	}
}

// TestValidationIsNotForAll: a cookie that comes with a 304 is for whoever asked;
// the response stays shared (RFC 9111 section 7.3).
func TestValidationIsNotForAll(t *testing.T) {
	c := newCache(t, Config{StaleIfError: -1})
	o := newOrigin(page(200, "body", "Cache-Control: max-age=0, must-revalidate", `Etag: "a"`))
	h := c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	o.set(page(304, "", "Cache-Control: max-age=60", `Etag: "a"`, "Set-Cookie: id=1", "X-A: 2"))
	if a := do(h, "GET", "/"); a.status != 200 || a.body != "body" || a.header.Get("Set-Cookie") != "id=1" || a.header.Get("X-A") != "2" {
		t.Errorf("who asked got %d %q %q", a.status, a.body, a.header)
	}
	settled(t, c)
	if a := do(h, "GET", "/"); !strings.Contains(a.cacheStatus(), "hit") || a.header.Get("Set-Cookie") != "" || a.header.Get("X-A") != "2" {
		t.Errorf("the next got %q: want a hit without the cookie", a.header)
	}
}

// TestConfirmedAndWithdrawn: what a 304 says is no longer to be stored is not used
// when the origin fails (RFC 9111 section 3.2).
func TestConfirmedAndWithdrawn(t *testing.T) {
	for _, cc := range []string{"no-store", "private"} {
		t.Run(cc, func(t *testing.T) {
			c := newCache(t, Config{RetryStale: -1})
			o := newOrigin(page(200, "body", "Cache-Control: max-age=1", "Age: 1", `Etag: "a"`))
			h := c.Handler(o)
			do(h, "GET", "/")
			settled(t, c)
			o.set(page(304, "", "Cache-Control: "+cc, `Etag: "a"`))
			if a := do(h, "GET", "/"); a.status != 200 || a.body != "body" {
				t.Errorf("%d %q, want what was confirmed", a.status, a.body)
			}
			settled(t, c)
			o.set(page(503, "down"))
			if a := do(h, "GET", "/"); a.status != 503 {
				t.Errorf("%d %q, want the origin's failure", a.status, a.body)
			}
		})
	}
}

// TestDateIsMade: RFC 9110 section 6.6.1.
func TestDateIsMade(t *testing.T) {
	for _, headers := range [][]string{nil, {"Date: now"}, {"Date: "}} {
		c := newCache(t, Config{})
		h := c.Handler(page(200, "body", append(headers, "Cache-Control: max-age=60")...))
		do(h, "GET", "/")
		settled(t, c)
		a := do(h, "GET", "/")
		if _, ok := semantics.ParseDate(a.header.Get("Date")); !ok || len(a.header["Date"]) != 1 {
			t.Errorf("%q: a hit has Date: %q", headers, a.header["Date"])
		}
	}
}

// TestInterimResponsesAreNotStored: RFC 9110 section 15.2, RFC 8297.
func TestInterimResponsesAreNotStored(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		out := w.Header()
		for _, status := range []int{102, 103, 103} {
			out.Set("Cache-Control", "max-age=600, public")
			out.Set("Etag", `"interim"`)
			out.Set("Link", "</a.css>; rel=preload")
			out.Set("Set-Cookie", "a=b")
			w.WriteHeader(status)
			clear(out)
		}
		page(200, "final", "Cache-Control: max-age=60", "X-Final: 1")(w, r)
	})
	h := c.Handler(o)
	s := serve(t, h)
	for i, want := range []string{"fwd=uri-miss", "hit"} {
		a := get(t, s.URL)
		if a.status != 200 || a.body != "final" || a.header.Get("X-Final") != "1" || !strings.Contains(a.cacheStatus(), want) {
			t.Errorf("%d: %d %q %q, want %s", i, a.status, a.body, a.cacheStatus(), want)
		}
		for _, name := range []string{"Etag", "Link", "Set-Cookie"} {
			if v := a.header.Get(name); v != "" {
				t.Errorf("%d: the final response has %s: %s of an interim one", i, name, v)
			}
		}
		if a.header.Get("Cache-Control") != "max-age=60" {
			t.Errorf("%d: Cache-Control = %q", i, a.header.Get("Cache-Control"))
		}
		settled(t, c)
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestUnknownStatusesAreStored: with explicit freshness (RFC 9111 section 3).
func TestUnknownStatusesAreStored(t *testing.T) {
	for _, status := range []int{299, 302, 399, 418, 499, 500, 503, 504, 599} {
		c := newCache(t, Config{})
		o := newOrigin(page(status, "body", "Cache-Control: max-age=60", "X-A: 1"))
		h := c.Handler(o)
		do(h, "GET", "/")
		settled(t, c)
		a := do(h, "GET", "/")
		if a.status != status || a.body != "body" || a.header.Get("X-A") != "1" || o.calls.Load() != 1 {
			t.Errorf("%d: got %d %q after %d fetches, want a hit", status, a.status, a.body, o.calls.Load())
		}
	}
}
