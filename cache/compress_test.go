package cache

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	kgzip "github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

var prose = strings.Repeat("It keeps answering while what stands behind it is slow or gone. ", 200)

// decoded is the body of an answer without its coding.
func decoded(t testing.TB, a answer) string {
	t.Helper()
	var r io.Reader
	var err error
	switch coding := a.header.Get("Content-Encoding"); coding {
	case "":
		return a.body
	case "gzip":
		r, err = gzip.NewReader(strings.NewReader(a.body))
	case "zstd":
		var z *zstd.Decoder
		z, err = zstd.NewReader(strings.NewReader(a.body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20))
		if err == nil {
			defer z.Close()
		}
		r = z
	default:
		t.Fatalf("Content-Encoding: %s", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// compressed waits until what was offered is compressed, or was dropped.
func compressed(t testing.TB, c *Cache) {
	t.Helper()
	settled(t, c)
	until(t, "the compressor", func() bool {
		recs, _ := c.store.shelf.records()
		for _, rec := range recs {
			if o := rec.object; o != nil && o.codings != nil && o.codings.state.Load() != codingsDone {
				return false
			}
		}
		return true
	})
}

func TestCompress(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	o := newOrigin(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", `Etag: "a"`, "Vary: X-Other"))
	h := c.Handler(o)
	first := do(h, "GET", "/", "Accept-Encoding: gzip")
	if got := first.header.Values("Vary"); first.body != prose || strings.Join(got, ", ") != "X-Other, Accept-Encoding" || first.header.Get("Etag") != `"a"` {
		t.Errorf("the first answer has Vary %q, Etag %s", got, first.header.Get("Etag"))
	}
	compressed(t, c)
	for _, tt := range []struct{ accept, coding string }{
		{"gzip", "gzip"},
		{"zstd", "zstd"},
		{"gzip, zstd;q=0.1", "gzip"},
		{"br", ""},
		{"", ""},
		{"gzip;q=0", ""},
		{"identity;q=0, gzip", "gzip"},
		{"*", "gzip"},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := do(h, method, "/", "Accept-Encoding: "+tt.accept)
			etag := `W/"a"`
			if tt.coding == "" {
				etag = `"a"`
			}
			if a.header.Get("Content-Encoding") != tt.coding || a.header.Get("Etag") != etag ||
				strings.Join(a.header.Values("Vary"), ", ") != "X-Other, Accept-Encoding" || !strings.Contains(a.cacheStatus(), "hit") {
				t.Errorf("%s with %q: %v", method, tt.accept, a.header)
			}
			if method == "HEAD" {
				full := do(h, "GET", "/", "Accept-Encoding: "+tt.accept)
				if a.body != "" || a.header.Get("Content-Length") != full.header.Get("Content-Length") {
					t.Errorf("HEAD with %q: %d bytes, Content-Length %s, want that of GET, %s", tt.accept, len(a.body), a.header.Get("Content-Length"), full.header.Get("Content-Length"))
				}
				continue
			}
			if a.header.Get("Content-Length") != strconv.Itoa(len(a.body)) || decoded(t, a) != prose {
				t.Errorf("with %q: %d bytes, Content-Length %s", tt.accept, len(a.body), a.header.Get("Content-Length"))
			}
			if tt.coding != "" && len(a.body) > len(prose)/10 {
				t.Errorf("with %q: %d bytes of %d", tt.accept, len(a.body), len(prose))
			}
		}
	}
	if a := do(h, "GET", "/", "Accept-Encoding: gzip", "Cache-Control: no-transform"); a.header.Get("Content-Encoding") != "" {
		t.Error("a request with no-transform got a transformed answer")
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1: our Vary is not the origin's", n)
	}
}

// Conditions and ranges: a weak tag matches weakly, a range is of the identity.
func TestCompressConditions(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	h := c.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", `Etag: "a"`))
	do(h, "GET", "/")
	compressed(t, c)
	const gz = "Accept-Encoding: gzip"
	for _, tt := range []struct {
		name    string
		headers []string
		status  int
		coding  string
		etag    string
		body    string
	}{
		{name: "weak", headers: []string{gz, `If-None-Match: W/"a"`}, status: 304, etag: `W/"a"`},
		{name: "strong", headers: []string{gz, `If-None-Match: "a"`}, status: 304, etag: `W/"a"`},
		{name: "identity", headers: []string{`If-None-Match: W/"a"`}, status: 304, etag: `"a"`},
		{name: "other", headers: []string{gz, `If-None-Match: "b"`}, status: 200, coding: "gzip", etag: `W/"a"`, body: prose},
		{name: "range", headers: []string{gz, "Range: bytes=3-7"}, status: 206, etag: `"a"`, body: prose[3:8]},
		{name: "ranges", headers: []string{gz, "Range: bytes=999999-"}, status: 416},
		{name: "If-Range weak", headers: []string{gz, "Range: bytes=3-7", `If-Range: W/"a"`}, status: 200, etag: `"a"`, body: prose},
		{name: "If-Range strong", headers: []string{gz, "Range: bytes=3-7", `If-Range: "a"`}, status: 206, etag: `"a"`, body: prose[3:8]},
		{name: "range, no identity", headers: []string{"Accept-Encoding: gzip, identity;q=0", "Range: bytes=3-7"}, status: 200, coding: "gzip", etag: `W/"a"`, body: prose},
	} {
		a := do(h, "GET", "/", tt.headers...)
		if a.status != tt.status || a.header.Get("Content-Encoding") != tt.coding || a.header.Get("Etag") != tt.etag ||
			a.header.Get("Vary") != "Accept-Encoding" || tt.body != "" && decoded(t, a) != tt.body {
			t.Errorf("%s: %d %v, %d bytes", tt.name, a.status, a.header, len(a.body))
		}
	}
}

// Upstream everything stays as it was: the strong tag validates, a 304 keeps what
// was compressed under the fields that it brings.
func TestCompressRevalidated(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	var asked, cc []string
	var mu sync.Mutex
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.Header.Get("If-None-Match")+" "+r.Header.Get("Accept-Encoding"))
		w.Header().Set("X-Count", strconv.Itoa(len(asked)))
		if r.Header.Get("If-None-Match") == `"a"` {
			w.Header()["Cache-Control"] = cc
			w.WriteHeader(304)
			return
		}
		page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", `Etag: "a"`)(w, r)
	}))
	do(h, "GET", "/", "Accept-Encoding: gzip")
	compressed(t, c)
	cc = []string{"max-age=60"}
	refresh := do(h, "GET", "/", "Accept-Encoding: gzip", "Cache-Control: no-cache")
	compressed(t, c)
	for i, a := range []answer{refresh, do(h, "GET", "/", "Accept-Encoding: gzip")} {
		if a.header.Get("Content-Encoding") != "gzip" || a.header.Get("X-Count") != "2" || a.header.Get("Etag") != `W/"a"` ||
			a.header.Get("Vary") != "Accept-Encoding" || decoded(t, a) != prose {
			t.Errorf("%d after a 304: %v", i, a.header)
		}
	}
	cc = []string{"max-age=60, no-transform"}
	do(h, "GET", "/", "Cache-Control: no-cache")
	compressed(t, c)
	if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.header.Get("Content-Encoding") != "" || a.header.Get("Vary") != "" || a.body != prose {
		t.Errorf("after a 304 that forbids it: %v", a.header)
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Join(asked, "|"); got != ` gzip|"a" gzip|"a" ` {
		t.Errorf("the origin was asked %s", got)
	}
}

