package breaker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

type tripFunc func(*http.Request) (*http.Response, error)

func (f tripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// body fails with err after its text; nil is the end.
type body struct {
	io.Reader
	err    error
	closed int
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return n, err
}

func (b *body) Close() error {
	b.closed++
	return nil
}

func answer(status int, b io.ReadCloser) tripFunc {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: b, Request: r, Header: http.Header{}}, nil
	}
}

func TestRoundTripperJudges(t *testing.T) {
	page := func() *body { return &body{Reader: strings.NewReader("page")} }
	broken := &body{Reader: strings.NewReader("pa"), err: io.ErrUnexpectedEOF}
	fails := func(err error) tripFunc { return func(*http.Request) (*http.Response, error) { return nil, err } }
	read := func(resp *http.Response) { _, _ = io.Copy(io.Discard, resp.Body) }
	nothing := func(*http.Response) {}
	closes := func(resp *http.Response) { _ = resp.Body.Close() }
	tests := []struct {
		name string
		rt   tripFunc
		then func(*http.Response)
		gone bool
		want outcome
	}{
		{"200, read", answer(200, page()), read, false, succeeded},
		{"200, closed early", answer(200, page()), closes, false, succeeded},
		{"200, read later", answer(200, page()), nothing, false, neutral}, // no verdict yet
		{"200, no body", answer(200, http.NoBody), nothing, false, succeeded},
		{"404", answer(404, page()), read, false, succeeded},
		{"501", answer(501, page()), read, false, succeeded},
		{"503, at its headers", answer(503, page()), nothing, false, failed},
		{"body breaks", answer(200, broken), read, false, failed},
		{"body breaks since the caller left", answer(200, &body{Reader: strings.NewReader("pa"), err: context.Canceled}), read, true, neutral},
		{"closed since the caller left", answer(200, page()), closes, true, neutral},
		{"switched", answer(101, page()), nothing, false, succeeded},
		{"error", fails(errBoom), nil, false, failed},
		{"error since the caller left", fails(errBoom), nil, true, neutral},
		{"canceled", fails(fmt.Errorf("x: %w", context.Canceled)), nil, false, neutral},
		{"deadline", fails(context.DeadlineExceeded), nil, false, failed},
		{"typed", fails(failure.New(failure.LocalLimit, nil)), nil, false, neutral},
		{"typed, though the caller left", fails(failure.New(failure.FirstByteTimeout, nil)), nil, true, failed},
	}
	for _, tt := range tests {
		b := newBreaker(t, Config{})
		ctx, cancel := context.WithCancel(context.Background())
		r := httptest.NewRequest(http.MethodGet, "http://shop.example/", nil).WithContext(ctx)
		if tt.gone {
			cancel()
		}
		resp, err := b.RoundTripper(tt.rt).RoundTrip(r)
		if (err == nil) != (tt.then != nil) {
			t.Errorf("%s: err = %v", tt.name, err)
		}
		if err == nil {
			tt.then(resp)
			if tt.name != "200, read later" {
				_ = resp.Body.Close()
			}
		}
		got := neutral
		switch s := b.State(); {
		case s.Failures > 0:
			got = failed
		case s.Requests > 0:
			got = succeeded
		}
		if got != tt.want {
			t.Errorf("%s: outcome %v, want %v", tt.name, got, tt.want)
		}
		cancel()
	}
}

