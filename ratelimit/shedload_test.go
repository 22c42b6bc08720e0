package ratelimit

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// works is a backend of some workers with an unbounded queue, which finishes what it
// was given though nobody waits for it any more.
type works struct {
	service time.Duration
	mu      sync.Mutex // guards free
	free    []time.Time
}

func newWorks(workers int, service time.Duration) *works {
	return &works{service: service, free: make([]time.Time, workers)}
}

// ServeHTTP implements [http.Handler].
func (k *works) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	first := 0
	for i := range k.free {
		if k.free[i].Before(k.free[first]) {
			first = i
		}
	}
	now := time.Now()
	if k.free[first].Before(now) {
		k.free[first] = now
	}
	k.free[first] = k.free[first].Add(k.service)
	ready := time.NewTimer(k.free[first].Sub(now))
	k.mu.Unlock()
	defer ready.Stop()
	select {
	case <-ready.C:
		w.WriteHeader(http.StatusNoContent)
	case <-r.Context().Done():
		w.WriteHeader(http.StatusBadGateway) // as proxies do for nobody
	}
}

// asked is one request and what became of it.
type asked struct {
	priority Priority
	came     time.Duration // since the beginning
	took     time.Duration
	status   int
}

// offer has open-loop arrivals, so many per second, of clients that leave after a
// second.
func offer(h http.Handler, rate float64, d time.Duration, priority func(*rand.Rand) Priority) []asked {
	random := rand.New(rand.NewPCG(3, 9))
	var (
		mu  sync.Mutex
		all []asked
		wg  sync.WaitGroup
	)
	for began := time.Now(); time.Since(began) < d; time.Sleep(time.Duration(random.ExpFloat64() / rate * float64(sec))) {
		a := asked{priority: priority(random), came: time.Since(began)}
		wg.Go(func() {
			ctx, cancel := context.WithTimeoutCause(context.Background(), sec, context.Canceled)
			defer cancel()
			defer func() {
				_ = recover() // the abort for a client that left
				mu.Lock()
				defer mu.Unlock()
				all = append(all, a)
			}()
			w := httptest.NewRecorder()
			start := time.Now()
			h.ServeHTTP(w, ask(a.priority).WithContext(ctx))
			a.took, a.status = time.Since(start), w.Code
		})
	}
	wg.Wait()
	return all
}

func allNormal(*rand.Rand) Priority { return Normal }

// after is what came from then on.
func after(all []asked, from time.Duration, keep func(asked) bool) (took []time.Duration) {
	for _, a := range all {
		if a.came >= from && keep(a) {
			took = append(took, a.took)
		}
	}
	slices.Sort(took)
	return took
}

func served(a asked) bool { return a.status == http.StatusNoContent && a.took <= sec }
func shedded(a asked) bool {
	return a.status == http.StatusServiceUnavailable
}

// Three times what it can do is offered to a backend whose capacity is configured
// nowhere.
func TestShedderOverload(t *testing.T) {
	const from, to = 3 * sec, 9 * sec
	synctest.Test(t, func(t *testing.T) {
		s := newShedder(t, ShedderConfig{})
		all := offer(s.Handler(newWorks(20, 50*ms)), 1200, to, allNormal)
		good, shed := after(all, from, served), after(all, from, shedded)
		share := float64(len(good)) / (400 * (to - from).Seconds())
		if share < 0.85 {
			t.Errorf("%.0f %% of what is possible, want at least 85", share*100)
		}
		p99 := good[len(good)*99/100]
		if most := defaultShedWait + 3*50*ms; p99 > most {
			t.Errorf("p99 of the admitted is %v, want at most %v", p99, most)
		}
		if len(good)+len(shed) < len(after(all, from, func(asked) bool { return true }))*99/100 {
			t.Errorf("%d served and %d shed are not all", len(good), len(shed))
		}
		if last := shed[len(shed)-1]; last > defaultShedWait {
			t.Errorf("one is shed after %v, want at most %v", last, defaultShedWait)
		}
		t.Logf("%.1f %% of what is possible, p99 %v, shed: half within %v", share*100, p99, shed[len(shed)/2])
	})
	t.Run("without", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			all := offer(newWorks(20, 50*ms), 1200, to, allNormal)
			share := float64(len(after(all, from, served))) / (400 * (to - from).Seconds())
			if share > 0.1 {
				t.Errorf("%.0f %% of what is possible without protection: no overload", share*100)
			}
			t.Logf("%.1f %% of what is possible", share*100)
		})
	})
	t.Run("dry run", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			would := 0
			var mu sync.Mutex
			s := newShedder(t, ShedderConfig{DryRun: true, Observe: func(_ context.Context, ev ShedEvent) {
				mu.Lock()
				defer mu.Unlock()
				if !ev.DryRun {
					t.Errorf("event %+v is none of a dry run", ev)
				}
				if ev.Kind == Shed {
					would++
				}
			}})
			all := offer(s.Handler(newWorks(20, 50*ms)), 1200, to, allNormal)
			if n := len(after(all, 0, shedded)); n > 0 {
				t.Errorf("%d are shed in a dry run", n)
			}
			if would < len(all)/2 {
				t.Errorf("%d of %d would have been shed, want two thirds or so", would, len(all))
			}
		})
	})
}

func TestShedderPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShedder(t, ShedderConfig{Priority: byHeader})
		all := offer(s.Handler(newWorks(20, 50*ms)), 1200, 8*sec, func(r *rand.Rand) Priority {
			return [...]Priority{Critical, Normal, Normal, Sheddable, Sheddable}[r.IntN(5)]
		})
		var share [3]float64
		for p := range share {
			of := func(a asked) bool { return a.priority == Priority(p) }
			share[p] = float64(len(after(all, 2*sec, func(a asked) bool { return of(a) && served(a) }))) / float64(len(after(all, 2*sec, of)))
			t.Logf("%v: %.1f %% served", Priority(p), share[p]*100)
		}
		if share[Critical] < 0.99 || share[Sheddable] > 0.1 || share[Normal] < 0.2 {
			t.Errorf("served: critical %.3f, normal %.3f, sheddable %.3f, want nearly all, some, nearly none", share[Critical], share[Normal], share[Sheddable])
		}
	})
}

// Below its capacity nobody is shed, be the backend far away.
func TestShedderLeavesAlone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		workers int
		service time.Duration
		rate    float64
	}{
		{"busy", 20, 50 * ms, 280},
		{"far", 1000, 300 * ms, 150},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				all := offer(newShedder(t, ShedderConfig{}).Handler(newWorks(tt.workers, tt.service)), tt.rate, 5*sec, allNormal)
				if n := len(after(all, 0, shedded)); n > 0 {
					t.Errorf("%d of %d are shed", n, len(all))
				}
			})
		})
	}
}
