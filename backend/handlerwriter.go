package backend

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// handlerWriter is what an in-process endpoint writes to. Like any
// http.ResponseWriter it is used by one goroutine at a time, the handler's; it
// gathers small writes as net/http does. It has no Unwrap: the client's writer
// belongs to another goroutine. A connection can be taken over only by an
// upgrade, which gets the client's writer itself.
type handlerWriter struct {
	x       *inProcess
	header  http.Header
	status  int
	length  int64 // announced; -1: none
	written int64
	buf     *[]byte // pooled; nil until it is needed
	n       int     // bytes in buf
}

// gather is how much small writes are put together.
const gather = 4 << 10

var gatherBuffers = sync.Pool{New: func() any {
	b := make([]byte, gather)
	return &b
}}

func (w *handlerWriter) Header() http.Header { return w.header }

// WriteHeader hands a copy of the headers over. 1xx pass; of the final statuses
// the first counts.
func (w *handlerWriter) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status)) // as net/http does
	}
	if w.status != 0 {
		return
	}
	p := piece{status: status, header: cloneHeader(w.header)}
	if status < 200 && status != http.StatusSwitchingProtocols {
		_ = w.x.hand(p) // a handler that was given up finds out at its next Write
		return
	}
	w.status = status
	if n, ok := parseLength(w.header); ok {
		w.length = n
	}
	_ = w.x.hand(p)
}

func (w *handlerWriter) Write(p []byte) (int, error) { return write(w, p) }

// WriteString is Write without a copy.
func (w *handlerWriter) WriteString(s string) (int, error) { return write(w, s) }

func write[T string | []byte](w *handlerWriter, p T) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(len(p)) > w.length && w.x.req.Method != http.MethodHead {
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	total := len(p)
	if w.buf == nil && total > 0 {
		w.buf = gatherBuffers.Get().(*[]byte)
	}
	for len(p) > 0 {
		n := copy((*w.buf)[w.n:], p)
		w.n += n
		p = p[n:]
		if w.n == gather {
			if err := w.send(false); err != nil {
				return total - len(p), err
			}
			if big, ok := any(p).([]byte); ok && len(big) >= gather {
				// The rest needs no copy of ours.
				return total, w.x.hand(piece{data: big})
			}
		}
	}
	return total, nil
}

// ReadFrom reads src with a pooled buffer.
func (w *handlerWriter) ReadFrom(src io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, *buf)
}

// send hands over what was gathered.
func (w *handlerWriter) send(flush bool) error {
	if w.n == 0 && !flush {
		return nil
	}
	var data []byte
	if w.buf != nil {
		data = (*w.buf)[:w.n]
	}
	w.n = 0
	return w.x.hand(piece{data: data, flush: flush})
}

// FlushError sends what was written so far.
func (w *handlerWriter) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.send(true)
}

// Flush is FlushError for those who can't use an error.
func (w *handlerWriter) Flush() { _ = w.FlushError() }

// end completes the response of a handler that returned.
func (w *handlerWriter) end() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	_ = w.send(false) // if nobody reads it, nobody misses it
}

func (w *handlerWriter) release() {
	if w.buf != nil {
		gatherBuffers.Put(w.buf)
		w.buf = nil
	}
}

// CloseNotify is deprecated in net/http, but gin's Context.Stream takes it for
// granted. It fires when nobody takes what the handler writes any more.
func (w *handlerWriter) CloseNotify() <-chan bool {
	c := make(chan bool, 1)
	go func() {
		<-w.x.gone // closed at the end of every exchange
		c <- true
	}()
	return c
}

// SetReadDeadline is for http.ResponseController.
func (w *handlerWriter) SetReadDeadline(t time.Time) error {
	return w.x.control(func(rc *http.ResponseController) error { return rc.SetReadDeadline(t) })
}

// SetWriteDeadline is for http.ResponseController. The backend's own limit for
// the client's writes steps back.
func (w *handlerWriter) SetWriteDeadline(t time.Time) error {
	w.x.ownDeadline.Store(true)
	return w.x.control(func(rc *http.ResponseController) error { return rc.SetWriteDeadline(t) })
}

// EnableFullDuplex is for http.ResponseController.
func (w *handlerWriter) EnableFullDuplex() error {
	w.x.duplex.Store(true)
	return w.x.control(func(rc *http.ResponseController) error { return rc.EnableFullDuplex() })
}

func cloneHeader(h http.Header) http.Header {
	c := make(http.Header, len(h))
	for name, values := range maps.All(h) {
		c[name] = slices.Clone(values)
	}
	return c
}

// bodyAllowed tells whether a response of the status may have a body (RFC 9110
// section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// parseLength is the announced length.
func parseLength(h http.Header) (int64, bool) {
	v := h["Content-Length"]
	if len(v) == 0 {
		return 0, false
	}
	n, err := strconv.ParseUint(v[0], 10, 63)
	return int64(n), err == nil
}
