package cache

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// TestPostIsStored: RFC 9110 section 9.3.3, RFC 9111 section 2.
func TestPostIsStored(t *testing.T) {
	const fresh, here = "Cache-Control: max-age=60", "Content-Location: /a?b=c"
	for _, tt := range []struct {
		name    string
		status  int
		headers []string
		request []string
		stored  bool
	}{
		{"max-age", 200, []string{fresh, here}, nil, true},
		{"Expires", 200, []string{"Expires: Fri, 31 Dec 2100 23:59:59 GMT", here}, nil, true},
		{"an absolute Content-Location", 200, []string{fresh, "Content-Location: http://example.com/a?b=c"}, nil, true},
		{"a relative one", 200, []string{fresh, "Content-Location: ?b=c"}, nil, true},
		{"targeted", 200, []string{"CDN-Cache-Control: max-age=60", "Cache-Control: no-store", here}, nil, true},
		{"Vary", 200, []string{fresh, here, "Vary: X-Y"}, nil, true},
		{"no Content-Location", 200, []string{fresh}, nil, false},
		{"another path", 200, []string{fresh, "Content-Location: /b?b=c"}, nil, false},
		{"another query", 200, []string{fresh, "Content-Location: /a?b=d"}, nil, false},
		{"no query", 200, []string{fresh, "Content-Location: /a"}, nil, false},
		{"another host", 200, []string{fresh, "Content-Location: http://example.org/a?b=c"}, nil, false},
		{"another scheme", 200, []string{fresh, "Content-Location: https://example.com/a?b=c"}, nil, false},
		{"two", 200, []string{fresh, here, here}, nil, false},
		{"no freshness", 200, []string{here}, nil, false},
		{"guessed freshness", 200, []string{here, "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"}, nil, false},
		{"freshness of 0", 200, []string{"Cache-Control: max-age=0", here}, nil, false},
		{"invalid freshness", 200, []string{"Expires: soon", here}, nil, false},
		{"no-store", 200, []string{fresh + ", no-store", here}, nil, false},
		{"private", 200, []string{fresh + ", private", here}, nil, false},
		{"a cookie", 200, []string{fresh, here, "Set-Cookie: a=b"}, nil, false},
		{"Vary: *", 200, []string{fresh, here, "Vary: *"}, nil, false},
		{"credentials", 200, []string{fresh, here}, []string{"Authorization: Basic eA=="}, false},
		{"credentials, public", 200, []string{fresh + ", public", here}, []string{"Authorization: Basic eA=="}, true},
		{"no-store of the request", 200, []string{fresh, here}, []string{"Cache-Control: no-store"}, false},
		{"201", 201, []string{fresh, here}, nil, false},
		{"404", 404, []string{fresh, here}, nil, false},
		{"500", 500, []string{fresh, here}, nil, false},
		{"a wrong length", 200, []string{fresh, here, "Content-Length: 9"}, nil, false},
		{"trailers", 200, []string{fresh, here, "Trailer: X-T"}, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{Scheme: func(*http.Request) string { return "http" }})
			o := newOrigin(page(200, "old", fresh))
			h := c.Handler(o)
			const url = "http://example.com/a?b=c"
			do(h, "GET", url)
			settled(t, c)
			o.set(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					page(tt.status, "new", tt.headers...)(w, r)
					return
				}
				page(200, "fetched", fresh)(w, r)
			})
			a := do(h, "POST", url, tt.request...)
			if a.body != "new" || strings.Contains(a.cacheStatus(), "stored") != (tt.stored || tt.name == "a wrong length") {
				t.Errorf("POST: %q %q", a.body, a.cacheStatus())
			}
			settled(t, c)
			want := "fetched"
			switch {
			case tt.stored:
				want = "new"
			case tt.status >= 400: // it invalidates nothing
				want = "old"
			}
			if a := do(h, "GET", url); a.body != want || tt.stored != (strings.Contains(a.cacheStatus(), "hit") && want == "new") {
				t.Errorf("GET: %q %q, want %q", a.body, a.cacheStatus(), want)
			}
			settled(t, c)
			until(t, "the fill budget to be whole", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestPostIsBounded: what is too large, or more than the budget has, passes
// unstored.
func TestPostIsBounded(t *testing.T) {
	for _, size := range []int{1 << 10, 100 << 10, 300 << 10, 2 << 20} {
		c := newCache(t, Config{MemoryBytes: 4 << 20, MaxObjectBytes: 200 << 10})
		h := c.Handler(newOrigin(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Location", "/")
			_, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", size)))
		}))
		if a := do(h, "POST", "/"); len(a.body) != size {
			t.Errorf("%d of %d bytes came", len(a.body), size)
		}
		settled(t, c)
		hit := strings.Contains(do(h, "GET", "/").cacheStatus(), "hit")
		if want := size <= 200<<10; hit != want {
			t.Errorf("%d bytes: hit = %v, want %v", size, hit, want)
		}
		settled(t, c)
		until(t, "the fill budget to be whole", func() bool { return c.store.Stats().FillBytes == 0 })
	}
}

