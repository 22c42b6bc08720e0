package cache

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPolicy(t *testing.T) {
	anyway := Decision{Store: StoreAnyway, TTL: time.Minute}
	for _, tt := range []struct {
		name     string
		decision Decision
		status   int
		headers  string // of the response
		request  string
		want     string // Cache-Status of a second request
	}{
		{"the origin's word", Decision{}, 200, "Cache-Control: max-age=9", "", "hit; ttl=9"},
		{"never", Decision{Store: StoreNever}, 200, "Cache-Control: max-age=9", "", "detail=policy"},
		{"a freshness of ours", Decision{TTL: time.Minute}, 200, "Cache-Control: max-age=9", "", "hit; ttl=60"},
		{"a freshness of ours, whatever the age", Decision{TTL: time.Minute}, 200, "Cache-Control: max-age=9\nAge: 100", "", "hit; ttl=60"},
		{"a freshness where there is none", Decision{TTL: time.Minute}, 200, "", "", "hit; ttl=60"},
		{"no freshness", Decision{TTL: -1}, 200, "Cache-Control: max-age=9", "", "fwd=stale"},
		{"a freshness against no-cache", Decision{TTL: time.Minute}, 200, "Cache-Control: no-cache\nEtag: \"e\"", "", "fwd=stale"},
		{"a freshness against no-store", Decision{TTL: time.Minute}, 200, "Cache-Control: no-store", "", "detail=no_store"},
		{"anyway, no-store", anyway, 200, "Cache-Control: no-store, no-cache, must-revalidate", "", "hit; ttl=60"},
		{"anyway, private", anyway, 200, "Cache-Control: private", "", "hit; ttl=60"},
		{"anyway, no freshness, odd status", anyway, 403, "", "", "hit; ttl=60"},
		{"anyway, Set-Cookie", anyway, 200, "Set-Cookie: a=b", "", "detail=set_cookie"},
		{"anyway, Vary: *", anyway, 200, "Vary: *", "", "detail=vary_star"},
		{"anyway, Authorization", anyway, 200, "Cache-Control: private", "Authorization: x", "detail=authorization"},
		{"anyway, Authorization, private though must-revalidate", anyway, 200, "Cache-Control: private, must-revalidate", "Authorization: x", "detail=authorization"},
		{"anyway, Authorization, public", anyway, 200, "Cache-Control: public, no-cache", "Authorization: x", "hit; ttl=60"},
		{"anyway, the request's no-store", anyway, 200, "Cache-Control: max-age=9", "Cache-Control: no-store", "detail=request_no_store"},
		{"anyway, an unknown status with must-understand", anyway, 299, "Cache-Control: must-understand, no-store", "", "detail=must_understand"},
		{"stale while revalidate", Decision{TTL: -1, StaleWhileRevalidate: time.Minute}, 200, "Cache-Control: max-age=9", "", "detail=refreshing"},
		{"not where it is forbidden", Decision{TTL: -1, StaleWhileRevalidate: time.Minute}, 200, "Cache-Control: max-age=9, must-revalidate", "", "fwd=stale"},
		{"anyway also there", Decision{Store: StoreAnyway, TTL: -1, StaleWhileRevalidate: time.Minute}, 200, "Cache-Control: max-age=9, no-cache", "", "detail=refreshing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				c := newCache(t, Config{Policy: func(r *http.Request, v ResponseView) Decision {
					asked.Add(1)
					if v.Status != tt.status || r.URL.Path != "/" {
						t.Errorf("Policy(%s, %d)", r.URL, v.Status)
					}
					v.Header.Set("X-Changed", "yes")
					return tt.decision
				}})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					for line := range strings.Lines(tt.headers) {
						name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
						w.Header().Set(name, value)
					}
					w.WriteHeader(tt.status)
				})
				h := c.Handler(o)
				request := []string{}
				if tt.request != "" {
					request = append(request, tt.request)
				}
				if a := do(h, "GET", "http://example.com/", request...); a.header.Get("X-Changed") != "" {
					t.Error("a policy changed the response")
				}
				settled(t, c)
				if n := asked.Load(); n != 1 {
					t.Errorf("Policy was asked %d times, want once", n)
				}
				if a := do(h, "GET", "http://example.com/", request...); !strings.Contains(a.cacheStatus(), tt.want) {
					t.Errorf("Cache-Status = %s, want %s", a.cacheStatus(), tt.want)
				}
				settled(t, c)
			})
		})
	}
}

