package backend

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Health describes an active check of every endpoint. The zero value is none: a
// check runs where Path is set, or Kind is another than CheckHTTP.
//
// A check makes a connection of its own and closes it: it shows that a new one
// can be made, and is never the loser of a race with a backend that closes idle
// ones. It takes no slot of a limit and asks no gate. A handler is asked as
// requests are; there is nothing to connect to, so that CheckTCP finds it up.
type Health struct {
	// Kind is how an endpoint is asked; the zero value is CheckHTTP.
	Kind CheckKind
	// Path is requested of every endpoint, behind its prefix, with its query if
	// it has one; "" is no check. It belongs to CheckHTTP.
	Path string
	// Method of the request; "" is GET. It belongs to CheckHTTP.
	Method string
	// Host is sent in place of the endpoint's own; "" is that. It is not for
	// CheckTCP. The name that a certificate is to be valid for stays the
	// endpoint's.
	Host string
	// Status has the statuses of a good answer, as a list of numbers and ranges:
	// "200-299, 401"; "" is 200-399. No redirect is followed. It belongs to
	// CheckHTTP.
	Status string
	// Body must occur in the first 64 kB of a good answer's content; "" is not
	// looked for. The answer may break after it. It belongs to CheckHTTP.
	Body string
	// Service is what a gRPC server is asked for; "" is the server as a whole. It
	// belongs to CheckGRPC.
	Service string

	// Interval between two checks; 0 is 2 s, negative is refused.
	Interval time.Duration
	// FastInterval takes the place of Interval while the last check contradicts
	// what is thought of the endpoint, and until the first good one of an endpoint
	// that begins down. 0 is a quarter of Interval, but not less than 100 ms, and
	// never more than Interval; negative is refused.
	FastInterval time.Duration
	// Jitter is the share of an interval by which it varies at random in either
	// direction, so that several endpoints and instances do not ask at the same
	// time. 0 is 0.1; negative: none. It must be at most 1.
	Jitter float64
	// Timeout limits one check altogether; 0 is 1 s, negative is refused.
	Timeout time.Duration
	// Rise is how many good checks in a row take an endpoint up; 0 is 2. The first
	// check of all is enough for one that begins down.
	Rise int
	// Fall is how many bad checks in a row take it down; 0 is 2.
	Fall int
	// InitialDown has a new endpoint down until its first good check. Otherwise it
	// is up until its checks say something else.
	InitialDown bool
}

// CheckKind is how an active check asks an endpoint.
type CheckKind uint8

const (
	// CheckHTTP sends a request and looks at the answer.
	CheckHTTP CheckKind = iota
	// CheckTCP makes a connection, with the TLS handshake where the endpoint
	// speaks TLS, and closes it.
	CheckTCP
	// CheckGRPC calls grpc.health.v1.Health/Check over HTTP/2; SERVING is good.
	CheckGRPC
)

var checkNames = [...]string{"http", "tcp", "grpc"}

// String is "http", "tcp" or "grpc".
func (k CheckKind) String() string {
	if int(k) < len(checkNames) {
		return checkNames[k]
	}
	return fmt.Sprintf("check(%d)", uint8(k))
}

// ParseCheckKind is the reverse of [CheckKind.String].
func ParseCheckKind(name string) (CheckKind, error) {
	for i, one := range checkNames {
		if name == one {
			return CheckKind(i), nil
		}
	}
	return 0, fmt.Errorf("backend: check %q: must be one of %s", name, strings.Join(checkNames[:], ", "))
}

const (
	defaultInterval = 2 * time.Second
	defaultTimeout  = 1 * time.Second
	defaultRise     = 2
	defaultFall     = 2
	defaultJitter   = 0.1
	defaultStatus   = "200-399"
	leastFast       = 100 * time.Millisecond
	// checkedBody is how much of an answer's content a check looks at.
	checkedBody = 64 << 10
)

// on tells whether there are checks.
func (h *Health) on() bool { return h.Path != "" || h.Kind != CheckHTTP }

