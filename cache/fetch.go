package cache

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// fetch is a fill being made: next is called, and what it writes is judged.
// Its methods run on the goroutine that calls next.
type fetch struct {
	f   *fill
	w   *fillWriter
	r   *http.Request
	ctx context.Context //nolint:containedctx // what next gets: the fill's, or one within it

	// allowDirect: what nobody else may have goes straight to the client of this
	// goroutine. It is called before anything is sent.
	allowDirect func(h head)
	// withhold: the response is a failure that something better can answer.
	withhold func(*failure.Error) bool

	attempts    int
	conditional bool
	// rest is what the request asks for in place of the whole, or what of it came;
	// nil = the whole.
	rest *rest
	// others are the variants that are to be validated where there is no base, and
	// named those that the 304 is about.
	others []other
	named  []*object
	// confirmed has the fields of the 304 that confirmed the base, or named.
	confirmed http.Header
	// unasked: a 304 or 206 that nobody asked for.
	unasked bool
	// undivided: the whole is asked for in place of a range: see undivides.
	undivided bool
	withheld  *failure.Error
	// answered is the reported error answer of the origin that is stored like any
	// other response.
	answered *failure.Error

	// decision is that of Config.Policy.
	decision    Decision
	policyPanic *panicked

	sent     time.Time
	panicked *panicked
}

// panicked is a panic of next that was recovered, to be raised again where its
// request ends.
type panicked struct {
	value any
	err   *failure.Error
}

// request is the request that next gets: without the client's conditions, and
// with ours if there is something to validate.
func (x *fetch) request(base *object, others []other) *http.Request {
	r := x.r.WithContext(x.ctx)
	r.Header = x.r.Header.Clone()
	r.Method = http.MethodGet
	if x.f.ranged && !x.undivided {
		x.rangeRequest(r, base)
		return r
	}
	if x.asksForRest() {
		others = nil
	}
	etags, modified := tagsOf(others), ""
	if base != nil {
		if base.resp.ETag != "" {
			etags = []string{base.resp.ETag}
		}
		modified = base.resp.LastModified
	}
	x.conditional = len(etags) > 0 || modified != ""
	semantics.SetValidators(r.Header, etags, modified)
	x.restRequest(r)
	return r
}

// run calls next, and once more without conditions if it answers with a 304 or
// 206 that nobody asked for. prepare makes the writer of each call.
func (x *fetch) run(next http.Handler, prepare func() *fillWriter) {
	base, others := x.f.base, x.others
	for x.attempts = 1; ; x.attempts++ {
		x.unasked, x.confirmed = false, nil
		x.w = prepare()
		x.w.f, x.w.h, x.w.length = x.f, make(http.Header), -1
		x.w.decide, x.w.announce = x.decide, x.announce
		x.sent = time.Now()
		x.call(next, x.request(base, others))
		if !x.unasked || x.panicked != nil || x.attempts == 2 || x.f.ctx.Err() != nil {
			return
		}
		if x.rest != nil { // what is there is of no use
			x.f.cache.store.publisher.submit(job{del: x.rest.of})
		}
		base, others = nil, nil
	}
}

func (x *fetch) call(next http.Handler, r *http.Request) {
	defer func() {
		if v := recover(); v != nil {
			var stack []byte
			if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				stack = debug.Stack()
			}
			x.panicked = &panicked{v, failure.Recovered(v, stack)}
		}
	}()
	next.ServeHTTP(x.w, r)
	x.w.finish()
	x.panicked = x.policyPanic
}
