package breaker

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/failure"
)

// What a window says is what a list of all verdicts says.
func TestWindowCounts(t *testing.T) {
	type entry struct {
		bucket int64
		tally
	}
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(0, 0)
		w := newWindow(start, time.Second)
		r := Config{}.rules()
		var all []entry
		now := start
		for range rapid.IntRange(1, 200).Draw(t, "n") {
			now = now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
			k := kind(rapid.IntRange(int(good), int(slow)).Draw(t, "kind"))
			w.add(k, now, &r, false)
			e := entry{now.Sub(start).Milliseconds() / 100, tally{calls: 1}}
			switch k {
			case bad, silent, unreached, stalled:
				e.failed = 1
			case slow:
				e.slow = 1
			case good, slowGood, slowBad, slowSilent, waiting:
			}
			all = append(all, e)
			var want tally
			for _, e := range all {
				if now.Sub(start).Milliseconds()/100-e.bucket < buckets {
					want.add(e.tally, 1)
				}
			}
			if got := w.tally(now); got != want {
				t.Fatalf("at %v: tally = %+v, want %+v", now.Sub(start), got, want)
			}
		}
	})
}

// Time that goes back and time that leaps.
func TestWindowClock(t *testing.T) {
	start := time.Unix(1000, 0)
	w := newWindow(start, time.Second)
	r := Config{}.rules()
	w.add(good, start.Add(500*time.Millisecond), &r, false)
	w.add(good, start, &r, false)
	w.add(good, start.Add(-time.Hour), &r, false)
	if got := w.tally(start.Add(500 * time.Millisecond)); got.calls != 3 {
		t.Errorf("tally = %+v, want 3 calls", got)
	}
	if got := w.tally(start.Add(1e6 * time.Hour)); got != (tally{}) {
		t.Errorf("long after: tally = %+v, want none", got)
	}
}

