package backend

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
)

// Endpoint is one place that answers for the service: an address or a handler.
type Endpoint struct {
	// URL has one of the schemes
	//
	//	http, https            HTTP/1; over TLS HTTP/2 where it is negotiated
	//	h2                     HTTP/2 over TLS, and nothing else
	//	h2c                    HTTP/2 without TLS
	//	unix:///run/app.sock   HTTP/1 over a socket in the file system
	//	unix:@name             the same over an abstract one (Linux)
	//
	// All but unix have a host and optionally a path that is put in front of
	// every request's. Through a socket the Host is "localhost" unless
	// [Config.PreserveHost] is set.
	//
	// A host that is a name is resolved in the background
	// ([Config.ResolveInterval]). One address, or one of each family
	// (RFC 8305), is one endpoint. With several of a family each of them is an
	// endpoint: of the family with more addresses, the other one remains for
	// when that can't be routed to. The first of them has the name of this
	// Endpoint, the others NAME@ADDRESS, and each keeps its name as long as its
	// address is there. Weight and MaxInFlight are each one's. At most 64
	// addresses are used.
	URL string
	// Handler answers in this process. Exactly one of URL and Handler is set.
	Handler http.Handler
	// Name appears in errors, metrics and logs; "" is host:port of URL,
	// unix:PATH, or "handler".
	Name string
	// Weight is the endpoint's share beside the others'; 0 is 1, negative or
	// more than 1,000,000 is refused.
	Weight int
	// Backup endpoints are used only when no other may be.
	Backup bool
	// MaxInFlight limits the requests that the endpoint works on at once; 0 is
	// no limit, negative is refused.
	MaxInFlight int
	// ProxyProtocol is the version, 1 or 2, of the PROXY protocol header that
	// begins every connection, before TLS, and says from which address the
	// request came: its RemoteAddr, which is not always an address (a handler
	// further out may have set it). 0 is none. Such a connection carries one
	// request and is closed, so that none carries another client's; for HTTP/2
	// (h2, h2c) and handlers it is refused, and https is HTTP/1. The connections
	// of checks are marked as the proxy's own (LOCAL, in version 1 UNKNOWN).
	ProxyProtocol int
}

// target is an endpoint's checked address.
type target struct {
	name string
	key  string       // the same for endpoints that are the same
	url  *url.URL     // nil: a handler
	addr string       // host:port, or the path of a socket
	host string       // of addr
	port string       // of addr
	ip   []netip.Addr // host as the only member, if it is an address
	unix bool
	h2c  bool // HTTP/2 without TLS
	h2   bool // HTTP/2 over TLS and nothing else

	proxy int // version of the PROXY protocol; 0: none
}

// resolvable tells that the host is a name.
func (t *target) resolvable() bool { return t.host != "" && t.ip == nil }

const schemes = "the scheme must be http, https, h2, h2c or unix"

