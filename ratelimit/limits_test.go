package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

func constant(key string) func(*http.Request) (string, bool) {
	return func(*http.Request) (string, bool) { return key, true }
}

func TestNewValidatesLimits(t *testing.T) {
	two := []Limit{{Name: "a", Rate: 1}, {Rate: 2}}
	good := []Config{
		{Limits: two},
		{Limits: two, Name: "b", Allow: prefixes("0.0.0.0/0"), Deny: prefixes("::/0"), MaxDelay: time.Minute, Jitter: 1, IPv4Bits: 24, IPv6Bits: 128},
		{BehindProxy: true, ClientIP: PeerIP, Rate: 1},
		{BehindProxy: true, Rate: 1, Key: constant("k")},
	}
	for _, cfg := range good {
		if _, err := New(cfg); err != nil {
			t.Errorf("New(%+v) = %v, want no error", cfg, err)
		}
	}
	many := make([]Limit, maxLimits+1)
	for i := range many {
		many[i] = Limit{Name: fmt.Sprint(i), Rate: 1}
	}
	bad := []struct {
		cfg  Config
		want []string
	}{
		{Config{Limits: []Limit{{Rate: 1}, {Rate: 1}}}, []string{`Config.Limits[1].Name is "client": must be another one than that of Limits[0]`}},
		{Config{Limits: []Limit{{Name: "\n", Rate: -1, Burst: -1}}}, []string{"Config.Limits[0].Name", "Config.Limits[0].Rate is -1", "Config.Limits[0].Burst is -1"}},
		{Config{Limits: two, Rate: 1}, []string{"Config.Limits is of length 2"}},
		{Config{Limits: two, Key: constant("k")}, []string{"Config.Limits is of length 2"}},
		{Config{Limits: many}, []string{"must be at most 16 long"}},
		{
			Config{Rate: 1, MaxDelay: -1, MaxWaiting: -1, Jitter: -1, IPv4Bits: 33, IPv6Bits: 129},
			[]string{"Config.MaxDelay", "Config.MaxWaiting", "Config.Jitter", "Config.IPv4Bits is 33", "Config.IPv6Bits is 129"},
		},
		{Config{Rate: 1, MaxDelay: time.Hour}, []string{"Config.MaxDelay is 1h0m0s"}},
		{Config{Rate: 1, Allow: prefixes("::ffff:0.0.0.0/90"), Deny: append(prefixes("10.0.0.0/8"), prefixes("::ffff:0.0.0.0/1")...)}, []string{"Config.Allow[0]", "Config.Deny[1]"}},
		{Config{Rate: 1, BehindProxy: true}, []string{"Config.ClientIP is nil"}},
		{Config{Rate: 1, Key: constant("k"), BehindProxy: true, Deny: prefixes("10.0.0.0/8")}, []string{"Config.ClientIP is nil"}},
		{Config{Limits: []Limit{{Rate: 1, Key: constant("k")}, {Name: "b", Rate: 1}}, BehindProxy: true}, []string{"Config.ClientIP is nil"}},
	}
	for _, tt := range bad {
		_, err := New(tt.cfg)
		if err == nil {
			t.Errorf("New(%+v) = nil, want an error with %q", tt.cfg, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("New(%+v) = %q, want it to contain %q", tt.cfg, err, want)
			}
		}
	}
}

// A request that one limit refuses takes nothing from the others, whichever
// comes first.
func TestLimitsTakeAllOrNothing(t *testing.T) {
	for _, order := range []string{"tight first", "tight last"} {
		synctest.Test(t, func(t *testing.T) {
			tight, wide := Limit{Name: "tight", Rate: 1, Burst: 1}, Limit{Name: "wide", Rate: 0.01, Burst: 5}
			limits := []Limit{tight, wide}
			if order == "tight last" {
				limits = []Limit{wide, tight}
			}
			l := newLimiter(t, Config{Limits: limits})
			granted := 0
			for range 4 {
				for range 100 {
					if ok, _ := l.Allow("k"); ok {
						granted++
					}
				}
				time.Sleep(time.Second)
			}
			if d := l.Decide(1, "k"); granted != 4 || !d.OK || d.Remaining != 0 || d.Limit != "" {
				t.Errorf("%s: granted %d of 400 in 4 s, then %+v, want 4 and one more: the wide limit lost permits", order, granted, d)
			}
			time.Sleep(time.Second)
			if d := l.Decide(1, "k"); d.OK || d.Limit != "wide" || d.RetryAfter < 90*time.Second {
				t.Errorf("%s: Decide = %+v, want the wide limit's refusal", order, d)
			}
		})
	}
}

func TestDecideKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Limits: []Limit{{Name: "user", Rate: 1, Burst: 2}, {Name: "all", Rate: 1, Burst: 3}}})
		steps := []struct {
			n    int
			keys []string
			want Decision
		}{
			{1, []string{"ada", "*"}, Decision{OK: true, Remaining: 1}},
			{1, []string{"ada", "*"}, Decision{OK: true}},
			{1, []string{"ada", "*"}, Decision{Limit: "user", RetryAfter: time.Second}},
			{1, []string{"bob", "*"}, Decision{OK: true}},
			{1, []string{"bob", "*"}, Decision{Limit: "all", RetryAfter: time.Second}},
			{2, []string{"eve", "*"}, Decision{Limit: "all", RetryAfter: 2 * time.Second}},
			{3, []string{"eve", "*"}, Decision{Limit: "user"}}, // more than a burst: never
			{0, []string{"eve", "*"}, Decision{OK: true}},
			{2, nil, Decision{OK: true}}, // those who can't be told apart
			{1, nil, Decision{Limit: "user", RetryAfter: time.Second}},
			{2, []string{"sue"}, Decision{OK: true}}, // the last key stands for the rest
			{1, []string{"tim", "sue", "too many"}, Decision{OK: true}},
		}
		for i, s := range steps {
			if got := l.Decide(s.n, s.keys...); got != s.want {
				t.Errorf("step %d: Decide(%d, %q) = %+v, want %+v", i, s.n, s.keys, got, s.want)
			}
		}
	})
}

// 64 goroutines on the same two buckets, in both orders of refusing: nothing
// deadlocks, nobody is over-admitted, nothing is lost.
func TestLimitsUnderContention(t *testing.T) {
	const goroutines = 64
	l := newLimiter(t, Config{Limits: []Limit{
		{Name: "a", Rate: 1000, Burst: 10_000}, {Name: "b", Rate: 500, Burst: 5000}, {Name: "c", Rate: 1e9, Burst: 1e9},
	}, MaxKeys: 100})
	var granted atomic.Int64
	var wg sync.WaitGroup
	before := time.Now()
	l.Decide(5000, "k", "k", "k")
	granted.Add(5000)
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			own := fmt.Sprint(g)
			for time.Since(start) < time.Second {
				for i := range 50 {
					// The third limit's keys differ, and there are more than it has room for.
					if l.Decide(1, "k", "k", fmt.Sprint(own, i)).OK {
						granted.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	left, last := drain(func() bool { return l.Decide(1, "k", "k", "k").OK })
	got := float64(granted.Load() + left)
	most := 500*time.Since(before).Seconds() + 5000
	least := 500*last.Sub(start).Seconds() + 5000
	if got > most*1.01 || got < least*0.99 {
		t.Errorf("granted %v, want %v to %v within 1 %%", got, least, most)
	}
}

func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cost := func(r *http.Request) int {
			switch r.URL.Path {
			case "/search":
				return 5
			case "/export":
				return 1000
			case "/health":
				return 0
			}
			return 1
		}
		h := newLimiter(t, Config{Limits: []Limit{{Rate: 1, Burst: 10, Cost: cost}}}).Handler(pass)
		steps := []struct {
			path   string
			status int
			state  string
			after  time.Duration
		}{
			{"/search", 204, "", 0},
			{"/", 204, "", 0},
			{"/search", 429, `"client";r=0;t=1`, 0},
			{"/health", 204, "", 0},
			{"/", 204, "", time.Minute},
			{"/export", 204, "", 0}, // more than a burst costs a burst
			{"/health", 204, "", 0},
			{"/", 429, `"client";r=0;t=1`, 0},
			{"/search", 429, `"client";r=0;t=5`, 0},
		}
		for i, s := range steps {
			resp := do(h, httptest.NewRequest(http.MethodGet, s.path, nil))
			if got := resp.Header.Get("RateLimit"); resp.StatusCode != s.status || got != s.state {
				t.Errorf("step %d: %s = %d with %q, want %d with %q", i, s.path, resp.StatusCode, got, s.status, s.state)
			}
			time.Sleep(s.after)
		}
	})
}

