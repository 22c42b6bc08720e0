package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// What is easy to get wrong with x/time/rate, each with what the library does
// when it is used carelessly beside what a Limiter does.

// Trap 1: a reservation that is cancelled, to learn the time until the next
// permit, burns permits.
func TestTrapReserveAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		careless := rate.NewLimiter(10, 10)
		l := newLimiter(t, Config{Rate: 10, Burst: 10})
		var theirs, ours int
		for range 20_000 { // 20 s at 1000 per second
			var both [2]*rate.Reservation // of two callers at the same time
			for i := range both {
				both[i] = careless.Reserve()
			}
			for _, r := range both {
				if r.Delay() == 0 {
					theirs++
				} else {
					r.Cancel()
				}
			}
			if ok, _ := l.Allow("k"); ok {
				ours++
			}
			time.Sleep(time.Millisecond)
		}
		if ours < 208 || ours > 211 {
			t.Errorf("granted %d, want about 210", ours)
		}
		if theirs > ours/2 {
			t.Errorf("careless use grants %d: the trap is gone, and AllowN with TokensAt may be, too", theirs)
		}
		ok, retry := l.Allow("k")
		for ok {
			ok, retry = l.Allow("k")
		}
		time.Sleep(retry)
		if ok, _ := l.Allow("k"); !ok {
			t.Error("the time that was told is not enough")
		}
	})
}

// Trap 2: a time that was taken before the lock turns the bucket's clock back,
// and the same instant is granted twice.
func TestTrapTimeBeforeTheLock(t *testing.T) {
	const perSecond = 1000
	start := time.Now()
	careless := rate.NewLimiter(perSecond, 1)
	late, early := start.Add(time.Second), start.Add(500*time.Millisecond)
	theirs := 0
	for range 100 { // two callers, each with a time of its own, in turn
		if careless.AllowN(late, 1) {
			theirs++
		}
		if careless.AllowN(early, 0) { // what any grant of the other one does to the clock
			theirs++
		}
	}
	if theirs < 150 {
		t.Errorf("careless use grants %d of 200: the trap is gone, and our clamp may be, too", theirs)
	}
	// Our clock is read under the lock and never goes back, whatever time.Now says.
	c := clock{last: late}
	ours := rate.NewLimiter(perSecond, 1)
	granted := 0
	for range 100 {
		now := c.nowLocked()
		if now.Before(late) {
			t.Fatalf("nowLocked() = %v, before %v", now, late)
		}
		if ours.AllowN(now, 1) {
			granted++
		}
	}
	if granted > 1 && time.Now().Before(late) {
		t.Errorf("granted %d in an instant, want 1", granted)
	}
}

// Trap 3: NaN admits everything, the largest rate is "unlimited", 0 hands out
// the burst, and more than the burst never comes.
func TestTrapSettings(t *testing.T) {
	for name, careless := range map[string]*rate.Limiter{
		"NaN": rate.NewLimiter(rate.Limit(math.NaN()), 1), "Every(0)": rate.NewLimiter(rate.Every(0), 1),
	} {
		n := 0
		for range 1000 {
			if careless.Allow() {
				n++
			}
		}
		if n != 1000 {
			t.Errorf("%s: careless use grants %d of 1000: the trap is gone", name, n)
		}
	}
	for _, r := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, -1, math.MaxFloat64, float64(rate.Every(0))} {
		if _, err := New(Config{Rate: r, Burst: 1}); err == nil {
			t.Errorf("New accepts a Rate of %v", r)
		}
		if _, err := New(Config{Limits: []Limit{{Rate: 1, Burst: 1}, {Name: "b", Rate: r, Burst: 1}}}); err == nil {
			t.Errorf("New accepts a second limit of Rate %v", r)
		}
	}
	l := newLimiter(t, Config{Rate: 1, Burst: 3})
	if ok, retry := l.AllowN("k", 4); ok || retry != 0 {
		t.Errorf("AllowN of more than the burst = %t, %v, want never: false, 0", ok, retry)
	}
	costly := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 3, Cost: func(*http.Request) int { return 4 }}}}).Handler(pass)
	if got := get(costly, "192.0.2.1:1").StatusCode; got != http.StatusNoContent {
		t.Errorf("a request that costs more than the burst = %d, want it possible", got)
	}
}

