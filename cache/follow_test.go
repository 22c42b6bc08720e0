package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// herd sends n equal requests at once and returns the answers.
func herd(n int, send func(i int) answer) []answer {
	answers := make([]answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { answers[i] = send(i) })
	}
	wg.Wait()
	return answers
}

func TestHerdMakesOneFetch(t *testing.T) {
	const clients = 400
	c := newCache(t, Config{})
	body := strings.Repeat("0123456789", 20000)
	release := make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		<-release
		page(200, body, "Cache-Control: max-age=60")(w, r)
	})
	s := serve(t, c.Handler(o))
	go func() {
		followers(t, c, clients-1)
		close(release)
	}()
	collapsed := 0
	for _, a := range herd(clients, func(int) answer { return get(t, s.URL) }) {
		if a.err != nil || a.status != 200 || a.body != body {
			t.Fatalf("got %d, %d bytes, %v; want 200, %d bytes", a.status, len(a.body), a.err, len(body))
		}
		if strings.Contains(a.cacheStatus(), "collapsed") {
			collapsed++
		}
	}
	if n := o.calls.Load(); n != 1 || collapsed != clients-1 {
		t.Errorf("%d fetches and %d collapsed requests, want 1 and %d", n, collapsed, clients-1)
	}
}

// TestUncacheableIsNotSerialized: of 20 requests for what can't be shared, 19
// wait for the headers of the first, not for each other.
func TestUncacheableIsNotSerialized(t *testing.T) {
	for _, cc := range []string{"private", "no-store", "max-age=0", "no-cache", "max-age=0, must-revalidate"} {
		t.Run(cc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					page(200, "mine", "Cache-Control: "+cc, `Etag: "a"`)(w, r)
				})
				h := c.Handler(o)
				for round, limit := range []time.Duration{2 * time.Second, time.Second} {
					start := time.Now()
					for _, a := range herd(20, func(int) answer { return do(h, "GET", "/") }) {
						if a.status != 200 || a.body != "mine" {
							t.Fatalf("got %d %q", a.status, a.body)
						}
					}
					if took := time.Since(start); took > limit {
						t.Errorf("round %d took %v, want at most %v", round, took, limit)
					}
				}
			})
		})
	}
}

func TestNotCollapsed(t *testing.T) {
	for _, tt := range []struct {
		name, header string
		cc           string
		want         int64
	}{
		{"authorization", "Authorization: Basic eA==", "max-age=60", 3},
		{"identity cookie", "Cookie: a=b; session=1", "max-age=60", 3},
		{"another cookie", "Cookie: a=b", "max-age=60", 1},
		{"no-store", "Cache-Control: no-store", "max-age=60", 3},
		{"reload", "Cache-Control: no-cache", "max-age=60", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{IdentityCookies: []string{"session"}})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					page(200, "page", "Cache-Control: "+tt.cc)(w, r)
				})
				h := c.Handler(o)
				start := time.Now()
				herd(3, func(int) answer { return do(h, "GET", "/", tt.header) })
				if n, took := o.calls.Load(), time.Since(start); n != tt.want || took != time.Second {
					t.Errorf("%d fetches in %v, want %d in 1s", n, took, tt.want)
				}
			})
		})
	}
}

// TestFollowerStreams: a follower has the first bytes before the last ones
// exist, early hints and trailers.
func TestFollowerStreams(t *testing.T) {
	c := newCache(t, Config{})
	begin, more := make(chan struct{}), make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		<-begin
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "first ")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "last")
		w.Header().Set("X-Sum", "10")
		w.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	})
	s := serve(t, c.Handler(o))
	var wg sync.WaitGroup
	var first sync.WaitGroup
	first.Add(2)
	for range 2 {
		wg.Go(func() {
			hints := make(chan string, 1)
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					hints <- fmt.Sprint(code, " ", h.Get("Link"))
					return nil
				},
			})
			r, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				first.Done()
				return
			}
			defer res.Body.Close()
			select {
			case got := <-hints:
				if want := "103 </a.css>; rel=preload"; got != want {
					t.Errorf("hint = %q, want %q", got, want)
				}
			default:
				t.Error("no early hint")
			}
			buf := make([]byte, 6)
			if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "first " {
				t.Errorf("first bytes = %q, %v", buf, err)
			}
			first.Done()
			rest, err := io.ReadAll(res.Body)
			if err != nil || string(rest) != "last" || res.Trailer.Get("X-Sum") != "10" || res.Trailer.Get("X-Late") != "yes" {
				t.Errorf("rest = %q, %v, trailer %v", rest, err, res.Trailer)
			}
		})
	}
	followers(t, c, 1)
	close(begin)
	first.Wait()
	close(more)
	wg.Wait()
	settled(t, c)
	if a := get(t, s.URL); a.body != "first last" || a.trailer.Get("X-Sum") != "10" || !strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("hit = %q, trailer %v, %q", a.body, a.trailer, a.cacheStatus())
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

