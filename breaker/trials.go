package breaker

import "sync"

// trials is the trials of one half-open phase.
//
// To gobreaker one number is both the trials that it lets through and the
// successes that it needs. It gets the successes: its permits are given back as
// soon as they are taken (a done func can be called again after an exclusion),
// and what limits the trials is counted here.
type trials struct {
	atOnce, needed int

	mu        sync.Mutex // guards what follows
	underWay  int        // but those released
	succeeded int
}

// take tells whether another one may be made. None is that would not be needed,
// as long as all go well, except for Trials at once.
func (t *trials) take() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.freeLocked() {
		return false
	}
	t.underWay++
	return true
}

func (t *trials) freeLocked() bool {
	return t.underWay < t.atOnce && t.underWay+t.succeeded < max(t.atOnce, t.needed)
}

// end takes a trial off: holding tells whether it still had its place.
func (t *trials) end(holding, success bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if holding {
		t.underWay--
	}
	if success {
		t.succeeded++
	}
}

// show returns how many are under way, and whether another one would be let
// through.
func (t *trials) show() (underWay int, free bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.underWay, t.freeLocked()
}
