package breaker

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// Handler puts the breaker in front of next. A refused request never reaches
// next: the refusal is reported to the request's slot and answered by
// ErrorHandler, with 503, cause breaker_open and, where the time is known,
// Retry-After. Its detail has the last underlying cause, and a cache further out
// that has a stale copy serves that.
//
// A call is judged by the failure that was reported during it and not mended
// within it ([failure.Report]); where there is none, by its status
// ([failure.CountsStatus]). A panic of next is a failure and goes on with the
// same value, unless it is [http.ErrAbortHandler], which is neutral where
// nothing was reported. A client that left is neutral. An upgraded connection
// (101 or a hijack) counts as answered.
func (b *Breaker) Handler(next http.Handler) http.Handler {
	slow := b.hung()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := new(exchange)
		if e := b.admit(r.Context(), &x.call, slow); e != nil {
			failure.Serve(w, r, e, b.cfg.ErrorHandler)
			return
		}
		ctx := failure.Track(r.Context())
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		x.ctx = ctx
		x.before, _ = failure.Outcome(ctx)
		x.Init(w, x)
		defer x.end()
		next.ServeHTTP(x, r)
		x.returned = true
	})
}

// exchange is a call that is seen through its response writer.
type exchange struct {
	writer.Base

	call
	ctx      context.Context
	before   *failure.Error // what the slot held when the call began
	returned bool
}

// Begin implements [writer.Owner].
func (x *exchange) Begin(status int) bool {
	x.answer(status)
	return true
}

// Hijack hands the connection over, which is an answer.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.Base.Hijack()
	if err == nil {
		x.answer(x.Status())
	}
	return conn, rw, err
}

// answer notes that the call was answered. A failure is a verdict at once, and
// while half-open so is everything else.
func (x *exchange) answer(status int) {
	x.answered.Store(true)
	x.heard()
	if v := x.verdict(status); v.outcome == failed || x.trial != nil {
		x.settle(x.ctx, v)
	}
}

// verdict judges by what is known now.
func (x *exchange) verdict(status int) verdict {
	return x.b.judge(x.reported(), status, clientGone(x.ctx))
}

// reported is the failure that was reported during this call and that nobody
// inside mended.
func (x *exchange) reported() *failure.Error {
	if e, rung := failure.Outcome(x.ctx); e != x.before && rung == failure.Unmended {
		return e
	}
	return nil
}

// end runs when next returned, panicked or ended its goroutine.
func (x *exchange) end() {
	if x.returned {
		status := x.Status()
		if status == 0 {
			status = http.StatusOK // net/http's answer to a handler that wrote nothing
		}
		x.settle(x.ctx, x.verdict(status))
		return
	}
	p := recover()
	v := verdict{outcome: neutral} // runtime.Goexit, or aborted on purpose
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		if e := x.reported(); e != nil {
			v = x.b.judgeReported(e, x.Status())
		}
	} else if p != nil {
		v = verdict{outcome: failed, cause: failure.Panic, failure: silent}
	}
	x.settle(x.ctx, v)
	if p != nil {
		panic(p)
	}
}

// clientGone tells whether the server cancelled the request, which it does when
// the client left. Deadlines of our own have other causes.
func clientGone(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled)
}
