package semantics

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// hit does what every hit does.
func hit(r *http.Request, resp *Response, names []string, buf []byte, now time.Time) ([]byte, Decision) {
	buf = AppendKey(buf[:0], "ns", "http", r)
	buf = AppendVariant(buf, names, r.Header)
	d := Decide(ParseRequest(r.Header), resp, now)
	return CacheStatus{Name: "holdfast", Hit: true, HasTTL: true, TTL: resp.TTL(now)}.Append(buf), d
}

func hitFixture() (*http.Request, *Response, []string) {
	r := httptest.NewRequest("GET", "http://Example.com/a/page?x=y", nil)
	r.Header.Set("Accept-Encoding", "gzip, br")
	resp := Analyze(fields("Cache-Control: max-age=60", date(0)), 200, t0, t0, Options{})
	return r, &resp, []string{"Accept-Encoding"}
}

func TestHitDoesNotAllocate(t *testing.T) {
	r, resp, names := hitFixture()
	buf := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if _, d := hit(r, resp, names, buf, t0); d.Verdict != Fresh {
			t.Errorf("%+v", d)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestRequestDirectivesDoNotAllocate(t *testing.T) {
	h := fields("Cache-Control: no-cache, max-age=0")
	if n := testing.AllocsPerRun(100, func() { ParseRequest(h) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func BenchmarkHit(b *testing.B) {
	r, resp, names := hitFixture()
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		hit(r, resp, names, buf, t0)
	}
}

func BenchmarkAnalyzeAndStore(b *testing.B) {
	h := fields("Cache-Control: max-age=60, stale-while-revalidate=10", date(0), `Etag: "a"`, "Content-Type: text/html", "Vary: Accept-Encoding")
	b.ReportAllocs()
	for b.Loop() {
		Storable("GET", nil, 200, h, Options{})
		Analyze(h, 200, t0, t0, Options{})
		Sanitize(h, Options{Self: "holdfast"})
	}
}
