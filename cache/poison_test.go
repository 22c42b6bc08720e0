package cache

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestConnectionOptions: what Connection lists, a proxy behind the cache takes
// away, so that the origin does not see what the response would be stored under.
func TestConnectionOptions(t *testing.T) {
	up := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		_, _ = io.WriteString(w, r.Header.Get("X-Tenant")+" "+r.Header.Get("Accept-Language")+" "+r.Header.Get("Cookie"))
	}))
	target, err := url.Parse(up.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, connection := range []string{"X-Tenant", "close, accept-language", "Cookie", "keep-alive,\tCookie , X-Tenant"} {
		c := newCache(t, Config{Key: Key{Headers: []string{"X-Tenant"}, Cookies: []string{"plan"}}})
		h := c.Handler(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }})
		good := []string{"X-Tenant: acme", "Accept-Language: de", "Cookie: plan=gold"}
		do(h, "GET", "/", append(good, "Connection: "+connection)...)
		settled(t, c)
		if a := do(h, "GET", "/", good...); a.body != "acme de plan=gold" {
			t.Errorf("after Connection: %s, others get %q", connection, a.body)
		}
		settled(t, c)
	}
	// The options that connections have are of no consequence.
	c := newCache(t, Config{})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
	do(h, "GET", "/", "Connection: keep-alive")
	settled(t, c)
	for _, connection := range []string{"close", "Keep-Alive, TE", "Upgrade, HTTP2-Settings", ""} {
		if a := do(h, "GET", "/", "Connection: "+connection); a.cacheStatus()[:13] != "holdfast; hit" {
			t.Errorf("Connection: %s: Cache-Status = %s, want a hit", connection, a.cacheStatus())
		}
	}
}

// TestKeySpellings: origins that make variables of the names of fields and
// cookies can't tell some of them apart.
func TestKeySpellings(t *testing.T) {
	for _, tt := range []struct{ name, evil, good string }{
		{"a field", "Tenant_id: evil", "Accept: x"},
		{"a dot in a cookie's name", "Cookie: plan.x=evil", "Cookie: a=b"},
		{"a bracket in a cookie's name", "Cookie: plan[x=evil", "Cookie: a=b"},
		{"a cookie's name encoded", "Cookie: %70lan_x=evil", "Cookie: a=b"},
		{"a member of a cookie", "Cookie: plan_x[a]=evil", "Cookie: a=b"},
		{"the other way round", "Cookie: plan.x=evil", "Cookie: plan_x=evil"},
		{"as a value", "Cookie: plan.x=evil", "Cookie: plan_x=plan.x=evil"},
		{"after a comma", "Cookie: a=b,plan_x=evil", "Cookie: a=b"},
	} {
		c := newCache(t, Config{Key: Key{Headers: []string{"Tenant-Id"}, Cookies: []string{"plan_x"}}})
		o := newOrigin(page(200, "evil", "Cache-Control: max-age=60"))
		h := c.Handler(o)
		do(h, "GET", "/", tt.evil)
		settled(t, c)
		o.set(page(200, "good", "Cache-Control: max-age=60"))
		if a := do(h, "GET", "/", tt.good); a.body != "good" {
			t.Errorf("%s: %q after %q gets %q", tt.name, tt.good, tt.evil, a.body)
		}
		settled(t, c)
	}
}

// TestForwardedQuotes: an origin that does not look at quotes finds a host where
// there is none.
func TestForwardedQuotes(t *testing.T) {
	for _, evil := range []string{`for="x;host=evil"`, `for="x, host=evil"`, `for="x;host=evil`, `by="\";host=evil"`} {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "evil", "Cache-Control: max-age=60"))
		h := c.Handler(o)
		do(h, "GET", "/", "Forwarded: "+evil)
		settled(t, c)
		o.set(page(200, "good", "Cache-Control: max-age=60"))
		if a := do(h, "GET", "/", "Forwarded: for=192.0.2.1"); a.body != "good" {
			t.Errorf("after Forwarded: %s, others get %q", evil, a.body)
		}
		settled(t, c)
	}
}

