package semantics

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestFarTimes: what is beyond the range of a delta is at its end, and nothing
// overflows (RFC 9111 section 1.2.2).
func TestFarTimes(t *testing.T) {
	const ancient, distant = "Fri, 01 Jan 1600 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"
	later := []time.Duration{0, time.Second, time.Minute, 24 * time.Hour, 10 * 365 * 24 * time.Hour}
	for _, tt := range []struct {
		name   string
		fields []string
		fresh  bool
	}{
		{"a Date of long ago", []string{"Date: Sat, 01 Jan 1600 00:00:00 GMT", "Cache-Control: max-age=2147483647"}, false},
		{"a Date of long ago, Age", []string{"Date: Sat, 01 Jan 1600 00:00:00 GMT", "Age: 99999999999", "Cache-Control: max-age=60"}, false},
		{"Expires long ago", []string{"Expires: Sat, 01 Jan 1600 00:00:00 GMT"}, false},
		{"Expires in the distant future", []string{date(0), "Expires: " + distant}, true},
		{"Expires in the distant future, Date in the distant past", []string{"Date: Sat, 01 Jan 1600 00:00:00 GMT", "Expires: " + distant}, false},
		{"a Date in the distant future", []string{"Date: " + distant, "Cache-Control: max-age=2147483647"}, true},
		{"the greatest of all", []string{date(0), "Cache-Control: max-age=999999999999, stale-if-error=999999999999, stale-while-revalidate=999999999999"}, true},
	} {
		r := Analyze(fields(tt.fields...), 200, t0, t0, Options{StaleIfError: 24 * time.Hour})
		for _, d := range later {
			now := t0.Add(d)
			if got := Decide(ParseRequest(nil), &r, now).Verdict == Fresh; got != tt.fresh {
				t.Errorf("%s, %v later: fresh = %v, want %v (age %v, lifetime %v)", tt.name, d, got, tt.fresh, r.Age(now), r.Lifetime)
			}
			if keep := r.KeepFor(now); keep < 0 || tt.fresh && keep < 50*365*24*time.Hour-d {
				t.Errorf("%s, %v later: kept for %v", tt.name, d, keep)
			}
		}
	}
	if _, ok := ParseDate(ancient); ok {
		t.Error("the day of 1600 is checked against the calendar")
	}
}

func TestAgeField(t *testing.T) { // RFC 9111 section 5.1
	for _, tt := range []struct {
		fields []string
		want   int
	}{
		{[]string{"Age: 7"}, 7},
		{[]string{"Age: 007"}, 7},
		{[]string{"Age:  7 "}, 7},
		{[]string{"Age: 7, 9"}, 7},
		{[]string{"Age: 7", "Age: 9"}, 7},
		{[]string{"Age: 0, 9"}, 0},
		{[]string{"Age: 0", "Age: 9"}, 0},
		{[]string{"Age: , 7"}, 7},
		{[]string{"Age:", "Age: 7"}, 7},
		{[]string{"Age: x, 7"}, 0},
		{[]string{"Age: -7"}, 0},
		{[]string{"Age: +7"}, 0},
		{[]string{"Age: 7.0"}, 0},
		{[]string{`Age: "7"`}, 0},
		{[]string{"Age: 7;a=b"}, 0},
		{[]string{"Age: 7 9"}, 0},
		{[]string{"Age: 0x7"}, 0},
		{[]string{"Age: 2147483648"}, 2147483647},
		{[]string{"Age: 99999999999999999999999999"}, 2147483647},
	} {
		r := Analyze(fields(append(tt.fields, date(0))...), 200, t0, t0, Options{})
		if want := time.Duration(tt.want) * time.Second; r.InitialAge != want {
			t.Errorf("%q: age = %v, want %v", tt.fields, r.InitialAge, want)
		}
	}
}

