package backend

import (
	"github.com/holdfast-go/holdfast/failure"
)

// Event is something that happened in a backend. Which fields are set depends
// on Kind.
type Event struct {
	Kind EventKind
	// Backend and Endpoint are names as configured. Endpoint is "" where no
	// endpoint was picked.
	Backend, Endpoint string
	// Address is what was dialled for the attempt (AttemptDone), or where the
	// endpoint is (events about its health and ejection), host:port or
	// the path of a socket: the first address where none of several could be
	// connected to. It is "" where that did not come about, and of a handler.
	Address string
	// Attempt counts from 1; 0 if the request ended without any.
	Attempt int
	// Status is what the endpoint answered; 0 if it did not.
	Status int
	// Failure is why the attempt failed, an answer of 500 or above or 429
	// included; nil if it was answered.
	Failure *failure.Error
	// Phases is where the attempt's time went.
	Phases failure.Timings
	// Reused tells that the connection had carried a request before.
	Reused bool
	// Retry tells that another attempt follows.
	Retry bool
	// Healthy is the endpoint's new state (HealthChanged).
	Healthy bool
	// Detail has the facts: the check's last result (HealthChanged), how long and
	// why an endpoint is out (EndpointEjected), what ended a tunnel and how much it
	// carried (TunnelClosed), what the resolver said (ResolveFailed,
	// AddressesChanged).
	Detail string
	// DryRun tells that what the event says was decided and not done.
	DryRun bool
}

// EventKind tells events apart.
type EventKind uint8

// The kinds of events.
const (
	// AttemptDone ends every attempt, when its response was passed on whole or
	// it failed. Of a request that ended without an attempt there is one, with
	// Attempt 0.
	AttemptDone EventKind = iota + 1
	// HealthChanged is an endpoint that its active check took up or down.
	HealthChanged
	// TunnelClosed is the end of an upgraded connection.
	TunnelClosed
	// ResolveFailed is the first failure to resolve the name of endpoints. The
	// addresses that were known are kept.
	ResolveFailed
	// AddressesChanged is a name that has other addresses than before, or that
	// could be resolved again.
	AddressesChanged
	// EndpointEjected is an endpoint that is taken out of use for a while for the
	// failures of its live traffic.
	EndpointEjected
	// EndpointReturned is an endpoint that was ejected and has answered since.
	EndpointReturned
	// CheckDisputed is an active check that live traffic contradicts: it says that
	// the endpoint is down, and requests are answered. Healthy is false then; it
	// is true when the dispute is over.
	CheckDisputed
)

// String returns the kind's name, for instance "attempt_done".
func (k EventKind) String() string {
	switch k {
	case AttemptDone:
		return "attempt_done"
	case HealthChanged:
		return "health_changed"
	case TunnelClosed:
		return "tunnel_closed"
	case ResolveFailed:
		return "resolve_failed"
	case AddressesChanged:
		return "addresses_changed"
	case EndpointEjected:
		return "endpoint_ejected"
	case EndpointReturned:
		return "endpoint_returned"
	case CheckDisputed:
		return "check_disputed"
	}
	return "event(?)"
}
