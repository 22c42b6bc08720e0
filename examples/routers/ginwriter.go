package main

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// outward is gin's writer as net/http would have it: a status is sent when it is
// chosen, and 1xx responses pass gin by, which would take them for the final one.
type outward struct {
	gin.ResponseWriter
	protoMajor int
}

// Unwrap is for http.ResponseController.
func (o *outward) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (o *outward) WriteHeader(status int) {
	if informational(status) {
		beneath(o.ResponseWriter).WriteHeader(status)
		return
	}
	o.ResponseWriter.WriteHeader(status)
	o.WriteHeaderNow()
}

// FlushError is Flush with an error where gin's writer can be looked beneath.
func (o *outward) FlushError() error {
	o.WriteHeaderNow()
	if u, ok := o.ResponseWriter.(unwrapper); ok {
		return http.NewResponseController(u.Unwrap()).Flush()
	}
	o.Flush()
	return nil
}

// Hijack asks gin only where it can succeed: gin counts the attempt as an
// answer, and panics where the server has no http.Hijacker.
func (o *outward) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if o.protoMajor != 1 {
		return nil, nil, http.ErrNotSupported
	}
	return o.ResponseWriter.Hijack()
}

// inward is gin's view of the writer that a middleware passed on. As gin has it,
// the status is sent with the first byte; 1xx and 101 are sent at once.
type inward struct {
	http.ResponseWriter
	status, size int
}

const notWritten = -1

var _ gin.ResponseWriter = (*inward)(nil)

// Unwrap is for http.ResponseController.
func (i *inward) Unwrap() http.ResponseWriter { return i.ResponseWriter }

// Status is the status that was chosen last.
func (i *inward) Status() int { return i.status }

// Size is the number of body bytes written; negative if no header was sent.
func (i *inward) Size() int { return i.size }

// Written tells whether the header was sent.
func (i *inward) Written() bool { return i.size != notWritten }

// WriteHeader chooses the status.
func (i *inward) WriteHeader(status int) {
	switch {
	case i.Written() || status <= 0:
	case informational(status):
		i.ResponseWriter.WriteHeader(status)
	default:
		i.status = status
		if status == http.StatusSwitchingProtocols {
			i.WriteHeaderNow()
		}
	}
}

// WriteHeaderNow sends the header.
func (i *inward) WriteHeaderNow() {
	if !i.Written() {
		i.size = 0
		i.ResponseWriter.WriteHeader(i.status)
	}
}

// Write implements io.Writer.
func (i *inward) Write(p []byte) (int, error) {
	i.WriteHeaderNow()
	n, err := i.ResponseWriter.Write(p)
	i.size += n
	return n, err
}

// WriteString implements io.StringWriter.
func (i *inward) WriteString(s string) (int, error) {
	i.WriteHeaderNow()
	n, err := io.WriteString(i.ResponseWriter, s)
	i.size += n
	return n, err
}

// ReadFrom copies by hand: an empty or broken source must leave the status open.
func (i *inward) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{i}, src)
}

// FlushError sends what was written so far.
func (i *inward) FlushError() error {
	i.WriteHeaderNow()
	return http.NewResponseController(i.ResponseWriter).Flush()
}

// Flush is FlushError for those who can't use an error.
func (i *inward) Flush() { _ = i.FlushError() }

// Hijack takes the connection over.
func (i *inward) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(i.ResponseWriter).Hijack()
	if err == nil && !i.Written() {
		i.size = 0
	}
	return conn, rw, err
}

// CloseNotify is what gin's Context.Stream asks for.
func (i *inward) CloseNotify() <-chan bool {
	if n, ok := i.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return n.CloseNotify()
	}
	return make(chan bool)
}

// Pusher is the http.Pusher, if there is one.
func (i *inward) Pusher() http.Pusher {
	p, _ := i.ResponseWriter.(http.Pusher)
	return p
}

// finish sends the header of an answer without a body. Where no route matched,
// gin adds its text after the middlewares have returned, which is too late here.
func (i *inward) finish(routed bool) {
	if !routed && !i.Written() && i.status >= http.StatusBadRequest {
		http.Error(i, http.StatusText(i.status), i.status)
	}
	i.WriteHeaderNow()
}

type unwrapper interface{ Unwrap() http.ResponseWriter }

// beneath returns the writer that gin's own are around, or one that ignores
// everything if another middleware hides it.
func beneath(w http.ResponseWriter) http.ResponseWriter {
	for {
		if _, ok := w.(gin.ResponseWriter); !ok {
			return w
		}
		u, ok := w.(unwrapper)
		if !ok {
			return nobody{}
		}
		w = u.Unwrap()
	}
}

type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

func informational(status int) bool {
	return status >= 100 && status <= 199 && status != http.StatusSwitchingProtocols
}
