package backend

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

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

// target is an endpoint's checked address; url is nil for a handler.
type target struct {
	name string
	url  *url.URL
	addr string // host:port
	h2c  bool
}

// parseEndpoints checks all endpoints, each by itself and their names together.
func parseEndpoints(endpoints []Endpoint, fail failFunc) []target {
	if len(endpoints) == 0 {
		fail("Config.Endpoints is empty: at least one is needed")
	}
	targets := make([]target, len(endpoints))
	names := make(map[string]int, len(endpoints))
	for i, ep := range endpoints {
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
	return targets
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
