package breaker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/breaker"
)

// A breaker in front of a handler that fails.
func Example() {
	trip, err := breaker.New(breaker.Config{
		MinVolume: 3,
		OpenFor:   30 * time.Second,
		Jitter:    -1,
		Observe: func(_ context.Context, ev breaker.Event) {
			if ev.Kind == breaker.Changed {
				fmt.Printf("%v to %v: %s\n", ev.From, ev.To, ev.Reason)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	h := trip.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
	}))

	for range 4 {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Header()["Retry-After"])
	}
	// Output:
	// 500 []
	// 500 []
	// closed to open: 3 of 3 calls within 10s failed (0.5 opens)
	// 500 []
	// 503 [30]
}

// The decision alone, around anything that can fail.
func ExampleBreaker_Allow() {
	trip, err := breaker.New(breaker.Config{MinVolume: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	lookUp := func() error { return errors.New("database: connection reset") }

	for range 3 {
		done, err := trip.Allow()
		if errors.Is(err, breaker.ErrOpen) {
			fmt.Println("not asked")
			continue
		}
		err = lookUp()
		done(err)
		fmt.Println(err)
	}
	fmt.Println(trip.State().Phase)
	// Output:
	// database: connection reset
	// database: connection reset
	// not asked
	// open
}