// TestPolicyOnConfirmation: the policy is asked about the stored response with
// its fields updated, and may tag it anew.
func TestPolicyOnConfirmation(t *testing.T) {
	tag := "one"
	c := newCache(t, Config{Policy: func(_ *http.Request, v ResponseView) Decision {
		if v.Status != 200 || v.Header.Get("Etag") == "" {
			t.Errorf("Policy(%+v)", v)
		}
		return Decision{TTL: time.Minute, Tags: []string{tag}}
	}})
	o := newOrigin(page(200, "page", `Etag: "e"`, "Cache-Control: no-cache"))
	h := c.Handler(o)
	do(h, "GET", "http://example.com/")
	settled(t, c)
	tag = "two"
	o.set(page(304, "", `Etag: "e"`, "Cache-Control: max-age=9"))
	if a := do(h, "GET", "http://example.com/"); a.body != "page" || !strings.Contains(a.cacheStatus(), "fwd-status=304") {
		t.Fatalf("confirmed: %q %s", a.body, a.cacheStatus())
	}
	settled(t, c)
	e := c.Explain(httptest.NewRequest("GET", "http://example.com/", nil))
	if e.Stored == nil || e.Stored.Source != "policy" || strings.Join(e.Stored.Tags, " ") != "two" {
		t.Errorf("Explain() = %+v, %+v", e, e.Stored)
	}
}

// TestPolicyPanic: it is the fetch's failure, on whichever goroutine that runs,
// also where next recovers from panics.
func TestPolicyPanic(t *testing.T) {
	var bad atomic.Bool
	c := newCache(t, Config{Policy: func(*http.Request, ResponseView) Decision {
		if bad.Load() {
			panic("policy")
		}
		return Decision{}
	}})
	inner := page(200, "page", "Cache-Control: max-age=0, stale-if-error=60, stale-while-revalidate=0", "Etag: \"e\"")
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusTeapot)
			}
		}()
		inner(w, r)
	})
	h := c.Handler(o)
	bad.Store(true)
	if a := do(h, "GET", "http://example.com/"); a.err == nil || a.err.Error() != "panic: policy" {
		t.Errorf("a fetch on the request's goroutine: %d %v, want the panic", a.status, a.err)
	}
	settled(t, c)
	bad.Store(false)
	do(h, "GET", "http://example.com/")
	settled(t, c)
	bad.Store(true)
	if a := do(h, "GET", "http://example.com/"); a.body != "page" || !strings.Contains(a.cacheStatus(), "detail=panic") {
		t.Errorf("a detached refresh: %q %s, want the stale copy", a.body, a.cacheStatus())
	}
	settled(t, c)
}

func TestStatusTTL(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"404", page(404, "gone"), "hit; ttl=60"},
		{"its own freshness", page(404, "", "Cache-Control: max-age=9"), "hit; ttl=9"},
		{"its own Expires", page(404, "", "Expires: 0"), "fwd=stale"},
		{"a status that is not heuristically cacheable", page(403, ""), "hit; ttl=60"},
		{"no-store", page(404, "", "Cache-Control: no-store"), "detail=no_store"},
		{"private", page(404, "", "Cache-Control: private"), "detail=private"},
		{"no-cache", page(404, "", "Cache-Control: no-cache"), "detail=no_freshness"},
		{"Set-Cookie", page(404, "", "Set-Cookie: a=b"), "detail=set_cookie"},
		{"not listed", page(410, ""), "detail=no_freshness"},
		{"503", page(503, "down"), "hit; ttl=60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{StatusTTL: map[int]time.Duration{404: time.Minute, 403: time.Minute, 503: time.Minute}})
				h := c.Handler(tt.answer)
				do(h, "GET", "/")
				settled(t, c)
				if a := do(h, "GET", "/"); !strings.Contains(a.cacheStatus(), tt.want) {
					t.Errorf("Cache-Status = %s, want %s", a.cacheStatus(), tt.want)
				}
				settled(t, c)
			})
		})
	}
}

// TestStatusTTLOfErrors: a kept error replaces nothing that is good.
func TestStatusTTLOfErrors(t *testing.T) {
	c := newCache(t, Config{StatusTTL: map[int]time.Duration{503: time.Minute}})
	o := newOrigin(page(200, "good", "Cache-Control: max-age=1, stale-if-error=600", "Age: 2"))
	h := c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	o.set(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "down")
	})
	for range 2 {
		if a := do(h, "GET", "/"); a.body != "good" {
			t.Errorf("with the origin down: %d %q, want the good copy", a.status, a.body)
		}
		settled(t, c)
	}
}

