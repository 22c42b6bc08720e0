package ratelimit

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newLimiter(t testing.TB, cfg Config) *Limiter {
	t.Helper()
	l, err := New(cfg)
	if err != nil {
		t.Fatalf("New(%+v): %v", cfg, err)
	}
	return l
}

func TestNewValidates(t *testing.T) {
	good := []Config{
		{Rate: 1},
		{Rate: 0.001},
		{Rate: 1e-300, Burst: 1},
		{Rate: 1e9, Burst: 1e9},
		{Rate: 5, Burst: 1, MaxKeys: 1, Name: "per client"},
	}
	for _, cfg := range good {
		if _, err := New(cfg); err != nil {
			t.Errorf("New(%+v) = %v, want no error", cfg, err)
		}
	}
	bad := []struct {
		cfg  Config
		want []string
	}{
		{Config{}, []string{"Config.Rate is 0"}},
		{Config{Rate: -1}, []string{"Config.Rate is -1"}},
		{Config{Rate: math.NaN()}, []string{"Config.Rate is NaN"}},
		{Config{Rate: math.Inf(1)}, []string{"Config.Rate is +Inf"}},
		{Config{Rate: math.Inf(-1)}, []string{"Config.Rate is -Inf"}},
		{Config{Rate: math.MaxFloat64}, []string{"Config.Rate is 1.79"}}, // x/time/rate's "unlimited"
		{Config{Rate: 2e9}, []string{"Config.Rate is 2e+09"}},
		{Config{Rate: 1, Burst: -1}, []string{"Config.Burst is -1"}},
		{Config{Rate: 1, Burst: maxBurst + 1}, []string{"Config.Burst is 1000000001"}},
		{Config{Rate: 1, MaxKeys: -1}, []string{"Config.MaxKeys is -1"}},
		{Config{Rate: 1, Name: "ümlaut"}, []string{"Config.Name"}},
		{
			Config{Rate: math.NaN(), Burst: -1, MaxKeys: -1, Name: "\n"},
			[]string{"Config.Rate", "Config.Burst", "Config.MaxKeys", "Config.Name"},
		},
	}
	for _, tt := range bad {
		_, err := New(tt.cfg)
		if err == nil {
			t.Errorf("New(%+v) = nil, want an error with %q", tt.cfg, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("New(%+v) = %q, want it to contain %q", tt.cfg, err, want)
			}
		}
	}
}

func TestDefaultBurst(t *testing.T) {
	for rate, want := range map[float64]int{0.1: 1, 1: 1, 1.5: 2, 10: 10} {
		if got := newLimiter(t, Config{Rate: rate}).limits[0].Burst; got != want {
			t.Errorf("Burst of Rate %v = %d, want %d", rate, got, want)
		}
	}
}

func TestBucket(t *testing.T) {
	type step struct {
		after time.Duration
		n     int
		ok    bool
		retry time.Duration
	}
	tests := []struct {
		name  string
		rate  float64
		burst int
		steps []step
	}{
		{"burst, then the rate", 2, 3, []step{
			{0, 1, true, 0},
			{0, 1, true, 0},
			{0, 1, true, 0},
			{0, 1, false, 500 * time.Millisecond},
			{499 * time.Millisecond, 1, false, time.Millisecond},
			{time.Millisecond, 1, true, 0},
			{0, 1, false, 500 * time.Millisecond},
			{time.Hour, 3, true, 0}, // no more than a burst was saved
			{0, 1, false, 500 * time.Millisecond},
		}},
		{"several at once, all or nothing", 1, 10, []step{
			{0, 8, true, 0},
			{0, 5, false, 3 * time.Second},
			{0, 2, true, 0}, // the refusal took nothing
			{0, 10, false, 10 * time.Second},
		}},
		{"more than the burst is never", 100, 5, []step{
			{0, 6, false, 0},
			{time.Hour, 6, false, 0},
			{0, 5, true, 0},
		}},
		{"nothing is always", 1, 1, []step{
			{0, 1, true, 0},
			{0, 0, true, 0},
			{0, -5, true, 0}, // and gives nothing back
			{0, 1, false, time.Second},
		}},
		{"less than one per hour", 1.0 / 7200, 1, []step{
			{0, 1, true, 0},
			{time.Hour, 1, false, time.Hour},
		}},
		{"a rate that never comes", 1e-300, 1, []step{
			{0, 1, true, 0},
			{0, 1, false, maxWait},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimiter(t, Config{Rate: tt.rate, Burst: tt.burst})
				for i, s := range tt.steps {
					time.Sleep(s.after)
					ok, retry := l.AllowN("k", s.n)
					if diff := (retry - s.retry).Abs(); ok != s.ok || diff > time.Microsecond {
						t.Errorf("step %d: AllowN(%d) = %t, %v, want %t, %v", i, s.n, ok, retry, s.ok, s.retry)
					}
				}
			})
		})
	}
}

