package backend

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// counter is a limit that is told of beginnings.
type counter struct {
	began, ended, said, good atomic.Int64
	odd                      atomic.Int64 // ends without their beginning's mark
}

func (*counter) Limit() int { return 100 }

func (*counter) Done(time.Duration, bool) { panic("told twice") }

func (c *counter) Began() uint64 { return uint64(c.began.Add(1)) }

func (c *counter) Ended(mark uint64, latency time.Duration, says, ok bool) {
	if mark == 0 || latency < 0 {
		c.odd.Add(1)
	}
	if says {
		c.said.Add(1)
	}
	if ok {
		c.good.Add(1)
	}
	c.ended.Add(1)
}

// Every attempt that begins has one end, whatever it is: an answer, a failure that is
// tried again, a client that left, a body that breaks off.
func TestLimitToldOfEnds(t *testing.T) {
	release := make(chan struct{})
	inside := make(chan struct{}, 1)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/cut":
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/held":
			inside <- struct{}{}
			<-release
		}
	}))
	defer site.Close()
	defer close(release)
	whole, own := &counter{}, &counter{}
	b, err := New(Config{Endpoints: []Endpoint{{URL: site.URL}}, Limit: whole, NewLimit: func(string) Limit { return own }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context, path string) {
		defer func() { _ = recover() }() // the abort of an answer that breaks off
		b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
	}
	ask(t.Context(), "/")
	ask(t.Context(), "/cut")
	ask(t.Context(), "/busy")
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		ask(ctx, "/held")
	}()
	<-inside
	leave()
	<-gone
	if err := b.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]*counter{"backend": whole, "endpoint": own} {
		began, ended := c.began.Load(), c.ended.Load()
		if began < 4 || ended != began || c.odd.Load() > 0 {
			t.Errorf("%s: %d began, %d ended, %d of them oddly", name, began, ended, c.odd.Load())
		}
		if said, good := c.said.Load(), c.good.Load(); good < 1 || said <= good || said >= ended {
			t.Errorf("%s: %d of %d ends say something, %d of them good: want some, and more than those, and not all", name, said, ended, good)
		}
	}
}