// What is not to be compressed goes out as it came, without a Vary of ours.
func TestCompressLeavesAlone(t *testing.T) {
	noise := make([]byte, 20_000)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, tt := range []struct {
		name, body string
		vary       bool
		lines      []string
	}{
		{"small", "tiny", false, []string{"Content-Type: text/plain"}},
		{"picture", prose, false, []string{"Content-Type: image/png"}},
		{"coded", prose, false, []string{"Content-Type: text/plain", "Content-Encoding: br"}},
		{"no-transform", prose, false, []string{"Content-Type: text/plain", "Cdn-Cache-Control: max-age=60, no-transform"}},
		{"digest", prose, false, []string{"Content-Type: text/plain", "Repr-Digest: sha-256=:AAAA:"}},
		{"noise", string(noise), true, []string{"Content-Type: text/plain"}},
	} {
		c := newCache(t, Config{Compress: true})
		h := c.Handler(page(200, tt.body, append(tt.lines, "Cache-Control: max-age=60")...))
		do(h, "GET", "/", "Accept-Encoding: gzip, zstd")
		compressed(t, c)
		a := do(h, "GET", "/", "Accept-Encoding: gzip, zstd")
		if a.body != tt.body || (a.header.Get("Vary") != "") != tt.vary || !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("%s: %v", tt.name, a.header)
		}
	}
	c := newCache(t, Config{})
	h := c.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60"))
	for range 2 {
		if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.body != prose || a.header.Get("Vary") != "" {
			t.Errorf("off: %v", a.header)
		}
		settled(t, c)
	}
}

