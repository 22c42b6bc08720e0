package cache

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		o := newOrigin(page(200, "old", "Cache-Control: max-age=60, stale-while-revalidate=60"))
		h := c.Handler(o)
		do(h, "GET", "/")
		time.Sleep(70 * time.Second)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			page(200, "new", "Cache-Control: max-age=60")(w, r)
		})
		do(h, "GET", "/") // starts a refresh behind it
		start := time.Now()
		if err := c.Shutdown(context.Background()); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("Shutdown() = %v after %v, want nil after 5s", err, time.Since(start))
		}
		a := do(h, "GET", "/")
		if want := "holdfast; fwd=bypass; fwd-status=200; detail=draining"; a.body != "new" || a.cacheStatus() != want {
			t.Errorf("after it: %q %q, want %q", a.body, a.cacheStatus(), want)
		}
		if err := c.Shutdown(context.Background()); err != nil {
			t.Errorf("the second Shutdown() = %v", err)
		}
	})
}

func TestShutdownInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			if !errors.Is(context.Cause(r.Context()), errShutdown) {
				t.Errorf("cause = %v", context.Cause(r.Context()))
			}
		}))
		got := make(chan answer)
		go func() { got <- do(h, "GET", "/") }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want deadline exceeded", err)
		}
		if a := <-got; a.status != 503 {
			t.Errorf("the request got %d, want 503", a.status)
		}
	})
}

// TestStoreOutlivesCache: content survives a change of policy.
func TestStoreOutlivesCache(t *testing.T) {
	store, err := NewStore(StoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o := newOrigin(page(200, "page", "Cache-Control: max-age=60"))
	for i, ns := range []string{"a", "a", "b"} {
		c, err := New(Config{Store: store, Namespace: ns, Name: "edge"})
		if err != nil {
			t.Fatal(err)
		}
		a := do(c.Handler(o), "GET", "/")
		if hit := strings.Contains(a.cacheStatus(), "edge; hit"); hit != (i == 1) {
			t.Errorf("%d: %q", i, a.cacheStatus())
		}
		settled(t, c)
		if err := c.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	store.Close()
	c := newCache(t, Config{Store: store})
	if a := do(c.Handler(o), "GET", "/"); a.body != "page" {
		t.Errorf("on a closed store: %q", a.body)
	}
	settled(t, c)
}
