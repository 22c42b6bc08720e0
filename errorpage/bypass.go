package errorpage

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// verdict is what becomes of a request during maintenance.
type verdict uint8

const (
	pass    verdict = iota // to the site
	hold                   // it gets the page
	healthy                // it gets a 200
)

// scope is whom maintenance concerns.
type scope struct {
	hosts, suffixes []string // in lower case; suffixes begin with a dot
	paths           []string // without a slash at the end; "" is all
	match           func(*http.Request) bool
	exempt          []netip.Prefix
	clientIP        func(*http.Request) (netip.Addr, bool)
	cookie          string // its name; "" is none
	secret          [sha256.Size]byte
	health          []string
	healthStatus    int
}

// minSecret is the least length of the bypass cookie's value in bytes.
const minSecret = 16

// newScope checks cfg; the error joins everything that is wrong with it.
func newScope(cfg MaintenanceConfig) (scope, error) {
	s := scope{match: cfg.Match, clientIP: cfg.ClientIP, healthStatus: cfg.HealthStatus}
	if s.clientIP == nil {
		s.clientIP = peerIP
	}
	var errs []error
	wrong := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("errorpage: Config.Maintenance.%s is %q: must be %s", field, value, want))
	}
	if strings.ContainsRune(cfg.File, 0) {
		wrong("File", cfg.File, "a path")
	}
	for i, host := range cfg.Hosts {
		name, wild := strings.CutPrefix(strings.ToLower(host), "*.")
		switch {
		case !askable(name):
			wrong(fmt.Sprintf("Hosts[%d]", i), host, "a name (xn--… where it is not ASCII) or an address without a port, such as shop.example or *.shop.example")
		case wild:
			s.suffixes = append(s.suffixes, "."+name)
		default:
			s.hosts = append(s.hosts, name)
		}
	}
	for i, p := range cfg.Paths {
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p && path.Clean(p)+"/" != p {
			wrong(fmt.Sprintf("Paths[%d]", i), p, "a path without . and .., such as /shop")
			continue
		}
		s.paths = append(s.paths, strings.TrimSuffix(p, "/"))
	}
	for i, n := range cfg.Exempt {
		if !n.IsValid() || n.Bits() == 0 || n.Addr().Is4In6() {
			wrong(fmt.Sprintf("Exempt[%d]", i), n, "a network that is not everybody's, such as 10.0.0.0/8; an IPv4 network is written as one")
			continue
		}
		s.exempt = append(s.exempt, n.Masked())
	}
	for i, p := range cfg.HealthPaths {
		if !strings.HasPrefix(p, "/") {
			wrong(fmt.Sprintf("HealthPaths[%d]", i), p, "a path, such as /healthz")
		}
	}
	s.health = slices.Clone(cfg.HealthPaths)
	switch {
	case cfg.HealthStatus != 0 && cfg.HealthStatus != http.StatusOK && cfg.HealthStatus != http.StatusServiceUnavailable:
		errs = append(errs, fmt.Errorf("errorpage: Config.Maintenance.HealthStatus is %d: must be 200, 503 or 0", cfg.HealthStatus))
	case cfg.HealthStatus != 0 && len(cfg.HealthPaths) == 0:
		errs = append(errs, errors.New("errorpage: Config.Maintenance.HealthStatus needs HealthPaths: must name what health checks ask for"))
	}
	if cfg.RetryAfter < 0 {
		errs = append(errs, fmt.Errorf("errorpage: Config.Maintenance.RetryAfter is %v: must be 0 or more", cfg.RetryAfter))
	}
	if cfg.BypassCookie != "" {
		name, value, ok := strings.Cut(cfg.BypassCookie, "=")
		c := http.Cookie{Name: name, Value: value}
		if !ok || c.Valid() != nil || len(value) < minSecret || strings.ContainsAny(value, `" ,`) {
			// The value is a secret, and errors are logged.
			errs = append(errs, fmt.Errorf("errorpage: Config.Maintenance.BypassCookie: must be name=value (RFC 6265 section 4.1.1), unquoted, with a value of at least %d bytes", minSecret))
		} else {
			s.cookie, s.secret = name, sha256.Sum256([]byte(value))
		}
	}
	return s, errors.Join(errs...)
}

// askable tells whether the Host of a request can be name, which is in lower case.
func askable(name string) bool {
	if hostName(name) != name || strings.HasPrefix(name, ".") || strings.Contains(name, "..") {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c > '~' || strings.ContainsRune("/*@", c) {
			return false
		}
	}
	return name != ""
}

// verdict is what becomes of r.
func (s *scope) verdict(r *http.Request) verdict {
	if r.URL != nil && slices.Contains(s.health, r.URL.Path) {
		switch s.healthStatus {
		case http.StatusOK:
			return healthy
		case http.StatusServiceUnavailable:
			return hold
		}
		return pass
	}
	if !s.concerns(r) || s.exempts(r) || s.bypasses(r) {
		return pass
	}
	return hold
}

// concerns tells whether r asks for something that is in maintenance.
func (s *scope) concerns(r *http.Request) bool {
	if len(s.hosts)+len(s.suffixes) > 0 {
		host := hostName(strings.ToLower(r.Host))
		below := func(suffix string) bool { return len(host) > len(suffix) && strings.HasSuffix(host, suffix) }
		if !slices.Contains(s.hosts, host) && !slices.ContainsFunc(s.suffixes, below) {
			return false
		}
	}
	if len(s.paths) > 0 {
		p := "/"
		if r.URL != nil {
			p = path.Clean("/" + r.URL.Path)
		}
		within := func(prefix string) bool {
			rest, ok := strings.CutPrefix(p, prefix)
			return ok && (rest == "" || rest[0] == '/')
		}
		if !slices.ContainsFunc(s.paths, within) {
			return false
		}
	}
	return s.match == nil || s.match(r)
}

// exempts tells whether r's client is known to be exempt.
func (s *scope) exempts(r *http.Request) bool {
	if len(s.exempt) == 0 {
		return false
	}
	addr, ok := s.clientIP(r)
	if !ok {
		return false
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(s.exempt, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// bypasses tells whether r has the cookie. Of several with its name, which have
// other paths or are left over, one will do. How long it takes tells nothing of
// the secret.
func (s *scope) bypasses(r *http.Request) bool {
	if s.cookie == "" {
		return false
	}
	for _, c := range r.CookiesNamed(s.cookie) {
		if sum := sha256.Sum256([]byte(c.Value)); subtle.ConstantTimeCompare(sum[:], s.secret[:]) == 1 {
			return true
		}
	}
	return false
}

// peerIP is the address of the connection's other end.
func peerIP(r *http.Request) (netip.Addr, bool) {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr(), true
}

// hostName is the host of a Host field, without port, brackets and the dot of
// the root.
func hostName(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	if n := len(s); n > 2 && s[0] == '[' && s[n-1] == ']' {
		s = s[1 : n-1]
	}
	return strings.TrimSuffix(s, ".")
}
