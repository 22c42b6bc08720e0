package cache

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/internal/writer"
)

// mode is what becomes of the response that next writes.
type mode uint8

const (
	modeUnknown mode = iota // no final status yet
	modeFill                // into the fill
	modeDirect              // to the client of the request on whose goroutine next runs
	modeVoid                // nowhere: something else answers
	modeHijacked
)

// sniffLength is how much of a body without Content-Type or length is held
// back before the headers are final, as net/http does.
const sniffLength = 2048

// fillWriter is the http.ResponseWriter that next writes a fetch to. It has a
// header map of its own, so that what next sets can be told from what stands
// around the cache.
type fillWriter struct {
	f *fill
	h http.Header
	// decide is called once, with the first final status and the headers as they
	// are then, and says what becomes of the response.
	decide func(status int, h http.Header, length int64) mode
	// announce makes the headers of modeFill final.
	announce func(h http.Header, length int64)
	// unlessWhole is called before a part of the body is added that is not all
	// of it: somebody has to take it.
	unlessWhole func()
	// outer is the client's writer for modeDirect and 1xx; nil = there is none.
	outer http.ResponseWriter
	// noInfo: the client does not know 1xx responses (RFC 9110 section 15.2).
	noInfo bool

	mode    mode
	head    head // of modeFill, until it is announced
	status  int
	header  http.Header // as it was with the final status
	length  int64       // announced by next; -1 = not
	pending bool        // modeFill: not announced yet
	buf     []byte      // the body while pending
	written int64
	direct  writer.Base
}

func (w *fillWriter) Header() http.Header { return w.h }

// Unwrap lets http.ResponseController reach the connection's deadlines.
func (w *fillWriter) Unwrap() http.ResponseWriter { return w.outer }

func (w *fillWriter) WriteHeader(status int) {
	if w.mode != modeUnknown {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("cache: invalid WriteHeader code %d", status)) // as net/http does
	}
	if status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		w.f.inform(status, w.h)
		if w.outer != nil && !w.noInfo {
			sendInfo(w.outer, info{status, w.h})
		}
		return
	}
	w.status, w.header = status, w.h.Clone()
	w.length = contentLength(w.header)
	w.mode = w.decide(status, w.header, w.length)
	switch w.mode {
	case modeDirect:
		w.direct.WriteHeader(status)
	case modeFill:
		w.pending = true
		_, typed := w.header["Content-Type"]
		if !bodyAllowed(status) || w.length >= 0 && (typed || w.length == 0) {
			w.open()
		}
	default:
	}
}

// open announces the headers, with a Content-Type of what is there of the body
// where next set none.
func (w *fillWriter) open() {
	w.pending = false
	_, typed := w.header["Content-Type"]
	if !typed && len(w.buf) > 0 && len(w.header["Content-Encoding"]) == 0 && len(w.header["Transfer-Encoding"]) == 0 {
		w.header["Content-Type"] = []string{http.DetectContentType(w.buf)}
	}
	w.announce(w.header, w.length)
}

func (w *fillWriter) Write(p []byte) (int, error) {
	if w.mode == modeUnknown {
		w.WriteHeader(http.StatusOK)
	}
	switch w.mode {
	case modeDirect:
		return w.direct.Write(p)
	case modeHijacked:
		return 0, http.ErrHijacked
	case modeVoid:
		if !bodyAllowed(w.status) {
			return 0, http.ErrBodyNotAllowed
		}
		return len(p), context.Cause(w.f.ctx)
	default:
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	part := p
	if w.pending {
		if w.buf = append(w.buf, p...); len(w.buf) < sniffLength {
			return len(p), nil
		}
		w.open()
		part, w.buf = w.buf, nil
	}
	if err := w.add(part); err != nil {
		return 0, err
	}
	return len(p), nil
}

// add passes a part of the body to the fill. A small body that comes whole needs
// nobody to take it yet.
func (w *fillWriter) add(p []byte) error {
	if int64(len(p)) != w.length || len(p) > maxChunk {
		w.unlessWhole()
	}
	return w.f.append(p)
}

func (w *fillWriter) WriteString(s string) (int, error) {
	if w.mode == modeDirect {
		return w.direct.WriteString(s)
	}
	return w.Write([]byte(s))
}

// ReadFrom leaves the status open if src fails before its first byte. What goes
// straight to the client may do so by sendfile.
func (w *fillWriter) ReadFrom(src io.Reader) (n int64, err error) {
	plain := struct{ io.Writer }{w}
	if w.mode == modeUnknown {
		if n, err = io.Copy(plain, io.LimitReader(src, sniffLength)); err != nil || n < sniffLength {
			return n, err
		}
	}
	var more int64
	if w.mode == modeDirect {
		more, err = w.direct.ReadFrom(src)
	} else {
		more, err = io.Copy(plain, src)
	}
	return n + more, err
}

// CloseNotify is deprecated in net/http, but gin's Context.Stream takes it for
// granted. It fires when the fetch is given up.
func (w *fillWriter) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.f.ctx, func() { gone <- true })
	return gone
}