// Asking for the time until the next permit with a reservation that is given
// back burns permits.
func TestFloodIsServedAtItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Rate: 10, Burst: 10})
		granted := 0
		for range 100_000 { // 1000 per second
			if ok, _ := l.Allow("flood"); ok {
				granted++
			}
			time.Sleep(time.Millisecond)
		}
		if granted < 1008 || granted > 1011 {
			t.Errorf("granted %d in 100 s at 10 per second with burst 10, want about 1010", granted)
		}
		ok, retry := l.Allow("flood")
		for range 3 {
			ok, retry = l.Allow("flood")
		}
		if ok || retry > 100*time.Millisecond {
			t.Errorf("after the flood: Allow = %t, %v, want at most 100ms to wait", ok, retry)
		}
	})
}

// RetryAfter is kept: who waits for it, and no less, is served.
func TestRetryAfterIsTrue(t *testing.T) {
	for _, rate := range []float64{0.3, 1, 3, 7, 33.3, 1e6} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(t, Config{Rate: rate, Burst: 3})
			for i := range 200 {
				ok, retry := l.Allow("k")
				if ok {
					continue
				}
				if retry <= 0 {
					t.Fatalf("rate %v, call %d: refused with retryAfter %v", rate, i, retry)
				}
				if retry > 2*time.Nanosecond {
					time.Sleep(retry - 2*time.Nanosecond)
					if ok, _ := l.Allow("k"); ok {
						t.Fatalf("rate %v, call %d: granted before retryAfter %v", rate, i, retry)
					}
					time.Sleep(2 * time.Nanosecond)
				} else {
					time.Sleep(retry)
				}
				if ok, again := l.Allow("k"); !ok && again > 1 {
					t.Fatalf("rate %v, call %d: refused after retryAfter %v, now %v", rate, i, retry, again)
				}
			}
		})
	}
}

// Goroutines that bring a time from before the lock over-admit.
func TestContention(t *testing.T) {
	const rate, burst, goroutines = 50_000, 100, 64
	l := newLimiter(t, Config{Rate: rate, Burst: burst})
	var granted atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range goroutines {
		wg.Go(func() {
			for time.Since(start) < 500*time.Millisecond {
				for range 100 {
					if ok, _ := l.Allow("one"); ok {
						granted.Add(1)
					}
				}
			}
		})
	}
	wg.Wait()
	most := (rate*time.Since(start).Seconds() + burst) * 1.01
	if got := float64(granted.Load()); got > most || got < burst {
		t.Errorf("granted %v, want %v to %v", got, burst, most)
	}
}

func TestKeysAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Rate: 1, Burst: 1})
		long := strings.Repeat("x", 10_000)
		for _, key := range []string{"", "a", "b", long, long + "y"} {
			if ok, _ := l.Allow(key); !ok {
				t.Errorf("first Allow(%.10q...) = false, want true", key)
			}
			if ok, _ := l.Allow(key); ok {
				t.Errorf("second Allow(%.10q...) = true, want false", key)
			}
		}
		if l.Len() != 5 {
			t.Errorf("Len = %d, want 5", l.Len())
		}
		for i := range l.limits[0].table.shards {
			for key := range l.limits[0].table.shards[i].buckets {
				if len(key) > maxKey {
					t.Errorf("a key of %d bytes is kept, want at most %d", len(key), maxKey)
				}
			}
		}
	})
}

// Rotating keys neither grows the table nor makes it forget a debt.
func TestRotation(t *testing.T) {
	for _, maxKeys := range []int{1, 7, 100, 5000} {
		t.Run(fmt.Sprint(maxKeys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var overflowed int
				l := newLimiter(t, Config{Rate: 1, Burst: 100, MaxKeys: maxKeys, Observe: func(_ context.Context, ev Event) {
					if ev.Overflow {
						overflowed++
					}
				}})
				// It enters the queue with a small debt, and makes it a large one.
				for _, n := range []int{1, 99} {
					if ok, _ := l.AllowN("debtor", n); !ok {
						t.Fatal("the first burst was refused")
					}
				}
				for i := range 10 * maxKeys {
					l.Allow(fmt.Sprint("rotating ", i))
					if l.Len() > maxKeys {
						t.Fatalf("Len = %d, want at most %d", l.Len(), maxKeys)
					}
				}
				if overflowed < 8*maxKeys {
					t.Errorf("%d decisions of the shared bucket, want at least %d: none of the others was full again", overflowed, 8*maxKeys)
				}
				if ok, _ := l.Allow("debtor"); ok {
					t.Error("the debtor got a permit")
				}
				// A second later the rotating buckets are full again, and make room.
				time.Sleep(time.Second)
				for i := range 10 * maxKeys {
					l.Allow(fmt.Sprint("others ", i))
				}
				if ok, _ := l.AllowN("debtor", 2); ok {
					t.Error("the debtor got a fresh burst: its bucket was forgotten in debt")
				}
			})
		})
	}
}

