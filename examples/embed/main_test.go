package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestProtect lets the site crash: what was stored keeps coming, what was not
// becomes a page that says why, and all is well again when the site is.
func TestProtect(t *testing.T) {
	var crashing atomic.Bool
	var calls atomic.Int32
	h, stop, err := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		if crashing.Load() {
			panic("the site crashed")
		}
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		_, _ = fmt.Fprintf(w, "answer %d", n)
	}))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	defer func() {
		srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Errorf("stop = %v", err)
		}
	}()

	stale, fresh, unknown := "/stale?cc=public,max-age=0", "/fresh?cc=max-age=60", "/unknown?cc=max-age=60"
	steps := []struct {
		name, path  string
		crashing    bool
		status      int
		body        string // a part of it
		cacheStatus string // a part of it
		proxyStatus string // a part of it; "" = none
	}{
		{"first time", stale, false, 200, "answer 1", "fwd=uri-miss", ""},
		{"first time", fresh, false, 200, "answer 2", "fwd=uri-miss", ""},
		{"second time", fresh, false, 200, "answer 2", "; hit; ttl=", ""},
		{"stored and fresh", fresh, true, 200, "answer 2", "; hit; ttl=", ""},
		{"stored and stale", stale, true, 200, "answer 1", "stale", ""},
		{"never stored", unknown, true, 500, "500", "", "cause=panic"},
		{"healed", unknown, false, 200, "answer ", "fwd=uri-miss", ""},
	}
	for _, s := range steps {
		t.Run(s.name+s.path, func(t *testing.T) {
			crashing.Store(s.crashing)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+s.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != s.status || !strings.Contains(string(body), s.body) {
				t.Errorf("got %d %q, want %d with %q", resp.StatusCode, body, s.status, s.body)
			}
			if got := resp.Header.Get("Cache-Status"); !strings.Contains(got, s.cacheStatus) {
				t.Errorf("Cache-Status = %q, want something of %q", got, s.cacheStatus)
			}
			got := resp.Header.Get("Proxy-Status")
			if !strings.Contains(got, s.proxyStatus) || s.proxyStatus == "" && got != "" {
				t.Errorf("Proxy-Status = %q, want something of %q", got, s.proxyStatus)
			}
		})
	}
}
