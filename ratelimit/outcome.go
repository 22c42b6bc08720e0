package ratelimit

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// watch calls next and looks at its answer's status: for limits that count
// answers, and for the fields of those that pass. taken tells whether cs were
// granted; in a dry run they may not have been.
func (l *Limiter) watch(next http.Handler, w http.ResponseWriter, r *http.Request, cs []claim, taken bool) {
	x := &answer{limiter: l, claims: slices.Clone(cs), settled: !taken || !l.counts}
	if !x.settled {
		ctx := failure.Track(r.Context())
		if ctx != r.Context() {
			r = r.WithContext(ctx)
		}
		x.ctx = ctx
		x.before, _ = failure.Outcome(ctx)
	}
	x.Init(w, x)
	defer x.end()
	next.ServeHTTP(x, r)
	x.returned = true
}

// answer is an answer on its way outward.
type answer struct {
	writer.Base

	limiter  *Limiter
	claims   []claim
	ctx      context.Context
	before   *failure.Error // what the slot held when the request came
	settled  bool           // it is known which permits stay taken
	returned bool
}

// Begin implements [writer.Owner].
func (x *answer) Begin(status int) bool {
	if !x.settled {
		x.settle(status, x.reported())
	}
	if status != http.StatusSwitchingProtocols {
		x.setFields(status)
	}
	return true
}

// Hijack hands the connection over, which is a 101.
func (x *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.Base.Hijack()
	if err == nil && !x.settled {
		x.settle(x.Status(), x.reported())
	}
	return conn, rw, err
}

// setFields tells what is left when the answer passes, not what was when the
// request came.
func (x *answer) setFields(status int) {
	if !x.limiter.cfg.Headers || x.limiter.cfg.DryRun {
		return
	}
	for i := range x.claims {
		x.claims[i].cost = 1
	}
	look(x.claims)
	setPassed(x.Header(), x.claims, status)
}

// settle gives back what the answer does not cost. It is over before the user's
// funcs are asked: where one panics, what is not given back yet stays taken.
func (x *answer) settle(status int, e *failure.Error) {
	x.settled = true
	for i := range x.claims {
		c := &x.claims[i]
		if c.limit.Count != nil && !c.limit.Count(status, e) {
			c.giveBack()
			x.limiter.lines.refilled(c)
		}
	}
}

// reported is the failure that was reported beneath and that nobody there
// mended.
func (x *answer) reported() *failure.Error {
	if e, rung := failure.Outcome(x.ctx); e != x.before && rung == failure.Unmended {
		return e
	}
	return nil
}

// end runs when next returned, panicked or ended its goroutine.
func (x *answer) end() {
	if x.returned {
		if x.Status() == 0 {
			x.silent()
		}
		return
	}
	p := recover()
	if !x.settled {
		x.settle(x.cutOff(p))
	}
	if p != nil {
		panic(p)
	}
}

// silent is for a handler that chose no status: net/http makes it a 200.
func (x *answer) silent() {
	if !x.settled {
		if clientGone(x.ctx) {
			x.settle(failure.StatusClientGone, failure.New(failure.ClientGone, context.Cause(x.ctx)))
		} else {
			x.settle(http.StatusOK, x.reported())
		}
	}
	x.setFields(http.StatusOK)
}

// cutOff is what became of a request whose handler panicked with p before it
// chose a status, or ended its goroutine.
func (x *answer) cutOff(p any) (status int, e *failure.Error) {
	if err, ok := p.(error); p == nil || ok && errors.Is(err, http.ErrAbortHandler) {
		e = x.reported()
		if e == nil && clientGone(x.ctx) {
			e = failure.New(failure.ClientGone, context.Cause(x.ctx))
		}
		if e == nil {
			e = failure.New(failure.HandlerAbort, http.ErrAbortHandler)
		}
	} else {
		e = failure.Recovered(p, nil)
	}
	return e.HTTPStatus(), e
}
