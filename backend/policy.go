package backend

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Balance is how the endpoint for an attempt is chosen among those that are
// equally fit. Every policy respects [Endpoint.Weight].
type Balance uint8

const (
	// PowerOfTwo draws two endpoints and takes the better one by the time that
	// it takes to answer, its requests in flight, and its failures. The time
	// follows a rise at once and decays within seconds (peak EWMA), so that slow
	// endpoints get few requests and are noticed when they recover. Endpoints
	// that do equally well share by weight. It is the default.
	PowerOfTwo Balance = iota
	// RoundRobin gives each endpoint its exact share in turn, evenly spread.
	RoundRobin
	// LeastInFlight takes the endpoint with the fewest requests in flight for
	// its weight.
	LeastInFlight
	// ConsistentHash has requests of the same [Config.HashKey] go to the same
	// endpoint as long as it may be used and has not more than its share of the
	// requests in flight and a quarter above. Few keys move when endpoints come
	// and go. A request with the key "" is balanced as by PowerOfTwo.
	ConsistentHash
)

var balanceNames = [...]string{"p2c", "round-robin", "least-in-flight", "hash"}

// String is "p2c", "round-robin", "least-in-flight" or "hash".
func (b Balance) String() string {
	if int(b) < len(balanceNames) {
		return balanceNames[b]
	}
	return fmt.Sprintf("balance(%d)", uint8(b))
}

// ParseBalance is the reverse of [Balance.String].
func ParseBalance(name string) (Balance, error) {
	for i, one := range balanceNames {
		if name == one {
			return Balance(i), nil
		}
	}
	return 0, fmt.Errorf("backend: balance %q: must be one of %s", name, strings.Join(balanceNames[:], ", "))
}

const (
	loadDecay = 10 * time.Second // to 1/e
	// loadGrain is added to every time to answer: differences far below it are
	// nothing to a visitor, and mostly noise.
	loadGrain = 10 * time.Millisecond
	// answerStep is the least part that an answer has in the time to answer.
	answerStep = 0.2
	// A failure has this part in the share of failures, and a success as much
	// in forgetting them.
	failureStep = 0.1
	// failureTrace is a share of failures that is as good as none.
	failureTrace = 0.02
	// failurePenalty is how much worse an endpoint is that does nothing but
	// fail, however fast it does. What fails for good is ejected, for which it
	// has to be seen failing a few times.
	failurePenalty = 4
)

// load is what the balance knows of how an endpoint does. Times are since the
// start of the backend.
type load struct {
	mu      sync.Mutex    // guards what follows
	waiting int           // attempts that wait for their final header section
	started int64         // the sum of when those began, in µs
	peak    time.Duration // time to answer; rises at once
	peakAt  time.Duration // when peak was last set; 0: never
	failing float64       // share of failures among the latest attempts
	failAt  time.Duration
}

// begin notes an attempt that waits from now on.
func (l *load) begin(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting++
	l.started += now.Microseconds()
}

// leave notes that the attempt that began at start waits no more.
func (l *load) leave(start time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
	l.started -= start.Microseconds()
}

// measured notes a good answer that took d.
func (l *load) measured(now, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rise(now, d)
	l.failing = decayed(l.failing, now-l.failAt) * (1 - failureStep)
	l.failAt = now
}

// outrun notes that an answer takes d at least.
func (l *load) outrun(now, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d > l.peak {
		l.rise(now, d)
	}
}

// failed notes a failure after d. How fast it came is no merit: only what was
// slower than answers are counts as their time.
func (l *load) failed(now, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peakAt != 0 && d > l.peak {
		l.rise(now, d)
	}
	was := decayed(l.failing, now-l.failAt)
	l.failing = was + (1-was)*failureStep
	l.failAt = now
}

// settled notes how an attempt ended, if it is a failure of the endpoint.
func (l *load) settled(o *outcome, now time.Duration) {
	if o.verdict() == failure.Neutral {
		return
	}
	end := o.ended
	if !o.headers.IsZero() {
		end = o.headers
	}
	l.failed(now, end.Sub(o.began)-o.uploaded)
}

// rise requires that l.mu is held.
func (l *load) rise(now, d time.Duration) {
	switch {
	case l.peakAt == 0 || d > l.peak:
		l.peak = d
	default:
		keep := min(decayed(1, now-l.peakAt), 1-answerStep)
		l.peak = time.Duration(keep*float64(l.peak) + (1-keep)*float64(d))
	}
	l.peakAt = max(now, 1)
}

// burden is what an endpoint would take another request with.
type burden struct {
	answer  time.Duration // what an answer takes by the latest ones; 0: not known
	waited  time.Duration // how long those that wait do on average
	failing float64       // share of failures
	crowd   float64       // requests in flight beside the average weight
}

// burden is that of this moment, but for the crowd.
func (l *load) burden(now time.Duration) burden {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b burden
	if l.peakAt != 0 {
		b.answer = max(time.Duration(decayed(1, now-l.peakAt)*float64(l.peak)), 1)
	}
	if l.waiting > 0 {
		b.waited = max(now-time.Duration(l.started/int64(l.waiting))*time.Microsecond, 0)
	}
	if l.failing > 0 {
		b.failing = decayed(l.failing, now-l.failAt)
	}
	return b
}

func decayed(v float64, since time.Duration) float64 {
	if v == 0 || since <= 0 {
		return v
	}
	return v * math.Exp(-float64(since)/float64(loadDecay))
}

// burdens compares two endpoints. One of which nothing is known stands as the
// other does, so that it is nobody's favourite. One that fails is not faster
// than the other, whatever it answered in before.
func burdens(a, b burden) (ofA, ofB float64) {
	most := max(a.answer, b.answer)
	if a.answer == 0 || a.failing > failureTrace {
		a.answer = most
	}
	if b.answer == 0 || b.failing > failureTrace {
		b.answer = most
	}
	return a.sum(), b.sum()
}

func (b burden) sum() float64 {
	wait := float64(max(b.answer, b.waited) + loadGrain)
	return wait * (1 + b.crowd) * (1 + failurePenalty*b.failing)
}

// yields is the probability with which an endpoint gives a request away to
// another one that was drawn after it. Where neither is better the first draw
// stands, so that shares are by weight. Against half of the burden it falls seven
// of eight times, against a tenth less every fourth time: what differs by noise
// alone is shared.
func yields(mine, other float64) float64 {
	if other >= mine {
		return 0
	}
	ratio := other / mine
	return 1 - ratio*ratio*ratio
}