func TestExpires(t *testing.T) { // RFC 9111 section 5.3, RFC 9110 section 5.6.7
	for _, tt := range []struct {
		expires string
		fresh   bool
	}{
		{"Mon, 01 Mar 2027 12:00:00 GMT", true},
		{"Monday, 01-Mar-27 12:00:00 GMT", true},
		{"Mon Mar  1 12:00:00 2027", true},
		{"0", false},
		{"-1", false},
		{"", false},
		{"Mon, 01 Mar 2027 12:00:00", false},
		{"Mon, 01 Mar 2027 12:00:00 UTC", false},
		{"Mon, 01 Mar 2027 12:00:00 gmt", false},
		{"Mon, 01 Mar 2027 12:00:00 EST", false},
		{"Mon, 01 Mar 2027 12:00:00 +0000", false},
		{"Mon, 1 Mar 2027 12:00:00 GMT", false},
		{"Mon, 01 Mar 2027 2:00:00 GMT", false},
		{"Mon, 01 Mar 27 12:00:00 GMT", false},
		{"Mon, 01-Mar-2027 12:00:00 GMT", false},
		{"Mon, 01 March 2027 12:00:00 GMT", false},
		{"mon, 01 mar 2027 12:00:00 GMT", false},
		{"Tue, 01 Mar 2027 12:00:00 GMT", false},
		{"Tuesday, 01-Mar-27 12:00:00 GMT", false},
		{"Tue Mar  1 12:00:00 2027", false},
		{"Mon Mar 01 12:00:00 2027", false},
		{"Mon,  01 Mar 2027 12:00:00 GMT", false},
		{"Mon, 01 Mar 2027 12.00.00 GMT", false},
		{"Mon, 01 Mar 2027 25:00:00 GMT", false},
		{"Mon, 31 Feb 2027 12:00:00 GMT", false},
		{"Mon, 01 Mar 2027 12:00:00 GMT, Mon, 01 Mar 2027 12:00:00 GMT", false},
		{"Mon, 01 Mar 2027 12:00:00 GMT; a=b", false},
		{`"Mon, 01 Mar 2027 12:00:00 GMT"`, false},
	} {
		// A guess would be fresh: where Expires is there but no date, there is none
		// (RFC 9111 section 4.2.2).
		h := fields(date(0), "Last-Modified: "+at(-1000*time.Hour))
		h["Expires"] = []string{tt.expires}
		r := Analyze(h, 200, t0, t0, Options{})
		if got := r.TTL(t0) > 0; got != tt.fresh || r.Heuristic {
			t.Errorf("Expires: %s: fresh = %v (guessed: %v), want %v", tt.expires, got, r.Heuristic, tt.fresh)
		}
	}
}

