package cache

import (
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// TestOriginConditionsAreForwarded: a cache does not evaluate what only the origin
// can (RFC 9111 section 4.3.2), whatever it has stored.
func TestOriginConditionsAreForwarded(t *testing.T) {
	for _, cc := range []string{"max-age=60", "max-age=0", "max-age=0, must-revalidate"} {
		for _, condition := range []string{`If-Match: "b"`, "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"} {
			t.Run(cc+" "+condition, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					if semanticsCondition(r) {
						w.WriteHeader(http.StatusPreconditionFailed)
						return
					}
					page(200, "body", "Cache-Control: "+cc, `Etag: "a"`)(w, r)
				})
				h := c.Handler(o)
				do(h, "GET", "/")
				settled(t, c)
				if a := do(h, "GET", "/", condition); a.status != 412 || o.calls.Load() != 2 || !strings.Contains(a.cacheStatus(), "fwd=") {
					t.Errorf("%d after %d fetches, %q: want the origin's 412", a.status, o.calls.Load(), a.cacheStatus())
				}
				// What is not to be forwarded is answered as without the condition, which a
				// cache may ignore.
				a := do(h, "GET", "/", condition, "Cache-Control: only-if-cached")
				if want := map[bool]int{true: 200, false: 504}[cc == "max-age=60"]; a.status != want || o.calls.Load() != 2 {
					t.Errorf("only-if-cached: %d after %d fetches, want %d", a.status, o.calls.Load(), want)
				}
			})
		}
	}
}

func semanticsCondition(r *http.Request) bool {
	return r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != ""
}

// TestForwardedOverWhatMayNotBeUsed: where the stored response must be validated
// and the origin can't be reached, the answer is 504, whatever was asked (RFC
// 9111 section 5.2.2.2). What the origin says itself passes.
func TestForwardedOverWhatMayNotBeUsed(t *testing.T) {
	refused := failing(failure.New(failure.ConnectionRefused, nil))
	own := func(w http.ResponseWriter, r *http.Request) {
		failure.Report(r.Context(), &failure.Error{Cause: failure.Upstream5xx, Status: 503})
		page(503, "busy", "X-Origin: 1")(w, r)
	}
	for _, tt := range []struct {
		name   string
		cc     string
		fails  http.HandlerFunc
		status int
	}{
		{"must-revalidate", "max-age=0, must-revalidate", refused, 504},
		{"proxy-revalidate", "max-age=0, proxy-revalidate", refused, 504},
		{"s-maxage", "s-maxage=0", refused, 504},
		{"no-cache", "max-age=60, no-cache", refused, 504},
		{"the origin's own", "max-age=0, must-revalidate", own, 503},
		{"a handler that reports nothing", "max-age=0, must-revalidate", page(502, "x"), 502},
	} {
		for _, request := range [][]string{{"HEAD"}, {"GET", "Range: bytes=0-1"}, {"GET", `If-Match: "a"`}, {"GET"}} {
			t.Run(tt.name+" "+strings.Join(request, " "), func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{RetryStale: -1, Observe: rec.observe})
				o := newOrigin(page(200, "body", "Cache-Control: "+tt.cc, `Etag: "a"`))
				h := c.Handler(o)
				do(h, "GET", "/")
				settled(t, c)
				o.set(tt.fails)
				a := do(h, request[0], "/", request[1:]...)
				if a.status != tt.status || strings.Contains(a.body, "body") {
					t.Errorf("%d %q, want %d", a.status, a.body, tt.status)
				}
				if n := len(a.header["Cache-Status"]); n != 1 {
					t.Errorf("Cache-Status = %q, want one member", a.header["Cache-Status"])
				}
				if (a.header.Get("X-Origin") != "") != (tt.status == 503) {
					t.Errorf("X-Origin: %q with %d", a.header.Get("X-Origin"), a.status)
				}
				if e := rec.last(Served); e.Status != tt.status {
					t.Errorf("the event has %d, want %d", e.Status, tt.status)
				}
			})
		}
	}
}

// TestHeadFreshens: RFC 9111 section 4.3.5.
func TestHeadFreshens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		head   []string
		want   string // what the next GET finds: "fresh", "stale" (it is validated), "gone" (it is fetched whole)
		header string
	}{
		{"it agrees", []string{`Etag: "a"`, "Content-Length: 4", "X-A: 2", "Cache-Control: max-age=60"}, "fresh", "2"},
		{"no validator, no length", []string{"X-A: 2", "Cache-Control: max-age=60"}, "fresh", "2"},
		{"still stale", []string{`Etag: "a"`, "X-A: 2"}, "stale", "2"},
		{"another tag", []string{`Etag: "b"`, "X-A: 2", "Cache-Control: max-age=60"}, "stale", "1"},
		{"another length", []string{`Etag: "a"`, "Content-Length: 5", "X-A: 2", "Cache-Control: max-age=60"}, "stale", "1"},
		{"another time", []string{`Etag: "a"`, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Cache-Control: max-age=60"}, "stale", "1"},
		{"another status", []string{":404", `Etag: "a"`, "Cache-Control: max-age=60"}, "stale", "1"},
		{"no longer to be stored", []string{`Etag: "a"`, "Cache-Control: no-store"}, "gone", "1"},
		{"private from now on", []string{`Etag: "a"`, "Cache-Control: private"}, "gone", "1"},
		{"a cookie of whoever asked", []string{`Etag: "a"`, "Set-Cookie: a=b", "X-A: 2", "Cache-Control: max-age=60"}, "fresh", "2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{StaleIfError: -1})
			conditional := false
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				conditional = r.Header.Get("If-None-Match") != ""
				switch {
				case r.Method == http.MethodHead && tt.head[0] == ":404":
					page(404, "", tt.head[1:]...)(w, r)
				case r.Method == http.MethodHead:
					page(200, "", tt.head...)(w, r)
				case conditional:
					page(304, "", `Etag: "a"`)(w, r)
				default:
					page(200, "body", "Cache-Control: max-age=0, must-revalidate", `Etag: "a"`, "X-A: 1")(w, r)
				}
			})
			h := c.Handler(o)
			do(h, "GET", "/")
			settled(t, c)
			do(h, "HEAD", "/")
			settled(t, c)
			if o.calls.Load() != 2 {
				t.Fatal("HEAD was not forwarded")
			}
			conditional = false
			a := do(h, "GET", "/")
			got := "fresh"
			switch {
			case o.calls.Load() == 3 && conditional:
				got = "stale"
			case o.calls.Load() == 3:
				got = "gone"
			}
			if got != tt.want || a.body != "body" || a.header.Get("X-A") != tt.header || a.header.Get("Set-Cookie") != "" {
				t.Errorf("then GET finds it %s, %q with %q; want %s with X-A: %s", got, a.body, a.header, tt.want, tt.header)
			}
		})
	}
}

// TestHeadDoesNotResurrect: what is purged while a HEAD is on its way is not put
// back by it.
func TestHeadDoesNotResurrect(t *testing.T) {
	c := newCache(t, Config{StaleIfError: -1})
	var h http.Handler
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			do(h, "POST", "/") // invalidates
		}
		page(200, "body", "Cache-Control: max-age=0, must-revalidate", `Etag: "a"`)(w, r)
	})
	h = c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	do(h, "HEAD", "/")
	settled(t, c)
	if a := do(h, "GET", "/"); !strings.Contains(a.cacheStatus(), "fwd=uri-miss") {
		t.Errorf("Cache-Status = %q, want a miss", a.cacheStatus())
	}
}
