package cache

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestMissThenHit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newCache(t, Config{Observe: rec.observe})
		o := newOrigin(page(200, "hello", "Cache-Control: max-age=60", "X-Test: a"))
		h := c.Handler(o)

		a := do(h, "GET", "http://example.com/")
		if want := "holdfast; fwd=uri-miss; fwd-status=200; ttl=60; stored"; a.status != 200 || a.body != "hello" || a.cacheStatus() != want {
			t.Fatalf("miss = %d %q %q, want 200 hello %q", a.status, a.body, a.cacheStatus(), want)
		}
		if got := a.header.Get("Content-Length"); got != "5" {
			t.Errorf("Content-Length of the miss = %q, want 5", got)
		}
		ev := rec.last(Served)
		if ev.Outcome != Miss || !ev.Stored || ev.FillID == "" || ev.FillID != rec.last(FillDone).FillID || ev.Bytes != 5 {
			t.Errorf("event of the miss = %+v", ev)
		}
		settled(t, c)
		a = do(h, "GET", "http://example.com/")
		if want := "holdfast; hit; ttl=60"; a.status != 200 || a.body != "hello" || a.cacheStatus() != want {
			t.Fatalf("hit = %d %q %q, want 200 hello %q", a.status, a.body, a.cacheStatus(), want)
		}
		if a.header.Get("Age") != "0" || a.header.Get("X-Test") != "a" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("Date") == "" {
			t.Errorf("header of the hit = %v", a.header)
		}
		if a := do(h, "HEAD", "http://example.com/"); a.status != 200 || a.body != "" || a.header.Get("Content-Length") != "5" {
			t.Errorf("HEAD = %d %q %v, want 200 without body", a.status, a.body, a.header)
		}
		if n := o.calls.Load(); n != 1 {
			t.Errorf("next was called %d times, want 1", n)
		}
		if got := rec.last(Served).Outcome; got != Hit {
			t.Errorf("outcome = %v, want hit", got)
		}
	})
}

func TestForwarded(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		header       string
		body         string
		want         string
	}{
		{"unsafe", "POST", "", "", "holdfast; fwd=method; fwd-status=200"},
		{"options", "OPTIONS", "", "", "holdfast; fwd=method; fwd-status=200"},
		{"a GET with a body", "GET", "", "x", "holdfast; fwd=bypass; fwd-status=200"},
		{"HEAD miss", "HEAD", "", "", "holdfast; fwd=uri-miss; fwd-status=200"},
		{"upgrade", "GET", "Connection: keep-alive, Upgrade", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(page(200, "hello", "Cache-Control: max-age=60"))
			h := c.Handler(o)
			for range 2 {
				r := httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
				if name, value, ok := strings.Cut(tt.header, ": "); ok {
					r.Header.Set(name, value)
				}
				if tt.name == "upgrade" {
					r.Header.Set("Upgrade", "websocket")
				}
				if a := doRequest(h, r); a.status != 200 || a.cacheStatus() != tt.want {
					t.Errorf("%s = %d %q, want 200 %q", tt.method, a.status, a.cacheStatus(), tt.want)
				}
				settled(t, c)
			}
			if n := o.calls.Load(); n != 2 {
				t.Errorf("next was called %d times, want 2", n)
			}
		})
	}
}

// TestOfferOfHTTP2IsNoUpgrade: curl offers h2c with every request if it may.
func TestOfferOfHTTP2IsNoUpgrade(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(page(200, "hello", "Cache-Control: max-age=60"))
	h := c.Handler(o)
	offer := []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"}
	do(h, "GET", "/", offer...)
	settled(t, c)
	if a := do(h, "GET", "/", offer...); !strings.Contains(a.cacheStatus(), "; hit; ttl=") || o.calls.Load() != 1 {
		t.Errorf("second = %q after %d fetches, want a hit", a.cacheStatus(), o.calls.Load())
	}
}

