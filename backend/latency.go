package backend

import (
	"encoding/json"
	"math/bits"
	"sync"
	"time"
)

// Latency is how long an endpoint took to answer: from when a connection was
// there to the end of the final header section, without the time in which the
// request's body was under way. Attempts that failed, answers of 500 and above
// among them, and active checks have no part in it. It covers the last 30 to
// 40 seconds; the quantiles are right within an eighth of their value. Without
// any answer in that time everything is 0.
type Latency struct {
	Answers int
	Fastest time.Duration
	P50     time.Duration
	P90     time.Duration
	P95     time.Duration
	P99     time.Duration
}

// MarshalJSON writes answers, fastestMs, p50Ms, p90Ms, p95Ms and p99Ms, durations
// as milliseconds.
func (l Latency) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Answers int     `json:"answers"`
		Fastest float64 `json:"fastestMs"`
		P50     float64 `json:"p50Ms"`
		P90     float64 `json:"p90Ms"`
		P95     float64 `json:"p95Ms"`
		P99     float64 `json:"p99Ms"`
	}{l.Answers, millis(l.Fastest), millis(l.P50), millis(l.P90), millis(l.P95), millis(l.P99)})
}

const (
	latencySlices   = 4
	latencySpan     = 10 * time.Second // of one slice
	latencySub      = 8                // buckets of one octave
	latencyOctaves  = 25               // above 8 µs: up to 2^28 µs, more than four minutes
	latencyBuckets  = latencySub * (latencyOctaves + 1)
	latencyGreatest = 1<<28 - 1 // in µs; what takes longer counts as this
)

// latencies is a histogram over a rolling window. Times are since the start of
// the backend, and are expected to rise.
type latencies struct {
	mu     sync.Mutex // guards what follows
	slices [latencySlices]latencySlice
}

type latencySlice struct {
	epoch   int64 // from 1; 0: never used
	count   uint32
	fastest uint32 // in µs
	buckets [latencyBuckets]uint32
}

// record adds one answer.
func (l *latencies) record(now, d time.Duration) {
	us := uint32(min(max(d, 0)/time.Microsecond, latencyGreatest))
	epoch := int64(now/latencySpan) + 1
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.slices[epoch%latencySlices]
	if s.epoch > epoch {
		return // somebody was held up for a whole window
	}
	if s.epoch != epoch {
		*s = latencySlice{epoch: epoch, fastest: us}
	}
	s.count++
	s.fastest = min(s.fastest, us)
	s.buckets[latencyBucket(us)]++
}

// summary is what was recorded in the window that ends now.
func (l *latencies) summary(now time.Duration) Latency {
	var all latencySlice
	l.addTo(&all, now)
	if all.count == 0 {
		return Latency{}
	}
	return Latency{
		Answers: int(all.count),
		Fastest: time.Duration(all.fastest) * time.Microsecond,
		P50:     all.quantile(0.50), P90: all.quantile(0.90), P95: all.quantile(0.95), P99: all.quantile(0.99),
	}
}

// addTo adds what was recorded in the window that ends now.
func (l *latencies) addTo(all *latencySlice, now time.Duration) {
	epoch := int64(now/latencySpan) + 1
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.slices {
		s := &l.slices[i]
		if s.epoch == 0 || s.epoch <= epoch-latencySlices {
			continue
		}
		if all.count == 0 || s.fastest < all.fastest {
			all.fastest = s.fastest
		}
		all.count += s.count
		for j, n := range s.buckets {
			all.buckets[j] += n
		}
	}
}

// quantile is the time within which the share q of the answers came, with an
// even spread assumed within a bucket.
func (s *latencySlice) quantile(q float64) time.Duration {
	rank := q * float64(s.count)
	below := 0.0
	for i, n := range s.buckets {
		if n == 0 {
			continue
		}
		if below+float64(n) >= rank {
			low, width := latencyBounds(i)
			part := (rank - below) / float64(n)
			us := float64(low) + part*float64(width)
			return max(time.Duration(us*float64(time.Microsecond)), time.Duration(s.fastest)*time.Microsecond)
		}
		below += float64(n)
	}
	return latencyGreatest * time.Microsecond
}

// latencyBucket is where a time belongs: one bucket per µs below 8, eight per
// octave above.
func latencyBucket(us uint32) int {
	if us < latencySub {
		return int(us)
	}
	exp := bits.Len32(us) - 1
	return (exp-2)*latencySub + int(us>>(exp-3))&(latencySub-1)
}

// latencyBounds is the least time in a bucket, and how many µs it spans.
func latencyBounds(i int) (low, width uint32) {
	if i < latencySub {
		return uint32(i), 1
	}
	exp := i/latencySub + 2
	return (latencySub + uint32(i%latencySub)) << (exp - 3), 1 << (exp - 3)
}

// await counts the attempt among those that wait for an answer, unless a client
// has to send a body first: how long that takes says nothing.
func (a *attempt) await() {
	if a.upload == nil {
		a.awaited = true
		a.ep.load.begin(a.at.start.Sub(a.b.began))
	}
}

// arrived ends the wait, whatever came.
func (a *attempt) arrived() {
	if a.awaited {
		a.awaited = false
		a.ep.load.leave(a.at.start.Sub(a.b.began))
	}
}

// measured is reached with a final header section that is no failure.
func (a *attempt) measured() {
	now := a.at.headers.Sub(a.b.began)
	from := a.at.start
	if !a.at.ready.IsZero() {
		from = a.at.ready
	}
	took := a.at.headers.Sub(from) - a.watch.stood()
	a.ep.load.measured(now, took)
	a.ep.latency.record(now, took)
}
