package cache

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// TestWholeBehindIsFollowed: who joins the fetch of the whole behind ranges is
// somebody whom it is for. It goes on for them whatever it brings.
func TestWholeBehindIsFollowed(t *testing.T) {
	c := newCache(t, Config{})
	o := (&ranged{}).become(digits, "Cache-Control: max-age=60")
	begun, goOn := make(chan struct{}), make(chan struct{})
	var cancelled atomic.Bool
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" {
			o.ServeHTTP(w, r)
			return
		}
		close(begun)
		<-goOn
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusInternalServerError)
		_ = http.NewResponseController(w).Flush()
		cancelled.Store(r.Context().Err() != nil)
		_, _ = w.Write([]byte("the page of the failure"))
	}))
	do(h, "GET", "/", "Range: bytes=0-4")
	settled(t, c)
	do(h, "GET", "/", "Range: bytes=3-9")
	<-begun
	answered := make(chan answer)
	go func() { answered <- do(h, "GET", "/") }()
	followers(t, c, 1)
	close(goOn)
	if a := <-answered; cancelled.Load() || a.status != 500 || a.err != nil || !strings.Contains(a.body, "the page") {
		t.Errorf("a follower got %d %q %v, the fetch was cancelled: %v", a.status, a.body, a.err, cancelled.Load())
	}
	settled(t, c)
	if n := c.wholes.Load(); n != 0 {
		t.Errorf("%d fetches of the whole are still counted", n)
	}
}
