package backend

import (
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// moments is when the phases of an attempt ended; zero where one did not occur.
type moments struct {
	start                        time.Time
	resolved, connected, secured time.Time
	ready                        time.Time    // a connection is there
	written                      atomic.Int64 // after start; set by whoever writes the request
	firstByte, headers, done     time.Time
}

// timings is where the time went up to the end. What was under way when the
// attempt ended counts for the phase it was.
func (m *moments) timings(stage phase, end time.Time) failure.Timings {
	var t failure.Timings
	at := m.start
	span := func(p failure.Phase, end time.Time) {
		if end.After(at) {
			t[p] += end.Sub(at)
			at = end
		}
	}
	span(failure.PhaseResolve, m.resolved)
	span(failure.PhaseConnect, m.connected)
	span(failure.PhaseTLS, m.secured)
	if m.ready.After(at) {
		at = m.ready
	}
	if w := m.written.Load(); w != 0 {
		span(failure.PhaseWrite, m.start.Add(time.Duration(w)))
	}
	span(failure.PhaseWait, m.firstByte)
	span(failure.PhaseHeaders, m.headers)
	span(failure.PhaseBody, m.done)
	if m.done.IsZero() {
		span(timingOf(stage), end)
	}
	return t
}

func timingOf(p phase) failure.Phase {
	switch p {
	case phaseResolve:
		return failure.PhaseResolve
	case phaseConnect:
		return failure.PhaseConnect
	case phaseTLS:
		return failure.PhaseTLS
	case phaseUpload, phaseWrite:
		return failure.PhaseWrite
	case phaseHeaders:
		return failure.PhaseHeaders
	case phaseBody:
		return failure.PhaseBody
	case phaseOff, phaseFirstByte, phaseFired:
	}
	return failure.PhaseWait
}
