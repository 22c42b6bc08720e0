package cache

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const digits = "0123456789abcdefghij"

// ranged is an origin that knows ranges, as most that are written in Go do. It
// notes the Range and If-Range of each request.
type ranged struct {
	mu      sync.Mutex // guards what follows
	body    string
	headers []string
	seen    []string
}

func (o *ranged) become(body string, headers ...string) *ranged {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.body, o.headers = body, headers
	return o
}

func (o *ranged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	body, headers := o.body, o.headers
	asked := r.Header.Get("Range")
	for _, name := range []string{"If-Range", "If-None-Match"} {
		if v := r.Header.Get(name); v != "" {
			asked += " " + name + ": " + v
		}
	}
	o.seen = append(o.seen, asked)
	o.mu.Unlock()
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		w.Header().Add(name, value)
	}
	w.Header().Set("Content-Type", "text/plain")
	var modified time.Time
	if lm := w.Header().Get("Last-Modified"); lm != "" {
		modified, _ = http.ParseTime(lm)
	}
	http.ServeContent(w, r, "", modified, strings.NewReader(body))
}

// asked returns what was asked for since the last call.
func (o *ranged) asked() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := strings.Join(o.seen, "|")
	o.seen = nil
	return s
}

const longAgo = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"

// rangeStep is a request and what is to come of it. asked is what the origin sees:
// "-" is nothing, "" a request for the whole.
type rangeStep struct {
	field  string // Range; "" = none
	status int
	body   string
	cs     string // in Cache-Status
	asked  string
}

func (s rangeStep) run(t *testing.T, c *Cache, h http.Handler, o *ranged) {
	t.Helper()
	var headers []string
	if s.field != "" {
		headers = append(headers, "Range: bytes="+s.field)
	}
	a := do(h, "GET", "/", headers...)
	settled(t, c)
	o.mu.Lock()
	n := len(o.seen)
	o.mu.Unlock()
	asked := o.asked()
	if n == 0 {
		asked = "-"
	}
	if a.err != nil || a.status != s.status || a.body != s.body || !strings.Contains(a.cacheStatus(), s.cs) || asked != s.asked {
		t.Errorf("%q: got %d %q %q %v, asked for %q; want %d %q %q, %q", s.field, a.status, a.body, a.cacheStatus(), a.err, asked, s.status, s.body, s.cs, s.asked)
	}
}

