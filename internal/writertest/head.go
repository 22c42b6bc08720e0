package writertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

func checkEarlyHints(e *env) error {
	added, err := addedNames(e)
	if err != nil {
		return err
	}
	return errors.Join(earlyHints(e, added, false), earlyHints(e, added, true))
}

// addedNames are the fields that the middleware adds to a plain answer.
func addedNames(e *env) ([]string, error) {
	plain := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "final") }
	bare, err := e.fetch(http.MethodGet, e.serveBare(plain))
	if err != nil {
		return nil, err
	}
	wrapped, err := e.fetch(http.MethodGet, e.serve(plain))
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range wrapped.header {
		if _, ok := bare.header[name]; !ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// earlyHints sends two 103. With clearing, the handler treats the header map as
// httputil.ReverseProxy does after each.
func earlyHints(e *env, added []string, clearing bool) error {
	seen := make(chan struct{})
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		for _, link := range []string{"</a.css>; rel=preload", "</b.css>; rel=preload"} {
			w.Header().Set("Link", link)
			w.Header().Set("X-Kept", "yes")
			w.WriteHeader(http.StatusEarlyHints)
			if clearing {
				clear(w.Header())
			}
		}
		if !e.await(seen) {
			e.complain("the 103 did not arrive before the final header")
		}
		w.Header().Set("X-Final", "yes")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "final")
	})
	var links []string
	req, err := e.request(http.MethodGet, s, nil)
	if err != nil {
		return err
	}
	ctx := httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				if links = append(links, h.Get("Link")); len(links) == 2 {
					close(seen)
				}
			}
			return nil
		},
	})
	resp, err := e.exchange(s, req.WithContext(ctx))
	if err != nil {
		return err
	}
	errs := []error{resp.expect(http.StatusAccepted, "final")}
	if got, want := strings.Join(links, ", "), "</a.css>; rel=preload, </b.css>; rel=preload"; got != want {
		errs = append(errs, fmt.Errorf("client: Link of the 103 = %q, want %q", got, want))
	}
	if got := resp.header.Get("X-Final"); got != "yes" {
		errs = append(errs, fmt.Errorf("client: X-Final = %q after a 103, want yes", got))
	}
	wantKept := "yes"
	if clearing {
		wantKept = ""
	}
	if got := resp.header.Get("X-Kept"); got != wantKept {
		errs = append(errs, fmt.Errorf("client: X-Kept = %q after a 103, want %q (header map cleared: %t)", got, wantKept, clearing))
	}
	for _, name := range added {
		if len(resp.header[name]) == 0 {
			errs = append(errs, fmt.Errorf("client: %s, which the middleware adds, is lost after a 103 (header map cleared: %t)", name, clearing))
		}
	}
	return errors.Join(errs...)
}

func checkTrailers(e *env) error {
	var errs []error
	for _, flush := range []bool{false, true} {
		s := e.serve(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Announced")
			_, _ = io.WriteString(w, "body")
			if flush {
				_ = http.NewResponseController(w).Flush()
			}
			w.Header().Set("X-Announced", "one")
			w.Header().Set(http.TrailerPrefix+"X-Surprise", "two")
		})
		resp, err := e.fetch(http.MethodGet, s)
		if err != nil {
			return err
		}
		errs = append(errs, resp.expect(http.StatusOK, "body"))
		for name, want := range map[string]string{"X-Announced": "one", "X-Surprise": "two"} {
			if got := resp.trailer.Get(name); got != want {
				errs = append(errs, fmt.Errorf("client: trailer %s = %q, want %q (flushed before: %t)", name, got, want, flush))
			}
			if resp.header.Get(name) != "" {
				errs = append(errs, fmt.Errorf("client: trailer %s came as a header", name))
			}
		}
	}
	return errors.Join(errs...)
}

