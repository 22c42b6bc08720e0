package ratelimit

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config configures a [Limiter]. Rate must be set, or Limits; all else may be
// zero.
type Config struct {
	// Name identifies the policy in events, and in the RateLimit fields the one
	// limit of Rate, Burst and Key: printable ASCII. "" is "client".
	Name string

	// Rate is how many permits a bucket gains per second: above 0, at most 1e9.
	Rate float64

	// Burst is how many permits a bucket holds. 0 is Rate, rounded up; negative
	// is an error; at most 1e9.
	Burst int

	// Key tells clients apart: see [Limit].
	Key func(*http.Request) (key string, ok bool)

	// Limits are limits that a request must pass all, 16 at most. They are
	// checked together: a request that one of them refuses takes nothing from
	// the others. Rate, Burst and Key are the shorthand for one, and must be
	// zero where Limits is not empty.
	Limits []Limit

	// ClientIP is the client's address, for limits without a Key and for Allow
	// and Deny. nil is [PeerIP]. Behind a proxy use [NewClientIP].
	ClientIP func(*http.Request) (netip.Addr, bool)

	// BehindProxy says that requests come through a proxy. Whatever needs the
	// client's address needs ClientIP, then: without, New fails.
	BehindProxy bool

	// IPv4Bits and IPv6Bits are how many leading bits of an address make a
	// client. 0 is 32 and 64; others must be from 1 to 32 and from 1 to 128.
	IPv4Bits, IPv6Bits int

	// Allow are networks of clients that no limit is asked about, and Deny those
	// of clients that are always refused, as a limit would refuse them but with
	// no time to wait. Of several networks that a client is in the longest
	// decides, and of two equal ones Deny. A client without an address is in
	// none.
	Allow, Deny []netip.Prefix

	// MaxKeys is how many clients each limit tells apart at a time; each takes
	// about 200 bytes per limit. 0 is 65536; negative is an error.
	MaxKeys int

	// MaxDelay is how long Handler may hold a request back until its permits
	// come, first come, first served for every bucket. A request that would have
	// to wait longer is refused at once. 0 refuses whoever has no permit;
	// negative is an error; at most a minute, since a server's shutdown waits for
	// those that wait.
	MaxDelay time.Duration

	// MaxWaiting is how many requests may be held back at a time, of all clients
	// together. 0 is 1024; negative is an error.
	MaxWaiting int

	// Jitter is the share by which Handler prolongs Retry-After at most, at
	// random, so that clients that were refused together don't come back
	// together. 0 is none; at most 1, negative is an error.
	Jitter float64

	// Headers puts the RateLimit and RateLimit-Policy fields also on answers to
	// requests that pass. Such fields of next's answer are kept beside them.
	Headers bool

	// DryRun decides and reports, and lets everything pass as it is. Nobody
	// waits; who would have to wait is reported as refused.
	DryRun bool

	// ErrorHandler answers the requests that Handler refuses. nil is
	// [failure.WriteError].
	ErrorHandler failure.ErrorHandler

	// Observe is told of every decision; nil is nobody. It runs on the
	// goroutine of the decision, under no lock.
	Observe func(context.Context, Event)
}

// Limit is one of several limits of a [Limiter]. Rate must be set. Its funcs run
// on the request's goroutine, under no lock, and must have no effect on others:
// [Limiter.Explain] calls them, too.
type Limit struct {
	// Name identifies the limit in the RateLimit fields and in events: printable
	// ASCII, different from the others'. "" is Config.Name.
	Name string

	// Rate and Burst are as in [Config].
	Rate  float64
	Burst int

	// Key tells clients apart. ok false is a client that can't be told apart
	// from others; all those share one bucket. nil is the address that
	// Config.ClientIP tells: as text, an IPv4 address ("192.0.2.1") or an IPv6
	// network of 64 bits ("2001:db8::/64"). Others are [KeyByHeader],
	// [KeyByCookie], [KeyByPath], [KeyByClient], and of several [KeyByAll] and
	// [KeyByFirst].
	//
	// A key may be of any length; one of more than 64 bytes is kept as its
	// digest.
	Key func(*http.Request) (key string, ok bool)

	// Cost is how many permits a request needs, so that routes may weigh
	// differently or not at all. nil is 1. 0 or less leaves this limit out. More
	// than Burst counts as Burst: a request that can never be granted helps
	// nobody.
	Cost func(*http.Request) int

	// Count makes this a limit on answers instead of requests: it counts those
	// for which Count returns true. nil counts requests.
	//
	// status is the final status as it passes outward. e is the failure that was
	// reported beneath and not mended ([failure.Report]); nil if there was none.
	// Where next chose no status, it is 200 if it returned, that of e if it
	// panicked (500, and 502 for [http.ErrAbortHandler]), and
	// [failure.StatusClientGone] with cause client_gone where the client left.
	//
	// A request is refused when the bucket is empty. Otherwise its permits are
	// taken, and given back as soon as the answer turns out not to count. So
	// Burst also bounds how many requests of a client may be in flight at once,
	// and nobody makes more guesses by making them at the same time.
	Count func(status int, e *failure.Error) bool
}
