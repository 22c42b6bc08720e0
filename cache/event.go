package cache

import (
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// EventKind tells what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	// Served is one request, told when its answer has been written.
	Served EventKind = iota + 1
	// FillDone is one fetch, told when it ended: shared by any number of
	// requests, which carry its FillID.
	FillDone
	// Purged is one [Cache.Purge] that was made. Detail says of what: url, prefix,
	// host, tag or all.
	Purged
)

// String returns the kind's name, for instance "served".
func (k EventKind) String() string {
	switch k {
	case Served:
		return "served"
	case FillDone:
		return "fill_done"
	case Purged:
		return "purged"
	}
	return "event(?)"
}

// Outcome is what became of a request.
type Outcome uint8

// The outcomes.
const (
	Bypass      Outcome = iota // passed on: not for a cache to answer
	Hit                        // answered from a fresh stored response
	Stale                      // answered from a stale one; Rung says why
	Miss                       // answered from a fetch, its own or one that it shared
	Revalidated                // answered from a stored response that the origin has just confirmed
	NotModified                // the client's own condition was answered: 304 (or 412)
	Failed                     // answered with an error of the cache's own, or cut off
)

var outcomeNames = [...]string{"bypass", "hit", "stale", "miss", "revalidated", "not_modified", "failed"}

// String returns the outcome's name, for instance "hit".
func (o Outcome) String() string {
	if int(o) >= len(outcomeNames) {
		return "outcome(?)"
	}
	return outcomeNames[o]
}

// Event is one thing that happened in a cache. Fields that do not apply to its
// kind are zero.
type Event struct {
	Kind EventKind
	// Outcome is what became of the request.
	Outcome Outcome
	// Rung is how a failure was kept from the client; zero if there was none or
	// it was not.
	Rung failure.Rung
	// Fwd is why a fetch was needed (RFC 9211 section 2.2), "" where none was.
	Fwd string
	// Detail is the token that is also in Cache-Status, "" where there is none.
	// For FillDone it is "variant_limit" where the URL has reached
	// Config.MaxVariants with variants that are not asked for again: it varies by
	// what nearly every client has another value of.
	Detail string
	// FillID names the fetch that the request took part in; "" = none.
	FillID string
	// Collapsed: the request shared the fetch of another one.
	Collapsed bool
	// Stored: the response was stored.
	Stored bool
	// NotStored is why not, one token.
	NotStored string
	// Status is what the client was sent, FwdStatus what came from next; 0 where
	// nothing was.
	Status, FwdStatus int
	// Bytes of body sent to the client or, for FillDone, received.
	Bytes int64
	// Size of the response that was stored, for FillDone, in bytes of body; also of
	// one that was only confirmed.
	Size int64
	// Followers is how many other requests waited for the fetch, for FillDone.
	Followers int
	// TTL is the freshness left, negative for a stale response.
	TTL time.Duration
	// Duration is how long the request or the fill took.
	Duration time.Duration
	// Soft: the purge made stale, and no more.
	Soft bool
	// Failure is what failed, mended or not; nil = nothing.
	Failure *failure.Error
}
