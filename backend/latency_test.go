package backend

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLatencyBuckets(t *testing.T) {
	last := -1
	for i := range latencyBuckets {
		low, width := latencyBounds(i)
		if got := latencyBucket(low); got != i {
			t.Fatalf("latencyBucket(%d) = %d, want %d", low, got, i)
		}
		if got := latencyBucket(low + width - 1); got != i {
			t.Fatalf("latencyBucket(%d) = %d, want %d", low+width-1, got, i)
		}
		if int(low) != last+1 {
			t.Fatalf("bucket %d begins at %d, want %d", i, low, last+1)
		}
		if i >= latencySub && width*8 > low {
			t.Fatalf("bucket %d spans %d from %d: more than an eighth", i, width, low)
		}
		last = int(low + width - 1)
	}
	if last != latencyGreatest {
		t.Errorf("the last bucket ends at %d, want %d", last, latencyGreatest)
	}
}

func TestLatencyQuantiles(t *testing.T) {
	var l latencies
	for i := range 1000 {
		l.record(time.Second, time.Duration(i+1)*time.Millisecond)
	}
	got := l.summary(time.Second)
	if got.Answers != 1000 || got.Fastest != time.Millisecond {
		t.Errorf("summary = %+v, want 1000 answers, the fastest in 1ms", got)
	}
	for _, q := range []struct {
		name      string
		got, want time.Duration
	}{{"p50", got.P50, 500}, {"p90", got.P90, 900}, {"p95", got.P95, 950}, {"p99", got.P99, 990}} {
		want := q.want * time.Millisecond
		if q.got < want*7/8 || q.got > want*9/8 {
			t.Errorf("%s = %v, want %v within an eighth", q.name, q.got, want)
		}
	}
}

// What is old is forgotten slice by slice, and what is there is of the window
// alone.
func TestLatencyWindow(t *testing.T) {
	var l latencies
	l.record(0, time.Millisecond)
	l.record(latencySpan, time.Second)
	for _, tt := range []struct {
		now     time.Duration
		answers int
		fastest time.Duration
	}{
		{latencySpan, 2, time.Millisecond},
		{latencySlices*latencySpan - 1, 2, time.Millisecond},
		{latencySlices * latencySpan, 1, time.Second},
		{(latencySlices+1)*latencySpan - 1, 1, time.Second},
		{(latencySlices + 1) * latencySpan, 0, 0},
		{100 * latencySpan, 0, 0},
	} {
		got := l.summary(tt.now)
		if got.Answers != tt.answers || got.Fastest != tt.fastest {
			t.Errorf("at %v: %d answers, fastest %v, want %d, %v", tt.now, got.Answers, got.Fastest, tt.answers, tt.fastest)
		}
	}
	// A slice is used again for a later time, and not for an earlier one.
	l.record(latencySlices*latencySpan, 2*time.Second)
	l.record(0, time.Microsecond)
	if got := l.summary(latencySlices * latencySpan); got.Answers != 2 || got.Fastest != time.Second {
		t.Errorf("summary = %+v, want 2 answers, the fastest in 1s", got)
	}
}

func TestLatencyExtremes(t *testing.T) {
	var l latencies
	l.record(0, -time.Second)
	l.record(0, time.Duration(1<<63-1))
	got := l.summary(0)
	if got.Answers != 2 || got.Fastest != 0 || got.P99 < 4*time.Minute {
		t.Errorf("summary = %+v, want 2 answers from 0 to more than 4m", got)
	}
}

// Quantiles rise, and lie between what was recorded within an eighth.
func TestLatencyQuantilesRise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l latencies
		least, most := time.Hour, time.Duration(0)
		for _, us := range rapid.SliceOfN(rapid.Int64Range(0, latencyGreatest), 1, 50).Draw(t, "us") {
			d := time.Duration(us) * time.Microsecond
			least, most = min(least, d), max(most, d)
			l.record(0, d)
		}
		s := l.summary(0)
		rising := s.Fastest <= s.P50 && s.P50 <= s.P90 && s.P90 <= s.P95 && s.P95 <= s.P99
		if s.Fastest != least || !rising || s.P99 > most+most/8+time.Microsecond {
			t.Errorf("of %v to %v: %+v", least, most, s)
		}
	})
}

func TestLatencyConcurrent(t *testing.T) {
	var l latencies
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				l.record(time.Duration(i)*time.Millisecond, time.Millisecond)
				_ = l.summary(time.Duration(i) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if got := l.summary(time.Second).Answers; got != 8000 {
		t.Errorf("%d answers, want 8000", got)
	}
	if n := testing.AllocsPerRun(100, func() { l.record(0, time.Second); _ = l.summary(0) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
