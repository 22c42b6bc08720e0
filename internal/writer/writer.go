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
	// false, nothing of the response passes: the handler writes into the void,
	// and the owner answers by itself afterwards. Begin is not called for 1xx
	// nor for a hijacked connection.
	Begin(status int) bool
}

// Base forwards a response to an outer writer and keeps its status and size.
// Informational (1xx) responses pass unrecorded; the first final status wins.
//
// It implements http.Flusher, http.Hijacker, io.ReaderFrom and io.StringWriter
// by forwarding, whatever the outer writer can do: FlushError and Hijack answer
// http.ErrNotSupported where it can't. Everything else is reached by Unwrap
// (http.ResponseController). Like any http.ResponseWriter it is used by one
// goroutine at a time.
type Base struct {
	outer     http.ResponseWriter
	owner     Owner
	status    int
	bytes     int64
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

// Bytes counts the body bytes that went outward.
func (b *Base) Bytes() int64 { return b.bytes }

// Begun tells whether a final header, or a hijacked connection, passed outward.
func (b *Base) Begun() bool { return b.hijacked || b.status != 0 && !b.swallowed }

// Swallowed tells whether the owner withheld the handler's response.
func (b *Base) Swallowed() bool { return b.swallowed }

// Hijacked tells whether the handler took the connection over.
func (b *Base) Hijacked() bool { return b.hijacked }

// Unwrap returns the outer writer, for http.ResponseController.
func (b *Base) Unwrap() http.ResponseWriter { return b.outer }

// Header returns the header map of the outer writer.
func (b *Base) Header() http.Header { return b.outer.Header() }

// WriteHeader passes a 1xx on, and of the final statuses the first.
func (b *Base) WriteHeader(status int) {
	if b.hijacked {
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
		return len(p), nil
	}
	n, err := b.outer.Write(p)
	b.bytes += int64(n)
	return n, err
}

// WriteString passes s on without a copy where the outer writer can.
func (b *Base) WriteString(s string) (int, error) {
	b.begin()
	if b.swallowed {
		return len(s), nil
	}
	n, err := io.WriteString(b.outer, s)
	b.bytes += int64(n)
	return n, err
}

// ReadFrom lets the outer writer read from src by itself (sendfile) where it
// can.
func (b *Base) ReadFrom(src io.Reader) (int64, error) {
	b.begin()
	if b.swallowed {
		return io.Copy(io.Discard, src)
	}
	n, err := io.Copy(b.outer, src)
	b.bytes += n
	return n, err
}

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

// Swap replaces a withheld response: status and headers pass outward as they
// are now, and what is written from then on is sent.
func (b *Base) Swap(status int) {
	b.status, b.swallowed = status, false
	b.outer.WriteHeader(status)
}
