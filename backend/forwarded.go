package backend

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// joined appends to a list field, in one line.
func joined(have []string, one string) []string {
	if len(have) == 0 {
		return []string{one}
	}
	return []string{strings.Join(have, ", ") + ", " + one}
}

// forwardedFor says whom the request came from. What a client that is not
// trusted says about it is dropped.
func (s *state) forwardedFor(h http.Header, r *http.Request) {
	client := clientAddress(r.RemoteAddr)
	proto := "http"
	if r.TLS != nil {
		proto = "https"
	}
	if s.cfg.TrustForwarded == nil || !s.cfg.TrustForwarded(r) {
		for name := range h {
			if claimsClient(name) {
				delete(h, name)
			}
		}
	}
	host := unzoned(r.Host)
	if have := h["Forwarded"]; s.cfg.Forwarded || client != "" && len(have) > 0 {
		h["Forwarded"] = joined(have, forwardedElement(client, s.b.id, host, proto))
	}
	if client != "" {
		h["X-Forwarded-For"] = joined(h["X-Forwarded-For"], client)
	}
	if len(h["X-Forwarded-Proto"]) == 0 {
		h["X-Forwarded-Proto"] = []string{proto}
	}
	if len(h["X-Forwarded-Host"]) == 0 && host != "" {
		h["X-Forwarded-Host"] = []string{host}
	}
}

// clientAddress is the address of the peer: without the zone, which means
// something on this machine alone, and an IPv4 address as such. "" if there is
// none.
func clientAddress(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return ""
	}
	if !strings.ContainsAny(host, "%.") || !strings.Contains(host, ":") {
		return host
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

// claimsClient tells whether a field says whom a request came from. An
// underscore counts as a hyphen: backends that make variables of the names
// (RFC 3875 section 4.1.18) can't tell them apart.
func claimsClient(name string) bool {
	if strings.Contains(name, "_") {
		name = http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
	}
	return strings.HasPrefix(name, "X-Forwarded-") || name == "Forwarded" || name == "X-Real-Ip"
}

// forwardedElement is ours of a Forwarded field (RFC 7239 section 4): the client
// that we saw, this backend by an obfuscated name (section 6.3), and what the
// client asked for.
func forwardedElement(client, id, host, proto string) string {
	switch {
	case client == "":
		client = "unknown"
	case strings.Contains(client, ":"):
		client = `"[` + client + `]"`
	case !token(client):
		client = "unknown"
	}
	element := "for=" + client + ";by=_" + id
	switch {
	case host == "":
	case token(host):
		element += ";host=" + host
	default:
		element += `;host="` + quotedPairs.Replace(host) + `"`
	}
	return element + ";proto=" + proto
}

var quotedPairs = strings.NewReplacer(`"`, `\"`, `\`, `\\`)
