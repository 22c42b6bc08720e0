package ratelimit

import (
	"context"
	"crypto/sha256"
	"time"

	"golang.org/x/time/rate"
)

// Limiter is a set of token buckets, one per key. It is made by [New] and safe
// for concurrent use. It starts no goroutine and needs no end. Its settings
// never change; a Limiter with others is a new one.
type Limiter struct {
	cfg          Config
	table        *table
	overflow     shared // for keys that find no room in the table
	unidentified shared // for clients without a key
	fields       fields
}

// New returns a Limiter in which every bucket is full. Its error joins
// everything that is wrong with cfg.
func New(cfg Config) (*Limiter, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	limit := rate.Limit(cfg.Rate)
	return &Limiter{
		cfg:          cfg,
		table:        newTable(cfg.Rate, cfg.Burst, cfg.MaxKeys),
		overflow:     shared{lim: rate.NewLimiter(limit, cfg.Burst)},
		unidentified: shared{lim: rate.NewLimiter(limit, cfg.Burst)},
		fields:       newFields(cfg.Name, cfg.Rate, cfg.Burst),
	}, nil
}

// Allow takes one permit from key's bucket. Where there is none it takes
// nothing, and retryAfter, above 0, is the time until there will be one.
func (l *Limiter) Allow(key string) (ok bool, retryAfter time.Duration) {
	return l.AllowN(key, 1)
}

// AllowN takes n permits from key's bucket, or none. A request for more than
// Burst can never be granted; it is refused with a retryAfter of 0. One for 0 or
// less is granted and takes nothing.
func (l *Limiter) AllowN(key string, n int) (ok bool, retryAfter time.Duration) {
	d := l.take(key, n)
	l.observe(context.Background(), d, false)
	return d.ok, d.retryAfter
}

// Len is how many keys have a bucket at present, at most MaxKeys.
func (l *Limiter) Len() int { return int(l.table.count.Load()) }

// maxKey bounds what a key costs.
const maxKey = 64

func (l *Limiter) take(key string, n int) decision {
	switch {
	case n <= 0:
		return decision{ok: true}
	case n > l.cfg.Burst:
		return decision{}
	}
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
	d, ok := l.table.take(key, n)
	if !ok {
		d = l.overflow.take(n)
		d.overflow = true
	}
	return d
}

func (l *Limiter) observe(ctx context.Context, d decision, unidentified bool) {
	if l.cfg.Observe == nil {
		return
	}
	ev := Event{Kind: Allowed, Name: l.cfg.Name, Overflow: d.overflow, Unidentified: unidentified}
	if !d.ok {
		ev.Kind, ev.RetryAfter = Limited, d.retryAfter
	}
	l.cfg.Observe(ctx, ev)
}
