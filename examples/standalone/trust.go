package main

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/ratelimit"
)

// proxies are the networks of the proxies in front of this one, whose word is
// taken about whom they forward for and how they were reached.
type proxies []netip.Prefix

// sent tells whether r comes from one of them.
func (p proxies) sent(r *http.Request) bool {
	if len(p) == 0 {
		return false
	}
	addr, ok := ratelimit.PeerIP(r)
	return ok && slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(addr) })
}

// scheme is how the visitor's request was made: what the nearest proxy says of
// it, or the connection.
func (p proxies) scheme(r *http.Request) string {
	if lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 && p.sent(r) {
		said := lines[len(lines)-1]
		if i := strings.LastIndexByte(said, ','); i >= 0 {
			said = said[i+1:]
		}
		switch said = strings.ToLower(strings.TrimSpace(said)); said {
		case "http", "https":
			return said
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
