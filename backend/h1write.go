package backend

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// request is what is sent to an endpoint.
type request struct {
	http     *http.Request      // its URL is the endpoint's, its header without the fields of one hop
	target   string             // origin-form, or "*"
	body     *uploadReader      // nil: none
	length   int64              // of the body; -1: unknown
	upgrade  string             // the protocol that is asked for; "" is none
	trailer  string             // names of the trailer fields that follow the body
	trailers func() http.Header // these fields; to be called after the end of the body
	te       bool               // the client takes trailers
	expect   bool               // the client waits for 100 (Continue)
	fresh    bool               // a connection that was not used before is demanded
	last     bool               // the connection is not used again

	// For an in-process endpoint:
	origin *http.Request       // as it came
	client http.ResponseWriter // for deadlines
}

// writeHead writes request line and header section (RFC 9112 sections 3 and
// 5). The framing is decided here alone: no field of the client's about it
// passes.
func (q *request) writeHead(w *bufio.Writer) error {
	// A bufio.Writer keeps its first error: it is seen at the Flush.
	_, _ = w.WriteString(q.http.Method)
	_ = w.WriteByte(' ')
	_, _ = w.WriteString(q.target)
	_, _ = w.WriteString(" HTTP/1.1\r\nHost: ")
	_, _ = w.WriteString(q.http.Host)
	_, _ = w.WriteString("\r\n")
	for name, values := range q.http.Header {
		if !token(name) {
			continue
		}
		for _, v := range values {
			writeField(w, name, v)
		}
	}
	switch {
	case q.upgrade != "":
		writeField(w, "Connection", "Upgrade")
		writeField(w, "Upgrade", q.upgrade)
	case q.last && q.te:
		writeField(w, "Connection", "close, TE")
	case q.last:
		writeField(w, "Connection", "close")
	case q.te:
		writeField(w, "Connection", "TE")
	}
	if q.te {
		writeField(w, "Te", "trailers")
	}
	switch {
	case q.body == nil && q.length == 0 && wantsLength(q.http.Method):
		writeField(w, "Content-Length", "0")
	case q.body == nil:
	case q.length >= 0:
		writeField(w, "Content-Length", strconv.FormatInt(q.length, 10))
	default:
		writeField(w, "Transfer-Encoding", "chunked")
		if q.trailer != "" {
			writeField(w, "Trailer", q.trailer)
		}
	}
	if q.expect && q.body != nil {
		writeField(w, "Expect", "100-continue")
	}
	_, err := w.WriteString("\r\n")
	return err
}

