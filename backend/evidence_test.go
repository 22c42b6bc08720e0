package backend

import (
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestEvidenceConfirms(t *testing.T) {
	refused := &failure.Error{Cause: failure.ConnectionRefused}
	erred := &failure.Error{Cause: failure.Upstream5xx, Status: 500}
	gone := &failure.Error{Cause: failure.ClientGone}
	notImplemented := &failure.Error{Cause: failure.Upstream5xx, Status: 501}
	for _, test := range []struct {
		name string
		seen []*failure.Error // nil is an answer
		want bool
	}{
		{"nothing", nil, false},
		{"answered", []*failure.Error{nil}, false},
		{"refused", []*failure.Error{refused}, true},
		{"answered, then refused", []*failure.Error{nil, refused}, true},
		{"refused, then answered", []*failure.Error{refused, nil}, false},
		{"refused, then the client left", []*failure.Error{refused, gone}, true},
		{"answered, then the client left", []*failure.Error{nil, gone}, false},
		{"one error", []*failure.Error{nil, erred}, false},
		{"four errors", []*failure.Error{erred, erred, erred, erred}, false},
		{"five errors", []*failure.Error{erred, erred, erred, erred, erred}, true},
		{"five errors and an answer", []*failure.Error{erred, erred, erred, erred, erred, nil}, false},
		{"four errors, an answer, one more", []*failure.Error{erred, erred, erred, erred, nil, erred}, false},
		{"not implemented", []*failure.Error{notImplemented, notImplemented, notImplemented, notImplemented, notImplemented}, false},
		{"a refusal before an error", []*failure.Error{refused, erred}, true},
	} {
		var v evidence
		for i, e := range test.seen {
			now := int64(i+1) * int64(time.Millisecond)
			if e == nil {
				v.answered(now)
			}
			v.settled(&outcome{failure: e}, now)
		}
		if got := v.confirmsDown(); got != test.want {
			t.Errorf("%s: confirmsDown() = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestEvidenceWindow(t *testing.T) {
	var v evidence
	refused := &outcome{failure: &failure.Error{Cause: failure.ConnectionRefused}}
	second := int64(time.Second)
	for s := range int64(30) {
		v.settled(&outcome{}, s*second+1)
		v.settled(&outcome{}, s*second+2)
		v.settled(refused, s*second+3)
	}
	if got, want := v.window(29*second, windowSeconds), (tally{good: 20, bad: 10}); got != want {
		t.Errorf("window = %v, want %v", got, want)
	}
	if got, want := v.window(34*second, windowSeconds), (tally{good: 10, bad: 5}); got != want {
		t.Errorf("window five seconds later = %v, want %v", got, want)
	}
	if got := v.window(39*second, windowSeconds); got != (tally{}) {
		t.Errorf("window after ten silent seconds = %v, want nothing", got)
	}
	if v.attempts.Load() != 90 || v.failures.Load() != 30 || v.causes[failure.ConnectionRefused].Load() != 30 {
		t.Errorf("totals = %d attempts, %d failures, want 90, 30", v.attempts.Load(), v.failures.Load())
	}
}

// A bucket that is full does not run over into its neighbours.
func TestEvidenceSaturates(t *testing.T) {
	var v evidence
	v.recent[0].Store(countMask<<countBits | countMask)
	v.count(1, 1)
	v.count(1, 1<<countBits)
	if got, want := v.window(1, windowSeconds), (tally{good: countMask, bad: countMask}); got != want {
		t.Errorf("window = %v, want %v", got, want)
	}
}

func TestEvidenceTrial(t *testing.T) {
	var v evidence
	permitted := 0
	for ms := range int64(3000) {
		if v.trial(1 + ms*int64(time.Millisecond)) {
			permitted++
		}
	}
	if permitted != 3 {
		t.Errorf("%d trials in three seconds, want 3", permitted)
	}
}

func TestNumCauses(t *testing.T) {
	for _, c := range failure.Causes() {
		if int(c) >= numCauses {
			t.Errorf("cause %v is beyond the table of %d", c, numCauses)
		}
	}
}
