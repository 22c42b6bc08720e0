package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// TestHerdOfUncacheable: requests for what is nobody else's are not put in line,
// each gets its own answer, and none another's cookie.
func TestHerdOfUncacheable(t *testing.T) {
	const clients = 400
	for _, line := range []string{"Cache-Control: no-store", "Cache-Control: private", "Set-Cookie: id=%d", "X-No: freshness", "Vary: *"} {
		t.Run(line, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				var n atomic.Int64
				h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(300 * time.Millisecond)
					id := n.Add(1)
					page(200, fmt.Sprint(id), strings.ReplaceAll(line, "%d", fmt.Sprint(id)))(w, r)
				}))
				for round, most := range []time.Duration{600 * time.Millisecond, 300 * time.Millisecond} {
					n.Store(0)
					start := time.Now()
					seen := make(map[string]bool)
					for _, a := range herd(clients, func(int) answer { return do(h, "GET", "http://example.com/") }) {
						if a.status != 200 || seen[a.body] {
							t.Fatalf("got %d %q a second time", a.status, a.body)
						}
						if cookie := a.header.Get("Set-Cookie"); cookie != "" && cookie != "id="+a.body {
							t.Fatalf("got %q with the page of %s", cookie, a.body)
						}
						seen[a.body] = true
					}
					if took := time.Since(start); took > most {
						t.Errorf("round %d took %v, want at most %v", round, took, most)
					}
				}
			})
		})
	}
}

// TestHerdOnError: a cold page that fails is asked for once, by however many, and
// nobody starts anew when the answer is there.
func TestHerdOnError(t *testing.T) {
	const clients = 200
	for _, tt := range []struct {
		name   string
		do     http.HandlerFunc
		status int
		event  failure.Cause
	}{
		{"own page", page(500, "own page"), 500, failure.Upstream5xx},
		{"own page, not to be stored", page(503, "own page", "Cache-Control: no-store"), 503, failure.Upstream5xx},
		{"own page with a cookie", page(502, "own page", "Set-Cookie: a=b"), 502, failure.Upstream5xx},
		{"refused", failing(failure.New(failure.ConnectionRefused, nil)), 502, failure.ConnectionRefused},
		{"timeout", failing(failure.New(failure.FirstByteTimeout, nil)), 504, failure.FirstByteTimeout},
		{"breaker", failing(failure.New(failure.BreakerOpen, nil)), 503, failure.BreakerOpen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{Observe: rec.observe})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(300 * time.Millisecond)
					tt.do(w, r)
				})
				h := c.Handler(o)
				start := time.Now()
				cookies := 0
				for _, a := range herd(clients, func(int) answer { return do(h, "GET", "http://example.com/") }) {
					if a.status < 500 {
						t.Fatalf("got %d %q, want an error", a.status, a.body)
					}
					cookies += len(a.header["Set-Cookie"])
				}
				if took := time.Since(start); took != 300*time.Millisecond || o.calls.Load() != 1 {
					t.Errorf("%d fetches in %v, want 1 in 300ms", o.calls.Load(), took)
				}
				if cookies > 1 {
					t.Errorf("%d clients got the cookie of one", cookies)
				}
				if ev := rec.last(FillDone); ev.Failure == nil || ev.Failure.Cause != tt.event || ev.Followers != clients-1 {
					t.Errorf("event = %+v, want cause %v and %d followers", ev, tt.event, clients-1)
				}
			})
		})
	}
}

// TestHerdOnBroken: a cold page that breaks in the middle is asked for once, too:
// who saw nothing of it yet gets the failure, not a turn of its own.
func TestHerdOnBroken(t *testing.T) {
	const clients = 200
	for _, tt := range []struct {
		name string
		do   http.HandlerFunc
	}{
		{"truncated", page(200, "half", "Cache-Control: max-age=60", "Content-Length: 8")},
		{"reported", func(w http.ResponseWriter, r *http.Request) {
			page(200, "half", "Cache-Control: max-age=60")(w, r)
			failure.Report(r.Context(), failure.New(failure.BodyStall, nil))
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(300 * time.Millisecond)
					tt.do(w, r)
				})
				h := c.Handler(o)
				for _, a := range herd(clients, func(int) answer { return do(h, "GET", "http://example.com/") }) {
					if a.err == nil && a.status < 500 {
						t.Fatalf("got %d %q as if it were whole", a.status, a.body)
					}
				}
				if n := o.calls.Load(); n != 1 {
					t.Errorf("%d fetches, want 1", n)
				}
			})
		})
	}
}