// Every bucket that is full again makes room, also those that were used after
// they entered the queue.
func TestRoomComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const maxKeys = 3000
		overflowed := false
		l := newLimiter(t, Config{Rate: 1, Burst: 10, MaxKeys: maxKeys, Observe: func(_ context.Context, ev Event) {
			overflowed = ev.Overflow
		}})
		for i := range maxKeys {
			l.Allow(fmt.Sprint("old ", i))
		}
		for i := range maxKeys {
			l.AllowN(fmt.Sprint("old ", i), i%10) // debts of 1 to 10 s
		}
		if l.Len() != maxKeys {
			t.Fatalf("Len = %d, want %d", l.Len(), maxKeys)
		}
		time.Sleep(5*time.Second + time.Millisecond)
		for i := range maxKeys { // about half are full again; the others are put back with their new due
			l.Allow(fmt.Sprint("middle ", i))
		}
		checkQueues(t, l)
		time.Sleep(5 * time.Second)
		for i := range maxKeys {
			l.Allow(fmt.Sprint("new ", i))
			for tries := 0; overflowed && tries < maxKeys; tries++ { // a search is bounded; the next one goes on
				l.Allow(fmt.Sprint("new ", i))
			}
			if overflowed {
				// The last few may find their own shard used up by new keys.
				if i < maxKeys*9/10 {
					t.Fatalf("key %d of %d found no room", i, maxKeys)
				}
				break
			}
		}
		checkQueues(t, l)
	})
}

// checkQueues: every bucket is in its shard's queue once, in heap order, with a
// due that is not after the truth.
func checkQueues(t *testing.T, l *Limiter) {
	t.Helper()
	total := 0
	for _, lim := range l.limits {
		for i := range lim.table.shards {
			s := &lim.table.shards[i]
			if len(s.queue) != len(s.buckets) {
				t.Errorf("shard %d: %d queued, %d buckets", i, len(s.queue), len(s.buckets))
			}
			total += len(s.buckets)
			now := s.clock.nowLocked()
			for j, q := range s.queue {
				if s.buckets[q.bucket.key] != q.bucket || q.bucket.pos != j {
					t.Errorf("shard %d: queued %q is not in the map, or not at %d", i, q.bucket.key, j)
				}
				if parent := (j - 1) / 2; j > 0 && s.queue[parent].due > q.due {
					t.Errorf("shard %d: heap order broken at %d", i, j)
				}
				if missing := until(q.bucket.lim, now, lim.Burst); missing > 0 && q.due > lim.table.dueAt(now, missing)+1 {
					t.Errorf("shard %d: %q is due %v after it is full", i, q.bucket.key, time.Duration(q.due-lim.table.dueAt(now, missing)))
				}
			}
		}
	}
	if total != l.Len() {
		t.Errorf("Len = %d, want %d", l.Len(), total)
	}
}

func TestConcurrentRotation(t *testing.T) {
	const maxKeys = 4096
	l := newLimiter(t, Config{Rate: 1e6, Burst: 2, MaxKeys: maxKeys})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20_000 {
				l.Allow(fmt.Sprint(g, " ", i))
				if n := l.Len(); n > maxKeys {
					t.Errorf("Len = %d, want at most %d", n, maxKeys)
					return
				}
			}
		})
	}
	wg.Wait()
	checkQueues(t, l)
}

// A table that is asked for exactly as many keys as it may hold has room for
// all, however they fall on the shards.
func TestMaxKeysIsExact(t *testing.T) {
	const maxKeys = 50_000
	overflowed := 0
	l := newLimiter(t, Config{Rate: 0.001, MaxKeys: maxKeys, Observe: func(_ context.Context, ev Event) {
		if ev.Overflow {
			overflowed++
		}
	}})
	for i := range maxKeys {
		l.Allow(fmt.Sprint(i))
	}
	if l.Len() != maxKeys || overflowed != 0 {
		t.Errorf("Len = %d with %d overflowed, want %d and 0", l.Len(), overflowed, maxKeys)
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	c := clock{last: time.Now().Add(time.Hour)}
	ahead := c.last
	if got := c.nowLocked(); !got.Equal(ahead) {
		t.Errorf("nowLocked() = %v, want %v", got, ahead)
	}
}

func TestWait(t *testing.T) {
	tests := []struct {
		missing, perSecond float64
		want               time.Duration
	}{
		{0, 1, 0},
		{-3, 1, 0},
		{1, 1, time.Second},
		{1, 3, 333333333},
		{1e-12, 1, 0},
		{1.0000000000001, 1, time.Second},
		{1, 1e-300, maxWait},
		{1e9, 5e-324, maxWait},
	}
	for _, tt := range tests {
		if got := wait(tt.missing, tt.perSecond); got != tt.want {
			t.Errorf("wait(%v, %v) = %v, want %v", tt.missing, tt.perSecond, got, tt.want)
		}
	}
}
