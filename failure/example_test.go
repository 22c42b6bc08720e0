package failure_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// A part that fails ends the request with Serve. Whoever stands outside, your
// own handler for instance, can ask what went wrong.
func Example() {
	failing := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Serve(w, r, &failure.Error{Cause: failure.BreakerOpen, Backend: "shop", RetryAfter: 5 * time.Second}, nil)
	})
	outside := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(failure.Track(r.Context()))
		failing.ServeHTTP(w, r)
		if e, ok := failure.From(r.Context()); ok {
			fmt.Println(e)
		}
	})

	w := httptest.NewRecorder()
	outside.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	fmt.Println(w.Code, w.Header().Get("Retry-After"), w.Header().Get("Proxy-Status"))
	// Output:
	// holdfast: backend "shop": breaker_open
	// 503 5 holdfast; error=destination_unavailable; cause=breaker_open
}
