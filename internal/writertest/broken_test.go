package writertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// around makes a middleware of a writer.
func around(wrap func(http.ResponseWriter) http.ResponseWriter) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(wrap(w), r) })
	}
}

// transparent forwards everything, so that each broken writer below is wrong in
// one respect only.
type transparent struct{ http.ResponseWriter }

func (t transparent) Unwrap() http.ResponseWriter { return t.ResponseWriter }
func (t transparent) FlushError() error {
	return http.NewResponseController(t.ResponseWriter).Flush()
}
func (t transparent) Flush() { _ = t.FlushError() }
func (t transparent) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(t.ResponseWriter).Hijack()
}

func (t transparent) ReadFrom(src io.Reader) (int64, error) { return io.Copy(t.ResponseWriter, src) }

func (t transparent) WriteString(s string) (int, error) { return io.WriteString(t.ResponseWriter, s) }

func (t transparent) CloseNotify() <-chan bool {
	return t.ResponseWriter.(interface{ CloseNotify() <-chan bool }).CloseNotify()
}

type (
	opaque      struct{ http.ResponseWriter } // embeds, and forgets everything else
	flushOnly   struct{ http.ResponseWriter } // knows Flush, but not its error
	lazyFlush   struct{ transparent }
	noFlusher   struct{ http.ResponseWriter } // Unwrap only
	noDeadlines struct{ transparent }
	noDuplex    struct{ transparent }
	lastWins    struct{ transparent }
	twice       struct{ transparent }
	lostBuffer  struct{ transparent }
	hijackAnger struct{ transparent }
	badCount    struct{ transparent }
	mutedError  struct{ transparent }
	hasty       struct{ transparent }
)

func (f flushOnly) Unwrap() http.ResponseWriter { return f.ResponseWriter }
func (f flushOnly) Flush()                      { _ = http.NewResponseController(f.ResponseWriter).Flush() }

func (lazyFlush) FlushError() error { return nil }
func (lazyFlush) Flush()            {}

func (f noFlusher) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (noDeadlines) SetReadDeadline(time.Time) error  { return nil }
func (noDeadlines) SetWriteDeadline(time.Time) error { return nil }

func (noDuplex) EnableFullDuplex() error { return http.ErrNotSupported }

// lastWins answers everything with what a broken logger knows as the status.
func (l lastWins) WriteHeader(status int) {
	if status == http.StatusCreated {
		status = http.StatusOK
	}
	l.ResponseWriter.WriteHeader(status)
}

func (t twice) WriteHeader(status int) {
	t.ResponseWriter.WriteHeader(status)
	t.ResponseWriter.WriteHeader(status)
}

func (l lostBuffer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, _, err := l.transparent.Hijack()
	if err != nil {
		return nil, nil, err
	}
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}

func (h hijackAnger) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("no")
}

func (b badCount) ReadFrom(src io.Reader) (int64, error) {
	n, err := b.transparent.ReadFrom(src)
	return n + 1, err
}

func (m mutedError) ReadFrom(src io.Reader) (int64, error) {
	n, _ := m.transparent.ReadFrom(src)
	return n, nil
}

// hasty chooses a status before the source has said anything.
func (h hasty) ReadFrom(src io.Reader) (int64, error) {
	h.WriteHeader(http.StatusOK)
	return h.transparent.ReadFrom(src)
}

// finalHints takes a 103 for the final status.
type finalHints struct {
	transparent
	done *bool
}

func (f finalHints) WriteHeader(status int) {
	if !*f.done {
		*f.done = true
		if status < 200 {
			status = http.StatusAccepted
		}
		f.ResponseWriter.WriteHeader(status)
	}
}

// noHints drops informational responses.
type noHints struct{ transparent }

func (n noHints) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		n.ResponseWriter.WriteHeader(status)
	}
}

// ownHeader gives the handler a header map of its own and copies it once.
type ownHeader struct {
	transparent
	header http.Header
	begun  *bool
}

