package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
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

// TestFollowerWait: at the limit one is let out; the rest waits for that one and
// then gets fill_timeout.
func TestFollowerWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{FollowerWait: 10 * time.Second})
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

func TestTooLarge(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprint("length known ", known), func(t *testing.T) {
			rec := &recorder{}
			c := newCache(t, Config{MaxObjectBytes: size - 1, Observe: rec.observe})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				if known {
					w.Header().Set("Content-Length", strconv.Itoa(size))
				}
				_, _ = io.WriteString(w, body)
			})
			s := serve(t, c.Handler(o))
			for _, a := range herd(4, func(int) answer { return get(t, s.URL) }) {
				if a.body != body || a.err != nil {
					t.Errorf("got %d bytes, %v; want %d", len(a.body), a.err, size)
				}
			}
			settled(t, c)
			if got := rec.last(FillDone).NotStored; got != reasonTooLarge {
				t.Errorf("not stored because of %q, want %q", got, reasonTooLarge)
			}
			if a := get(t, s.URL); strings.Contains(a.cacheStatus(), "hit") {
				t.Error("it was stored")
			}
			until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestBudgetExhausted: without memory for fills a response streams unstored.
func TestBudgetExhausted(t *testing.T) {
	c := newCache(t, Config{})
	if !c.store.budget.take(c.store.budget.limit - 100<<10) {
		t.Fatal("the budget is not empty")
	}
	body := strings.Repeat("0123456789abcdef", 1<<20/16)
	s := serve(t, c.Handler(page(200, body, "Cache-Control: max-age=60")))
	for range 2 {
		if a := get(t, s.URL); a.body != body || a.err != nil || strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("got %d bytes, %v, %q; want all of it, unstored", len(a.body), a.err, a.cacheStatus())
		}
	}
	settled(t, c)
	c.store.budget.give(c.store.budget.limit - 100<<10)
	if got := c.store.Stats().FillBytes; got != 0 {
		t.Errorf("%d bytes of the budget are lost", got)
	}
}

// TestSlowReader: within the object limit a client that reads nothing slows
// nobody; and what a windowed fill keeps for it is bounded.
func TestSlowReader(t *testing.T) {
	c := newCache(t, Config{})
	const size = 3 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	begun := make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, body[:size/2])
		close(begun)
		_, _ = io.WriteString(w, body[size/2:])
	})
	s := serve(t, c.Handler(o))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+s.Listener.Addr().String()+"\r\n\r\n")
	<-begun // although its client has read nothing
	if a := get(t, s.URL); a.body != body {
		t.Errorf("another client got %d bytes, want %d", len(a.body), size)
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != body {
		t.Errorf("the slow client got %d bytes, %v; want %d", len(got), err, size)
	}
	res.Body.Close()
	conn.Close()
}

// TestWindow: a fill that is not stored is never further ahead of its slowest
// reader than the window, and a reader that takes nothing is cut.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{MaxObjectBytes: 100 << 10})
		f := newFill(&query{cache: c, primary: "k", header: http.Header{}, ctx: context.Background()})
		slow, quick := f.firstReader(false), f.firstReader(false)
		f.open(head{status: 200, store: true, length: -1})
		const size = 4 << 20
		go func() {
			for range size / 1000 {
				if err := f.append(make([]byte, 1000)); err != nil {
					t.Error(err)
					return
				}
			}
			f.end(verdict{}, nil, nil)
			f.published()
		}()
		start, total := time.Now(), 0
		for state := readData; state != readEnd; {
			var b []byte
			b, state = quick.next()
			switch state {
			case readDry:
				f.mu.Lock()
				held := 0
				for _, ch := range f.chunks {
					held += cap(ch.buf)
				}
				f.mu.Unlock()
				if held > window+2*maxChunk {
					t.Fatalf("%d bytes held, want at most the window", held)
				}
				<-quick.wake
			case readData:
				quick.took(len(b))
				total += len(b)
			case readEnd:
			default:
				t.Fatalf("state = %v", state)
			}
		}
		if total != size/1000*1000 {
			t.Errorf("the quick reader got %d bytes", total)
		}
		if took := time.Since(start); took != readerStall {
			t.Errorf("the slow reader held the others up for %v, want %v", took, readerStall)
		}
		if _, state := slow.next(); state != readCut {
			t.Errorf("the slow reader's state = %v, want cut", state)
		}
		slow.leave()
		quick.leave()
		if got := c.store.Stats().FillBytes; got != 0 {
			t.Errorf("%d bytes of the budget are lost", got)
		}
		f.cancel(nil)
	})
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
