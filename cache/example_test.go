package cache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/cache"
)

// A page goes on being served after what makes it has broken.
func Example() {
	var broken atomic.Bool
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "database is down", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Cache-Control", "max-age=0, stale-if-error=3600")
		fmt.Fprint(w, "hello")
	})

	store, err := cache.New(cache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Shutdown(context.Background()) }()
	handler := store.Handler(origin)

	get := func() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		fmt.Println(w.Code, w.Body)
	}
	get()
	broken.Store(true)
	get()
	// Output:
	// 200 hello
	// 200 hello
}