// Trap 4: a key that was evicted comes back with a full bucket, so only full
// ones are evicted.
func TestTrapEviction(t *testing.T) {
	const maxKeys = 2000
	for _, limits := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			var cfg Config
			cfg.MaxKeys = maxKeys
			for i := range limits {
				cfg.Limits = append(cfg.Limits, Limit{Name: fmt.Sprint(i), Rate: 1, Burst: 50})
			}
			l := newLimiter(t, cfg)
			if ok, _ := l.AllowN("debtor", 50); !ok {
				t.Fatal("the first burst was refused")
			}
			granted := 0
			for i := range 10 * maxKeys {
				l.Allow(fmt.Sprint("rotating ", i))
				if i%1000 == 0 {
					time.Sleep(time.Second) // the rotating ones are full again
					if ok, _ := l.Allow("debtor"); ok {
						granted++
					}
				}
				if l.Len() > limits*maxKeys {
					t.Fatalf("Len = %d, want at most %d", l.Len(), limits*maxKeys)
				}
			}
			if granted > 20 {
				t.Errorf("%d limits: the debtor got %d in 20 s at 1 per second: a fresh burst", limits, granted)
			}
			if granted < 19 {
				t.Errorf("%d limits: the debtor got %d in 20 s at 1 per second: permits were lost", limits, granted)
			}
		})
	}
}

// Trap 5: SetBurst does not refill and SetLimit keeps debts. Settings never
// change here, not even by what is done to the Config after New; a limiter whose
// settings stay is kept by whoever reloads.
func TestTrapChangingSettings(t *testing.T) {
	careless := rate.NewLimiter(1, 1)
	careless.Allow()
	careless.SetBurst(100)
	if careless.AllowN(time.Now(), 50) {
		t.Error("SetBurst refills: the trap is gone")
	}
	limits := []Limit{{Rate: 1e-6, Burst: 1}}
	allow := prefixes("10.0.0.0/8")
	l := newLimiter(t, Config{Limits: limits, Allow: allow})
	limits[0] = Limit{Rate: 1e9, Burst: 1e9}
	allow[0] = prefixes("0.0.0.0/0")[0]
	h := l.Handler(pass)
	get(h, "192.0.2.1:1")
	if got := get(h, "192.0.2.1:1").StatusCode; got != http.StatusTooManyRequests {
		t.Errorf("after a change of the Config: %d, want 429", got)
	}
}

// Giving back is AllowN of a negative number: it must not fill a bucket above
// its burst, in whatever order it comes.
func TestTrapGivingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, Config{Limits: []Limit{guesses(3, 401)}})
		for range 100 {
			l.GiveBack(1, "k")
		}
		granted := 0
		for range 100 {
			if ok, _ := l.Allow("k"); ok {
				granted++
			}
		}
		l.GiveBack(3, "k")
		time.Sleep(time.Hour)
		l.GiveBack(3, "k")
		for range 100 {
			if ok, _ := l.Allow("k"); ok {
				granted++
			}
		}
		if granted != 6 {
			t.Errorf("granted %d, want a burst of 3 twice", granted)
		}
	})
}

// Giving back from many goroutines neither makes nor loses permits.
func TestGivingBackUnderContention(t *testing.T) {
	l := newLimiter(t, Config{Limits: []Limit{{Rate: 1e-6, Burst: 10, Count: guesses(1).Count}}, MaxKeys: 4})
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for i := range 2000 {
				key := fmt.Sprint((g + i) % 4)
				if l.Decide(1, key).OK {
					l.GiveBack(1, key)
				}
			}
		})
	}
	wg.Wait()
	checkQueues(t, l)
	for key := range 4 {
		if ok, _ := l.AllowN(fmt.Sprint(key), 10); !ok {
			t.Errorf("key %d: permits were lost", key)
		}
		if ok, _ := l.Allow(fmt.Sprint(key)); ok {
			t.Errorf("key %d: permits were made", key)
		}
	}
}