// Trailers need the body as it came.
func TestCompressTrailers(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", "Trailer: X-Sum")(w, r)
		w.Header().Set("X-Sum", "1")
	}))
	do(h, "GET", "/")
	compressed(t, c)
	if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.body != prose || a.trailer.Get("X-Sum") != "1" {
		t.Errorf("%v, trailer %v", a.header, a.trailer)
	}
}

// The origin's own variants are its own; what it sends as it is may be compressed
// even where it says that it varies.
func TestCompressBesideTheOrigins(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, _ = io.WriteString(zip, prose)
	zip.Close()
	c := newCache(t, Config{Compress: true})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := []string{"Content-Type: text/plain", "Cache-Control: max-age=60", "Vary: Accept-Encoding", `Etag: "plain"`}
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			page(200, packed.String(), append(lines[:3:3], "Content-Encoding: gzip", `Etag: "packed"`)...)(w, r)
			return
		}
		page(200, prose, lines...)(w, r)
	}))
	for _, accept := range []string{"gzip", "zstd", "br"} {
		do(h, "GET", "/", "Accept-Encoding: "+accept)
	}
	compressed(t, c)
	for accept, want := range map[string]string{"gzip": `gzip "packed"`, "zstd": `zstd W/"plain"`, "br": ` "plain"`} {
		a := do(h, "GET", "/", "Accept-Encoding: "+accept)
		if got := a.header.Get("Content-Encoding") + " " + a.header.Get("Etag"); got != want || decoded(t, a) != prose ||
			strings.Join(a.header.Values("Vary"), "|") != "Accept-Encoding" {
			t.Errorf("%s: %s, want %s; %v", accept, got, want, a.header)
		}
	}
}

// What the codings take is charged, and goes with the entry.
func TestCompressCost(t *testing.T) {
	one, two := newCache(t, Config{Compress: true}), newCache(t, Config{})
	for i := range 20 {
		for _, c := range []*Cache{one, two} {
			do(c.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60")), "GET", fmt.Sprint("/", i))
		}
	}
	compressed(t, one)
	settled(t, two)
	recs, _ := one.store.shelf.records()
	sum := int64(0)
	for _, rec := range recs {
		if rec.object.codings.made.Load() == nil || rec.cost != rec.object.cost() {
			t.Errorf("%s is charged %d, want %d", rec.key, rec.cost, rec.object.cost())
		}
		sum += rec.object.cost()
	}
	with, without := one.store.Stats(), two.store.Stats()
	if with.EntryBytes != sum || with.EntryBytes <= without.EntryBytes || with.Entries != 20 {
		t.Errorf("%+v, sum %d; without compression %+v", with, sum, without)
	}
	for _, rec := range recs {
		one.store.shelf.del(one.store.shelf.get([]byte(rec.key)))
	}
	if st := one.store.Stats(); st.EntryBytes != 0 || st.Entries != 0 {
		t.Errorf("%+v when all is gone", st)
	}
}

// In a full store the codings push nothing far over the limit, and answers stay
// right while all is replaced, compressed and evicted.
func TestCompressUnderPressure(t *testing.T) {
	c := newCache(t, Config{Compress: true, MemoryBytes: 512 << 10})
	body := func(path string) string { return strings.Repeat(path+" is a page. ", 400) }
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page(200, body(r.URL.Path), "Content-Type: text/html", "Cache-Control: max-age=60")(w, r)
	}))
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 600 {
				path := fmt.Sprint("/", (i*(w+3))%150)
				if i%40 == 0 {
					do(h, "POST", path)
				}
				a := do(h, "GET", path, "Accept-Encoding: "+[]string{"gzip", "zstd", "identity"}[i%3])
				if a.status == 200 && decoded(t, a) != body(path) {
					t.Errorf("%s: %v", path, a.header)
				}
				if st := c.store.Stats(); st.EntryBytes > st.EntryLimit+2*st.EntryLimit/growth {
					t.Errorf("%+v", st)
				}
			}
		})
	}
	wg.Wait()
}

