package ratelimit

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func newAdaptive(t *testing.T, cfg AdaptiveConfig) *Adaptive {
	t.Helper()
	a, err := NewAdaptive(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAdaptiveConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg  AdaptiveConfig
		want string // in the error; "": valid
	}{
		{AdaptiveConfig{}, ""},
		{AdaptiveConfig{Min: 1, Max: 1}, ""},
		{AdaptiveConfig{Max: 4}, ""},
		{AdaptiveConfig{Min: 100}, ""},
		{AdaptiveConfig{Min: 5000}, ""},
		{AdaptiveConfig{Min: -1}, "AdaptiveConfig.Min is -1"},
		{AdaptiveConfig{Min: 20, Max: 10}, "AdaptiveConfig.Max is 10: must be from Min, here 20"},
		{AdaptiveConfig{Min: 20, Initial: 10}, "AdaptiveConfig.Initial is 10"},
		{AdaptiveConfig{Tolerance: 1}, "AdaptiveConfig.Tolerance is 1"},
		{AdaptiveConfig{Tolerance: math.NaN()}, "AdaptiveConfig.Tolerance is NaN"},
		{AdaptiveConfig{Allowance: -1}, "AdaptiveConfig.Allowance is -1"},
	} {
		a, err := NewAdaptive(tt.cfg)
		if tt.want == "" {
			if err != nil {
				t.Errorf("NewAdaptive(%+v) = %v", tt.cfg, err)
			} else if n := a.Limit(); n < a.cfg.Min || n > a.cfg.Max {
				t.Errorf("NewAdaptive(%+v).Limit() = %d, want from %d to %d", tt.cfg, n, a.cfg.Min, a.cfg.Max)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("NewAdaptive(%+v) = %v, want %q", tt.cfg, err, tt.want)
		}
	}
	if _, err := NewAdaptive(AdaptiveConfig{Min: -1, Tolerance: 99, Allowance: -1}); strings.Count(err.Error(), "must be") != 3 {
		t.Errorf("error = %v, want three at once", err)
	}
}

// atRest has two seconds of answers without any strain.
func atRest(a *Adaptive) {
	for range 200 {
		time.Sleep(10 * ms)
		a.Done(50*ms, true)
	}
}

// strain has a loop of many callers on a backend whose answers take longer the more
// there are.
func strain(a *Adaptive, workers int, service, d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		n := a.g.allowed()
		time.Sleep(max(service, service*time.Duration(n)/time.Duration(workers)))
		a.Full()
		for range n {
			a.Done(max(service, service*time.Duration(n)/time.Duration(workers)), true)
		}
	}
}

func TestAdaptive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []ShedEvent
		a := newAdaptive(t, AdaptiveConfig{Name: "shop", Observe: func(_ context.Context, ev ShedEvent) { events = append(events, ev) }})
		if detail, after := a.Refuse(10); detail != "latency not known yet" || after != 0 {
			t.Errorf("Refuse = %q, %v before anything is known", detail, after)
		}
		atRest(a)
		strain(a, 20, 50*ms, 10*sec)
		if n := a.Limit(); n < 20 || n > 60 {
			t.Errorf("limit = %d, want somewhat more than the 20 workers", n)
		}
		s := a.State()
		if s.Name != "shop" || s.Limit != a.Limit() || s.AtRest < 45*ms || s.AtRest > 60*ms || s.Latency <= s.AtRest {
			t.Errorf("State = %+v, want about 50 ms at rest and more now", s)
		}
		if len(events) == 0 {
			t.Fatal("no events")
		}
		last := events[len(events)-1]
		if last.Kind != LimitChanged || last.Name != "shop" || last.Limit != a.Limit() || last.DryRun || last.InFlight == 0 {
			t.Errorf("last event = %+v", last)
		}
		detail, after := a.Refuse(400)
		if !strings.Contains(detail, " ms now, ") || !strings.HasSuffix(detail, " at rest") {
			t.Errorf("detail = %q", detail)
		}
		if want := time.Duration(400 / s.Rate * float64(sec)); after < want || after > want+2*sec {
			t.Errorf("retry after %v, want the %v in which 400 are answered, and up to a second", after, want)
		}
		time.Sleep(time.Hour) // hung: nothing is known any more
		if _, after := a.Refuse(400); after != 0 {
			t.Errorf("retry after %v though nothing is answered", after)
		}
	})
}

// Those that are turned away are not told to come back all at once: the more there
// are, the wider they are spread.
func TestRefuseSpreads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdaptive(t, AdaptiveConfig{})
		atRest(a)
		strain(a, 20, 50*ms, 5*sec)
		lo, hi := time.Hour, time.Duration(0)
		for range 4000 {
			_, after := a.Refuse(20)
			lo, hi = min(lo, after), max(hi, after)
		}
		if hi-lo < 5*sec || hi > maxShedRetry {
			t.Errorf("from %v to %v, want them spread over the ten seconds that they need", lo, hi)
		}
	})
}

func TestAdaptiveDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kinds [3]int
		a := newAdaptive(t, AdaptiveConfig{DryRun: true, Observe: func(_ context.Context, ev ShedEvent) {
			kinds[ev.Kind]++
			if !ev.DryRun {
				t.Errorf("event %+v is none of a dry run", ev)
			}
		}})
		atRest(a)
		strain(a, 20, 50*ms, 5*sec)
		if n := a.Limit(); n < 1<<20 {
			t.Errorf("Limit() = %d in a dry run", n)
		}
		would := a.State().Limit
		a.Rehearse(t.Context(), would)
		if kinds[Shed] != 0 || kinds[LimitChanged] == 0 {
			t.Errorf("%d would have been shed and %d changes, want none and some", kinds[Shed], kinds[LimitChanged])
		}
		a.Rehearse(t.Context(), would+1)
		if kinds[Shed] != 1 {
			t.Errorf("%d would have been shed, want 1", kinds[Shed])
		}
	})
}

// Observe may ask the limit, and everything may be called at the same time.
func TestAdaptiveConcurrently(t *testing.T) {
	var a *Adaptive
	a = newAdaptive(t, AdaptiveConfig{Min: 1, Observe: func(context.Context, ShedEvent) { a.State() }})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 2000 {
				a.Full()
				a.Done(time.Duration(j%50+i)*time.Microsecond, j%7 > 0)
				a.Refuse(j)
				if n := a.Limit(); n < 1 || n > 4096 {
					t.Errorf("limit = %d", n)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkAdaptiveDone(b *testing.B) {
	a, err := NewAdaptive(AdaptiveConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a.Limit() > 0 {
				a.Done(time.Millisecond, true)
			}
		}
	})
}
