package main

import (
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/backend"
)

// The whole stack in this process, against the bare handler: what a hit and a miss
// cost beside sockets.
func BenchmarkStack(b *testing.B) {
	body := make([]byte, 4<<10)
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/stored" {
			w.Header().Set("Cache-Control", "max-age=3600")
		} else {
			w.Header().Set("Cache-Control", "no-store")
		}
		_, _ = w.Write(body)
	})
	cfg := defaults(false)
	log := slog.New(slog.NewTextHandler(io.Discard, nil)) //nolint:sloglint // what a line costs is to be seen
	s, err := newStack(b.Context(), cfg, tuning{}, []backend.Endpoint{{Handler: page, Name: "page"}}, log)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = s.cache.Shutdown(b.Context())
		_ = s.backend.Shutdown(b.Context())
	})
	var g gate
	whole := g.Handler(s.handler)
	for _, bench := range []struct {
		name, path string
		handler    http.Handler
	}{
		{"bare", "/stored", page},
		{"hit", "/stored", whole},
		{"miss", "/private", whole},
	} {
		b.Run(bench.name, func(b *testing.B) {
			req, err := http.NewRequest(http.MethodGet, "http://site.example"+bench.path, nil)
			if err != nil {
				b.Fatal(err)
			}
			req.RemoteAddr = "192.0.2.1:1234"
			for range 64 { // what is stored becomes visible
				bench.handler.ServeHTTP(&nowhere{header: make(http.Header)}, req)
			}
			b.ReportAllocs()
			w := &nowhere{}
			for b.Loop() {
				w.header, w.bytes = make(http.Header), 0
				bench.handler.ServeHTTP(w, req)
			}
			if w.bytes != len(body) {
				b.Errorf("%d bytes, want %d", w.bytes, len(body))
			}
		})
	}
}

// nowhere is a client that takes everything.
type nowhere struct {
	header http.Header
	bytes  int
}

func (n *nowhere) Header() http.Header { return n.header }
func (n *nowhere) WriteHeader(int)     {}
func (n *nowhere) Write(p []byte) (int, error) {
	n.bytes += len(p)
	return len(p), nil
}
