package backend

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	defaultRetryBudget    = 0.2
	defaultRetryBudgetMin = 3
	budgetSeconds         = 10
)

func (cfg *Config) checkRetries(fail failFunc) {
	switch {
	case math.IsNaN(cfg.RetryBudget) || math.IsInf(cfg.RetryBudget, 0):
		fail("Config.RetryBudget is %v: must be a share of the requests, 0 for %v, or negative for no limit", cfg.RetryBudget, defaultRetryBudget)
	case cfg.RetryBudget == 0:
		cfg.RetryBudget = defaultRetryBudget
	}
	switch {
	case cfg.RetryBudgetMin == 0:
		cfg.RetryBudgetMin = defaultRetryBudgetMin
	case cfg.RetryBudgetMin < 0:
		cfg.RetryBudgetMin = 0
	}
}

// budget counts the requests and the retries of the last ten seconds. It is safe
// for concurrent use and takes no lock; two retries at the same moment may share
// the last of it.
type budget struct {
	requests, retries window
}

// window counts by the second over the last ten.
type window [budgetSeconds]atomic.Uint64 // second << 32 | count

func (w *window) add(now int64) {
	second := uint64(now / int64(time.Second))
	bucket := &w[second%budgetSeconds]
	for {
		old := bucket.Load()
		next := old + 1
		if old>>32 != second&math.MaxUint32 {
			next = second<<32 | 1
		}
		if bucket.CompareAndSwap(old, next) {
			return
		}
	}
}

func (w *window) sum(now int64) int {
	second := uint64(now/int64(time.Second)) & math.MaxUint32
	n := 0
	for i := range w {
		if word := w[i].Load(); (second-word>>32)&math.MaxUint32 < budgetSeconds {
			n += int(word & math.MaxUint32)
		}
	}
	return n
}

// request counts one that came in; now is in ns since the backend's start.
func (b *budget) request(now int64) { b.requests.add(now) }

// left is how many retries may be made now; negative: the share shrank.
func (b *budget) left(cfg *Config, now int64) int {
	if cfg.RetryBudget < 0 {
		return math.MaxInt
	}
	share := min(cfg.RetryBudget*float64(b.requests.sum(now)), math.MaxInt32)
	return cfg.RetryBudgetMin + int(share) - b.retries.sum(now)
}

// spend takes one retry, if there is one left.
func (b *budget) spend(cfg *Config, now int64) bool {
	if b.left(cfg, now) <= 0 {
		return false
	}
	b.retries.add(now)
	return true
}
