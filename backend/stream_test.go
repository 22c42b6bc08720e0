package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// kinds runs a test with the same handler as each kind of endpoint.
func kinds(t *testing.T, origin http.Handler, test func(t *testing.T, ep Endpoint, cfg Config)) {
	t.Helper()
	t.Run("h1", func(t *testing.T) {
		srv := httptest.NewServer(origin)
		t.Cleanup(srv.Close)
		test(t, Endpoint{URL: srv.URL}, Config{})
	})
	t.Run("h2", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(origin)
		srv.Config.ErrorLog, srv.EnableHTTP2 = quiet, true
		srv.StartTLS()
		t.Cleanup(srv.Close)
		test(t, Endpoint{URL: srv.URL}, Config{TLS: &tls.Config{InsecureSkipVerify: true}}) //nolint:gosec // a test's certificate
	})
	t.Run("h2c", func(t *testing.T) {
		srv := httptest.NewUnstartedServer(origin)
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Start()
		t.Cleanup(srv.Close)
		test(t, Endpoint{URL: strings.Replace(srv.URL, "http://", "h2c://", 1)}, Config{})
	})
	t.Run("handler", func(t *testing.T) { test(t, Endpoint{Handler: origin}, Config{}) })
}

func TestServerSentEvents(t *testing.T) {
	release := make(chan struct{})
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		for i := range 3 {
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints, cfg.BetweenBytes = []Endpoint{ep}, 50*time.Millisecond // StreamIdle rules here
		b := newBackend(t, cfg)
		srv, client := front(t, b)
		res, err := client.Get(srv.URL) // comes back before the first event
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		br := bufio.NewReader(res.Body)
		for i := range 3 {
			time.Sleep(60 * time.Millisecond)
			release <- struct{}{}
			line, err := br.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); line != want {
				t.Fatalf("event %d = %q, %v, want %q", i, line, err, want)
			}
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestEarlyHintsAndTrailers(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("X-Final", "yes")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints = []Endpoint{ep}
		b := newBackend(t, cfg)
		srv, client := front(t, b)
		hints := ""
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				hints += fmt.Sprint(code, " ", h.Get("Link"))
				return nil
			},
		})
		req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
		req.Header.Set("Te", "trailers")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if string(body) != "body" || err != nil || hints != "103 </a.css>; rel=preload" {
			t.Errorf("body %q, %v, hints %q", body, err, hints)
		}
		if res.Header.Get("Link") != "" || res.Header.Get("X-Final") != "yes" {
			t.Errorf("header = %v, want X-Final and no Link", res.Header)
		}
		if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-Late") != "unannounced" {
			t.Errorf("trailers = %v, want X-Sum and X-Late", res.Trailer)
		}
	})
}

// The same to clients of other protocols: HTTP/2 has hints and trailers in both
// directions, HTTP/1.0 has neither.
func TestHintsAndTrailersByClient(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42"+r.Trailer.Get("X-Sum"))
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints = []Endpoint{ep}
		srv := httptest.NewUnstartedServer(newBackend(t, cfg))
		srv.EnableHTTP2 = true
		srv.StartTLS()
		defer srv.Close()
		hints := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
		})
		req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL, io.NopCloser(strings.NewReader("up")))
		req.Header.Set("Te", "trailers")
		req.Trailer = http.Header{"X-Sum": {"7"}}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if string(body) != "body" || err != nil || hints != 1 || res.ProtoMajor != 2 || res.Trailer.Get("X-Sum") != "427" {
			t.Errorf("%s: body %q, %v, %d hints, trailers %v, want all", res.Proto, body, err, hints, res.Trailer)
		}

		plain, _ := front(t, srv.Config.Handler)
		c, err := net.Dial("tcp", plain.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
		all, err := io.ReadAll(c)
		text := string(all)
		if err != nil || !strings.HasPrefix(text, "HTTP/1.0 200 ") || !strings.HasSuffix(text, "\r\n\r\nbody") {
			t.Errorf("HTTP/1.0: %v, %q, want the final response and its body alone", err, text)
		}
	})
}

func TestRequestTrailers(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, r.Trailer.Get("X-Sum"))
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints = []Endpoint{ep}
		srv, client := front(t, newBackend(t, cfg))
		req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, io.NopCloser(strings.NewReader("body")))
		req.Trailer = http.Header{"X-Sum": {"42"}}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); string(body) != "42" {
			t.Errorf("the origin saw the trailer %q, want 42", body)
		}
	})
}

