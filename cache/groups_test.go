package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestCacheGroups is RFC 9875, by section.
func TestCacheGroups(t *testing.T) {
	long := make([]string, 300)
	for i := range long {
		long[i] = fmt.Sprintf("%q", fmt.Sprint("x", i))
	}
	for _, tt := range []struct {
		name                string
		groups, other       string // of /page and /other
		method              string // of the request to /elsewhere, or "METHOD URL"
		status              int
		invalidate          string
		wantPage, wantOther bool // invalid
	}{
		{"section 3: a group", `"a"`, `"b"`, "POST", 200, `"a"`, true, false},
		{"section 3: one of several", `"x", "a"`, `"b"`, "POST", 200, `"y", "a"`, true, false},
		{"section 3: both", `"a"`, `"b"`, "POST", 204, `"a", "b"`, true, true},
		{"section 3: a redirection is no error", `"a"`, ``, "POST", 303, `"a"`, true, false},
		{"section 3: an unknown method may be unsafe", `"a"`, ``, "FROB", 200, `"a"`, true, false},
		{"section 3: an error", `"a"`, ``, "POST", 400, `"a"`, false, false},
		{"section 3: a server's error", `"a"`, ``, "POST", 500, `"a"`, false, false},
		{"section 3: ignored on safe requests", `"a"`, ``, "GET", 200, `"a"`, false, false},
		{"section 3: ignored on OPTIONS", `"a"`, ``, "OPTIONS", 200, `"a"`, false, false},
		{"section 3: does not cascade", `"a"`, `"a", "b"`, "POST", 200, `"b"`, false, true},
		{"section 2: parameters are ignored", `"a";p=1`, `"b"`, "POST", 200, `"a";q`, true, false},
		{"section 2: case counts", `"A"`, ``, "POST", 200, `"a"`, false, false},
		{"section 2: tokens are no strings", `a`, `"a"`, "POST", 200, `"a"`, false, true},
		{"section 2: one that is no string voids the field", `"a", 1`, `"a"`, "POST", 200, `"a"`, false, true},
		{"section 3: so does one there", `"a"`, `"a"`, "POST", 200, `"a", b`, false, false},
		{"section 3: malformed", `"a"`, `"a"`, "POST", 200, `"a`, false, false},
		{"section 2.1: of one origin", `"a"`, ``, "POST http://other.example/", 200, `"a"`, false, false},
		{"section 2.1: a port is another origin", `"a"`, ``, "POST http://example.com:8080/", 200, `"a"`, false, false},
		{"section 2.1: a scheme is another origin", `"a"`, ``, "POST https://example.com/", 200, `"a"`, false, false},
		{"section 2.2.1: what shares a group with what is invalidated", `"a", "b"`, `"b"`, "POST /page", 200, ``, true, true},
		{"section 2.2.1: not where the request failed", `"a"`, `"a"`, "POST /page", 500, ``, false, false},
		{"section 2.2.1: nothing else", `"a"`, `"b"`, "POST /page", 200, ``, true, false},
		{"more groups than are kept", strings.Join(long, ", "), `"b"`, "POST", 200, `"x299"`, true, false},
		{"more groups than are read", `"x299"`, ``, "POST", 200, strings.Join(long, ", "), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{Scheme: func(r *http.Request) string { return r.URL.Scheme }})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				switch {
				case r.URL.Path == "/page" && r.Method == "GET" && tt.groups != "":
					w.Header().Set("Cache-Groups", tt.groups)
				case r.URL.Path == "/other" && tt.other != "":
					w.Header().Set("Cache-Groups", tt.other)
				case r.URL.Path != "/page" && r.URL.Path != "/other" || r.Method != "GET":
					if tt.invalidate != "" {
						w.Header().Set("Cache-Group-Invalidation", tt.invalidate)
					}
					w.WriteHeader(tt.status)
				}
			})
			h := c.Handler(o)
			do(h, "GET", "http://example.com/page")
			do(h, "GET", "http://example.com/other")
			settled(t, c)
			method, target, ok := strings.Cut(tt.method, " ")
			switch {
			case !ok:
				target = "http://example.com/elsewhere"
			case target[0] == '/':
				target = "http://example.com" + target
			}
			do(h, method, target)
			settled(t, c)
			for _, one := range []struct {
				path string
				want bool
			}{{"/page", tt.wantPage}, {"/other", tt.wantOther}} {
				if a := do(h, "GET", "http://example.com"+one.path); strings.Contains(a.cacheStatus(), "; hit") == one.want {
					t.Errorf("%s: Cache-Status = %s, want invalid %t", one.path, a.cacheStatus(), one.want)
				}
			}
		})
	}
}

// TestCacheGroupsPass: the fields, and tags, are the next cache's business, too.
func TestCacheGroupsPass(t *testing.T) {
	c := newCache(t, Config{})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60", `Cache-Groups: "a"`, "Surrogate-Key: b", "Cache-Tag: c"))
	for range 2 {
		a := do(h, "GET", "/")
		for name, want := range map[string]string{"Cache-Groups": `"a"`, "Surrogate-Key": "b", "Cache-Tag": "c"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		settled(t, c)
	}
}
