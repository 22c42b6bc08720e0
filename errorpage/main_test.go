package errorpage

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newPage returns a Page and the events it is going to tell of.
func newPage(t testing.TB, cfg Config) (*Page, *recorder) {
	t.Helper()
	rec := new(recorder)
	cfg.Observe = rec.observe
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p, rec
}

type recorder struct {
	mu     sync.Mutex // guards events
	events []Event
}

func (r *recorder) observe(_ context.Context, ev Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *recorder) kinds() []EventKind {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kinds []EventKind
	for _, ev := range r.events {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func (r *recorder) last() Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 {
		return Event{}
	}
	return r.events[len(r.events)-1]
}

// failing returns a handler that fails as the parts of Holdfast do.
func failing(e *failure.Error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, e, nil) })
}

// get makes a request with the header fields given in pairs.
func get(fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/article?token=secret", http.NoBody)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func serve(h http.Handler, r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func noBackend() *failure.Error { return failure.New(failure.NoBackend, nil) }

func noEndpoint() *failure.Error { return failure.New(failure.NoEndpoint, nil) }