func TestParts(t *testing.T) { // RFC 9111 sections 3.3 and 3.4
	const fresh = "Cache-Control: max-age=60"
	cold := func(field, body string) rangeStep {
		return rangeStep{field, 206, body, "fwd=uri-miss; fwd-status=206", "bytes=" + field}
	}
	more := func(field, body string) rangeStep {
		return rangeStep{field, 206, body, "fwd=partial; fwd-status=206", "bytes=" + field}
	}
	hit := func(field, body string) rangeStep { return rangeStep{field, 206, body, "hit; ttl=", "-"} }
	whole := rangeStep{"", 200, digits, "hit; ttl=", "-"}
	for _, tt := range []struct {
		name    string
		headers []string
		steps   []rangeStep
	}{
		{"reused", []string{fresh, `Etag: "a"`}, []rangeStep{
			cold("2-5", "2345"), hit("2-5", "2345"), hit("3-4", "34"), hit("3-4,2-2", ""), hit("5-5", "5"),
			{"30-", 416, "", "hit", "-"},
			more("1-2", "12"), hit("1-5", "12345"),
		}},
		{"from the end", []string{fresh, `Etag: "a"`}, []rangeStep{
			cold("-5", "fghij"), hit("-5", "fghij"), hit("-2", "ij"), hit("17-", "hij"), hit("18-999", "ij"),
		}},
		{"completed by ranges", []string{fresh, `Etag: "a"`}, []rangeStep{
			cold("0-9", digits[:10]), more("8-", digits[8:]), whole, hit("-20", digits),
		}},
		{"the end is fetched", []string{fresh, `Etag: "a"`}, []rangeStep{
			cold("0-9", digits[:10]),
			{"", 200, digits, "fwd=partial; fwd-status=206; ttl=60; stored", `bytes=10- If-Range: "a"`},
			whole, hit("9-11", "9ab"),
		}},
		{"the beginning is fetched", []string{fresh, `Etag: "a"`}, []rangeStep{
			cold("7-", digits[7:]),
			{"", 200, digits, "fwd=partial; fwd-status=206; ttl=60; stored", `bytes=0-6 If-Range: "a"`},
			whole,
		}},
		{"the middle is fetched", []string{fresh, longAgo}, []rangeStep{
			cold("0-6", digits[:7]), more("12-", digits[12:]),
			{"", 200, digits, "fwd=partial; fwd-status=206; ttl=60; stored", "bytes=7-11 If-Range: Sun, 06 Nov 1994 08:49:37 GMT"},
			whole,
		}},
		{"heuristic freshness", []string{longAgo}, []rangeStep{cold("0-9", digits[:10]), hit("1-2", "12"), more("8-", digits[8:]), whole}},
		{"weak", []string{fresh, `Etag: W/"a"`, longAgo}, []rangeStep{
			cold("0-9", digits[:10]), hit("1-2", "12"), more("12-", digits[12:]), hit("12-", digits[12:]), more("0-9", digits[:10]),
			{"", 200, digits, "fwd=partial; fwd-status=200; ttl=60; stored", ""},
			whole,
		}},
		{"no freshness", []string{`Etag: "a"`, "Cache-Control: max-age=0"}, []rangeStep{
			cold("0-9", digits[:10]),
			{"1-2", 206, "12", "fwd=stale; fwd-status=304", `bytes=1-2 If-None-Match: "a"`},
			{"", 200, digits, "fwd=partial", `bytes=10- If-Range: "a"`},
		}},
		{"not to be stored", []string{`Etag: "a"`, "Cache-Control: no-store"}, []rangeStep{cold("0-9", digits[:10]), cold("0-9", digits[:10])}},
		{"private", []string{`Etag: "a"`, "Cache-Control: private, max-age=60"}, []rangeStep{cold("0-9", digits[:10]), cold("0-9", digits[:10])}},
		{"with a cookie", []string{`Etag: "a"`, fresh, "Set-Cookie: a=b"}, []rangeStep{cold("0-9", digits[:10]), cold("0-9", digits[:10])}},
		{"several parts", []string{`Etag: "a"`, fresh}, []rangeStep{cold("0-1,3-4", ""), cold("0-1", "01")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			c.wholes.Store(maxWholes) // nothing is fetched behind
			o := (&ranged{}).become(digits, tt.headers...)
			h := c.Handler(o)
			for _, s := range tt.steps {
				if s.body == "" && s.status == 206 { // of several parts
					do(h, "GET", "/", "Range: bytes="+s.field)
					settled(t, c)
					o.asked()
					continue
				}
				s.run(t, c, h, o)
			}
			until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestPartsOfWhatChanged: nothing of two representations is ever put together.
func TestPartsOfWhatChanged(t *testing.T) {
	const fresh = "Cache-Control: max-age=60"
	old, changed := digits, strings.ToUpper(digits)
	for _, tt := range []struct {
		name string
		step rangeStep
		then rangeStep
	}{
		{
			"the whole is asked for",
			rangeStep{"", 200, changed, "fwd=partial; fwd-status=200", `bytes=10- If-Range: "a"`},
			rangeStep{"8-12", 206, changed[8:13], "hit", "-"},
		},
		{
			"another range is asked for",
			rangeStep{"10-12", 206, changed[10:13], "fwd=partial; fwd-status=206", "bytes=10-12"},
			rangeStep{"0-2", 206, changed[:3], "fwd=partial", "bytes=0-2"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			c.wholes.Store(maxWholes)
			o := (&ranged{}).become(old, fresh, `Etag: "a"`)
			h := c.Handler(o)
			rangeStep{"0-9", 206, old[:10], "", "bytes=0-9"}.run(t, c, h, o)
			o.become(changed, fresh, `Etag: "b"`)
			tt.step.run(t, c, h, o)
			tt.then.run(t, c, h, o)
		})
	}
}

// TestPartsThatLie: an origin whose second answer does not go with the first one.
func TestPartsThatLie(t *testing.T) {
	first := page(206, "0123456789", "Content-Range: bytes 0-9/20", "Cache-Control: max-age=60", `Etag: "a"`)
	bare := page(206, "0123456789", "Content-Range: bytes 0-9/20", "Cache-Control: max-age=60")
	right := page(200, "right", "Cache-Control: max-age=60")
	for _, tt := range []struct {
		name  string
		first http.HandlerFunc
		gap   http.HandlerFunc
		body  string
		calls int64
	}{
		{"another tag", first, page(206, "XXXXXXXXXX", "Content-Range: bytes 10-19/20", `Etag: "b"`), "right", 3},
		{"no tag", first, page(206, "XXXXXXXXXX", "Content-Range: bytes 10-19/20"), "right", 3},
		{"another range", first, page(206, "XXXXXXXXX", "Content-Range: bytes 11-19/20", `Etag: "a"`), "right", 3},
		{"another total", first, page(206, "XXXXXXXXXX", "Content-Range: bytes 10-19/21", `Etag: "a"`), "right", 3},
		{"another coding", first, page(206, "XXXXXXXXXX", "Content-Range: bytes 10-19/20", `Etag: "a"`, "Content-Encoding: x"), "right", 3},
		{"too short a length", first, page(206, "XX", "Content-Range: bytes 10-19/20", `Etag: "a"`, "Content-Length: 2"), "right", 3},
		{"no range", first, page(206, "XX", `Etag: "a"`), "right", 3},
		{"416", first, page(416, "", "Content-Range: bytes */5", "Cache-Control: max-age=60"), "right", 3},
		{"304", first, page(304, "", `Etag: "a"`), "right", 3},
		{"nothing to tell it by", bare, page(206, "XXXXXXXXXX", "Content-Range: bytes 10-19/20"), "right", 3},
		{"nothing to tell it by, and the whole comes", bare, right, "right", 2},
		{"too little of it", first, page(206, "XX", "Content-Range: bytes 10-19/20", `Etag: "a"`), "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(tt.first)
			h := c.Handler(o)
			do(h, "GET", "/", "Range: bytes=0-9")
			settled(t, c)
			o.set(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					tt.gap(w, r)
					return
				}
				right(w, r)
			})
			a := do(h, "GET", "/")
			settled(t, c)
			if n := o.calls.Load(); n != tt.calls || tt.body != "" && (a.err != nil || a.body != tt.body) || tt.body == "" && a.err == nil && a.status == 200 {
				t.Errorf("got %d %q %v after %d calls, want %q after %d", a.status, a.body, a.err, n, tt.body, tt.calls)
			}
			if tt.body == "" {
				return
			}
			if a := do(h, "GET", "/"); a.body != "right" || o.calls.Load() != tt.calls {
				t.Errorf("then %q after %d calls, want a hit", a.body, o.calls.Load())
			}
		})
	}
}

// TestPartsNotKept: what is not sure to be what it says.
func TestPartsNotKept(t *testing.T) {
	for _, tt := range []struct {
		name   string
		origin http.HandlerFunc
		field  string
		stored bool
	}{
		{"right", page(206, "01234", "Content-Range: bytes 0-4/10"), "0-4", true},
		{"total unknown", page(206, "01234", "Content-Range: bytes 0-4/*"), "0-4", true},
		{"too short", page(206, "0123", "Content-Range: bytes 0-4/10", "Content-Length: 4"), "0-4", false},
		{"too long", page(206, "012345", "Content-Range: bytes 0-4/10"), "0-4", false},
		{"ends early", page(206, "0123", "Content-Range: bytes 0-4/10", "Content-Length: 5"), "0-4", false},
		{"total too small", page(206, "01234", "Content-Range: bytes 0-4/4"), "0-4", false},
		{"no Content-Range", page(206, "01234"), "0-4", false},
		{"two of them", page(206, "01234", "Content-Range: bytes 0-4/10", "Content-Range: bytes 0-4/10"), "0-4", false},
		{"another unit", page(206, "01234", "Content-Range: lines 0-4/10"), "0-4", false},
		{"several parts", page(206, "01234", "Content-Type: multipart/byteranges; boundary=x"), "0-4", false},
		{"miscounted from the end", page(206, "01234", "Content-Range: bytes 4-9/10", "Content-Length: 5"), "-5", true},
		{"416", page(416, "", "Content-Range: bytes */3"), "0-4", false},
		{"412", page(412, ""), "0-4", false},
		{"trailers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			w.Header().Set("Content-Range", "bytes 0-4/10")
			w.WriteHeader(206)
			_, _ = io.WriteString(w, "01234")
			w.Header().Set("X-Sum", "1")
		}, "0-4", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				tt.origin(w, r)
			})
			h := c.Handler(o)
			a := do(h, "GET", "/", "Range: bytes="+tt.field)
			settled(t, c)
			b := do(h, "GET", "/", "Range: bytes="+tt.field)
			settled(t, c)
			want := int64(2)
			if tt.stored {
				want = 1
				if a.body != b.body || b.header.Get("Content-Range") == "" {
					t.Errorf("first %q, then %q %v", a.body, b.body, b.header)
				}
			}
			if n := o.calls.Load(); n != want {
				t.Errorf("%d calls, want %d (%s)", n, want, b.cacheStatus())
			}
			until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestStaleParts: parts are validated, and stand in for an origin that fails, as
// whole responses do.
func TestStaleParts(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cc     string
		origin http.Handler
		status int
		body   string
		cs     string
		cause  failure.Cause
	}{
		{"confirmed", "max-age=60", (&ranged{}).become(digits, "Cache-Control: max-age=60", `Etag: "a"`), 206, "234", "fwd=stale; fwd-status=304; ttl=60; stored", 0},
		{"changed", "max-age=60", (&ranged{}).become(strings.ToUpper(digits)+"X", "Cache-Control: max-age=60", `Etag: "b"`), 206, "234", "fwd=stale; fwd-status=206; ttl=60; stored", 0},
		{"fails", "max-age=60", failing(failure.New(failure.ConnectionRefused, nil)), 206, "234", "detail=connection_refused", failure.ConnectionRefused},
		{"answers 500", "max-age=60", page(500, "oops"), 206, "234", "fwd=stale; fwd-status=500", failure.Upstream5xx},
		{"fails, and must not be stale", "max-age=60, must-revalidate", failing(failure.New(failure.ConnectionRefused, nil)), 504, "", "fwd=stale", failure.ConnectionRefused},
		{"is gone", "max-age=60", page(404, "no", "Cache-Control: max-age=60"), 404, "no", "fwd=stale; fwd-status=404", 0},
		{"whole", "max-age=60", page(200, "ABCDEFGHIJ", "Cache-Control: max-age=60"), 206, "CDE", "fwd=stale; fwd-status=200; ttl=60; stored", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{Observe: rec.observe})
				var next http.Handler = (&ranged{}).become(digits, "Cache-Control: "+tt.cc, `Etag: "a"`)
				h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r) }))
				do(h, "GET", "/", "Range: bytes=0-9")
				settled(t, c)
				time.Sleep(70 * time.Second)
				next = tt.origin
				a := do(h, "GET", "/", "Range: bytes=2-4")
				if a.status != tt.status || tt.body != "" && a.body != tt.body || !strings.Contains(a.cacheStatus(), tt.cs) {
					t.Errorf("got %d %q %q, want %d %q %q", a.status, a.body, a.cacheStatus(), tt.status, tt.body, tt.cs)
				}
				if e := rec.last(Served).Failure; tt.cause != 0 && (e == nil || e.Cause != tt.cause) {
					t.Errorf("failure = %v, want %v", e, tt.cause)
				}
				settled(t, c)
				if tt.name == "confirmed" {
					if a := do(h, "GET", "/", "Range: bytes=0-9"); a.body != digits[:10] || !strings.Contains(a.cacheStatus(), "hit; ttl=60") || a.header.Get("Age") != "0" {
						t.Errorf("then %q %q %v, want a hit", a.body, a.cacheStatus(), a.header)
					}
				}
			})
		})
	}
}

