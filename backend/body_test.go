package backend

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// A response that breaks after its header section was sent never looks whole.
func TestBrokenAfterHeaders(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	pause := func(first, second string, end func(c net.Conn, br *bufio.Reader)) script {
		return func(c net.Conn, br *bufio.Reader) {
			if _, ok := readRequest(br); !ok {
				return
			}
			_, _ = io.WriteString(c, first)
			time.Sleep(2 * headerHold) // the header section goes out meanwhile
			_, _ = io.WriteString(c, second)
			end(c, br)
		}
	}
	closes := func(net.Conn, *bufio.Reader) {}
	resets := func(c net.Conn, _ *bufio.Reader) { _ = c.(*net.TCPConn).SetLinger(0) }
	hangs := func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }
	for _, tt := range []struct {
		name  string
		s     script
		cause failure.Cause
	}{
		{"short of its length", pause("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "", closes), failure.Truncated},
		{"reset", pause("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "", resets), failure.Truncated},
		{"reset, no length", pause("HTTP/1.1 200 OK\r\n\r\nhello", "", resets), failure.Truncated},
		{"chunked without end", pause(chunked, "", closes), failure.Truncated},
		{"bad chunk", pause(chunked, "<html>\r\n", hangs), failure.BadChunking},
		{"stall", pause("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "", hangs), failure.BodyStall},
		{"chunked without begin", pause("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", closes), failure.Truncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := newFaults(t, tt.s)
			gate := &countingGate{}
			patience := 10 * time.Second // far from the pause of the script, on the busiest machine
			if tt.cause == failure.BodyStall {
				patience = 4 * headerHold
			}
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, BetweenBytes: patience, Gate: gate})
			var got *failure.Error
			srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got = e }))
			res, err := client.Get(srv.URL)
			if err == nil {
				var body []byte
				body, err = io.ReadAll(res.Body)
				res.Body.Close()
				if res.StatusCode != 200 || string(body) != "" && string(body) != "hello" {
					t.Errorf("status %d, body %q", res.StatusCode, body)
				}
			}
			if err == nil {
				t.Error("the message looks whole")
			}
			srv.Close()
			if got == nil || got.Cause != tt.cause || !got.Noted(failure.AfterHeaders) {
				t.Errorf("reported %v, want %v with after_headers", got, tt.cause)
			}
			gate.check(t, 1)
			if n := server.count(); n != 1 {
				t.Errorf("%d connections, want 1: no retry after the header section", n)
			}
		})
	}
}

// A connection whose framing leaves a doubt carries no other request.
func TestDoubtfulConnections(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		reused       bool
	}{
		{"sound", okHello, true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", true},
		{"length beside chunked", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false},
		{"surplus", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n", false},
		{"body of a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", false},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := newFaults(t, say(tt.answer))
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
			srv, client := front(t, b)
			for range 3 {
				status, h, body := get(t, client, srv.URL)
				if status == 200 && body != "hello" || status == 204 && body != "" {
					t.Errorf("status %d, body %q", status, body)
				}
				if status == 204 && h.Get("Content-Length") != "" {
					t.Errorf("a 204 with Content-Length")
				}
			}
			want := 3
			if tt.reused {
				want = 1
			}
			if n := server.count(); n != want {
				t.Errorf("%d connections for 3 requests, want %d", n, want)
			}
		})
	}
}

// What a backend sends on an idle connection is no answer.
func TestUnsolicitedBytes(t *testing.T) {
	sent := make(chan struct{})
	server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = readRequest(br)
		_, _ = io.WriteString(c, okHello)
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		close(sent)
		_, _ = io.Copy(io.Discard, br)
	}, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	srv, client := front(t, b)
	get(t, client, srv.URL)
	<-sent
	await(t, "the bytes arrived", func() bool {
		p := b.now().endpoints[0].pool
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 1 && !p.idle[0].pulse.alive()
	})
	if _, _, body := get(t, client, srv.URL); body != "hello" {
		t.Errorf("body = %q, want hello", body)
	}
}

func TestClientGone(t *testing.T) {
	arrived := make(chan struct{}, 1)
	server := newFaults(t, func(_ net.Conn, br *bufio.Reader) {
		_, _ = readRequest(br)
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, br)
	})
	var seen recorder
	gate := &countingGate{}
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, Observe: seen.observe, Gate: gate})
	srv, client := front(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
	go func() { <-arrived; cancel() }()
	if _, err := client.Do(req); !errors.Is(err, context.Canceled) {
		t.Fatalf("Do = %v", err)
	}
	srv.Close()
	evs := seen.of(AttemptDone)
	if len(evs) != 1 || evs[0].Failure == nil || evs[0].Failure.Cause != failure.ClientGone || evs[0].Retry {
		t.Fatalf("events = %+v, want one client_gone", evs)
	}
	if v := evs[0].Failure.Verdict(); v != failure.Neutral {
		t.Errorf("verdict = %v, want neutral", v)
	}
	gate.check(t, 1)
}