func TestDirectiveSyntax(t *testing.T) { // RFC 9111 sections 4.2.1 and 5.2
	for _, tt := range []struct {
		cc    []string
		life  int
		store string // the reason why not
	}{
		{[]string{`max-age=60, a="b, no-store"`}, 60, ""},
		{[]string{`max-age=60, a="b\", no-store"`}, 60, ""},
		{[]string{`a="b", max-age=60`}, 60, ""},
		{[]string{"max-age=60, a=b, c"}, 60, ""},
		{[]string{"max-age=60,no-store"}, 60, ReasonNoStore},
		{[]string{"max-age=60", "no-store"}, 60, ReasonNoStore},
		{[]string{"max-age=60, no-store=x"}, 60, ReasonNoStore},
		{[]string{`max-age=60, no-store="x"`}, 60, ReasonNoStore},
		{[]string{"max-age=60, NO-STORE"}, 60, ReasonNoStore},
		{[]string{"max-age=60;no-store"}, 0, ""},
		{[]string{"no-store-not, max-age=60"}, 60, ""},
		{[]string{"s-maxage=060"}, 60, ""},
		{[]string{`s-maxage="60"`}, 60, ""},
		{[]string{"s-maxage=-1, max-age=60"}, 0, ""},
		{[]string{"s-maxage=, max-age=60"}, 0, ""},
		{[]string{"s-maxage, max-age=60"}, 0, ""},
		{[]string{"s-maxage=99999999999999999999999"}, 2147483647, ""},
		{[]string{"S-MaxAge=60, max-age=1"}, 60, ""},
		{[]string{"smaxage=60, max-age=1"}, 1, ""},
		{[]string{"max-age=60 , ,"}, 60, ""},
		{[]string{"max-age=60\t"}, 60, ""},
		{[]string{"max-age=6 0"}, 0, ""},
		// A quote that is never closed: restrictions behind it count, the rest is not
		// understood.
		{[]string{`max-age=60, a="b, no-store`}, 60, ReasonNoStore},
		{[]string{`max-age=60, a="b, private=c`}, 60, ReasonPrivate},
		{[]string{`a="b, max-age=60`}, 0, ""},
		{[]string{`max-age=1, a="b, max-age=60`}, 0, ""},
		{[]string{`max-age=60, a="`, "no-store"}, 60, ReasonNoStore},
		// Conflicts: the most restrictive.
		{[]string{"max-age=60, private, public"}, 60, ReasonPrivate},
		{[]string{`max-age=60, private="x", private`}, 60, ReasonPrivate},
		{[]string{`max-age=60, private, private="x"`}, 60, ReasonPrivate},
		{[]string{"max-age=60, must-understand, no-store"}, 60, ""},
		{[]string{"max-age=60, must-understand=1, no-store"}, 60, ReasonNoStore},
		// What the stored response can't do without.
		{[]string{`max-age=60, private="vary"`}, 60, ReasonPrivate},
		{[]string{`max-age=60, private="x, Content-Encoding"`}, 60, ReasonPrivate},
		{[]string{`max-age=60, private="cdn-cache-control"`}, 60, ReasonPrivate},
	} {
		h := http.Header{"Cache-Control": tt.cc}
		if r := Analyze(h, 200, t0, t0, Options{}); r.Lifetime != time.Duration(tt.life)*time.Second {
			t.Errorf("%q: lifetime = %v, want %d s", tt.cc, r.Lifetime, tt.life)
		}
		if ok, reason := Storable("GET", nil, 200, h, Options{}); reason != tt.store || ok != (reason == "") {
			if tt.store != "" || reason != ReasonNoFreshness {
				t.Errorf("%q: Storable = %v, %q, want %q", tt.cc, ok, reason, tt.store)
			}
		}
	}
	// Time in proportion to the length, whatever is in it.
	h := http.Header{"Cache-Control": {`a="` + strings.Repeat(`\",`, 1<<20)}}
	start := time.Now()
	Analyze(h, 200, t0, t0, Options{})
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("3 MB of quotes took %v", d)
	}
}

func TestQualified(t *testing.T) { // RFC 9111 sections 5.2.2.4 and 5.2.2.7
	for _, tt := range []struct {
		cc      string
		noCache bool
		left    string // the fields of X-A, X-B that are stored
	}{
		{`max-age=60`, false, "X-A X-B"},
		{`max-age=60, private="x-a"`, false, "X-B"},
		{`max-age=60, private=x-a`, false, "X-B"},
		{`max-age=60, private="x-a, X-B"`, false, ""},
		{`max-age=60, private="x-a", private="x-b"`, false, ""},
		{`max-age=60, private=",x-a,,"`, false, "X-B"},
		{`max-age=60, no-cache="x-a"`, false, "X-B"},
		{`max-age=60, no-cache="x-a", private=x-b`, false, ""},
		{`max-age=60, no-cache`, true, "X-A X-B"},
		{`max-age=60, no-cache=""`, true, "X-A X-B"},
		{`max-age=60, no-cache="x-a x-b"`, true, "X-A X-B"},
		{`max-age=60, no-cache="x-a", no-cache`, true, "X-B"},
		{`max-age=60, no-cache="vary"`, true, "X-A X-B"},
		{`max-age=60, no-cache="x-a, content-encoding"`, true, "X-B"},
	} {
		h := fields("Cache-Control: "+tt.cc, "X-A: 1", "X-B: 2", "Vary: y", "Content-Encoding: gzip", date(0))
		if ok, reason := Storable("GET", nil, 200, h, Options{}); !ok {
			t.Errorf("%s: not stored: %s", tt.cc, reason)
		}
		if r := Analyze(h, 200, t0, t0, Options{}); r.NoCache != tt.noCache {
			t.Errorf("%s: NoCache = %v, want %v", tt.cc, r.NoCache, tt.noCache)
		}
		stored := Sanitize(h, Options{})
		var left []string
		for _, name := range []string{"X-A", "X-B"} {
			if stored[name] != nil {
				left = append(left, name)
			}
		}
		if got := strings.Join(left, " "); got != tt.left || stored["Vary"] == nil || stored["Content-Encoding"] == nil {
			t.Errorf("%s: %q are stored, want %q and what it can't do without: %q", tt.cc, got, tt.left, stored)
		}
	}
}