// TestLadder goes down the rungs in order, on a virtual clock.
func TestLadder(t *testing.T) {
	refused := &failure.Error{Cause: failure.ConnectionRefused, Attempts: 1}
	open := &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 7 * time.Second}
	for _, tt := range []struct {
		name    string
		cfg     Config
		fresh   string // Cache-Control of the stored response
		after   time.Duration
		then    http.HandlerFunc
		request string
		status  int
		body    string
		want    string
		rung    failure.Rung
		cause   failure.Cause
	}{
		{"fresh", Config{}, "max-age=60", 59 * time.Second, failing(refused), "", 200, "old", "holdfast; hit; ttl=1", failure.Unmended, 0},
		{"refreshed", Config{}, "max-age=60", time.Minute + time.Second, page(200, "new", "Cache-Control: max-age=60"), "", 200, "new", "holdfast; fwd=stale; fwd-status=200; ttl=60; stored", failure.Unmended, 0},
		{"stale-while-revalidate", Config{}, "max-age=60, stale-while-revalidate=30", 70 * time.Second, failing(refused), "", 200, "old", "holdfast; hit; ttl=-10; detail=refreshing", failure.StaleRefreshing, 0},
		{"stale-if-error", Config{}, "max-age=60", 70 * time.Second, failing(refused), "", 200, "old", "holdfast; fwd=stale; ttl=-10; detail=connection_refused", failure.StaleIfError, failure.ConnectionRefused},
		{"stale without an attempt", Config{}, "max-age=60", 70 * time.Second, failing(open), "", 200, "old", "holdfast; hit; ttl=-10; detail=breaker_open", failure.StaleNoAttempt, failure.BreakerOpen},
		{"a 5xx of a foreign handler", Config{}, "max-age=60", 70 * time.Second, page(503, "down"), "", 200, "old", "holdfast; fwd=stale; fwd-status=503; ttl=-10; detail=upstream_5xx", failure.StaleIfError, failure.Upstream5xx},
		{"a storable 5xx does not replace it", Config{}, "max-age=60", 70 * time.Second, page(503, "down", "Cache-Control: max-age=60"), "", 200, "old", "holdfast; fwd=stale; fwd-status=503; ttl=-10; detail=upstream_5xx", failure.StaleIfError, failure.Upstream5xx},
		{"a panic", Config{}, "max-age=60", 70 * time.Second, func(http.ResponseWriter, *http.Request) { panic("oops") }, "", 200, "old", "holdfast; fwd=stale; ttl=-10; detail=panic", failure.StaleIfError, failure.Panic},
		{"a broken body", Config{}, "max-age=60", 70 * time.Second, page(200, "new", "Cache-Control: max-age=60", "Content-Length: 10"), "", 200, "old", "holdfast; fwd=stale; fwd-status=200; ttl=-10; detail=truncated", failure.StaleIfError, failure.Truncated},
		{"an aborted body", Config{}, "max-age=60", 70 * time.Second, func(w http.ResponseWriter, r *http.Request) {
			page(200, strings.Repeat("x", 5000), "Cache-Control: max-age=60")(w, r)
			panic(http.ErrAbortHandler)
		}, "", 200, "old", "holdfast; fwd=stale; fwd-status=200; ttl=-10; detail=handler_abort", failure.StaleIfError, failure.HandlerAbort},
		{"stale-on-slow", Config{StaleIfSlow: time.Second}, "max-age=60", 70 * time.Second, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			page(200, "new", "Cache-Control: max-age=60")(w, r)
		}, "", 200, "old", "holdfast; fwd=stale; ttl=-11; detail=stale_on_slow", failure.StaleOnSlow, 0},
		{"not slow enough", Config{StaleIfSlow: 6 * time.Second}, "max-age=60", 70 * time.Second, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			page(200, "new", "Cache-Control: max-age=60")(w, r)
		}, "", 200, "new", "holdfast; fwd=stale; fwd-status=200; ttl=55; stored", failure.Unmended, 0},
		{"a refresh that hangs", Config{}, "max-age=60", 70 * time.Second, func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, "", 200, "old", "holdfast; fwd=stale; ttl=-70; detail=total_deadline", failure.StaleIfError, failure.TotalDeadline},
		{"stale-if-error is over", Config{StaleIfError: time.Minute}, "max-age=60", 121 * time.Second, failing(refused), "", 502, "502 Bad Gateway\n", "holdfast; fwd=stale; detail=connection_refused", failure.Unmended, failure.ConnectionRefused},
		{"stale-if-error is off", Config{StaleIfError: -1}, "max-age=60", 61 * time.Second, failing(refused), "", 502, "502 Bad Gateway\n", "holdfast; fwd=stale; detail=connection_refused", failure.Unmended, failure.ConnectionRefused},
		{"the origin's stale-if-error", Config{StaleIfError: -1}, "max-age=60, stale-if-error=30", 70 * time.Second, failing(refused), "", 200, "old", "holdfast; fwd=stale; ttl=-10; detail=connection_refused", failure.StaleIfError, failure.ConnectionRefused},
		{"must-revalidate", Config{}, "max-age=60, must-revalidate", 70 * time.Second, failing(refused), "", 504, "504 Gateway Timeout\n", "holdfast; fwd=stale; detail=connection_refused", failure.Unmended, failure.ConnectionRefused},
		{"must-revalidate, the origin's own answer", Config{}, "max-age=60, must-revalidate", 70 * time.Second, page(500, "own"), "", 500, "own", "holdfast; fwd=stale; fwd-status=500; detail=upstream_5xx", failure.Unmended, 0},
		{"gone", Config{}, "max-age=60", 70 * time.Second, page(404, "gone"), "", 404, "gone", "holdfast; fwd=stale; fwd-status=404; detail=no_freshness", failure.Unmended, 0},
		{"a reload during an outage", Config{}, "max-age=60", 10 * time.Second, failing(refused), "Cache-Control: no-cache", 200, "old", "holdfast; fwd=stale; ttl=50; detail=connection_refused", failure.StaleIfError, failure.ConnectionRefused},
		{"only-if-cached", Config{}, "max-age=60", 70 * time.Second, failing(refused), "Cache-Control: only-if-cached", 504, "504 Gateway Timeout\n", "holdfast; detail=only_if_cached", failure.Unmended, failure.OnlyIfCached},
		{"too many requests pass", Config{}, "max-age=60", 70 * time.Second, page(429, "slow down"), "", 429, "slow down", "holdfast; fwd=stale; fwd-status=429; detail=status", failure.Unmended, 0},
		{"no longer shareable", Config{}, "max-age=60", 70 * time.Second, page(200, "mine", "Cache-Control: private"), "", 200, "mine", "holdfast; fwd=stale; fwd-status=200; detail=private", failure.Unmended, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				tt.cfg.Observe = rec.observe
				c := newCache(t, tt.cfg)
				o := newOrigin(page(200, "old", "Cache-Control: "+tt.fresh))
				h := c.Handler(o)
				do(h, "GET", "http://example.com/")
				time.Sleep(tt.after)
				o.set(tt.then)
				r := httptest.NewRequest("GET", "http://example.com/", nil)
				r = r.WithContext(failure.Track(r.Context()))
				if name, value, ok := strings.Cut(tt.request, ": "); ok {
					r.Header.Set(name, value)
				}
				a := doRequest(h, r)
				if a.status != tt.status || a.body != tt.body || a.cacheStatus() != tt.want {
					t.Errorf("got %d %q %q,\nwant %d %q %q", a.status, a.body, a.cacheStatus(), tt.status, tt.body, tt.want)
				}
				e, rung := failure.Outcome(r.Context())
				if rung != tt.rung && (rung != failure.Unmended || e != nil) {
					t.Errorf("mended by %v, want %v", rung, tt.rung)
				}
				if tt.cause == 0 && e != nil || tt.cause != 0 && (e == nil || e.Cause != tt.cause) {
					t.Errorf("failure = %v, want cause %v", e, tt.cause)
				}
				if ev := rec.last(Served); ev.Rung != tt.rung || ev.Status != tt.status && ev.Outcome != Hit {
					t.Errorf("event = %+v, want rung %v, status %d", ev, tt.rung, tt.status)
				}
				time.Sleep(2 * time.Minute) // whatever was started ends
			})
		})
	}
}