// TestFailureIsShared: the followers of a failed fetch get its failure where the
// table says so, and fetch for themselves where it does not.
func TestFailureIsShared(t *testing.T) {
	for _, tt := range []struct {
		e    *failure.Error
		want int64
	}{
		{failure.New(failure.ConnectionRefused, nil), 1},
		{&failure.Error{Cause: failure.Upstream5xx, Status: 503}, 1},
		{failure.New(failure.Shed, nil), 5},
		{nil, 1}, // a foreign 500
	} {
		t.Run(fmt.Sprint(tt.e), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					switch {
					case tt.e == nil:
						page(500, "own")(w, r)
					case tt.e.Own():
						failure.Serve(w, r, tt.e, nil)
					default:
						failure.Report(r.Context(), tt.e)
						page(tt.e.Status, "own")(w, r)
					}
				})
				h := c.Handler(o)
				var shared atomic.Int64
				for _, a := range herd(5, func(int) answer {
					r := httptest.NewRequest("GET", "/", nil)
					r = r.WithContext(failure.Track(r.Context()))
					a := doRequest(h, r)
					if e, ok := failure.From(r.Context()); ok && e.Noted(failure.SharedFill) {
						shared.Add(1)
					} else if tt.e != nil && (!ok || e.Cause != tt.e.Cause) {
						t.Errorf("failure = %v, want %v", e, tt.e)
					}
					return a
				}) {
					want := http.StatusInternalServerError
					if tt.e != nil {
						want = tt.e.HTTPStatus()
					}
					if a.status != want || a.body == "" {
						t.Errorf("got %d %q, want %d", a.status, a.body, want)
					}
				}
				n, s := o.calls.Load(), shared.Load()
				if n != tt.want || tt.e != nil && s != 5-tt.want {
					t.Errorf("%d fetches, %d told that it was shared; want %d, %d", n, s, tt.want, 5-tt.want)
				}
			})
		})
	}
}

// TestFollowerWait: at the limit one is let out; the rest waits for that one, and
// for FillTimeout in all, and then gets fill_timeout.
func TestFollowerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{FollowerWait: 10 * time.Second, FillTimeout: 20 * time.Second})
		o := newOrigin(nil)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(100 * time.Second):
			case <-r.Context().Done():
			}
			page(200, "late", "Cache-Control: max-age=60")(w, r)
		})
		h := c.Handler(o)
		start := time.Now()
		at := make([]string, 5)
		herd(5, func(i int) answer {
			a := do(h, "GET", "/")
			at[i] = fmt.Sprint(time.Since(start), " ", a.status)
			return a
		})
		count := map[string]int{}
		for _, s := range at {
			count[s]++
		}
		if n := o.calls.Load(); n != 2 || count["1m40s 200"] != 1 || count["1m50s 200"] != 1 || count["20s 504"] != 3 {
			t.Errorf("%d fetches, %v; want the leader, one that was let out, and three 504", n, count)
		}
	})
}

// TestHungFetch: a fetch that hangs keeps those who wait for it from an origin
// that is well again for no longer than FollowerWait, and one that stays ill is
// asked once in that time, however many wait.
func TestHungFetch(t *testing.T) {
	for _, well := range []bool{true, false} {
		t.Run(fmt.Sprint("well again ", well), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{FollowerWait: 5 * time.Second})
				o := newOrigin(nil)
				o.set(func(w http.ResponseWriter, r *http.Request) {
					if well && o.calls.Load() > 1 {
						page(200, "page", "Cache-Control: max-age=60")(w, r)
						return
					}
					<-r.Context().Done()
				})
				h := c.Handler(o)
				start := time.Now()
				var late atomic.Int64
				herd(100, func(i int) answer {
					ctx, cancel := context.WithTimeout(context.Background(), 24*time.Second)
					defer cancel()
					time.Sleep(time.Duration(i) * 40 * time.Millisecond)
					a := doRequest(h, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
					if well && i > 0 && (a.status != 200 || a.body != "page") {
						t.Errorf("request %d got %d %q", i, a.status, a.body)
					}
					if i > 0 && time.Since(start) > 9*time.Second {
						late.Add(1)
					}
					return a
				})
				n := o.calls.Load()
				if well && (n != 2 || late.Load() != 0) {
					t.Errorf("%d fetches, %d answered late; want 2, 0", n, late.Load())
				}
				if !well && (n < 4 || n > 6) {
					t.Errorf("%d fetches in 28s, want one in 5s", n)
				}
			})
		})
	}
}
