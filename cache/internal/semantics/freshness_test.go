package semantics

import (
	"net/http"
	"testing"
	"time"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fields makes a header section of "Name: value" lines. {N} in a value is the
// date N seconds after t0.
func fields(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		for i := range len(l) {
			if l[i] == ':' {
				h.Add(l[:i], l[min(i+2, len(l)):])
				break
			}
		}
	}
	return h
}

func at(d time.Duration) string { return FormatDate(t0.Add(d)) }

func date(d time.Duration) string { return "Date: " + at(d) }

func TestFreshnessLifetime(t *testing.T) { // RFC 9111 section 4.2.1
	tests := []struct {
		name   string
		fields []string
		status int
		want   time.Duration
	}{
		{"nothing", nil, 200, 0},
		{"max-age", []string{"Cache-Control: max-age=60"}, 200, time.Minute},
		{"case", []string{"Cache-Control: MaX-aGe=60"}, 200, time.Minute},
		{"s-maxage first", []string{"Cache-Control: max-age=1, s-maxage=60"}, 200, time.Minute},
		{"s-maxage of 0", []string{"Cache-Control: max-age=60, s-maxage=0"}, 200, 0},
		{"max-age before Expires", []string{"Cache-Control: max-age=60", "Expires: " + at(time.Hour)}, 200, time.Minute},
		{"max-age of 0 before Expires", []string{"Cache-Control: max-age=0", "Expires: " + at(time.Hour)}, 200, 0},
		{"Expires", []string{"Expires: " + at(time.Hour), date(0)}, 200, time.Hour},
		{"Expires without Date", []string{"Expires: " + at(time.Hour)}, 200, time.Hour},
		{"Expires against the origin's clock", []string{"Expires: " + at(time.Hour), date(-time.Hour)}, 200, 2 * time.Hour},
		{"Expires in the past", []string{"Expires: " + at(-time.Hour)}, 200, 0},
		{"Expires 0", []string{"Expires: 0"}, 200, 0},
		{"Expires in another zone", []string{"Expires: Mon, 01 Mar 2027 12:00:00 UTC"}, 200, 0},
		{"Expires with a wrong day", []string{"Expires: Tue, 01 Mar 2027 12:00:00 GMT"}, 200, 0},
		{"invalid Expires beats the heuristic", []string{"Expires: soon", "Last-Modified: " + at(-240*time.Hour)}, 200, 0},
		{"Expires twice, the same", []string{"Expires: " + at(time.Hour), "Expires: " + at(time.Hour)}, 200, time.Hour},
		{"Expires twice", []string{"Expires: " + at(time.Hour), "Expires: " + at(2*time.Hour)}, 200, 0},
		{"quoted argument", []string{`Cache-Control: max-age="60"`}, 200, time.Minute},
		{"single quotes are none", []string{`Cache-Control: max-age='60'`}, 200, 0},
		{"leading zeros", []string{"Cache-Control: max-age=0060"}, 200, time.Minute},
		{"fraction", []string{"Cache-Control: max-age=60.5"}, 200, 0},
		{"negative", []string{"Cache-Control: max-age=-60"}, 200, 0},
		{"letters", []string{"Cache-Control: max-age=60a"}, 200, 0},
		{"no argument", []string{"Cache-Control: max-age"}, 200, 0},
		{"empty argument", []string{"Cache-Control: max-age="}, 200, 0},
		{"space before =", []string{"Cache-Control: max-age =60"}, 200, 0},
		{"space after =", []string{"Cache-Control: max-age= 60"}, 200, 0},
		{"inside a string", []string{`Cache-Control: x="max-age=60", max-age=1`}, 200, time.Second},
		{"inside a string, after", []string{`Cache-Control: max-age=1, x="a, max-age=60"`}, 200, time.Second},
		{"inside an escaped string", []string{`Cache-Control: x="\", max-age=60", max-age=1`}, 200, time.Second},
		{"an unterminated string hides the rest", []string{`Cache-Control: x="max-age=60, max-age=60`}, 200, 0},
		{"the first of two", []string{"Cache-Control: max-age=60, max-age=1"}, 200, time.Minute},
		{"the first of two lines", []string{"Cache-Control: max-age=1", "Cache-Control: max-age=60"}, 200, time.Second},
		{"one of two invalid", []string{"Cache-Control: max-age=60, max-age=x"}, 200, 0},
		{"2^31-1", []string{"Cache-Control: max-age=2147483647"}, 200, 2147483647 * time.Second},
		{"2^31", []string{"Cache-Control: max-age=2147483648"}, 200, 2147483647 * time.Second},
		{"beyond 64 bits", []string{"Cache-Control: max-age=99999999999999999999999"}, 200, 2147483647 * time.Second},
		{"digits beyond 64 bits, then a letter", []string{"Cache-Control: max-age=99999999999999999999999x"}, 200, 0},
		{"empty members", []string{"Cache-Control: ,, max-age=60 ,"}, 200, time.Minute},
		{"heuristic", []string{"Last-Modified: " + at(-100*time.Minute)}, 200, 10 * time.Minute},
		{"heuristic is bounded", []string{"Last-Modified: " + at(-10000*time.Hour)}, 200, 24 * time.Hour},
		{"modified in the future", []string{"Last-Modified: " + at(time.Hour)}, 200, 0},
		{"no heuristic for 302", []string{"Last-Modified: " + at(-100*time.Minute)}, 302, 0},
		{"heuristic for 302 if public", []string{"Last-Modified: " + at(-100*time.Minute), "Cache-Control: public"}, 302, 10 * time.Minute},
		{"no guess where max-age is invalid", []string{"Last-Modified: " + at(-100*time.Minute), "Cache-Control: max-age=x"}, 200, 0},
		// RFC 9213 section 2.
		{"targeted", []string{"CDN-Cache-Control: max-age=60", "Cache-Control: max-age=1", "Expires: 0"}, 200, time.Minute},
		{"targeted without freshness", []string{"CDN-Cache-Control: public", "Cache-Control: max-age=60"}, 200, 0},
		{"targeted, malformed", []string{"CDN-Cache-Control: max-age=60,,", "Cache-Control: max-age=1"}, 200, time.Second},
		{"targeted, empty", []string{"CDN-Cache-Control:", "Cache-Control: max-age=1"}, 200, time.Second},
		{"targeted, wrong type", []string{`CDN-Cache-Control: max-age="60"`, "Cache-Control: max-age=90"}, 200, 0},
		{"targeted, the last of two", []string{"CDN-Cache-Control: max-age=1, max-age=60"}, 200, time.Minute},
		{"targeted, capitals are not in its grammar", []string{"CDN-Cache-Control: Max-Age=60", "Cache-Control: max-age=1"}, 200, time.Second},
	}
	for _, tt := range tests {
		r := Analyze(fields(tt.fields...), tt.status, t0, t0, Options{})
		if r.Lifetime != tt.want {
			t.Errorf("%s: %q has a lifetime of %v, want %v", tt.name, tt.fields, r.Lifetime, tt.want)
		}
	}
}