func TestLocalCause(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("x: %w", &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)})
	}
	tests := []struct {
		err  error
		want failure.Cause
	}{
		{errBoom, 0},
		{dial(syscall.ECONNREFUSED), failure.ConnectionRefused},
		{dial(syscall.ENETUNREACH), failure.Unroutable},
		{dial(syscall.EMFILE), failure.LocalLimit},
		{dial(os.ErrDeadlineExceeded), failure.ConnectTimeout},
		{dial(errBoom), 0},
		{&net.OpError{Op: "read", Err: syscall.ECONNREFUSED}, 0},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, failure.DNSNotFound},
		{&net.DNSError{IsTimeout: true}, failure.DNSTimeout},
	}
	for _, tt := range tests {
		if got := localCause(tt.err); got != tt.want {
			t.Errorf("localCause(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

// A refused request is not sent, its body is closed, and its error says all.
func TestRoundTripperRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := 0
		b := newBreaker(t, Config{MinVolume: 2, Jitter: -1})
		client := &http.Client{Transport: b.RoundTripper(tripFunc(func(*http.Request) (*http.Response, error) {
			sent++
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}))}
		post := func() (*body, error) {
			up := &body{Reader: strings.NewReader("x")}
			r, err := http.NewRequest(http.MethodPost, "http://shop.example/", up)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			return up, err
		}
		for range 2 {
			if _, err := post(); errors.Is(err, ErrOpen) {
				t.Fatalf("err = %v", err)
			}
		}
		time.Sleep(time.Second)
		up, err := post()
		e, ok := errors.AsType[*failure.Error](err)
		if !ok || !errors.Is(err, ErrOpen) || e.Cause != failure.BreakerOpen || e.RetryAfter != 4*time.Second || !strings.Contains(e.Detail, "last cause connection_refused") {
			t.Errorf("err = %v, want breaker_open with 4s left and the last cause", err)
		}
		if sent != 2 || up.closed == 0 {
			t.Errorf("%d requests were sent, the body was closed %d times; want 2 and at least once", sent, up.closed)
		}
	})
}

// A trial is judged at its headers, a hung one at SlowCall, and a panic of the
// transport gives its place back.
func TestRoundTripperTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var next tripFunc
		b := newBreaker(t, Config{MinVolume: 1, Trials: 1, SlowCall: 2 * time.Second, Jitter: -1, OpenMax: 5 * time.Second})
		rt := b.RoundTripper(tripFunc(func(r *http.Request) (*http.Response, error) { return next(r) }))
		do := func() *http.Response {
			resp, _ := rt.RoundTrip(httptest.NewRequest(http.MethodGet, "http://shop.example/", nil))
			return resp
		}
		next = func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Minute)
			return nil, errBoom
		}
		go do()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		wantPhase(t, b, Open) // hung
		time.Sleep(5*time.Second + 1)
		next = func(*http.Request) (*http.Response, error) { panic("transport") }
		func() {
			defer func() {
				if recover() != any("transport") {
					t.Error("the panic was lost")
				}
			}()
			do()
		}()
		wantPhase(t, b, HalfOpen)
		page := &body{Reader: strings.NewReader("page")}
		next = answer(200, page)
		if resp := do(); resp.Body != page { // the same: it has its verdict
			t.Errorf("Body = %T", resp.Body)
		}
		wantPhase(t, b, Closed)
		time.Sleep(time.Minute)
	})
}

// On sockets: a body to its end, an upgrade that stays one, a caller that leaves.
func TestRoundTripperOnSockets(t *testing.T) {
	arrived := make(chan struct{}, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			arrived <- struct{}{}
			<-r.Context().Done()
		case "/upgrade":
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			_ = rw.Flush()
			line, _ := rw.ReadString('\n')
			_, _ = rw.WriteString(line)
			_ = rw.Flush()
		default:
			_, _ = io.WriteString(w, strings.Repeat("page", 10000))
		}
	}))
	defer srv.Close()
	b := newBreaker(t, Config{MinVolume: 100})
	client := &http.Client{Transport: b.RoundTripper(&http.Transport{})}
	defer client.CloseIdleConnections()
	request := func(ctx context.Context, path string) *http.Request {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}

	resp, err := client.Do(request(t.Context(), "/"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	if err != nil || len(page) != 40000 {
		t.Errorf("%d bytes, %v", len(page), err)
	}
	resp.Body.Close()
	if s := b.State(); s.Requests != 1 || s.Failures != 0 {
		t.Errorf("State() = %+v, want one success", s)
	}

	r := request(t.Context(), "/upgrade")
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	resp, err = client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("the body of a 101 is a %T, no io.ReadWriteCloser", resp.Body)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
		t.Errorf("echo = %q, %v", line, err)
	}
	conn.Close()
	if s := b.State(); s.Requests != 2 || s.Failures != 0 {
		t.Errorf("State() = %+v, want two successes", s)
	}

	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if resp, err := client.Do(request(ctx, "/hang")); err == nil {
		resp.Body.Close()
		t.Error("answered, want it cancelled")
	}
	if s := b.State(); s.Requests != 2 {
		t.Errorf("State() = %+v, want nothing of who left", s)
	}
}
