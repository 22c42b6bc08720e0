package errorpage

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// A gRPC client takes an answer without trailers for a broken one, unless its
// only header section ends the stream (gRPC over HTTP/2: Trailers-Only).
func TestGRPCHeadersEndTheStream(t *testing.T) {
	for _, intercept := range []bool{false, true} {
		p, _ := newPage(t, Config{Intercept5xx: intercept})
		next := failing(failure.New(failure.NoEndpoint, nil))
		if intercept {
			next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
		}
		srv := httptest.NewUnstartedServer(p.Handler(next))
		srv.EnableHTTP2 = true
		srv.StartTLS()
		flags, err := grpcCall(t.Context(), srv)
		srv.Close()
		const endStream, endHeaders = 0x1, 0x4
		if err != nil || flags&(endStream|endHeaders) != endStream|endHeaders {
			t.Errorf("intercept %v: the HEADERS frame has the flags %#x, %v", intercept, flags, err)
		}
	}
}

// A client that closed only its own side still reads. An invented answer would be
// the page to it, and to a cache on its way.
func TestNothingIsInventedForAClientThatLeft(t *testing.T) {
	t.Parallel()
	gone := failure.New(failure.ClientGone, nil)
	for name, next := range map[string]http.HandlerFunc{
		"nothing written": func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, gone, nil) },
		"an empty 200": func(w http.ResponseWriter, r *http.Request) {
			failure.Serve(w, r, gone, nil)
			w.WriteHeader(http.StatusOK)
		},
		"a body": func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), gone)
			_, _ = io.WriteString(w, "text for nobody")
		},
		"an implicit 200": func(w http.ResponseWriter, r *http.Request) {
			failure.Serve(w, r, gone, nil)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		p, _ := newPage(t, Config{})
		srv := httptest.NewServer(p.Handler(next))
		got, err := halfClosed(t.Context(), srv.Listener.Addr().String())
		srv.Close()
		if err != nil || got != "" {
			t.Errorf("%s: the client read %q, %v", name, got, err)
		}
	}
}

// halfClosed sends a request, closes that side, and reads all that comes.
func halfClosed(ctx context.Context, addr string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: site.example\r\n\r\n"); err != nil {
		return "", err
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(conn)
	return string(b), err
}

// grpcCall makes a request on a bare HTTP/2 connection and returns the flags of
// the HEADERS frame that answers it (RFC 9113 section 6.2).
func grpcCall(ctx context.Context, srv *httptest.Server) (flags byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	dialer := &tls.Dialer{Config: &tls.Config{
		RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", NextProtos: []string{"h2"},
	}}
	conn, err := dialer.DialContext(ctx, "tcp", srv.Listener.Addr().String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	const data, headers, settings = 0x0, 0x1, 0x4
	frame := func(kind, flags byte, stream uint32, payload string) string {
		head := make([]byte, 9)
		binary.BigEndian.PutUint32(head, uint32(len(payload))<<8)
		head[3], head[4] = kind, flags
		binary.BigEndian.PutUint32(head[5:], stream)
		return string(head) + payload
	}
	// HPACK: POST, https, /, and three literals (RFC 7541 appendix A).
	block := "\x83\x87\x84" + "\x01\x0bexample.com" + "\x0f\x10\x10application/grpc"
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+
		frame(settings, 0, 0, "")+frame(headers, 0x4, 1, block)+frame(data, 0x1, 1, "\x00\x00\x00\x00\x00"))
	if err != nil {
		return 0, err
	}
	head := make([]byte, 9)
	for range 100 {
		if _, err := io.ReadFull(conn, head); err != nil {
			return 0, err
		}
		if head[3] == headers && binary.BigEndian.Uint32(head[5:]) == 1 {
			return head[4], nil
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head)>>8)); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("no answer in 100 frames")
}

// Everybody gets their own page, whatever happens to the others.
func TestConcurrently(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	h := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/own":
			failure.Serve(w, r, failure.New(failure.NoEndpoint, nil), nil)
		case "/panic":
			panic("boom")
		case "/foreign":
			http.Error(w, strings.Repeat("x", 100<<10), http.StatusServiceUnavailable)
		case "/abort":
			panic(http.ErrAbortHandler)
		default:
			_, _ = io.WriteString(w, "own text")
		}
	}))
	paths := []string{"/own", "/panic", "/foreign", "/abort", "/fine"}
	accepts := []string{browser, "application/json", "*/*"}
	servers(t, h, func(t *testing.T, c *http.Client, url string) {
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for i := range 30 {
					path, id := paths[(worker+i)%len(paths)], fmt.Sprintf("id-%d-%d-", worker, i)
					resp := fetch(t, c, url+path, "Accept", accepts[i%len(accepts)], "X-Request-Id", id)
					switch path {
					case "/abort":
						if resp.err == nil {
							t.Errorf("%s: %+v, want a broken connection", path, resp)
						}
					case "/fine":
						if resp.status != 200 || resp.body != "own text" {
							t.Errorf("%s: %+v", path, resp)
						}
					default:
						if resp.err != nil || resp.status < 500 || resp.header.Get("X-Request-Id") != id || !strings.Contains(resp.body, id) {
							t.Errorf("%s: %+v, want a page for %s", path, resp, id)
						}
					}
				}
			})
		}
		wg.Wait()
	})
}
