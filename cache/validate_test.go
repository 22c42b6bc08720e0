package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// tagged answers as an origin with one version of a page does.
func tagged(tag, body, cc string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", tag)
		w.Header().Set("Cache-Control", cc)
		if strings.Contains(r.Header.Get("If-None-Match"), tag) {
			w.Header().Set("X-Version", "confirmed")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(body))
	}
}

func TestRevalidation(t *testing.T) {
	for _, cc := range []string{"max-age=60", "max-age=60, must-revalidate"} {
		t.Run(cc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{Observe: rec.observe})
				o := newOrigin(tagged(`"a"`, "body", cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				time.Sleep(70 * time.Second)
				a := do(h, "GET", "/")
				if want := "holdfast; fwd=stale; fwd-status=304; ttl=60; stored"; a.status != 200 || a.body != "body" || a.cacheStatus() != want || a.header.Get("X-Version") != "confirmed" {
					t.Errorf("got %d %q %q %v, want %q", a.status, a.body, a.cacheStatus(), a.header, want)
				}
				if ev := rec.last(Served); ev.Outcome != Revalidated {
					t.Errorf("outcome = %v, want revalidated", ev.Outcome)
				}
				synctest.Wait()
				if a := do(h, "GET", "/"); a.cacheStatus() != "holdfast; hit; ttl=60" || a.body != "body" || a.header.Get("Age") != "0" {
					t.Errorf("after that %q %q %v, want a hit", a.body, a.cacheStatus(), a.header)
				}
				o.set(tagged(`"b"`, "changed", cc))
				time.Sleep(70 * time.Second)
				if a := do(h, "GET", "/"); a.body != "changed" {
					t.Errorf("got %q, want changed", a.body)
				}
			})
		})
	}
}

// TestUnaskedValidation: a 304 or 206 that nobody asked for, or about something
// else, makes one more fetch without conditions.
func TestUnaskedValidation(t *testing.T) {
	for _, tt := range []struct {
		name    string
		stale   bool
		answers []http.HandlerFunc
		status  int
		body    string
		cause   failure.Cause
	}{
		{"then right", false, []http.HandlerFunc{page(304, ""), page(200, "right", "Cache-Control: max-age=60")}, 200, "right", 0},
		{"206 then right", false, []http.HandlerFunc{page(206, "part", "Content-Range: bytes 0-3/9"), page(200, "right", "Cache-Control: max-age=60")}, 200, "right", 0},
		{"again", false, []http.HandlerFunc{page(304, ""), page(304, "")}, 502, "502 Bad Gateway\n", failure.BadValidation},
		{"another tag", true, []http.HandlerFunc{page(304, "", `Etag: "other"`), page(200, "right", "Cache-Control: max-age=60")}, 200, "right", 0},
		{"stale stands in", true, []http.HandlerFunc{page(304, "", `Etag: "other"`), page(304, "")}, 200, "old", failure.BadValidation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(tagged(`"a"`, "old", "max-age=60"))
				h := c.Handler(o)
				if tt.stale {
					do(h, "GET", "/")
					time.Sleep(70 * time.Second)
				}
				n := 0
				o.set(func(w http.ResponseWriter, r *http.Request) {
					if n > 0 && r.Header.Get("If-None-Match") != "" {
						t.Error("the second fetch has conditions")
					}
					n++
					tt.answers[n-1](w, r)
				})
				rec := &recorder{}
				c.cfg.Observe = rec.observe
				a := do(h, "GET", "/")
				if a.status != tt.status || a.body != tt.body || n != len(tt.answers) {
					t.Errorf("got %d %q after %d fetches, want %d %q after %d", a.status, a.body, n, tt.status, tt.body, len(tt.answers))
				}
				if e := rec.last(Served).Failure; tt.cause != 0 && (e == nil || e.Cause != tt.cause) {
					t.Errorf("failure = %v, want %v", e, tt.cause)
				}
			})
		})
	}
}

