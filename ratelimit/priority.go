package ratelimit

// Priority is how late a request is shed.
type Priority uint8

// The priorities. The zero Priority is Normal.
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
