package ratelimit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// lines are those who wait for permits: one line for every bucket that made
// somebody wait, first come, first served. Nothing is reserved for them in the
// bucket. The first of a line asks again when its permits are due; who comes
// later goes behind it. So one that leaves has taken nothing, and all behind it
// move up.
type lines struct {
	patience time.Duration
	most     int

	waiting atomic.Int64 // in all lines; changes with mu held

	mu      sync.Mutex // guards what follows; no other lock is taken with it held
	byPlace map[place]*line
}

// place is a bucket. Shared ones have no key.
type place struct {
	limit *limit
	from  source
	key   string
}

type line struct {
	first, last *waiter
	cost        int // of all in it
}

type waiter struct {
	turn       chan struct{} // room for one: it is the first, and should ask
	at         place
	cost       int
	line       *line
	prev, next *waiter
}

func newLines(patience time.Duration, most int) *lines {
	return &lines{patience: patience, most: most, byPlace: make(map[place]*line)}
}

func placeOf(c *claim) place {
	p := place{limit: c.limit, from: c.from}
	if c.from == ownBucket {
		p.key = string(c.keyBytes())
	}
	return p
}

// admit is decide for those who may wait. ctx ends the wait.
func (q *lines) admit(ctx context.Context, cs []claim) decision {
	d, behind := decision{}, false
	if q.waiting.Load() > 0 {
		look(cs)
		d, behind = q.behind(cs)
	}
	if !behind {
		if d = decide(cs); d.ok {
			return d
		}
	}
	return q.wait(ctx, cs, d)
}

// behind tells whether somebody waits for a bucket that cs need.
func (q *lines) behind(cs []claim) (decision, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range cs {
		if q.byPlace[placeOf(&cs[i])] != nil {
			return decision{claim: i, limit: cs[i].limit, remaining: cs[i].tokens}, true
		}
	}
	return decision{}, false
}

// wait goes through the line of the bucket that refused, and of those that
// refuse after that one has permits, until all have, or patience ends.
func (q *lines) wait(ctx context.Context, cs []claim, d decision) (out decision) {
	start := time.Now()
	deadline := start.Add(q.patience)
	w := &waiter{turn: make(chan struct{}, 1)}
	var timer *time.Timer // nil: it never stood in line
	defer func() {
		if timer != nil {
			timer.Stop()
			out.waited = time.Since(start)
		}
	}()
	for {
		c := &cs[d.claim]
		first, expected := q.join(w, c, time.Until(deadline))
		d.retryAfter = expected
		if w.line == nil {
			return d
		}
		for w.line != nil {
			pause := time.Until(deadline)
			if first {
				pause = min(pause, d.retryAfter)
			}
			if timer == nil {
				timer = time.NewTimer(pause)
			} else {
				timer.Reset(pause)
			}
			select {
			case <-ctx.Done():
				q.leave(w)
				d = refusalNow(cs)
				d.left = clientGone(ctx)
				return d
			case <-w.turn:
				first = true
			case <-timer.C:
			}
			late := !time.Now().Before(deadline)
			if !first {
				if !late {
					continue
				}
				// Those in front take longer than was expected.
				d = refusalNow(cs)
			} else if d = decide(cs); !d.ok && !late && placeOf(&cs[d.claim]) == w.at {
				continue
			}
			q.leave(w)
			if d.ok || late {
				return d
			}
		}
	}
}

// refusalNow is for one that gives up, whatever the buckets hold.
func refusalNow(cs []claim) decision {
	look(cs)
	d := judge(cs, false)
	d.retryAfter = max(d.retryAfter, 1)
	return d
}

// join puts w in the line for c's bucket, unless that would take longer than
// left, or too many wait. expected is the time until its turn, above 0.
func (q *lines) join(w *waiter, c *claim, left time.Duration) (first bool, expected time.Duration) {
	at := placeOf(c)
	q.mu.Lock()
	defer q.mu.Unlock()
	select { // what was meant for its place in another line
	case <-w.turn:
	default:
	}
	l := q.byPlace[at]
	ahead := 0
	if l != nil {
		ahead = l.cost
	}
	expected = max(wait(float64(ahead+c.cost)-c.tokens, c.limit.Rate), 1)
	if expected > left || q.waiting.Load() >= int64(q.most) {
		return false, expected
	}
	if l == nil {
		l = &line{}
		q.byPlace[at] = l
	}
	w.at, w.cost, w.line, w.prev = at, c.cost, l, l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.cost += w.cost
	q.waiting.Add(1)
	return l.first == w, expected
}

// leave takes w out of its line. If it was the first, the next one is.
func (q *lines) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := w.line
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	l.cost -= w.cost
	q.waiting.Add(-1)
	switch {
	case l.first == nil:
		delete(q.byPlace, w.at)
	case w.prev == nil:
		l.first.call()
	}
	w.line, w.prev, w.next = nil, nil, nil
}

// refilled tells the first in line that permits came back. Without lines it does
// nothing.
func (q *lines) refilled(c *claim) {
	if q == nil || q.waiting.Load() == 0 {
		return
	}
	at := placeOf(c)
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.byPlace[at]; l != nil {
		l.first.call()
	}
}

func (w *waiter) call() {
	select {
	case w.turn <- struct{}{}:
	default:
	}
}

// clientGone tells whether the server cancelled the request, which it does when
// the client left. Deadlines have other causes.
func clientGone(ctx context.Context) bool {
	return ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled)
}

// expected is how long those in front of cs keep them from their turn.
func (q *lines) expected(cs []claim) (longest time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range cs {
		c := &cs[i]
		if l := q.byPlace[placeOf(c)]; l != nil {
			longest = max(longest, wait(float64(l.cost+c.cost)-c.tokens, c.limit.Rate))
		}
	}
	return longest
}
