package ratelimit

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// PeerIP is the address of the connection's other end (http.Request.RemoteAddr),
// with or without a port. ok is false where that is no IP address, as on a Unix
// socket. A zone is dropped, and an IPv4 address in IPv6 clothing is an IPv4
// address.
//
// Behind a listener that speaks the PROXY protocol, RemoteAddr is the source
// address of its header, and this is the client: the listener must take headers
// from the proxies only. Of a LOCAL or UNKNOWN header it is what the listener
// reports instead, as a rule the proxy; an address that is no IP address is
// none.
func PeerIP(r *http.Request) (addr netip.Addr, ok bool) {
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return clean(ap.Addr())
	}
	addr, err := netip.ParseAddr(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	return clean(addr)
}

// clean makes addresses comparable. The unspecified address is nobody's.
func clean(addr netip.Addr) (netip.Addr, bool) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	return addr, true
}

// ClientIPConfig configures [NewClientIP].
type ClientIPConfig struct {
	// TrustedProxies are the networks of the proxies whose word is taken. Empty
	// is nobody: the client is always the peer. A network of every address is
	// refused, since the client's own word would be taken then.
	TrustedProxies []netip.Prefix

	// Header is the field in which the proxies tell whom they forward for:
	// "X-Forwarded-For" or "Forwarded" (RFC 7239). "" is "X-Forwarded-For". A
	// proxy must append to it, or replace it; one that passes it on as it came
	// lets clients choose who they are. The other field is not looked at.
	Header string
}

const (
	xForwardedFor = "X-Forwarded-For"
	forwarded     = "Forwarded"

	// maxHops bounds the proxies between a client and us.
	maxHops = 32
)

// NewClientIP returns a function that finds the client's address behind proxies.
//
// If the peer is no trusted proxy, it is the client, and no field is looked at.
// Otherwise the field's elements are walked from the last, all its lines taken
// together: each was written by the proxy behind it. The first one that is no
// trusted proxy is the client; what stands before it is only the client's word.
// If all of them are trusted, the client is the first: a machine of our own.
//
// ok is false where that does not lead to an address: the field is absent, an
// element on the way is no address ("unknown", an obfuscated name, garbage), or
// there are more than 32. Such a request has no client that it could be blamed
// on, neither the proxy nor a guess.
//
// An element may have a port, and an IPv6 address brackets and a zone, which is
// dropped. An IPv4 address in IPv6 clothing is an IPv4 address.
func NewClientIP(cfg ClientIPConfig) (func(*http.Request) (netip.Addr, bool), error) {
	var errs []error
	header := http.CanonicalHeaderKey(cfg.Header)
	switch header {
	case "":
		header = xForwardedFor
	case xForwardedFor, forwarded:
	default:
		errs = append(errs, fmt.Errorf("ratelimit: ClientIPConfig.Header is %q: must be %q or %q", cfg.Header, xForwardedFor, forwarded))
	}
	trusted := make(proxies, 0, len(cfg.TrustedProxies))
	for i, p := range cfg.TrustedProxies {
		network, must := normalizePrefix(p)
		if must != "" {
			errs = append(errs, fmt.Errorf("ratelimit: ClientIPConfig.TrustedProxies[%d] is %v: must be %s", i, p, must))
		}
		trusted = append(trusted, network)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return func(r *http.Request) (netip.Addr, bool) {
		peer, ok := PeerIP(r)
		if !ok || !trusted.contain(peer) {
			return peer, ok
		}
		w := walk{trusted: trusted}
		if header == forwarded {
			w.forwarded(r.Header[header])
		} else {
			w.xForwardedFor(r.Header[header])
		}
		return w.client()
	}, nil
}

type proxies []netip.Prefix

func (p proxies) contain(addr netip.Addr) bool {
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// normalizePrefix makes p comparable with clean addresses, or says what it must
// be.
func normalizePrefix(p netip.Prefix) (network netip.Prefix, must string) {
	network, must = normalizeNetwork(p)
	if must == "" && network.Bits() == 0 {
		return p, "a network of proxies, not of every address"
	}
	return network, must
}

// normalizeNetwork is normalizePrefix where a network of all addresses makes
// sense.
func normalizeNetwork(p netip.Prefix) (network netip.Prefix, must string) {
	if !p.IsValid() {
		return p, "a network"
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, "an IPv4 or an IPv6 network, not both"
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), ""
}

// walk goes from the last element of a field to the first.
type walk struct {
	trusted proxies
	addr    netip.Addr // of the element that was visited last
	hops    int        // how many were visited
	lost    bool       // one on the way was no address, or there were too many
}

// visit looks at one element and tells whether to go on.
func (w *walk) visit(node string, obfuscated bool) bool {
	addr, ok := parseNode(node, obfuscated)
	w.addr = addr
	w.hops++
	w.lost = !ok || w.hops > maxHops
	return !w.lost && w.trusted.contain(addr)
}

func (w *walk) client() (netip.Addr, bool) {
	if w.lost || w.hops == 0 {
		return netip.Addr{}, false
	}
	return w.addr, true
}

func (w *walk) xForwardedFor(lines []string) {
	for _, line := range slices.Backward(lines) {
		for more := true; more; {
			var element string
			if i := strings.LastIndexByte(line, ','); i >= 0 {
				line, element = line[:i], line[i+1:]
			} else {
				element, more = line, false
			}
			if !w.visit(strings.Trim(element, " \t"), false) {
				return
			}
		}
	}
}

// parseNode reads an address with or without a port: "192.0.2.1",
// "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". Where
// obfuscated is set, the port may be a name (RFC 7239 section 6.2).
func parseNode(s string, obfuscated bool) (netip.Addr, bool) {
	// The longest has 45 characters, brackets, a zone and a port. Longer ones
	// are not worth looking at.
	if s == "" || len(s) > 128 {
		return netip.Addr{}, false
	}
	host, port, hasPort := s, "", false
	bracketed := s[0] == '['
	if bracketed {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		host = s[1:end]
		if rest := s[end+1:]; rest != "" {
			if rest[0] != ':' {
				return netip.Addr{}, false
			}
			port, hasPort = rest[1:], true
		}
	} else if i := strings.IndexByte(s, ':'); i >= 0 && strings.IndexByte(s[i+1:], ':') < 0 {
		host, port, hasPort = s[:i], s[i+1:], true // one colon: no IPv6 address
	}
	if hasPort && !validPort(port, obfuscated) {
		return netip.Addr{}, false
	}
	// The zone says nothing here, and netip would keep every one it ever saw.
	host, zone, hasZone := strings.Cut(host, "%")
	if hasZone && zone == "" {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Is4() && (bracketed || hasZone) {
		return netip.Addr{}, false
	}
	return clean(addr)
}

const obfuscatedChars = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-"

// validPort accepts a number of one to five digits up to 65535 and, where
// obfuscated is set, "_" with letters, digits, ".", "_" and "-".
func validPort(s string, obfuscated bool) bool {
	if s == "" {
		return false
	}
	if obfuscated && s[0] == '_' {
		return len(s) > 1 && strings.Trim(s[1:], obfuscatedChars) == ""
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i >= 5 {
			return false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n <= 65535
}