func TestTargeted(t *testing.T) { // RFC 9213 section 2
	edge := Options{Targets: []string{"Edge-Cache-Control", "Cdn-Cache-Control"}}
	for _, tt := range []struct {
		name   string
		o      Options
		fields []string
		life   int
		store  string
	}{
		{"one", Options{}, []string{"CDN-Cache-Control: max-age=60"}, 60, ""},
		{"another cache's", Options{}, []string{"Edge-Cache-Control: max-age=60", "Cache-Control: max-age=1"}, 1, ""},
		{"the first of the list", edge, []string{"CDN-Cache-Control: max-age=1", "Edge-Cache-Control: max-age=60"}, 60, ""},
		{"the next if the first is not there", edge, []string{"CDN-Cache-Control: max-age=60"}, 60, ""},
		{"the next if the first is empty", edge, []string{"Edge-Cache-Control:", "CDN-Cache-Control: max-age=60"}, 60, ""},
		{"the next if the first does not parse", edge, []string{"Edge-Cache-Control: max-age=60,,", "CDN-Cache-Control: max-age=6"}, 6, ""},
		{"Cache-Control if none parses", edge, []string{"Edge-Cache-Control: &", "CDN-Cache-Control: max-age=", "Cache-Control: max-age=6"}, 6, ""},
		{"none is obeyed", Options{Targets: []string{}}, []string{"CDN-Cache-Control: no-store", "Cache-Control: max-age=6"}, 6, ""},
		{"they are not combined", edge, []string{"Edge-Cache-Control: max-age=60", "CDN-Cache-Control: no-store", "Cache-Control: private"}, 60, ""},
		{"several lines", Options{}, []string{"CDN-Cache-Control: max-age=60", "CDN-Cache-Control: private"}, 60, ReasonPrivate},
		{"a later line does not parse", Options{}, []string{"CDN-Cache-Control: max-age=60", "CDN-Cache-Control: Private", "Cache-Control: max-age=6"}, 6, ""},
		{"mixed case does not parse", Options{}, []string{"CDN-Cache-Control: Max-Age=60", "Cache-Control: max-age=6"}, 6, ""},
		{"white space before =", Options{}, []string{"CDN-Cache-Control: max-age =60", "Cache-Control: max-age=6"}, 6, ""},
		{"white space after =", Options{}, []string{"CDN-Cache-Control: max-age= 60", "Cache-Control: max-age=6"}, 6, ""},
		{"a comma at the end", Options{}, []string{"CDN-Cache-Control: max-age=60,", "Cache-Control: max-age=6"}, 6, ""},
		{"an open string", Options{}, []string{`CDN-Cache-Control: max-age=60, a="b`, "Cache-Control: max-age=6"}, 6, ""},
		{"a type that does not exist", Options{}, []string{"CDN-Cache-Control: max-age=60, a=$", "Cache-Control: max-age=6"}, 6, ""},
		{"16 digits", Options{}, []string{"CDN-Cache-Control: max-age=1000000000000000", "Cache-Control: max-age=6"}, 6, ""},
		{"15 digits", Options{}, []string{"CDN-Cache-Control: max-age=999999999999999", "Cache-Control: max-age=6"}, 2147483647, ""},
		{"2^31", Options{}, []string{"CDN-Cache-Control: max-age=2147483648"}, 2147483647, ""},
		{"unknown members", Options{}, []string{`CDN-Cache-Control: foo, bar=(1 2);x, baz="no-store", max-age=60`}, 60, ""},
		{"parameters", Options{}, []string{"CDN-Cache-Control: max-age=60;no-store;private=?1"}, 60, ""},
		{"parameters of a flag", Options{}, []string{"CDN-Cache-Control: max-age=60, no-store;a=?0"}, 60, ReasonNoStore},
		{"leading zeros", Options{}, []string{"CDN-Cache-Control: max-age=0060"}, 60, ""},
		{"a string is no number", Options{}, []string{`CDN-Cache-Control: max-age="60"`, "Cache-Control: max-age=6"}, 0, ""},
		{"a token is no number", Options{}, []string{"CDN-Cache-Control: max-age=x60", "Cache-Control: max-age=6"}, 0, ""},
		{"a decimal is no integer", Options{}, []string{"CDN-Cache-Control: max-age=60.0", "Cache-Control: max-age=6"}, 0, ""},
		{"negative", Options{}, []string{"CDN-Cache-Control: max-age=-60", "Cache-Control: max-age=6"}, 0, ""},
		{"bare", Options{}, []string{"CDN-Cache-Control: max-age", "Cache-Control: max-age=6"}, 0, ""},
		{"an inner list", Options{}, []string{"CDN-Cache-Control: max-age=(60)", "Cache-Control: max-age=6"}, 0, ""},
		{"bytes", Options{}, []string{"CDN-Cache-Control: max-age=:NjA=:", "Cache-Control: max-age=6"}, 0, ""},
		{"the last of two members", Options{}, []string{"CDN-Cache-Control: max-age=6, max-age=60"}, 60, ""},
		{"a flag that is false", Options{}, []string{"CDN-Cache-Control: max-age=60, no-store=?0, private=?0"}, 60, ""},
		{"a flag with a number", Options{}, []string{"CDN-Cache-Control: max-age=60, no-store=1"}, 60, ReasonNoStore},
		{"a flag with a list", Options{}, []string{"CDN-Cache-Control: max-age=60, no-store=()"}, 60, ReasonNoStore},
		{"s-maxage", Options{}, []string{"CDN-Cache-Control: s-maxage=60, max-age=1"}, 60, ""},
		{"Expires does not count", Options{}, []string{"CDN-Cache-Control: public", date(0), "Expires: " + at(time.Hour)}, 0, ""},
		{"Expires counts without", edge, []string{"CDN-Cache-Control: Public", date(0), "Expires: " + at(time.Minute)}, 60, ""},
	} {
		h := fields(tt.fields...)
		if r := Analyze(h, 200, t0, t0, tt.o); r.Lifetime != time.Duration(tt.life)*time.Second {
			t.Errorf("%s: %q: lifetime = %v, want %d s", tt.name, tt.fields, r.Lifetime, tt.life)
		}
		if ok, reason := Storable("GET", nil, 200, h, tt.o); reason != tt.store || ok != (reason == "") {
			t.Errorf("%s: %q: Storable = %v, %q, want %q", tt.name, tt.fields, ok, reason, tt.store)
		}
		stored := Sanitize(h, tt.o)
		for _, name := range []string{"Edge-Cache-Control", "Cdn-Cache-Control"} {
			if !slices.Equal(stored[name], h[name]) {
				t.Errorf("%s: %s is %q downstream, want %q", tt.name, name, stored[name], h[name])
			}
		}
	}
	// A permission is one only if it is what it should be.
	auth := fields("Authorization: Basic eA==")
	for cc, want := range map[string]string{
		"max-age=60, public": "", "max-age=60, public=1": ReasonAuthorization, "max-age=60, public=?0": ReasonAuthorization,
		"s-maxage=60": "", `s-maxage="60"`: ReasonAuthorization, "max-age=60, must-revalidate": "",
	} {
		if _, reason := Storable("GET", auth, 200, fields("CDN-Cache-Control: "+cc), Options{}); reason != want {
			t.Errorf("with credentials, CDN-Cache-Control: %s: %q, want %q", cc, reason, want)
		}
	}
}

