package ratelimit

import (
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
)

// Priority is how late a request is shed.
type Priority uint8

// The priorities. The zero Priority is Normal, and so is one that is none of these.
const (
	// Normal requests wait in line where there is no slot.
	Normal Priority = iota
	// Critical requests go before all others that wait, and take the place of one
	// of them where the line is full.
	Critical
	// Sheddable requests are turned away at once where there is no slot.
	Sheddable
)

// String returns the priority's name in logs and metrics.
func (p Priority) String() string {
	switch p {
	case Normal:
		return "normal"
	case Critical:
		return "critical"
	case Sheddable:
		return "sheddable"
	}
	return "priority(?)"
}

// MarshalText returns the name.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// ByReserve is the Priority of a [ShedderConfig] that has none: a request that has
// an answer in reserve ([failure.Reserve]), as the refreshing of a stale copy, is
// Sheddable, and every other Normal.
func ByReserve(r *http.Request) Priority {
	if failure.Reserved(r.Context()) {
		return Sheddable
	}
	return Normal
}
