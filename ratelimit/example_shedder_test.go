package ratelimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/ratelimit"
)

// One request at a time and nobody in line, to see it at work: leave Limit out, and
// it finds out by itself what the backend can do.
func ExampleShedder() {
	limit, err := ratelimit.NewAdaptive(ratelimit.AdaptiveConfig{Min: 1, Max: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	shed, err := ratelimit.NewShedder(ratelimit.ShedderConfig{
		Limit: limit, Queue: -1, QueueWait: 100 * time.Millisecond,
		Exempt: func(r *http.Request) bool { return r.URL.Path == "/health" },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var h http.Handler
	ask := func(path string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(path, w.Code)
		if w.Code == http.StatusServiceUnavailable {
			fmt.Println("  Proxy-Status:", w.Header().Get("Proxy-Status"))
		}
	}
	h = shed.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" { // while it works on this one others come
			ask("/other")
			ask("/health")
		}
	}))
	ask("/")
	ask("/other")
	// Output:
	// /other 503
	//   Proxy-Status: holdfast; error=connection_limit_reached; cause=shed
	// /health 200
	// / 200
	// /other 200
}