func TestAuthorization(t *testing.T) { // RFC 9111 section 3.5
	for cc, want := range map[string]string{
		"max-age=60": ReasonAuthorization, "max-age=60, public": "", "max-age=60, must-revalidate": "", "s-maxage=60": "",
		"s-maxage=0": "", "max-age=60, proxy-revalidate": ReasonAuthorization, "max-age=60, s-maxage=x": ReasonAuthorization,
		"max-age=60, s-maxage": ReasonAuthorization, "max-age=60, public=x": ReasonAuthorization, `max-age=60, x="public"`: ReasonAuthorization,
		"max-age=60, public, private": ReasonPrivate, "max-age=60, public, no-store": ReasonNoStore, "immutable, max-age=60": ReasonAuthorization,
	} {
		h := fields("Cache-Control: " + cc)
		if _, reason := Storable("GET", fields("Authorization: Basic eA=="), 200, h, Options{}); reason != want {
			t.Errorf("%s: %q, want %q", cc, reason, want)
		}
		if r := Analyze(h, 200, t0, t0, Options{}); want != ReasonPrivate && want != ReasonNoStore && r.Shareable != (want == "") {
			t.Errorf("%s: Shareable = %v", cc, r.Shareable)
		}
	}
}

func TestStatuses(t *testing.T) { // RFC 9111 section 3, RFC 9110 section 15.1
	heuristically := []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501}
	for status := 200; status <= 599; status++ {
		never := status == 206 || status == 304
		for _, tt := range []struct {
			fields []string
			want   bool
		}{
			{[]string{"Cache-Control: max-age=60"}, !never},
			{[]string{"Expires: " + at(time.Hour)}, !never},
			{[]string{"Last-Modified: " + at(-time.Hour)}, slices.Contains(heuristically, status)},
			{[]string{"Cache-Control: public", "Last-Modified: " + at(-time.Hour)}, !never},
			{[]string{"Cache-Control: max-age=60, must-understand"}, understood(status)},
			{[]string{"Cache-Control: max-age=60, must-understand, no-store"}, understood(status)},
			{[]string{"Cache-Control: max-age=60, no-store"}, false},
		} {
			if ok, reason := Storable("GET", nil, status, fields(tt.fields...), Options{}); ok != tt.want {
				t.Errorf("%d %q: Storable = %v, %q, want %v", status, tt.fields, ok, reason, tt.want)
			}
		}
		if r := Analyze(fields("Last-Modified: "+at(-100*time.Minute)), status, t0, t0, Options{}); r.Heuristic != slices.Contains(heuristically, status) {
			t.Errorf("%d: guessed = %v", status, r.Heuristic)
		}
	}
	for _, status := range []int{206, 299, 304, 306, 418, 499, 599} {
		if understood(status) {
			t.Errorf("%d is understood", status)
		}
	}
}