// The most restrictive limit stands first in both fields.
func TestFieldsOfSeveralLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		l := newLimiter(t, Config{
			Name:    "api",
			Limits:  []Limit{{Name: "second", Rate: 2, Burst: 2}, {Name: "minute", Rate: 0.1, Burst: 3}},
			Observe: func(_ context.Context, ev Event) { events = append(events, ev) },
		})
		h := l.Handler(pass)
		steps := []struct {
			after         time.Duration
			policy, state string
		}{
			{0, "", ""},
			{0, "", ""},
			{0, `"second";q=2;w=1, "minute";q=3;w=30`, `"second";r=0;t=1, "minute";r=1;t=10`},
			{time.Second, "", ""},
			{0, `"minute";q=3;w=30, "second";q=2;w=1`, `"minute";r=0;t=9, "second";r=1;t=1`},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			resp := get(h, "192.0.2.1:1")
			if got := resp.Header.Get("RateLimit-Policy"); got != s.policy {
				t.Errorf("step %d: RateLimit-Policy = %s, want %s", i, got, s.policy)
			}
			if got := resp.Header.Get("RateLimit"); got != s.state {
				t.Errorf("step %d: RateLimit = %s, want %s", i, got, s.state)
			}
		}
		if last := events[len(events)-1]; last.Limit != "minute" || last.Name != "api" || last.Kind != Limited {
			t.Errorf("event = %+v, want limit minute of api", last)
		}
	})
}

func TestFieldsOnAnswersThatPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Rate: 0.5, Burst: 10, Headers: true})
		status := http.StatusOK
		h := l.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if inner := r.Header.Get("Inner"); inner != "" {
				w.Header().Set("RateLimit", inner)
				w.Header().Set("RateLimit-Policy", inner)
			}
			if status != 0 { // else the handler chooses none
				w.WriteHeader(status)
			}
		}))
		steps := []struct {
			status int
			inner  string
			state  []string
		}{
			{200, "", []string{`"client";r=9;t=2`}},
			{0, "", []string{`"client";r=8;t=2`}},
			{304, `"origin";r=3`, []string{`"client";r=7;t=2`, `"origin";r=3`}},
			{429, `"origin";r=0`, []string{`"origin";r=0`, `"client";r=6;t=2`}},
		}
		for i, s := range steps {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if s.inner != "" {
				r.Header.Set("Inner", s.inner)
			}
			status = s.status
			resp := do(h, r)
			if got := resp.Header["Ratelimit"]; fmt.Sprint(got) != fmt.Sprint(s.state) {
				t.Errorf("step %d: RateLimit = %q, want %q", i, got, s.state)
			}
			if got := resp.Header["Ratelimit-Policy"]; len(got) != len(s.state) {
				t.Errorf("step %d: RateLimit-Policy = %q, want %d lines", i, got, len(s.state))
			}
		}
		time.Sleep(time.Minute)
		l.Allow("192.0.2.1")
		time.Sleep(time.Minute)
		if x := l.Explain(httptest.NewRequest(http.MethodGet, "/", nil)); x.Limits[0].Remaining != 10 {
			t.Errorf("Explain = %+v, want 10 left", x)
		}
	})
}