// TestPostThatFailsIsNotStored: nothing broken is, and nothing that was purged on
// the way.
func TestPostThatFailsIsNotStored(t *testing.T) {
	stored := []string{"Cache-Control: max-age=60", "Content-Location: /", "Surrogate-Key: one"}
	begin := func(w http.ResponseWriter) {
		for _, line := range stored {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, "half")
	}
	var c *Cache
	for name, fails := range map[string]http.HandlerFunc{
		"panics": func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			panic(http.ErrAbortHandler)
		},
		"reports": func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			failure.Report(r.Context(), failure.New(failure.Truncated, nil))
		},
		"purged before": func(w http.ResponseWriter, r *http.Request) {
			_ = c.Purge(Purge{URL: "http://example.com/"})
			begin(w)
		},
		"purged after": func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			_ = c.Purge(Purge{URL: "http://example.com/"})
		},
		"its tag purged before": func(w http.ResponseWriter, r *http.Request) {
			_ = c.Purge(Purge{Tag: "one"})
			begin(w)
		},
		"its host purged after": func(w http.ResponseWriter, r *http.Request) {
			begin(w)
			_ = c.Purge(Purge{Host: "example.com"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c = newCache(t, Config{})
			h := c.Handler(newOrigin(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					fails(w, r)
					return
				}
				page(200, "fetched", "Cache-Control: max-age=60")(w, r)
			}))
			do(h, "POST", "/")
			settled(t, c)
			if a := do(h, "GET", "/"); a.body != "fetched" {
				t.Errorf("GET: %q %q, want what was fetched", a.body, a.cacheStatus())
			}
			settled(t, c)
			until(t, "the fill budget to be whole", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestPostLeavesOutWhatStandsAround: of the client's header map only what the
// origin set is stored.
func TestPostLeavesOutWhatStandsAround(t *testing.T) {
	c := newCache(t, Config{})
	inner := c.Handler(page(200, "body", "Cache-Control: max-age=60", "Content-Location: /", "X-In: 1", "Link: <b>"))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Out", r.Method)
		w.Header().Add("Link", "<a>")
		inner.ServeHTTP(w, r)
	})
	do(h, "POST", "/")
	settled(t, c)
	w := httptest.NewRecorder()
	inner.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if got := w.Header(); got.Get("X-In") != "1" || got.Get("X-Out") != "" || strings.Join(got["Link"], ",") != "<b>" || w.Body.String() != "body" {
		t.Errorf("stored %q", got)
	}
}

// TestPostAndPolicy: the operator may forbid it and change its freshness, but not
// make a page of what the origin did not call one.
func TestPostAndPolicy(t *testing.T) {
	for _, tt := range []struct {
		rule     StoreRule
		location string
		stored   bool
	}{
		{StoreByOrigin, "/", true}, {StoreNever, "/", false}, {StoreAnyway, "/", true}, {StoreAnyway, "/other", false},
	} {
		asked := 0
		c := newCache(t, Config{Policy: func(r *http.Request, v ResponseView) Decision {
			if r.Method == http.MethodPost {
				asked++
			}
			return Decision{Store: tt.rule}
		}})
		h := c.Handler(page(200, "body", "Cache-Control: max-age=60", "Content-Location: "+tt.location))
		do(h, "POST", "/")
		settled(t, c)
		if hit := strings.Contains(do(h, "GET", "/").cacheStatus(), "hit"); hit != tt.stored || asked > 1 {
			t.Errorf("%+v: hit = %v, asked %d times", tt, hit, asked)
		}
		settled(t, c)
	}
}
