package semantics

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStorable(t *testing.T) { // RFC 9111 section 3
	auth := []string{"Authorization: Basic x"}
	tests := []struct {
		name     string
		request  []string
		status   int
		response []string
		want     string // the reason why not
	}{
		{"max-age", nil, 200, []string{"Cache-Control: max-age=1"}, ""},
		{"Expires", nil, 200, []string{"Expires: 0"}, ""},
		{"a validator alone", nil, 200, []string{`Etag: "a"`}, ""},
		{"Last-Modified alone", nil, 200, []string{"Last-Modified: " + at(0)}, ""},
		{"nothing", nil, 200, nil, ReasonNoFreshness},
		{"public alone", nil, 200, []string{"Cache-Control: public"}, ""},
		{"no-store", nil, 200, []string{"Cache-Control: max-age=1, No-Store"}, ReasonNoStore},
		{"no-store in a string", nil, 200, []string{`Cache-Control: max-age=1, x="no-store"`}, ""},
		{"no-store of the request", []string{"Cache-Control: no-store"}, 200, []string{"Cache-Control: max-age=1"}, ReasonRequestNoStore},
		{"private", nil, 200, []string{"Cache-Control: max-age=1, private"}, ReasonPrivate},
		{"private with fields", nil, 200, []string{`Cache-Control: max-age=1, private="x, y"`}, ""},
		{"private with what is no field", nil, 200, []string{`Cache-Control: max-age=1, private="x y"`}, ReasonPrivate},
		{"private with nothing", nil, 200, []string{`Cache-Control: max-age=1, private=""`}, ReasonPrivate},
		{"private, unterminated", nil, 200, []string{`Cache-Control: max-age=1, private="x`}, ReasonPrivate},
		{"no-cache is stored", nil, 200, []string{"Cache-Control: no-cache", `Etag: "a"`}, ""},
		{"authorization", auth, 200, []string{"Cache-Control: max-age=1"}, ReasonAuthorization},
		{"authorization, public", auth, 200, []string{"Cache-Control: max-age=1, public"}, ""},
		{"authorization, s-maxage", auth, 200, []string{"Cache-Control: s-maxage=1"}, ""},
		{"authorization, must-revalidate", auth, 200, []string{"Cache-Control: max-age=1, must-revalidate"}, ""},
		{"authorization, proxy-revalidate", auth, 200, []string{"Cache-Control: max-age=1, proxy-revalidate"}, ReasonAuthorization},
		{"set-cookie", nil, 200, []string{"Cache-Control: max-age=1", "Set-Cookie: a=b"}, ReasonSetCookie},
		{"set-cookie that is not stored", nil, 200, []string{`Cache-Control: max-age=1, no-cache="set-cookie"`, "Set-Cookie: a=b"}, ""},
		{"vary *", nil, 200, []string{"Cache-Control: max-age=1", "Vary: a, *"}, ReasonVary},
		{"302", nil, 302, []string{`Etag: "a"`}, ReasonStatus},
		{"302, max-age", nil, 302, []string{"Cache-Control: max-age=1"}, ""},
		{"404", nil, 404, []string{`Etag: "a"`}, ""},
		{"500, max-age", nil, 500, []string{"Cache-Control: max-age=1"}, ""},
		{"599, max-age", nil, 599, []string{"Cache-Control: max-age=1"}, ""},
		{"599, nothing", nil, 599, []string{`Etag: "a"`}, ReasonStatus},
		{"599, must-understand", nil, 599, []string{"Cache-Control: max-age=1, must-understand"}, ReasonNotUnderstood},
		{"200, must-understand beats no-store", nil, 200, []string{"Cache-Control: max-age=1, must-understand, no-store"}, ""},
		{"206", nil, 206, []string{"Cache-Control: max-age=1"}, ReasonStatus},
		{"304", nil, 304, []string{"Cache-Control: max-age=1"}, ReasonStatus},
		{"600", nil, 600, []string{"Cache-Control: max-age=1"}, ReasonStatus},
		{"targeted no-store", nil, 200, []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=1"}, ReasonNoStore},
		{"targeted allows", nil, 200, []string{"CDN-Cache-Control: max-age=1", "Cache-Control: no-store"}, ""},
		{"targeted, switched off", nil, 200, []string{"CDN-Cache-Control: no-store=?0, max-age=1"}, ""},
		{"targeted private with fields", nil, 200, []string{`CDN-Cache-Control: private="x", max-age=1`}, ""},
		{"targeted private of another type", nil, 200, []string{`CDN-Cache-Control: private=1, max-age=1`}, ReasonPrivate},
		{"targeted no-store of another type", nil, 200, []string{`CDN-Cache-Control: no-store=1, max-age=1`}, ReasonNoStore},
		{"targeted, a list", nil, 200, []string{`CDN-Cache-Control: private=("x"), max-age=1`}, ReasonPrivate},
	}
	for _, tt := range tests {
		ok, reason := Storable("GET", fields(tt.request...), tt.status, fields(tt.response...), Options{})
		if reason != tt.want || ok != (tt.want == "") {
			t.Errorf("%s: Storable = %v, %q, want %q", tt.name, ok, reason, tt.want)
		}
	}
	for _, m := range []string{"HEAD", "POST", "QUERY", "get"} {
		if ok, reason := Storable(m, nil, 200, fields("Cache-Control: max-age=9"), Options{}); ok || reason != ReasonMethod {
			t.Errorf("%s: Storable = %v, %q", m, ok, reason)
		}
	}
	if ok, _ := Storable("GET", nil, 200, fields("Cache-Control: max-age=9", "Set-Cookie: a=b"), Options{StoreSetCookie: true}); !ok {
		t.Error("StoreSetCookie does not store")
	}
}

func TestSanitize(t *testing.T) {
	h := fields("Content-Type: a/b", "Connection: x-one, X-Two", "X-One: 1", "X-Two: 2", "Keep-Alive: 9", "Te: x", "Upgrade: x",
		"Proxy-Authenticate: x", "Proxy-Authentication-Info: x", "Transfer-Encoding: x", "Trailer: x", "Age: 9", "RateLimit: x", "RateLimit-Policy: x",
		"X-RateLimit-Remaining: 1", "Server-Timing: x", "X-Request-Id: x", `Cache-Control: no-cache="x-three", private="X-Four", max-age=9`,
		"X-Three: 3", "X-Four: 4", "Cache-Status: cdn; hit", "Cache-Status: holdfast; hit, other; fwd=miss", "Proxy-Status: holdfast; error=x", "Via: 1.1 a")
	want := fields("Content-Type: a/b", `Cache-Control: no-cache="x-three", private="X-Four", max-age=9`,
		"Cache-Status: cdn; hit", "Cache-Status: other; fwd=miss", "Via: 1.1 a")
	got := Sanitize(h, Options{Self: "holdfast"})
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, lines := range got {
		if len(lines) != cap(lines) {
			t.Errorf("%s has room for an append", name)
		}
	}
}

func TestUpdate(t *testing.T) { // RFC 9111 section 3.2
	stored := fields(`Etag: W/"a"`, "Content-Length: 5", "Content-Type: a/b", "X-Old: 1", "X-Both: 1", date(0), "Cache-Control: max-age=1")
	before := stored.Clone()
	fresh := fields(`Etag: "a"`, "Content-Length: 0", "Content-Encoding: gzip", "Content-Range: x", "Connection: x-hop", "X-Hop: 1",
		"X-Both: 2", "X-New: 1", "Age: 7", "Content-Type: a/c")
	want := fields(`Etag: W/"a"`, "Content-Length: 5", "Content-Type: a/c", "X-Old: 1", "X-Both: 2", "X-New: 1", "Age: 7",
		date(time.Minute), "Cache-Control: max-age=1")
	if d := cmp.Diff(want, Update(stored, fresh, t0.Add(time.Minute), Options{})); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(before, stored); d != "" {
		t.Errorf("the stored fields were changed: %s", d)
	}
}

func TestVaryNames(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		want  []string
		star  bool
	}{
		{nil, nil, false},
		{[]string{""}, nil, false},
		{[]string{"b, A", "a,,"}, []string{"A", "B"}, false},
		{[]string{"*"}, nil, true},
		{[]string{"a", ", *"}, nil, true},
		{[]string{"*, *"}, nil, true},
		{[]string{"a b"}, nil, true},
	} {
		names, star := VaryNames(http.Header{"Vary": tt.lines})
		if !slices.Equal(names, tt.want) || star != tt.star {
			t.Errorf("VaryNames(%q) = %q, %v", tt.lines, names, star)
		}
	}
}

