package observe

import (
	"context"
	"sync"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/failure"
)

// record is what is known of one request. Its context hands it to the events
// of all packages, also to those of a fill that outlives the request: what
// comes after the end changes nothing any more.
type record struct {
	id      string
	idValue []string // for the header maps

	mu sync.Mutex // guards what follows
	story
	ended bool
}

// story is what the events of one request have told.
type story struct {
	attempts int
	cached   bool // a cache took part
	outcome  cache.Outcome
	rung     failure.Rung
	fill     string
	refusal  refusal
	// asides are failures that need not be in the request's slot: of a fill
	// that nobody waited for, of a panic after the page. The rest, beyond
	// maxAsides, is only counted.
	asides []aside
}

const maxAsides = 4

// refusal is who turned a request away last, by names as configured.
type refusal struct {
	cause                   failure.Cause
	breaker, limiter, limit string
}

// aside is a failure beside the request's own.
type aside struct {
	message string
	failure *failure.Error
	fill    string
}

type recordKey struct{}

func recordOf(ctx context.Context) *record {
	rec, _ := ctx.Value(recordKey{}).(*record)
	return rec
}

// attempt takes down that a backend was asked.
func (rec *record) attempt(ev backend.Event) {
	if rec == nil || ev.Attempt == 0 {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.ended {
		rec.attempts++
	}
}

// served takes down what a cache did.
func (rec *record) served(ev cache.Event) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.ended {
		return
	}
	rec.cached, rec.outcome, rec.rung = true, ev.Outcome, ev.Rung
	if ev.FillID != "" {
		rec.fill = ev.FillID
	}
}

// refused takes down who turned it away.
func (rec *record) refused(by refusal) {
	if rec == nil {
		return
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if !rec.ended {
		rec.refusal = by
	}
}

// aside keeps a failure until the request ends, since only then it is known
// whether it is the request's own. It returns false if nobody will look at it
// any more, and the caller has to log it.
func (rec *record) aside(a aside) (kept bool) {
	if rec == nil {
		return false
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.ended || len(rec.asides) == maxAsides {
		return false
	}
	rec.asides = append(rec.asides, a)
	return true
}

// end closes the record and returns what it has.
func (rec *record) end() story {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.ended = true
	return rec.story
}