func (w *fillWriter) FlushError() error {
	if w.mode == modeUnknown {
		w.WriteHeader(http.StatusOK)
	}
	switch w.mode {
	case modeDirect:
		return w.direct.FlushError()
	case modeFill:
		if w.pending {
			w.open()
		}
		w.unlessWhole()
		if buf := w.buf; len(buf) > 0 {
			w.buf = nil
			return w.f.append(buf)
		}
	default:
	}
	return context.Cause(w.f.ctx)
}

func (w *fillWriter) Flush() { _ = w.FlushError() }

// Hijack hands the client's connection over, if there is a client and nothing
// was said yet.
func (w *fillWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.outer == nil || w.mode != modeUnknown && w.mode != modeDirect {
		return nil, nil, http.ErrNotSupported
	}
	conn, rw, err := http.NewResponseController(w.outer).Hijack()
	if err == nil {
		w.mode = modeHijacked
	}
	return conn, rw, err
}

// finish is called when next has returned: what is pending is all there is.
func (w *fillWriter) finish() {
	if w.mode == modeUnknown && w.f.ctx.Err() == nil { // else it gave up
		w.WriteHeader(http.StatusOK)
	}
	if w.mode != modeFill || !w.pending {
		return
	}
	if w.length < 0 && bodyAllowed(w.status) && len(w.header["Trailer"]) == 0 {
		w.length = int64(len(w.buf))
		w.header["Content-Length"] = []string{strconv.Itoa(len(w.buf))}
	}
	w.open()
	if buf := w.buf; len(buf) > 0 {
		w.buf = nil
		_ = w.f.append(buf) // its error is that of the fill's context, which is looked at anyway
	}
}

// trailer is what next left in the header map after the body: fields that it
// announced, and those with http.TrailerPrefix.
func (w *fillWriter) trailer() http.Header {
	var t http.Header
	set := func(name string, values []string) {
		if t == nil {
			t = make(http.Header)
		}
		t[name] = append([]string(nil), values...)
	}
	for _, name := range announced(w.header) {
		if values, ok := w.h[name]; ok {
			set(name, values)
		}
	}
	for name, values := range w.h {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			set(http.CanonicalHeaderKey(name), values)
		}
	}
	return t
}

// announced are the names in the Trailer field.
func announced(h http.Header) []string {
	var names []string
	for _, line := range h["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	return names
}

// contentLength returns the announced length, -1 if there is none. One that is
// no number is removed, as net/http does.
func contentLength(h http.Header) int64 {
	lines := h["Content-Length"]
	if len(lines) == 0 {
		return -1
	}
	n, err := strconv.ParseInt(lines[0], 10, 64)
	if err != nil || n < 0 {
		delete(h, "Content-Length")
		return -1
	}
	return n
}

// sendInfo passes a 1xx on. What it adds to the client's header map is taken
// out again.
func sendInfo(w http.ResponseWriter, i info) {
	out := w.Header()
	before := maps.Clone(out)
	merge(out, i.header)
	w.WriteHeader(i.status)
	clear(out)
	maps.Copy(out, before)
}

// merge adds h to out: lists are appended to, everything else is replaced.
func merge(out, h http.Header) {
	for name, values := range h {
		set(out, name, values)
	}
}

// set assigns a field, clipped, so that an append outside copies.
func set(out http.Header, name string, values []string) {
	values = slices.Clip(values)
	if isList(name) {
		if old := out[name]; len(old) > 0 {
			values = append(slices.Clip(old), values...)
		}
	}
	out[name] = values
}

// isList tells fields to which each layer adds its own.
func isList(name string) bool {
	switch name {
	case "Vary", "Set-Cookie", "Link", "Via", "Cache-Status", "Proxy-Status", "Server-Timing", "Warning":
		return true
	}
	return false
}