func TestStatusTTLErrors(t *testing.T) {
	_, err := New(Config{
		StatusTTL: map[int]time.Duration{206: 1, 304: 1, 100: 1, 600: 1, 404: 0, 500: -1},
		Key: Key{
			QueryAllow: []string{"a*", ""}, QueryIgnore: []string{"*", "a*b", ""},
			Headers: []string{"a b", "cookie", "Host"}, Cookies: []string{""}, Unkeyed: []string{"Accept"},
		},
	})
	if err == nil {
		t.Fatal("New() = nil, want errors")
	}
	for _, want := range []string{
		"status 206", "status 304", "status 100", "status 600", "StatusTTL[404] is 0s", "StatusTTL[500] is -1ns",
		`QueryAllow has "a*"`, `QueryAllow has ""`, `QueryIgnore has "*"`, `QueryIgnore has "a*b"`, `QueryIgnore has ""`, "beside Config.Key.QueryAllow",
		`Headers has "a b"`, `Headers has "cookie"`, `Headers has "Host"`, `Cookies has ""`, `Unkeyed has "Accept"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New() = %v, want %s in it", err, want)
		}
	}
}

// TestPolicyInSnapshot: what the policy said of a response outlives a restart,
// but not the policy.
func TestPolicyInSnapshot(t *testing.T) {
	cfg := Config{Policy: func(*http.Request, ResponseView) Decision {
		return Decision{Store: StoreAnyway, TTL: time.Minute, Tags: []string{"t"}}
	}}
	before := newCache(t, cfg)
	do(before.Handler(page(200, "page", "Cache-Control: no-store")), "GET", "http://example.com/")
	settled(t, before)
	var b bytes.Buffer
	if err := before.Snapshot(&b); err != nil {
		t.Fatal(err)
	}
	after := newCache(t, cfg)
	if n, err := after.Restore(bytes.NewReader(b.Bytes())); n != 1 || err != nil {
		t.Fatalf("Restore() = %d, %v", n, err)
	}
	h := after.Handler(page(200, "new", "Cache-Control: no-store"))
	if a := do(h, "GET", "http://example.com/"); a.body != "page" || !strings.Contains(a.cacheStatus(), "; hit") {
		t.Errorf("restored: %q %s", a.body, a.cacheStatus())
	}
	_ = after.Purge(Purge{Tag: "t"})
	if a := do(h, "GET", "http://example.com/"); a.body != "new" {
		t.Errorf("after a purge of the tag: %q", a.body)
	}
	settled(t, after)
	if n, err := newCache(t, Config{}).Restore(bytes.NewReader(b.Bytes())); n != 0 || err != nil {
		t.Errorf("without the policy: Restore() = %d, %v, want 0", n, err)
	}
}

// TestPurgeBetweenSnapshotAndRestore: what was purged after a snapshot does not
// come back in the process that took it, whether it was still there or not.
func TestPurgeBetweenSnapshotAndRestore(t *testing.T) {
	for _, tt := range []struct {
		name  string
		purge func(c *Cache)
	}{
		{"by URL", func(c *Cache) { _ = c.Purge(Purge{URL: "http://example.com/a"}) }},
		{"by tag", func(c *Cache) { _ = c.Purge(Purge{Tag: "a"}) }},
		{"by prefix, softly", func(c *Cache) { _ = c.Purge(Purge{Prefix: "http://example.com/a", Soft: true}) }},
		{"of what was gone already", func(c *Cache) {
			rec := c.store.shelf.get([]byte(keyOf(c, "http://example.com/a")))
			c.store.shelf.del(rec)
			_ = c.Purge(Purge{URL: "http://example.com/a"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				page(200, "before", "Cache-Control: max-age=60", "Surrogate-Key: "+r.URL.Path[1:])(w, r)
			}))
			for _, path := range []string{"/a", "/b"} {
				do(h, "GET", "http://example.com"+path)
			}
			settled(t, c)
			var b bytes.Buffer
			if err := c.Snapshot(&b); err != nil {
				t.Fatal(err)
			}
			tt.purge(c)
			if rec := c.store.shelf.get([]byte(keyOf(c, "http://example.com/b"))); rec != nil {
				c.store.shelf.del(rec)
			}
			if rec := c.store.shelf.get([]byte(keyOf(c, "http://example.com/a"))); rec != nil {
				c.store.shelf.del(rec)
			}
			if _, err := c.Restore(&b); err != nil {
				t.Fatal(err)
			}
			if e := c.Explain(httptest.NewRequest("GET", "http://example.com/b", nil)); e.Action != "hit" {
				t.Errorf("what was not purged: %+v", e)
			}
			if e := c.Explain(httptest.NewRequest("GET", "http://example.com/a", nil)); e.Action == "hit" {
				t.Errorf("what was purged is back: %+v", e)
			}
		})
	}
}