func (o ownHeader) Header() http.Header { return o.header }
func (o ownHeader) WriteHeader(status int) {
	*o.begun = true
	maps.Copy(o.ResponseWriter.Header(), o.header)
	o.ResponseWriter.WriteHeader(status)
}

func (o ownHeader) Write(p []byte) (int, error) {
	if !*o.begun {
		o.WriteHeader(http.StatusOK)
	}
	return o.ResponseWriter.Write(p)
}
func (o ownHeader) WriteString(s string) (int, error) { return o.Write([]byte(s)) }

// lateHeader sends the header with the first byte of the body, or never.
type lateHeader struct {
	transparent
	status *int
}

func (l lateHeader) WriteHeader(status int) { *l.status = status }
func (l lateHeader) Write(p []byte) (int, error) {
	if *l.status != 0 {
		l.ResponseWriter.WriteHeader(*l.status)
		*l.status = 0
	}
	return l.ResponseWriter.Write(p)
}
func (l lateHeader) WriteString(s string) (int, error) { return l.Write([]byte(s)) }

// noLength forgets the announced length, so that a short body looks whole.
type noLength struct{ transparent }

func (n noLength) WriteHeader(status int) {
	n.Header().Del("Content-Length")
	n.ResponseWriter.WriteHeader(status)
}

func (n noLength) Write(p []byte) (int, error) {
	n.Header().Del("Content-Length")
	return n.ResponseWriter.Write(p)
}
func (n noLength) WriteString(s string) (int, error) { return n.Write([]byte(s)) }

// pageForNothing gives a body to what must have none.
type pageForNothing struct{ transparent }

func (p pageForNothing) WriteHeader(status int) {
	if status == http.StatusNoContent || status == http.StatusNotModified {
		status = http.StatusOK
	}
	p.ResponseWriter.WriteHeader(status)
}

// errorByDefault takes "no status chosen" for a mistake of the handler.
type errorByDefault struct {
	transparent
	chosen *bool
}

func (d errorByDefault) WriteHeader(status int) {
	*d.chosen = true
	d.ResponseWriter.WriteHeader(status)
}

func (d errorByDefault) Write(p []byte) (int, error) {
	if !*d.chosen {
		d.WriteHeader(http.StatusInternalServerError)
	}
	return d.ResponseWriter.Write(p)
}
func (d errorByDefault) WriteString(s string) (int, error) { return d.Write([]byte(s)) }

// buffering collects the whole response, as http.TimeoutHandler does.
func buffering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := &buffer{ResponseWriter: w}
		next.ServeHTTP(b, r)
		if b.status != 0 {
			w.WriteHeader(b.status)
		}
		_, _ = w.Write(b.body.Bytes())
	})
}

type buffer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }
func (b *buffer) WriteHeader(status int) {
	if b.status == 0 {
		b.status = status
	}
}
func (b *buffer) Flush() {}

func collectUpload(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

func swallowPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { _ = recover() }()
		next.ServeHTTP(w, r)
	})
}

func detached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	})
}

func headerTooEarly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Layer", "yes")
		next.ServeHTTP(w, r)
	})
}

func stripUpgrade(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Upgrade")
		next.ServeHTTP(w, r)
	})
}