func TestJitter(t *testing.T) {
	l := newLimiter(t, Config{Rate: 0.001, Burst: 1, Jitter: 0.5})
	h := l.Handler(pass)
	get(h, "192.0.2.1:1")
	seen := map[string]bool{}
	for range 100 {
		resp := get(h, "192.0.2.1:1")
		after := resp.Header.Get("Retry-After")
		var s int
		if _, err := fmt.Sscan(after, &s); err != nil || s < 990 || s > 1500 {
			t.Fatalf("Retry-After = %q, want 990 to 1500", after)
		}
		if got, want := resp.Header.Get("RateLimit"), `"client";r=0;t=`+after; got != want {
			t.Errorf("RateLimit = %s, want %s", got, want)
		}
		seen[after] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d different times in 100, want them spread", len(seen))
	}
}

func TestLists(t *testing.T) {
	for _, dry := range []bool{false, true} {
		var last Event
		l := newLimiter(t, Config{
			Rate: 1e-6, Burst: 1, DryRun: dry,
			Allow:   prefixes("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"),
			Deny:    prefixes("10.1.0.0/16", "192.0.2.0/24", "2001:db8:bad::/48", "198.51.100.0/24", "::ffff:203.0.113.0/120"),
			Observe: func(_ context.Context, ev Event) { last = ev },
		})
		h := l.Handler(pass)
		for from, want := range map[string]listing{
			"10.0.0.1:1":                allowed,
			"10.1.0.1:1":                denied, // the longer one
			"192.0.2.1:1":               denied, // two equal ones
			"[2001:db8::1]:1":           allowed,
			"[2001:db8:bad::1]:1":       denied,
			"198.51.100.7:1":            allowed,
			"198.51.100.8:1":            denied,
			"[::ffff:198.51.100.8]:1":   denied,
			"203.0.113.9:1":             denied,
			"203.0.114.9:1":             unlisted,
			"[2001:db9::1]:1":           unlisted,
			"@":                         unlisted,
			"[::ffff:198.51.100.7%x]:1": allowed,
		} {
			limited := 0
			for range 3 {
				resp := get(h, from)
				if resp.StatusCode == http.StatusTooManyRequests {
					limited++
					if want == denied && (resp.Header.Get("Retry-After") != "" || resp.Header.Get("RateLimit") != "") {
						t.Errorf("%s: denied with %v, want no time and no limit", from, resp.Header)
					}
				}
				if want == denied && (last.Kind != Limited || last.DryRun != dry || last.Limit != "") || last.Listed != (want != unlisted) {
					t.Errorf("%s: event = %+v", from, last)
				}
			}
			wantLimited := map[listing]int{allowed: 0, unlisted: 2, denied: 3}[want]
			if dry {
				wantLimited = 0
			}
			if limited != wantLimited {
				t.Errorf("dry %t: %s refused %d of 3 times, want %d", dry, from, limited, wantLimited)
			}
		}
		if n := l.Len(); n != 2 {
			t.Errorf("Len = %d: the lists' clients have buckets", n)
		}
	}
}

// A dry run shows nothing to clients, and tells what it would have done.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		l := newLimiter(t, Config{
			Rate: 1, Burst: 2, DryRun: true, Headers: true, MaxDelay: time.Second, Jitter: 1,
			Observe: func(_ context.Context, ev Event) { events = append(events, ev) },
		})
		h := l.Handler(pass)
		start := time.Now()
		for range 3 {
			if resp := get(h, "192.0.2.1:1"); resp.StatusCode != http.StatusNoContent || len(resp.Header) != 0 {
				t.Errorf("%d, %v, want 204 untouched", resp.StatusCode, resp.Header)
			}
		}
		if ok, retry := l.Allow("192.0.2.1"); !ok || retry != time.Second {
			t.Errorf("Allow = %t, %v, want true with the time", ok, retry)
		}
		if d := l.Decide(1, "192.0.2.1"); !d.OK || d.Limit != "client" || d.RetryAfter != time.Second {
			t.Errorf("Decide = %+v, want OK, with what would have been", d)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v in a dry run", waited)
		}
		passed, refused := Event{Kind: Allowed, Name: "client"}, Event{Kind: Limited, Name: "client", Limit: "client", DryRun: true, RetryAfter: time.Second}
		if want := []Event{passed, passed, refused, refused, refused}; !slices.Equal(events, want) {
			t.Errorf("events = %+v, want %+v", events, want)
		}
	})
}