func TestClientConditions(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(tagged(`"a"`, "body", "max-age=60"))
	h := c.Handler(o)
	// On a cold store the whole is fetched, so that there is something to answer
	// from the next time.
	if a := do(h, "GET", "/", `If-None-Match: "a"`); a.status != 304 || a.body != "" {
		t.Errorf("cold: %d %q, want 304", a.status, a.body)
	}
	settled(t, c)
	for _, tt := range []struct {
		headers []string
		status  int
		body    string
		extra   string
	}{
		{nil, 200, "body", ""},
		{[]string{`If-None-Match: "a"`}, 304, "", ""},
		{[]string{`If-None-Match: W/"a"`}, 304, "", ""},
		{[]string{`If-None-Match: "b"`}, 200, "body", ""},
		{[]string{"Range: bytes=1-2"}, 206, "od", "bytes 1-2/4"},
		{[]string{"Range: bytes=1-"}, 206, "ody", "bytes 1-3/4"},
		{[]string{"Range: bytes=-3"}, 206, "ody", "bytes 1-3/4"},
		{[]string{"Range: bytes=-9"}, 206, "body", "bytes 0-3/4"},
		{[]string{"Range: bytes=4-"}, 416, "", "bytes */4"},
		{[]string{"Range: bytes=-0"}, 416, "", "bytes */4"},
		{[]string{"Range: bytes=2-1"}, 200, "body", ""},
		{[]string{"Range: bytes=0-0,1-1"}, 206, "bo", "bytes 0-1/4"},
		{[]string{"Range: lines=1-2"}, 200, "body", ""},
		{[]string{"Range: bytes=0-99999999999999999999"}, 206, "body", "bytes 0-3/4"},
		{[]string{"Range: bytes=1-2", `If-Range: "a"`}, 206, "od", "bytes 1-2/4"},
		{[]string{"Range: bytes=1-2", `If-Range: "b"`}, 200, "body", ""},
		{[]string{"Range: bytes=1-2", `If-None-Match: "a"`}, 304, "", ""},
	} {
		a := do(h, "GET", "/", tt.headers...)
		if a.status != tt.status || a.body != tt.body || a.header.Get("Content-Range") != tt.extra {
			t.Errorf("%v: got %d %q %q, want %d %q %q", tt.headers, a.status, a.body, a.header.Get("Content-Range"), tt.status, tt.body, tt.extra)
		}
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestRangeOverChunks takes all ranges of a body in several chunks.
func TestRangeOverChunks(t *testing.T) {
	c := newCache(t, Config{})
	body := strings.Repeat("0123456789", 20_000)
	h := c.Handler(page(200, body, "Cache-Control: max-age=60"))
	do(h, "GET", "/")
	settled(t, c)
	for _, at := range []int{0, 1, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 199_990} {
		for _, n := range []int{1, 10, maxChunk, 100_000} {
			end := min(at+n, len(body))
			a := do(h, "GET", "/", fmt.Sprintf("Range: bytes=%d-%d", at, at+n-1))
			if a.status != 206 || a.body != body[at:end] {
				t.Errorf("%d+%d: got %d, %d bytes; want %d", at, n, a.status, len(a.body), end-at)
			}
		}
	}
}

// TestHerdOnRevalidation: those who wait for a validation get the page that it
// confirms, never the 304 itself.
func TestHerdOnRevalidation(t *testing.T) {
	for _, cc := range []string{"max-age=60", "max-age=60, must-revalidate"} {
		t.Run(cc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(tagged(`"a"`, "body", cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				for range 50 {
					time.Sleep(70 * time.Second)
					o.calls.Store(0)
					for _, a := range herd(20, func(int) answer { return do(h, "GET", "/") }) {
						if a.status != 200 || a.body != "body" {
							t.Fatalf("got %d %q, want 200 body", a.status, a.body)
						}
					}
					if n := o.calls.Load(); n != 1 {
						t.Fatalf("%d validations, want 1", n)
					}
				}
			})
		})
	}
}
