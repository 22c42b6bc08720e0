package errorpage

import (
	"net/http"

	"github.com/holdfast-go/holdfast/failure"
)

// Group is what a visitor may know of a failure: enough to tell what to do, and
// nothing of what went wrong inside. Each has a text of its own in every language.
type Group uint8

// The groups. The zero Group is for every 5xx status that has none of its own.
const (
	// Unavailable: the service does not answer, or with an error (502, 503).
	Unavailable Group = iota
	// Overloaded: more is asked of the service than it can do (503).
	Overloaded
	// Maintenance: it is planned (503).
	Maintenance
	// Timeout: the answer takes too long (504).
	Timeout
	// Internal: an error (500).
	Internal
	// RateLimited: the visitor asks too often (429).
	RateLimited
	// NotFound: nothing is there (404).
	NotFound
	// RequestTimeout: the request took too long to arrive (408).
	RequestTimeout
	// TooLarge: so was what was sent (413).
	TooLarge
	// BadRequest: the request makes no sense (400).
	BadRequest
	// Refused is any other 4xx.
	Refused

	groups // how many there are
)

var groupNames = [groups]string{
	"unavailable", "overloaded", "maintenance", "timeout", "internal", "rate_limited", "not_found", "request_timeout", "too_large", "bad_request", "refused",
}

// String returns the group's name, for instance "rate_limited".
func (g Group) String() string {
	if g < groups {
		return groupNames[g]
	}
	return "group(?)"
}

// groupOf is the group of a failure that is answered with status. The status
// alone decides, but for a 503, which the table of causes has for three things.
func groupOf(e *failure.Error, status int) Group {
	switch status {
	case http.StatusBadRequest:
		return BadRequest
	case http.StatusNotFound:
		return NotFound
	case http.StatusRequestTimeout:
		return RequestTimeout
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusInternalServerError:
		return Internal
	case http.StatusGatewayTimeout:
		return Timeout
	case http.StatusServiceUnavailable:
		switch {
		case e == nil:
		case e.Cause == failure.Maintenance:
			return Maintenance
		case e.Cause.Row().ProxyError == "connection_limit_reached":
			return Overloaded
		}
	}
	if status < 500 {
		return Refused
	}
	return Unavailable
}