func TestAge(t *testing.T) { // RFC 9111 section 4.2.3
	tests := []struct {
		name   string
		fields []string
		delay  time.Duration
		want   time.Duration
	}{
		{"nothing", nil, 0, 0},
		{"apparent age", []string{date(-time.Minute)}, 0, time.Minute},
		{"a Date in the future", []string{date(time.Minute)}, 0, 0},
		{"Age", []string{date(0), "Age: 60"}, 0, time.Minute},
		{"the greater one", []string{date(-2 * time.Minute), "Age: 60"}, 0, 2 * time.Minute},
		{"Age and delay", []string{date(0), "Age: 60"}, 5 * time.Second, 65 * time.Second},
		{"delay alone", nil, 5 * time.Second, 5 * time.Second},
		{"a list: the first (5.1)", []string{"Age: 60, 0"}, 0, time.Minute},
		{"a list, the other way round", []string{"Age: 0, 60"}, 0, 0},
		{"two lines: the first", []string{"Age: 60", "Age: 0"}, 0, time.Minute},
		{"no number: ignored (5.1)", []string{"Age: abc"}, 0, 0},
		{"negative: ignored", []string{"Age: -60"}, 0, 0},
		{"fraction: ignored", []string{"Age: 60.0"}, 0, 0},
		{"too large", []string{"Age: 99999999999999999999"}, 0, 2147483647 * time.Second},
		{"no date", []string{"Date: yesterday"}, 0, 0},
	}
	for _, tt := range tests {
		r := Analyze(fields(tt.fields...), 200, t0.Add(-tt.delay), t0, Options{})
		if r.InitialAge != tt.want {
			t.Errorf("%s: %q has an initial age of %v, want %v", tt.name, tt.fields, r.InitialAge, tt.want)
		}
		if got := r.Age(t0.Add(time.Minute)); got != tt.want+time.Minute {
			t.Errorf("%s: a minute later the age is %v, want %v", tt.name, got, tt.want+time.Minute)
		}
		if got := r.Age(t0.Add(-time.Minute)); got != tt.want {
			t.Errorf("%s: after the clock went back the age is %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestDecide(t *testing.T) {
	day := Options{StaleIfError: 24 * time.Hour}
	both := Options{StaleIfError: 24 * time.Hour, StaleWhileRevalidate: time.Hour}
	tests := []struct {
		name    string
		request string // Cache-Control
		cc      string
		o       Options
		after   time.Duration
		status  int
		want    Decision
	}{
		{"fresh", "", "max-age=60", day, 59 * time.Second, 200, Decision{Verdict: Fresh, StaleAllowed: true}},
		{"not fresh at its lifetime", "", "max-age=60", Options{}, time.Minute, 200, Decision{Verdict: Stale, Fwd: "stale"}},
		{"operator's stale-if-error", "", "max-age=60", day, 2 * time.Minute, 200, Decision{Verdict: Stale, StaleAllowed: true, Fwd: "stale"}},
		{"operator's window is over", "", "max-age=60", day, 25 * time.Hour, 200, Decision{Verdict: Stale, Fwd: "stale"}},
		{"operator's stale-while-revalidate", "", "max-age=60", both, 2 * time.Minute, 200, Decision{Verdict: StaleWhileRevalidate, StaleAllowed: true}},
		{"the origin's own stale-while-revalidate", "", "max-age=60, stale-while-revalidate=10", both, 65 * time.Second, 200, Decision{Verdict: StaleWhileRevalidate, StaleAllowed: true}},
		{"the origin's own is shorter", "", "max-age=60, stale-while-revalidate=10", both, 75 * time.Second, 200, Decision{Verdict: Stale, StaleAllowed: true, Fwd: "stale"}},
		{"the origin switches both off", "", "max-age=60, stale-while-revalidate=0, stale-if-error=0", both, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale"}},
		{"must-revalidate", "", "max-age=60, must-revalidate", both, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "must-revalidate"}},
		{"must-revalidate, fresh", "", "max-age=60, must-revalidate", both, 1, 200, Decision{Verdict: Fresh, StaleAllowed: true}},
		{"must-revalidate outranks stale-if-error", "", "max-age=60, must-revalidate, stale-if-error=99", both, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "must-revalidate"}},
		{"proxy-revalidate", "", "max-age=60, proxy-revalidate", both, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "proxy-revalidate"}},
		{"s-maxage outranks the operator", "", "s-maxage=60", both, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "s-maxage"}},
		{"s-maxage does not outrank the origin's own", "", "s-maxage=60, stale-if-error=10", both, 61 * time.Second, 200, Decision{Verdict: Stale, StaleAllowed: true, Fwd: "stale"}},
		{"no-cache", "", "max-age=60, no-cache", both, 1, 200, Decision{Verdict: Revalidate, Fwd: "stale", StaleForbidden: "no-cache"}},
		{"no-cache of a field", "", `max-age=60, no-cache="x-y"`, both, 1, 200, Decision{Verdict: Fresh, StaleAllowed: true}},
		{"nobody gave it any freshness", "", "max-age=0", both, 1, 200, Decision{Verdict: Stale, Fwd: "stale"}},
		{"an error is never stale", "", "max-age=60", both, 61 * time.Second, 500, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "status"}},
		{"an error, not even if it says so", "", "max-age=60, stale-if-error=99", both, 61 * time.Second, 503, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "status"}},
		{"an error is used while fresh", "", "max-age=60", both, 1, 503, Decision{Verdict: Fresh, StaleAllowed: true}},

		{"request no-cache", "no-cache", "max-age=60", day, 1, 200, Decision{Verdict: Revalidate, StaleAllowed: true, Fwd: "request"}},
		{"request max-age=0", "max-age=0", "max-age=60", day, 1, 200, Decision{Verdict: Revalidate, StaleAllowed: true, Fwd: "request"}},
		{"request max-age", "max-age=10", "max-age=60", day, 11 * time.Second, 200, Decision{Verdict: Revalidate, StaleAllowed: true, Fwd: "request"}},
		{"request max-age, young enough", "max-age=10", "max-age=60", day, 10 * time.Second, 200, Decision{Verdict: Fresh, StaleAllowed: true}},
		{"request min-fresh", "min-fresh=10", "max-age=60", day, 51 * time.Second, 200, Decision{Verdict: Revalidate, StaleAllowed: true, Fwd: "request"}},
		{"request min-fresh, fresh enough", "min-fresh=10", "max-age=60", day, 50 * time.Second, 200, Decision{Verdict: Fresh, StaleAllowed: true}},
		{"request max-stale", "max-stale=10", "max-age=60", Options{}, 70 * time.Second, 200, Decision{Verdict: StaleWhileRevalidate}},
		{"request max-stale, too stale", "max-stale=10", "max-age=60", Options{}, 71 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale"}},
		{"request max-stale, any", "max-stale", "max-age=60", Options{}, 710 * time.Hour, 200, Decision{Verdict: StaleWhileRevalidate}},
		{"max-stale does not outrank must-revalidate", "max-stale", "max-age=60, must-revalidate", Options{}, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale", StaleForbidden: "must-revalidate"}},
		{"request stale-if-error", "stale-if-error=60", "max-age=60", Options{}, 61 * time.Second, 200, Decision{Verdict: Stale, StaleAllowed: true, Fwd: "stale"}},
		{"arguments that are none", "min-fresh=x, max-stale=x", "max-age=60", Options{}, 61 * time.Second, 200, Decision{Verdict: Stale, Fwd: "stale"}},
	}
	for _, tt := range tests {
		r := Analyze(fields("Cache-Control: "+tt.cc), tt.status, t0, t0, tt.o)
		q := http.Header{}
		if tt.request != "" {
			q.Set("Cache-Control", tt.request)
		}
		if got := Decide(ParseRequest(q), &r, t0.Add(tt.after)); got != tt.want {
			t.Errorf("%s: Decide = %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseRequest(t *testing.T) {
	none := Request{MaxAge: -1, MinFresh: -1, MaxStale: -1, StaleIfError: -1}
	with := func(f func(*Request)) Request { q := none; f(&q); return q }
	tests := []struct {
		fields []string
		want   Request
	}{
		{nil, none},
		{[]string{"Pragma: no-cache"}, with(func(q *Request) { q.NoCache = true })},
		{[]string{"Pragma: x, No-Cache"}, with(func(q *Request) { q.NoCache = true })},
		{[]string{"Pragma: no-cache", "Cache-Control: max-age=9"}, with(func(q *Request) { q.MaxAge = 9 * time.Second })},
		{[]string{"Cache-Control: NO-STORE, only-if-cached"}, with(func(q *Request) { q.NoStore, q.OnlyIfCached = true, true })},
		{[]string{"Cache-Control: max-age=x"}, with(func(q *Request) { q.MaxAge = 0 })},
		{[]string{"Cache-Control: max-stale"}, with(func(q *Request) { q.MaxStale = AnyStale })},
	}
	for _, tt := range tests {
		if got := ParseRequest(fields(tt.fields...)); got != tt.want {
			t.Errorf("ParseRequest(%q) = %+v, want %+v", tt.fields, got, tt.want)
		}
	}
}

func TestKeepFor(t *testing.T) {
	for _, tt := range []struct {
		fields []string
		want   time.Duration
	}{
		{[]string{"Cache-Control: max-age=60"}, time.Minute + time.Hour},
		{[]string{"Cache-Control: max-age=60, must-revalidate"}, time.Minute},
		{[]string{"Cache-Control: no-cache", `Etag: "a"`}, keepValidated},
		{[]string{"Cache-Control: max-age=0"}, 0},
		{[]string{"Last-Modified: " + at(0), date(0)}, time.Hour + keepValidated}, // a file that was written just now
		{[]string{`Etag: "a"`}, keepValidated},                                    // made for one visitor, perhaps
	} {
		r := Analyze(fields(tt.fields...), 200, t0, t0, Options{StaleIfError: time.Hour})
		if got := r.KeepFor(t0); got != tt.want {
			t.Errorf("%q: KeepFor = %v, want %v", tt.fields, got, tt.want)
		}
	}
}

// TestApparentAge: a Date has whole seconds, a clock has not.
func TestApparentAge(t *testing.T) { // RFC 9111 section 4.2.3
	const ms = time.Millisecond
	for _, tt := range []struct {
		name                 string
		sent, received, want time.Duration // after the Date
	}{
		{"in the second of the Date", 100 * ms, 900 * ms, 0},
		{"the second passed while it was fetched", 990 * ms, 1010 * ms, 0},
		{"an answer that took its time", 500 * ms, 3200 * ms, 0}, // the delay counts by itself
		{"made before it was asked for", 1000 * ms, 1050 * ms, time.Second},
		{"long before", 10400 * ms, 10900 * ms, 10 * time.Second},
		{"in the future", -5 * time.Second, -4 * time.Second, 0},
	} {
		if got := apparentAge(t0, t0.Add(tt.sent), t0.Add(tt.received)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