func TestForwardedIsNoticed(t *testing.T) {
	var last Event
	observe := func(_ context.Context, ev Event) { last = ev }
	for _, tt := range []struct {
		name   string
		cfg    Config
		header string
		want   bool
	}{
		{"direct", Config{}, "", false},
		{"behind a proxy nobody told of", Config{}, xForwardedFor, true},
		{"the other field", Config{}, forwarded, true},
		{"with ClientIP", Config{ClientIP: PeerIP}, xForwardedFor, false},
		{"no limit by client", Config{Key: constant("k")}, xForwardedFor, false},
	} {
		tt.cfg.Rate, tt.cfg.Burst, tt.cfg.Observe = 1e-6, 1, observe
		l := newLimiter(t, tt.cfg)
		h := l.Handler(pass)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if tt.header != "" {
			r.Header.Set(tt.header, "for=192.0.2.1")
		}
		do(h, r)
		if last.Forwarded != tt.want || l.Explain(r).Forwarded != tt.want {
			t.Errorf("%s: Forwarded = %t, want %t", tt.name, last.Forwarded, tt.want)
		}
		var detail string
		l.cfg.ErrorHandler = func(_ http.ResponseWriter, _ *http.Request, err error) { detail = err.Error() }
		do(h, r)
		if got := strings.Contains(detail, "no proxy is trusted"); got != tt.want {
			t.Errorf("%s: detail = %q, says so: %t, want %t", tt.name, detail, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{
			Limits: []Limit{
				{Name: "second", Rate: 1, Burst: 2},
				{Name: "token", Rate: 0.1, Burst: 5, Key: KeyByHeader("Token")},
				{Name: "search", Rate: 1, Cost: func(*http.Request) int { return 0 }},
			},
			Deny: prefixes("203.0.113.0/24"), MaxKeys: 1,
		})
		h := l.Handler(pass)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Token", "s3cret")
		for range 3 {
			for range 5 {
				l.Explain(r) // takes nothing
			}
			do(h, r)
		}
		if l.Len() != 2 {
			t.Errorf("Len = %d, want 2", l.Len())
		}
		x := l.Explain(r)
		if x.Action != "refuse" || x.Limit != "second" || x.RetryAfter != 1 || x.Client != "192.0.2.1" || len(x.Limits) != 2 {
			t.Errorf("Explain = %+v", x)
		}
		if got := x.Limits[0]; got != (ExplainedLimit{Name: "second", Rate: 1, Burst: 2, Bucket: "192.0.2.1", Cost: 1, RetryAfter: 1}) {
			t.Errorf("Limits[0] = %+v", got)
		}
		if got := x.Limits[1]; got != (ExplainedLimit{Name: "token", Rate: 0.1, Burst: 5, Bucket: "a client", Cost: 1, Remaining: 3}) {
			t.Errorf("Limits[1] = %+v", got)
		}
		r.RemoteAddr = "198.51.100.1:1" // the tables are full
		if x := l.Explain(r); x.Action != "pass" || !strings.Contains(x.Limits[0].Bucket, "beyond the table") {
			t.Errorf("Explain of one more = %+v", x)
		}
		r.RemoteAddr = "203.0.113.1:1"
		if x := l.Explain(r); x.Action != "refuse" || x.List != "203.0.113.0/24" || x.RetryAfter != 0 || x.Limit != "" {
			t.Errorf("Explain of a denied one = %+v", x)
		}
	})
}

func TestConformanceOfAll(t *testing.T) {
	writertest.Run(t, newLimiter(t, Config{
		Limits: []Limit{
			{Name: "a", Rate: 1e6},
			{Name: "b", Rate: 1e6, Count: func(status int, _ *failure.Error) bool { return status == 404 }},
		},
		Headers: true, MaxDelay: time.Second,
	}).Handler)
}
