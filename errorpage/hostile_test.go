package errorpage

import (
	stdjson "encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
)

// knownID is as long as an id that is made.
const knownID = "01890a5d-ac96-774b-bcce-b302099a8057"

// answers are all that a failure can be answered with: for every language, format
// and way to ask. The id in them is knownID.
type answers map[string]bool

// allAnswers asks p for each in turn, by requests without anything hostile.
func allAnswers(t testing.TB, p *Page, e *failure.Error) answers {
	t.Helper()
	all := make(answers)
	h := p.Handler(failing(e))
	for _, l := range p.locales.all {
		for _, accept := range []string{"text/html", "application/problem+json", "application/json", "text/plain"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				for _, dest := range []string{"document", "image"} {
					r := get("Accept", accept, "Accept-Language", l.lang, "Sec-Fetch-Dest", dest, "X-Request-Id", knownID)
					r.Method = method
					resp := serve(h, r)
					body, _ := io.ReadAll(resp.Body)
					all[flat(resp, string(body))] = true
				}
			}
		}
	}
	for _, ct := range []string{"application/grpc", "application/grpc-web", "application/grpc-web-text"} {
		all[flat(serve(h, get("Content-Type", ct, "X-Request-Id", knownID)), "")] = true
	}
	return all
}

// flat is all of an answer but its length, which depends on the id's.
func flat(resp *http.Response, body string) string {
	var b strings.Builder
	fmt.Fprintln(&b, resp.StatusCode)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name != "Content-Length" {
			fmt.Fprintf(&b, "%s: %q\n", name, resp.Header[name])
		}
	}
	return b.String() + "\n" + body
}

// Nothing of a request is in its answer, but an id that is safe: every answer is
// one of those that are known before anybody asked.
func FuzzPage(f *testing.F) {
	p, _ := newPage(f, Config{Brand: "Müller & <Söhne>"})
	e := &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 90_000_000_000}
	known := allAnswers(f, p, e)
	h := p.Handler(failing(e))
	script := `"><script>alert(1)</script>`
	f.Add("GET", "/", "a.example", knownID, "text/html", "de", "document", "")
	f.Add("GET", "/"+script, script, script, "text/html", script, script, script)
	f.Add("POST", "/a?b=%00#c", "\xff\xfe", "\r\nSet-Cookie: a=b", "text/html;q=0.1\r\nX: y", "de-"+script, "empty", "application/grpc+"+script)
	f.Add("HEAD", "//evil.example/..;/", "[::1%25x]", strings.Repeat("a", 129), "*/*", strings.Repeat("de,", 40), "image", "application/grpc-web-text")
	f.Add("</h1>", "javascript:alert(1)", "\u202e", "\u2028", "application/json", "\u202e\x00\xc3\x28", "\"", "text/plain; x=\"")
	f.Add("GET", "/", "", "urn:a/b+c@d=e~f.g_h", "application/problem+json", "*;q=0.000,ar", "", "")
	f.Fuzz(func(t *testing.T, method, path, host, id, accept, language, dest, contentType string) {
		r := hostile(method, path, host, map[string]string{
			"X-Request-Id": id, "Accept": accept, "Accept-Language": language, "Sec-Fetch-Dest": dest, "Content-Type": contentType,
			"Referer": accept + id, "User-Agent": language + id, "X-Forwarded-Host": id, "Cookie": id, "Origin": id,
		})
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		resp := rec.Result()
		body := rec.Body.String()
		shown := resp.Header.Get("X-Request-Id")
		if !ValidRequestID(shown) || ValidRequestID(id) && shown != id {
			t.Fatalf("the request id %q is answered as %q", id, shown)
		}
		checkForm(t, resp, body, method)
		if method == http.MethodHead {
			r.Method = http.MethodGet
			rec = httptest.NewRecorder()
			r.Header.Set("X-Request-Id", shown)
			h.ServeHTTP(rec, r)
			resp, body = rec.Result(), rec.Body.String()
		}
		if got := neutral(flat(resp, body), shown); !known[got] {
			t.Fatalf("an answer that is not known:\n%s", got)
		}
	})
}

// hostile makes a request that no parser has looked at: what a handler in front
// of the page may have let pass.
func hostile(method, path, host string, fields map[string]string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Method, r.Host, r.RequestURI = method, host, path
	r.URL = &url.URL{Path: path, RawQuery: path, Host: host}
	for name, value := range fields {
		r.Header[name] = []string{value}
	}
	return r
}

// neutral puts the known id where id is shown. The URN of an id that is no UUID
// differs from that of one that is.
func neutral(answer, id string) string {
	if !isUUID(id) {
		answer = strings.ReplaceAll(answer, "urn:request:"+id, "urn:uuid:"+id)
	}
	// A short id may be a part of anything: only the places that it is for.
	for _, place := range idPlaces {
		before, after, _ := strings.Cut(place, "ID")
		answer = strings.ReplaceAll(answer, before+id+after, before+knownID+after)
	}
	return answer
}