func TestRequestDirectives(t *testing.T) { // RFC 9111 sections 5.2.1 and 5.4
	for _, tt := range []struct {
		request []string
		cc      string
		after   int
		want    Verdict
	}{
		{nil, "max-age=60", 59, Fresh},
		{[]string{"Cache-Control: no-cache"}, "max-age=60", 1, Revalidate},
		{[]string{"Cache-Control: No-Cache"}, "max-age=60", 1, Revalidate},
		{[]string{"Cache-Control: no-cache=x"}, "max-age=60", 1, Revalidate},
		{[]string{`Cache-Control: x="no-cache"`}, "max-age=60", 1, Fresh},
		{[]string{"Pragma: no-cache"}, "max-age=60", 1, Revalidate},
		{[]string{"Pragma: x, no-cache"}, "max-age=60", 1, Revalidate},
		{[]string{"Pragma: x", "Pragma: no-cache"}, "max-age=60", 1, Revalidate},
		{[]string{"Pragma: no-cache", "Cache-Control: x"}, "max-age=60", 1, Fresh},
		{[]string{"Pragma: no-store"}, "max-age=60", 1, Fresh},
		{[]string{"Cache-Control: max-age=0"}, "max-age=60", 1, Revalidate},
		{[]string{"Cache-Control: max-age=10"}, "max-age=60", 10, Fresh},
		{[]string{"Cache-Control: max-age=10"}, "max-age=60", 11, Revalidate},
		{[]string{`Cache-Control: max-age="10"`}, "max-age=60", 11, Revalidate},
		{[]string{"Cache-Control: max-age=99, max-age=10"}, "max-age=60", 11, Revalidate},
		{[]string{"Cache-Control: max-age=10, max-age=99"}, "max-age=60", 11, Revalidate},
		{[]string{"Cache-Control: max-age=-1"}, "max-age=60", 1, Revalidate},
		{[]string{"Cache-Control: max-age=999"}, "max-age=60", 61, Stale},
		{[]string{"Cache-Control: min-fresh=10"}, "max-age=60", 50, Fresh},
		{[]string{"Cache-Control: min-fresh=10"}, "max-age=60", 51, Revalidate},
		{[]string{"Cache-Control: min-fresh=1, min-fresh=10"}, "max-age=60", 51, Revalidate},
		{[]string{"Cache-Control: min-fresh=10, min-fresh=1"}, "max-age=60", 51, Revalidate},
		{[]string{"Cache-Control: max-stale=10"}, "max-age=60", 70, StaleWhileRevalidate},
		{[]string{"Cache-Control: max-stale=10"}, "max-age=60", 71, Stale},
		{[]string{"Cache-Control: max-stale"}, "max-age=60", 9999, StaleWhileRevalidate},
		{[]string{"Cache-Control: max-stale, max-stale=10"}, "max-age=60", 71, Stale},
		{[]string{"Cache-Control: max-stale="}, "max-age=60", 61, Stale},
		{[]string{"Cache-Control: max-stale"}, "max-age=60, must-revalidate", 61, Stale},
		{[]string{"Cache-Control: max-stale"}, "max-age=60, proxy-revalidate", 61, Stale},
		{[]string{"Cache-Control: max-stale"}, "s-maxage=60", 61, Stale},
		{[]string{"Cache-Control: max-stale"}, "max-age=60, no-cache", 1, Revalidate},
		// Both: by how much it may be older than max-age, or stale.
		{[]string{"Cache-Control: max-age=10, max-stale=20"}, "max-age=60", 30, Fresh},
		{[]string{"Cache-Control: max-age=10, max-stale=20"}, "max-age=60", 31, Revalidate},
		{[]string{"Cache-Control: max-age=99, max-stale=20"}, "max-age=60", 80, StaleWhileRevalidate},
		{[]string{"Cache-Control: max-age=99, max-stale=20"}, "max-age=60", 81, Stale},
		{[]string{"Cache-Control: max-age=10, max-stale"}, "max-age=60", 9999, StaleWhileRevalidate},
		{[]string{"Cache-Control: max-age=10, max-stale=20"}, "max-age=60, must-revalidate", 11, Revalidate},
	} {
		r := Analyze(fields("Cache-Control: "+tt.cc), 200, t0, t0, Options{})
		now := t0.Add(time.Duration(tt.after) * time.Second)
		if got := Decide(ParseRequest(fields(tt.request...)), &r, now); got.Verdict != tt.want {
			t.Errorf("%q of %q after %d s: %+v, want verdict %d", tt.request, tt.cc, tt.after, got, tt.want)
		}
	}
}

