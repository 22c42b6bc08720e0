package backend

import (
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// meteredBody is a request's body on its way to someone who reads it: it tells
// waiting for the client from waiting for the reader.
type meteredBody struct {
	a   *attempt
	src *uploadReader
	eof func() // nil: nothing to do
}

func (b *meteredBody) Read(p []byte) (int, error) {
	b.a.watch.pause()
	b.a.watch.shift(phaseUpload)
	n, err := b.src.Read(p)
	b.a.watch.resume()
	b.a.watch.shift(phaseWrite)
	switch {
	case err == nil || errors.Is(err, errAbandoned):
	case ended(err):
		if b.eof != nil {
			b.eof()
		}
	case b.a.inner == nil:
		b.a.uploadFailed(err)
	}
	return n, err
}

func (b *meteredBody) Close() error { return b.src.Close() }

// inProcess is the exchange with a handler: it runs on a goroutine of its own,
// and what it writes is handed over, piece by piece, to the goroutine of the
// request. Given up, it is left to itself: its context is cancelled, its writes
// fail, and it keeps its place among the endpoint's requests until it returns.
type inProcess struct {
	a      *attempt
	client http.ResponseWriter
	req    *http.Request
	parsed bool // its form came with the request: it is not ours to remove

	pieces chan piece    // from the handler; unbuffered
	gone   chan struct{} // closed when the exchange is given up
	done   chan struct{} // closed when the handler returned
	result *failure.Error
	after  http.Header // its header map at the end, for trailers
	cut    sync.Once

	mu        sync.Mutex // guards what follows
	abandoned bool

	ownDeadline atomic.Bool // the handler set a deadline for the client's writes
	duplex      atomic.Bool // it reads the request and writes the response at once

	// Of the reader:
	over    <-chan struct{} // the request's context ended; nil: it does not matter
	rest    []byte          // of the piece that is being read
	eaten   chan struct{}   // where its end is told
	flush   bool            // the handler wants what came so far to be sent
	trailer http.Header     // the response's
}

// piece is what the handler hands over at once.
type piece struct {
	status int // of a header section; 0: none
	header http.Header
	data   []byte // belongs to the handler until eaten is told
	flush  bool
	eaten  chan struct{} // nil: nobody waits
}

var errGivenUp = errors.New("backend: the request was given up")

func newInProcess(a *attempt, out *request) *inProcess {
	x := &inProcess{a: a, client: out.client, pieces: make(chan piece), gone: make(chan struct{}), done: make(chan struct{})}
	x.over, x.parsed = a.ctx.Done(), out.origin.MultipartForm != nil
	origin := *out.origin
	origin.Trailer = nil // an attempt that was given up may be writing it
	x.req = origin.Clone(a.ctx)
	x.req.Trailer = announced(out.trailer)
	x.req.Body = http.NoBody
	if out.body != nil {
		x.req.Body = &meteredBody{a: a, src: out.body, eof: func() {
			x.req.Trailer = joinTrailer(x.req.Trailer, out.trailers())
			a.requestWritten()
		}}
	}
	return x
}

// roundTrip starts the handler and waits for its headers.
func (x *inProcess) roundTrip(interim func(*http.Response)) (*http.Response, error) {
	a := x.a
	a.at.ready = a.at.start
	a.stage = phaseFirstByte
	a.watch.enter(phaseWrite)
	if x.req.Body == http.NoBody {
		a.requestWritten()
	}
	a.b.handlers.Add(1)
	go x.serve()
	for {
		select {
		case p := <-x.pieces:
			if p.status >= 200 || p.status == http.StatusSwitchingProtocols {
				a.at.firstByte = time.Now()
				a.headersEnded()
				return x.response(p), nil
			}
			interim(&http.Response{StatusCode: p.status, Header: p.header})
			a.awaitFirstByte()
		case <-x.done:
			if x.result == nil {
				x.result = &failure.Error{Cause: failure.ClosedBeforeHeaders, Detail: "the handler ended without an answer"}
			}
			return nil, x.result
		case <-x.over:
			if err := x.ended(); err != nil {
				return nil, err
			}
		case <-a.expired:
			return nil, a.ctx.Err()
		}
	}
}

// ended tells why the exchange ended with the request's context; nil if it goes
// on: a handler that was too slow to be sent the request may still answer.
func (x *inProcess) ended() error {
	if x.a.upload.late() {
		x.over = nil
		return nil
	}
	return x.a.ctx.Err()
}

func (x *inProcess) response(p piece) *http.Response {
	res := &http.Response{
		StatusCode: p.status, Header: p.header, Body: x, ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	for _, v := range p.header["Trailer"] {
		for name := range listSeq(v) {
			if res.Trailer == nil {
				res.Trailer = make(http.Header)
			}
			res.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
	delete(p.header, "Trailer")
	if res.Trailer == nil {
		res.Trailer = make(http.Header)
	}
	x.trailer = res.Trailer
	if n, ok := parseLength(p.header); ok {
		res.ContentLength = n
	}
	return res
}

// Read hands the handler's pieces to the goroutine of the request. It returns 0
// bytes and no error where the handler wants a flush.
func (x *inProcess) Read(p []byte) (int, error) {
	for len(x.rest) == 0 {
		select {
		case next := <-x.pieces:
			if next.status != 0 {
				continue // headers are sent once
			}
			x.rest, x.eaten = next.data, next.eaten
			if x.flush = next.flush; len(x.rest) == 0 {
				x.tell()
				return 0, nil
			}
		case <-x.done:
			if x.result != nil {
				return 0, x.result
			}
			x.collectTrailers()
			return 0, io.EOF
		case <-x.over:
			if err := x.ended(); err != nil {
				return 0, err
			}
		case <-x.a.expired:
			return 0, x.a.ctx.Err()
		}
	}
	n := copy(p, x.rest)
	if x.rest = x.rest[n:]; len(x.rest) == 0 {
		x.tell()
	}
	return n, nil
}

func (x *inProcess) tell() {
	if x.eaten != nil {
		close(x.eaten)
		x.eaten = nil
	}
}

// Close is part of a response's body; [inProcess.abandon] does the work.
func (x *inProcess) Close() error { return nil }

// flushWanted tells once that what was read is to be sent.
func (x *inProcess) flushWanted() bool {
	if len(x.rest) > 0 || !x.flush {
		return false
	}
	x.flush = false
	return true
}

// collectTrailers takes what the handler set for after its body, announced or
// with the prefix.
func (x *inProcess) collectTrailers() {
	for name, values := range x.after {
		if _, announced := x.trailer[name]; announced {
			x.trailer[name] = values
		} else if rest, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			x.trailer[rest] = values
		}
	}
}

// abandon ends the exchange from the side of the request.
func (x *inProcess) abandon() {
	x.mu.Lock()
	x.abandoned = true
	x.mu.Unlock()
	x.cut.Do(func() { close(x.gone) })
}

// returned tells whether the handler has.
func (x *inProcess) returned() bool {
	select {
	case <-x.done:
		return true
	default:
		return false
	}
}

// serve runs the handler.
func (x *inProcess) serve() {
	w := &handlerWriter{x: x, header: make(http.Header), length: -1}
	returned := false
	defer func() {
		switch v := recover(); {
		case v != nil:
			x.result = failure.Recovered(v, debug.Stack())
		case !returned:
			x.result = &failure.Error{Cause: failure.Panic, Err: errors.New("the handler's goroutine was ended (runtime.Goexit)")}
		}
		if x.req.MultipartForm != nil && !x.parsed {
			_ = x.req.MultipartForm.RemoveAll() // its files are temporary
		}
		w.release()
		x.after = w.header
		x.leave()
		close(x.done)
		x.a.b.handlers.Done()
	}()
	x.a.ep.settings.Load().handler.ServeHTTP(w, x.req)
	w.end()
	returned = true
}

// leave gives back what the handler held until it returned.
func (x *inProcess) leave() {
	if x.a.check {
		return
	}
	x.a.b.vacate(x.a.ep)
	if x.a.slot != nil {
		x.a.slot.Release()
	}
}

// hand gives p to the request's goroutine and waits until it is done with it.
func (x *inProcess) hand(p piece) error {
	if p.data != nil {
		p.eaten = make(chan struct{})
	}
	select {
	case <-x.gone:
		return errGivenUp
	default:
	}
	select {
	case x.pieces <- p:
	case <-x.gone:
		return errGivenUp
	}
	if p.eaten == nil {
		return nil
	}
	select {
	case <-p.eaten:
		return nil
	case <-x.gone:
		return errGivenUp // by the reader itself: it reads no more
	}
}

// control calls f with the client's writer, unless the request is over.
func (x *inProcess) control(f func(*http.ResponseController) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.abandoned {
		return errGivenUp
	}
	return f(http.NewResponseController(x.client))
}
