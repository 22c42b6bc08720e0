package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// TestLeaderLeaves: a follower gets all of it, and so does the store.
func TestLeaderLeaves(t *testing.T) {
	for _, followed := range []bool{true, false} {
		t.Run(fmt.Sprint("followed ", followed), func(t *testing.T) {
			c := newCache(t, Config{})
			headers, more := make(chan struct{}), make(chan struct{})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(w, "first ")
				_ = http.NewResponseController(w).Flush()
				close(headers)
				<-more
				if r.Context().Err() != nil {
					return
				}
				_, _ = io.WriteString(w, "last")
			})
			s := serve(t, c.Handler(o))
			ctx, leave := context.WithCancel(context.Background())
			r, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			<-headers
			got := make(chan answer, 1)
			if followed {
				go func() { got <- get(t, s.URL) }()
				followers(t, c, 1)
			}
			leave()
			res.Body.Close()
			until(t, "the leader's leaving to be noticed", func() bool {
				fl := &c.store.flights
				fl.mu.Lock()
				defer fl.mu.Unlock()
				for _, rw := range fl.rows {
					f := rw.fills[0]
					f.mu.Lock()
					defer f.mu.Unlock()
					return f.timer != nil
				}
				return false
			})
			close(more)
			if followed {
				if a := <-got; a.body != "first last" || a.err != nil {
					t.Errorf("follower got %q, %v", a.body, a.err)
				}
			}
			settled(t, c)
			if a := get(t, s.URL); a.body != "first last" || !strings.Contains(a.cacheStatus(), "hit") {
				t.Errorf("after that: %q %q, want a hit", a.body, a.cacheStatus())
			}
		})
	}
}

// TestNobodyWaits: a fetch whose only client leaves before the headers is given
// up, and a later request does not join it.
func TestNobodyWaits(t *testing.T) {
	c := newCache(t, Config{})
	arrived, stopped := make(chan struct{}, 1), make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		if !errors.Is(context.Cause(r.Context()), errAbandoned) {
			t.Errorf("cause = %v", context.Cause(r.Context()))
		}
		close(stopped)
	})
	h := c.Handler(o)
	ctx, leave := context.WithCancel(failure.Track(context.Background()))
	done := make(chan answer)
	go func() { done <- doRequest(h, httptest.NewRequest("GET", "/", nil).WithContext(ctx)) }()
	<-arrived
	leave()
	<-stopped
	if a := <-done; a.body != "" {
		t.Errorf("a client that left got %q", a.body)
	}
	if e, ok := failure.From(ctx); !ok || e.Cause != failure.ClientGone {
		t.Errorf("failure = %v, want client_gone", e)
	}
	o.set(page(200, "new", "Cache-Control: max-age=60"))
	if a := do(h, "GET", "/"); a.body != "new" {
		t.Errorf("the next request got %q, want new", a.body)
	}
}

func TestPanicOfNextIsRaisedAgain(t *testing.T) {
	type special struct{ n int }
	value := &special{1}
	for _, tt := range []struct {
		name  string
		first string
		value any
	}{
		{"before the headers", "", value},
		{"after them", strings.Repeat("x", 10000), value},
		{"abort", strings.Repeat("x", 10000), http.ErrAbortHandler},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rec := &recorder{}
			c := newCache(t, Config{Observe: rec.observe})
			h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.first != "" {
					page(200, tt.first, "Cache-Control: max-age=60")(w, r)
				}
				panic(tt.value)
			}))
			var got any
			w := httptest.NewRecorder()
			func() {
				defer func() { got = recover() }()
				h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			}()
			if got != tt.value {
				t.Errorf("panic value = %v, want %v", got, tt.value)
			}
			settled(t, c)
			if at, _ := c.store.find([]byte(keyOf(c, "/")), nil); at.object != nil {
				t.Error("a broken response was stored")
			}
			if ev := rec.last(Served); ev.Outcome != Failed || ev.Failure == nil {
				t.Errorf("event = %+v", ev)
			}
		})
	}
}

// keyOf is the primary key of a request as httptest makes it.
func keyOf(c *Cache, url string) string {
	r := httptest.NewRequest("GET", url, nil)
	return string(semantics.AppendKey(nil, c.cfg.Namespace, c.cfg.Scheme(r), r))
}

// TestBrokenBodyIsNotStored: neither leader nor follower is told that a broken
// body is whole, and nothing of it is stored.
func TestBrokenBodyIsNotStored(t *testing.T) {
	for _, tt := range []struct {
		name   string
		length string
		end    func(r *http.Request)
	}{
		{"too short", "20000", func(*http.Request) {}},
		{"aborted", "", func(*http.Request) { panic(http.ErrAbortHandler) }},
		{"reported", "", func(r *http.Request) { failure.Report(r.Context(), failure.New(failure.BodyStall, nil)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			release := make(chan struct{})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				<-release
				w.Header().Set("Cache-Control", "max-age=60")
				if tt.length != "" {
					w.Header().Set("Content-Length", tt.length)
				}
				_, _ = w.Write(bytes.Repeat([]byte("x"), 10000))
				tt.end(r)
			})
			s := serve(t, c.Handler(o))
			s.Config.ErrorLog = nil
			go func() {
				followers(t, c, 1)
				close(release)
			}()
			for _, a := range herd(2, func(int) answer { return get(t, s.URL) }) {
				if a.err == nil && a.status == 200 {
					t.Errorf("a broken body looked whole: %d, %d bytes", a.status, len(a.body))
				}
			}
			settled(t, c)
			n := o.calls.Load()
			get(t, s.URL)
			if o.calls.Load() == n {
				t.Error("a broken body was stored")
			}
		})
	}
}

// TestReverseProxy: httputil.ReverseProxy returns normally on a broken body
// unless the context says that a server will notice. In process none would.
func TestReverseProxy(t *testing.T) {
	broken := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = w.Write(make([]byte, 100_000))
		_ = http.NewResponseController(w).Flush()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			conn.Close()
		}
	}))
	u, err := url.Parse(broken.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	c := newCache(t, Config{})
	h := c.Handler(proxy)
	for range 2 {
		a := do(h, "GET", "/")
		if a.err == nil || strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("got %d, %d bytes, %q: want it aborted", a.status, len(a.body), a.cacheStatus())
		}
		settled(t, c)
	}
}

// TestGoexit: a handler that ends its goroutine leaves nobody waiting.
func TestGoexit(t *testing.T) {
	c := newCache(t, Config{})
	arrived, release := make(chan struct{}), make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		runtime.Goexit()
	})
	h := c.Handler(o)
	go do(h, "GET", "/")
	<-arrived
	o.set(page(200, "next", "Cache-Control: max-age=60"))
	got := make(chan answer)
	go func() { got <- do(h, "GET", "/") }()
	followers(t, c, 1)
	close(release)
	if a := <-got; a.body != "next" {
		t.Errorf("the follower got %d %q, want a fetch of its own", a.status, a.body)
	}
	settled(t, c)
}

// TestOuterWriterPanics: a panic of what stands outside ends the request, not
// the process.
func TestOuterWriterPanics(t *testing.T) {
	c := newCache(t, Config{})
	inner := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, "body")
	}))
	var got any
	func() {
		defer func() { got = recover() }()
		inner.ServeHTTP(explosive{httptest.NewRecorder()}, httptest.NewRequest("GET", "/", nil))
	}()
	if got != "boom" {
		t.Errorf("panic value = %v, want boom", got)
	}
	settled(t, c)
}

type explosive struct{ http.ResponseWriter }

func (explosive) WriteHeader(int) { panic("boom") }