// TestRetryStale: after a failed refresh stale answers come without another
// attempt for a second, in which one page may ask, or as long as the failure says.
func TestRetryStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "old", "Cache-Control: max-age=1"))
		h := c.Handler(o)
		do(h, "GET", "/")
		time.Sleep(2 * time.Second)
		o.calls.Store(0)
		o.set(page(500, "broken"))
		start := time.Now()
		var at []time.Duration
		for time.Since(start) < 10*time.Second {
			before := o.calls.Load()
			a := do(h, "GET", "/")
			if a.body != "old" {
				t.Fatalf("after %v: %d %q, want the stale copy", time.Since(start), a.status, a.body)
			}
			if o.calls.Load() > before {
				at = append(at, time.Since(start))
			} else if !strings.HasSuffix(a.cacheStatus(), "detail=upstream_5xx") || !strings.Contains(a.cacheStatus(), "; hit; ttl=-") {
				t.Fatalf("Cache-Status without an attempt = %q", a.cacheStatus())
			}
			time.Sleep(100 * time.Millisecond)
		}
		if want := "[0s 1s 2s 3s 4s 5s 6s 7s 8s 9s]"; fmt.Sprint(at) != want {
			t.Errorf("attempts at %v, want %v", at, want)
		}
		o.set(page(503, "later", "Retry-After: 20"))
		time.Sleep(30 * time.Second)
		do(h, "GET", "/")
		n := o.calls.Load()
		time.Sleep(19 * time.Second)
		do(h, "GET", "/")
		if got := o.calls.Load(); got != n {
			t.Errorf("attempted before Retry-After had passed")
		}
		o.set(page(200, "new", "Cache-Control: max-age=60"))
		time.Sleep(2 * time.Second)
		if a := do(h, "GET", "/"); a.body != "new" {
			t.Errorf("healed: %q, want new", a.body)
		}
	})
}

