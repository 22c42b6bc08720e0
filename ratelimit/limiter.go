package ratelimit

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Limiter is one or more sets of token buckets, one bucket per key. It is made
// by [New] and safe for concurrent use. It starts no goroutine and needs no end.
// Its settings never change; a Limiter with others is a new one.
type Limiter struct {
	cfg    Config
	limits []*limit
	lists  *networks // nil: there are none
	lines  *lines    // nil: nobody waits
	client bool      // some limit, or the lists, need the client's address
	counts bool      // some limit counts answers
}

// limit is a Limit with its buckets.
type limit struct {
	Limit

	table        *table
	overflow     shared // for keys that find no room in the table
	unidentified shared // for clients without a key
	member       member
}

// shared returns the shared bucket that answers for claims from there.
func (l *limit) shared(from source) *shared {
	if from == unidentifiedBucket {
		return &l.unidentified
	}
	return &l.overflow
}

// New returns a Limiter in which every bucket is full. Its error joins
// everything that is wrong with cfg.
func New(cfg Config) (*Limiter, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	l := &Limiter{cfg: cfg, client: cfg.needsClient()}
	for _, c := range cfg.Limits {
		perSecond := rate.Limit(c.Rate)
		l.limits = append(l.limits, &limit{
			Limit:        c,
			table:        newTable(c.Rate, c.Burst, cfg.MaxKeys),
			overflow:     shared{lim: rate.NewLimiter(perSecond, c.Burst)},
			unidentified: shared{lim: rate.NewLimiter(perSecond, c.Burst)},
			member:       newMember(c.Name, c.Rate, c.Burst),
		})
		l.counts = l.counts || c.Count != nil
	}
	if len(cfg.Allow)+len(cfg.Deny) > 0 {
		lists := newNetworks(cfg.Allow, cfg.Deny)
		l.lists = &lists
	}
	if cfg.MaxDelay > 0 && !cfg.DryRun {
		l.lines = newLines(cfg.MaxDelay, cfg.MaxWaiting)
	}
	return l, nil
}

// Decision is the answer to a request for permits.
type Decision struct {
	OK bool
	// Limit is the name of the limit that refused, of several the one that
	// refuses longest; "" if none did.
	Limit string
	// RetryAfter is the time until all limits will have the permits; 0 if OK, or
	// if they never will: more permits than Burst.
	RetryAfter time.Duration
	// Remaining is how many permits the most restrictive limit has left, in
	// whole ones.
	Remaining int
	// Overflow tells that a table was full and a shared bucket decided.
	Overflow bool
}

// Allow takes one permit from key's bucket of every limit. Where one has none it
// takes nothing, and retryAfter, above 0, is the time until all will have one.
func (l *Limiter) Allow(key string) (ok bool, retryAfter time.Duration) {
	return l.AllowN(key, 1)
}

// AllowN takes n permits from key's bucket of every limit, or none. A request
// for more than a Burst can never be granted; it is refused with a retryAfter of
// 0. One for 0 or less is granted and takes nothing.
func (l *Limiter) AllowN(key string, n int) (ok bool, retryAfter time.Duration) {
	keys := [...]string{key}
	d, _ := l.decideKeys(n, keys[:])
	return d.ok || l.cfg.DryRun, d.retryAfter
}

// Decide takes n permits from the buckets of keys, or none: of Limits[i] that of
// keys[i], and where there are fewer keys, that of the last. Without any, it is
// the bucket of those who can't be told apart. Cost and the lists are about
// requests, and not asked. Nobody waits.
//
// From limits with a Count the permits are taken as well. [Limiter.GiveBack]
// undoes that when the outcome is known and does not count.
//
// In a dry run the answer is always OK; Limit and RetryAfter tell what it would
// have been.
func (l *Limiter) Decide(n int, keys ...string) Decision {
	d, overflow := l.decideKeys(n, keys)
	out := Decision{OK: d.ok || l.cfg.DryRun, RetryAfter: d.retryAfter, Remaining: int(max(d.remaining, 0)), Overflow: overflow}
	if !d.ok {
		out.Limit = d.limit.Name
	}
	return out
}

