package cache

import (
	"context"
	"errors"
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

func TestRule(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const ms = time.Millisecond
	for _, tt := range []struct {
		name string
		in   trouble
		want ruling
	}{
		{"nothing known", trouble{}, attempt},
		{"failed just now", trouble{failed: ago(300 * ms), until: now.Add(time.Second)}, hold},
		{"failed a while ago", trouble{failed: ago(2 * time.Second), until: now.Add(time.Second)}, elect},
		{"answered since", trouble{failed: ago(2 * time.Second), until: now.Add(time.Second), answered: ago(ms)}, attempt},
		{"answered since, but failed just now", trouble{failed: ago(300 * ms), until: now.Add(time.Second), answered: ago(ms)}, hold},
		{"answered before", trouble{failed: ago(2 * time.Second), until: now.Add(time.Second), answered: ago(3 * time.Second)}, elect},
		{"hung and failed, answered meanwhile", trouble{begun: ago(15 * time.Second), failed: ago(ms), until: now.Add(time.Second), answered: ago(time.Second)}, attempt},
		{"hung and failed", trouble{begun: ago(15 * time.Second), failed: ago(ms), until: now.Add(time.Second)}, hold},
		{"the pause is over", trouble{failed: ago(9 * time.Second), until: ago(ms)}, attempt},
		{"Retry-After", trouble{failed: ago(9 * time.Second), until: now.Add(ms), told: true, answered: ago(ms)}, hold},
		{"in flight", trouble{oldest: ago(300 * ms), newest: ago(300 * ms)}, join},
		{"in flight, slow", trouble{oldest: ago(700 * ms), newest: ago(700 * ms)}, hold},
		{"in flight, hung", trouble{oldest: ago(time.Second), newest: ago(time.Second)}, elect},
		{"in flight, hung, answered since", trouble{oldest: ago(time.Second), newest: ago(time.Second), answered: ago(ms)}, attempt},
		{"the second in flight", trouble{oldest: ago(3 * time.Second), newest: ago(300 * ms)}, hold},
		{"the second in flight, answered since", trouble{oldest: ago(3 * time.Second), newest: ago(300 * ms), answered: ago(500 * ms)}, join},
		{"in flight for a page that failed", trouble{failed: ago(3 * time.Second), until: now.Add(time.Second), oldest: ago(ms), newest: ago(ms)}, hold},
		{"in flight for a page that failed, answered since", trouble{failed: ago(3 * time.Second), until: now.Add(time.Second), answered: ago(time.Second), oldest: ago(ms), newest: ago(ms)}, join},
		{"crowded", trouble{crowded: true}, elect},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.in.begun.IsZero() {
				tt.in.begun = tt.in.failed
			}
			tt.in.now, tt.in.every, tt.in.slow, tt.in.hung = now, time.Second, 500*ms, time.Second
			if got := tt.in.rule(); got != tt.want {
				t.Errorf("rule() = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRuleWaits: without StaleIfSlow a refresh in flight is waited for.
func TestRuleWaits(t *testing.T) {
	now := time.Now()
	in := trouble{now: now, every: time.Second, hung: 5 * time.Second, oldest: now.Add(-4 * time.Second), newest: now.Add(-4 * time.Second)}
	if got := in.rule(); got != join {
		t.Errorf("rule() = %v, want join", got)
	}
}

func TestSiteOf(t *testing.T) {
	c := newCache(t, Config{Namespace: "n"})
	a, b, other := keyOf(c, "http://a.example/1"), keyOf(c, "http://a.example/2?x=/"), keyOf(c, "http://b.example/1")
	if siteOf(a) != siteOf(b) || siteOf(a) == siteOf(other) {
		t.Errorf("siteOf: %q, %q, %q; want the first two equal, the third not", siteOf(a), siteOf(b), siteOf(other))
	}
	s := sites{items: make(map[string]*site)}
	for i := range 3 * maxSites {
		s.of(fmt.Sprint("n\x00/http\x00/", i, "\x00/path")).began()
	}
	if len(s.items) > maxSites {
		t.Errorf("%d sites, want at most %d", len(s.items), maxSites)
	}
	for _, it := range s.items {
		it.ended(false)
	}
	s.of("n\x00/http\x00/fresh\x00/path").began()
	if s.items["n\x00/http\x00/fresh\x00/"] == nil {
		t.Error("no room was made of idle sites")
	}
}

// ward is a set of hot pages of an origin in trouble, on a virtual clock.
type ward struct {
	t       *testing.T
	h       http.Handler
	mu      sync.Mutex
	at      map[string][]time.Duration // attempts of each page
	now     atomic.Int64               // requests in next
	most    int64
	start   time.Time
	trouble atomic.Pointer[http.HandlerFunc]
}

const wardPages = 20

func newWard(t *testing.T, cfg Config) *ward {
	w := &ward{t: t, at: make(map[string][]time.Duration), start: time.Now()}
	w.h = newCache(t, cfg).Handler(w)
	for i := range wardPages {
		do(w.h, "GET", fmt.Sprint("/", i))
	}
	synctest.Wait()
	time.Sleep(2 * time.Second)
	return w
}

func (w *ward) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.at[r.URL.Path] = append(w.at[r.URL.Path], time.Since(w.start))
	w.most = max(w.most, w.now.Add(1))
	w.mu.Unlock()
	defer w.now.Add(-1)
	if h := w.trouble.Load(); h != nil {
		(*h)(out, r)
		return
	}
	page(200, "old", "Cache-Control: max-age=1")(out, r)
}

// visit asks for all pages, each ten times a second, and returns the last bodies,
// the longest wait, and how many waited.
func (w *ward) visit(long time.Duration) (last map[string]string, longest time.Duration, waited int) {
	var mu sync.Mutex
	last = make(map[string]string)
	var wg sync.WaitGroup
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		for i := range wardPages {
			path := fmt.Sprint("/", i)
			wg.Go(func() {
				begun := time.Now()
				a := do(w.h, "GET", path)
				mu.Lock()
				defer mu.Unlock()
				if took := time.Since(begun); took > 0 {
					longest = max(longest, took)
					waited++
				}
				if a.status != 200 || a.err != nil || a.header.Get("Proxy-Status") != "" {
					w.t.Errorf("%s: %d %q %v (%s)", path, a.status, a.body, a.err, a.cacheStatus())
				}
				last[path] = a.body
			})
		}
	}
	wg.Wait()
	return last, longest, waited
}

// TestOutage: however an origin fails, it is asked for each page at most twice a
// second and at length by one page in a second, nobody waits but the first, and
// soon after it is well all pages are fresh.
func TestOutage(t *testing.T) {
	trickle := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1")
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, ".")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second):
			}
		}
	}
	for _, tt := range []struct {
		name string
		do   http.HandlerFunc
	}{
		{"503", page(503, "broken")},
		{"refused", failing(&failure.Error{Cause: failure.ConnectionRefused, Attempts: 1})},
		{"stall", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"stall with a limit", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(15 * time.Second):
				failing(&failure.Error{Cause: failure.FirstByteTimeout, Attempts: 1})(w, r)
			}
		}},
		{"trickle", trickle},
		{"cut", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=1")
			w.Header().Set("Content-Length", "10000")
			_, _ = io.WriteString(w, strings.Repeat("x", 5000))
			panic(http.ErrAbortHandler)
		}},
	} {
		for _, long := range []time.Duration{6 * time.Second, 35 * time.Second} {
			t.Run(fmt.Sprint(tt.name, " ", long), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWard(t, Config{StaleIfSlow: 500 * time.Millisecond})
					w.trouble.Store(&tt.do)
					w.mu.Lock()
					clear(w.at)
					w.mu.Unlock()
					_, longest, waited := w.visit(long)
					if longest > 500*time.Millisecond || waited > wardPages*5+int(long/time.Second)*2 {
						t.Errorf("%d requests waited, up to %v; want few, up to 500ms", waited, longest)
					}
					w.mu.Lock()
					all := 0
					for path, at := range w.at {
						all += len(at)
						for i := 2; i < len(at); i++ {
							if at[i]-at[i-2] < time.Second {
								t.Errorf("%s was asked for at %v: more than twice a second", path, at[:i+1])
								break
							}
						}
					}
					// One for each page at first and then after 8s, 16s and 30s, and one a second for all.
					if most := wardPages*(1+int(long/(8*time.Second))) + int(long/time.Second) + 1; all > most {
						t.Errorf("%d attempts in %v, want at most %d", all, long, most)
					}
					if w.most > 2*wardPages {
						t.Errorf("%d at once, want at most two per page", w.most)
					}
					w.mu.Unlock()
					cured := page(200, "new", "Cache-Control: max-age=60")
					w.trouble.Store(&cured)
					last, _, _ := w.visit(1500 * time.Millisecond)
					for path, body := range last {
						if body != "new" {
							t.Errorf("1.5s after the cure %s is %q", path, body)
						}
					}
					time.Sleep(2 * time.Minute)
				})
			})
		}
	}
}