func TestHead(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		if r.Method != http.MethodHead {
			_, _ = w.Write(make([]byte, 1000))
		}
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		cfg.Endpoints = []Endpoint{ep}
		var got *failure.Error
		srv, client := front(t, tracked(newBackend(t, cfg), func(e *failure.Error, _ failure.Rung) { got = e }))
		for range 2 {
			res, err := client.Head(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.ContentLength != 1000 || res.StatusCode != 200 {
				t.Errorf("status %d, length %d, want 200, 1000", res.StatusCode, res.ContentLength)
			}
		}
		srv.Close()
		if got != nil {
			t.Errorf("reported %v, want nothing", got)
		}
	})
}

// Of 200 MB up, and of a lot down, hardly anything is held in memory.
func TestLargeBodiesPassThrough(t *testing.T) {
	const down = 24 << 20
	var size int64
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if n != size || err != nil {
			t.Errorf("the origin read %d bytes, %v, want %d", n, err, size)
		}
		_, _ = io.CopyN(w, zeros{}, down)
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		size = 200 << 20
		if cfg.TLS != nil || strings.HasPrefix(ep.URL, "h2c") {
			size = 24 << 20 // the race detector takes its time with HTTP/2
		}
		cfg.Endpoints = []Endpoint{ep}
		srv, client := front(t, newBackend(t, cfg))
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		var peak atomic.Uint64
		req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, io.LimitReader(zeros{}, size))
		req.ContentLength = size
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		buf := make([]byte, 1<<20)
		var total int64
		for i := 0; ; i++ {
			n, err := res.Body.Read(buf)
			total += int64(n)
			if i%1000 == 0 {
				runtime.ReadMemStats(&now)
				peak.Store(max(peak.Load(), now.HeapAlloc))
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("after %d bytes: %v", total, err)
			}
		}
		if total != down {
			t.Errorf("got %d bytes, want %d", total, down)
		}
		if grown := int64(peak.Load()) - int64(before.HeapAlloc); grown > 48<<20 {
			t.Errorf("the heap grew by %d MB", grown>>20)
		}
	})
}

func TestWebSocketTunnel(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Sec-Websocket-Key") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n\x81\x02hi")
		_, _ = io.Copy(conn, rw) // echoes frames as they are
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		if strings.HasPrefix(ep.URL, "h2c:") {
			return // HTTP/2 has no upgrades; see TestCauses
		}
		var seen recorder
		gate := &refusingGate{}
		cfg.Endpoints, cfg.Observe, cfg.Gate = []Endpoint{ep}, seen.observe, gate
		cfg.BetweenBytes, cfg.UntilHeaders = 50*time.Millisecond, 50*time.Millisecond // neither cuts a tunnel
		b := newBackend(t, cfg)
		srv, _ := front(t, b)
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		// A frame follows the request at once.
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n\x81\x03one")
		br := bufio.NewReader(c)
		res, err := http.ReadResponse(br, nil)
		if err != nil || res.StatusCode != 101 || res.Header.Get("Sec-Websocket-Accept") != "x" {
			t.Fatalf("response %v, %v, want 101", res, err)
		}
		expect := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(br, got); err != nil || string(got) != want {
				t.Fatalf("read %q, %v, want %q", got, err, want)
			}
		}
		expect("\x81\x02hi\x81\x03one")
		time.Sleep(120 * time.Millisecond)
		_, _ = io.WriteString(c, "\x81\x03two")
		expect("\x81\x03two")
		gate.mu.Lock()
		if len(gate.results) != 1 || gate.results[0] != nil {
			t.Errorf("gate was told %v, want nil once the tunnel stands", gate.results)
		}
		gate.mu.Unlock()
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
		await(t, "the attempt has ended", func() bool { return len(seen.of(AttemptDone)) == 1 })
		if ev := seen.of(AttemptDone)[0]; ev.Failure != nil || ev.Status != 101 {
			t.Errorf("event = %+v, want 101 without failure", ev)
		}
		if ep.Handler == nil {
			if evs := seen.of(TunnelClosed); len(evs) != 1 || !strings.Contains(evs[0].Detail, "10 bytes up, 14 bytes down") {
				t.Errorf("events = %+v, want one tunnel with 10 bytes up, 14 down", evs)
			}
		}
	})
}

