package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// glued holds back what is written until release, so that several TLS records
// leave in one segment.
type glued struct {
	net.Conn
	mu   sync.Mutex
	hold bool
	buf  []byte
}

func (g *glued) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.hold {
		g.buf = append(g.buf, p...)
		return len(p), nil
	}
	return g.Conn.Write(p)
}

func (g *glued) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = false
	_, _ = g.Conn.Write(g.buf)
	g.buf = nil
}

// Bytes that follow a response in a TLS record of their own lie in neither our
// buffer nor the socket's.
func TestUnsolicitedRecords(t *testing.T) {
	auth := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{auth.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}, NextProtos: []string{"http/1.1"}}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			server := newFaults(t, func(c net.Conn, _ *bufio.Reader) {
				g := &glued{Conn: c}
				tc := tls.Server(g, cfg)
				br := bufio.NewReader(tc)
				for range 2 {
					r, ok := readRequest(br)
					if !ok {
						return
					}
					g.mu.Lock()
					g.hold = r.URL.Path == "/first"
					g.mu.Unlock()
					_, _ = io.WriteString(tc, okHello)
					if r.URL.Path == "/first" {
						_, _ = io.WriteString(tc, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
						g.release()
					}
				}
			})
			b := newBackend(t, Config{
				Endpoints: []Endpoint{{URL: "https://" + server.addr}},
				TLS:       &tls.Config{RootCAs: auth.pool, MinVersion: version, MaxVersion: version},
			})
			srv, client := front(t, b)
			get(t, client, srv.URL+"/first")
			if _, _, body := get(t, client, srv.URL+"/second"); body != "hello" {
				t.Errorf("the second answer is %q, want hello", body)
			}
			// A connection with nothing left over is still used again.
			get(t, client, srv.URL+"/third")
			if n := server.count(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

// A length or a coding where no body may be leaves a doubt about what follows
// (RFC 9110 section 8.6, RFC 9112 section 6.1).
func TestBodyWhereNoneMayBe(t *testing.T) {
	for _, head := range []string{
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
	} {
		server := newFaults(t, say(head))
		srv, client := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}}))
		for range 2 {
			if status, _, body := get(t, client, srv.URL); status != 204 || body != "" {
				t.Errorf("%q: %d %q, want an empty 204", head, status, body)
			}
		}
		if n := server.count(); n != 2 {
			t.Errorf("%q: %d connections, want 2: the first one is doubtful", head, n)
		}
	}
}

func TestCodingInHTTP10(t *testing.T) {
	server := newFaults(t, sayThenClose("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	var got *failure.Error
	srv, client := front(t, tracked(newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}}), func(e *failure.Error, _ failure.Rung) { got = e }))
	status, _, body := get(t, client, srv.URL)
	srv.Close()
	if status != 502 || strings.Contains(body, "hello") || got == nil || got.Cause != failure.BadFraming {
		t.Errorf("%d %q, %v; want 502 bad_framing", status, body, got)
	}
}

// Trailers carry no framing, routing, identity or credentials (RFC 9110 section
// 6.5.1), announced or not.
func TestTrailersOfOtherSections(t *testing.T) {
	const evil = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nConnection: close\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Sum: 42\r\n\r\n"
	t.Run("request", func(t *testing.T) {
		raw := make(chan string, 1)
		server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
			var all strings.Builder
			for !strings.HasSuffix(all.String(), "\r\n\r\n") || !strings.Contains(all.String(), "\r\n0\r\n") {
				line, err := br.ReadString('\n')
				all.WriteString(line)
				if err != nil {
					break
				}
			}
			raw <- all.String()
			_, _ = io.WriteString(c, okHello)
		})
		srv, _ := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}}))
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Forwarded-For\r\n\r\n4\r\nbody\r\n0\r\n"+evil)
		sent := <-raw
		_, end, _ := strings.Cut(sent, "\r\n0\r\n")
		if end != "X-Sum: 42\r\n\r\n" {
			t.Errorf("trailer section %q, want X-Sum alone", end)
		}
		if strings.Contains(sent, "Trailer: X-Forwarded") || strings.Contains(sent, ", X-Forwarded-For") {
			t.Errorf("announced: %q", sent)
		}
	})
	t.Run("response", func(t *testing.T) {
		server := newFaults(t, say("HTTP/1.1 200 OK\r\nTrailer: X-Sum, Host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"+evil))
		srv, _ := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}}))
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		all, _ := io.ReadAll(c)
		head, end, _ := strings.Cut(string(all), "\r\n0\r\n")
		if end != "X-Sum: 42\r\n\r\n" || !strings.Contains(head, "Trailer: X-Sum\r\n") {
			t.Errorf("head %q, trailer section %q, want X-Sum alone", head, end)
		}
	})
}