// TestHungRefreshIsSuperseded: what it brings later is not taken, and its slot
// is given up, cause of death included.
func TestHungRefreshIsSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, Config{StaleIfSlow: 100 * time.Millisecond})
		var causes []error
		stall := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			causes = append(causes, context.Cause(r.Context()))
		})
		w.trouble.Store(&stall)
		do(w.h, "GET", "/0")
		time.Sleep(time.Second)
		w.trouble.Store(nil)
		do(w.h, "GET", "/0")
		synctest.Wait()
		if a := do(w.h, "GET", "/0"); !strings.Contains(a.cacheStatus(), "; hit; ttl=1") {
			t.Errorf("got %q, want a hit on the new page", a.cacheStatus())
		}
		if len(causes) != 1 || !errors.Is(causes[0], context.Canceled) || !errors.Is(causes[0], errSuperseded) {
			t.Errorf("the hung refresh ended for %v, want it superseded", causes)
		}
	})
}

// TestLostRefreshes: handlers that never return are not asked for ever.
func TestLostRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, Config{StaleIfSlow: 500 * time.Millisecond})
		over := make(chan struct{})
		deaf := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over })
		w.trouble.Store(&deaf)
		w.visit(2 * time.Minute)
		if n := w.now.Load(); n > crowd+maxLost+2*wardPages {
			t.Errorf("%d calls of a handler that never returns, want them bounded", n)
		}
		w.trouble.Store(nil)
		close(over)
		w.visit(2 * time.Second)
	})
}