// TestRangeOfStaleWhole: it is validated whole, and answered from.
func TestRangeOfStaleWhole(t *testing.T) {
	for _, cc := range []string{"max-age=60", "max-age=60, must-revalidate"} {
		for _, changed := range []bool{false, true} {
			t.Run(fmt.Sprint(cc, changed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCache(t, Config{})
					o := (&ranged{}).become(digits, "Cache-Control: "+cc, `Etag: "a"`)
					h := c.Handler(o)
					do(h, "GET", "/")
					settled(t, c)
					o.asked()
					time.Sleep(70 * time.Second)
					want, status := "234", 304
					if changed {
						want, status = "CDE", 200
						o.become("ABCDEFGHIJKLMN", "Cache-Control: "+cc, `Etag: "b"`)
					}
					a := do(h, "GET", "/", "Range: bytes=2-4")
					if cs := fmt.Sprintf("fwd=stale; fwd-status=%d; ttl=60; stored", status); a.status != 206 || a.body != want || !strings.Contains(a.cacheStatus(), cs) {
						t.Errorf("got %d %q %q, want 206 %q %q", a.status, a.body, a.cacheStatus(), want, cs)
					}
					if got := o.asked(); got != ` If-None-Match: "a"` {
						t.Errorf("asked for %q, want the whole if it changed", got)
					}
					settled(t, c)
					if a := do(h, "GET", "/", "Range: bytes=2-4"); a.body != want || !strings.Contains(a.cacheStatus(), "hit") {
						t.Errorf("then %q %q, want a hit", a.body, a.cacheStatus())
					}
				})
			})
		}
	}
}

