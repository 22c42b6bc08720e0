package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

func TestStallGuardConforms(t *testing.T) {
	t.Parallel()
	writertest.Run(t, stallGuard(time.Minute).Handler)
}

// guarded serves h with little patience for stalling clients, over both protocols.
func guarded(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(stallGuard(200 * time.Millisecond).Handler(h))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv
}

func overHTTP1(srv *httptest.Server) *http.Transport {
	trust := srv.Client().Transport.(*http.Transport).TLSClientConfig
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust.RootCAs}}
}

// A client that takes nothing of a large page is let go.
func TestReaderStalls(t *testing.T) {
	done := make(chan error, 2)
	srv := guarded(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(make([]byte, 64<<20))
		done <- err
	})
	h1 := overHTTP1(srv)
	for name, tr := range map[string]http.RoundTripper{"h1": h1, "h2": srv.Client().Transport} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, srv.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			select {
			case err := <-done:
				if err == nil {
					t.Error("64 MB were written to a client that reads nothing")
				}
			case <-time.After(patience):
				t.Fatal("the handler waits for a client that reads nothing")
			}
		})
	}
	h1.CloseIdleConnections()
}

// A client that is slow, but never stops, gets all of it, however long that takes.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const limit, size = time.Second, 2 << 20
	srv := httptest.NewServer(stallGuard(limit).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n, err := w.Write(make([]byte, size)); n != size || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
	})))
	defer srv.Close()
	conn, err := net.Dial("tcp", hostOf(t, srv.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(16 << 10)
	fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	began, got, buf := time.Now(), 0, make([]byte, 4<<10)
	for err == nil {
		<-pace.C
		var n int
		n, err = conn.Read(buf)
		got += n
	}
	if !errors.Is(err, io.EOF) || got < size {
		t.Errorf("%d of %d bytes, %v", got, size, err)
	}
	if d := time.Since(began); d < 2*limit {
		t.Errorf("it took %v only: this shows nothing", d)
	}
}

// An upload that stops is ended, with a chance to say so.
func TestUploadStalls(t *testing.T) {
	srv := guarded(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	})
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() { _, _ = io.WriteString(pw, "some") }()
	req, err := http.NewRequest(http.MethodPost, srv.URL, pr)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req) // HTTP/2
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("over HTTP/2: %s, want 408", resp.Status)
	}

	plain := httptest.NewServer(srv.Config.Handler)
	defer plain.Close()
	conn, err := net.Dial("tcp", hostOf(t, plain.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("over HTTP/1.1: %q, %v; want 408 and the end of the connection", answer, err)
	}
}

// Silence that is the handler's own is no stall: neither before an answer to an
// upload, nor within a stream, nor before its end.
func TestSilenceIsNoStall(t *testing.T) {
	t.Parallel()
	const limit = 200 * time.Millisecond
	srv := guarded(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		silence := func() {
			select {
			case <-time.After(2 * limit):
			case <-r.Context().Done():
				t.Error("the request ended in the middle of a silence")
			}
		}
		silence()
		_, _ = w.Write(body)
		_ = http.NewResponseController(w).Flush()
		silence()
		_, _ = io.WriteString(w, " end")
		silence()
	})
	h1 := overHTTP1(srv)
	t.Cleanup(h1.CloseIdleConnections)
	for name, tr := range map[string]http.RoundTripper{"h1": h1, "h2": srv.Client().Transport} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &http.Client{Transport: tr, Timeout: patience}
			for range 2 { // the second on the same connection
				resp, err := c.Post(srv.URL, "text/plain", strings.NewReader("begin"))
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				_, err = b.ReadFrom(resp.Body)
				resp.Body.Close()
				if err != nil || b.String() != "begin end" {
					t.Errorf("%q, %v", b.String(), err)
				}
			}
		})
	}
}