// Each rule, by kinds of verdicts that come a step apart. The last one is the
// one that opens, if any does.
func TestRules(t *testing.T) {
	rep := func(k kind, n int) []kind { return slices.Repeat([]kind{k}, n) }
	fiveWith := func(k kind) []kind { return append(append(rep(silent, 4), k), silent) }
	tests := []struct {
		name       string
		cfg        Config
		step       time.Duration
		kinds      []kind
		recovering bool
		want       string // "" = stays closed
	}{
		{"positive run", Config{Consecutive: 3}, 0, rep(bad, 3), false, "3 failures in a row (3 opens)"},
		{"positive run of mixed failures", Config{Consecutive: 3}, time.Hour, []kind{bad, silent, unreached}, false, "3 failures in a row"},
		{"broken run", Config{Consecutive: 3}, 0, []kind{bad, bad, good, bad, bad}, false, ""},
		{"slow neither breaks nor prolongs", Config{Consecutive: 3, SlowCall: 1, SlowRatio: 1}, time.Hour, []kind{bad, bad, slow, bad}, false, "3 failures in a row"},
		{"slow that ends well breaks", Config{Consecutive: 3, SlowCall: 1, SlowRatio: 1}, 0, []kind{bad, bad, slow, slowGood, bad}, false, ""},
		{"slow that fails prolongs", Config{Consecutive: 3, SlowCall: 1, SlowRatio: 1}, 0, []kind{good, bad, bad, slow, slowSilent}, false, "3 failures in a row"},
		{"no run", Config{Consecutive: -1, LocalConsecutive: -1}, time.Hour, rep(unreached, 100), false, ""},

		{"automatic run: few requests a minute", Config{LocalConsecutive: -1}, 10 * time.Second, rep(silent, 5), false, "5 failures in a row over 40s (5 over 10s open)"},
		{"automatic run: four", Config{}, time.Minute, rep(silent, 4), false, ""},
		{"automatic run: all at once", Config{}, 0, rep(silent, 19), false, ""},
		{"automatic run: within the window", Config{}, 2 * time.Second, rep(silent, 5), false, ""},
		{"automatic run: one broken page", Config{}, 10 * time.Second, rep(bad, 100), false, ""},
		{"automatic run: an answer, though 5xx", Config{}, 10 * time.Second, fiveWith(bad), false, ""},
		{"automatic run: a success", Config{}, 10 * time.Second, fiveWith(good), false, ""},

		{"positive local run", Config{LocalConsecutive: 2, Consecutive: -1}, 0, rep(unreached, 2), false, "not reached 2 times in a row (2 opens)"},
		{"local run, reached between", Config{LocalConsecutive: 2, Consecutive: -1}, 0, []kind{unreached, silent, unreached, bad, unreached, good, unreached}, false, ""},
		{"others are no local run", Config{LocalConsecutive: 2, Consecutive: -1}, 0, rep(silent, 10), false, ""},
		{"automatic local run", Config{}, 1250 * time.Millisecond, rep(unreached, 5), false, "not reached 5 times in a row over 5s (5 over 5s open)"},
		{"automatic local run: a restart", Config{}, time.Millisecond, append(rep(good, 1000), rep(unreached, 900)...), false, ""},
		{"automatic local run: the ratio still good", Config{OpenFor: time.Second}, time.Millisecond, append(rep(good, 9000), rep(unreached, 1001)...), false, "not reached 1001 times in a row over 1s (5 over 1s open)"},

		{"slow", Config{SlowCall: 2 * time.Second, SlowRatio: 0.8}, 0, append(rep(good, 4), rep(slow, 16)...), false, "16 of 20 calls within 10s had no answer in 2s (0.8 opens)"},
		{"slow, too few", Config{SlowCall: 1, SlowRatio: 0.8}, 0, rep(slow, 19), false, ""},
		{"slow, too small a share", Config{SlowCall: 1, SlowRatio: 0.8}, 0, append(rep(good, 4), rep(slow, 15)...), false, ""},
		{"slow is no failure", Config{SlowCall: 1, SlowRatio: 1}, 0, append(rep(good, 4), rep(slow, 19)...), false, ""},
		{"stalled after much that was well", Config{SlowCall: 1}, 0, append(rep(good, 1000), rep(stalled, 20)...), false, "20 calls in a row had no answer in 1ns"},
		{"stalled, by slow calls", Config{SlowCall: 1, SlowRatio: 1}, 0, append(rep(good, 1000), rep(slow, 20)...), false, "20 calls in a row had no answer in 1ns"},
		{"stalled, but for one", Config{SlowCall: 1}, 0, append(append(rep(good, 1000), append(rep(stalled, 19), good)...), rep(stalled, 19)...), false, ""},
		{"stalled, but for one that fails", Config{SlowCall: 1}, 0, append(append(rep(good, 1000), append(rep(stalled, 19), bad)...), rep(stalled, 19)...), false, ""},
		{"stalled while recovering", Config{}, 0, append(rep(good, 100), rep(stalled, 5)...), true, "5 calls in a row had no answer in 1m0s, while recovering"},
		{"slow that fail are failures, too", Config{SlowCall: 1, SlowRatio: 1}, 0, append(append(rep(good, 10), rep(slow, 10)...), rep(slowBad, 10)...), false, "10 of 20 calls within 10s failed"},

		{"recovering", Config{}, 0, rep(bad, 5), true, "5 of 5 calls within 10s failed (0.5 opens, while recovering)"},
		{"recovering, with less volume still", Config{MinVolume: 2}, 0, rep(bad, 2), true, "2 of 2 calls"},
		{"recovering, too few", Config{}, 0, rep(bad, 4), true, ""},
		{"recovering well", Config{}, 0, append(rep(good, 10), rep(bad, 9)...), true, ""},
	}
	for _, tt := range tests {
		cfg, err := tt.cfg.normalize()
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		r := cfg.rules()
		now := time.Unix(0, 0)
		w := newWindow(now, cfg.Window)
		got := ""
		for i, k := range tt.kinds {
			if i > 0 {
				now = now.Add(tt.step)
			}
			if why := w.add(k, now, &r, tt.recovering); why != nil {
				got = r.reason(why)
				if i != len(tt.kinds)-1 {
					t.Errorf("%s: opened at verdict %d of %d: %s", tt.name, i+1, len(tt.kinds), got)
				}
				break
			}
		}
		if (got == "") != (tt.want == "") || !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: reason %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestKinds(t *testing.T) {
	b := newBreaker(t, Config{})
	tests := []struct {
		v       verdict
		wasSlow bool
		want    kind
	}{
		{b.judgeError(nil), false, good},
		{b.judgeError(nil), true, slowGood},
		{b.judgeError(errBoom), false, silent},
		{b.judgeError(errBoom), true, slowSilent},
		{b.judgeError(failure.New(failure.ConnectionRefused, nil)), false, unreached},
		{b.judgeError(failure.New(failure.FirstByteTimeout, nil)), false, silent},
		{b.judgeError(&failure.Error{Cause: failure.Upstream5xx, Status: 500}), false, bad},
		{b.judgeError(&failure.Error{Cause: failure.Upstream5xx, Status: 500}), true, slowBad},
		{b.judge(nil, 503, false), false, bad},
		{b.judge(nil, 200, false), false, good},
	}
	for _, tt := range tests {
		if got := tt.v.kind(tt.wasSlow); got != tt.want {
			t.Errorf("kind of %+v, slow before: %v = %v, want %v", tt.v, tt.wasSlow, got, tt.want)
		}
	}
}

// With a SlowRatio, what is slow is counted while it goes on, opens though it ends
// well, and is one call whatever becomes of it.
func TestSlowRatio(t *testing.T) {
	cfg := Config{MinVolume: 10, SlowCall: 2 * time.Second, SlowRatio: 0.8, Jitter: -1}
	begin := func(t *testing.T, b *Breaker, n int) (done []func(error)) {
		for range n {
			_, d, err := b.AllowCall()
			if err != nil {
				t.Fatal(err)
			}
			done = append(done, d)
		}
		return done
	}
	want := func(t *testing.T, b *Breaker, phase Phase, calls, failed, slow int) {
		t.Helper()
		if s := b.State(); s.Phase != phase || s.Requests != calls || s.Failures != failed || s.Slow != slow {
			t.Errorf("State() = %+v, want %v with %d calls, %d failed, %d slow", s, phase, calls, failed, slow)
		}
	}
	t.Run("ends well", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, cfg)
			for range 9 {
				done := begin(t, b, 1)
				time.Sleep(2500 * time.Millisecond / 9)
				time.AfterFunc(3*time.Second-2500*time.Millisecond/9, func() { done[0](nil) })
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			want(t, b, Closed, 9, 0, 9)
			begin(t, b, 1)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			want(t, b, Open, 10, 0, 10)
			if s := b.State(); s.SlowRatio != 1 || !strings.Contains(s.Reason, "10 of 10 calls within 10s had no answer in 2s") {
				t.Errorf("State() = %+v", s)
			}
		})
	})
	t.Run("fails in the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, cfg)
			for range 3 {
				call1(t, b, nil)
			}
			hung := begin(t, b, 7) // seven of ten are slow: not enough, but failures
			time.Sleep(2 * time.Second)
			synctest.Wait()
			want(t, b, Closed, 10, 0, 7)
			for i, done := range hung[:5] {
				wantPhase(t, b, Closed)
				done(failure.New(failure.FirstByteTimeout, nil))
				done(nil)
				if i < 4 {
					want(t, b, Closed, 10, i+1, 7)
				}
			}
			want(t, b, Open, 10, 5, 7)
		})
	})
	t.Run("neutral in the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, cfg)
			hung := begin(t, b, 1)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			hung[0](failure.ErrUnused)
			want(t, b, Closed, 1, 0, 1)
		})
	})
	t.Run("streams are not slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, cfg)
			for range 20 {
				answered, _, err := b.AllowCall()
				if err != nil {
					t.Fatal(err)
				}
				answered()
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			want(t, b, Closed, 20, 0, 0)
		})
	})
	t.Run("a slow trial has failed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, cfg)
			begin(t, b, 10)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			wantPhase(t, b, Open)
			time.Sleep(5*time.Second + 1)
			begin(t, b, 1)
			wantPhase(t, b, HalfOpen)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			wantPhase(t, b, Open)
		})
	})
}