// check notes what is wrong with h and fills the defaults in.
func (h *Health) check(fail failFunc) {
	durationField{"Health.Interval", &h.Interval, defaultInterval, false}.check(fail)
	durationField{"Health.FastInterval", &h.FastInterval, min(h.Interval, max(h.Interval/4, leastFast)), false}.check(fail)
	durationField{"Health.Timeout", &h.Timeout, defaultTimeout, false}.check(fail)
	for _, n := range []struct {
		name  string
		value *int
		def   int
	}{
		{"Health.Rise", &h.Rise, defaultRise},
		{"Health.Fall", &h.Fall, defaultFall},
	} {
		if *n.value < 0 {
			fail("Config.%s is %d: must be positive, or 0 for %d", n.name, *n.value, n.def)
		}
		if *n.value == 0 {
			*n.value = n.def
		}
	}
	switch {
	case h.Jitter == 0:
		h.Jitter = defaultJitter
	case h.Jitter < 0:
		h.Jitter = 0
	case !(h.Jitter <= 1): // NaN included
		fail("Config.Health.Jitter is %v: must be at most 1, 0 for %v, or negative for none", h.Jitter, defaultJitter)
	}
	h.checkKind(fail)
	if p := h.Path; p != "" {
		if u, err := url.ParseRequestURI(p); err != nil || !strings.HasPrefix(p, "/") || u.Host != "" || strings.ContainsFunc(u.RawQuery, unsafe) {
			fail("Config.Health.Path is %q: must be a path that begins with a slash", p)
		}
	}
	if m := h.Method; m != "" && (!token(m) || m == http.MethodConnect) {
		fail("Config.Health.Method is %q: must be a method other than CONNECT", m)
	}
	if strings.ContainsFunc(h.Host, unsafe) || strings.ContainsAny(h.Host, "/@") {
		fail("Config.Health.Host is %q: must be a host, with a port or without", h.Host)
	}
	if _, err := wanted(h.Status, 0); err != nil {
		fail("Config.Health.Status is %q: %w", h.Status, err)
	}
	switch {
	case h.Body != "" && h.Method == http.MethodHead:
		fail("Config.Health.Body is set, and Method is HEAD: there is no body in the answer to HEAD")
	case len(h.Body) > checkedBody:
		fail("Config.Health.Body has %d bytes: must have at most %d", len(h.Body), checkedBody)
	}
}

// checkKind notes fields that have no meaning for the kind of check.
func (h *Health) checkKind(fail failFunc) {
	if int(h.Kind) >= len(checkNames) {
		fail("Config.Health.Kind is %v: must be CheckHTTP, CheckTCP or CheckGRPC", h.Kind)
		return
	}
	for _, f := range []struct {
		name, value string
		of          []CheckKind
	}{
		{"Path", h.Path, []CheckKind{CheckHTTP}},
		{"Method", h.Method, []CheckKind{CheckHTTP}},
		{"Host", h.Host, []CheckKind{CheckHTTP, CheckGRPC}},
		{"Status", h.Status, []CheckKind{CheckHTTP}},
		{"Body", h.Body, []CheckKind{CheckHTTP}},
		{"Service", h.Service, []CheckKind{CheckGRPC}},
	} {
		fits := false
		for _, k := range f.of {
			fits = fits || k == h.Kind
		}
		switch {
		case f.value == "":
		case !fits:
			fail("Config.Health.%s is %q: must be empty for a check of kind %v", f.name, f.value, h.Kind)
		case h.Kind == CheckHTTP && h.Path == "":
			fail("Config.Health.%s is %q, and Path is empty: without a Path there is no check", f.name, f.value)
		}
	}
}

// fits notes endpoints that the check can't ask.
func (h *Health) fits(endpoints []Endpoint, targets []target, fail failFunc) {
	if h.Kind != CheckGRPC {
		return
	}
	for i, t := range targets {
		if t.url != nil && t.url.Scheme != "https" && !t.h2c {
			fail("Config.Endpoints[%d].URL is %q: a gRPC check needs HTTP/2: the scheme must be h2c, h2 or https", i, endpoints[i].URL)
		}
	}
}

// wanted tells whether status is in the set, a list of numbers and ranges; "" is
// 200-399.
func wanted(set string, status int) (bool, error) {
	if set == "" {
		set = defaultStatus
	}
	is := false
	for one := range strings.SplitSeq(set, ",") {
		low, high, ranged := strings.Cut(strings.TrimSpace(one), "-")
		from, err := statusCode(low)
		to := from
		if err == nil && ranged {
			to, err = statusCode(high)
		}
		if err == nil && to < from {
			err = fmt.Errorf("the range %s is empty", strings.TrimSpace(one))
		}
		if err != nil {
			return false, err
		}
		is = is || from <= status && status <= to
	}
	return is, nil
}

func statusCode(s string) (int, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err != nil || n < 100 || n > 599 {
		return 0, fmt.Errorf("%q is no status: must be numbers from 100 to 599, or ranges like 200-299, with commas between them", s)
	}
	return int(n), nil
}