// TestHealsAtOnce: what is refused without an attempt is asked for again by the
// next request; a breaker that closes is noticed at once.
func TestHealsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "old", "Cache-Control: max-age=60"))
		h := c.Handler(o)
		do(h, "GET", "/")
		time.Sleep(70 * time.Second)
		o.set(failing(&failure.Error{Cause: failure.BreakerOpen, RetryAfter: time.Minute}))
		for range 5 {
			if a := do(h, "GET", "/"); a.body != "old" {
				t.Errorf("got %q, want the stale copy", a.body)
			}
		}
		o.set(page(200, "new", "Cache-Control: max-age=60"))
		if a := do(h, "GET", "/"); a.body != "new" {
			t.Errorf("got %q, want new", a.body)
		}
	})
}

// TestHeadOfStale: a HEAD awaits the refresh of what is stored, which is a GET.
func TestHeadOfStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "old", "Cache-Control: max-age=60"))
		h := c.Handler(o)
		do(h, "GET", "/")
		time.Sleep(70 * time.Second)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				t.Errorf("the refresh is a %s, want GET", r.Method)
			}
			page(200, "longer", "Cache-Control: max-age=60")(w, r)
		})
		if a := do(h, "HEAD", "/"); a.status != 200 || a.body != "" || a.header.Get("Content-Length") != "6" {
			t.Errorf("got %d %q %v, want the headers of the refreshed page", a.status, a.body, a.header)
		}
		o.set(failing(failure.New(failure.ConnectionRefused, nil)))
		time.Sleep(70 * time.Second)
		if a := do(h, "HEAD", "/"); a.status != 200 || a.header.Get("Content-Length") != "6" {
			t.Errorf("got %d %v, want the stale headers", a.status, a.header)
		}
	})
}