// TestHerdOfManyKinds: conditional requests, ranges and HEADs in a herd are all
// answered right, and the plain ones by one fetch.
func TestHerdOfManyKinds(t *testing.T) {
	const body = "0123456789"
	c := newCache(t, Config{})
	release := make(chan struct{})
	var plain atomic.Int64
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		<-release
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Etag", `"a"`)
		if r.Method == http.MethodGet && r.Header.Get("Range") == "" {
			plain.Add(1)
		}
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader(body))
	})
	s := serve(t, c.Handler(o))
	const each = 20
	go func() {
		followers(t, c, 2*each-1)
		close(release)
	}()
	kinds := []struct {
		method, header string
		status         int
		body           string
	}{
		{"GET", "X-Y: z", 200, body},
		{"GET", `If-None-Match: "a"`, 304, ""},
		{"GET", `If-None-Match: "b"`, 200, body},
		{"GET", "Range: bytes=2-4", 206, "234"},
		{"HEAD", "X-Y: z", 200, ""},
	}
	herd(each*len(kinds), func(i int) answer {
		k := kinds[i%len(kinds)]
		a := send(context.Background(), t, &http.Client{Transport: http.DefaultTransport}, k.method, s.URL, k.header)
		if a.err != nil || a.status != k.status || a.body != k.body {
			t.Errorf("%s with %q: %d %q %v, want %d %q (%s)", k.method, k.header, a.status, a.body, a.err, k.status, k.body, a.cacheStatus())
		}
		return a
	})
	if n := plain.Load(); n != 1 {
		t.Errorf("%d whole fetches, want 1", n)
	}
}

// TestLargeForMany: what a herd on a large page holds in memory does not grow
// with it, and everybody has the first bytes before the last ones exist.
func TestLargeForMany(t *testing.T) {
	const clients = 50
	for _, tt := range []struct {
		name   string
		size   int
		length bool
		limit  int64
		most   int64 // of the fill budget
	}{
		{"stored", 3 << 20, true, 4 << 20, 3<<20 + maxChunk},
		{"stored, of unknown length", 3 << 20, false, 4 << 20, 3<<20 + maxChunk},
		{"too large, of unknown length", 3 << 20, false, 1 << 20, 1<<20 + maxChunk},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := &recorder{}
			c := newCache(t, Config{MaxObjectBytes: tt.limit, MemoryBytes: 256 << 20, Observe: rec.observe})
			chunk := []byte(strings.Repeat("0123456789abcdef", 1024))
			begin, more := make(chan struct{}), make(chan struct{})
			var most atomic.Int64
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				<-begin
				w.Header().Set("Cache-Control", "max-age=60")
				if tt.length {
					w.Header().Set("Content-Length", fmt.Sprint(tt.size))
				}
				for at := 0; at < tt.size; at += len(chunk) {
					if at == 8*len(chunk) {
						_ = http.NewResponseController(w).Flush()
						<-more
					}
					_, _ = w.Write(chunk)
					most.Store(max(most.Load(), c.store.Stats().FillBytes))
				}
			})
			s := serve(t, c.Handler(o))
			var first, all sync.WaitGroup
			first.Add(clients)
			all.Add(clients)
			for range clients {
				go func() {
					defer all.Done()
					r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
					res, err := http.DefaultTransport.RoundTrip(r)
					if err != nil {
						t.Error(err)
						first.Done()
						return
					}
					defer res.Body.Close()
					buf := make([]byte, 1)
					_, err = io.ReadFull(res.Body, buf)
					first.Done()
					n, err2 := io.Copy(io.Discard, res.Body)
					if err != nil || err2 != nil || n+1 != int64(tt.size) {
						t.Errorf("got %d bytes, %v, %v; want %d", n+1, err, err2, tt.size)
					}
				}()
			}
			followers(t, c, clients-1)
			close(begin)
			first.Wait() // before the origin has written the rest
			close(more)
			all.Wait()
			settled(t, c)
			if got := most.Load(); got > tt.most {
				t.Errorf("the fill held %d bytes, want at most %d", got, tt.most)
			}
			until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
			ev := rec.last(FillDone)
			if n := o.calls.Load(); n != 1 || ev.Followers != clients-1 || ev.Bytes != int64(tt.size) {
				t.Errorf("%d fetches, %+v; want one for all", n, ev)
			}
			if stored := int64(tt.size) <= tt.limit; ev.Stored != stored || stored && ev.Size != int64(tt.size) {
				t.Errorf("event = %+v, want it stored: %v", ev, stored)
			}
		})
	}
}
