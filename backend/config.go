package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

	// Connect limits name resolution and the TCP connect together; 0 is 3 s,
	// negative is refused.
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

	// Retries is how many more attempts may follow the first, where the cause
	// of its failure permits one; 0 is 2, negative none.
	Retries int
	// ReplayBody is how many bytes of a request's body are kept for another
	// attempt; 0 is 64 kB, negative none.
	ReplayBody int64
	// MaxHeaderBytes limits the header section of a response; 0 is 256 kB,
	// negative is refused.
	MaxHeaderBytes int64

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

	// Health is the active check; the zero value is none.
	Health Health
	// Gate is asked before every attempt, whatever the endpoint; nil is none.
	Gate Gate
	// NewGate makes one gate per endpoint; it is called by New with the
	// endpoint's name. nil is none. At most one of Gate and NewGate is set.
	NewGate func(endpoint string) Gate

	// ErrorHandler answers requests that failed; nil is failure.WriteError.
	ErrorHandler failure.ErrorHandler
	// Observe is told what happened, on the goroutine where it happened and
	// under no lock; nil is nobody. It must not block.
	Observe func(context.Context, Event)
}

// Endpoint is one place that answers for the service: an address or a handler.
type Endpoint struct {
	// URL has the scheme http, https or h2c (HTTP/2 without TLS), a host, and
	// optionally a path that is put in front of every request's.
	URL string
	// Handler answers in this process. Exactly one of URL and Handler is set.
	Handler http.Handler
	// Name appears in errors, metrics and logs; "" is host:port of URL, or
	// "handler".
	Name string
	// Weight is the endpoint's share beside the others'; 0 is 1, negative is
	// refused.
	Weight int
	// Backup endpoints are used only when no other may be.
	Backup bool
	// MaxInFlight limits the requests that the endpoint works on at once; 0 is
	// no limit, negative is refused.
	MaxInFlight int
}

// Health describes an active check: GET Path, answered with a status from 200
// to 399 in time. The zero value is no check.
type Health struct {
	// Path is requested of every endpoint, behind its prefix, with its query if
	// it has one; "" is no check.
	Path string
	// Interval between two checks; 0 is 2 s, negative is refused.
	Interval time.Duration
	// Timeout limits one check altogether; 0 is 1 s, negative is refused.
	Timeout time.Duration
	// Rise is how many good checks in a row take an endpoint up; 0 is 2.
	Rise int
	// Fall is how many bad checks in a row take it down; 0 is 2. An endpoint is
	// up until its checks say otherwise.
	Fall int
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

const (
	defaultConnect      = 3 * time.Second
	defaultTLSHandshake = 3 * time.Second
	defaultFirstByte    = 15 * time.Second
	defaultHeaderStall  = 5 * time.Second
	defaultBetweenBytes = 15 * time.Second
	defaultWrite        = 15 * time.Second
	defaultUntilHeaders = 60 * time.Second
	defaultStreamIdle   = 5 * time.Minute
	defaultClientWrite  = 60 * time.Second
	defaultIdleConn     = 4 * time.Second
	defaultRetries      = 2
	defaultReplayBody   = 64 << 10
	defaultMaxHeader    = 256 << 10
	defaultInterval     = 2 * time.Second
	defaultTimeout      = 1 * time.Second
	defaultRise         = 2
	defaultFall         = 2
)

// target is an endpoint's checked address; url is nil for a handler.
type target struct {
	name string
	url  *url.URL
	addr string // host:port
	h2c  bool
}

// resolved checks cfg and returns it with all defaults filled in. The error has
// every mistake. Limits that are off are 0 in the result.
func resolved(cfg Config) (Config, []target, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("backend: "+format, args...)) }

	if cfg.Name == "" {
		cfg.Name = "backend"
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		def   time.Duration
		off   bool // a negative value means none
	}{
		{"Connect", &cfg.Connect, defaultConnect, false},
		{"TLSHandshake", &cfg.TLSHandshake, defaultTLSHandshake, false},
		{"FirstByte", &cfg.FirstByte, defaultFirstByte, true},
		{"HeaderStall", &cfg.HeaderStall, defaultHeaderStall, true},
		{"BetweenBytes", &cfg.BetweenBytes, defaultBetweenBytes, true},
		{"Write", &cfg.Write, defaultWrite, true},
		{"UntilHeaders", &cfg.UntilHeaders, defaultUntilHeaders, true},
		{"StreamIdle", &cfg.StreamIdle, defaultStreamIdle, true},
		{"ClientWrite", &cfg.ClientWrite, defaultClientWrite, true},
		{"IdleConn", &cfg.IdleConn, defaultIdleConn, true},
		{"Health.Interval", &cfg.Health.Interval, defaultInterval, false},
		{"Health.Timeout", &cfg.Health.Timeout, defaultTimeout, false},
	} {
		switch {
		case *d.value == 0:
			*d.value = d.def
		case *d.value < 0 && d.off:
			*d.value = 0
		case *d.value < 0:
			fail("Config.%s is %v: must be positive, or 0 for %v", d.name, *d.value, d.def)
		}
	}

	switch {
	case cfg.Retries == 0:
		cfg.Retries = defaultRetries
	case cfg.Retries < 0:
		cfg.Retries = 0
	}
	switch {
	case cfg.ReplayBody == 0:
		cfg.ReplayBody = defaultReplayBody
	case cfg.ReplayBody < 0:
		cfg.ReplayBody = 0
	}
	switch {
	case cfg.MaxHeaderBytes == 0:
		cfg.MaxHeaderBytes = defaultMaxHeader
	case cfg.MaxHeaderBytes < 0:
		fail("Config.MaxHeaderBytes is %d: must be positive, or 0 for %d", cfg.MaxHeaderBytes, defaultMaxHeader)
	}
	for _, n := range []struct {
		name  string
		value *int
		def   int
	}{
		{"Health.Rise", &cfg.Health.Rise, defaultRise},
		{"Health.Fall", &cfg.Health.Fall, defaultFall},
	} {
		if *n.value < 0 {
			fail("Config.%s is %d: must be positive, or 0 for %d", n.name, *n.value, n.def)
		}
		if *n.value == 0 {
			*n.value = n.def
		}
	}
	if p := cfg.Health.Path; p != "" {
		if u, err := url.ParseRequestURI(p); err != nil || !strings.HasPrefix(p, "/") || u.Host != "" || strings.ContainsFunc(u.RawQuery, unsafe) {
			fail("Config.Health.Path is %q: must be a path that begins with a slash", p)
		}
	}
	if cfg.Gate != nil && cfg.NewGate != nil {
		fail("Config.Gate and Config.NewGate are both set: one gate for the backend, or one per endpoint")
	}

	if len(cfg.Endpoints) == 0 {
		fail("Config.Endpoints is empty: at least one is needed")
	}
	targets := make([]target, len(cfg.Endpoints))
	names := make(map[string]int, len(cfg.Endpoints))
	for i, ep := range cfg.Endpoints {
		t, err := parseEndpoint(ep)
		if err != nil {
			fail("Config.Endpoints[%d]%w", i, err)
			continue
		}
		if j, dup := names[t.name]; dup {
			fail("Config.Endpoints[%d] has the name %q of Endpoints[%d]: give it another Name", i, t.name, j)
			continue
		}
		names[t.name] = i
		targets[i] = t
	}
	return cfg, targets, errors.Join(errs...)
}