// TestOuterHeaders: what stands around the cache adds its own fields; they are
// not stored, and lists are appended to.
func TestOuterHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		n := 0
		inner := c.Handler(page(200, "x", "Cache-Control: max-age=60", "Vary: Accept", "Cache-Status: origin; hit", "X-Who: inner"))
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n++
			w.Header().Set("X-Count", fmt.Sprint(n))
			w.Header().Set("X-Who", "outer")
			w.Header().Set("Vary", "Origin")
			inner.ServeHTTP(w, r)
		})
		for i, want := range []string{"origin; hit, holdfast; fwd=uri-miss; fwd-status=200; ttl=60; stored", "origin; hit, holdfast; hit; ttl=60"} {
			a := do(h, "GET", "/")
			if a.header.Get("X-Count") != fmt.Sprint(i+1) || a.header.Get("X-Who") != "inner" ||
				strings.Join(a.header["Vary"], ", ") != "Origin, Accept" || a.cacheStatus() != want {
				t.Errorf("request %d: %v, want Cache-Status %q", i, a.header, want)
			}
			settled(t, c)
		}
	})
}

// TestHealing: once the origin has answered for one page, no other page waits
// out a pause that has grown long.
func TestHealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "old", "Cache-Control: max-age=1"))
		h := c.Handler(o)
		do(h, "GET", "/a")
		o.set(page(500, "broken"))
		for range 10 {
			time.Sleep(time.Second)
			do(h, "GET", "/a")
		}
		time.Sleep(900 * time.Millisecond)
		o.set(page(200, "new", "Cache-Control: max-age=60"))
		if a := do(h, "GET", "/a"); a.body != "old" {
			t.Fatalf("within the pause: %q", a.body)
		}
		do(h, "GET", "/b") // the origin answers
		time.Sleep(100 * time.Millisecond)
		if a := do(h, "GET", "/a"); a.body != "new" {
			t.Errorf("after another page was answered: %q, want new", a.body)
		}

		// It is evidence only if it was asked for after the failure, and a page that
		// alone is broken is not asked for all the time.
		o.set(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/a" {
				w.WriteHeader(500)
				return
			}
			page(200, "ok", "Cache-Control: no-store")(w, r)
		})
		time.Sleep(62 * time.Second)
		o.calls.Store(0)
		for range 100 {
			do(h, "GET", "/a")
			do(h, "GET", "/c")
			time.Sleep(100 * time.Millisecond)
		}
		if n := o.calls.Load() - 100; n < 9 || n > 11 {
			t.Errorf("%d attempts in 10s, want one a second", n)
		}
	})
}

// TestErrorOfTheOriginIsStored: an answer of 500 or more that may be stored is,
// whether its backend reported it or not, but never used stale.
func TestErrorOfTheOriginIsStored(t *testing.T) {
	for _, reported := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, Config{})
			e := &failure.Error{Cause: failure.Upstream5xx, Status: 503}
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				if reported {
					failure.Report(r.Context(), e)
				}
				page(503, "gone fishing", "Cache-Control: max-age=60")(w, r)
			})
			h := c.Handler(o)
			r := httptest.NewRequest("GET", "/", nil)
			r = r.WithContext(failure.Track(r.Context()))
			first := doRequest(h, r)
			if got, ok := failure.From(r.Context()); ok != reported || ok && got != e {
				t.Errorf("reported %v: the request was told %v", reported, got)
			}
			settled(t, c)
			if a := do(h, "GET", "/"); first.status != 503 || a.status != 503 || o.calls.Load() != 1 {
				t.Errorf("reported %v: %d, %d after %d fetches (%s)", reported, first.status, a.status, o.calls.Load(), a.cacheStatus())
			}
			time.Sleep(61 * time.Second)
			if a := do(h, "GET", "/"); o.calls.Load() != 2 || !strings.Contains(a.cacheStatus(), "stored") {
				t.Errorf("reported %v: stale: %d fetches, %q; want another fetch, stored again", reported, o.calls.Load(), a.cacheStatus())
			}
			o.set(page(200, "back", "Cache-Control: max-age=60"))
			time.Sleep(61 * time.Second)
			if a := do(h, "GET", "/"); a.body != "back" {
				t.Errorf("reported %v: %d %q", reported, a.status, a.body)
			}
		})
	}
}
