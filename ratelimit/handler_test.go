package ratelimit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

var pass = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func get(h http.Handler, from string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = from
	return do(h, r)
}

func do(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func TestHandlerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newLimiter(t, Config{Rate: 0.5, Burst: 2}).Handler(pass)
		for range 2 {
			resp := get(h, "192.0.2.1:1")
			if resp.StatusCode != http.StatusNoContent || len(resp.Header) != 0 {
				t.Fatalf("within the burst: %d, %v, want 204 untouched", resp.StatusCode, resp.Header)
			}
		}
		time.Sleep(300 * time.Millisecond)
		resp := get(h, "192.0.2.1:2")
		want := map[string]string{
			"Retry-After":      "2", // 1.7 s
			"RateLimit":        `"client";r=0;t=2`,
			"RateLimit-Policy": `"client";q=2;w=4`,
			"Proxy-Status":     "holdfast; error=http_request_error; cause=rate_limited",
			"Cache-Control":    "no-store",
		}
		if resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("status = %d, want 429", resp.StatusCode)
		}
		for name, want := range want {
			if got := resp.Header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if resp := get(h, "192.0.2.2:1"); resp.StatusCode != http.StatusNoContent {
			t.Errorf("another client: %d, want 204", resp.StatusCode)
		}
		time.Sleep(2 * time.Second)
		if resp := get(h, "192.0.2.1:3"); resp.StatusCode != http.StatusNoContent {
			t.Errorf("after Retry-After: %d, want 204", resp.StatusCode)
		}
	})
}

func TestHandlerReports(t *testing.T) {
	var events []Event
	var handled *failure.Error
	h := newLimiter(t, Config{
		Rate: 1e-3, Name: "api",
		Observe: func(_ context.Context, ev Event) { events = append(events, ev) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			handled = failure.As(err, 0)
			w.WriteHeader(handled.HTTPStatus())
		},
	}).Handler(pass)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "[2001:db8::1]:1"
	r = r.WithContext(failure.Track(r.Context()))
	do(h, r)
	if e, ok := failure.From(r.Context()); ok {
		t.Errorf("an allowed request reported %v", e)
	}
	resp := do(h, r)
	e, ok := failure.From(r.Context())
	if !ok || e != handled || e.Cause != failure.RateLimited || e.RetryAfter < 999*time.Second || e.RetryAfter > 1000*time.Second {
		t.Errorf("reported %v with RetryAfter %v, want rate_limited with 1000s", e, e.RetryAfter)
	}
	if want := `limit "api": 2001:db8::/64 over 0.001 per second (burst 1)`; e.Detail != want {
		t.Errorf("Detail = %q, want %q", e.Detail, want)
	}
	if got := resp.Header.Get("RateLimit"); got != `"api";r=0;t=1000` {
		t.Errorf("RateLimit = %q: the fields must not depend on the ErrorHandler", got)
	}
	if len(events) != 2 || events[0] != (Event{Kind: Allowed, Name: "api"}) ||
		events[1] != (Event{Kind: Limited, Name: "api", Limit: "api", RetryAfter: e.RetryAfter}) {
		t.Errorf("events = %+v", events)
	}
}

func TestHandlerKeys(t *testing.T) {
	byHeader := func(r *http.Request) (string, bool) { key := r.Header.Get("Key"); return key, key != "" }
	clientIP, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8")})
	if err != nil {
		t.Fatal(err)
	}
	request := func(remote, key, xff string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = remote
		if key != "" {
			r.Header.Set("Key", key)
		}
		if xff != "" {
			r.Header.Set(xForwardedFor, xff)
		}
		return r
	}
	tests := []struct {
		name          string
		cfg           Config
		first, second *http.Request
		same          bool
	}{
		{"ports of an address", Config{}, request("192.0.2.1:1", "", ""), request("192.0.2.1:2", "", ""), true},
		{"addresses", Config{}, request("192.0.2.1:1", "", ""), request("192.0.2.2:1", "", ""), false},
		{"mapped", Config{}, request("192.0.2.1:1", "", ""), request("[::ffff:192.0.2.1]:1", "", ""), true},
		{"a /64", Config{}, request("[2001:db8::1]:1", "", ""), request("[2001:db8::2:3:4:5]:1", "", ""), true},
		{"two /64", Config{}, request("[2001:db8::1]:1", "", ""), request("[2001:db8:0:1::1]:1", "", ""), false},
		{"no addresses", Config{}, request("@", "", ""), request("garbage", "", ""), true},
		{"forged", Config{}, request("192.0.2.1:1", "", "1.1.1.1"), request("192.0.2.1:2", "", "2.2.2.2"), true},
		{"proxied", Config{ClientIP: clientIP}, request("10.0.0.1:1", "", "1.1.1.1"), request("10.0.0.1:1", "", "2.2.2.2"), false},
		{"proxied, forged", Config{ClientIP: clientIP}, request("10.0.0.1:1", "", "1.1.1.1, 3.3.3.3"), request("10.0.0.2:1", "", "2.2.2.2, 3.3.3.3"), true},
		{"proxied, lost", Config{ClientIP: clientIP}, request("10.0.0.1:1", "", "unknown"), request("10.0.0.2:1", "", ""), true},
		{"keys", Config{Key: byHeader}, request("192.0.2.1:1", "a", ""), request("192.0.2.1:1", "b", ""), false},
		{"a key", Config{Key: byHeader}, request("192.0.2.1:1", "a", ""), request("192.0.2.2:1", "a", ""), true},
		{"no keys", Config{Key: byHeader}, request("192.0.2.1:1", "", ""), request("192.0.2.2:1", "", ""), true},
		{"ok without an address", Config{ClientIP: func(*http.Request) (netip.Addr, bool) { return netip.Addr{}, true }}, request("192.0.2.1:1", "", ""), request("192.0.2.2:1", "", ""), true},
	}
	for _, tt := range tests {
		tt.cfg.Rate, tt.cfg.Burst = 1e-6, 1
		h := newLimiter(t, tt.cfg).Handler(pass)
		if got := do(h, tt.first).StatusCode; got != http.StatusNoContent {
			t.Errorf("%s: first = %d, want 204", tt.name, got)
		}
		want := http.StatusNoContent
		if tt.same {
			want = http.StatusTooManyRequests
		}
		if got := do(h, tt.second).StatusCode; got != want {
			t.Errorf("%s: second = %d, want %d", tt.name, got, want)
		}
	}
}