func TestConfirms(t *testing.T) { // RFC 9111 section 4.3.4
	both := []string{`Etag: "a"`, "Last-Modified: " + at(0)}
	for _, tt := range []struct {
		name          string
		stored, fresh []string
		want          bool
	}{
		{"the same tag", both, []string{`Etag: "a"`}, true},
		{"another tag", both, []string{`Etag: "b"`}, false},
		{"another tag, the same time", both, []string{`Etag: "b"`, "Last-Modified: " + at(0)}, false},
		{"the same tag, another time", both, []string{`Etag: "a"`, "Last-Modified: " + at(time.Hour)}, true},
		{"a weak tag of a strong one", both, []string{`Etag: W/"a"`}, true},
		{"nothing", both, nil, true},
		{"the same time", both, []string{"Last-Modified: " + at(0)}, true},
		{"the same time, written otherwise", both, []string{"Last-Modified: Sunday, 01-Mar-26 12:00:00 GMT"}, true},
		{"another time", both, []string{"Last-Modified: " + at(time.Hour)}, false},
		{"an earlier time: an older version is back", []string{"Last-Modified: " + at(0)}, []string{"Last-Modified: " + at(-time.Hour)}, false},
		{"a tag where there was none", []string{"Last-Modified: " + at(0)}, []string{`Etag: "a"`}, true},
	} {
		r := Analyze(fields(tt.stored...), 200, t0, t0, Options{})
		if got := Confirms(fields(tt.fresh...), &r); got != tt.want {
			t.Errorf("%s: Confirms(%q) of %q = %v, want %v", tt.name, tt.fresh, tt.stored, got, tt.want)
		}
	}
}

