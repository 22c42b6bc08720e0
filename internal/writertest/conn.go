package writertest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// dial opens a raw connection to s.
func (e *env) dial(s *server) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(e.ctx, "tcp", s.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	if deadline, ok := e.ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn, nil
}

func path(s *server) string { return strings.TrimPrefix(s.url, s.URL) }

// checkHijack lets the first line of the raw protocol travel with the request's
// header section: it is then in the server's buffer when the handler takes over.
func checkHijack(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if e.proto == h2 {
			if err == nil {
				conn.Close()
				e.complain("Hijack succeeded on HTTP/2")
				return
			}
			if !errors.Is(err, http.ErrNotSupported) {
				e.complain("Hijack = %v, want an error that is %v", err, http.ErrNotSupported)
			}
			_, _ = io.WriteString(w, "refused")
			return
		}
		if err != nil {
			e.complain("Hijack = %v", err)
			return
		}
		defer conn.Close()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(rw, "echo "+line)
			if err := rw.Flush(); err != nil {
				e.complain("writing to the hijacked connection: %v", err)
				return
			}
		}
	})
	if e.proto == h2 {
		resp, err := e.fetch(http.MethodPost, s)
		if err != nil {
			return err
		}
		return resp.expect(http.StatusOK, "refused")
	}
	conn, err := e.dial(s)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: hijack.test\r\nContent-Length: 0\r\n\r\none\n", path(s))
	if err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	for _, want := range []string{"echo one\n", "echo two\n"} {
		line, err := in.ReadString('\n')
		if err := same("raw connection", line, err, want); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, "two\n"); err != nil {
			return err
		}
	}
	return nil
}

// checkUpgrade upgrades in the two ways that libraries do: taking the
// connection and writing the 101 by hand, and WriteHeader(101) before taking it.
func checkUpgrade(e *env) error {
	if e.proto == h2 {
		return nil // HTTP/2 has no upgrade (RFC 9113 section 8.6)
	}
	return errors.Join(
		upgrade(e, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			hj, ok := w.(http.Hijacker)
			if !ok {
				return nil, nil, errors.New("the writer is no http.Hijacker")
			}
			conn, rw, err := hj.Hijack()
			if err == nil {
				_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: conformance\r\n\r\n")
			}
			return conn, rw, err
		}),
		upgrade(e, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "conformance")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return http.NewResponseController(w).Hijack()
		}),
	)
}

func upgrade(e *env, accept func(http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Upgrade"); got != "conformance" || r.Header.Get("Connection") != "Upgrade" {
			e.complain("Upgrade = %q, Connection = %q", got, r.Header.Get("Connection"))
		}
		conn, rw, err := accept(w)
		if err != nil {
			e.complain("upgrade: %v", err)
			return
		}
		defer conn.Close()
		_ = rw.Flush()
		if _, err := io.Copy(conn, rw); err != nil && !errors.Is(err, net.ErrClosed) {
			e.complain("tunnel: %v", err)
		}
	})
	conn, err := e.dial(s)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: upgrade.test\r\nConnection: Upgrade\r\nUpgrade: conformance\r\n\r\n", path(s))
	if err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("client: answer to the upgrade: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "conformance" {
		return fmt.Errorf("client: got %d with Upgrade %q, want 101 with conformance", resp.StatusCode, resp.Header.Get("Upgrade"))
	}
	for _, msg := range []string{"ping\n", "\x81\x05hello\n"} {
		if _, err := io.WriteString(conn, msg); err != nil {
			return err
		}
		line, err := in.ReadString('\n')
		if err := same("tunnel", line, err, msg); err != nil {
			return err
		}
	}
	// The end of one direction comes through as such.
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	return sameRest("end of the tunnel", in, "")
}

