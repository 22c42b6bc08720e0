package ratelimit

import "time"

// EventKind tells what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	Allowed EventKind = iota + 1
	Limited
	// Left is a request whose client left while it waited (Config.MaxDelay).
	Left
)

// String returns the kind's name in logs and metrics.
func (k EventKind) String() string {
	switch k {
	case Allowed:
		return "allowed"
	case Limited:
		return "limited"
	case Left:
		return "left"
	}
	return "event(?)"
}

// Event is one decision.
type Event struct {
	Kind EventKind
	// Name is the policy's.
	Name string
	// Limit is the name of the limit that refused, of several the one that
	// refuses longest; "" if none did.
	Limit string
	// DryRun tells that a refusal was not acted on: the request passed.
	DryRun bool
	// Listed tells that Config.Allow or Config.Deny decided, and no limit.
	Listed bool
	// RetryAfter is when a refused request may be made; 0 if it was allowed, or
	// if it never may (on the deny list, more permits than Burst).
	RetryAfter time.Duration
	// Waited is how long the request was held back (Config.MaxDelay).
	Waited time.Duration
	// Overflow tells that a table was full and a shared bucket decided.
	Overflow bool
	// Unidentified tells that the client could not be told apart from others.
	// Many of these mean that ClientIP or the trusted proxies are wrong.
	Unidentified bool
	// Forwarded tells that the request has an X-Forwarded-For or Forwarded
	// field, while the peer is taken for the client since ClientIP is nil. If
	// that is every request, then the peer is a proxy, and all its visitors
	// share one bucket: see [NewClientIP].
	Forwarded bool
}
