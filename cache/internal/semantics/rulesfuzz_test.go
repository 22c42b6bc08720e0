package semantics

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzRequest checks that no directives of a request make usable what the response
// forbids, and that more of them never ask for less.
func FuzzRequest(f *testing.F) {
	f.Add("no-cache", "", "max-age=60", uint16(1))
	f.Add(`max-age=10, max-stale="20", min-fresh=1`, "no-cache", "max-age=60, must-revalidate", uint16(70))
	f.Add(`x="\", max-stale`, "", "s-maxage=1, stale-while-revalidate=9", uint16(3))
	f.Fuzz(func(t *testing.T, cc, pragma, response string, seconds uint16) {
		now := t0.Add(time.Duration(seconds) * time.Second)
		r := Analyze(http.Header{"Cache-Control": {response}}, 200, t0, t0, Options{})
		q := ParseRequest(http.Header{"Cache-Control": {cc}, "Pragma": {pragma}})
		for _, d := range []time.Duration{q.MaxAge, q.MinFresh, q.MaxStale, q.StaleIfError} {
			if d < -1 {
				t.Fatalf("%q: %+v", cc, q)
			}
		}
		d, plain := Decide(q, &r, now), Decide(ParseRequest(nil), &r, now)
		stale := r.TTL(now) <= 0
		switch {
		case r.NoCache && d.Verdict != Revalidate:
			t.Fatalf("%q: %+v although the response is no-cache", cc, d)
		case stale && d.Verdict == Fresh:
			t.Fatalf("%q: %+v although it is stale", cc, d)
		case stale && r.MustRevalidate && d.Verdict == StaleWhileRevalidate && plain.Verdict != StaleWhileRevalidate:
			t.Fatalf("%q: %+v against the response's %q", cc, d, response)
		case d.StaleAllowed && d.StaleForbidden != "":
			t.Fatalf("%q: %+v", cc, d)
		}
		with := ParseRequest(http.Header{"Cache-Control": {cc, "no-cache"}})
		if strings.Count(cc, `"`) == 0 && Decide(with, &r, now).Verdict != Revalidate {
			t.Fatalf("%q and no-cache: %+v", cc, Decide(with, &r, now))
		}
	})
}

// FuzzTargeted checks that a targeted field counts whole or not at all, and passes
// unchanged.
func FuzzTargeted(f *testing.F) {
	f.Add("max-age=60, private", "", "no-store")
	f.Add("max-age=(1 2);a, no-store=?0", "max-age=1", "max-age=60")
	f.Add("Max-Age=60", `max-age="1"`, "")
	f.Fuzz(func(t *testing.T, edge, cdn, cc string) {
		h := http.Header{"Edge-Cache-Control": {edge}, "Cdn-Cache-Control": {cdn}, "Cache-Control": {cc}}
		o := Options{Targets: []string{"Edge-Cache-Control", "Cdn-Cache-Control"}}
		d := parseDirectives(h, o.targets())
		want := http.Header{"Cache-Control": {cc}}
		for _, name := range o.Targets {
			if _, ok := parseTargeted(h[name]); ok {
				want = http.Header{name: h[name]}
				break
			}
		}
		alone := parseDirectives(want, o.targets())
		if d.targeted != alone.targeted || d.maxAge != alone.maxAge || d.sMaxAge != alone.sMaxAge || d.noStore != alone.noStore ||
			d.private != alone.private || d.noCache != alone.noCache || d.public != alone.public || d.mustRevalidate != alone.mustRevalidate {
			t.Fatalf("%q: %+v, want what %q says: %+v", h, d, want, alone)
		}
		stored := Sanitize(h, o)
		for name, lines := range h {
			if !slices.Equal(stored[name], lines) {
				t.Fatalf("%s is stored as %q, want %q", name, stored[name], lines)
			}
		}
	})
}

// FuzzUpdate checks that a 304 changes neither what describes the stored body nor
// the fields that it does not have, and that nothing of one connection or visitor
// joins.
func FuzzUpdate(f *testing.F) {
	f.Add(`"a"`, "max-age=1", "x-a, Vary", "1", "now")
	f.Add(`W/"a"`, `private="x-a"`, ",,Content-Encoding", "99999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT")
	f.Fuzz(func(t *testing.T, tag, cc, connection, age, date string) {
		stored := http.Header{"Etag": {`"a"`}, "Content-Length": {"4"}, "Content-Encoding": {"gzip"}, "X-Kept": {"1"}, "Vary": {"y"}}
		fresh := http.Header{
			"Etag": {tag}, "Cache-Control": {cc}, "Connection": {connection}, "Age": {age}, "Date": {date}, "Last-Modified": {date},
			"Content-Length": {"9"}, "Content-Encoding": {"br"}, "Set-Cookie": {"a=b"}, "X-A": {"1"},
		}
		got := Update(stored, fresh, t0, Options{})
		for _, name := range []string{"Etag", "Content-Length", "Content-Encoding", "X-Kept", "Vary"} {
			if !slices.Equal(got[name], stored[name]) {
				t.Fatalf("%s is %q, want %q", name, got[name], stored[name])
			}
		}
		if got["Set-Cookie"] != nil || got["Connection"] != nil || !HasDate(got) {
			t.Fatalf("%q", got)
		}
		r := Analyze(got, 200, t0, t0, Options{})
		if r.Lifetime < 0 || r.InitialAge < 0 || r.Lifetime > longest || r.InitialAge > longest {
			t.Fatalf("%q: %+v", got, r)
		}
		if Confirms(fresh, &r) && strings.TrimPrefix(tag, "W/") != `"a"` {
			t.Fatalf("%q confirms %q", tag, r.ETag)
		}
		SameResponse(fresh, &r, 4)
	})
}

// FuzzPosted checks that a reference is the target exactly if it has its key.
func FuzzPosted(f *testing.F) {
	f.Add("/a?b=c", "/a?b=c")
	f.Add("/a/../b", "//example.com:80/b#x")
	f.Add("/%61", "a")
	f.Fuzz(func(t *testing.T, target, ref string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(target, "/") {
			return
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Method, r.URL, r.RequestURI = http.MethodPost, u, u.RequestURI()
		h := http.Header{"Cache-Control": {"max-age=60"}, "Content-Location": {ref}}
		if !Posted(r, "http", 200, h, t0, Options{}) {
			return
		}
		named := InvalidatedURIs(r, "http", h)
		if len(named) != 1 {
			t.Fatalf("%q is the target %q, but invalidates %v", ref, target, named)
		}
		if named[0].EscapedPath() != u.EscapedPath() || named[0].RawQuery != u.RawQuery {
			t.Fatalf("%q is %v, want %q", ref, named[0], target)
		}
	})
}
