package cache_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

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

// What changed is forgotten by its tag, whatever its URLs.
func ExampleCache_Purge() {
	price := 10
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Surrogate-Key", "article-7 shop")
		fmt.Fprintf(w, "%s: %d", r.URL.Path, price)
	})
	store, err := cache.New(cache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Shutdown(context.Background()) }()
	handler := store.Handler(shop)

	get := func(path string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Println(w.Body)
	}
	get("/articles/7")
	get("/cheapest")
	price = 8
	get("/articles/7")
	if err := store.Purge(cache.Purge{Tag: "article-7"}); err != nil {
		fmt.Println(err)
	}
	get("/articles/7")
	get("/cheapest")
	// Output:
	// /articles/7: 10
	// /cheapest: 10
	// /articles/7: 10
	// /articles/7: 8
	// /cheapest: 8
}

// Search results of an application that says nothing of caching are kept for a
// minute, and what is behind a login never is.
func ExampleConfig_policy() {
	store, err := cache.New(cache.Config{
		Policy: func(r *http.Request, v cache.ResponseView) cache.Decision {
			switch {
			case strings.HasPrefix(r.URL.Path, "/account/"):
				return cache.Decision{Store: cache.StoreNever}
			case r.URL.Path == "/search" && v.Status == http.StatusOK:
				return cache.Decision{TTL: time.Minute, StaleIfError: time.Hour, Tags: []string{"search"}}
			}
			return cache.Decision{}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = store.Shutdown(context.Background()) }()
	handler := store.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "results for ", r.URL.Query().Get("q"))
	}))

	r := httptest.NewRequest(http.MethodGet, "http://example.com/search?q=x", nil)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	fmt.Println(strings.HasSuffix(w.Header().Get("Cache-Status"), "; stored"))
	fmt.Println(store.Explain(httptest.NewRequest(http.MethodGet, "http://example.com/account/x", nil)).Action)
	// Output:
	// true
	// fetch
}