// wantsLength tells whether the method expects a body, so that its absence is
// said (RFC 9110 section 8.6).
func wantsLength(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

func writeField(w *bufio.Writer, name, value string) {
	_, _ = w.WriteString(name)
	_, _ = w.WriteString(": ")
	if strings.ContainsAny(value, "\r\n\x00") {
		value = breaks.Replace(value)
	}
	_, _ = w.WriteString(value)
	_, _ = w.WriteString("\r\n")
}

// breaks takes what would end a field early out of its value.
var breaks = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

// token tells whether s is a token (RFC 9110 section 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}

// continueWait is how long the body is held back for a 100 (Continue) that the
// client asked for (RFC 9110 section 10.1.1: not indefinitely).
const continueWait = time.Second

// bodyWriter sends the body of one request. Its run ends when the body was
// sent, the connection failed or the attempt was given up.
type bodyWriter struct {
	a    *attempt
	out  *request
	conn net.Conn

	go100 chan bool     // whether to send a body that waits for it
	done  chan struct{} // closed when run has ended
	ok    atomic.Bool   // the body was sent whole

	mu      sync.Mutex // guards what follows; not held during writes
	changed sync.Cond
	writing bool
	err     error // of the connection
}

func newBodyWriter(a *attempt, out *request, conn net.Conn) *bodyWriter {
	w := &bodyWriter{a: a, out: out, conn: conn, go100: make(chan bool, 1), done: make(chan struct{})}
	w.changed.L = &w.mu
	return w
}

// proceed tells a body that waits for a 100 (Continue) whether it is wanted.
func (w *bodyWriter) proceed(send bool) {
	select {
	case w.go100 <- send:
	default:
	}
}

// sent tells whether the body was sent whole. An answer may be faster than the
// last lines of run: where the body was read whole they are waited for, and for
// a moment a peer that has yet to take the last of it.
func (w *bodyWriter) sent() bool {
	const moment = 50 * time.Millisecond
	if !w.ok.Load() && w.out.body.u.finished() {
		timer := time.NewTimer(moment)
		defer timer.Stop()
		select {
		case <-w.done:
		case <-timer.C:
		}
	}
	return w.ok.Load()
}

// settle is for an exchange that failed: the reader's news may be faster than
// the writer's, which has the last bytes of the body under way, or was told of a
// reset of which the reader sees merely an end. It ends a Write that still
// waits and returns the error of the connection, if there was one. It does not
// wait for the client.
func (w *bodyWriter) settle() error {
	w.proceed(false)
	_ = w.conn.SetWriteDeadline(longAgo)
	if w.out.body.u.finished() {
		<-w.done // nothing is left that it could wait for
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.writing {
		w.changed.Wait()
	}
	return w.err
}

// chunkRoom is what a chunk's size line takes in front of its data at most.
const chunkRoom = 10

// transferSize is how much of a body is moved at once.
const transferSize = 32 << 10

var uploadBuffers = sync.Pool{New: func() any {
	b := make([]byte, chunkRoom+transferSize+2)
	return &b
}}

func (w *bodyWriter) run() {
	defer close(w.done)
	w.a.watch.pause()
	w.a.watch.shift(phaseUpload)
	if w.out.expect && !w.awaitContinue() {
		w.a.watch.resume()
		return
	}
	buf := uploadBuffers.Get().(*[]byte)
	err := w.copy(*buf)
	uploadBuffers.Put(buf)
	w.a.watch.resume()
	var broken *uploadError
	switch {
	case err == nil:
		w.ok.Store(true)
		w.a.requestWritten()
	case errors.Is(err, errAbandoned):
	case errors.As(err, &broken):
		w.a.uploadFailed(broken.err)
	default:
		// Perhaps an answer explains it: whoever reads the response decides.
		w.a.watch.shift(phaseFirstByte)
	}
}

func (w *bodyWriter) awaitContinue() bool {
	timer := time.NewTimer(continueWait)
	defer timer.Stop()
	select {
	case send := <-w.go100:
		return send
	case <-timer.C:
		return true
	case <-w.a.ctx.Done():
		return false
	}
}

// uploadError is an error of the client's body, as opposed to one of the
// connection.
type uploadError struct{ err error }

func (e *uploadError) Error() string { return e.err.Error() }
func (e *uploadError) Unwrap() error { return e.err }

func (w *bodyWriter) copy(buf []byte) error {
	if w.out.length >= 0 {
		return w.copyLength(buf, w.out.length)
	}
	return w.copyChunked(buf)
}

func (w *bodyWriter) copyLength(buf []byte, left int64) error {
	for left > 0 {
		n, err := w.out.body.Read(buf[:min(int64(len(buf)), left)])
		if n > 0 {
			left -= int64(n)
			if werr := w.write(buf[:n]); werr != nil {
				return werr
			}
		}
		switch {
		case left == 0 || err == nil:
		case ended(err):
			return &uploadError{io.ErrUnexpectedEOF}
		default:
			return clientError(err)
		}
	}
	return nil
}

func (w *bodyWriter) copyChunked(buf []byte) error {
	data := buf[chunkRoom : len(buf)-2]
	for {
		n, err := w.out.body.Read(data)
		if n > 0 {
			size := strconv.AppendInt(make([]byte, 0, chunkRoom), int64(n), 16)
			size = append(size, '\r', '\n')
			start := chunkRoom - len(size)
			copy(buf[start:], size)
			end := chunkRoom + n
			buf[end], buf[end+1] = '\r', '\n'
			if werr := w.write(buf[start : end+2]); werr != nil {
				return werr
			}
		}
		switch {
		case err == nil:
			continue
		case !ended(err):
			return clientError(err)
		}
		return w.write(w.lastChunk())
	}
}

// lastChunk ends a chunked body with the trailer section (RFC 9112 section
// 7.1).
func (w *bodyWriter) lastChunk() []byte {
	var b bytes.Buffer
	b.WriteString("0\r\n")
	bw := bufio.NewWriter(&b)
	for name, values := range w.out.trailers() {
		for _, v := range values {
			writeField(bw, name, v)
		}
	}
	_ = bw.Flush() // into memory
	b.WriteString("\r\n")
	return b.Bytes()
}

func clientError(err error) error {
	if errors.Is(err, errAbandoned) {
		return err
	}
	return &uploadError{err}
}

// write is one wait for the backend to take more.
func (w *bodyWriter) write(p []byte) error {
	w.a.watch.shift(phaseWrite)
	w.mu.Lock()
	w.writing = true
	w.mu.Unlock()
	_, err := w.conn.Write(p)
	w.mu.Lock()
	w.writing, w.err = false, err
	w.changed.Broadcast()
	w.mu.Unlock()
	w.a.watch.shift(phaseUpload)
	return err
}