func TestBrokenWrappersAreCaught(t *testing.T) {
	both := []protocol{h1, h2}
	cases := []struct {
		name   string
		wrap   func(http.Handler) http.Handler
		check  Check
		protos []protocol
		want   string // part of the complaint
	}{
		{"opaque", around(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), Flush, both, "no http.Flusher"},
		{"lazy flush", around(func(w http.ResponseWriter) http.ResponseWriter { return lazyFlush{transparent{w}} }), Flush, both, "headers did not arrive before the handler ended"},
		{"buffering", buffering, Flush, both, "headers did not arrive before the handler ended"},
		{"opaque", around(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), FlushError, both, "feature not supported"},
		{"flush without error", around(func(w http.ResponseWriter) http.ResponseWriter { return flushOnly{w} }), FlushError, both, "never told"},
		{"opaque", around(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), Hijack, []protocol{h1}, "feature not supported"},
		{"lost buffer", around(func(w http.ResponseWriter) http.ResponseWriter { return lostBuffer{transparent{w}} }), Hijack, []protocol{h1}, "raw connection"},
		{"unclear refusal", around(func(w http.ResponseWriter) http.ResponseWriter { return hijackAnger{transparent{w}} }), Hijack, both, "Hijack = no"},
		{"unwrap only", around(func(w http.ResponseWriter) http.ResponseWriter { return noFlusher{w} }), Assertions, []protocol{h1}, "no io.ReaderFrom any more"},
		{"unwrap only", around(func(w http.ResponseWriter) http.ResponseWriter { return noFlusher{w} }), Assertions, both, "GET: the writer is no http.Flusher any more"},
		{"hints are final", around(func(w http.ResponseWriter) http.ResponseWriter {
			return finalHints{transparent{w}, new(bool)}
		}), EarlyHints, both, "did not arrive before the final header"},
		{"hints are dropped", around(func(w http.ResponseWriter) http.ResponseWriter { return noHints{transparent{w}} }), EarlyHints, both, "did not arrive before the final header"},
		{"header set too early", headerTooEarly, EarlyHints, both, "X-Layer, which the middleware adds, is lost after a 103 (header map cleared: true)"},
		{"own header map", around(func(w http.ResponseWriter) http.ResponseWriter {
			return ownHeader{transparent{w}, http.Header{}, new(bool)}
		}), Trailers, both, "trailer X-Announced"},
		{"no deadlines", around(func(w http.ResponseWriter) http.ResponseWriter { return noDeadlines{transparent{w}} }), ReadDeadline, both, "deadline exceeded"},
		{"upload collected", collectUpload, ReadDeadline, both, "deadline exceeded"},
		{"no deadlines", around(func(w http.ResponseWriter) http.ResponseWriter { return noDeadlines{transparent{w}} }), WriteDeadline, both, "writes go on"},
		{"opaque", around(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), WriteDeadline, both, "feature not supported"},
		{"no duplex", around(func(w http.ResponseWriter) http.ResponseWriter { return noDuplex{transparent{w}} }), FullDuplex, both, "EnableFullDuplex = feature not supported"},
		{"upload collected", collectUpload, FullDuplex, both, "no answer while the request goes on"},
		{"bad count", around(func(w http.ResponseWriter) http.ResponseWriter { return badCount{transparent{w}} }), ReadFrom, both, "want 2097169, nil"},
		{"muted error", around(func(w http.ResponseWriter) http.ResponseWriter { return mutedError{transparent{w}} }), ReadFrom, both, "want 4, the disk is broken"},
		{"hasty", around(func(w http.ResponseWriter) http.ResponseWriter { return hasty{transparent{w}} }), ReadFrom, both, "status = 200, want 409"},
		{"panics swallowed", swallowPanics, Abort, both, "looks like a whole 200 of 4 bytes"},
		{"detached", detached, Cancel, both, "was not canceled"},
		{"detached", detached, CancelGET, both, "was not canceled"},
		{"no length", around(func(w http.ResponseWriter) http.ResponseWriter { return noLength{transparent{w}} }), Head, both, "want those of the GET"},
		{"a page for nothing", around(func(w http.ResponseWriter) http.ResponseWriter { return pageForNothing{transparent{w}} }), NoBody, both, "status = 200, want 204"},
		{"other status", around(func(w http.ResponseWriter) http.ResponseWriter { return lastWins{transparent{w}} }), FirstStatus, both, "status = 200, want 201"},
		{"status twice", around(func(w http.ResponseWriter) http.ResponseWriter { return twice{transparent{w}} }), FirstStatus, []protocol{h1}, "superfluous"},
		{"error by default", around(func(w http.ResponseWriter) http.ResponseWriter {
			return errorByDefault{transparent{w}, new(bool)}
		}), ImplicitOK, both, "status = 500, want 200"},
		{"own header map", around(func(w http.ResponseWriter) http.ResponseWriter {
			return ownHeader{transparent{w}, http.Header{}, new(bool)}
		}), ImplicitOK, both, "a header is lost"},
		{"late header", around(func(w http.ResponseWriter) http.ResponseWriter {
			return lateHeader{transparent{w}, new(int)}
		}), HeaderSnapshot, both, `X-Before = "changed"`},
		{"upload collected", collectUpload, Upload, both, "is the upload collected?"},
		{"upload collected", collectUpload, Continue, both, "want 413 without"},
		{"lazy flush", around(func(w http.ResponseWriter) http.ResponseWriter { return lazyFlush{transparent{w}} }), Events, both, "the stream did not begin"},
		{"opaque", around(func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }), Upgrade, []protocol{h1}, "no http.Hijacker"},
		{"upgrade stripped", stripUpgrade, Upgrade, []protocol{h1}, `Upgrade = ""`},
		{"hints dropped, 101 with them", around(func(w http.ResponseWriter) http.ResponseWriter {
			return finalHints{transparent{w}, new(bool)}
		}), Upgrade, []protocol{h1}, "want 101"},
		{"no length", around(func(w http.ResponseWriter) http.ResponseWriter { return noLength{transparent{w}} }), ContentLength, both, "10000 of 200000 announced bytes look like a whole 200"},
	}
	type result struct {
		name  string
		check Check
		want  string
		err   chan error
	}
	var results []result
	// Most of these wait for their patience to end: more at once than t.Parallel
	// runs.
	slots := make(chan struct{}, 8)
	caught := map[protocol]map[Check]bool{h1: {}, h2: {}}
	for _, c := range cases {
		for _, proto := range c.protos {
			caught[proto][c.check] = true
			res := result{string(c.check) + "/" + c.name + "/" + string(proto), c.check, c.want, make(chan error, 1)}
			results = append(results, res)
			run := runOf(t, c.check)
			go func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				res.err <- verify(run, proto, c.wrap, 2*time.Second)
			}()
		}
	}
	for _, res := range results {
		t.Run(res.name, func(t *testing.T) {
			if err := <-res.err; err == nil {
				t.Errorf("%s passed", res.check)
			} else if !strings.Contains(err.Error(), res.want) {
				t.Errorf("%s complained of %q, want something of %q", res.check, err, res.want)
			}
		})
	}
	for proto, done := range caught {
		for _, c := range checks {
			if !done[c.name] && (proto == h1 || c.name != Upgrade) {
				t.Errorf("%s over %s: nothing broken shows that it can fail", c.name, proto)
			}
		}
	}
}