// TestWholeAnswerToRange: an origin that knows no ranges.
func TestWholeAnswerToRange(t *testing.T) {
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		body    string
	}{
		{"one", []string{"Range: bytes=2-4"}, 206, "234"},
		{"the end", []string{"Range: bytes=-2"}, 206, "ij"},
		{"none", []string{"Range: bytes=90-"}, 416, ""},
		{"several", []string{"Range: bytes=0-0,2-2"}, 200, digits},
		{"If-Range holds", []string{"Range: bytes=2-4", `If-Range: "a"`}, 206, "234"},
		{"If-Range does not", []string{"Range: bytes=2-4", `If-Range: "b"`}, 200, digits},
	} {
		c := newCache(t, Config{})
		o := newOrigin(page(200, digits, "Cache-Control: max-age=60", `Etag: "a"`, "Content-Length: 20", "Content-Type: text/plain"))
		h := c.Handler(o)
		a := do(h, "GET", "/", tt.headers...)
		if want := "holdfast; fwd=uri-miss; fwd-status=200; ttl=60; stored"; a.status != tt.status || a.body != tt.body || a.cacheStatus() != want {
			t.Errorf("%s: got %d %q %q, want %d %q", tt.name, a.status, a.body, a.cacheStatus(), tt.status, tt.body)
		}
		settled(t, c)
		if a := do(h, "GET", "/"); a.body != digits || o.calls.Load() != 1 {
			t.Errorf("%s: then %q after %d calls, want a hit", tt.name, a.body, o.calls.Load())
		}
	}
}