// The time of the upload is not the backend's: an answer or an informational
// response in the middle of a long one does not find the budget spent.
func TestAnswerDuringLongUpload(t *testing.T) {
	const budget = 150 * time.Millisecond
	for _, tt := range []struct{ name, interim string }{{"early answer", ""}, {"interim", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				time.Sleep(2 * budget)
				if tt.interim != "" {
					_, _ = io.WriteString(c, tt.interim)
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n") // the header section comes in two parts
				time.Sleep(20 * time.Millisecond)
				_, _ = io.WriteString(c, "Content-Length: 5\r\n\r\nhello")
				_, _ = io.Copy(io.Discard, br)
			})
			srv, client := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, UntilHeaders: budget}))
			body, slow := io.Pipe()
			defer slow.Close()
			go func() { _, _ = slow.Write([]byte("begin")) }()
			req, _ := http.NewRequestWithContext(t.Context(), "POST", srv.URL, body)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if text, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(text) != "hello" {
				t.Errorf("%d %q, want 200 hello", res.StatusCode, text)
			}
		})
	}
}

// An informational response does not take the limits away from a request that
// is stuck.
func TestStuckAfterInterim(t *testing.T) {
	const limit = 100 * time.Millisecond
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		<-r.Context().Done() // reads nothing
	})
	stuck := make(chan struct{})
	silent := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		time.Sleep(limit / 2)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
		<-stuck
	})
	t.Cleanup(func() { close(stuck) })
	for _, tt := range []struct {
		name  string
		ep    Endpoint
		cause failure.Cause
	}{
		{"handler", Endpoint{Handler: origin}, failure.FirstByteTimeout},
		{"remote", Endpoint{URL: silent.url()}, failure.WriteTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got *failure.Error
			b := newBackend(t, Config{Endpoints: []Endpoint{tt.ep}, FirstByte: limit, Write: limit, Retries: -1})
			srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got = e }))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			req, _ := http.NewRequestWithContext(ctx, "POST", srv.URL, io.LimitReader(zeros{}, 64<<20))
			req.ContentLength = 64 << 20
			res, err := client.Do(req)
			if err == nil {
				res.Body.Close()
			}
			if ctx.Err() != nil {
				t.Fatal("it hangs")
			}
			srv.Close()
			if got == nil || got.Cause != tt.cause {
				t.Errorf("reported %v, want %v", got, tt.cause)
			}
		})
	}
}

// A check whose handler never returns is not joined by ever more of them.
func TestHungCheckIsAlone(t *testing.T) {
	var running atomic.Int64
	end := make(chan struct{})
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			running.Add(1)
			<-end
		})}},
		Health: Health{Path: "/", Interval: time.Millisecond, Timeout: time.Millisecond, Fall: 20},
	})
	t.Cleanup(func() { close(end) })
	await(t, "the endpoint is down", func() bool { return !b.Available() })
	if n := running.Load(); n != 1 {
		t.Errorf("%d checks hang, want 1", n)
	}
}

// What an attempt that was given up has not begun to read can't be read by it
// any more once another attempt was decided on.
func TestUploadIsClaimed(t *testing.T) {
	u := newUpload(strings.NewReader("body"), 4, 0)
	first := u.reader()
	if !u.claim() {
		t.Fatal("claim = false of a body that nobody read, want true")
	}
	if _, err := first.Read(make([]byte, 4)); err != errAbandoned { //nolint:errorlint // itself
		t.Errorf("Read = %v after the claim, want errAbandoned", err)
	}
	if body, err := io.ReadAll(u.reader()); string(body) != "body" || err != nil {
		t.Errorf("the next attempt read %q, %v", body, err)
	}
	if u.claim() {
		t.Error("claim = true of a body that was read and not kept, want false")
	}
}

// Backends that make variables of field names take an underscore for a hyphen.
func TestAliasesOfForwardedFields(t *testing.T) {
	r, _ := forwarded(t, Config{}, "", "GET / HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nx_real_ip: 6.6.6.6\r\nX_Other: stays\r\n\r\n")
	if r == nil {
		t.Fatal("not forwarded")
	}
	for name, values := range r.Header {
		if strings.Contains(name, "_") && !strings.EqualFold(name, "X_Other") {
			t.Errorf("%s: %q was forwarded", name, values)
		}
	}
	if r.Header.Get("X_Other") != "stays" {
		t.Errorf("header = %v, want X_Other", r.Header)
	}
}

// An endpoint that takes one of the protocols that were offered is right.
func TestUpgradeToOneOfSeveral(t *testing.T) {
	server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: b\r\n\r\n")
		}
	})
	srv, _ := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}}))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: a, b/2, b\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 101 || res.Header.Get("Upgrade") != "b" {
		t.Errorf("%d to %q, want 101 to b", res.StatusCode, res.Header.Get("Upgrade"))
	}
}

// Where handlers and addresses share the load, an upgrade stays where the
// balance put it.
func TestUpgradeWithMixedEndpoints(t *testing.T) {
	who := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			defer conn.Close()
			fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\nX-Who: %s\r\n\r\n", name)
			_ = rw.Flush()
		})
	}
	origin := httptest.NewServer(who("remote"))
	t.Cleanup(origin.Close)
	srv, _ := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}, {Handler: who("handler")}}, Balance: RoundRobin}))
	seen := map[string]int{}
	for range 4 {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		c.Close()
		seen[fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("X-Who"))]++
	}
	if seen["101 remote"] != 2 || seen["101 handler"] != 2 {
		t.Errorf("answers %v, want two of each", seen)
	}
}
