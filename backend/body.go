package backend

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// opening is a response with the first bytes of its body, or none yet.
type opening struct {
	res *http.Response
	buf *[]byte // pooled
	n   int     // bytes of the body in buf
	err error   // what came with them: io.EOF at its end
}

var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, transferSize)
	return &b
}}

// headerHold is how long the header section of a response is held back for the
// first bytes of its body. A body that breaks before them can then still be
// answered with an error, or another attempt made.
const headerHold = 50 * time.Millisecond

// open reads the first bytes of the body. Where they take longer than
// headerHold, the header section is sent without them; an event stream's is
// sent at once. Of the failures that it returns nothing was sent.
func (c *call) open(a *attempt, res *http.Response, e *failure.Error) (*opening, *failure.Error) {
	o := &opening{res: res, buf: copyBuffers.Get().(*[]byte)}
	a.stream = eventStream(res.Header)
	switch {
	case a.stream:
		c.commit(a, res, e)
		c.flush()
	case a.inner == nil && res.Body != http.NoBody && res.ContentLength != 0 && a.dry():
		c.openSlowly(a, o, e)
	default:
		o.n, o.err = a.read(*o.buf)
	}
	if o.err != nil && !ended(o.err) && c.status == 0 {
		fe := a.explain(o.err)
		copyBuffers.Put(o.buf)
		return nil, c.complete(a, fe)
	}
	return o, nil
}

// openSlowly waits for the first bytes on another goroutine, so that this one
// can send the header section meanwhile.
func (c *call) openSlowly(a *attempt, o *opening, e *failure.Error) {
	read := make(chan struct{})
	go func() {
		defer close(read)
		o.n, o.err = a.read(*o.buf)
	}()
	timer := time.NewTimer(c.b.hold)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
		sent := false
		defer func() {
			if !sent { // the client's writer panicked
				a.cancel(errWriterPanicked)
			}
			<-read
		}()
		c.commit(a, o.res, e)
		c.flush()
		sent = true
	}
}

// ended tells whether a body has come to its end. An error that merely wraps
// io.EOF, a handler's panic say, is no end.
func ended(err error) bool {
	return err == io.EOF //nolint:errorlint // see above
}

func eventStream(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}

// commit sends status and header section to the client, once. e is the failure
// that the origin's answer itself is: it is reported before those further out
// see the status.
func (c *call) commit(a *attempt, res *http.Response, e *failure.Error) {
	if c.status != 0 {
		return
	}
	c.report(e)
	h := c.w.Header()
	if a.inner != nil {
		maps.Copy(h, res.Header)
	} else {
		endToEnd(h, res.Header)
	}
	if !bodyAllowed(res.StatusCode) && res.StatusCode != http.StatusNotModified {
		delete(h, "Content-Length")
	}
	if names := trailerNames(res.Trailer); names != "" {
		h["Trailer"] = []string{names}
		if c.r.Method != http.MethodHead {
			delete(h, "Content-Length") // with one HTTP/1.1 has no room for trailers
		}
	}
	if e != nil {
		failure.ProxyStatus{}.Set(h, e)
	} else if c.state.bonds != nil {
		c.bind(h, a.ep, res.StatusCode)
	}
	if !c.upload.finished() && (a.inner == nil || a.inner.duplex.Load()) {
		// The answer came before the upload was whole. It is sent at once, and
		// what is left of the upload must not be taken for the next request.
		c.early = true
		_ = c.rc.EnableFullDuplex() // where that is unknown it is not needed
		if c.r.ProtoMajor == 1 {
			h["Connection"] = closing
		}
	}
	c.clientEnd.arm()
	c.status = res.StatusCode
	c.w.WriteHeader(res.StatusCode)
}

// report tells the slot how the request ended, if anything failed on its way.
func (c *call) report(e *failure.Error) {
	if e != nil {
		failure.Report(c.r.Context(), e)
	} else if c.attempts > 1 {
		failure.Mend(c.r.Context(), failure.Retried)
	}
}

var closing = []string{"close"}

// uploadLinger is how long net/http may look for the rest of an upload that was
// cut off, so that the answer is not lost to a connection reset.
const uploadLinger = 500 * time.Millisecond