func tunnelTo(t *testing.T, cfg Config) (*Backend, net.Conn, *bufio.Reader) {
	t.Helper()
	server := newFaults(t, sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"))
	cfg.Endpoints = []Endpoint{{URL: server.url()}}
	b := newBackend(t, cfg)
	srv, _ := front(t, b)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	br := bufio.NewReader(c)
	if res, err := http.ReadResponse(br, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("%v, %v", res, err)
	}
	return b, c, br
}

func TestTunnelEndsWhenIdle(t *testing.T) {
	var seen recorder
	_, c, br := tunnelTo(t, Config{StreamIdle: 500 * time.Millisecond, Observe: seen.observe})
	for range 4 { // one direction alone keeps it open, for longer than the limit in all
		time.Sleep(150 * time.Millisecond)
		if _, err := io.WriteString(c, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := br.ReadByte(); err == nil {
		t.Error("the tunnel is still open")
	}
	await(t, "the event", func() bool { return len(seen.of(TunnelClosed)) == 1 })
	if d := seen.of(TunnelClosed)[0].Detail; !strings.Contains(d, "idle") || !strings.Contains(d, "4 bytes up") {
		t.Errorf("detail = %q, want idle, 4 bytes up", d)
	}
}

func TestShutdownEndsTunnels(t *testing.T) {
	b, _, br := tunnelTo(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if _, err := br.ReadByte(); err == nil {
		t.Error("the tunnel is still open")
	}
}

func TestExpectContinue(t *testing.T) {
	for _, tt := range []struct {
		name   string
		origin http.HandlerFunc
		status int
		body   bool // whether the client is asked for it
	}{
		{"wanted", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }, 200, true},
		{"not wanted", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusExpectationFailed) }, 417, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kinds(t, tt.origin, func(t *testing.T, ep Endpoint, cfg Config) {
				cfg.Endpoints = []Endpoint{ep}
				srv, _ := front(t, newBackend(t, cfg))
				c, err := net.Dial("tcp", srv.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(10 * time.Second))
				_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
				br := bufio.NewReader(c)
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Fatal(err)
				}
				if asked := res.StatusCode == 100; asked != tt.body {
					t.Fatalf("first status %d: body asked for %v, want %v", res.StatusCode, asked, tt.body)
				}
				if tt.body {
					_, _ = io.WriteString(c, "data")
					if res, err = http.ReadResponse(br, nil); err != nil {
						t.Fatal(err)
					}
				}
				if res.StatusCode != tt.status {
					t.Errorf("status %d, want %d", res.StatusCode, tt.status)
				}
			})
		})
	}
}

// A thousand clients that leave change nothing: no verdict, no leak, and the
// next one is served.
func TestThousandLeavers(t *testing.T) {
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stay" {
			_, _ = io.WriteString(w, "stay")
			return
		}
		<-r.Context().Done()
	})
	kinds(t, origin, func(t *testing.T, ep Endpoint, cfg Config) {
		var bad atomic.Int64
		cfg.Endpoints = []Endpoint{ep}
		cfg.Observe = func(_ context.Context, ev Event) {
			if ev.Kind == AttemptDone && ev.Failure != nil && ev.Failure.Verdict() != failure.Neutral {
				bad.Add(1)
			}
		}
		b := newBackend(t, cfg)
		srv, client := front(t, b)
		var wg sync.WaitGroup
		limit := make(chan struct{}, 50)
		for range 1000 {
			limit <- struct{}{}
			wg.Go(func() {
				defer func() { <-limit }()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
				defer cancel()
				req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
				res, err := client.Do(req)
				if err == nil {
					res.Body.Close()
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Do = %v, want a deadline", err)
				}
			})
		}
		wg.Wait()
		if _, _, body := get(t, client, srv.URL+"/stay"); body != "stay" {
			t.Errorf("body = %q, want stay", body)
		}
		await(t, "nothing is in flight", func() bool { return b.Endpoints()[0].InFlight == 0 })
		if n := bad.Load(); n != 0 {
			t.Errorf("%d attempts counted against the backend, want none", n)
		}
	})
}