func TestCompressShutdown(t *testing.T) {
	for range 20 {
		c, err := New(Config{Compress: true})
		if err != nil {
			t.Fatal(err)
		}
		h := c.Handler(page(200, strings.Repeat(prose, 20), "Content-Type: text/plain", "Cache-Control: max-age=60"))
		for i := range 10 {
			do(h, "GET", fmt.Sprint("/", i))
		}
		for range 2 {
			if err := c.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What was restored is compressed when it is asked for; codings are not written.
func TestCompressRestored(t *testing.T) {
	one, two := newCache(t, Config{Compress: true}), newCache(t, Config{Compress: true})
	do(one.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", "Vary: X-A")), "GET", "/")
	compressed(t, one)
	b := snapshot(t, one)
	if len(b) > len(prose)+1000 || bytes.Contains(b, []byte("Accept-Encoding")) {
		t.Errorf("the snapshot has more than the origin sent: %d bytes", len(b))
	}
	restore(t, two, b, 1)
	h := two.Handler(dead(t))
	if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.body != prose || strings.Join(a.header.Values("Vary"), ", ") != "X-A, Accept-Encoding" {
		t.Errorf("%v", a.header)
	}
	compressed(t, two)
	if a := do(h, "GET", "/", "Accept-Encoding: gzip"); a.header.Get("Content-Encoding") != "gzip" || decoded(t, a) != prose {
		t.Errorf("%v", a.header)
	}
	// A cache that does not compress serves what it finds as it is.
	off := newCache(t, Config{Store: two.store})
	if a := do(off.Handler(dead(t)), "GET", "/", "Accept-Encoding: gzip"); a.body != prose {
		t.Errorf("off: %v", a.header)
	}
}

// TestCompressHitAllocations: as TestHitAllocations, under each coding.
func TestCompressHitAllocations(t *testing.T) {
	c := newCache(t, Config{Compress: true})
	origin := page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", `Etag: "a"`, "Vary: X-Other")
	h := c.Handler(origin)
	do(h, "GET", "http://example.com/")
	compressed(t, c)
	body := []byte(prose)
	for _, accept := range []string{"gzip, deflate, br", "gzip, deflate, br, zstd", "identity"} {
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		r.Header.Set("Accept-Encoding", accept)
		serveSink(h, r)
		least := testing.AllocsPerRun(1000, func() { serveSink(bare(body), r) })
		if got := testing.AllocsPerRun(1000, func() { serveSink(h, r) }); got > least+2 {
			t.Errorf("%s: a hit makes %v allocations, a bare handler %v: want at most 2 more", accept, got, least)
		}
	}
}

func BenchmarkHitCompressed(b *testing.B) {
	c := newCache(b, Config{Compress: true})
	h := c.Handler(page(200, prose, "Content-Type: text/plain", "Cache-Control: max-age=60", `Etag: "a"`))
	r := httptest.NewRequest("GET", "http://example.com/", nil)
	r.Header.Set("Accept-Encoding", "gzip, deflate, br, zstd")
	warm(b, c, h, r)
	compressed(b, c)
	b.ReportAllocs()
	for b.Loop() {
		serveSink(h, r)
	}
}

func BenchmarkCompress16kB(b *testing.B) {
	body := [][]byte{[]byte(prose + prose[:16384-len(prose)])}
	p := &compressor{stop: make(chan struct{})}
	o := &object{body: body, size: 16384}
	zip := kgzip.NewWriter(io.Discard)
	b.SetBytes(16384)
	for b.Loop() {
		out := &capped{most: o.size}
		zip.Reset(out)
		p.encode(o, zip, out)
	}
}