func checkHead(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "11")
		w.Header().Set("X-Page", r.Method)
		w.WriteHeader(http.StatusOK)
		if r.Method != http.MethodHead { // as http.ServeContent does
			_, _ = io.WriteString(w, "hello world")
		}
	})
	resp, err := e.fetch(http.MethodHead, s)
	if err != nil {
		return err
	}
	errs := []error{resp.expect(http.StatusOK, "")}
	if resp.contentLength != 11 || resp.header.Get("X-Page") == "" {
		errs = append(errs, fmt.Errorf("client: Content-Length = %d, X-Page = %q; want those of the GET", resp.contentLength, resp.header.Get("X-Page")))
	}
	resp, err = e.fetch(http.MethodGet, s)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("the GET after it: %w", err))...)
	}
	return errors.Join(append(errs, resp.expect(http.StatusOK, "hello world"))...)
}

func checkNoBody(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusNoContent)
		case r.Header.Get("If-None-Match") == `"v1"`:
			w.Header().Set("Etag", `"v1"`)
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("Etag", `"v1"`)
		}
		_, _ = io.WriteString(w, "page") // refused where there is no body
	})
	empty, err := e.fetch(http.MethodPost, s)
	if err != nil {
		return err
	}
	errs := []error{empty.expect(http.StatusNoContent, "")}
	if empty.header.Get("Content-Length") != "" || len(empty.coding) != 0 {
		errs = append(errs, fmt.Errorf("client: 204 with Content-Length %q, Transfer-Encoding %q (RFC 9110 section 8.6)",
			empty.header.Get("Content-Length"), empty.coding))
	}
	req, err := e.request(http.MethodGet, s, nil)
	if err != nil {
		return err
	}
	req.Header.Set("If-None-Match", `"v1"`)
	resp, err := e.exchange(s, req)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, resp.expect(http.StatusNotModified, ""))
	resp, err = e.fetch(http.MethodGet, s)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("the GET after it: %w", err))...)
	}
	return errors.Join(append(errs, resp.expect(http.StatusOK, "page"))...)
}

func checkFirstStatus(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "made")
	})
	resp, err := e.fetch(http.MethodPost, s)
	if err != nil {
		return err
	}
	errs := []error{resp.expect(http.StatusCreated, "made")}
	twice := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "made")
		w.WriteHeader(http.StatusBadGateway)
	})
	twice.log.expected = true // a bare server complains of this handler, too
	resp, err = e.fetch(http.MethodPost, twice)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, resp.expect(http.StatusCreated, "made"))...)
}

func checkImplicitOK(e *env) error {
	var errs []error
	for want, h := range map[string]func(http.ResponseWriter){
		"": func(http.ResponseWriter) {},
		"flushed": func(w http.ResponseWriter) {
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "flushed")
		},
		"bytes":  func(w http.ResponseWriter) { _, _ = w.Write([]byte("bytes")) },
		"string": func(w http.ResponseWriter) { _, _ = io.WriteString(w, "string") },
		"copied": func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("copied")) },
	} {
		s := e.serve(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Set", "yes")
			h(w)
		})
		resp, err := e.fetch(http.MethodGet, s)
		if err != nil {
			return err
		}
		errs = append(errs, resp.expect(http.StatusOK, want))
		if resp.header.Get("X-Set") != "yes" {
			errs = append(errs, errors.New("client: a header is lost where no status was chosen"))
		}
	}
	return errors.Join(errs...)
}

func checkHeaderSnapshot(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Before", "yes")
		w.WriteHeader(http.StatusOK)
		w.Header().Set("X-Before", "changed")
		w.Header().Set("X-After", "yes")
		_, _ = io.WriteString(w, "body")
	})
	resp, err := e.fetch(http.MethodGet, s)
	if err != nil {
		return err
	}
	err = resp.expect(http.StatusOK, "body")
	if before, after := resp.header.Get("X-Before"), resp.header.Get("X-After"); before != "yes" || after != "" {
		return errors.Join(err, fmt.Errorf("client: X-Before = %q, X-After = %q; want them as they were at WriteHeader", before, after))
	}
	return err
}