func TestPartsVary(t *testing.T) {
	c := newCache(t, Config{})
	c.wholes.Store(maxWholes)
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Who")
		w.Header().Set("Etag", `"a"`) // the same for both, which is the origin's fault
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader(strings.Repeat(r.Header.Get("X-Who"), 10)))
	})
	h := c.Handler(o)
	for _, who := range []string{"a", "b", "a", "b"} {
		a := do(h, "GET", "/", "Range: bytes=0-3", "X-Who: "+who)
		settled(t, c)
		if a.body != strings.Repeat(who, 4) {
			t.Errorf("%s got %q", who, a.body)
		}
	}
	if n := o.calls.Load(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	for _, who := range []string{"a", "b"} {
		if a := do(h, "GET", "/", "X-Who: "+who); a.body != strings.Repeat(who, 10) || !strings.Contains(a.cacheStatus(), "fwd=partial; fwd-status=206") {
			t.Errorf("%s got %q %q", who, a.body, a.cacheStatus())
		}
		settled(t, c)
	}
}

// TestPartsInvalidated: by an unsafe request, while nothing else of the URL is
// stored, and while a part is on its way.
func TestPartsInvalidated(t *testing.T) {
	c := newCache(t, Config{})
	c.wholes.Store(maxWholes)
	o := (&ranged{}).become(digits, "Cache-Control: max-age=60", `Etag: "a"`)
	var hold, begun chan struct{}
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hold != nil && r.Method == http.MethodGet {
			begun <- struct{}{}
			<-hold
		}
		o.ServeHTTP(w, r)
	}))
	do(h, "GET", "/", "Range: bytes=0-9")
	settled(t, c)
	do(h, "POST", "/")
	o.become(strings.ToUpper(digits), "Cache-Control: max-age=60", `Etag: "a"`) // with the same tag: an origin at fault
	o.asked()
	rangeStep{"8-9", 206, "89", "fwd=uri-miss", "bytes=8-9"}.run(t, c, h, o)
	rangeStep{"2-2", 206, "2", "fwd=partial", "bytes=2-2"}.run(t, c, h, o)

	do(h, "POST", "/")
	hold, begun = make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { do(h, "GET", "/", "Range: bytes=10-12") })
	<-begun
	do(h, "POST", "/")
	close(hold)
	wg.Wait()
	settled(t, c)
	hold = nil
	o.asked()
	a := do(h, "GET", "/", "Range: bytes=10-12")
	if !strings.Contains(a.cacheStatus(), "fwd=uri-miss") || a.body != "ABC" {
		t.Errorf("got %q %q: what was asked for before the invalidation was stored", a.body, a.cacheStatus())
	}
}

