package ratelimit

import (
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// 64 goroutines on one key for a second of a clock that no machine slows down:
// what is admitted is the rate and a burst, within 1 %.
func TestOneKeyVirtualClock(t *testing.T) {
	for _, limits := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			const perSecond, burst = 5000, 500
			var cfg Config
			for i := range limits {
				cfg.Limits = append(cfg.Limits, Limit{Name: fmt.Sprint(i), Rate: perSecond * float64(i+1), Burst: burst * (i + 1)})
			}
			l := newLimiter(t, cfg)
			var granted atomic.Int64
			start := time.Now()
			var wg sync.WaitGroup
			for g := range 64 {
				wg.Go(func() {
					time.Sleep(time.Duration(g) * 7 * time.Microsecond)
					for time.Since(start) < time.Second {
						if ok, _ := l.Allow("one"); ok {
							granted.Add(1)
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
			wg.Wait()
			const want = perSecond + burst
			if got := float64(granted.Load()); got > want*1.01 || got < want*0.99 {
				t.Errorf("%d limits: granted %v, want %v within 1 %%", limits, got, want)
			}
		})
	}
}

// The same on the machine's clock. The burst is taken first, and it is so large
// that the bucket is never full again, however slow the machine is: nothing is
// lost but by a mistake.
func TestOneKeyRealClock(t *testing.T) {
	const perSecond, burst = 500, 5000
	l := newLimiter(t, Config{Rate: perSecond, Burst: burst})
	before := time.Now()
	l.AllowN("one", burst)
	start := time.Now()
	var granted atomic.Int64
	granted.Add(burst)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for time.Since(start) < time.Second {
				if ok, _ := l.Allow("one"); ok {
					granted.Add(1)
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	left, last := drain(func() bool { ok, _ := l.Allow("one"); return ok })
	granted.Add(left)
	got := float64(granted.Load())
	most := perSecond*time.Since(before).Seconds() + burst
	least := perSecond*last.Sub(start).Seconds() + burst
	if got > most*1.01 || got < least*0.99 {
		t.Errorf("granted %v, want %v to %v within 1 %%", got, least, most)
	}
}

// drain takes what is left. last is before the first refusal: until then every
// permit was taken.
func drain(take func() bool) (n int64, last time.Time) {
	for {
		last = time.Now()
		if !take() {
			return n, last
		}
		n++
	}
}

// site is a backend of so many workers, each of which takes a time per request.
// Who finds no worker within the patience is lost.
type site struct {
	workers           chan struct{}
	service, patience time.Duration
}

func (s *site) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	patience := time.NewTimer(s.patience)
	defer patience.Stop()
	select {
	case s.workers <- struct{}{}:
		time.Sleep(s.service)
		<-s.workers
		w.WriteHeader(http.StatusOK)
	case <-patience.C:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// One address at 1500 per second and twenty at 5 each, in front of a backend
// that does 300: the twenty are served.
func TestAbuser(t *testing.T) {
	const seconds = 6
	run := func(t *testing.T, wrap func(http.Handler) http.Handler) (share float64) {
		var served, asked atomic.Int64
		synctest.Test(t, func(*testing.T) {
			h := wrap(&site{workers: make(chan struct{}, 15), service: 50 * time.Millisecond, patience: time.Second})
			var wg sync.WaitGroup
			arrive := func(from string, every, offset time.Duration, count func(status int)) {
				wg.Go(func() {
					time.Sleep(offset)
					for range int(seconds * time.Second / every) {
						wg.Go(func() { count(get(h, from).StatusCode) })
						time.Sleep(every)
					}
				})
			}
			arrive("203.0.113.1:1", time.Second/1500, 0, func(int) {})
			for i := range 20 {
				arrive(fmt.Sprintf("192.0.2.%d:1", i+1), time.Second/5, time.Duration(i)*9*time.Millisecond, func(status int) {
					asked.Add(1)
					if status == http.StatusOK {
						served.Add(1)
					}
				})
			}
			wg.Wait()
		})
		return float64(served.Load()) / float64(asked.Load())
	}
	for name, cfg := range map[string]Config{
		"refused at once": {Rate: 20, Burst: 40},
		"waiting":         {Rate: 20, Burst: 40, MaxDelay: 500 * time.Millisecond, MaxWaiting: 50},
		"two limits":      {Limits: []Limit{{Name: "second", Rate: 20, Burst: 40}, {Name: "minute", Rate: 10, Burst: 600}}},
	} {
		if share := run(t, newLimiter(t, cfg).Handler); share < 0.995 {
			t.Errorf("%s: %.2f %% of the normal ones were served, want 99.5 %%", name, 100*share)
		}
	}
	if share := run(t, func(h http.Handler) http.Handler { return h }); share > 0.6 {
		t.Errorf("without a limit %.2f %% were served: the test shows nothing", 100*share)
	}
}

// heap is how many bytes live.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What a key costs, and that rotating keys cost no more than MaxKeys do.
func TestMemory(t *testing.T) {
	const maxKeys = 20_000
	for _, limits := range []int{1, 3} {
		var cfg Config
		cfg.MaxKeys = maxKeys
		for i := range limits {
			cfg.Limits = append(cfg.Limits, Limit{Name: fmt.Sprint(i), Rate: 0.01, Burst: 10})
		}
		before := heap()
		l := newLimiter(t, cfg)
		for i := range maxKeys {
			l.Allow(fmt.Sprintf("2001:db8:%x:%x::/64", i>>16, i&0xffff))
		}
		full := heap()
		perKey := float64(full-before) / maxKeys / float64(limits)
		t.Logf("%d limits: %.0f bytes per key and limit", limits, perKey)
		if perKey > 250 {
			t.Errorf("%d limits: %.0f bytes per key and limit, want at most 250", limits, perKey)
		}
		for i := range 10 * maxKeys {
			l.Allow(fmt.Sprintf("2001:db8:ffff:%x:%x::/64", i>>16, i&0xffff))
		}
		if grown := heap() - full; grown > (full-before)/10 {
			t.Errorf("%d limits: rotating keys took %d bytes more, want none", limits, grown)
		}
		if l.Len() != limits*maxKeys {
			t.Errorf("Len = %d, want %d", l.Len(), limits*maxKeys)
		}
	}
}