// idPlaces is where the id is shown, in all formats: what stands right before it
// and after it.
var idPlaces = []string{
	`X-Request-Id: ["ID"]`, `"requestId":"ID"`, `urn:uuid:ID"`, "<code>ID</code>", ": ID\n", "：ID\n",
}

// checkForm expects what a reader of the format expects.
func checkForm(t *testing.T, resp *http.Response, body, method string) {
	t.Helper()
	if !utf8.ValidString(body) || strings.ContainsRune(body, 0) {
		t.Fatalf("the body is no text: %q", body)
	}
	for name, lines := range resp.Header {
		for _, line := range lines {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("%s: %q breaks the line", name, line)
			}
		}
	}
	if method == http.MethodHead {
		if body != "" {
			t.Fatalf("HEAD has the body %q", body)
		}
		return
	}
	if got, want := resp.Header.Get("Content-Length"), fmt.Sprint(len(body)); got != want && resp.Header.Get("Grpc-Status") == "" {
		t.Fatalf("Content-Length = %s for %d bytes", got, len(body))
	}
	switch resp.Header.Get("Content-Type") {
	case contentTypes[problem][0], contentTypes[json][0]:
		var doc map[string]any
		if err := stdjson.Unmarshal([]byte(body), &doc); err != nil || doc["requestId"] != resp.Header.Get("X-Request-Id") {
			t.Fatalf("%v: %v in %q", err, doc["requestId"], body)
		}
	case contentTypes[html][0]:
		if n := strings.Count(body, ">"+resp.Header.Get("X-Request-Id")+"<"); n != 1 {
			t.Fatalf("the id stands in the page %d times:\n%s", n, body)
		}
	}
}

// A header of a megabyte, which is what net/http lets pass, costs no more memory
// than one of the length that is read, and not much more time; and what many such
// requests leave behind is no more than what few do.
func TestHostileFieldsAreBounded(t *testing.T) {
	p, _ := newPage(t, Config{})
	h := p.Handler(failing(noEndpoint()))
	ask := func(fields map[string]string) func() {
		r := hostile(http.MethodGet, "/", "a.example", fields)
		return func() { h.ServeHTTP(&discard{h: make(http.Header)}, r) }
	}
	for _, name := range []string{"X-Request-Id", "Accept", "Accept-Language", "Sec-Fetch-Dest", "Content-Type"} {
		for _, unit := range []string{"a", ",", ";", "de,", "a/b;q=0.1,", `"`, `\`, " ", "-", "\xff", "*;q=0,", "a-b-c-d-", "x-", "zh-Hant-TW-u-co-pinyin;q=0.9,"} {
			long := strings.Repeat(unit, 1<<20/len(unit))
			start := map[string]string{"Accept": "text/html;q=0.1,", "Accept-Language": "de,", "Content-Type": "application/grpc"}[name]
			whole, part := ask(map[string]string{name: start + long}), ask(map[string]string{name: start + long[:8192]})
			if few, many := bytesPer(part), bytesPer(whole); many > few+4096 {
				t.Errorf("%s: 1 MB of %q costs %d bytes, 8 kB cost %d", name, unit, many, few)
			}
			if few, many := quickest(part), quickest(whole); many > 20*few+time.Millisecond {
				t.Errorf("%s: 1 MB of %q takes %v, 8 kB take %v", name, unit, many, few)
			}
		}
	}
}

// bytesPer is what f allocates, in bytes: the least of some runs, since others
// allocate, too.
func bytesPer(f func()) uint64 {
	least := uint64(math.MaxUint64)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func quickest(f func()) time.Duration {
	least := time.Duration(math.MaxInt64)
	for range 5 {
		began := time.Now()
		f()
		least = min(least, time.Since(began))
	}
	return least
}

// Whatever many visitors send, no more is kept of it than is said.
func TestHostileFieldsAreNotKept(t *testing.T) {
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler(failing(noEndpoint()))
	round := func(salt string) {
		for i := range 2000 {
			s := fmt.Sprint(salt, i, strings.Repeat("x", 450))
			h.ServeHTTP(&discard{h: make(http.Header)}, hostile(http.MethodGet, "/"+s, s, map[string]string{
				"X-Request-Id": s, "Accept": s + "/b", "Accept-Language": "de-" + s, "Sec-Fetch-Dest": s, "Content-Type": s,
			}))
		}
	}
	kept := func() uint64 {
		runtime.GC()
		runtime.GC() // what a sync.Pool had goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round("a")
	before := kept()
	for i := range 4 {
		round(fmt.Sprint("b", i, "-"))
	}
	// 8,000 more requests with 3 kB each; the table of languages is full already.
	if after := kept(); after > before+200<<10 {
		t.Errorf("%d bytes are kept after 2,000 requests, %d after 10,000", before, after)
	}
	runtime.KeepAlive(h)
}
