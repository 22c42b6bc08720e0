package backend

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// A response that breaks is never complete in the eyes of a client, whatever
// protocol it speaks.
func TestBrokenNeverLooksWhole(t *testing.T) {
	part := strings.Repeat("x", 100_000)
	for _, origin := range []struct {
		name  string
		cause failure.Cause
		ep    func(t *testing.T) Endpoint
	}{
		{"stall, length", failure.BodyStall, remote(sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + part))},
		{"stall, chunked", failure.BodyStall, remote(sayThenHang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + part + "\r\n"))},
		{"stall, until closed", failure.BodyStall, remote(sayThenHang("HTTP/1.1 200 OK\r\n\r\n" + part))},
		{"closed, length", failure.Truncated, remote(sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + part))},
		{"closed, chunked", failure.Truncated, remote(sayThenClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + part + "\r\n"))},
		{"bad chunk", failure.BadChunking, remote(sayThenHang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + part + "\r\nzz\r\n"))},
		{"handler stalls", failure.BodyStall, func(*testing.T) Endpoint {
			return Endpoint{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			})}
		}},
		{"handler panics", failure.Panic, func(*testing.T) Endpoint {
			return Endpoint{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, part)
				_ = http.NewResponseController(w).Flush()
				panic("oops")
			})}
		}},
	} {
		for _, client := range []struct {
			name string
			ask  func(t *testing.T, srv *httptest.Server) (int, error)
			tls  bool
		}{
			{"HTTP/1.1", askHTTP1("1.1"), false},
			{"HTTP/1.0", askHTTP1("1.0"), false},
			{"HTTP/1.1 over TLS", askHTTP1("1.1"), true},
			{"HTTP/1.0 over TLS", askHTTP1("1.0"), true},
			{"HTTP/2", askHTTP2, true},
		} {
			t.Run(origin.name+", "+client.name, func(t *testing.T) {
				t.Parallel()
				var seen recorder
				limit := 20 * time.Second // that a busy machine does not reach
				if origin.cause == failure.BodyStall {
					limit = brief
				}
				b := newBackend(t, Config{Endpoints: []Endpoint{origin.ep(t)}, Observe: seen.observe, BetweenBytes: limit})
				srv := httptest.NewUnstartedServer(b)
				srv.Config.ErrorLog = quiet
				if client.tls {
					srv.EnableHTTP2 = true
					srv.StartTLS()
				} else {
					srv.Start()
				}
				defer srv.Close()
				n, err := client.ask(t, srv)
				if err == nil || n >= 200_000 {
					t.Errorf("%d bytes, %v, want an error", n, err)
				}
				await(t, "the event", func() bool { return len(seen.of(AttemptDone)) == 1 })
				if e := seen.of(AttemptDone)[0].Failure; e == nil || e.Cause != origin.cause || !e.Noted(failure.AfterHeaders) {
					t.Errorf("failure %v, want %v after the headers", e, origin.cause)
				}
			})
		}
	}
}

func remote(s script) func(t *testing.T) Endpoint {
	return func(t *testing.T) Endpoint { return Endpoint{URL: newFaults(t, s).url()} }
}

// askHTTP1 reads a response to its end, which for HTTP/1.0 is that of the
// connection.
func askHTTP1(version string) func(*testing.T, *httptest.Server) (int, error) {
	return func(t *testing.T, srv *httptest.Server) (int, error) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if srv.TLS != nil {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test server
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		_, _ = io.WriteString(c, "GET / HTTP/"+version+"\r\nHost: h\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		n, err := io.Copy(io.Discard, res.Body)
		if version == "1.0" && res.ContentLength < 0 && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection ended with %v, want a reset", err)
		}
		return int(n), err
	}
}

func askHTTP2(t *testing.T, srv *httptest.Server) (int, error) {
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.ProtoMajor != 2 {
		t.Errorf("%s, want HTTP/2", res.Proto)
	}
	n, err := io.Copy(io.Discard, res.Body)
	if _, ok := errors.AsType[streamError](err); err != nil && !ok {
		t.Errorf("the stream ended with %v, want a reset", err)
	}
	return int(n), err
}
