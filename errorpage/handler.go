package errorpage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// Handler returns next with pages for what fails in it:
//
//   - an answer that carries the status of an own, unmended failure in the slot
//     of the request's context is replaced, at once, and what next writes after
//     it is dropped;
//   - if next returns without an answer and there is such a failure, the page is
//     the answer;
//   - a panic is recovered and reported (event Recovered). If nothing was sent
//     the page is the answer, with 500. If the page had been sent already, that
//     is all. Else the connection is aborted by http.ErrAbortHandler;
//   - http.ErrAbortHandler itself passes, unless the page has been sent: that is
//     whole, whatever became of the answer that it replaced;
//   - nothing is written for a client that is gone, and the connection is
//     aborted. Else net/http would send an empty 200, which a client that only
//     closed its own side would take for the page.
//
// next gets a request whose context has a slot, and which has a request id.
func (p *Page) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := failure.Track(r.Context())
		inner, id := p.prepare(ctx, r)
		rw := &response{page: p, request: inner, id: id, before: p.intercept.before(w.Header())}
		rw.Init(w, rw)
		defer func() {
			if form := inner.MultipartForm; form != nil && r.MultipartForm == nil {
				r.MultipartForm = form // net/http removes the files of the request that it knows
			}
			if v := recover(); v != nil {
				rw.panicked(ctx, v)
			}
		}()
		next.ServeHTTP(rw, inner)
		rw.returned(ctx)
	})
}

// prepare returns the request for next, r itself where it lacks nothing, and
// its id.
func (p *Page) prepare(ctx context.Context, r *http.Request) (inner *http.Request, id string) {
	id, made := p.requestID(r.Header)
	if ctx == r.Context() && !made {
		return r, id
	}
	inner = r.WithContext(ctx)
	if made {
		inner.Header = p.withRequestID(r.Header, id)
	}
	return inner, id
}

// response decides what becomes of next's answer.
type response struct {
	writer.Base
	page     *Page
	request  *http.Request
	id       string
	before   http.Header // what outer handlers had set, if that is going to matter
	answered *answered   // nil: the page was not the answer
}

// answered is an answer by the page.
type answered struct {
	failure *failure.Error // why
	at      time.Time
	void    int // bytes of next's body that nobody got
}

// Begin lets next's answer pass or sends the page in its place. That is done
// here, not when next returns: the page depends on nothing that is still to
// come, and next may be copying a long body.
func (rw *response) Begin(status int) bool {
	if gone(rw.request.Context()) && status < http.StatusBadRequest {
		return false // nobody made such an answer: it is what net/http does in the end
	}
	e, ok := rw.replacement(status)
	if !ok {
		return true
	}
	if !e.Own() {
		rw.page.intercept.strip(rw.Header(), rw.before)
	}
	rw.answer(e, status)
	if !e.Own() && rw.Header().Get("Grpc-Status") == "" {
		// The rest of the origin's body may take its time. A gRPC answer has to
		// end with its headers.
		_ = http.NewResponseController(rw.Unwrap()).Flush()
	}
	return false
}

// replacement returns the failure for the page that replaces an answer of the
// given status, if one does.
func (rw *response) replacement(status int) (*failure.Error, bool) {
	ctx := rw.request.Context()
	e, ok := failure.From(ctx)
	own := ok && e.Own() && e.HTTPStatus() == status
	gone := ok && e.Cause == failure.ClientGone
	intercept := !gone && rw.page.intercept.takes(status, rw.Header())
	if !own && !intercept || rw.page.written(rw.Header(), rw.id) {
		return nil, false
	}
	if !own {
		e = rw.page.intercept.failure(ctx, status, rw.Header(), time.Now())
	}
	return e, true
}

// gone tells whether the request ended by its client's leaving.
func gone(ctx context.Context) bool {
	e, ok := failure.From(ctx)
	return ok && e.Cause == failure.ClientGone
}

func (rw *response) answer(e *failure.Error, status int) {
	rw.answered = &answered{failure: e, at: time.Now()}
	rw.page.answer(rw.Unwrap(), rw.request, e, status, rw.id)
}

// What a handler may go on writing after the page was sent: enough for most to
// come to their end, and their connection to be used again. More, or later, and it
// is told to stop, since until it returns no other request can come on that
// connection, and a gRPC call does not end.
const (
	maxVoid      = 256 << 10
	voidPatience = time.Second
)

var errAnswered = errors.New("errorpage: the page has been sent in place of this response")

// Discard ends what would go on for ever.
func (rw *response) Discard(n int) error {
	a := rw.answered
	if a == nil {
		return nil
	}
	if a.void += n; a.void > maxVoid || time.Since(a.at) > voidPatience {
		return errAnswered
	}
	return nil
}

// returned answers where next left that to us.
func (rw *response) returned(ctx context.Context) {
	if rw.answered != nil {
		rw.restate(ctx)
		return
	}
	if rw.Begun() {
		return
	}
	if gone(ctx) {
		panic(http.ErrAbortHandler)
	}
	if e, ok := failure.From(ctx); ok && e.Own() {
		rw.answer(e, e.HTTPStatus())
	}
}

// restate puts the reason of the page back in its place where next took the
// visitor for gone: they got the page, and it was we who took no more.
func (rw *response) restate(ctx context.Context) {
	if gone(ctx) {
		failure.Report(ctx, rw.answered.failure)
	}
}

// panicked deals with the value of next's panic.
func (rw *response) panicked(ctx context.Context, v any) {
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		if rw.answered == nil {
			panic(v)
		}
		rw.restate(ctx)
		return
	}
	e := failure.Recovered(v, debug.Stack())
	if rw.Begun() {
		e = e.With(failure.Note{Kind: failure.AfterHeaders})
	}
	earlier, failed := failure.From(ctx)
	if rw.answered == nil || !failed {
		if failed {
			e.Err = fmt.Errorf("%w (after %w)", e.Err, earlier)
		}
		failure.Report(ctx, e)
	}
	rw.page.observe(ctx, Event{Kind: Recovered, Failure: e, RequestID: rw.id})
	switch {
	case rw.answered != nil:
	case rw.Begun(), failed && earlier.Cause == failure.ClientGone:
		panic(http.ErrAbortHandler)
	default:
		rw.answer(e, e.HTTPStatus())
	}
}
