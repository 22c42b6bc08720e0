package cache

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// TestKey: which two requests have one entry.
func TestKey(t *testing.T) {
	utm := Key{QueryIgnore: []string{"utm_*", "fbclid"}}
	id := Key{QueryAllow: []string{"id", "user_name"}}
	none := Key{QueryAllow: []string{}}
	sorted := Key{SortQuery: true}
	fields := Key{Headers: []string{"x-tenant"}, Cookies: []string{"plan"}}
	for _, tt := range []struct {
		name       string
		key        Key
		one, other string // URL, and after blanks fields
		same       bool
	}{
		{"the query counts", Key{}, "/?a=1", "/?a=2", false},
		{"its order counts", Key{}, "/?a=1&b=2", "/?b=2&a=1", false},
		{"an empty query is one", Key{}, "/?", "/", false},
		{"the spelling of the path counts", Key{}, "/%7Ea", "/~a", false},
		{"the case of the host does not", Key{}, "http://EXAMPLE.com/", "http://example.com/", true},
		{"the default port does not", Key{}, "http://example.com:80/", "http://example.com/", true},
		{"another port does", Key{}, "http://example.com:443/", "http://example.com/", false},
		{"a dot after the host does", Key{}, "http://example.com./", "http://example.com/", false},
		{"IPv6", Key{}, "http://[::1]:80/", "http://[::1]/", true},
		{"IPv6, another address", Key{}, "http://[::1]/", "http://[::2]/", false},

		{"ignored", utm, "/?a=1&utm_source=x", "/?a=1", true},
		{"ignored in the middle", utm, "/?a=1&utm_source=x&b=2", "/?a=1&b=2", true},
		{"ignored, encoded", utm, "/?%75tm%5Fsource=x&a=1", "/?a=1", true},
		{"ignored, without a value", utm, "/?a=1&fbclid", "/?a=1", true},
		{"nothing left", utm, "/?utm_source=x", "/", true},
		{"nothing left but an ampersand", utm, "/?utm_source=x&", "/", true},
		{"nothing there", utm, "/?", "/", true},
		{"another case is not ignored", utm, "/?UTM_source=x", "/", false},
		{"a longer name is not", utm, "/?fbclid2=x", "/", false},
		{"a semicolon may part", utm, "/?utm_source=x;a=evil", "/", false},
		{"what can't be decoded counts", utm, "/?utm_%zz=x", "/", false},
		{"what is left stays as it is", utm, "/?a=%7E&utm_source=x", "/?a=~", false},
		{"the ignored name as a value counts", utm, "/?a=utm_source", "/?a=", false},

		{"not allowed", id, "/?id=1&x=2", "/?id=1&y=3", true},
		{"allowed", id, "/?id=1", "/?id=2", false},
		{"allowed, encoded", id, "/?%69d=1", "/", false},
		{"allowed, as a list", id, "/?id=1&id[]=2", "/?id=1", false},
		{"allowed, another case", id, "/?id=1&ID=2", "/?id=1", false},
		{"allowed, white space", id, "/?id=1&+id=2", "/?id=1", false},
		{"allowed, a dot for an underscore", id, "/?user.name=1", "/", false},
		{"allowed, a blank for an underscore", id, "/?user+name=1", "/", false},
		{"allowed, a NUL in the name", id, "/?id%00x=1", "/", false},
		{"not allowed, with a semicolon", id, "/?x=1;id=2", "/", false},
		{"none is allowed", none, "/?id=1", "/", true},

		{"sorted", sorted, "/?b=2&a=1", "/?a=1&b=2", true},
		{"sorted, of one name", sorted, "/?a=1&a=2", "/?a=2&a=1", false},
		{"sorted, by decoded names", sorted, "/?%62=2&a=1", "/?a=1&%62=2", true},
		{"sorted, values count", sorted, "/?b=2&a=1", "/?b=1&a=2", false},

		{"a field", fields, "/ X-Tenant: a", "/ X-Tenant: b", false},
		{"a field, absent and empty", fields, "/ X-Tenant: ", "/", false},
		{"a field, two lines and one", fields, "/ X-Tenant: a;X-Tenant: b", "/ X-Tenant: a, b", false},
		{"a cookie", fields, "/ Cookie: plan=a", "/ Cookie: plan=b", false},
		{"a cookie, absent and empty", fields, "/ Cookie: plan=", "/", false},
		{"another cookie", fields, "/ Cookie: plan=a, x=1", "/ Cookie: plan=a, x=1", true},
		{"a cookie twice", fields, "/ Cookie: plan=a;Cookie: plan=b", "/ Cookie: plan=a", false},
		{"a cookie and a field are two", fields, "/ X-Tenant: a", "/ Cookie: plan=a", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{Key: tt.key})
			h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
			request := func(spec string) *http.Request {
				target, fields, _ := strings.Cut(spec, " ")
				path, query, asked := strings.Cut(target, "?")
				r := httptest.NewRequest("GET", path, nil)
				r.URL.RawQuery, r.URL.ForceQuery = query, asked && query == ""
				for line := range strings.SplitSeq(fields, ";") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						r.Header.Add(name, value)
					}
				}
				return r
			}
			for _, order := range [][2]string{{tt.one, tt.other}, {tt.other, tt.one}} {
				_ = c.Purge(Purge{All: true})
				doRequest(h, request(order[0]))
				settled(t, c)
				a := doRequest(h, request(order[1]))
				settled(t, c)
				if hit := strings.Contains(a.cacheStatus(), "; hit"); hit != tt.same {
					t.Errorf("%q, then %q: Cache-Status = %s, want a hit %t", order[0], order[1], a.cacheStatus(), tt.same)
				}
			}
		})
	}
}