// The longest path of a socket, without the byte that ends it (unix(7)).
const (
	maxSocketPath      = 107
	maxSocketPathOther = 103
)

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
	case ep.Weight > maxWeight:
		return target{}, fmt.Errorf(".Weight is %d: must be at most %d", ep.Weight, maxWeight)
	case ep.MaxInFlight < 0:
		return target{}, fmt.Errorf(".MaxInFlight is %d: must be positive, or 0 for no limit", ep.MaxInFlight)
	case ep.ProxyProtocol < 0 || ep.ProxyProtocol > 2:
		return target{}, fmt.Errorf(".ProxyProtocol is %d: must be 1 or 2, or 0 for none", ep.ProxyProtocol)
	case ep.ProxyProtocol != 0 && ep.Handler != nil:
		return target{}, fmt.Errorf(".ProxyProtocol is %d: a Handler has no connections, must be 0", ep.ProxyProtocol)
	case ep.URL == "" && ep.Handler == nil:
		return target{}, errors.New(" has neither URL nor Handler: exactly one is needed")
	case ep.URL != "" && ep.Handler != nil:
		return target{}, errors.New(" has both URL and Handler: exactly one is needed")
	case ep.Handler != nil:
		name := firstOf(ep.Name, "handler")
		return target{name: name, key: name + " handler"}, nil
	}
	if strings.HasPrefix(ep.URL, "unix:") {
		return parseSocket(ep)
	}
	if strings.Contains(ep.URL, "@") { // which the errors below would tell
		return target{}, errors.New(".URL: credentials are not supported, nor is an @; " + schemes)
	}
	if !strings.Contains(ep.URL, "://") {
		return target{}, fmt.Errorf(".URL is %q: %s, followed by ://", ep.URL, schemes)
	}
	u, err := url.Parse(ep.URL)
	if err != nil {
		return target{}, fmt.Errorf(".URL is %q: %w", ep.URL, errors.Unwrap(err))
	}
	t := target{url: u, proxy: ep.ProxyProtocol}
	port := "80"
	switch u.Scheme {
	case "http":
	case "https":
		port = "443"
	case "h2c":
		t.h2c = true
		u.Scheme = "http"
	case "h2":
		port = "443"
		t.h2 = true
		u.Scheme = "https"
	default:
		return target{}, fmt.Errorf(".URL is %q: %s", ep.URL, schemes)
	}
	switch {
	case t.proxy != 0 && (t.h2 || t.h2c):
		return target{}, fmt.Errorf(".ProxyProtocol is %d: an HTTP/2 connection is for many clients, must be 0 or the scheme http, https or unix", t.proxy)
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
	t.host, t.port, t.addr = u.Hostname(), port, net.JoinHostPort(u.Hostname(), port)
	if ip, err := netip.ParseAddr(t.host); err == nil {
		t.ip = []netip.Addr{ip}
	}
	t.name = firstOf(ep.Name, t.addr)
	t.key = fmt.Sprintf("%s %s %t %t %d", t.name, u, t.h2, t.h2c, t.proxy)
	return t, nil
}

// parseSocket checks the address of a Unix socket. The error continues
// "Endpoints[i]".
func parseSocket(ep Endpoint) (target, error) {
	path, abstract := strings.CutPrefix(ep.URL, "unix:@")
	longest := maxSocketPath
	if runtime.GOOS != "linux" {
		longest = maxSocketPathOther
	}
	if !abstract {
		u, err := url.Parse(ep.URL)
		switch {
		case err != nil:
			return target{}, fmt.Errorf(".URL is %q: %w", ep.URL, errors.Unwrap(err))
		case u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, "/"):
			return target{}, fmt.Errorf(".URL is %q: the path of a socket is absolute, with three slashes: unix:///run/app.sock", ep.URL)
		case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
			return target{}, fmt.Errorf(".URL is %q: it must have no query and no fragment", ep.URL)
		case strings.HasSuffix(u.Path, "/"):
			return target{}, fmt.Errorf(".URL is %q: it names a directory, not a socket", ep.URL)
		}
		path = u.Path
	}
	switch {
	case abstract && runtime.GOOS != "linux":
		return target{}, fmt.Errorf(".URL is %q: abstract sockets are of Linux only", ep.URL)
	case path == "":
		return target{}, fmt.Errorf(".URL is %q: it has no name", ep.URL)
	case strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }):
		return target{}, fmt.Errorf(".URL is %q: it has control characters", ep.URL)
	case len(path) > longest:
		return target{}, fmt.Errorf(".URL is %q: the path of a socket has at most %d bytes, not %d", ep.URL, longest, len(path))
	case abstract:
		path = "@" + path
	}
	name := firstOf(ep.Name, "unix:"+path)
	return target{
		name: name, key: fmt.Sprintf("%s unix %s %d", name, path, ep.ProxyProtocol), proxy: ep.ProxyProtocol, unix: true, addr: path, url: &url.URL{Scheme: "http", Host: "localhost"},
	}, nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