// TestWithdrawn: a refresh whose answer is not for everybody takes the old copy
// away.
func TestWithdrawn(t *testing.T) {
	for _, tt := range []struct {
		header, request string
		gone            bool
	}{
		{"Cache-Control: private", "", true},
		{"Cache-Control: no-store", "", true},
		{"Set-Cookie: a=b", "", true},
		{"Vary: *", "", true},
		{"Cache-Control: private", "Authorization: Basic eA==", false}, // it is about that visitor
		{"X-Y: z", "", false},
	} {
		for _, status := range []int{200, 304} {
			if status == 304 && (tt.header == "Vary: *" || tt.header == "X-Y: z" || tt.header == "Set-Cookie: a=b") { // a cookie beside a 304 is for who asked; the page stays
				continue
			}
			t.Run(fmt.Sprint(status, " ", tt.header, " ", tt.request), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, Config{StaleIfSlow: time.Second})
					o := newOrigin(page(200, "old", "Cache-Control: public, max-age=1", `Etag: "a"`))
					h := c.Handler(o)
					do(h, "GET", "/")
					synctest.Wait()
					time.Sleep(2 * time.Second)
					lines := []string{tt.header}
					if status == 304 {
						lines = append(lines, `Etag: "a"`)
					}
					o.set(func(w http.ResponseWriter, r *http.Request) {
						if status == 304 {
							page(304, "", lines...)(w, r)
							return
						}
						page(200, "mine", lines...)(w, r)
					})
					do(h, "GET", "/", tt.request)
					synctest.Wait()
					o.set(failing(failure.New(failure.ConnectionRefused, nil)))
					time.Sleep(2 * time.Second)
					a := do(h, "GET", "/")
					if gone := a.status != 200; gone != tt.gone {
						t.Errorf("in an outage: %d %q (%s), want the old copy gone: %v", a.status, a.body, a.cacheStatus(), tt.gone)
					}
				})
			})
		}
	}
}

// TestHitForMiss: while a URL is marked nobody waits for another's headers; a
// negative life means that all do, once each.
func TestHitForMiss(t *testing.T) {
	for _, tt := range []struct {
		life  time.Duration
		after time.Duration
		want  time.Duration
	}{
		{0, 119 * time.Second, time.Second},
		{0, 121 * time.Second, 2 * time.Second},
		{10 * time.Second, 9 * time.Second, time.Second},
		{10 * time.Second, 11 * time.Second, 2 * time.Second},
		{-1, time.Second, 2 * time.Second},
	} {
		t.Run(fmt.Sprint(tt.life, " ", tt.after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCache(t, Config{HitForMiss: tt.life})
				o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					page(200, "mine", "Cache-Control: private")(w, r)
				})
				h := c.Handler(o)
				do(h, "GET", "/")
				time.Sleep(tt.after)
				start := time.Now()
				herd(20, func(int) answer { return do(h, "GET", "/") })
				if took := time.Since(start); took != tt.want {
					t.Errorf("a herd took %v, want %v", took, tt.want)
				}
			})
		})
	}
}

// TestMarkerEnds: a response that may be shared ends the marker; those that may
// not prolong it.
func TestMarkerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{HitForMiss: 10 * time.Second})
		var cc atomic.Pointer[string]
		set := func(s string) { cc.Store(&s) }
		set("no-store")
		o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			page(200, "x", "Cache-Control: "+*cc.Load())(w, r)
		})
		h := c.Handler(o)
		for range 3 {
			do(h, "GET", "/")
			time.Sleep(6 * time.Second)
		}
		start := time.Now()
		herd(10, func(int) answer { return do(h, "GET", "/") })
		if took := time.Since(start); took != time.Second {
			t.Errorf("a herd after 20s of private answers took %v, want 1s", took)
		}
		set("max-age=3")
		do(h, "GET", "/")
		synctest.Wait()
		time.Sleep(5 * time.Second)
		o.calls.Store(0)
		herd(10, func(int) answer { return do(h, "GET", "/") })
		if n := o.calls.Load(); n != 1 {
			t.Errorf("%d fetches of what is shared again, want 1", n)
		}
	})
}
