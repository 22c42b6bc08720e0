package writertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
)

type protocol string

const (
	h1 protocol = "h1"
	h2 protocol = "h2"
)

var protocols = []protocol{h1, h2}

// env is what one run of one check works with.
type env struct {
	ctx     context.Context // ends when patience does
	proto   protocol
	wrap    func(http.Handler) http.Handler
	servers []*server

	mu   sync.Mutex // guards errs
	errs []error
}

// server is one server with the middleware around one handler.
type server struct {
	*httptest.Server
	client   *http.Client
	handlers sync.WaitGroup // a hijacked connection's handler outlives Server.Close
	log      serverLog
	url      string
}

// unique keeps the URLs of all runs apart, for middlewares that remember.
var unique atomic.Int64

// serve starts a server with the middleware around h.
func (e *env) serve(h http.HandlerFunc) *server { return e.start(e.wrap(h)) }

// serveBare starts a server without the middleware, to compare with.
func (e *env) serveBare(h http.HandlerFunc) *server { return e.start(h) }

func (e *env) start(h http.Handler) *server {
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.handlers.Add(1)
		defer s.handlers.Done()
		h.ServeHTTP(w, r)
	}))
	s.Config.ErrorLog = log.New(&s.log, "", 0)
	if e.proto == h2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	s.client = s.Client()
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client.Transport.(*http.Transport).DisableCompression = true
	s.url = fmt.Sprintf("%s/conformance/%d", s.URL, unique.Add(1))
	e.servers = append(e.servers, s)
	return s
}

func (e *env) close() {
	for _, s := range e.servers {
		s.client.CloseIdleConnections()
		s.Close()
		s.handlers.Wait()
	}
}

// complain records what a handler found wrong.
func (e *env) complain(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errs = append(e.errs, fmt.Errorf("handler: "+format, args...))
}

// complaints is called when the servers are closed.
func (e *env) complaints() []error {
	e.mu.Lock()
	defer e.mu.Unlock()
	errs := e.errs
	for _, s := range e.servers {
		errs = append(errs, s.log.complaints()...)
	}
	return errs
}

// await waits for c to be closed or sent on. It is false if patience ended
// before.
func (e *env) await(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-e.ctx.Done():
		return false
	}
}

// late tells whether patience has ended: an error may now come from the client
// that gave up.
func (e *env) late() bool { return errors.Is(e.ctx.Err(), context.DeadlineExceeded) }

// pipe is a request's body that is written while it is sent. It breaks when
// patience ends: a Transport waits for its body's Read even if the request is
// over.
func (e *env) pipe() (*io.PipeReader, *io.PipeWriter) {
	pr, pw := io.Pipe()
	context.AfterFunc(e.ctx, func() { pw.CloseWithError(context.Cause(e.ctx)) })
	return pr, pw
}

// request makes a request to s; body may be nil.
func (e *env) request(method string, s *server, body io.Reader) (*http.Request, error) {
	return http.NewRequestWithContext(e.ctx, method, s.url, body)
}

// do sends a request to s and checks that the protocol is the intended one.
func (e *env) do(method string, s *server, body io.Reader) (*http.Response, error) {
	req, err := e.request(method, s, body)
	if err != nil {
		return nil, err
	}
	return e.send(s, req)
}

func (e *env) send(s *server, req *http.Request) (*http.Response, error) {
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if e.ctx.Err() != nil { // the handler, too, has given up waiting
		resp.Body.Close()
		return nil, fmt.Errorf("client: the answer came too late: %w", e.ctx.Err())
	}
	if want := map[protocol]int{h1: 1, h2: 2}[e.proto]; resp.ProtoMajor != want {
		resp.Body.Close()
		return nil, fmt.Errorf("client: got %s, want HTTP/%d", resp.Proto, want)
	}
	return resp, nil
}

// answer is a response that was read to its end.
type answer struct {
	status        int
	header        http.Header
	trailer       http.Header
	contentLength int64
	coding        []string
	body          string
}

// fetch sends a request and reads the answer to its end.
func (e *env) fetch(method string, s *server) (answer, error) {
	resp, err := e.do(method, s, nil)
	if err != nil {
		return answer{}, err
	}
	return drain(resp)
}

// exchange is fetch for a request that was made already.
func (e *env) exchange(s *server, req *http.Request) (answer, error) {
	resp, err := e.send(s, req)
	if err != nil {
		return answer{}, err
	}
	return drain(resp)
}

// drain reads resp to its end. A broken message is an error; what came of it is
// returned all the same.
func drain(resp *http.Response) (answer, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		err = fmt.Errorf("client: reading the body after %d bytes: %w", len(body), err)
	}
	return answer{
		status: resp.StatusCode, header: resp.Header, trailer: resp.Trailer,
		contentLength: resp.ContentLength, coding: resp.TransferEncoding, body: string(body),
	}, err
}

// expect checks the status and the body of an answer.
func (a answer) expect(status int, body string) error {
	var errs []error
	if a.status != status {
		errs = append(errs, fmt.Errorf("client: status = %d, want %d", a.status, status))
	}
	if a.body != body {
		errs = append(errs, fmt.Errorf("client: body = %.100q, want %.100q", a.body, body))
	}
	return errors.Join(errs...)
}

// serverLog keeps what a server's ErrorLog says.
type serverLog struct {
	expected bool // the handler itself misuses its writer; set before the first request

	mu    sync.Mutex // guards lines
	lines []string
}

// Write implements io.Writer.
func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

// complaints are the lines that tell of a misuse of the writer.
func (l *serverLog) complaints() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expected {
		return nil
	}
	var errs []error
	for _, line := range l.lines {
		if strings.Contains(line, "superfluous") || strings.Contains(line, "panic") || strings.Contains(line, "hijacked") {
			errs = append(errs, fmt.Errorf("server log: %s", line))
		}
	}
	return errs
}

// same is nil if got was read without an error and is what was wanted.
func same(what, got string, err error, want string) error {
	switch {
	case err != nil:
		return fmt.Errorf("client: %s: %.100q, then %w; want %.100q", what, got, err, want)
	case got != want:
		return fmt.Errorf("client: %s: %.100q, want %.100q", what, got, want)
	}
	return nil
}

// sameRest is same for what is left of r.
func sameRest(what string, r io.Reader, want string) error {
	rest, err := io.ReadAll(r)
	return same(what, string(rest), err, want)
}
