package ratelimit

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Whatever a client puts in front of what the trusted proxy says, it is the client
// that the proxy saw, in one bucket, at a bounded price.
func TestHostileForwarding(t *testing.T) {
	clientIP, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8", "fd00::/8")})
	if err != nil {
		t.Fatal(err)
	}
	l := newLimiter(t, Config{Rate: 1e-6, Burst: 1, ClientIP: clientIP})
	h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	ask := func(peer string, lines ...string) int {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		for _, line := range lines {
			r.Header.Add(xForwardedFor, line)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if code := ask("10.0.0.1:1", "192.0.2.1"); code != http.StatusOK {
		t.Fatalf("the first request: %d", code)
	}
	random := strings.Repeat("\xff\x00\xc3(", 16<<10)
	for _, lines := range [][]string{
		{"192.0.2.1"},
		{strings.Repeat("x", 64<<10) + ",192.0.2.1"},
		{strings.Repeat(",", 10_000) + "192.0.2.1"},
		{random + ", 192.0.2.1"},
		{random, "192.0.2.1"},
		{"198.51.100.1, 192.0.2.1"},
		{"198.51.100.1", "192.0.2.1:65535"},
		{"::ffff:192.0.2.1"},
		{"[::ffff:192.0.2.1]:443"},
		{"::ffff:c000:201"},
		{"192.0.2.1, 10.9.9.9, [fd00::1%eth0]:8080"},
		{"192.0.2.1\t,\t10.1.1.1"},
	} {
		if code := ask("10.0.0.1:1", lines...); code != http.StatusTooManyRequests {
			t.Errorf("%.60q: %d, want 429: it is the same client", lines, code)
		}
	}
	if n := l.Len(); n != 1 {
		t.Errorf("%d buckets, want 1", n)
	}
	// What leads nowhere is one bucket for all, not one each and not the proxy's.
	granted := 0
	for i, line := range []string{
		"unknown", "_hidden", "192.0.2.1,", "192.0.2", "192.0.2.1:65536", "192.0.2.1:", "[192.0.2.1]", "192.0.2.1%eth0", "2001:db8::1%", "0.0.0.0", "::",
		strings.Repeat("10.0.0.1,", 10_000) + "10.0.0.1", strings.Repeat(",", 64<<10), random, "",
	} {
		if ask("10.0.0.1:"+strconv.Itoa(i+1), line) == http.StatusOK {
			granted++
		}
	}
	if granted != 1 || l.Len() != 1 {
		t.Errorf("%d requests without a client passed and there are %d buckets, want 1 and 1", granted, l.Len())
	}
	if code := ask("10.0.0.1:1", "10.0.0.7"); code != http.StatusOK {
		t.Errorf("a machine of our own: %d", code)
	}
}

// The price of the longest fields that a server lets in is that of a short one.
func TestHostileForwardingIsCheap(t *testing.T) {
	clientIP, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		strings.Repeat(",", 1<<20), strings.Repeat("10.0.0.1,", 1<<17) + "10.0.0.1", strings.Repeat("x", 1<<20), strings.Repeat("x", 1<<20) + ", 192.0.2.1",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "10.0.0.1:1"
		r.Header.Set(xForwardedFor, line)
		began := time.Now()
		for range 100 {
			clientIP(r)
		}
		if took := time.Since(began) / 100; took > 5*time.Millisecond {
			t.Errorf("%.20q...: %v for one, want no walk over all of it", line, took)
		}
		if n := testing.AllocsPerRun(10, func() { clientIP(r) }); n > 0 {
			t.Errorf("%.20q...: %v allocations", line, n)
		}
	}
}

// Costs that nobody would set on purpose: nothing and less is free, too much is a
// burst, and neither gives anybody a permit more.
func TestOddCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cost int
		l := newLimiter(t, Config{Limits: []Limit{
			{Name: "a", Rate: 1, Burst: 10, Cost: func(*http.Request) int { return cost }},
		}})
		ok := func(c int) bool {
			cost = c
			return get(l.Handler(okHandler), "192.0.2.1:1").StatusCode == http.StatusOK
		}
		for _, free := range []int{0, -1, math.MinInt} {
			for range 50 {
				if !ok(free) {
					t.Fatalf("cost %d was refused", free)
				}
			}
		}
		if !ok(math.MaxInt) || ok(1) {
			t.Error("a cost beyond the burst must take the burst, no more and no less")
		}
		for _, free := range []int{0, math.MinInt} {
			if !ok(free) || ok(1) {
				t.Errorf("cost %d from an empty bucket must pass and give nothing", free)
			}
		}
		for _, n := range []int{0, -5, math.MinInt} {
			if granted, wait := l.AllowN("192.0.2.1", n); !granted || wait != 0 {
				t.Errorf("AllowN(%d) = %v, %v", n, granted, wait)
			}
			l.GiveBack(n, "192.0.2.1")
		}
		if granted, wait := l.AllowN("192.0.2.1", math.MaxInt); granted || wait != 0 {
			t.Errorf("AllowN(MaxInt) = %v, %v; want refused for good", granted, wait)
		}
		if d := l.Decide(1, "192.0.2.1"); d.OK {
			t.Error("somebody was given a permit")
		}
	})
}

