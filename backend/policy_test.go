package backend

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestBalanceNames(t *testing.T) {
	for _, b := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight, ConsistentHash} {
		if got, err := ParseBalance(b.String()); got != b || err != nil {
			t.Errorf("ParseBalance(%q) = %v, %v, want %v", b.String(), got, err, b)
		}
	}
	if _, err := ParseBalance("magic"); err == nil || !strings.Contains(err.Error(), "round-robin") {
		t.Errorf("ParseBalance(magic) = %v, want an error that names what there is", err)
	}
	if got := Balance(9).String(); got != "balance(9)" {
		t.Errorf("Balance(9) = %q", got)
	}
}

// The time to answer rises at once and falls with time.
func TestLoadPeak(t *testing.T) {
	const ms = time.Millisecond
	var l load
	if b := l.burden(0); b != (burden{}) {
		t.Errorf("a new endpoint's burden = %+v, want none", b)
	}
	at := time.Second
	for _, step := range []struct {
		after, took time.Duration
		least, most time.Duration // of the answer then
	}{
		{0, 10 * ms, 10 * ms, 10 * ms},
		{ms, time.Second, time.Second, time.Second},             // one slow answer is enough
		{ms, 10 * ms, 802 * ms, 802 * ms},                       // one fast answer is not
		{loadDecay, 10 * ms, 300 * ms, 303 * ms},                // 1/e is left
		{6 * loadDecay, 10 * ms, 10 * ms, 12 * ms},              // all but forgotten
		{ms, 2 * time.Second, 2 * time.Second, 2 * time.Second}, // and up again
	} {
		at += step.after
		l.measured(at, step.took)
		if got := l.burden(at).answer; got < step.least || got > step.most {
			t.Errorf("at %v after an answer in %v: %v, want %v to %v", at, step.took, got, step.least, step.most)
		}
	}
	if got := l.burden(at + loadDecay).answer; got < 700*ms || got > 750*ms {
		t.Errorf("2s, unused for %v: %v, want 736ms", loadDecay, got)
	}
	if got := l.burden(at + 24*time.Hour).answer; got <= 0 {
		t.Errorf("after a day: %v, want it to be known still", got)
	}
}

func TestLoadFailures(t *testing.T) {
	var l load
	for i := range 40 {
		l.failed(time.Duration(i), time.Microsecond)
	}
	if b := l.burden(40); b.failing < 0.95 || b.answer != 0 {
		t.Errorf("nothing but failures: %+v, want failing near 1 and no time to answer", b)
	}
	if b := l.burden(40 + loadDecay); b.failing > 0.37 || b.failing < 0.35 {
		t.Errorf("after %v: %+v, want failing 1/e", loadDecay, b)
	}
	for range 20 {
		l.measured(40, time.Millisecond)
	}
	if b := l.burden(40); b.failing > 0.13 {
		t.Errorf("after 20 answers: %+v, want failing near an eighth", b)
	}
	// A failure that took longer than answers do counts as one of that time.
	l.failed(41, 15*time.Second)
	if b := l.burden(41); b.answer != 15*time.Second {
		t.Errorf("after a timeout: %+v, want an answer of 15s", b)
	}
}

func TestLoadWaiting(t *testing.T) {
	var l load
	l.begin(1 * time.Second)
	l.begin(3 * time.Second)
	if got := l.burden(10 * time.Second).waited; got != 8*time.Second {
		t.Errorf("waited %v, want 8s: two since 7s and 9s", got)
	}
	l.leave(1 * time.Second)
	if got := l.burden(10 * time.Second).waited; got != 7*time.Second {
		t.Errorf("waited %v, want 7s", got)
	}
	l.leave(3 * time.Second)
	if got := l.burden(10 * time.Second).waited; got != 0 {
		t.Errorf("waited %v, want 0: nobody waits", got)
	}
	// A year of uptime and many that wait do not overflow.
	const year = 365 * 24 * time.Hour
	for range 10_000 {
		l.begin(10 * year)
	}
	if got := l.burden(10*year + time.Second).waited; got != time.Second {
		t.Errorf("waited %v, want 1s", got)
	}
}

func TestBurdens(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name        string
		a, b        burden
		least, most float64 // of a's burden over b's
	}{
		{"two of which nothing is known", burden{}, burden{}, 1, 1},
		{"a new one beside a fast one", burden{}, burden{answer: 5 * ms}, 1, 1},
		{"a new one beside a slow one", burden{}, burden{answer: 5 * time.Second}, 1, 1},
		{"slower", burden{answer: 90 * ms}, burden{answer: 10 * ms}, 5, 5},
		{"more in flight", burden{crowd: 3}, burden{crowd: 1}, 2, 2},
		{"noise among fast ones", burden{answer: 50 * time.Microsecond}, burden{answer: 5 * time.Microsecond}, 1, 1.005},
		{"hung, and new", burden{waited: 10 * time.Second}, burden{answer: 9 * ms}, 500, 550},
		{"waits, but no longer than it takes", burden{answer: 9 * ms, waited: 5 * ms}, burden{answer: 9 * ms}, 1, 1},
		{"fails at once", burden{answer: 1, failing: 1}, burden{answer: 5 * time.Second}, 5, 5},
		{"failed once in twenty, and is fast", burden{answer: ms, failing: 0.05}, burden{answer: 99 * ms}, 1.2, 1.2},
		{"both fail", burden{answer: 1, failing: 1}, burden{answer: ms, failing: 1}, 1, 1},
		{"failed long ago, and is fast", burden{answer: ms, failing: 0.01}, burden{answer: 99 * ms}, 0.1, 0.12},
	} {
		a, b := burdens(tt.a, tt.b)
		if got := a / b; got < tt.least-1e-9 || got > tt.most+1e-9 {
			t.Errorf("%s: %v times the other's, want %v to %v", tt.name, got, tt.least, tt.most)
		}
		b2, a2 := burdens(tt.b, tt.a)
		if a2 != a || b2 != b {
			t.Errorf("%s: the other way round %v and %v, want %v and %v", tt.name, a2, b2, a, b)
		}
	}
}

func TestYields(t *testing.T) {
	for _, tt := range []struct{ mine, other, want float64 }{
		{1, 1, 0}, {1, 2, 0}, {2, 1, 7.0 / 8}, {10, 9, 0.271}, {1000, 1, 1},
	} {
		if got := yields(tt.mine, tt.other); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("yields(%v, %v) = %v, want %v", tt.mine, tt.other, got, tt.want)
		}
	}
}
