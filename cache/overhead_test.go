package cache

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
)

// measured is what n stored responses take.
type measured struct {
	heap    int64 // growth of the heap for each, in bytes
	charged int64 // what each costs in the store
}

// measure stores n responses as an ordinary origin sends them, with bodies of the
// given size, and weighs the heap before and after.
func measure(t testing.TB, n, size int, vary string) measured {
	t.Helper()
	c := newCache(t, Config{MemoryBytes: int64(n) * int64(size+4096) * 2})
	body := make([]byte, size)
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT")
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Cache-Control", "public, max-age=31536000000")
		h.Set("Etag", `"`+r.URL.RawQuery+`-1024"`)
		h.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		h.Set("Server", "nginx")
		if vary != "" {
			h.Set("Vary", vary)
		}
		h.Set("Content-Length", fmt.Sprint(size))
		_, _ = w.Write(body)
	}))
	before := heap()
	for i := range n {
		r := httptest.NewRequest(http.MethodGet, fmt.Sprintf("http://example.com/some/page?number=%07d", i), nil)
		serveSink(h, r)
	}
	settled(t, c)
	after := heap()
	st := c.store.Stats()
	if st.Rejected+st.Evicted > 0 || st.EntryBytes == 0 {
		t.Fatalf("not all were stored: %+v", st)
	}
	m := measured{(after - before) / int64(n), st.EntryBytes / int64(n)}
	runtime.KeepAlive(c)
	return m
}

// TestMemoryOverhead: what is charged is what is taken, and a small object is not
// mostly overhead.
func TestMemoryOverhead(t *testing.T) {
	for _, tt := range []struct {
		size int
		vary string
	}{{0, ""}, {1024, ""}, {1024, "Accept-Language"}, {20_000, ""}} {
		m := measure(t, 4000, tt.size, tt.vary)
		if off := float64(m.heap)/float64(m.charged) - 1; off > 0.1 || off < -0.1 {
			t.Errorf("%d bytes, Vary %q: %d bytes of heap, charged %d: want at most a tenth off", tt.size, tt.vary, m.heap, m.charged)
		}
		most := 1300 + int64(tt.size)/16 // memory comes in sizes of its own
		if tt.vary != "" {
			most += 1100 // two records: the variant and its index
		}
		if over := m.heap - int64(tt.size); over > most {
			t.Errorf("%d bytes, Vary %q: %d bytes of overhead, want at most %d", tt.size, tt.vary, over, most)
		}
		t.Logf("%d bytes, Vary %q: heap %d, charged %d", tt.size, tt.vary, m.heap, m.charged)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is that large
}

// BenchmarkMemoryPerObject reports what a stored response of 1 kB takes beside
// its body, and what it is charged.
func BenchmarkMemoryPerObject(b *testing.B) {
	for b.Loop() {
		m := measure(b, 200_000, 1024, "")
		b.ReportMetric(float64(m.heap-1024), "overhead-B/object")
		b.ReportMetric(float64(m.charged-1024), "charged-overhead-B/object")
	}
}
