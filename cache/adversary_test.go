package cache

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// TestErrorOfOneVisitorIsNotShared: those who wait learn that the origin failed,
// but what it wrote to one visitor is for that one.
func TestErrorOfOneVisitorIsNotShared(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
		shared bool
	}{
		{"nothing said", nil, true},
		{"cookie", []string{"Set-Cookie: session=of-the-leader"}, false},
		{"private", []string{"Cache-Control: private"}, false},
		{"no-store", []string{"Cache-Control: no-store"}, false},
		{"another variant", []string{"Vary: X-Visitor"}, false},
		{"vary by anything", []string{"Vary: *"}, false},
	} {
		for _, reported := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, reported), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, Config{})
					o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
						time.Sleep(time.Second)
						if reported {
							failure.Report(r.Context(), &failure.Error{Cause: failure.Upstream5xx, Status: 503})
						}
						page(503, "secret of the leader", tt.header...)(w, r)
					})
					h := c.Handler(o)
					secrets, cookies := 0, 0
					for _, a := range herd(5, func(i int) answer {
						return do(h, "GET", "/", fmt.Sprint("X-Visitor: ", i))
					}) {
						if a.status != 503 {
							t.Errorf("status %d, want 503", a.status)
						}
						if strings.Contains(a.body, "secret") {
							secrets++
						}
						cookies += len(a.header["Set-Cookie"])
					}
					want := 1
					if tt.shared {
						want = 5
					}
					if n := o.calls.Load(); n != 1 || secrets != want || cookies > 1 {
						t.Errorf("%d fetches, %d saw the page, %d the cookie; want 1, %d, at most 1", n, secrets, cookies, want)
					}
				})
			})
		}
	}
}

// TestRefreshThatIgnoresItsDeadline: a handler that does not look at its
// context keeps nobody from the stale copy, nor the URL from being refreshed.
func TestRefreshThatIgnoresItsDeadline(t *testing.T) {
	for _, cc := range []string{"max-age=1, stale-if-error=600", "max-age=1, stale-while-revalidate=600", "max-age=1, stale-if-error=600, x"} {
		t.Run(cc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{FillTimeout: 10 * time.Second, StaleWhileRevalidate: -1})
				release := make(chan struct{})
				o := newOrigin(page(200, "old", "Cache-Control: "+cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				synctest.Wait()
				time.Sleep(2 * time.Second)
				o.set(func(w http.ResponseWriter, r *http.Request) {
					if strings.HasSuffix(cc, "x") { // headers, then nothing
						w.Header().Set("Cache-Control", cc)
						_, _ = io.WriteString(w, strings.Repeat("part", 1000))
						_ = http.NewResponseController(w).Flush()
					}
					<-release
				})
				for _, a := range herd(3, func(int) answer { return do(h, "GET", "/") }) {
					if a.status != 200 || a.body != "old" {
						t.Errorf("got %d %.20q, want the stale copy", a.status, a.body)
					}
				}
				time.Sleep(15 * time.Second)
				o.set(page(200, "new", "Cache-Control: "+cc))
				do(h, "GET", "/")
				synctest.Wait()
				if a := do(h, "GET", "/"); a.body != "new" {
					t.Errorf("got %.20q, want new: the refresh that hangs is not waited for", a.body)
				}
				close(release)
				synctest.Wait()
				if a := do(h, "GET", "/"); a.body != "new" {
					t.Errorf("got %.20q, want new, also when the late one has returned", a.body)
				}
			})
		})
	}
}

// TestFetchThatIgnoresItsDeadline: the same where there is no stale copy and the
// leader's client has left.
func TestFetchThatIgnoresItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{FillTimeout: 10 * time.Second, FollowerWait: -1})
		release := make(chan struct{})
		o := newOrigin(func(http.ResponseWriter, *http.Request) { <-release })
		h := c.Handler(o)
		ctx, leave := context.WithCancel(context.Background())
		go doRequest(h, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		synctest.Wait()
		got := make(chan answer, 1)
		go func() { got <- do(h, "GET", "/") }()
		synctest.Wait()
		o.set(page(200, "mine", "Cache-Control: max-age=60"))
		leave()
		if a := <-got; a.body != "mine" {
			t.Errorf("got %d %q, want what it fetched for itself", a.status, a.body)
		}
		close(release)
		synctest.Wait()
	})
}