// TestKeyUpstream: the origin gets all that the client sent.
func TestKeyUpstream(t *testing.T) {
	c := newCache(t, Config{Key: Key{QueryAllow: []string{"a"}, SortQuery: true, Cookies: []string{"plan"}}})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.RawQuery+" "+r.Header.Get("Cookie"))
	}))
	if a := do(h, "GET", "/?b=2&a=1&utm=%7e", "Cookie: x=1; plan=a"); a.body != "b=2&a=1&utm=%7e x=1; plan=a" {
		t.Errorf("the origin got %q", a.body)
	}
}

// TestKeyIsNotShown: what fields say is in no answer, also where the key is.
func TestKeyIsNotShown(t *testing.T) {
	c := newCache(t, Config{ShowKey: true, Key: Key{Headers: []string{"X-Token"}, Cookies: []string{"session"}}})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
	for range 2 {
		a := do(h, "GET", "/p?q", "X-Token: geheim", "Cookie: session=geheim")
		if s := a.cacheStatus(); strings.Contains(s, "geheim") || !strings.Contains(s, `key=" http example.com /p?q X-Token Cookie:session"`) {
			t.Errorf("Cache-Status = %s", s)
		}
		settled(t, c)
	}
}

// TestPoisoning: an origin that builds its answer from a field that is not
// named in Vary does not make that another visitor's.
func TestPoisoning(t *testing.T) {
	reflect := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		for name, lines := range r.Header {
			_, _ = fmt.Fprintln(w, name, lines)
		}
	}
	for _, tt := range []struct {
		field  string
		bypass bool
	}{
		{"X-Forwarded-Host", false},
		{"X-Forwarded-Proto", false},
		{"X-Forwarded-Scheme", false},
		{"X-Forwarded-Port", false},
		{"X-Forwarded-Prefix", false},
		{"X-Forwarded-Server", false},
		{"X-Forwarded-Uri", false},
		{"X-Forwarded-Host-Of-Tomorrow", false},
		{"X-Host", false},
		{"X-Original-Host", false},
		{"Front-End-Https", false},
		{"X-Original-URL", true},
		{"X-Rewrite-URL", true},
		{"X-HTTP-Method", true},
		{"X-HTTP-Method-Override", true},
		{"X-Method-Override", true},
		{"X_Forwarded_Host", true},
		{"X_Original-URL", true},
	} {
		t.Run(tt.field, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(reflect)
			h := c.Handler(o)
			do(h, "GET", "/", tt.field+": evil")
			settled(t, c)
			if a := do(h, "GET", "/"); strings.Contains(a.body, "evil") {
				t.Errorf("another visitor got %q", a.body)
			}
			settled(t, c)
			a := do(h, "GET", "/", tt.field+": evil")
			if hit := strings.Contains(a.cacheStatus(), "; hit"); hit == tt.bypass {
				t.Errorf("the same again: Cache-Status = %s", a.cacheStatus())
			}
			if !strings.Contains(a.body, "evil") {
				t.Errorf("the same again got %q, which is another one's", a.body)
			}
			if a := do(h, "GET", "/"); !strings.Contains(a.cacheStatus(), "; hit") {
				t.Errorf("a plain request lost its entry: %s", a.cacheStatus())
			}
			// A purge of the URL reaches it too.
			_ = c.Purge(Purge{URL: "http://example.com/"})
			if a := do(h, "GET", "/", tt.field+": evil"); strings.Contains(a.cacheStatus(), "; hit") {
				t.Errorf("after a purge: %s", a.cacheStatus())
			}
		})
	}
}

