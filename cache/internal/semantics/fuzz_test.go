package semantics

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

// FuzzResponse checks that no fields make a response usable in a way that its
// own parts forbid.
func FuzzResponse(f *testing.F) {
	f.Add(`max-age=60, x="no-store"`, "", "0", "Sun, 06 Nov 1994 08:49:37 GMT", "a, *")
	f.Add(`private="a`, "max-age=1", "99999999999999999999", "0", ",")
	f.Fuzz(func(t *testing.T, cc, targeted, age, expires, vary string) {
		h := http.Header{"Cache-Control": {cc}, "Age": {age}, "Expires": {expires}, "Vary": {vary}}
		if targeted != "" {
			h["Cdn-Cache-Control"] = []string{targeted}
		}
		r := Analyze(h, 200, t0, t0.Add(time.Second), Options{StaleIfError: time.Hour})
		if r.Lifetime < 0 || r.InitialAge < time.Second || r.SWR < 0 || r.SIE < 0 {
			t.Fatalf("%q: %+v", h, r)
		}
		d := Decide(ParseRequest(nil), &r, t0.Add(time.Minute))
		if d.Verdict == Fresh && (r.NoCache || r.TTL(t0.Add(time.Minute)) <= 0) {
			t.Fatalf("%q: %+v is fresh", h, r)
		}
		Decide(ParseRequest(h), &r, t0)
		if ok, _ := Storable("GET", nil, 200, h, Options{}); ok && targeted == "" && !strings.ContainsAny(cc, `"\`) {
			for member := range strings.SplitSeq(strings.ToLower(cc), ",") {
				if m := strings.Trim(member, " \t"); m == "no-store" && !strings.Contains(strings.ToLower(cc), "must-understand") || m == "private" {
					t.Fatalf("%q is stored", cc)
				}
			}
		}
		Sanitize(h, Options{Self: "holdfast"})
	})
}

func FuzzParseDate(f *testing.F) {
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add("Sunday, 06-Nov-94 08:49:37 GMT")
	f.Add("Sun Nov  6 08:49:37 1994")
	f.Fuzz(func(t *testing.T, s string) {
		if d, ok := ParseDate(s); ok {
			if again, ok := ParseDate(FormatDate(d)); !ok || !again.Equal(d) {
				t.Fatalf("%q is %v, which is %v", s, d, again)
			}
		}
	})
}

// FuzzVariant checks that requests have one secondary key exactly if they have
// the same values.
func FuzzVariant(f *testing.F) {
	f.Add("a", "b", "c", "d", uint8(0))
	f.Add("a\x00e", "", "a", "\x00a", uint8(3))
	f.Add(`"a, b"`, "a,b", "a, b", "", uint8(12))
	f.Fuzz(func(t *testing.T, a1, b1, a2, b2 string, missing uint8) {
		names := []string{"A", "B"}
		x, y := http.Header{"A": {a1}, "B": {b1}}, http.Header{"A": {a2}, "B": {b2}}
		for i, h := range []http.Header{x, y} {
			for j, n := range names {
				if missing>>(2*i+j)&1 == 1 {
					delete(h, n)
				}
			}
		}
		same := true
		for _, n := range names {
			v, okX := x[n]
			w, okY := y[n]
			same = same && okX == okY && slices.Equal(members(v), members(w))
		}
		kx, ky := AppendVariant(nil, names, x), AppendVariant(nil, names, y)
		if (string(kx) == string(ky)) != same {
			t.Fatalf("%q and %q: %q and %q", x, y, kx, ky)
		}
	})
}

func members(lines []string) (all []string) {
	for _, line := range lines {
		for more := true; more; {
			var m string
			m, line, more = nextMember(line)
			all = append(all, m)
		}
	}
	// Members are joined by commas, which an unterminated string may hide.
	return []string{strings.Join(all, ",")}
}

func FuzzKey(f *testing.F) {
	f.Add("example.com", "/a", "b", "example.com", "/a?b", "")
	f.Add("a\x00/b", "/", "", "a", "/b", "")
	f.Fuzz(func(t *testing.T, h1, p1, q1, h2, p2, q2 string) {
		key := func(h, p, q string) string {
			r := &http.Request{Host: h, URL: &url.URL{Path: p, RawQuery: q}}
			return string(AppendKey(nil, "", "x", r))
		}
		norm := func(h, p, q string) [3]string {
			u := &url.URL{Path: p}
			p = u.EscapedPath()
			if p == "" {
				p = "/"
			}
			return [3]string{lower(strings.TrimSuffix(h, ":")), p, q}
		}
		if h1 == "" || h2 == "" {
			return // then the URL has it
		}
		if got, want := key(h1, p1, q1) == key(h2, p2, q2), norm(h1, p1, q1) == norm(h2, p2, q2); got != want {
			t.Fatalf("%q and %q", key(h1, p1, q1), key(h2, p2, q2))
		}
	})
}

func lower(s string) string {
	return string(slices.Collect(func(yield func(byte) bool) {
		for i := range len(s) {
			c := s[i]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			if !yield(c) {
				return
			}
		}
	}))
}

func FuzzConditions(f *testing.F) {
	f.Add(`"a", W/"b"`, `"a"`, "Sun, 06 Nov 1994 08:49:37 GMT")
	f.Add(`*`, `x`, "")
	f.Fuzz(func(t *testing.T, list, etag, since string) {
		h := http.Header{"Etag": {etag}}
		for _, name := range []string{"If-Match", "If-None-Match", "If-Range"} {
			q := http.Header{name: {list}, "If-Modified-Since": {since}}
			Conditional("GET", q, 200, h, t0)
			RangeApplies(q, h)
		}
		if scanETag(etag) == len(etag) && etag != "" {
			if got := Conditional("GET", http.Header{"If-None-Match": {`"x", ` + etag}}, 200, h, t0); got != NotModified {
				t.Fatalf("%q does not match itself", etag)
			}
		}
	})
}

func FuzzInvalidatedURIs(f *testing.F) {
	f.Add("/b", "example.com")
	f.Add("//[::1", "x")
	f.Fuzz(func(t *testing.T, ref, host string) {
		r := httptest.NewRequest("POST", "/a", nil)
		r.Host = host
		for _, u := range InvalidatedURIs(r, "http", http.Header{"Location": {ref}}) {
			if u.Scheme != "http" || !sameHost("http", u.Host, host) {
				t.Fatalf("%q at %q invalidates %v", ref, host, u)
			}
			AppendURLKey(nil, "", u)
		}
	})
}

func FuzzCacheStatus(f *testing.F) {
	f.Add("key\"\\\x00")
	f.Fuzz(func(t *testing.T, key string) {
		got := string(CacheStatus{Name: "a", Fwd: "miss", Key: key}.Append(nil))
		if _, err := httpsfv.UnmarshalList([]string{got}); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
	})
}
