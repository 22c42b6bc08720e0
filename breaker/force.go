package breaker

import (
	"context"
	"time"
)

// Forced says whether the breaker decides by itself.
type Forced uint8

// What [Breaker.Force] takes.
const (
	Automatic    Forced = iota // it decides
	ForcedOpen                 // everything is refused, without a trial
	ForcedClosed               // everything passes; verdicts are counted and change nothing
)

var forcedNames = [...]string{"automatic", "forced_open", "forced_closed"}

// String returns the name in logs and metrics.
func (f Forced) String() string {
	if int(f) >= len(forcedNames) {
		return "forced(?)"
	}
	return forcedNames[f]
}

// MarshalText returns what String does.
func (f Forced) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// Force takes the decision out of the breaker's hands until it is called again,
// or with [Automatic] gives it back; other values are Automatic. Calls that are
// under way go on and are not counted. Forcing what is forced already changes
// nothing, not even the time since.
//
// From automatic again the breaker is closed and counts anew; if it was forced
// open it recovers over Config.Ramp, since nobody asked the backend meanwhile.
// Refusals of a breaker that is forced open know no time to try again.
func (b *Breaker) Force(f Forced) {
	if f > ForcedClosed {
		f = Automatic
	}
	if b.force(f) {
		b.deliver(context.Background())
	}
}

func (b *Breaker) force(f Forced) bool {
	now := time.Now()
	st := &stage{forced: f, since: now}
	switch f {
	case Automatic:
		st.reason, st.window, st.gate = "no longer forced", newWindow(now, b.cfg.Window), b.newGate()
	case ForcedOpen:
		st.phase, st.reason = Open, "forced open"
	case ForcedClosed:
		st.reason, st.window = "forced closed", newWindow(now, b.cfg.Window)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.stage.Load()
	if old.forced == f {
		return false
	}
	if f == Automatic && old.phase == Open {
		st.ramp = newRamp(now, b.cfg.Ramp)
	}
	b.enterLocked(old, st)
	return true
}
