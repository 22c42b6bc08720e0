package observe

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Clients that speak broken HTTP/2 on purpose.
func TestServerLog(t *testing.T) {
	o, log := newObserver(t, Config{LogBurst: 5, LogRate: 1e-9})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { panic("at " + r.URL.Path) }))
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s.Config.Protocols, s.Config.ErrorLog = &p, o.ServerLog()
	s.Start()
	var all sync.WaitGroup
	send := func(text string) {
		all.Go(func() {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, text); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, conn) // until the server has had enough
		})
	}
	const n = 50
	for range n {
		// A SETTINGS frame on a stream (RFC 9113 section 6.5).
		send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" + "\x00\x00\x00\x04\x00\x00\x00\x00\x01")
	}
	for range 10 {
		send("GET /here HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	all.Wait()
	s.Close()
	if err := o.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	broken, panicked := log.all(t, "http server"), log.all(t, "http server panicked")
	if len(broken) != 5 || broken[0]["level"] != "WARN" || !strings.HasPrefix(broken[0]["error"].(string), "http2: ") {
		t.Errorf("%d lines of broken connections, want 5: %v", len(broken), broken)
	}
	if len(panicked) != 5 || panicked[0]["level"] != "ERROR" || !strings.Contains(panicked[0]["error"].(string), "serverlog_test.go") {
		t.Errorf("%d lines of panics, want 5: %v", len(panicked), panicked)
	}
	for _, l := range log.all(t, overLeftOut) {
		want := n - 5.
		if origin, ok := l["origin"].(string); ok {
			want = 5
			if !strings.Contains(origin, "serverlog_test.go:") {
				t.Errorf("origin = %q", origin)
			}
		}
		if l["left_out"] != want {
			t.Errorf("%v, want %v", l, want)
		}
	}
	if n := len(log.all(t, overLeftOut)); n != 2 {
		t.Errorf("%d notices, want 2", n)
	}
}