func TestVariantKey(t *testing.T) { // RFC 9111 section 4.1
	names := []string{"A", "B"}
	tests := []struct {
		name string
		x, y []string
		same bool
	}{
		{"equal", []string{"A: 1", "B: 2"}, []string{"A: 1", "B: 2"}, true},
		{"others do not matter", []string{"A: 1", "C: 2"}, []string{"A: 1"}, true},
		{"both absent", nil, nil, true},
		{"one absent", []string{"A: 1"}, nil, false},
		{"empty is not absent", []string{"A:"}, nil, false},
		{"another field", []string{"A: 1"}, []string{"B: 1"}, false},
		{"white space", []string{"A: 1,  2 ,3"}, []string{"A: 1,2,3"}, true},
		{"lines", []string{"A: 1", "A: 2"}, []string{"A: 1, 2"}, true},
		{"order", []string{"A: 1, 2"}, []string{"A: 2, 1"}, false},
		{"inside of strings", []string{`A: "1, 2"`}, []string{`A: "1,2"`}, false},
		{"a last empty member", []string{"A: 1,"}, []string{"A: 1"}, false},
	}
	for _, tt := range tests {
		x, y := AppendVariant(nil, names, fields(tt.x...)), AppendVariant(nil, names, fields(tt.y...))
		if (string(x) == string(y)) != tt.same {
			t.Errorf("%s: %q and %q", tt.name, x, y)
		}
	}
}