func checkAssertions(e *env) error {
	capabilities := func(w http.ResponseWriter) map[string]bool {
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		_, stringWriter := w.(io.StringWriter)
		_, closeNotifier := w.(interface{ CloseNotify() <-chan bool })
		return map[string]bool{
			"http.Flusher": flusher, "http.Hijacker": hijacker, "http.CloseNotifier": closeNotifier,
			"io.ReaderFrom": readerFrom, "io.StringWriter": stringWriter,
		}
	}
	probe := func(serve func(http.HandlerFunc) *server, method string) (map[string]bool, error) {
		found := make(chan map[string]bool, 1)
		s := serve(func(w http.ResponseWriter, r *http.Request) { found <- capabilities(w) })
		if _, err := e.fetch(method, s); err != nil {
			return nil, err
		}
		select {
		case c := <-found:
			return c, nil
		default:
			return nil, errors.New("the handler was not reached")
		}
	}
	var errs []error
	// A layer may keep the connection of a GET to itself, yet a page must be able
	// to flush, and gin's Context.Stream panics without the deprecated
	// http.CloseNotifier.
	for method, names := range map[string][]string{
		http.MethodGet:  {"http.Flusher", "http.CloseNotifier", "io.StringWriter"},
		http.MethodPost: {"http.Flusher", "http.Hijacker", "http.CloseNotifier", "io.ReaderFrom", "io.StringWriter"},
	} {
		bare, err := probe(e.serveBare, method)
		if err != nil {
			return err
		}
		wrapped, err := probe(e.serve, method)
		if err != nil {
			return err
		}
		for _, name := range names {
			if bare[name] && !wrapped[name] {
				errs = append(errs, fmt.Errorf("%s: the writer is no %s any more", method, name))
			}
		}
	}
	return errors.Join(errs...)
}

func checkCancel(e *env) error    { return leave(e, http.MethodPost) }
func checkCancelGET(e *env) error { return leave(e, http.MethodGet) }

// leave goes away once before and once after the headers came.
func leave(e *env, method string) error {
	for _, headers := range []bool{false, true} {
		arrived, noticed := make(chan struct{}), make(chan struct{})
		s := e.serve(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if headers {
				_ = http.NewResponseController(w).Flush()
			}
			close(arrived)
			if e.await(r.Context().Done()) {
				close(noticed)
			}
		})
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		req, err := e.request(method, s, nil)
		if err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, err := e.send(s, req.WithContext(ctx))
			if err == nil {
				_, _ = drain(resp)
			}
		}()
		if !e.await(arrived) {
			return errors.New("the handler was not reached")
		}
		cancel()
		<-done
		if !e.await(noticed) {
			return fmt.Errorf("the request's context was not canceled when the client left (headers sent: %t)", headers)
		}
	}
	return nil
}

func checkAbort(e *env) error {
	cases := []struct {
		name  string
		begin func(http.ResponseWriter)
	}{
		{"before a header", func(http.ResponseWriter) {}},
		{"after an unsent part", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "part") }},
		{"after a sent header", func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }},
		{"after a sent part", func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}},
		{"within an announced length", func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "part")
			_ = http.NewResponseController(w).Flush()
		}},
		{"after a large part", func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, 1<<20)) }},
	}
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n, err := strconv.Atoi(r.URL.Query().Get("case")); err == nil && n < len(cases) {
			cases[n].begin(w)
		}
		panic(http.ErrAbortHandler)
	})
	var errs []error
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for n, c := range cases {
			req, err := e.request(method, s, nil)
			if err != nil {
				return err
			}
			req.URL.RawQuery = fmt.Sprintf("case=%d", n)
			resp, err := e.exchange(s, req)
			// A layer that has sent nothing yet may answer in its own name.
			if err == nil && resp.status < 500 {
				errs = append(errs, fmt.Errorf("client: %s aborted %s looks like a whole %d of %d bytes",
					method, c.name, resp.status, len(resp.body)))
			}
			if e.ctx.Err() != nil {
				return errors.Join(append(errs, fmt.Errorf("client: %s aborted %s hangs", method, c.name))...)
			}
		}
	}
	return errors.Join(errs...)
}
