package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// router stands for chi or gin: its context is taken back when ServeHTTP
// returns, and used by a request that already has one.
type router struct {
	pool   sync.Pool
	handle http.Handler
}

type routerKey struct{}

type routed struct {
	path string
	used int // a plain write: the race detector sees who touches it too late
}

func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc, ok := r.Context().Value(routerKey{}).(*routed)
	if !ok {
		rc, _ = rt.pool.Get().(*routed)
		if rc == nil {
			rc = &routed{}
		}
		defer func() {
			*rc = routed{}
			rt.pool.Put(rc)
		}()
		r = r.WithContext(context.WithValue(r.Context(), routerKey{}, rc))
	}
	rc.path = r.URL.Path
	rc.used++
	rt.handle.ServeHTTP(w, r)
}

// TestInsideRouter: refreshes that outlive their request enter at the outermost
// handler, not with a context that the router has taken back.
func TestInsideRouter(t *testing.T) {
	var rt router
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(failure.Track(r.Context()))
		http.StripPrefix("/app", &rt).ServeHTTP(w, r)
	})
	rec := &recorder{}
	c := newCache(t, Config{Refresh: outer, StaleIfSlow: time.Millisecond, Observe: rec.observe})
	var version atomic.Int64
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		rc := r.Context().Value(routerKey{}).(*routed)
		rc.used++
		if FillID(r.Context()) == "" {
			t.Error("no fill id in the context")
		}
		if rc.path != "/page" || r.URL.Path != "/page" {
			t.Errorf("path = %q and %q, want /page", rc.path, r.URL.Path)
		}
		if version.Load() > 0 {
			time.Sleep(20 * time.Millisecond) // outlives the request, which waits 1ms
		}
		rc.used++
		page(200, "v"+string('0'+rune(version.Load())), "Cache-Control: max-age=1, stale-while-revalidate=60")(w, r)
	})
	rt.handle = c.Handler(o)
	s := serve(t, outer)
	if a := get(t, s.URL+"/app/page"); a.body != "v0" {
		t.Fatalf("got %d %q", a.status, a.body)
	}
	settled(t, c)
	version.Store(1)
	until(t, "the refreshed page", func() bool {
		herd(10, func(int) answer { return get(t, s.URL+"/app/page") })
		return get(t, s.URL+"/app/page").body == "v1"
	})
	settled(t, c)
	if got := get(t, s.URL+"/app/page").body; got != "v1" {
		t.Errorf("got %q, want v1", got)
	}
}

// TestRefreshThatNeverArrives: the outermost handler answers by itself.
func TestRefreshThatNeverArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var limited atomic.Bool
		var inner http.Handler
		outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if limited.Load() {
				failure.Serve(w, r, failure.New(failure.Shed, nil), nil)
				return
			}
			inner.ServeHTTP(w, r)
		})
		c := newCache(t, Config{Refresh: outer})
		inner = c.Handler(page(200, "page", "Cache-Control: max-age=60"))
		do(inner, "GET", "/")
		time.Sleep(70 * time.Second)
		limited.Store(true)
		if a := do(inner, "GET", "/"); a.body != "page" || !strings.Contains(a.cacheStatus(), "hit; ttl=-10; detail=shed") {
			t.Errorf("got %q %q, want the stale page", a.body, a.cacheStatus())
		}
		limited.Store(false)
		if a := do(inner, "GET", "/"); !strings.Contains(a.cacheStatus(), "ttl=60") {
			t.Errorf("got %q, want it refreshed", a.cacheStatus())
		}
	})
}

// TestOneRefresh: many requests for a stale page make one refresh, in front of
// which they wait or which runs behind them.
func TestOneRefresh(t *testing.T) {
	for _, cc := range []string{"max-age=60", "max-age=60, stale-while-revalidate=60"} {
		t.Run(cc, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{IdentityCookies: []string{"id"}})
				o := newOrigin(page(200, "old", "Cache-Control: "+cc))
				h := c.Handler(o)
				do(h, "GET", "/")
				time.Sleep(70 * time.Second)
				o.calls.Store(0)
				o.set(func(w http.ResponseWriter, r *http.Request) {
					if _, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok {
						t.Error("no http.ServerContextKey in the context of a refresh")
					}
					time.Sleep(time.Second)
					page(200, "new", "Cache-Control: "+cc)(w, r)
				})
				want := "new"
				if strings.Contains(cc, "while") {
					want = "old"
				}
				for _, a := range herd(50, func(int) answer { return do(h, "GET", "/") }) {
					if a.body != want {
						t.Errorf("got %q, want %q", a.body, want)
					}
				}
				if want == "old" {
					herd(5, func(int) answer { return do(h, "GET", "/", "Cookie: id=1") })
				}
				time.Sleep(2 * time.Second)
				if n := o.calls.Load(); n != 1 {
					t.Errorf("%d refreshes, want 1", n)
				}
				if a := do(h, "GET", "/"); a.body != "new" {
					t.Errorf("after it: %q, want new", a.body)
				}
			})
		})
	}
}

