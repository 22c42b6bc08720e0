package backend

import (
	"encoding/json"
	"time"
)

// historySize is how many checks of an endpoint are remembered.
const historySize = 64

// Probe is one active check.
type Probe struct {
	// At is when it began.
	At time.Time `json:"at"`
	// OK tells whether it was good.
	OK bool `json:"ok"`
	// Took is how long it took until it was decided; in JSON "tookMs", in
	// milliseconds.
	Took time.Duration `json:"-"`
	// Detail is the status line, or what was wrong: what was wanted and what came.
	Detail string `json:"detail"`
}

// MarshalJSON writes durations as milliseconds.
func (p Probe) MarshalJSON() ([]byte, error) {
	type plain Probe
	return json.Marshal(struct {
		plain
		Took float64 `json:"tookMs"`
	}{plain(p), millis(p.Took)})
}

// millis is a duration as JSON has it: in milliseconds, to the microsecond.
func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// history is a ring of the last checks. The zero history is empty.
type history struct {
	probes []Probe
	at     int // where the next one goes once it is full
}

func (h *history) add(p Probe) {
	if len(h.probes) < historySize {
		h.probes = append(h.probes, p)
		return
	}
	h.probes[h.at] = p
	h.at = (h.at + 1) % historySize
}

// list is a copy, the oldest first.
func (h *history) list() []Probe {
	if len(h.probes) == 0 {
		return nil
	}
	all := make([]Probe, 0, len(h.probes))
	all = append(all, h.probes[h.at:]...)
	return append(all, h.probes[:h.at]...)
}