// TestStaleIfSlowForAll: it holds for URLs that are not collapsed, and for
// visitors who are known, as well.
func TestStaleIfSlowForAll(t *testing.T) {
	for _, tt := range []struct{ name, cc, header string }{
		{"always to be revalidated", "max-age=0, stale-if-error=600", "X: y"},
		{"known visitor", "public, max-age=1, stale-if-error=600", "Authorization: Basic eA=="},
		{"reload", "max-age=1, stale-if-error=600", "Cache-Control: no-cache"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{StaleIfSlow: time.Second})
				o := newOrigin(page(200, "old", "Cache-Control: "+tt.cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				synctest.Wait()
				time.Sleep(3 * time.Second)
				o.set(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(5 * time.Second)
					page(200, "new", "Cache-Control: "+tt.cc)(w, r)
				})
				start := time.Now()
				a := do(h, "GET", "/", tt.header)
				if took := time.Since(start); a.body != "old" || took != time.Second {
					t.Errorf("got %q after %v (%s), want the stale copy after 1s", a.body, took, a.cacheStatus())
				}
				time.Sleep(5 * time.Second)
			})
		})
	}
}

// TestKnownVisitorsOwnAnswer: what a refresh brings for one visitor only goes to
// that one, cookie and all, with a stale copy for all at hand.
func TestKnownVisitorsOwnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{StaleIfSlow: time.Second})
		o := newOrigin(page(200, "for all", "Cache-Control: max-age=1, stale-if-error=600"))
		h := c.Handler(o)
		do(h, "GET", "/")
		synctest.Wait()
		time.Sleep(3 * time.Second)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			page(200, "for "+r.Header.Get("Authorization"), "Cache-Control: private", "Set-Cookie: a="+r.Header.Get("Authorization"))(w, r)
		})
		for i, a := range herd(4, func(i int) answer { return do(h, "GET", "/", fmt.Sprint("Authorization: ", i)) }) {
			if a.body != fmt.Sprint("for ", i) || a.header.Get("Set-Cookie") != fmt.Sprint("a=", i) {
				t.Errorf("visitor %d got %q, %v", i, a.body, a.header)
			}
		}
	})
}

// TestLongURLs: what is remembered about URLs does not grow with their length,
// which is the client's to choose.
func TestLongURLs(t *testing.T) {
	const urls, length = 400, 100 << 10
	c := newCache(t, Config{StaleIfError: time.Hour, Store: nil, MemoryBytes: 8 << 20})
	cc, status := "private", 200
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page(status, "x", "Cache-Control: "+cc)(w, r)
	}))
	long := strings.Repeat("a", length)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range urls {
		cc = "private" // a marker
		do(h, "GET", fmt.Sprint("/?m", i, long))
		cc = "max-age=0, stale-if-error=60" // a failure
		do(h, "GET", fmt.Sprint("/?f", i, long))
		settled(t, c)
		status = 500
		do(h, "GET", fmt.Sprint("/?f", i, long))
		status, cc = 200, "max-age=60" // an invalidation
		do(h, "GET", fmt.Sprint("/?i", i, long))
		settled(t, c)
		do(h, "POST", fmt.Sprint("/?i", i, long))
	}
	settled(t, c)
	if grown := int64(heap()) - int64(before); grown > 3*8<<20 {
		t.Errorf("the heap grew by %d MB for %d URLs of %d kB in a cache of 8 MB", grown>>20, 3*urls, length>>10)
	}
}

