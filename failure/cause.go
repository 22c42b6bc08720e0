package failure

import "fmt"

// Cause is one distinct reason that can end a request. The zero Cause is no
// cause: it has no row.
type Cause uint8

// The causes, in the order of a request's way: reaching the backend, being
// answered by it, being kept from it, and what happens in this process.
const (
	DNSNotFound Cause = iota + 1
	DNSTimeout
	Unroutable
	ConnectionRefused
	ConnectTimeout
	LocalLimit
	ConnectionLimit
	QueueTimeout
	QueueFull
	TLSTimeout
	TLSProtocol
	TLSCertificate
	TLSAlert
	KeepaliveRace
	ClosedBeforeHeaders
	ResetBeforeHeaders
	StreamRefused
	WriteTimeout
	FirstByteTimeout
	HeaderStall
	BodyStall
	TotalDeadline
	Truncated
	BadChunking
	BadContentCoding
	HeadersTooLarge
	Malformed
	BadFraming
	BadValidation
	UpgradeFailed
	Upstream5xx
	Upstream429
	EndpointDown
	EndpointEjected
	HeldDown
	NoEndpoint
	BreakerOpen
	NoBackend
	RateLimited
	Shed
	ClientGone
	ClientBodyError
	Maintenance
	Loop
	FillTimeout
	Panic
	HandlerAbort
	OnlyIfCached
	Draining

	numCauses
)

// StatusClientGone is what is logged for a client that left before it was
// answered. It is never sent.
const StatusClientGone = 499

// Causes returns all causes in the order of the table.
func Causes() []Cause {
	all := make([]Cause, 0, numCauses-1)
	for c := Cause(1); c < numCauses; c++ {
		all = append(all, c)
	}
	return all
}

// ParseCause returns the cause with the given token, for instance
// "connection_refused".
func ParseCause(token string) (Cause, bool) {
	for c := Cause(1); c < numCauses; c++ {
		if table[c].Token == token {
			return c, true
		}
	}
	return 0, false
}

// Row returns c's row of the table; the zero Row for a value that is no cause.
func (c Cause) Row() Row {
	if c >= numCauses {
		return Row{}
	}
	return table[c]
}

// String returns the token, for instance "connection_refused".
func (c Cause) String() string {
	if c == 0 || c >= numCauses {
		return fmt.Sprintf("cause(%d)", uint8(c))
	}
	return table[c].Token
}

// MarshalText makes the token the form of a Cause in JSON and logs.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