// TestSchemeCase: a scheme in capitals is the same one, to purges, too.
func TestSchemeCase(t *testing.T) {
	c := newCache(t, Config{Scheme: func(r *http.Request) string { return r.Header.Get("Proto") }})
	o := newOrigin(page(200, "old", "Cache-Control: max-age=60"))
	h := c.Handler(o)
	do(h, "GET", "http://example.com:443/", "Proto: HTTPS")
	settled(t, c)
	o.set(page(200, "new", "Cache-Control: max-age=60"))
	if err := c.Purge(Purge{URL: "https://example.com/"}); err != nil {
		t.Fatal(err)
	}
	if a := do(h, "GET", "http://example.com:443/", "Proto: HTTPS"); a.body != "new" {
		t.Errorf("after the purge: %q", a.body)
	}
	settled(t, c)
}

// TestForEver: what is as good as for ever is long, not over.
func TestForEver(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"Policy", Config{Policy: func(*http.Request, ResponseView) Decision {
			return Decision{TTL: math.MaxInt64, StaleIfError: math.MaxInt64, StaleWhileRevalidate: math.MaxInt64}
		}}, "hit"},
		{"StatusTTL", Config{StatusTTL: map[int]time.Duration{200: math.MaxInt64}, StaleIfError: math.MaxInt64}, "hit"},
		{"a window of Policy", Config{Policy: func(*http.Request, ResponseView) Decision {
			return Decision{Store: StoreAnyway, TTL: -1, StaleWhileRevalidate: math.MaxInt64, StaleIfError: math.MaxInt64}
		}}, "stale-while-revalidate"},
		{"a window of Config", Config{StatusTTL: map[int]time.Duration{200: time.Hour}, StaleWhileRevalidate: math.MaxInt64, StaleIfError: math.MaxInt64}, "hit"},
	} {
		c := newCache(t, tt.cfg)
		h := c.Handler(page(200, "page", "Age: 10"))
		do(h, "GET", "http://example.com/")
		settled(t, c)
		e := c.Explain(httptest.NewRequest("GET", "http://example.com/", nil))
		if e.Action != tt.want {
			t.Errorf("%s: Explain() = %+v %+v, want %s", tt.name, e, e.Stored, tt.want)
			continue
		}
		if at, _ := c.store.find([]byte(string(c.keyer.appendURL(nil, httptest.NewRequest("GET", "http://example.com/", nil)))), nil); at.object.keep(time.Now()) < 30*24*time.Hour {
			t.Errorf("%s: kept for %v", tt.name, at.object.keep(time.Now()))
		}
	}
}

