package backend

import (
	"context"
	"crypto/tls"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config describes a backend. The zero value of every field but Endpoints is
// usable: all timeouts are finite, no header of a client is trusted, and no
// active health check runs.
//
// A negative duration switches that limit off where the field says so; elsewhere
// it is refused.
type Config struct {
	// Name appears in errors, metrics and logs; "" is "backend".
	Name string
	// Endpoints are the addresses or handlers that answer for the service; at
	// least one.
	Endpoints []Endpoint

	// Resolve limits the wait for the first answer about an endpoint's name,
	// and with a negative ResolveInterval every lookup; 0 is 3 s, negative is
	// refused. Once its addresses are known no request waits for the resolver.
	Resolve time.Duration
	// ResolveInterval is how often names are resolved again in the background,
	// with a quarter of jitter on either side; 0 is 10 s, negative is not in the
	// background, but by every new connection. Where the resolver fails, or says
	// that there are none, the last addresses are kept. A connection that can't
	// be made has the name resolved at once, but at most once per second.
	ResolveInterval time.Duration
	// Connect limits the TCP connect; 0 is 3 s, negative is refused.
	Connect time.Duration
	// TLSHandshake limits the handshake; 0 is 3 s, negative is refused.
	TLSHandshake time.Duration
	// FirstByte limits the wait from the request having been sent to the first
	// byte of the response. An informational response (1xx) starts it again.
	// 0 is 15 s, negative no limit of its own.
	FirstByte time.Duration
	// HeaderStall limits the time from the first byte to the end of the header
	// section. 0 is 5 s, negative no limit of its own.
	HeaderStall time.Duration
	// BetweenBytes limits every single wait for more of the response's body.
	// The time that a slow client takes does not count. 0 is 15 s, negative no
	// limit.
	BetweenBytes time.Duration
	// Write limits every single wait for the backend to take more of the
	// request. The time that a slow client takes to send it does not count.
	// 0 is 15 s, negative no limit.
	Write time.Duration
	// UntilHeaders limits the request from its arrival to the final header
	// section, over all attempts. The time in which the request's body was
	// under way does not count. 0 is 60 s, negative no limit.
	UntilHeaders time.Duration
	// WholeBody limits the waiting for the response's body in all; what does not
	// end in time ends as total_deadline. The time that a slow client takes does
	// not count, and event streams, which have no end in sight, are exempt.
	// 0 and negative are no limit.
	WholeBody time.Duration
	// StreamIdle takes the place of BetweenBytes for event streams
	// (text/event-stream) and limits the silence of an upgraded connection.
	// 0 is 5 min, negative no limit.
	StreamIdle time.Duration
	// ClientWrite limits every single wait for the client to take more of the
	// response; then the connection is aborted. It steps back where the
	// http.Server has a WriteTimeout of its own. 0 is 60 s, negative no limit.
	ClientWrite time.Duration
	// IdleConn is how long an unused connection is kept. It should be shorter
	// than the backend's own limit. 0 is 4 s; negative: no connection is used
	// twice.
	IdleConn time.Duration

	// Timeouts overrides limits for one request; nil is none. It is called once
	// per request, on its goroutine and before anything else.
	Timeouts func(*http.Request) Timeouts

	// Retries is how many more attempts may follow the first, where the cause
	// of its failure permits one; 0 is 2, negative none.
	Retries int
	// ReplayBody is how many bytes of a request's body are kept for another
	// attempt; 0 is 64 kB, negative none.
	ReplayBody int64
	// MaxHeaderBytes limits the header section of a response; 0 is 256 kB,
	// negative is refused.
	MaxHeaderBytes int64

	// RetryBudget limits the retries that send a request again to this share of
	// the requests of the last ten seconds; 0 is 0.2, negative no limit. Retries
	// of what was never sent, or met a connection that was just closing, are
	// free.
	RetryBudget float64
	// RetryBudgetMin is how many such retries are permitted in ten seconds beside
	// the share; 0 is 3, negative none.
	RetryBudgetMin int
	// ReplayIdempotencyKey has a request with an Idempotency-Key field repeated
	// like an idempotent one. The endpoints must know what the field means.
	ReplayIdempotencyKey bool

	// MaxInFlight limits the requests that all endpoints together work on at
	// once; 0 is no limit, negative is refused. Where an Endpoint has a limit of
	// its own, both hold.
	MaxInFlight int
	// Limit is one that changes, beside MaxInFlight; nil is none.
	Limit Limit
	// NewLimit makes one limit that changes per endpoint, beside its
	// MaxInFlight; it is called as NewGate is, and may return nil for none.
	NewLimit func(endpoint string) Limit
	// Queue is how many requests may wait for one of those in flight to end;
	// 0 is as many as the limit, at most 1024; negative none. When it has been
	// full or in vain for a second the newest goes first.
	Queue int
	// QueueWait is how long a request may wait so; 0 is 1 s, negative is
	// refused.
	QueueWait time.Duration

	// RestartWait is how long requests wait for the endpoints to come back when
	// all refuse connections, counted from when the first one did: a restart.
	// Who comes later is answered at once: with what became of its own attempt, or
	// with the gates' refusal if they allow none. Waiting costs nothing of RetryBudget
	// and Retries; requests of which something was sent do not wait unless they
	// can be repeated. 0 is none, negative is refused.
	RestartWait time.Duration
	// RestartQueue is how many requests may wait so; 0 is 1000, negative is
	// refused.
	RestartQueue int

	// DeadlineHeader is the request field in which endpoints are told what is
	// left of UntilHeaders, in milliseconds, or for Grpc-Timeout as gRPC writes
	// it. What a client sent in it is dropped. An attempt that can't be answered
	// in what is left, by the fastest answers that its endpoint gave lately, is
	// not made. "" is none.
	DeadlineHeader string
	// TrustDeadline tells whether the peer that sent the request may say in
	// DeadlineHeader how much time there is; it can only be less than
	// UntilHeaders. nil trusts nobody.
	TrustDeadline func(*http.Request) bool

	// TLS is used for https endpoints. It is cloned; nil is the defaults of
	// crypto/tls. An empty NextProtos offers HTTP/2 and HTTP/1.1.
	TLS *tls.Config
	// PreserveHost sends the client's Host; otherwise it is the endpoint's, and
	// the client's goes into X-Forwarded-Host.
	PreserveHost bool
	// TrustForwarded tells whether the peer that sent the request may say whom
	// it forwards for: its X-Forwarded-* and Forwarded fields are then appended
	// to, else replaced. nil trusts nobody.
	TrustForwarded func(*http.Request) bool
	// Forwarded adds an element to the Forwarded field (RFC 7239) besides the
	// X-Forwarded ones: for is the peer's address, by an obfuscated name of this
	// backend, host and proto what the client used. Without it one is added only
	// to a field that a trusted peer sent.
	Forwarded bool

	// Balance chooses among the endpoints; 0 is PowerOfTwo.
	Balance Balance
	// HashKey tells what requests have to have in common to go to the same
	// endpoint, for instance a user or a path. It is called once per request, on
	// its goroutine; "" leaves a request to PowerOfTwo. It is needed for
	// ConsistentHash, and unused otherwise.
	HashKey func(*http.Request) string
	// Sticky binds clients to endpoints by a cookie; the zero value is off.
	Sticky Sticky
	// Hedge has slow requests asked of a second endpoint; the zero value is off.
	Hedge Hedge
	// SlowStart is how long the share of an endpoint takes to grow to its
	// weight, after it came up, returned from its ejection, or joined others; it
	// begins at a tenth. 0 is 10 s, negative is off: the whole share at once.
	SlowStart time.Duration
	// PanicThreshold is the share of usable endpoints below which those are used
	// as well that a check took down or that are ejected: with so few left the
	// rest would be overrun, and when a check fails everywhere it is the check
	// that is suspected. An endpoint of which live traffic says the same is given
	// but one request per second, and only where there is no other. Endpoints
	// that the operator took out are not counted and not used. Without any
	// usable endpoint it is always so. 0 is 0.25, negative is never; more than 1
	// is refused.
	PanicThreshold float64

	// Health is the active check; the zero value is none.
	Health Health
	// Ejection takes endpoints out of use that live traffic shows to fail; the zero
	// value is on. A lone endpoint is never ejected.
	Ejection Ejection
	// Gate is asked before every attempt, whatever the endpoint; nil is none.
	Gate Gate
	// NewGate makes one gate per endpoint; nil is none. It is called with the
	// endpoint's name by New, by Update for endpoints that have none of their own
	// yet, and when further addresses of a name are found. Where two such changes
	// meet it may be called again for an endpoint: then the first gate is dropped
	// without ever having been asked. At most one of Gate and NewGate is set.
	NewGate func(endpoint string) Gate

	// ErrorHandler answers requests that failed; nil is failure.WriteError.
	ErrorHandler failure.ErrorHandler
	// Observe is told what happened, on the goroutine where it happened and
	// under no lock; nil is nobody. It must not block.
	Observe func(context.Context, Event)
}

// Gate permits attempts or refuses them; breaker.Breaker is one.
//
// A Gate may also have
//
//	AllowCall() (answered func(), done func(error), err error)
//
// which is then asked in place of Allow. Its answered is called, at most once and
// before done, when the final header section of an answer came that is no
// failure: a gate that is to tell a hung call from a long body needs to know.
type Gate interface {
	// Allow returns a func that is called exactly once with the outcome: nil, a
	// *failure.Error, or failure.ErrUnused if no attempt was made after all. A
	// refusal is an error, preferably a *failure.Error with RetryAfter.
	Allow() (done func(error), err error)
}
