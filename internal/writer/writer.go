// Package writer is the base of every http.ResponseWriter that Holdfast wraps
// around another one.
package writer

import (
	"bufio"
	"io"
	"net"
	"net/http"
)

// Owner decides, once per response, what becomes of it.
type Owner interface {
	// Begin is called on the handler's goroutine with the first final status,
	// before it passes outward, and may change the header map. If it returns
	// false, nothing of the response passes: the handler goes on writing into the
	// void, header map included, and the owner answers by itself on the outer
	// writer (Base.Unwrap), in Begin or later. Begin is not called for 1xx other
	// than 101, for a hijacked connection, for a status that can't be sent, nor
	// where the handler returns without having chosen a status.
	Begin(status int) bool
}

// Discarder is an Owner that has a say in how long a handler writes into the
// void.
type Discarder interface {
	Owner
	// Discard is called with the size of each piece of a body that was withheld.
	// An error is what the handler gets: it may stop.
	Discard(n int) error
}

// Base forwards a response to an outer writer and keeps its status and size.
// Informational (1xx) responses pass unrecorded; the first final status wins.
//
// It implements http.Flusher, http.Hijacker, http.CloseNotifier, io.ReaderFrom
// and io.StringWriter by forwarding, whatever the outer writer can do:
// FlushError and Hijack answer http.ErrNotSupported where it can't. Everything
// else is reached by Unwrap (http.ResponseController). Like any
// http.ResponseWriter it is used by one goroutine at a time.
type Base struct {
	outer     http.ResponseWriter
	owner     Owner
	status    int
	bytes     int64
	void      http.Header // what the handler changes after its response was withheld
	swallowed bool
	hijacked  bool
}

// Init sets b up in front of outer; owner may be nil. A Base may be reused by
// another Init.
func (b *Base) Init(outer http.ResponseWriter, owner Owner) {
	*b = Base{outer: outer, owner: owner}
}

// Status is the final status that the handler chose: 0 if it chose none yet, 101
// after a hijack.
func (b *Base) Status() int { return b.status }

// Bytes counts the body bytes that the outer writer took. For HEAD net/http
// takes a body that it doesn't send.
func (b *Base) Bytes() int64 { return b.bytes }

// Begun tells whether a final header, or a hijacked connection, passed outward.
func (b *Base) Begun() bool { return b.hijacked || b.status != 0 && !b.swallowed }

// Swallowed tells whether the owner withheld the handler's response.
func (b *Base) Swallowed() bool { return b.swallowed }

// Hijacked tells whether the handler took the connection over.
func (b *Base) Hijacked() bool { return b.hijacked }

// Unwrap returns the outer writer, for http.ResponseController.
func (b *Base) Unwrap() http.ResponseWriter { return b.outer }

// Header returns the header map of the outer writer. After a response was
// withheld it is a copy: trailers of that response must not join the owner's.
func (b *Base) Header() http.Header {
	if !b.swallowed {
		return b.outer.Header()
	}
	if b.void == nil {
		b.void = b.outer.Header().Clone()
	}
	return b.void
}

// WriteHeader passes a 1xx on, and of the final statuses the first. A status
// that can't be sent makes net/http panic; it counts as none.
func (b *Base) WriteHeader(status int) {
	if b.hijacked {
		return
	}
	if status < 100 || status > 999 {
		if b.status == 0 {
			b.outer.WriteHeader(status)
		}
		return
	}
	if status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols {
		if b.status == 0 {
			b.outer.WriteHeader(status)
		}
		return
	}
	if b.status != 0 {
		return
	}
	b.status = status
	if b.owner != nil && !b.owner.Begin(status) {
		b.swallowed = true
		return
	}
	b.outer.WriteHeader(status)
}

// begin makes a body without a status a 200, as net/http does.
func (b *Base) begin() {
	if b.status == 0 {
		b.WriteHeader(http.StatusOK)
	}
}

// Write passes p on.
func (b *Base) Write(p []byte) (int, error) {
	b.begin()
	if b.swallowed {
		return b.discard(len(p))
	}
	n, err := b.outer.Write(p)
	b.bytes += int64(n)
	return n, err
}

// discard takes n bytes into the void.
func (b *Base) discard(n int) (int, error) {
	if d, ok := b.owner.(Discarder); ok {
		if err := d.Discard(n); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// WriteString passes s on without a copy where the outer writer can.
func (b *Base) WriteString(s string) (int, error) {
	b.begin()
	if b.swallowed {
		return b.discard(len(s))
	}
	n, err := io.WriteString(b.outer, s)
	b.bytes += int64(n)
	return n, err
}

// sniff is how much of a source is copied by hand before the outer writer takes
// over: as much as net/http needs to find out the content type.
const sniff = 512

// ReadFrom lets the outer writer read from src by itself (sendfile) where it
// can. A source that fails before its first byte leaves the status open, so that
// the handler can still answer with an error.
func (b *Base) ReadFrom(src io.Reader) (int64, error) {
	var copied int64
	if b.status == 0 {
		n, err := io.Copy(justWriter{b}, io.LimitReader(src, sniff))
		if copied = n; err != nil || n < sniff {
			return copied, err
		}
	}
	if b.swallowed {
		n, err := io.Copy(justWriter{b}, src)
		return copied + n, err
	}
	n, err := io.Copy(b.outer, src)
	b.bytes += n
	return copied + n, err
}

// justWriter hides all methods of Base but Write.
type justWriter struct{ b *Base }

// Write implements io.Writer.
func (w justWriter) Write(p []byte) (int, error) { return w.b.Write(p) }

// FlushError sends what was written so far; without a status that is a 200.
func (b *Base) FlushError() error {
	b.begin()
	if b.swallowed {
		return nil
	}
	return http.NewResponseController(b.outer).Flush()
}

// Flush is FlushError for those who can't use an error.
func (b *Base) Flush() { _ = b.FlushError() }

// Hijack hands the connection over and counts as a 101.
func (b *Base) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if b.swallowed {
		return nil, nil, http.ErrNotSupported
	}
	conn, rw, err := http.NewResponseController(b.outer).Hijack()
	if err == nil {
		b.hijacked = true
		if b.status == 0 {
			b.status = http.StatusSwitchingProtocols
		}
	}
	return conn, rw, err
}

// CloseNotify is deprecated in net/http, but handlers of old and gin's
// Context.Stream take it for granted. Where no outer writer has it, the channel
// never fires.
func (b *Base) CloseNotify() <-chan bool {
	for w := b.outer; ; {
		if n, ok := w.(interface{ CloseNotify() <-chan bool }); ok {
			return n.CloseNotify()
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return make(chan bool)
		}
		w = u.Unwrap()
	}
}