// TestPurgeBeforeValidation: what was purged between the look at the store and
// the request to the origin is not validated, and does not come back with a 304.
//
//  1. A request finds a stale response.
//  2. It is purged.
//  3. The request enters its row, later than the purge, and asks the origin
//     whether it is still good.
func TestPurgeBeforeValidation(t *testing.T) {
	for _, p := range []Purge{{URL: "http://example.com/"}, {Tag: "t"}} {
		c := newCache(t, Config{})
		serial := "old"
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"e"`)
			w.Header().Set("Cache-Control", "max-age=0")
			w.Header().Set("Cache-Tag", "t")
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
				return
			}
			_, _ = io.WriteString(w, serial)
		}))
		do(h, "GET", "http://example.com/")
		settled(t, c)
		serial = "new"
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		key := c.keyer.appendURL(nil, r)
		at, _ := c.store.find(key, r.Header)
		if err := c.Purge(p); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		hh, _ := h.(*handler)
		task := &task{handler: hh, w: w, r: r, client: r, primary: string(key), start: time.Now()}
		task.q.MaxAge, task.q.MinFresh, task.q.MaxStale, task.q.StaleIfError = -1, -1, -1, -1
		task.run(r.Context(), at, time.Now())
		settled(t, c)
		if got := w.Body.String(); got != "new" {
			t.Errorf("%+v: the request got %q", p, got)
		}
		if a := do(h, "GET", "http://example.com/"); a.body != "new" {
			t.Errorf("%+v: the next one got %q", p, a.body)
		}
		settled(t, c)
	}
}

// TestGroupsOfOtherKeys: a change of a URL reaches what shares a group with what
// fields in the key made of it (RFC 9875 section 2.2), and with its parts.
func TestGroupsOfOtherKeys(t *testing.T) {
	for _, headers := range [][]string{{"X-Forwarded-Proto: https"}, {"X-Tenant: a"}, {"Range: bytes=0-1"}} {
		c := newCache(t, Config{Key: Key{Headers: []string{"X-Tenant"}}})
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			if r.Method == http.MethodPost {
				w.Header().Set("Location", "/other")
				return
			}
			w.Header().Set("Cache-Groups", `"`+r.URL.Path+`"`)
			if r.URL.Path == "/list" {
				w.Header().Set("Cache-Groups", `"/item", "/other"`)
			}
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 0-1/10")
				w.WriteHeader(http.StatusPartialContent)
				_, _ = io.WriteString(w, "01")
			}
		}))
		for _, path := range []string{"/item", "/other"} {
			do(h, "GET", path, headers...)
			do(h, "GET", "/list", headers[0])
			settled(t, c)
			unsafe := "/item"
			if path == "/other" {
				unsafe = "/" // it is in Location
			}
			do(h, "POST", unsafe, headers[0])
			r := httptest.NewRequest("GET", "/list", nil)
			if headers[0][0] == 'X' {
				name, value, _ := strings.Cut(headers[0], ": ")
				r.Header.Set(name, value)
			} else {
				r.Header.Set("Range", "bytes=0-1")
			}
			if e := c.Explain(r); e.Action == "hit" {
				t.Errorf("%s, a change of %s: the list is still there", headers[0], path)
			}
			settled(t, c)
		}
	}
}

// TestUnsafeUpgrade: an origin that does not care about Upgrade in an unsafe
// request has changed something all the same.
func TestUnsafeUpgrade(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(page(200, "old", "Cache-Control: max-age=60"))
	h := c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	o.set(page(200, "new", "Cache-Control: max-age=60"))
	do(h, "POST", "/", "Connection: Upgrade", "Upgrade: TLS/1.2")
	if a := do(h, "GET", "/"); a.body != "new" {
		t.Errorf("after a POST with Upgrade: %q", a.body)
	}
	settled(t, c)
}

// TestPurgeOfCombinedParts: parts that were combined are reached by a purge of
// their URL for as long as they are there, also under another key than its own.
func TestPurgeOfCombinedParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		control := "max-age=1000000"
		h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"e"`)
			if control != "" {
				w.Header().Set("Cache-Control", control)
			}
			part := r.Header.Get("Range")[len("bytes="):]
			w.Header().Set("Content-Range", "bytes "+part+"/9")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, "ab")
		}))
		get := func(part string) answer {
			a := do(h, "GET", "http://example.com/", "Range: bytes="+part, "X-Forwarded-Proto: https")
			settled(t, c)
			return a
		}
		get("0-1")
		time.Sleep(900_000 * time.Second)
		control = "" // as it was
		get("4-5")
		time.Sleep(300_000 * time.Second)
		if a := get("0-1"); !strings.Contains(a.cacheStatus(), "; hit") {
			t.Fatalf("the combined parts: %s", a.cacheStatus())
		}
		if err := c.Purge(Purge{URL: "http://example.com/"}); err != nil {
			t.Fatal(err)
		}
		if a := get("0-1"); strings.Contains(a.cacheStatus(), "; hit") {
			t.Errorf("after the purge: %s", a.cacheStatus())
		}
	})
}

// TestPurgeURLAsWritten: a URL may be purged as people write it.
func TestPurgeURLAsWritten(t *testing.T) {
	for _, tt := range []struct{ purge, request string }{
		{"http://example.com/s?q=zürich", "http://example.com/s?q=z%C3%BCrich"},
		{"http://example.com/s?q=zürich", "http://example.com/s?q=z%c3%bcrich"},
		{"http://example.com/s?q=z%C3%BCrich", "http://example.com/s?q=zürich"},
		{"http://example.com/s?q=a b", "http://example.com/s?q=a%20b"},
		{"http://example.com/zürich", "http://example.com/z%c3%bcrich"},
	} {
		c := newCache(t, Config{})
		h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
		do(h, "GET", tt.request)
		settled(t, c)
		if err := c.Purge(Purge{URL: tt.purge}); err != nil {
			t.Fatal(err)
		}
		if a := do(h, "GET", tt.request); strings.Contains(a.cacheStatus(), "; hit") {
			t.Errorf("%s after a purge of %s: %s", tt.request, tt.purge, a.cacheStatus())
		}
		settled(t, c)
	}
	// A host as nobody sends it reaches nothing, and says so.
	c := newCache(t, Config{})
	for _, p := range []Purge{{URL: "http://zürich.example/"}, {Prefix: "http://zürich.example/"}, {Host: "zürich.example"}} {
		if err := c.Purge(p); err == nil || !strings.Contains(err.Error(), "xn--") {
			t.Errorf("Purge(%+v) = %v, want an error about its host", p, err)
		}
	}
}