// A client that takes no data is cut off, and only then.
func TestClientTakesNothing(t *testing.T) {
	for _, handler := range []bool{false, true} {
		var wrote atomic.Int64
		done := make(chan struct{})
		origin := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			defer close(done)
			block := make([]byte, 64<<10)
			for {
				n, err := w.Write(block)
				wrote.Add(int64(n))
				if err != nil {
					return
				}
			}
		})
		ep := Endpoint{Handler: origin}
		if !handler {
			osrv := httptest.NewServer(origin)
			t.Cleanup(osrv.Close)
			ep = Endpoint{URL: osrv.URL}
		}
		b := newBackend(t, Config{Endpoints: []Endpoint{ep}, ClientWrite: 200 * time.Millisecond})
		var got *failure.Error
		srv, _ := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got = e }))
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		<-done
		srv.Close()
		c.Close()
		if got == nil || got.Cause != failure.ClientGone || !strings.Contains(got.Detail, "took nothing") {
			t.Errorf("handler %v: reported %v, want client_gone, took nothing", handler, got)
		}
	}
}

// The deadline of a response's writes must not hit the next response of the
// connection.
func TestClientDeadlineIsTakenBack(t *testing.T) {
	server := newFaults(t, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, ClientWrite: 50 * time.Millisecond})
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(w, "slow")
			return
		}
		b.ServeHTTP(w, r)
	})
	srv, client := front(t, slow)
	get(t, client, srv.URL)
	if _, _, body := get(t, client, srv.URL+"/slow"); body != "slow" {
		t.Errorf("body = %q, want slow", body)
	}
}

// A backend that does not read the request is a write stall, and a slow client
// is not.
func TestWriteStall(t *testing.T) {
	server := newFaults(t, func(c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 1)
		_, _ = c.Read(buf)
		time.Sleep(time.Second) // reads no more
	})
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, Write: brief, FirstByte: brief})
	srv, client := front(t, b)
	res, err := client.Post(srv.URL, "x/y", io.LimitReader(zeros{}, 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if ps := res.Header.Get("Proxy-Status"); res.StatusCode != 504 || !strings.Contains(ps, "cause=write_timeout") {
		t.Errorf("status %d, Proxy-Status %q, want 504 write_timeout", res.StatusCode, ps)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestSlowUploadIsNobodysTimeout(t *testing.T) {
	for _, handler := range []bool{false, true} {
		origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := io.Copy(io.Discard, r.Body)
			if n != 5 || err != nil {
				t.Errorf("origin read %d bytes, %v", n, err)
			}
			_, _ = io.WriteString(w, "thanks")
		})
		ep := Endpoint{Handler: origin}
		if !handler {
			osrv := httptest.NewServer(origin)
			t.Cleanup(osrv.Close)
			ep = Endpoint{URL: osrv.URL}
		}
		b := newBackend(t, Config{
			Endpoints: []Endpoint{ep}, Write: 100 * time.Millisecond, FirstByte: 100 * time.Millisecond, UntilHeaders: 200 * time.Millisecond,
		})
		srv, client := front(t, b)
		pr, pw := io.Pipe()
		go func() {
			for range 5 {
				time.Sleep(150 * time.Millisecond)
				_, _ = pw.Write([]byte("x"))
			}
			pw.Close()
		}()
		res, err := client.Post(srv.URL, "x/y", pr)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(body) != "thanks" {
			t.Errorf("handler %v: %d %q, want 200 thanks", handler, res.StatusCode, body)
		}
	}
}

func TestClientBodyErrors(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(origin.Close)
	for _, tt := range []struct {
		name, raw string
		status    string
		timeout   time.Duration
		limit     int64
	}{
		{"too large", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n01234567890123456789", "413", 0, 10},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "400", 0, 0},
		{"slow", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n0123", "408", 100 * time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gate := &countingGate{}
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}, Gate: gate})
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if tt.limit > 0 {
					r.Body = http.MaxBytesReader(w, r.Body, tt.limit)
				}
				if tt.timeout > 0 {
					_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(tt.timeout))
				}
				b.ServeHTTP(w, r)
			})
			var got *failure.Error
			srv, _ := front(t, tracked(h, func(e *failure.Error, _ failure.Rung) { got = e }))
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, tt.raw)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			line, err := bufio.NewReader(c).ReadString('\n')
			if !strings.HasPrefix(line, "HTTP/1.1 "+tt.status) {
				t.Errorf("status line = %q, %v, want %s", line, err, tt.status)
			}
			c.Close()
			srv.Close()
			if got == nil || got.Cause != failure.ClientBodyError || got.Verdict() != failure.Neutral {
				t.Errorf("reported %v, want a neutral client_body_error", got)
			}
			gate.check(t, 1)
		})
	}
}

// An answer that comes before the upload is whole is passed on, and the rest of
// the upload is not taken for a request.
func TestEarlyAnswer(t *testing.T) {
	server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = br.ReadString('\n')
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		_, _ = io.CopyN(io.Discard, br, 1<<20)
	})
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	var requests atomic.Int64
	srv, _ := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		b.ServeHTTP(w, r)
	}))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 413 || string(body) != "big" {
		t.Errorf("%d %q, want 413 big", res.StatusCode, body)
	}
	_, _ = io.WriteString(c, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = io.Copy(io.Discard, br)
	srv.Close()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests reached the handler, want 1", n)
	}
}