func TestKey(t *testing.T) {
	key := func(scheme, target, host string) string {
		r := httptest.NewRequest("GET", target, nil)
		if host != "" {
			r.Host = host
		}
		return string(AppendKey(nil, "", scheme, r))
	}
	base := key("http", "/a?b=c", "example.com")
	for _, same := range []string{
		key("http", "/a?b=c", "EXAMPLE.com"), key("http", "/a?b=c", "example.com:80"), key("http", "http://example.com/a?b=c", ""),
	} {
		if same != base {
			t.Errorf("%q is not %q", same, base)
		}
	}
	seen := map[string]bool{base: true}
	for _, k := range []string{
		key("https", "/a?b=c", "example.com"), key("http", "/a?b=c", "example.com:443"), key("http", "/a", "example.com"), key("http", "/a?", "example.com"),
		key("http", "/A?b=c", "example.com"), key("http", "/%61?b=c", "example.com"), key("http", "/a?c=b", "example.com"), key("http", "/a%3Fb=c", "example.com"),
		key("http", "/a/?b=c", "example.com"), key("http", "//a?b=c", "example.com"), key("http", "/a?b=c", "a.example.com"), key("http", "/a?b=c", "[::1]:8080"),
	} {
		if seen[k] {
			t.Errorf("%q is another resource's key", k)
		}
		seen[k] = true
	}
	r := httptest.NewRequest("GET", "http://example.com", nil)
	r.URL.Path = ""
	if got, want := string(AppendKey(nil, "", "http", r)), key("http", "/", "example.com"); got != want {
		t.Errorf("no path: %q, want %q", got, want)
	}
}

func TestInvalidation(t *testing.T) { // RFC 9111 section 4.4
	for _, tt := range []struct {
		method string
		status int
		want   bool
	}{
		{"POST", 200, true},
		{"PUT", 204, true},
		{"DELETE", 303, true},
		{"FROBNICATE", 200, true},
		{"POST", 404, false},
		{"POST", 500, false},
		{"GET", 200, false},
		{"OPTIONS", 200, false},
	} {
		if got := Invalidates(tt.method, tt.status); got != tt.want {
			t.Errorf("Invalidates(%s, %d) = %v", tt.method, tt.status, got)
		}
	}
	r := httptest.NewRequest("POST", "http://example.com/dir/a?q", nil)
	for _, tt := range []struct{ location, want string }{
		{"/b", "http://example.com/b"},
		{"b?x=%20", "http://example.com/dir/b?x=%20"},
		{"?x", "http://example.com/dir/a?x"},
		{"http://EXAMPLE.com:80/b", "http://EXAMPLE.com:80/b"},
		{"//example.com/b", "http://example.com/b"},
		{"http://other.com/b", ""},
		{"//other.com/b", ""},
		{"https://example.com/b", ""},
		{"http://example.com:81/b", ""},
		{"mailto:a@example.com", ""},
		{"http://[bad", ""},
		{"", ""},
	} {
		for _, name := range []string{"Location", "Content-Location"} {
			got := ""
			for _, u := range InvalidatedURIs(r, "http", http.Header{name: {tt.location}}) {
				got = u.String()
			}
			if got != tt.want {
				t.Errorf("%s: %s invalidates %q, want %q", name, tt.location, got, tt.want)
			}
		}
	}
	// What Location names has the key that a request for it has.
	u := InvalidatedURIs(r, "http", http.Header{"Location": {"http://EXAMPLE.com:80/x%2Fy?z"}})[0]
	want := AppendKey(nil, "n", "http", httptest.NewRequest("GET", "http://example.com/x%2Fy?z", nil))
	if got := AppendURLKey(nil, "n", u); string(got) != string(want) {
		t.Errorf("AppendURLKey = %q, want %q", got, want)
	}
}