var okHandler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// Clients that leave while they wait, at random, under several limits: everybody
// else gets in at the rate, and in the end nobody waits and nothing is lost.
func TestLeaversInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{
			Limits:   []Limit{{Name: "a", Rate: 100, Burst: 10}, {Name: "b", Rate: 1000, Burst: 1000}},
			MaxDelay: 2 * time.Second, MaxWaiting: 1000,
		})
		var passed atomic.Int64
		h := l.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed.Add(1) }))
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 3000 {
			wg.Go(func() {
				ctx := t.Context()
				if i%2 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					time.AfterFunc(time.Duration(i%37)*time.Millisecond, cancel)
				}
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
				r.RemoteAddr = "192.0.2.1:1"
				defer func() { _ = recover() }() // to those who left nothing is written
				h.ServeHTTP(httptest.NewRecorder(), r)
			})
			time.Sleep(time.Millisecond)
		}
		wg.Wait()
		most := 10 + 100*time.Since(began).Seconds()
		if n := float64(passed.Load()); n > most+1 || n < 0.97*(10+100*3) {
			t.Errorf("%v passed, want the rate's %v", n, most)
		}
		if x := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)); x.Waiting != 0 || len(l.lines.byPlace) != 0 {
			t.Errorf("%d wait, %d lines", x.Waiting, len(l.lines.byPlace))
		}
	})
}

// A limit on wrong passwords while answers stream, are aborted, hijacked or hint
// first: what counts is the final status, once.
func TestCountOddAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		h     http.HandlerFunc
		taken int
	}{
		"stream of a good one": {func(w http.ResponseWriter, _ *http.Request) {
			for range 3 {
				_, _ = w.Write([]byte("x"))
				_ = http.NewResponseController(w).Flush()
			}
		}, 0},
		"a hint, then 401": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusUnauthorized)
		}, 1},
		"401, then 200": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			w.WriteHeader(http.StatusOK)
		}, 1},
		"401, aborted": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 1},
		"200, aborted": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 0},
		"aborted":   {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 0},
		"no status": {func(http.ResponseWriter, *http.Request) {}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 5, Count: func(status int, _ *failure.Error) bool { return status == http.StatusUnauthorized }}}})
			func() {
				defer func() { _ = recover() }()
				l.Handler(tt.h).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			}()
			if left := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)).Limits[0].Remaining; left != 5-tt.taken {
				t.Errorf("%s: %d permits are left of 5, want %d taken", name, left, tt.taken)
			}
		})
	}
}

var (
	policyMember = regexp.MustCompile(`^"(?:[ !#-\[\]-~]|\\["\\])*";q=\d{1,15};w=\d{1,15}$`)
	stateMember  = regexp.MustCompile(`^"(?:[ !#-\[\]-~]|\\["\\])*";r=\d{1,15}(?:;t=\d{1,15})?$`)
)

// For any rate and burst the fields keep the grammar of structured fields and the
// draft, Retry-After is a whole second at least, never less than the bucket's time,
// and t says the same.
func TestFieldsOfAnyLimit(t *testing.T) {
	for _, r := range []float64{math.SmallestNonzeroFloat64, 1e-9, 1.0 / 86400, 0.3, 0.999999999, 1, 1.0000001, 7, 59.5, 1e6, 1e9} {
		for _, burst := range []int{1, 2, 7, 1000, maxBurst} {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Config{Name: `we"ird\ name`, Rate: r, Burst: burst, Headers: true})
				h := l.Handler(okHandler)
				res := get(h, "192.0.2.1:1")
				at := fmt.Sprintf("rate %v, burst %d", r, burst)
				if p, s := res.Header.Get(policyField), res.Header.Get(stateField); !policyMember.MatchString(p) || !stateMember.MatchString(s) {
					t.Errorf("%s: passed with %q, %q", at, p, s)
				}
				if burst > 1000 {
					l.AllowN("192.0.2.1", burst-1)
				} else {
					for range burst - 1 {
						l.Allow("192.0.2.1")
					}
				}
				_, exact := l.Allow("192.0.2.1")
				res = get(h, "192.0.2.1:1")
				if res.StatusCode != http.StatusTooManyRequests {
					t.Fatalf("%s: %s", at, res.Status)
				}
				after, state := res.Header.Get("Retry-After"), res.Header.Get(stateField)
				n, err := strconv.ParseInt(after, 10, 64)
				if err != nil || n < 1 || float64(n) < exact.Seconds() || float64(n) > math.Ceil(exact.Seconds())+1 {
					t.Errorf("%s: Retry-After %q, the bucket has one in %v", at, after, exact)
				}
				if !stateMember.MatchString(state) || !strings.Contains(state, ";r=0;t="+after) {
					t.Errorf("%s: %q beside Retry-After %s", at, state, after)
				}
			})
		}
	}
}

// IPv4 in any clothing is one client, and so is a network of 64 bits; zones make
// no other.
func TestOneClientManyNames(t *testing.T) {
	l := newLimiter(t, Config{Rate: 1e-6, Burst: 1, Deny: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	for _, group := range [][]string{
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1"},
		{"[2001:db8::1]:1", "[2001:db8::ffff:1%eth0]:1", "2001:db8:0:0:8000::"},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1"},
	} {
		for i, peer := range group {
			want := http.StatusTooManyRequests
			if i == 0 {
				want = http.StatusOK
			}
			if got := get(l.Handler(okHandler), peer).StatusCode; got != want {
				t.Errorf("%s: %d, want %d", peer, got, want)
			}
		}
	}
	if got := get(l.Handler(okHandler), "[::ffff:203.0.113.9]:1").StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("a denied address in IPv6 clothing: %d", got)
	}
}