// parseEndpoint checks one endpoint. The error continues "Endpoints[i]".
func parseEndpoint(ep Endpoint) (target, error) {
	switch {
	case ep.Weight < 0:
		return target{}, fmt.Errorf(".Weight is %d: must be positive, or 0 for 1", ep.Weight)
	case ep.MaxInFlight < 0:
		return target{}, fmt.Errorf(".MaxInFlight is %d: must be positive, or 0 for no limit", ep.MaxInFlight)
	case ep.URL == "" && ep.Handler == nil:
		return target{}, errors.New(" has neither URL nor Handler: exactly one is needed")
	case ep.URL != "" && ep.Handler != nil:
		return target{}, errors.New(" has both URL and Handler: exactly one is needed")
	case ep.Handler != nil:
		return target{name: firstOf(ep.Name, "handler")}, nil
	}
	if strings.Contains(ep.URL, "@") { // which the errors below would tell
		return target{}, errors.New(".URL: credentials are not supported, nor is an @; the scheme must be http, https or h2c")
	}
	if !strings.Contains(ep.URL, "://") {
		return target{}, fmt.Errorf(".URL is %q: the scheme must be http, https or h2c, followed by ://", ep.URL)
	}
	u, err := url.Parse(ep.URL)
	if err != nil {
		return target{}, fmt.Errorf(".URL is %q: %w", ep.URL, errors.Unwrap(err))
	}
	t := target{url: u}
	port := "80"
	switch u.Scheme {
	case "http":
	case "https":
		port = "443"
	case "h2c":
		t.h2c = true
		u.Scheme = "http"
	default:
		return target{}, fmt.Errorf(".URL is %q: the scheme must be http, https or h2c", ep.URL)
	}
	switch {
	case u.Hostname() == "":
		return target{}, fmt.Errorf(".URL is %q: it has no host", ep.URL)
	case strings.Contains(u.Hostname(), ":") && !strings.HasPrefix(u.Host, "["):
		return target{}, fmt.Errorf(".URL is %q: an IPv6 address is written in brackets", ep.URL)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return target{}, fmt.Errorf(".URL is %q: it must have no query and no fragment", ep.URL)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.Atoi(p); err != nil || n < 1 || n > 65535 {
			return target{}, fmt.Errorf(".URL is %q: the port must be from 1 to 65535", ep.URL)
		}
		port = p
	}
	t.addr = net.JoinHostPort(u.Hostname(), port)
	t.name = firstOf(ep.Name, t.addr)
	return t, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