// TestForwardedField: of Forwarded counts what is not different with each client.
func TestForwardedField(t *testing.T) {
	for _, tt := range []struct {
		one, other string
		same       bool
	}{
		{"for=192.0.2.1;proto=https;host=a.example", "for=192.0.2.2;by=x;proto=https;host=a.example", true},
		{"for=192.0.2.1", "For=\"[2001:db8::1]\", for=x", true},
		{"for=192.0.2.1", "", true},
		{"host=a.example", "host=b.example", false},
		{"host=a.example", "", false},
		{"for=x;host=\"a;for=y\"", "for=x;host=\"a;for=z\"", false},
		{"for=x, host=evil", "for=x", false},
		{"host=\"evil\\", "", false},
		{"nonsense", "", false},
	} {
		c := newCache(t, Config{})
		h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
		field := func(v string) []string {
			if v == "" {
				return nil
			}
			return []string{"Forwarded: " + v}
		}
		do(h, "GET", "/", field(tt.one)...)
		settled(t, c)
		if a := do(h, "GET", "/", field(tt.other)...); strings.Contains(a.cacheStatus(), "; hit") != tt.same {
			t.Errorf("%q, then %q: Cache-Status = %s, want a hit %t", tt.one, tt.other, a.cacheStatus(), tt.same)
		}
		settled(t, c)
	}
}

// TestUnkeyed: what is known to be of no consequence is left alone.
func TestUnkeyed(t *testing.T) {
	c := newCache(t, Config{Key: Key{Unkeyed: []string{"x-forwarded-port", "X-Original-URL", "X-Forwarded-Request-Id"}}})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
	do(h, "GET", "/", "X-Forwarded-Port: 1", "X-Original-Url: /a", "X-Forwarded-Request-Id: 1", "X_Forwarded_Port: 3")
	settled(t, c)
	if a := do(h, "GET", "/", "X-Forwarded-Port: 2", "X-Forwarded-Request-Id: 2"); !strings.Contains(a.cacheStatus(), "; hit") {
		t.Errorf("Cache-Status = %s, want a hit", a.cacheStatus())
	}
}

// TestKeyBound: a request whose fields would make a huge key is passed on.
func TestKeyBound(t *testing.T) {
	c := newCache(t, Config{Key: Key{Headers: []string{"X-Tenant"}}})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
	for range 2 {
		if a := do(h, "GET", "/", "X-Tenant: "+strings.Repeat("x", maxKeyFields+1)); !strings.Contains(a.cacheStatus(), "fwd=bypass; fwd-status=200; detail=key") {
			t.Errorf("Cache-Status = %s, want a bypass", a.cacheStatus())
		}
	}
}