// What is counted by hand and by Handler is one bucket.
func TestHandlerSharesBucketsWithAllow(t *testing.T) {
	l := newLimiter(t, Config{Rate: 1e-6, Burst: 1})
	h := l.Handler(pass)
	for key, remote := range map[string]string{"192.0.2.1": "192.0.2.1:1", "2001:db8::/64": "[2001:db8::1]:1"} {
		if ok, _ := l.Allow(key); !ok {
			t.Errorf("Allow(%q) = false", key)
		}
		if got := get(h, remote).StatusCode; got != http.StatusTooManyRequests {
			t.Errorf("from %s after Allow(%q): %d, want 429", remote, key, got)
		}
	}
}

func TestEventsTellWhoIsNobody(t *testing.T) {
	var last Event
	l := newLimiter(t, Config{Rate: 1e-6, Burst: 1, MaxKeys: 1, Observe: func(_ context.Context, ev Event) { last = ev }})
	h := l.Handler(pass)
	steps := []struct {
		from                   string
		kind                   EventKind
		overflow, unidentified bool
		detail                 string
	}{
		{"192.0.2.1:1", Allowed, false, false, ""},
		{"192.0.2.2:1", Allowed, true, false, ""},
		{"192.0.2.3:1", Limited, true, false, "beyond the table"},
		{"@", Allowed, false, true, ""},
		{"@", Limited, false, true, "can't be told apart"},
	}
	for i, s := range steps {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = s.from
		r = r.WithContext(failure.Track(r.Context()))
		do(h, r)
		if last.Kind != s.kind || last.Overflow != s.overflow || last.Unidentified != s.unidentified {
			t.Errorf("step %d: event = %+v, want %+v", i, last, s)
		}
		if e, ok := failure.From(r.Context()); ok && !strings.Contains(e.Detail, s.detail) {
			t.Errorf("step %d: Detail = %q, want it to contain %q", i, e.Detail, s.detail)
		}
	}
}

// A key of the user's making may be a secret.
func TestDetailHidesKeys(t *testing.T) {
	h := newLimiter(t, Config{Rate: 1e-6, Burst: 1, Key: func(*http.Request) (string, bool) { return "s3cret", true }}).Handler(pass)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(failure.Track(r.Context()))
	do(h, r)
	do(h, r)
	if e, ok := failure.From(r.Context()); !ok || strings.Contains(e.Error(), "s3cret") {
		t.Errorf("reported %v, want a refusal that does not tell the key", e)
	}
}

func TestPolicy(t *testing.T) {
	tests := []struct {
		rate          float64
		burst         int
		quota, window int64
	}{
		{10, 20, 20, 2},
		{10, 10, 10, 1},
		{100, 10, 100, 1},
		{3, 10, 10, 4},
		{2.5, 1, 2, 1},
		{0.1, 1, 1, 10},
		{1e-300, 1, 1, maxInteger},
		{1e9, maxBurst, 1e9, 1},
	}
	for _, tt := range tests {
		if q, w := policy(tt.rate, tt.burst); q != tt.quota || w != tt.window {
			t.Errorf("policy(%v, %d) = %d, %d, want %d, %d", tt.rate, tt.burst, q, w, tt.quota, tt.window)
		}
	}
	if got := newMember(`a "b" \c`, 1, 1).policy[0]; got != `"a \"b\" \\c";q=1;w=1` {
		t.Errorf("policy of a name with quotes = %s", got)
	}
}

// The policy is shared by all refusals: what one of them does with its header
// must not show in the next.
func TestFieldsAreNotShared(t *testing.T) {
	l := newLimiter(t, Config{Rate: 1})
	cs := []claim{{limit: l.limits[0], cost: 1}}
	h := http.Header{}
	setRefused(h, cs, time.Second)
	h.Add("RateLimit-Policy", `"mine";q=1;w=1`)
	other := http.Header{}
	setRefused(other, cs, time.Second)
	if got := other.Values("RateLimit-Policy"); len(got) != 1 || len(l.limits[0].member.policy) != 1 {
		t.Errorf("RateLimit-Policy = %q after another one was added to", got)
	}
}

func TestConformance(t *testing.T) {
	writertest.Run(t, newLimiter(t, Config{Rate: 1e6}).Handler)
}
