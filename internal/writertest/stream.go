package writertest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func checkFlush(e *env) error {
	headersSeen, bodySeen := make(chan struct{}), make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		f, ok := w.(http.Flusher)
		if !ok {
			e.complain("the writer is no http.Flusher")
			return
		}
		w.Header().Set("X-Early", "yes")
		f.Flush()
		if !e.await(headersSeen) {
			return
		}
		_, _ = io.WriteString(w, "one\n")
		f.Flush()
		if !e.await(bodySeen) {
			return
		}
		_, _ = io.WriteString(w, "two\n")
	})
	resp, err := e.do(http.MethodGet, s, nil)
	if err != nil {
		return fmt.Errorf("headers did not arrive before the handler ended: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Early") != "yes" {
		return fmt.Errorf("client: got %d with X-Early %q, want 200 with yes", resp.StatusCode, resp.Header.Get("X-Early"))
	}
	close(headersSeen)
	body := bufio.NewReader(resp.Body)
	line, err := body.ReadString('\n')
	if err := same("first line, before the handler ended", line, err, "one\n"); err != nil {
		return err
	}
	close(bodySeen)
	return sameRest("second line", body, "two\n")
}

// writes is how many blocks of 64 kB are more than any buffer on the way takes.
const writes = 1000

func checkFlushError(e *env) error {
	gone, done := make(chan struct{}), make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.Body)
		rc := http.NewResponseController(w)
		_, _ = io.WriteString(w, "one\n")
		if err := rc.Flush(); err != nil {
			e.complain("Flush = %v with a client that reads", err)
			return
		}
		if !e.await(gone) {
			return
		}
		// The first writes after the client left still fit into socket buffers.
		block := make([]byte, 64<<10)
		for range writes {
			_, _ = w.Write(block)
			if rc.Flush() != nil {
				return
			}
		}
		e.complain("Flush never told that the client is gone")
	})
	resp, err := e.do(http.MethodPost, s, nil)
	if err != nil {
		return fmt.Errorf("the flushed line did not arrive before the handler ended: %w", err)
	}
	line, err := bufio.NewReader(resp.Body).ReadString('\n')
	resp.Body.Close() // on HTTP/1.1 with more to come: closes the connection
	close(gone)
	if err := same("first line", line, err, "one\n"); err != nil {
		return err
	}
	e.await(done)
	return nil
}

func checkEvents(e *env) error {
	const events = 5
	next := make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		rc := http.NewResponseController(w)
		for n := range events {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
			if err := rc.Flush(); err != nil {
				e.complain("event %d: Flush = %v", n, err)
				return
			}
			if !e.await(next) {
				return
			}
		}
	})
	resp, err := e.do(http.MethodGet, s, nil)
	if err != nil {
		return fmt.Errorf("the stream did not begin: %w", err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		return fmt.Errorf("client: Content-Type = %q, want text/event-stream", got)
	}
	body := bufio.NewReader(resp.Body)
	for n := range events {
		line, err := body.ReadString('\n')
		if err := same("event, before the next is made", line, err, fmt.Sprintf("data: %d\n", n)); err != nil {
			return err
		}
		if _, err := body.ReadString('\n'); err != nil {
			return fmt.Errorf("client: end of event %d: %w", n, err)
		}
		select {
		case next <- struct{}{}:
		case <-e.ctx.Done():
			return fmt.Errorf("event %d: the handler is stuck", n)
		}
	}
	return sameRest("after the last event", body, "")
}