// TestInvalidationReachesAllKeys: an unsafe request to a URL reaches what fields
// in the key made of it, in the store and in flight.
func TestInvalidationReachesAllKeys(t *testing.T) {
	c := newCache(t, Config{Key: Key{Headers: []string{"X-Tenant"}, QueryIgnore: []string{"utm_*"}, SortQuery: true}})
	o := newOrigin(page(200, "before", "Cache-Control: max-age=60"))
	h := c.Handler(o)
	for _, tenant := range []string{"a", "b"} {
		do(h, "GET", "/p?b&a", "X-Tenant: "+tenant)
	}
	settled(t, c)
	arrived, release := make(chan struct{}), make(chan struct{})
	o.set(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		page(200, "before", "Cache-Control: max-age=60")(w, r)
	})
	flying := make(chan answer)
	go func() { flying <- do(h, "GET", "/p?b&a", "X-Tenant: c") }()
	<-arrived
	o.set(page(200, "after", "Cache-Control: max-age=60"))
	do(h, "POST", "/p?a&b&utm_source=x", "X-Tenant: nobody")
	close(release)
	<-flying
	settled(t, c)
	for _, tenant := range []string{"a", "b", "c"} {
		if a := do(h, "GET", "/p?a&b", "X-Tenant: "+tenant); a.body != "after" {
			t.Errorf("tenant %s: %q, want after", tenant, a.body)
		}
		settled(t, c)
	}
}

// TestZeroKeyAllocations: the rules cost hits nothing where there are none.
func TestZeroKeyAllocations(t *testing.T) {
	c := newCache(t, Config{})
	r := httptest.NewRequest("GET", "http://example.com/page?a=b", nil)
	r.TLS = &tls.ConnectionState{}
	for _, name := range []string{"Accept", "Accept-Encoding", "Cookie", "User-Agent", "X-Request-Id", "X-Forwarded-For", "X-Real-Ip"} {
		r.Header.Set(name, "x")
	}
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(1000, func() { buf, _ = c.keyer.append(buf[:0], r, semantics.Selecting{Header: r.Header}) }); n != 0 {
		t.Errorf("a key makes %v allocations, want 0", n)
	}
	if got := semantics.SplitKey(string(buf)); got.Scheme != "https" || got.Fields != nil {
		t.Errorf("SplitKey() = %+v", got)
	}
}

// FuzzKey: keys of different URLs differ, and their parts can be told.
func FuzzKey(f *testing.F) {
	f.Add("a.example", "/p", "a=1&utm_x=2", "v\x00h")
	f.Add("A.example:80", "/%2e", "%zz;a&&", "")
	c, err := New(Config{Namespace: "n", Key: Key{QueryIgnore: []string{"utm_*"}, SortQuery: true, Headers: []string{"X-A"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Shutdown(context.Background()) })
	f.Fuzz(func(t *testing.T, host, path, query, value string) {
		r := &http.Request{Method: "GET", Host: host, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"X-A": {value}}}
		key, ok := c.keyer.append(nil, r, semantics.Selecting{Header: r.Header})
		parts := semantics.SplitKey(string(key))
		if !ok && len(value) < maxKeyFields/2 {
			t.Fatalf("no key for a small request")
		}
		if string(c.keyer.appendURL(nil, r)) != parts.URL || parts.Namespace != "n" || len(parts.Fields) != 1 {
			t.Fatalf("key %q has parts %+v", key, parts)
		}
		if form := semantics.PurgeForm(parts.URL); strings.Count(form, "\x00") != strings.Count(parts.URL, "\x00") {
			t.Fatalf("PurgeForm(%q) = %q", parts.URL, form)
		}
	})
}
