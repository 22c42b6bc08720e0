package backend

import (
	"net/url"
	"strings"
	"time"
)

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

const (
	defaultInterval = 2 * time.Second
	defaultTimeout  = 1 * time.Second
	defaultRise     = 2
	defaultFall     = 2
)

// on tells whether there are checks.
func (h *Health) on() bool { return h.Path != "" }

// check notes what is wrong with h and fills the defaults in.
func (h *Health) check(fail failFunc) {
	for _, d := range []durationField{
		{"Health.Interval", &h.Interval, defaultInterval, false},
		{"Health.Timeout", &h.Timeout, defaultTimeout, false},
	} {
		d.check(fail)
	}
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
	if p := h.Path; p != "" {
		if u, err := url.ParseRequestURI(p); err != nil || !strings.HasPrefix(p, "/") || u.Host != "" || strings.ContainsFunc(u.RawQuery, unsafe) {
			fail("Config.Health.Path is %q: must be a path that begins with a slash", p)
		}
	}
}