func checkContentLength(e *env) error {
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "200000")
		for range 20 {
			_, _ = io.WriteString(w, strings.Repeat("x", 10000))
		}
	})
	resp, err := e.fetch(http.MethodGet, s)
	if err != nil {
		return err
	}
	var errs []error
	if resp.contentLength != 200000 || len(resp.body) != 200000 {
		errs = append(errs, fmt.Errorf("client: Content-Length = %d with %d bytes, want 200000", resp.contentLength, len(resp.body)))
	}
	short := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "200000")
		_, _ = io.WriteString(w, strings.Repeat("x", 10000))
	})
	if resp, err = e.fetch(http.MethodGet, short); err == nil && resp.status < 500 {
		errs = append(errs, fmt.Errorf("client: %d of 200000 announced bytes look like a whole %d", len(resp.body), resp.status))
	}
	return errors.Join(errs...)
}

func checkReadFrom(e *env) error {
	const size = 2<<20 + 17
	file, err := os.CreateTemp("", "writertest")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	content := strings.Repeat("0123456789abcdef", size/16+1)[:size]
	if _, err := file.WriteString(content); err != nil {
		return err
	}
	broken := errors.New("the disk is broken")
	s := e.serve(func(w http.ResponseWriter, r *http.Request) {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			e.complain("%v", err)
		}
		if n, err := io.Copy(w, file); n != size || err != nil {
			e.complain("io.Copy = %d, %v; want %d, nil", n, err, size)
		}
	})
	resp, err := e.fetch(http.MethodGet, s)
	if err != nil {
		return err
	}
	errs := []error{resp.expect(http.StatusOK, content)}
	failing := e.serve(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, io.MultiReader(strings.NewReader("some"), failingReader{broken}))
		if n != 4 || !errors.Is(err, broken) {
			e.complain("io.Copy = %d, %v; want 4, %v", n, err, broken)
		}
	})
	if resp, err = e.fetch(http.MethodGet, failing); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, resp.expect(http.StatusOK, "some"))
	failed := e.serve(func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(w, failingReader{broken}); n != 0 || !errors.Is(err, broken) {
			e.complain("io.Copy = %d, %v; want 0, %v", n, err, broken)
		}
		w.WriteHeader(http.StatusConflict)
	})
	failed.log.expected = true // a status of its own may come first
	if resp, err = e.fetch(http.MethodGet, failed); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return errors.Join(append(errs, resp.expect(http.StatusConflict, ""))...)
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// checkContinue sends two uploads that wait for leave (RFC 9110 section 10.1.1).
func checkContinue(e *env) error {
	refused := e.serve(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	})
	read, status, err := expectContinue(e, refused)
	if err != nil {
		return err
	}
	var errs []error
	if read || status != http.StatusRequestEntityTooLarge {
		errs = append(errs, fmt.Errorf("client: status %d, body asked for: %t; want 413 without", status, read))
	}
	accepted := e.serve(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != "upload" {
			e.complain("body = %q, %v", body, err)
		}
	})
	if read, status, err = expectContinue(e, accepted); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if !read || status != http.StatusOK {
		errs = append(errs, fmt.Errorf("client: status %d, body asked for: %t; want 200 with", status, read))
	}
	return errors.Join(errs...)
}

func expectContinue(e *env, s *server) (read bool, status int, err error) {
	body := &noticingReader{Reader: strings.NewReader("upload")}
	req, err := e.request(http.MethodPost, s, body)
	if err != nil {
		return false, 0, err
	}
	req.ContentLength = 6
	req.Header.Set("Expect", "100-continue")
	s.client.Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	resp, err := e.exchange(s, req.WithContext(ctx))
	return body.read.Load(), resp.status, err
}

type noticingReader struct {
	io.Reader
	read atomic.Bool
}

func (r *noticingReader) Read(p []byte) (int, error) {
	r.read.Store(true)
	return r.Reader.Read(p)
}