// TestRefreshOutlivesItsRequest: the client that started it leaves.
func TestRefreshOutlivesItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "old", "Cache-Control: max-age=60"))
		h := c.Handler(o)
		do(h, "GET", "/")
		time.Sleep(70 * time.Second)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(10 * time.Second)
			page(200, "new", "Cache-Control: max-age=60")(w, r)
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		doRequest(h, httptest.NewRequest("GET", "/", nil).WithContext(ctx))
		time.Sleep(10 * time.Second)
		if a := do(h, "GET", "/"); a.body != "new" || !strings.Contains(a.cacheStatus(), "; hit; ttl=") {
			t.Errorf("got %q %q, want a hit on the new page", a.body, a.cacheStatus())
		}
	})
}

// TestRefreshBecomesStream: what was a page is an endless stream now; the
// client has its events at once.
func TestRefreshBecomesStream(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(page(200, "old", "Cache-Control: max-age=0, stale-if-error=60"))
	s := serve(t, c.Handler(o))
	get(t, s.URL)
	settled(t, c)
	c.markers.forget(keyOf(c, s.URL+"/"))
	o.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "event")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "event" {
		t.Errorf("got %q, %v; want an event", buf, err)
	}
}

// TestRefreshOfWhatIsBeingPublished: a response that is already stale while it is
// still on its way into the store answers, and is refreshed: its own fetch, which
// has not left its row yet, is no refresh of it.
func TestRefreshOfWhatIsBeingPublished(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(page(200, "hello", "Cache-Control: max-age=0, stale-while-revalidate=60"))
	h := c.Handler(o)
	busy, free := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	c.store.publisher.submit(job{del: &object{key: "nothing"}, done: func(putResult) { close(busy); <-free }})
	<-busy // the publisher publishes nothing from here on

	do(h, "GET", "/")
	if a := do(h, "GET", "/"); !strings.Contains(a.cacheStatus(), "; hit; ttl=-") {
		t.Fatalf("second = %q, want a stale answer at once", a.cacheStatus())
	}
	until(t, "the refresh", func() bool { return o.calls.Load() == 2 })
	// It is the one refresh, for as long as it is in flight or being published.
	do(h, "GET", "/")
	release()
	settled(t, c)
}

// TestOvertakenWhileSent: a refresh that somebody is being sent is not ended
// because a newer one was faster.
func TestOvertakenWhileSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{StaleIfSlow: 100 * time.Millisecond})
		more := make(chan struct{})
		o := newOrigin(nil)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			switch o.calls.Load() {
			case 1:
				page(200, "old", "Cache-Control: max-age=1", "Vary: V")(w, r)
			case 2:
				w.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(w, "slow ")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-more:
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, "but whole")
			default:
				page(200, "fast", "Cache-Control: max-age=60")(w, r)
			}
		})
		h := c.Handler(o)
		do(h, "GET", "/", "V: x")
		time.Sleep(2 * time.Second)
		if a := do(h, "GET", "/", "V: x"); a.body != "old" {
			t.Fatalf("the refresh is slow: %q", a.body)
		}
		other := make(chan answer)
		go func() { other <- do(h, "GET", "/", "V: y") }()
		synctest.Wait()
		if n := o.calls.Load(); n != 2 {
			t.Fatalf("%d fetches: the other variant's request was to share the refresh", n)
		}
		time.Sleep(2 * time.Second)
		do(h, "GET", "/", "V: x", "Cache-Control: no-cache")
		synctest.Wait()
		if n := o.calls.Load(); n != 3 {
			t.Fatalf("%d fetches, want a third", n)
		}
		if a := do(h, "GET", "/", "V: x"); a.body != "fast" {
			t.Errorf("the newer refresh brought %q", a.body)
		}
		close(more)
		if a := <-other; a.status != 200 || a.body != "slow but whole" || a.err != nil {
			t.Errorf("who was being sent the older one got %d %q, %v", a.status, a.body, a.err)
		}
	})
}

// TestRefreshHasAReserve: what is asked while a stale copy is there need not wait
// for better times; what has none may.
func TestRefreshHasAReserve(t *testing.T) {
	var reserved []bool
	c := newCache(t, Config{StaleIfError: time.Hour})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reserved = append(reserved, failure.Reserved(r.Context()))
		w.Header().Set("Cache-Control", r.URL.RawQuery)
		_, _ = io.WriteString(w, "page")
	}))
	for _, url := range []string{"/a?max-age=0,stale-if-error=60", "/a?max-age=0,stale-if-error=60", "/b?no-store", "/b?no-store"} {
		if a := do(h, http.MethodGet, url); a.status != http.StatusOK {
			t.Fatalf("%s: status %d", url, a.status)
		}
		settled(t, c)
	}
	if got, want := fmt.Sprint(reserved), "[false true false false]"; got != want {
		t.Errorf("reserved: %s, want %s", got, want)
	}
}
