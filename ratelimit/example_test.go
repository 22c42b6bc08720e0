package ratelimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/ratelimit"
)

// Two requests at once, then one every two seconds, for each client.
func Example() {
	limit, err := ratelimit.New(ratelimit.Config{Rate: 0.5, Burst: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := limit.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	}))

	for _, client := range []string{"192.0.2.1:50001", "192.0.2.1:50002", "192.0.2.1:50003", "198.51.100.7:50001"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = client
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(client, w.Code)
		if w.Code == http.StatusTooManyRequests {
			fmt.Println("  Retry-After:", w.Header().Get("Retry-After"))
			fmt.Println("  RateLimit:", w.Header().Get("RateLimit"))
			fmt.Println("  RateLimit-Policy:", w.Header().Get("RateLimit-Policy"))
		}
	}
	// Output:
	// 192.0.2.1:50001 200
	// 192.0.2.1:50002 200
	// 192.0.2.1:50003 429
	//   Retry-After: 2
	//   RateLimit: "client";r=0;t=2
	//   RateLimit-Policy: "client";q=2;w=4
	// 198.51.100.7:50001 200
}

// Which one do I choose? Is the client's connection your own, PeerIP, the
// default. Is there a proxy of yours in front (nginx, a load balancer, a CDN),
// NewClientIP with the addresses that it connects from.
func ExampleNewClientIP() {
	clientIP, err := ratelimit.NewClientIP(ratelimit.ClientIPConfig{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = "10.0.0.5:40000"
	r.Header.Set("X-Forwarded-For", "1.2.3.4, 203.0.113.9, 10.0.0.7") // the first is what the client claims
	fmt.Println(clientIP(r))

	r.RemoteAddr = "203.0.113.50:40000" // not through the proxies
	fmt.Println(clientIP(r))

	r.RemoteAddr = "10.0.0.5:40000"
	r.Header.Set("X-Forwarded-For", "unknown")
	fmt.Println(clientIP(r))
	// Output:
	// 203.0.113.9 true
	// 203.0.113.50 true
	// invalid IP false
}

// Two limits at once, one of them on wrong answers: three guesses at a password,
// whatever else a client asks for.
func ExampleConfig_limits() {
	limit, err := ratelimit.New(ratelimit.Config{
		Limits: []ratelimit.Limit{
			{Name: "requests", Rate: 10, Burst: 50},
			{Name: "guesses", Rate: 1.0 / 60, Burst: 3, Count: func(status int, _ *failure.Error) bool {
				return status == http.StatusUnauthorized || status == http.StatusForbidden
			}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := limit.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "correct" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	for _, password := range []string{"correct", "123456", "password", "correct", "qwerty", "correct"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth("ada", password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		fmt.Println(password, w.Code)
	}
	// Output:
	// correct 200
	// 123456 401
	// password 401
	// correct 200
	// qwerty 401
	// correct 429
}

// A limit on anything that has a name.
func ExampleLimiter_Allow() {
	logins, err := ratelimit.New(ratelimit.Config{Name: "login", Rate: 1.0 / 60, Burst: 3})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 4 {
		ok, retryAfter := logins.Allow("ada@example.com")
		fmt.Println(ok, retryAfter.Seconds() > 59)
	}
	// Output:
	// true false
	// true false
	// true false
	// false true
}
