package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestNoRangeByDateOfCodings: a date does not tell a body from what it was
// compressed to. What a client has may be the beginning of either, so a range of
// the one must never be taken for the rest of the other.
func TestNoRangeByDateOfCodings(t *testing.T) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	const ask, by = "Range: bytes=1000-1999", "If-Range: " + date
	for _, compress := range []bool{true, false} {
		status := map[bool]int{true: 200, false: 206}[compress]
		for _, stored := range []string{"cold", "whole", "parts", "coming"} {
			t.Run(fmt.Sprintf("%s %v", stored, compress), func(t *testing.T) {
				c := newCache(t, Config{Compress: compress})
				c.wholes.Store(maxWholes)
				o := (&ranged{}).become(prose, "Cache-Control: max-age=60", "Last-Modified: "+date)
				h := c.Handler(o)
				switch stored {
				case "whole":
					do(h, "GET", "/", "Accept-Encoding: gzip")
					if compress {
						compressed(t, c)
					}
				case "parts":
					do(h, "GET", "/", ask)
				case "coming": // the origin knows no ranges
					h = c.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", "Last-Modified: "+date, fmt.Sprintf("Content-Length: %d", len(prose))))
				}
				settled(t, c)
				a := do(h, "GET", "/", ask, by)
				want := prose
				if status == 206 {
					want = prose[1000:2000]
				}
				if a.status != status || a.body != want {
					t.Errorf("got %d, %d bytes, want %d, %d bytes (%s)", a.status, len(a.body), status, len(want), a.cacheStatus())
				}
				if status == 200 && strings.Join(a.header.Values("Vary"), ",") != "Accept-Encoding" {
					t.Errorf("Vary: %q", a.header.Values("Vary"))
				}
				settled(t, c)
				if b := do(h, "GET", "/", ask); b.status != 206 || b.body != prose[1000:2000] {
					t.Errorf("without If-Range: got %d, %d bytes", b.status, len(b.body))
				}
			})
		}
	}
}

// TestNoRangesByDateOfCodings: of several parts the type of the whole is not known
// before it has come.
func TestNoRangesByDateOfCodings(t *testing.T) {
	for _, compress := range []bool{true, false} {
		c := newCache(t, Config{Compress: compress})
		h := c.Handler((&ranged{}).become(prose, "Cache-Control: max-age=60", longAgo))
		a := do(h, "GET", "/", "Range: bytes=0-9,1000-1999", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT")
		if want := map[bool]int{true: 200, false: 206}[compress]; a.status != want || a.status == 200 && a.body != prose {
			t.Errorf("compressing: %v: got %d, want %d", compress, a.status, want)
		}
	}
}

// TestRangeOfInsistingOrigin: an origin that sends a part of what may be
// compressed although the whole was asked for is no answer to If-Range.
func TestRangeOfInsistingOrigin(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	o := newOrigin(page(206, prose[:1000], "Content-Type: text/plain", "Cache-Control: max-age=60", longAgo,
		fmt.Sprintf("Content-Range: bytes 0-999/%d", len(prose))))
	a := do(c.Handler(o), "GET", "/", "Range: bytes=0-999", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT")
	if a.status != http.StatusBadGateway || o.calls.Load() != 2 {
		t.Errorf("got %d after %d fetches, want 502 after 2", a.status, o.calls.Load())
	}
}

// TestForwardedVaries: what is forwarded for itself says, too, that the URL has
// codings.
func TestForwardedVaries(t *testing.T) {
	for _, compress := range []bool{true, false} {
		h := newCache(t, Config{Compress: compress}).Handler((&ranged{}).become(prose, "Cache-Control: max-age=60", `Etag: "a"`))
		want := map[bool]string{true: "Accept-Encoding", false: ""}[compress]
		if a := do(h, "HEAD", "/"); a.status != 200 || a.header.Get("Vary") != want {
			t.Errorf("HEAD: %d, Vary %q, want %q", a.status, a.header.Get("Vary"), want)
		}
		if a := do(h, "GET", "/", `If-Match: "a"`); a.status != 200 || a.header.Get("Vary") != want {
			t.Errorf("If-Match: %d, Vary %q, want %q", a.status, a.header.Get("Vary"), want)
		}
	}
}

// TestCompletedIsCompressed: the whole that parts became has codings like one
// that came whole.
func TestCompletedIsCompressed(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	c.wholes.Store(maxWholes)
	h := c.Handler((&ranged{}).become(prose, "Cache-Control: max-age=60", `Etag: "a"`))
	do(h, "GET", "/", "Range: bytes=0-4999")
	settled(t, c)
	do(h, "GET", "/", "Range: bytes=5000-")
	settled(t, c)
	for range 2 {
		a := do(h, "GET", "/", "Accept-Encoding: gzip")
		if !strings.Contains(a.cacheStatus(), "hit") || a.header.Get("Vary") != "Accept-Encoding" || decoded(t, a) != prose {
			t.Fatalf("%v", a.header)
		}
		compressed(t, c)
	}
	if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.header.Get("Content-Encoding") != "gzip" || decoded(t, a) != prose {
		t.Errorf("%v", a.header)
	}
}

// TestPartConfirmedByAnotherDate: a 304 may bring a Last-Modified by which
// If-Range no longer holds. Then the whole is the answer, not what is there of it.
func TestPartConfirmedByAnotherDate(t *testing.T) {
	const before = "Sun, 06 Nov 1994 08:49:37 GMT"
	c := newCache(t, Config{})
	c.wholes.Store(maxWholes)
	o := (&ranged{}).become(digits, "Cache-Control: max-age=0", `Etag: "a"`, "Last-Modified: "+before)
	h := c.Handler(o)
	do(h, "GET", "/", "Range: bytes=0-4")
	settled(t, c)
	h = c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.Header().Set("Etag", `"a"`)
			w.Header().Set("Last-Modified", time.Now().UTC().Add(-time.Hour).Format(http.TimeFormat))
			w.WriteHeader(http.StatusNotModified)
			return
		}
		r.Header.Del("If-Range")
		o.ServeHTTP(w, r)
	}))
	a := do(h, "GET", "/", "Range: bytes=1-3", "If-Range: "+before)
	if a.err != nil || a.status == 206 && a.body != digits[1:4] || a.status == 200 && a.body != digits || a.status > 206 {
		t.Errorf("got %d %q %v (%s)", a.status, a.body, a.err, a.cacheStatus())
	}
}
