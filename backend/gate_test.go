package backend

import (
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// callGate is a gate that asks when it was answered.
type callGate struct {
	countingGate
	mu    sync.Mutex // guards calls
	calls []string
}

func (g *callGate) AllowCall() (answered func(), done func(error), err error) {
	note := func(s string) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.calls = append(g.calls, s)
	}
	return func() { note("answered") }, func(err error) {
		switch e, ok := err.(*failure.Error); { //nolint:errorlint // the value itself is what is specified
		case err == nil:
			note("done")
		case ok:
			note(e.Cause.String())
		default:
			note(err.Error())
		}
	}, nil
}

// A gate that can tell an answer from its end is told of both.
func TestGateIsToldOfTheAnswer(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    http.HandlerFunc
		want []string
	}{
		{"a whole answer", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }, []string{"answered", "done"}},
		{"an error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, []string{"upstream_5xx"}},
		{"a crash", func(http.ResponseWriter, *http.Request) { panic("x") }, []string{"panic"}},
		{"a body that breaks", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			panic("x")
		}, []string{"answered", "panic"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &callGate{}
			b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: tt.h}}, Gate: g})
			srv, client := front(t, b)
			if res, err := client.Get(srv.URL); err == nil {
				// To its end: a client that leaves before it is another cause.
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			srv.Close()
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.calls) != len(tt.want) || g.calls[0] != tt.want[0] || g.calls[len(g.calls)-1] != tt.want[len(tt.want)-1] {
				t.Errorf("told %q, want %q", g.calls, tt.want)
			}
			if g.allowed != 0 {
				t.Error("Allow was asked, too")
			}
		})
	}
}
