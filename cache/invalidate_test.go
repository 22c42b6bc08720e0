package cache

import (
	"net/http"
	"strings"
	"testing"
)

func TestInvalidation(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		answer http.HandlerFunc
		want   bool
	}{
		{"POST", "POST", page(200, ""), true},
		{"PUT, redirected", "PUT", page(303, ""), true},
		{"an unknown method", "FROB", page(204, ""), true},
		{"an error", "POST", page(500, ""), false},
		{"a client's error", "DELETE", page(403, ""), false},
		{"safe", "OPTIONS", page(200, ""), false},
		{"without a status", "POST", func(http.ResponseWriter, *http.Request) {}, true},
		{"Location", "POST /other", page(201, "", "Location: /page"), true},
		{"Content-Location", "POST /other", page(200, "", "Content-Location: http://example.com/page"), true},
		{"Location elsewhere", "POST /other", page(201, "", "Location: http://example.org/page"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(page(200, "page", "Cache-Control: max-age=60"))
			h := c.Handler(o)
			do(h, "GET", "/page")
			settled(t, c)
			o.set(tt.answer)
			method, path, ok := strings.Cut(tt.method, " ")
			if !ok {
				path = "/page"
			}
			do(h, method, path)
			o.set(page(200, "changed", "Cache-Control: max-age=60"))
			if a := do(h, "GET", "/page"); (a.body == "changed") != tt.want {
				t.Errorf("after it: %q, want invalidated %t", a.body, tt.want)
			}
		})
	}
}

// TestInvalidationAgainstRunningFill: what was asked for before an unsafe
// request is neither stored nor shared after it.
func TestInvalidationAgainstRunningFill(t *testing.T) {
	c := newCache(t, Config{})
	arrived, release := make(chan struct{}), make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		page(200, "before", "Cache-Control: max-age=60")(w, r)
	})
	h := c.Handler(o)
	before := make(chan answer)
	go func() { before <- do(h, "GET", "/") }()
	<-arrived
	o.set(page(200, "after", "Cache-Control: max-age=60"))
	do(h, "POST", "/")
	if a := do(h, "GET", "/"); a.body != "after" {
		t.Errorf("a request after the POST shared a fetch from before: %q", a.body)
	}
	close(release)
	if a := <-before; a.body != "before" {
		t.Errorf("the fetch itself got %q", a.body)
	}
	settled(t, c)
	if a := do(h, "GET", "/"); a.body != "after" {
		t.Errorf("the store has %q, want after", a.body)
	}
}

// TestOlderFetchDoesNotReplaceNewer: of two fetches the one that was sent later
// stays, whichever ends first.
func TestOlderFetchDoesNotReplaceNewer(t *testing.T) {
	c := newCache(t, Config{})
	arrived, release := make(chan struct{}), make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		page(200, "older", "Cache-Control: max-age=60")(w, r)
	})
	h := c.Handler(o)
	done := make(chan answer)
	go func() { done <- do(h, "GET", "/") }()
	<-arrived
	o.set(page(200, "newer", "Cache-Control: max-age=60"))
	do(h, "GET", "/", "Cache-Control: no-cache")
	close(release)
	<-done
	settled(t, c)
	if a := do(h, "GET", "/"); a.body != "newer" {
		t.Errorf("the store has %q, want newer", a.body)
	}
}

// TestInvalidationRecordsNothingForNothing: requests to URLs of which nothing is
// stored can't fill the table.
func TestInvalidationRecordsNothingForNothing(t *testing.T) {
	c := newCache(t, Config{})
	h := c.Handler(page(200, ""))
	do(h, "POST", "/unknown")
	if n := c.store.gen.seq.Load(); n != 0 {
		t.Errorf("%d invalidations, want 0", n)
	}
}