// checkUpload sends each part only after the handler has told, past the
// middleware, that it read the one before: a layer that collects the body first
// never gets to the second.
func checkUpload(e *env) error {
	const parts, partSize = 16, 1 << 20
	read := make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, partSize)
		for n := range parts {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				e.complain("part %d: %v", n, err)
				return
			}
			if buf[0] != byte(n) || buf[partSize-1] != byte(n) {
				e.complain("part %d begins with %d and ends with %d", n, buf[0], buf[partSize-1])
			}
			select {
			case read <- struct{}{}:
			case <-e.ctx.Done():
				return
			}
		}
		if n, err := io.Copy(io.Discard, r.Body); n != 0 || err != nil {
			e.complain("after the last part: %d bytes, %v", n, err)
		}
		_, _ = io.WriteString(w, "thanks")
	})
	pr, pw := e.pipe()
	defer pr.Close()
	sent := make(chan error, 1)
	go func() {
		for n := range parts {
			if _, err := pw.Write([]byte(strings.Repeat(string([]byte{byte(n)}), partSize))); err != nil {
				sent <- err
				return
			}
			if !e.await(read) {
				pw.CloseWithError(errors.New("gave up"))
				sent <- fmt.Errorf("client: part %d was not read by the handler before the next was sent: is the upload collected?", n)
				return
			}
		}
		sent <- pw.Close()
	}()
	resp, err := e.do(http.MethodPost, s, pr)
	pr.CloseWithError(io.ErrClosedPipe) // the sender must not outlive the check
	errSent := <-sent
	if err != nil {
		return errors.Join(errSent, err)
	}
	all, err := drain(resp)
	return errors.Join(errSent, err, all.expect(http.StatusOK, "thanks"))
}

func checkFullDuplex(e *env) error {
	const rounds = 4
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil {
			e.complain("EnableFullDuplex = %v", err)
			return
		}
		if err := rc.Flush(); err != nil {
			e.complain("Flush = %v", err)
			return
		}
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				if err != io.EOF {
					e.complain("reading while answering: %v", err)
				}
				return
			}
			_, _ = io.WriteString(w, "echo "+line)
			if err := rc.Flush(); err != nil {
				e.complain("Flush = %v", err)
				return
			}
		}
	})
	pr, pw := e.pipe()
	defer pw.Close()
	resp, err := e.do(http.MethodPost, s, pr)
	if err != nil {
		return fmt.Errorf("no answer while the request goes on: %w", err)
	}
	defer resp.Body.Close()
	out := bufio.NewReader(resp.Body)
	for n := range rounds {
		if _, err := fmt.Fprintf(pw, "%d\n", n); err != nil {
			return fmt.Errorf("client: sending line %d: %w", n, err)
		}
		line, err := out.ReadString('\n')
		if err := same("echo while the request goes on", line, err, fmt.Sprintf("echo %d\n", n)); err != nil {
			return err
		}
	}
	pw.Close()
	return sameRest("after the last echo", out, "")
}

func checkReadDeadline(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 5)
		if _, err := io.ReadFull(r.Body, buf); err != nil {
			e.complain("reading what was sent: %v", err)
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
			e.complain("SetReadDeadline = %v", err)
			return
		}
		if _, err := r.Body.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
			e.complain("Read after the deadline = %v, want %v", err, os.ErrDeadlineExceeded)
		}
		_, _ = io.WriteString(w, "late")
	})
	pr, pw := e.pipe()
	defer pw.Close()
	go func() { _, _ = io.WriteString(pw, "first") }()
	resp, err := e.do(http.MethodPost, s, pr)
	if err != nil {
		return err
	}
	all, err := drain(resp)
	return errors.Join(err, all.expect(http.StatusOK, "late"))
}

func checkWriteDeadline(e *env) error {
	done := make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		_, _ = io.Copy(io.Discard, r.Body)
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
			e.complain("SetWriteDeadline = %v", err)
			return
		}
		block := make([]byte, 64<<10)
		for range writes {
			_, err := w.Write(block)
			if err == nil {
				err = rc.Flush()
			}
			if err != nil && !e.late() {
				return
			}
		}
		e.complain("writes go on after the write deadline")
	})
	resp, err := e.do(http.MethodPost, s, nil)
	if err != nil {
		e.await(done)
		return e.ctx.Err() // the connection was closed before a header: right
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if e.await(done); err == nil {
		return errors.New("client: a response cut by its write deadline looks whole")
	}
	return nil
}
