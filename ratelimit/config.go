package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config configures a [Limiter]. Rate must be set; all else may be zero.
type Config struct {
	// Name identifies the policy in the RateLimit fields and in events:
	// printable ASCII. "" is "client".
	Name string

	// Rate is how many permits a bucket gains per second: above 0, at most 1e9.
	Rate float64

	// Burst is how many permits a bucket holds. 0 is Rate, rounded up; negative
	// is an error; at most 1e9.
	Burst int

	// Key tells clients apart. ok false is a client that can't be told apart
	// from others; all those share one bucket. nil is the address that ClientIP
	// tells: as text, an IPv4 address ("192.0.2.1") or an IPv6 network of 64
	// bits ("2001:db8::/64").
	//
	// A key may be of any length; one of more than 64 bytes is kept as its
	// digest.
	Key func(*http.Request) (key string, ok bool)

	// ClientIP is the client's address for the default Key. nil is [PeerIP].
	// Behind a proxy use [NewClientIP].
	ClientIP func(*http.Request) (netip.Addr, bool)

	// MaxKeys is how many clients are told apart at a time; each takes about 250
	// bytes. 0 is 65536; negative is an error.
	MaxKeys int

	// ErrorHandler answers the requests that Handler refuses. nil is
	// [failure.WriteError].
	ErrorHandler failure.ErrorHandler

	// Observe is told of every decision; nil is nobody. It runs on the
	// goroutine of the decision, under no lock.
	Observe func(context.Context, Event)
}

// EventKind tells what an [Event] is about.
type EventKind uint8

// The kinds of events.
const (
	Allowed EventKind = iota + 1
	Limited
)

// String returns the kind's name in logs and metrics.
func (k EventKind) String() string {
	switch k {
	case Allowed:
		return "allowed"
	case Limited:
		return "limited"
	}
	return "event(?)"
}

// Event is one decision.
type Event struct {
	Kind EventKind
	// Name is the policy's.
	Name string
	// RetryAfter is when a refused request may be made; 0 if it was allowed, or
	// if it never may (more permits than Burst).
	RetryAfter time.Duration
	// Overflow tells that the table was full and the shared bucket decided.
	Overflow bool
	// Unidentified tells that the client could not be told apart from others.
	// Many of these mean that ClientIP or the trusted proxies are wrong.
	Unidentified bool
}

const (
	defaultName    = "client"
	defaultMaxKeys = 1 << 16

	// maxRate is what a clock of nanoseconds can tell apart. It keeps every
	// Rate away from the value that x/time/rate takes for "unlimited".
	maxRate    = 1e9
	maxBurst   = 1_000_000_000
	maxMaxKeys = 1 << 26
)

// normalize fills in the defaults and validates everything.
func (c Config) normalize() (Config, error) {
	var errs []error
	bad := func(field string, value any, must string) {
		errs = append(errs, fmt.Errorf("ratelimit: Config.%s is %v: must be %s", field, value, must))
	}
	if c.Name == "" {
		c.Name = defaultName
	}
	for i := range len(c.Name) {
		if c.Name[i] < 0x20 || c.Name[i] > 0x7e {
			bad("Name", fmt.Sprintf("%q", c.Name), "printable ASCII")
			break
		}
	}
	rateOK := c.Rate > 0 && c.Rate <= maxRate // NaN and the infinities are neither
	if !rateOK {
		bad("Rate", c.Rate, fmt.Sprintf("above 0 and at most %v permits per second", maxRate))
	}
	switch {
	case c.Burst < 0 || c.Burst > maxBurst:
		bad("Burst", c.Burst, fmt.Sprintf("from 1 to %d, or 0 for Rate rounded up", maxBurst))
	case c.Burst == 0 && rateOK:
		c.Burst = int(math.Ceil(c.Rate))
	}
	switch {
	case c.MaxKeys == 0:
		c.MaxKeys = defaultMaxKeys
	case c.MaxKeys < 0 || c.MaxKeys > maxMaxKeys:
		bad("MaxKeys", c.MaxKeys, fmt.Sprintf("from 1 to %d, or 0 for %d", maxMaxKeys, defaultMaxKeys))
	}
	if c.ClientIP == nil {
		c.ClientIP = PeerIP
	}
	return c, errors.Join(errs...)
}