func TestFreshening(t *testing.T) { // RFC 9111 sections 3.2 and 4.3.4
	stored := fields("Cache-Control: max-age=60", date(0), "Expires: "+at(time.Hour), `Etag: "a"`, "Content-Type: a/b")
	for _, tt := range []struct {
		name  string
		fresh []string
		life  int
		age   int
	}{
		{"nothing new", nil, 60, 0},
		{"its own lifetime", []string{"Cache-Control: max-age=6", date(100 * time.Second)}, 6, 0},
		{"its own Date", []string{date(90 * time.Second)}, 60, 10},
		{"a Date that is none", []string{"Date: now"}, 60, 0},
		{"its own Age", []string{date(100 * time.Second), "Age: 30"}, 60, 30},
		{"a targeted field", []string{"CDN-Cache-Control: max-age=6", "Cache-Control: max-age=9"}, 6, 0},
		{"no lifetime any more", []string{"Cache-Control: x", "Expires: 0"}, 0, 0},
	} {
		now := t0.Add(100 * time.Second)
		updated := Update(stored, fields(tt.fresh...), now, Options{})
		r := Analyze(updated, 200, now, now, Options{})
		if r.Lifetime != time.Duration(tt.life)*time.Second || r.InitialAge != time.Duration(tt.age)*time.Second {
			t.Errorf("%s: lifetime %v, age %v, want %d s and %d s", tt.name, r.Lifetime, r.InitialAge, tt.life, tt.age)
		}
	}
	cookie := fields("Set-Cookie: a=b", "X: 1")
	if got := Update(stored, cookie, t0, Options{}); got["Set-Cookie"] != nil || got["X"] == nil {
		t.Errorf("a cookie of one visitor joins what is stored: %q", got)
	}
	if got := Update(stored, cookie, t0, Options{StoreSetCookie: true}); got["Set-Cookie"] == nil {
		t.Errorf("with StoreSetCookie it does not: %q", got)
	}
}

func TestConnectionFields(t *testing.T) { // RFC 9110 section 7.6.1
	got := Sanitize(fields("Connection: close, x-a, Vary, cache-control, Content-Encoding", "X-A: 1", "Vary: y", "Cache-Control: max-age=1", "Content-Encoding: gzip"), Options{})
	if got["X-A"] != nil || got["Vary"] == nil || got["Cache-Control"] == nil || got["Content-Encoding"] == nil {
		t.Errorf("stored %q: fields for all recipients are not of one connection", got)
	}
}