// stopUpload ends the reading of the request's body for good. A Read that waits
// for the client is interrupted; net/http then closes the connection after the
// answer.
func (c *call) stopUpload() {
	if c.upload == nil {
		return
	}
	c.upload.close(func() error { return c.rc.SetReadDeadline(longAgo) })
	if (c.early || c.upload.begun()) && !c.upload.finished() {
		_ = c.rc.SetReadDeadline(time.Now().Add(uploadLinger)) // where that is unknown nothing lingers
	}
}

func (c *call) flush() { _ = c.rc.Flush() } // an error comes back with the next Write

// deliver passes the response on, whole or not: if it breaks after its header
// section was sent, the failure is returned and the connection is to be
// aborted.
func (c *call) deliver(a *attempt, o *opening, e *failure.Error) *failure.Error {
	defer func() { copyBuffers.Put(o.buf) }()
	c.commit(a, o.res, e)
	n, err := o.n, o.err
	for {
		// The last of the announced bytes would make a broken body look whole.
		if n > 0 && (err == nil || ended(err) || c.total+int64(n) != o.res.ContentLength) {
			if fe := c.pass((*o.buf)[:n]); fe != nil {
				return fe
			}
		}
		if err != nil {
			break
		}
		if a.dry() {
			c.clientEnd.arm()
			c.flush()
		}
		n, err = a.read(*o.buf)
	}
	if !ended(err) {
		return a.explain(err)
	}
	if a.inner != nil && short(c, o.res) {
		return &failure.Error{Cause: failure.Truncated, Err: io.ErrUnexpectedEOF}
	}
	a.at.done = time.Now()
	c.trailers(o.res)
	return nil
}

// short tells whether a handler wrote less than it announced.
func short(c *call, res *http.Response) bool {
	return res.ContentLength >= 0 && c.total < res.ContentLength && c.r.Method != http.MethodHead && bodyAllowed(res.StatusCode)
}

// pass writes to the client. Its failure means that the client left, or takes
// nothing.
func (c *call) pass(p []byte) *failure.Error {
	if !bodyAllowed(c.status) {
		return nil
	}
	c.clientEnd.arm()
	n, err := c.w.Write(p)
	c.total += int64(n)
	if err == nil {
		return nil
	}
	e := failure.New(failure.ClientGone, err)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		e.Detail = "took nothing within " + c.limits.ClientWrite.String()
	}
	return e
}

// trailers passes on what followed the body: announced fields as such, the
// others with net/http's prefix.
func (c *call) trailers(res *http.Response) {
	if len(res.Trailer) == 0 {
		return
	}
	h := c.w.Header()
	said := h["Trailer"]
	for name, values := range res.Trailer {
		if len(values) == 0 || !trailerField(name) {
			continue
		}
		if !hasToken(said, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
}

// clientDeadline limits every wait for the client to take more.
type clientDeadline struct {
	to    deadliner     // nil: none
	limit time.Duration // 0: none
	armed time.Time     // when the deadline was last moved
	inner *inProcess    // a handler may have set one of its own; nil: none
}

// init leaves the deadline alone where the server has one of its own.
func (d *clientDeadline) init(w http.ResponseWriter, r *http.Request, limit time.Duration) {
	if d.to = deadlinerOf(w); d.to != nil {
		d.limit = limit
	}
	if srv, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && srv.WriteTimeout > 0 {
		d.limit = 0
	}
}

// deadlinerOf is what an http.ResponseController would ask; nil: there is none.
// It saves the making of an error for every request of a client that has no
// deadlines.
func deadlinerOf(w http.ResponseWriter) deadliner {
	for {
		switch t := w.(type) {
		case deadliner:
			return t
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return nil
		}
	}
}

type deadliner interface{ SetWriteDeadline(t time.Time) error }

// arm moves the deadline. It is moved again only after an eighth of it passed,
// so that many small writes cost little.
func (d *clientDeadline) arm() {
	if d.limit <= 0 || d.foreign() {
		return
	}
	now := time.Now()
	if !d.armed.IsZero() && now.Sub(d.armed) < d.limit/8 {
		return
	}
	d.armed = now
	if err := d.to.SetWriteDeadline(now.Add(d.limit)); err != nil {
		d.limit = 0 // not supported here
	}
}

func (d *clientDeadline) foreign() bool { return d.inner != nil && d.inner.ownDeadline.Load() }

// disarm takes the deadline back.
func (d *clientDeadline) disarm() {
	if !d.armed.IsZero() && d.limit > 0 && !d.foreign() {
		_ = d.to.SetWriteDeadline(time.Time{}) // it was accepted before
	}
}
