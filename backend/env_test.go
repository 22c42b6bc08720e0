package backend

import (
	"bufio"
	"context"
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

// newBackend makes a backend that ends with the test.
func newBackend(t testing.TB, cfg Config) *Backend {
	t.Helper()
	return newBackendWith(t, cfg, newDialer())
}

// newBackendWith is newBackend with funcs of package net replaced.
func newBackendWith(t testing.TB, cfg Config, d dialer) *Backend {
	t.Helper()
	b, err := newWith(cfg, d)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := b.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown = %v, want nil", err)
		}
	})
	return b
}

// front serves h over HTTP/1 and returns its URL and a client that hides
// nothing: no retries, no decompression, no redirects.
func front(t testing.TB, h http.Handler) (*httptest.Server, *http.Client) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = quiet
	srv.Start()
	t.Cleanup(srv.Close)
	client := &http.Client{
		Transport: &http.Transport{DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	t.Cleanup(client.CloseIdleConnections)
	return srv, client
}

// blunt sends a request over a connection of its own and takes the answer,
// whatever becomes of the request's body: http.Transport may prefer the error of
// a write to an answer that is there.
type blunt struct{}

func (blunt) RoundTrip(r *http.Request) (*http.Response, error) {
	var d net.Dialer
	c, err := d.DialContext(r.Context(), "tcp", r.URL.Host)
	if err != nil {
		return nil, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_ = r.Write(c)
	}()
	over := func() {
		c.Close()
		<-sent
	}
	res, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		over()
		return nil, err
	}
	res.Body = &endedBody{res.Body, over}
	return res, nil
}

type endedBody struct {
	io.ReadCloser
	end func()
}

func (b *endedBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

// script is what a fault server does with one connection.
type script func(c net.Conn, br *bufio.Reader)

// faults serves raw connections: the n-th one (from 0) gets scripts[n], those
// after the last the last one.
type faults struct {
	addr  string
	ln    net.Listener
	mu    sync.Mutex
	conns int
	open  map[net.Conn]struct{}
	wg    sync.WaitGroup
	heard heard
}

func newFaults(t testing.TB, scripts ...script) *faults {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faults{addr: ln.Addr().String(), ln: ln, open: make(map[net.Conn]struct{})}
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			s := scripts[min(f.conns, len(scripts)-1)]
			f.conns++
			f.open[c] = struct{}{}
			f.mu.Unlock()
			f.wg.Go(func() {
				defer func() {
					f.mu.Lock()
					delete(f.open, c)
					f.mu.Unlock()
					c.Close()
				}()
				s(c, bufio.NewReader(f.heard.reader(c)))
			})
		}
	})
	t.Cleanup(f.close)
	return f
}

func (f *faults) close() {
	f.ln.Close()
	f.mu.Lock()
	for c := range f.open {
		c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (f *faults) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.conns
}

func (f *faults) url() string { return "http://" + f.addr }

// readRequest reads one request with its body.
func readRequest(br *bufio.Reader) (*http.Request, bool) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, false
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, false
	}
	return r, true
}

// say answers every request of the connection with text and keeps it open.
func say(text string) script {
	return func(c net.Conn, br *bufio.Reader) {
		for {
			if _, ok := readRequest(br); !ok {
				return
			}
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
		}
	}
}

// sayThenClose answers one request with text, then closes.
func sayThenClose(text string) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, text)
		}
	}
}

// sayThenHang answers one request with text, then waits for the peer to leave.
func sayThenHang(text string) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, br)
		}
	}
}

// thenReset answers one request with text, then resets the connection.
func thenReset(text string) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, text)
		}
		if tc, ok := c.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
	}
}

const okHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

// recorder keeps the events of a backend.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) observe(_ context.Context, ev Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
}

func (r *recorder) of(kind EventKind) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var some []Event
	for _, ev := range r.events {
		if ev.Kind == kind {
			some = append(some, ev)
		}
	}
	return some
}

// await polls until ok or a deadline.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("still not so: %s", what)
}

// tracked has a slot in its context and tells what was in it at the end.
func tracked(h http.Handler, done func(*failure.Error, failure.Rung)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := failure.Track(r.Context())
		defer func() { done(failure.Outcome(ctx)) }()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

func get(t testing.TB, client *http.Client, url string) (int, http.Header, string) {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		t.Fatalf("GET %s: %v", url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("GET %s: body after %q: %v", url, body, err)
	}
	return res.StatusCode, res.Header, string(body)
}

func post(t testing.TB, client *http.Client, url, body string) *http.Response {
	t.Helper()
	res, err := client.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatalf("POST %s: %v", url, err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}
