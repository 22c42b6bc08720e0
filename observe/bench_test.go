package observe

import (
	"context"
	"log/slog"
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/backend"
)

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// sink takes lines that are formatted in full, unlike slog.DiscardHandler.
type sink struct{}

func (sink) Write(p []byte) (int, error) { return len(p), nil }

var hello = []byte("hello")

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(hello) }

func browserRequest() *http.Request {
	return get("http://example.com/some/page", "Accept", "text/html,*/*;q=0.8", "Accept-Encoding", "gzip, br", "Accept-Language", "en",
		"User-Agent", "Mozilla/5.0", "Cookie", "a=b", "Sec-Fetch-Dest", "document")
}

// BenchmarkHandler is what a request pays.
func BenchmarkHandler(b *testing.B) {
	newHandler := func(l *slog.Logger) http.Handler {
		o, err := New(Config{Logger: l})
		if err != nil {
			b.Fatal(err)
		}
		return o.Handler(http.HandlerFunc(ok))
	}
	for _, bm := range []struct {
		name string
		h    http.Handler
	}{
		{"bare", http.HandlerFunc(ok)},
		{"no log", newHandler(slog.New(slog.DiscardHandler))},
		{"json log", newHandler(slog.New(slog.NewJSONHandler(sink{}, nil)))},
		{"text log", newHandler(slog.New(slog.NewTextHandler(sink{}, nil)))},
	} {
		b.Run(bm.name, func(b *testing.B) {
			w, r := &discard{http.Header{}}, browserRequest()
			b.ReportAllocs()
			for b.Loop() {
				bm.h.ServeHTTP(w, r)
			}
		})
	}
}

func BenchmarkBackendEvent(b *testing.B) {
	o, err := New(Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ev := backend.Event{Kind: backend.AttemptDone, Backend: "shop", Endpoint: "10.0.0.1:80", Attempt: 1, Status: 200}
	for p := range ev.Phases {
		ev.Phases[p] = 1000
	}
	b.ReportAllocs()
	for b.Loop() {
		o.Backend(context.Background(), ev)
	}
}

func TestOverheadAllocs(t *testing.T) {
	o, err := New(Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h := o.Handler(http.HandlerFunc(ok))
	w, r := &discard{http.Header{}}, browserRequest()
	if n := testing.AllocsPerRun(200, func() { h.ServeHTTP(w, r) }); n > 12 {
		t.Errorf("a request allocates %v times more", n)
	}
	ev := backend.Event{Kind: backend.AttemptDone, Backend: "shop", Endpoint: "10.0.0.1:80", Attempt: 1, Status: 200}
	if n := testing.AllocsPerRun(200, func() { o.Backend(context.Background(), ev) }); n != 0 {
		t.Errorf("an event allocates %v times", n)
	}
}