// GiveBack returns n permits that [Limiter.Decide] took with the same keys, to
// the limits that have a Count; the others count requests, whatever becomes of
// them. 0 or less is nothing.
func (l *Limiter) GiveBack(n int, keys ...string) {
	if n <= 0 {
		return
	}
	for i, lim := range l.limits {
		if lim.Count == nil || n > lim.Burst {
			continue
		}
		c := claimByKey(lim, i, n, keys)
		c.giveBack()
		l.lines.refilled(&c)
	}
}

// Len is how many keys have a bucket at present, in all limits together.
func (l *Limiter) Len() int {
	n := 0
	for _, lim := range l.limits {
		n += int(lim.table.count.Load())
	}
	return n
}

// decision is what became of a request's claims.
type decision struct {
	ok         bool
	limit      *limit // the most restrictive one; nil if none was asked
	claim      int    // its claim
	retryAfter time.Duration
	remaining  float64
	waited     time.Duration
	left       bool // the client did, while it waited
}

func claimByKey(lim *limit, i, n int, keys []string) claim {
	c := claim{limit: lim, cost: n}
	if len(keys) == 0 {
		c.from = unidentifiedBucket
	} else {
		c.setKey(keys[min(i, len(keys)-1)])
	}
	return c
}

func (l *Limiter) decideKeys(n int, keys []string) (d decision, overflow bool) {
	var buf [claimsOnStack]claim
	cs := buf[:0]
	d.ok = true
	for i, lim := range l.limits {
		if n > lim.Burst && d.ok {
			d = decision{limit: lim}
		}
		if n > 0 && d.ok {
			cs = append(cs, claimByKey(lim, i, n, keys))
		}
	}
	if d.ok {
		d = decide(cs)
	} else {
		cs = cs[:0]
	}
	l.observe(context.Background(), d, summary{overflow: overflowed(cs), unidentified: len(keys) == 0 && len(cs) > 0})
	return d, overflowed(cs)
}

// decide takes what all claims want, or nothing.
func decide(cs []claim) decision { return judge(cs, take(cs)) }

// judge finds the most restrictive claim: the one that refuses longest, or that
// has the fewest permits left.
func judge(cs []claim, ok bool) decision {
	d := decision{ok: ok}
	for i := range cs {
		c := &cs[i]
		if d.limit == nil || stricter(c, &cs[d.claim]) {
			d.claim, d.limit, d.remaining = i, c.limit, c.tokens
		}
	}
	if !ok {
		d.retryAfter = cs[d.claim].wait
	}
	return d
}

// stricter orders claims: the one to wait longest for comes first, then the one
// with the fewest permits left.
func stricter(a, b *claim) bool {
	if a.wait != b.wait {
		return a.wait > b.wait
	}
	return a.tokens < b.tokens
}

func overflowed(cs []claim) bool {
	for i := range cs {
		if cs[i].from == overflowBucket {
			return true
		}
	}
	return false
}

// summary is what events tell beside the decision.
type summary struct {
	overflow, unidentified, forwarded, listed bool
}

func (l *Limiter) observe(ctx context.Context, d decision, s summary) {
	if l.cfg.Observe == nil {
		return
	}
	ev := Event{
		Kind: Allowed, Name: l.cfg.Name, Waited: d.waited,
		Overflow: s.overflow, Unidentified: s.unidentified, Forwarded: s.forwarded, Listed: s.listed,
	}
	if !d.ok {
		ev.Kind, ev.RetryAfter, ev.DryRun = Limited, d.retryAfter, l.cfg.DryRun
		if d.left {
			ev.Kind, ev.RetryAfter = Left, 0
		}
		if d.limit != nil {
			ev.Limit = d.limit.Name
		}
	}
	l.cfg.Observe(ctx, ev)
}
