package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// countedDials counts what is dialled.
func countedDials(n *atomic.Int64) dialer {
	d := newDialer()
	connect := d.connect
	d.connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
		n.Add(1)
		return connect(ctx, network, addr)
	}
	return d
}

// TestColdBurst has many requests come before there is a connection: one makes
// it, and over HTTP/2 all are answered by way of it, or of as few as the peer's
// limit of streams permits.
func TestColdBurst(t *testing.T) {
	auth := newAuthority(t)
	cert := auth.issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	const requests, streams = 40, 10
	var mu sync.Mutex
	waiting := 0
	all := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/all" { // holds its stream until all are there
			mu.Lock()
			if waiting++; waiting == requests {
				close(all)
			}
			mu.Unlock()
			<-all
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	srv.Config.ErrorLog = quiet
	srv.EnableHTTP2 = true
	srv.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: streams}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	var dialled atomic.Int64
	b := newBackendWith(t, lateAll(Config{Endpoints: []Endpoint{{URL: srv.URL}}, TLS: &tls.Config{RootCAs: auth.pool}, IdleConn: time.Hour}), countedDials(&dialled))
	burst := func(path string) {
		var wg sync.WaitGroup
		for range requests {
			wg.Go(func() {
				w := httptest.NewRecorder()
				b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if w.Body.String() != "HTTP/2.0" {
					t.Errorf("%d %q %s", w.Code, w.Body, w.Header().Get("Proxy-Status"))
				}
			})
		}
		wg.Wait()
	}
	burst("/")
	if n := dialled.Load(); n < 1 || n > requests/streams {
		t.Errorf("a burst of %d on a cold endpoint made %d connections", requests, n)
	}
	burst("/all")
	if n := dialled.Load(); n < requests/streams || n > requests/streams+2 {
		t.Errorf("%d requests at once by %d streams a connection: %d connections", requests, streams, n)
	}
}

// TestSharedFailure has many requests wait for a connection that can't be made:
// they fail together, each with the cause of the one attempt.
func TestSharedFailure(t *testing.T) {
	silent := newFaults(t, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	var dialled atomic.Int64
	var seen recorder
	cfg := lateAll(Config{Endpoints: []Endpoint{{URL: "h2://" + silent.addr}}, Observe: seen.observe, Retries: -1, Ejection: Ejection{Off: true}})
	cfg.TLSHandshake = 300 * time.Millisecond
	b := newBackendWith(t, cfg, countedDials(&dialled))
	var wg sync.WaitGroup
	const requests = 30
	for range requests {
		wg.Go(func() { oneGet(b) })
	}
	wg.Wait()
	for _, ev := range seen.of(AttemptDone) {
		if ev.Failure == nil || ev.Failure.Cause != failure.TLSTimeout {
			t.Errorf("ended with %v, want tls_timeout", ev.Failure)
		}
	}
	if n := dialled.Load(); n > requests/3 {
		t.Errorf("%d requests made %d attempts at one connection", requests, n)
	}
}

// TestLeaderLeaves has the client leave whose request makes the connection: the
// others get one all the same.
func TestLeaderLeaves(t *testing.T) {
	srv := newH2C(t)
	var dialled atomic.Int64
	d := newDialer()
	connect := d.connect
	first := make(chan struct{})
	d.connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled.Add(1) == 1 {
			close(first)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return connect(ctx, network, addr)
	}
	b := newBackendWith(t, lateAll(Config{Endpoints: []Endpoint{{URL: srv}}, Retries: -1}), d)
	ctx, leave := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() { _ = recover() }() // the handler of a client that left is aborted
		b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	})
	<-first
	for range 10 {
		wg.Go(func() {
			if w := oneGet(b); w.Code != 200 {
				t.Errorf("%d %s", w.Code, w.Header().Get("Proxy-Status"))
			}
		})
	}
	await(t, "all are there", func() bool { b.calls.mu.Lock(); defer b.calls.mu.Unlock(); return len(b.calls.calls) == 11 })
	leave()
	wg.Wait()
	if n := dialled.Load(); n > 4 {
		t.Errorf("%d connections", n)
	}
}

// newH2C serves HTTP/2 without TLS.
func newH2C(t *testing.T) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return "h2c://" + srv.Listener.Addr().String()
}
