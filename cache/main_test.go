package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-go/holdfast/failure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newCache returns a cache that is shut down with the test.
func newCache(t testing.TB, cfg Config) *Cache {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown() = %v, want nil", err)
		}
	})
	return c
}

// serve starts a real server in front of h.
func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// answer is what a client got.
type answer struct {
	status  int
	header  http.Header
	body    string
	trailer http.Header
	err     error // of reading the body
}

func (a answer) cacheStatus() string { return strings.Join(a.header["Cache-Status"], ", ") }

// do makes a request in process. headers are "Name: value". A panic of the
// handler with http.ErrAbortHandler is told as err.
func do(h http.Handler, method, url string, headers ...string) (a answer) {
	r := httptest.NewRequest(method, url, nil)
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return doRequest(h, r)
}

func doRequest(h http.Handler, r *http.Request) (a answer) {
	w := httptest.NewRecorder()
	func() {
		defer func() {
			if v := recover(); v != nil {
				a.err = fmt.Errorf("panic: %v", v)
			}
		}()
		h.ServeHTTP(w, r)
	}()
	res := w.Result()
	body, _ := io.ReadAll(res.Body)
	a.status, a.header, a.body, a.trailer = res.StatusCode, res.Header, string(body), res.Trailer
	return a
}

// get makes a request over a real connection.
func get(t testing.TB, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.Trailer, err}
}

// settled waits until nothing is in flight in c's store.
func settled(t testing.TB, c *Cache) {
	t.Helper()
	until(t, "fills to end", func() bool {
		c.store.flights.mu.Lock()
		defer c.store.flights.mu.Unlock()
		return len(c.store.flights.rows) == 0
	})
}

// until polls for a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// followers waits until n requests follow fills of c.
func followers(t testing.TB, c *Cache, n int) {
	t.Helper()
	until(t, fmt.Sprintf("%d followers", n), func() bool {
		fl := &c.store.flights
		fl.mu.Lock()
		defer fl.mu.Unlock()
		sum := 0
		for _, rw := range fl.rows {
			for _, f := range rw.fills {
				f.mu.Lock()
				for _, rd := range f.readers {
					if rd.user {
						sum++
					}
				}
				f.mu.Unlock()
			}
		}
		return sum >= n
	})
}

// recorder collects events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (rec *recorder) observe(_ context.Context, e Event) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.events = append(rec.events, e)
}

func (rec *recorder) last(kind EventKind) Event {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, e := range slices.Backward(rec.events) {
		if e.Kind == kind {
			return e
		}
	}
	return Event{}
}

// origin is a handler that counts and can be switched.
type origin struct {
	calls   atomic.Int64
	handler atomic.Pointer[http.HandlerFunc]
}

func newOrigin(h http.HandlerFunc) *origin {
	o := &origin{}
	o.set(h)
	return o
}

func (o *origin) set(h http.HandlerFunc) { o.handler.Store(&h) }

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.calls.Add(1)
	(*o.handler.Load())(w, r)
}

// page answers with a body and header lines.
func page(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// failing reports a failure of the backend and answers it, as the backend does.
func failing(e *failure.Error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, e, nil) }
}
