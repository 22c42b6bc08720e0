package failure

import (
	"log/slog"
	"strings"
	"time"
)

// Phase is one stretch of a request's way through a backend.
type Phase uint8

// The phases in the order of their coming.
const (
	PhaseQueue   Phase = iota // waiting for a free slot
	PhaseBackoff              // waiting between attempts
	PhaseResolve              // name resolution
	PhaseConnect              // TCP connect
	PhaseTLS                  // TLS handshake
	PhaseWrite                // sending the request
	PhaseWait                 // request sent, first byte of the final header section awaited
	PhaseHeaders              // first byte to the end of the final header section
	PhaseBody                 // reading the body

	NumPhases
)

var phaseNames = [NumPhases]string{"queue", "backoff", "resolve", "connect", "tls", "write", "wait", "headers", "body"}

// String returns the phase's name, for instance "connect".
func (p Phase) String() string {
	if p >= NumPhases {
		return "phase(?)"
	}
	return phaseNames[p]
}

// Timings is the time spent in each phase; 0 where a phase did not occur.
type Timings [NumPhases]time.Duration

// Add adds other to t, phase by phase.
func (t *Timings) Add(other Timings) {
	for p, d := range other {
		t[p] += d
	}
}

// Total is the time spent in all phases.
func (t Timings) Total() time.Duration {
	var sum time.Duration
	for _, d := range t {
		sum += d
	}
	return sum
}

// String lists the phases that occurred: "connect=1.2ms wait=15s".
func (t Timings) String() string {
	var b strings.Builder
	for p, d := range t {
		if d == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(phaseNames[p])
		b.WriteByte('=')
		b.WriteString(roundTiming(d).String())
	}
	return b.String()
}

// LogValue groups the phases that occurred, each with its duration.
func (t Timings) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, NumPhases)
	for p, d := range t {
		if d != 0 {
			attrs = append(attrs, slog.Duration(phaseNames[p], roundTiming(d)))
		}
	}
	return slog.GroupValue(attrs...)
}

func roundTiming(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(100 * time.Microsecond)
}