// TestEarlyHintsOfOneVisitor: followers get the hints, not what else stands in
// the header map of the one who fetches; one that speaks HTTP/1.0 gets none.
func TestEarlyHintsOfOneVisitor(t *testing.T) {
	c := newCache(t, Config{})
	hinted, release := make(chan struct{}), make(chan struct{})
	s := serve(t, c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=of-the-leader")
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		close(hinted)
		<-release
		w.Header().Del("Set-Cookie")
		page(200, "page", "Cache-Control: max-age=60")(w, r)
	})))
	var wg sync.WaitGroup
	wg.Go(func() { get(t, s.URL) })
	<-hinted
	for i, proto := range []string{"HTTP/1.1", "HTTP/1.0"} {
		wg.Go(func() {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "GET / %s\r\nHost: %s\r\nConnection: close\r\n\r\n", proto, s.Listener.Addr())
			all, _ := io.ReadAll(bufio.NewReader(conn))
			got := string(all)
			if strings.Contains(got, "of-the-leader") {
				t.Errorf("%s: the cookie of another visitor: %q", proto, got)
			}
			if hints := strings.Contains(got, " 103 "); hints != (i == 0) || !strings.Contains(got, "page") || hints && !strings.Contains(got, "a.css") {
				t.Errorf("%s: got %q", proto, got)
			}
		})
	}
	followers(t, c, 2)
	close(release)
	wg.Wait()
}

// TestErrorsOfOursAreNotForCaches: what we answer to one client's range or
// condition must not be taken for the page by a cache between us and it.
func TestErrorsOfOursAreNotForCaches(t *testing.T) {
	c := newCache(t, Config{})
	h := c.Handler(newOrigin(page(200, "0123456789", "Cache-Control: max-age=60", `Etag: "a"`, "Expires: Thu, 01 Jan 2099 00:00:00 GMT")))
	do(h, "GET", "/")
	settled(t, c)
	for header, status := range map[string]int{"Range: bytes=10-": 416} {
		a := do(h, "GET", "/", header)
		if a.status != status || a.body != "" {
			t.Errorf("%s: %d %q", header, a.status, a.body)
		}
		for _, name := range []string{"Cache-Control", "Expires", "Etag", "Age"} {
			if v := a.header.Get(name); v != "" {
				t.Errorf("%s: %d with %s: %s", header, status, name, v)
			}
		}
	}
}

// TestPrivatePagesAreRevalidated: what is of one visitor is not ours to compare,
// so that visitor's conditions reach the origin.
func TestPrivatePagesAreRevalidated(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header []string
	}{{"known not to be shared", nil}, {"known visitor", []string{"Authorization: Basic eA=="}}} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "private")
				w.Header().Set("Etag", `"mine"`)
				if r.Header.Get("If-None-Match") == `"mine"` {
					w.WriteHeader(http.StatusNotModified)
					return
				}
				_, _ = io.WriteString(w, "mine")
			})
			h := c.Handler(o)
			if a := do(h, "GET", "/", tt.header...); a.body != "mine" {
				t.Fatalf("got %q", a.body)
			}
			a := do(h, "GET", "/", append(tt.header, `If-None-Match: "mine"`)...)
			if a.status != 304 || a.body != "" || a.header.Get("Etag") != `"mine"` {
				t.Errorf("got %d %q %v, want 304", a.status, a.body, a.header)
			}
		})
	}
}

// TestSlowOriginIsNotFlooded: while stale copies answer for a slow origin, it has
// one refresh for all, and a second one once the first seems to hang.
func TestSlowOriginIsNotFlooded(t *testing.T) {
	for _, tt := range []struct{ name, cc, header string }{
		{"collapsed", "max-age=1, stale-if-error=600", "X: y"},
		{"always to be revalidated", "max-age=0, stale-if-error=600", "X: y"},
		{"known visitor", "public, max-age=1, stale-if-error=600", "Authorization: Basic eA=="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{StaleIfSlow: time.Second})
				o := newOrigin(page(200, "old", "Cache-Control: "+tt.cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				synctest.Wait()
				time.Sleep(3 * time.Second)
				var now, most atomic.Int64
				o.set(func(w http.ResponseWriter, r *http.Request) {
					most.Store(max(most.Load(), now.Add(1)))
					defer now.Add(-1)
					select {
					case <-time.After(30 * time.Second):
					case <-r.Context().Done():
					}
				})
				for range 20 {
					if a := do(h, "GET", "/", tt.header); a.body != "old" {
						t.Errorf("got %d %q", a.status, a.body)
					}
					synctest.Wait()
				}
				time.Sleep(30 * time.Second)
				if n := most.Load(); n < 1 || n > 2 {
					t.Errorf("%d fetches at once, want 1 or 2", n)
				}
			})
		})
	}
}