func TestPartsAndDirectives(t *testing.T) {
	c := newCache(t, Config{})
	o := (&ranged{}).become(digits, "Cache-Control: max-age=60", `Etag: "a"`)
	h := c.Handler(o)
	do(h, "GET", "/", "Range: bytes=0-9")
	settled(t, c)
	for _, tt := range []struct {
		headers []string
		status  int
		body    string
		cs      string
	}{
		{[]string{"Cache-Control: only-if-cached"}, 504, "", ""},
		{[]string{"Cache-Control: only-if-cached", "Range: bytes=8-12"}, 504, "", ""},
		{[]string{"Cache-Control: only-if-cached", "Range: bytes=2-3"}, 206, "23", "hit"},
		{[]string{"Cache-Control: no-cache", "Range: bytes=2-3"}, 206, "23", "fwd=request; fwd-status=304"},
		{[]string{"Range: bytes=2-3", `If-None-Match: "a"`}, 304, "", "hit"},
		{[]string{"Range: bytes=2-3", `If-Range: "a"`}, 206, "23", "hit"},
		{[]string{"Range: bytes=2-3", `If-Range: "b"`}, 200, digits, "fwd=partial"},
	} {
		a := do(h, "GET", "/", tt.headers...)
		settled(t, c)
		if a.status != tt.status || tt.status != 504 && a.body != tt.body || !strings.Contains(a.cacheStatus(), tt.cs) {
			t.Errorf("%v: got %d %q %q, want %d %q %q", tt.headers, a.status, a.body, a.cacheStatus(), tt.status, tt.body, tt.cs)
		}
	}
}
