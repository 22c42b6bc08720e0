package backend

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// sink is a client that costs nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}

func benchOrigin(b testing.TB, size int) string {
	b.Helper()
	body := bytes.Repeat([]byte("x"), size)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(body)
	}))
	b.Cleanup(srv.Close)
	return srv.URL
}

// tuned is what one would write without this package.
func tuned(b testing.TB, origin string) http.Handler {
	b.Helper()
	u, err := url.Parse(origin)
	if err != nil {
		b.Fatal(err)
	}
	tr := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
		MaxIdleConns:          1000,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       4 * time.Second,
		ResponseHeaderTimeout: 15 * time.Second,
		DisableCompression:    true,
	}
	b.Cleanup(tr.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u); r.SetXForwarded() },
		Transport: tr, BufferPool: benchPool{}, FlushInterval: -1,
	}
}

type benchPool struct{}

func (benchPool) Get() []byte  { return *copyBuffers.Get().(*[]byte) }
func (benchPool) Put(p []byte) { copyBuffers.Put(&p) }

func benchBackend(b testing.TB, ep Endpoint) http.Handler {
	b.Helper()
	o, err := New(Config{Endpoints: []Endpoint{ep}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = o.Shutdown(context.Background()) })
	return o
}

// BenchmarkProxy is the overhead beside httputil.ReverseProxy on a tuned
// Transport, one request at a time, origin and all.
func BenchmarkProxy(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1kB", 1 << 10}, {"100kB", 100 << 10}} {
		origin := benchOrigin(b, size.bytes)
		for _, kind := range []struct {
			name string
			h    http.Handler
		}{{"holdfast", benchBackend(b, Endpoint{URL: origin})}, {"reverseproxy", tuned(b, origin)}} {
			b.Run(size.name+"/"+kind.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					r := benchRequest(nil)
					kind.h.ServeHTTP(&sink{h: make(http.Header)}, r)
				}
			})
			b.Run(size.name+"/parallel/"+kind.name, func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(16)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						kind.h.ServeHTTP(&sink{h: make(http.Header)}, benchRequest(nil))
					}
				})
			})
		}
	}
}

// TestProxyAllocs: a request makes at most as many allocations as with
// httputil.ReverseProxy, the origin's in this process counted with both.
func TestProxyAllocs(t *testing.T) {
	for _, size := range []int{1 << 10, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			origin := benchOrigin(t, size)
			proxy, backend := tuned(t, origin), benchBackend(t, Endpoint{URL: origin})
			serve := func(h http.Handler) func() {
				return func() { h.ServeHTTP(&sink{h: make(http.Header)}, benchRequest(nil)) }
			}
			most, got := testing.AllocsPerRun(500, serve(proxy)), testing.AllocsPerRun(500, serve(backend))
			t.Logf("%v allocations, with httputil.ReverseProxy %v", got, most)
			if got > most && !raceEnabled {
				t.Errorf("%v allocations per request, want at most %v as with httputil.ReverseProxy", got, most)
			}
		})
	}
}

// TestHandlerAllocs: what an endpoint in this process takes.
func TestHandlerAllocs(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 1<<10)
	h := benchBackend(t, Endpoint{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })})
	bare := testing.AllocsPerRun(1000, func() { benchRequest(nil) })
	got := testing.AllocsPerRun(1000, func() { h.ServeHTTP(&sink{h: make(http.Header)}, benchRequest(nil)) })
	t.Logf("%v allocations, %v of them the test's", got, bare)
	const most = 40
	if got-bare > most && !raceEnabled {
		t.Errorf("%v allocations per request, want at most %v", got-bare, most)
	}
}

// benchRequest is a request as a browser sends it.
func benchRequest(body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/path/to/page?id=1", body)
	r.Header["User-Agent"] = []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}
	r.Header["Accept"] = []string{"text/html,application/xhtml+xml"}
	r.Header["Accept-Encoding"] = []string{"gzip, br"}
	r.Header["Accept-Language"] = []string{"en"}
	r.Header["Cookie"] = []string{"session=0123456789abcdef"}
	return r
}

func BenchmarkHandler(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1<<10)
	h := benchBackend(b, Endpoint{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })})
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(&sink{h: make(http.Header)}, benchRequest(nil))
	}
}

func BenchmarkHeadScan(b *testing.B) {
	in := []byte("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Type: text/html\r\nContent-Length: 1024\r\nCache-Control: max-age=60\r\nEtag: \"0123456789\"\r\n\r\n")
	var s headScan
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		s.reset()
		_ = s.feed(in)
	}
}

func BenchmarkWatch(b *testing.B) {
	var w watch
	w.begin(time.Now(), watchedFuncs{func(phase) time.Duration { return 15 * time.Second }, func(*timeoutError) {}})
	b.ReportAllocs()
	for b.Loop() {
		w.enter(phaseBody)
		w.enter(phaseOff)
	}
	w.end()
}