// TestTransparentWrapperPasses guards the test above: what its broken writers
// are built on is not at fault itself.
func TestTransparentWrapperPasses(t *testing.T) {
	Run(t, around(func(w http.ResponseWriter) http.ResponseWriter { return transparent{w} }))
}

func TestWithout(t *testing.T) {
	Run(t, buffering,
		Without(Flush, "collects the response"), Without(FlushError, "collects the response"), Without(Hijack, "collects the response"),
		Without(Assertions, "collects the response"), Without(EarlyHints, "collects the response"), Without(Trailers, "sends the header late"),
		Without(ReadDeadline, "no Unwrap"), Without(WriteDeadline, "no Unwrap"), Without(FullDuplex, "no Unwrap"),
		Without(Abort, "answers by itself"), Without(Events, "collects the response"), Without(Upgrade, "collects the response"),
		Without(HeaderSnapshot, "sends the header late"), Without(CancelGET, "collects the response"), Without(Cancel, "collects the response"))

	for _, bad := range []Option{Without(Flush, ""), Without("typing", "there is no such check")} {
		o := options{without: map[Check]string{}}
		if bad(&o); len(o.invalid) != 1 {
			t.Errorf("invalid option: %d errors, want 1", len(o.invalid))
		}
	}
}

func runOf(t *testing.T, name Check) func(*env) error {
	t.Helper()
	for _, c := range checks {
		if c.name == name {
			return c.run
		}
	}
	t.Fatalf("no check %q", name)
	return nil
}
