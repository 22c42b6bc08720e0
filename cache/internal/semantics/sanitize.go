package semantics

import (
	"net/http"
	"slices"
	"strings"
)

// unstored are the fields that are never stored: those of one connection (RFC
// 9110 section 7.6.1), those of a proxy (RFC 9111 section 3.1), and those that
// are about one exchange.
var unstored = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true, "Transfer-Encoding": true,
	"Upgrade": true, "Http2-Settings": true, "Trailer": true,
	"Proxy-Authenticate": true, "Proxy-Authentication-Info": true, "Proxy-Authorization": true,
	"Age": true, "Server-Timing": true, "X-Request-Id": true,
}

// Sanitize returns what of h is stored: a copy whose slices have no room, so
// that whoever appends to one gets a new one. Not in it are the fields of the
// connection and those that Connection lists, what the qualified forms of
// no-cache and private name, rate limits, request ids and timings, and our own
// members of Cache-Status and Proxy-Status.
func Sanitize(h http.Header, o Options) http.Header {
	d := parseDirectives(h, o.targets())
	return sanitize(h, o.Self, slices.Concat(connectionFields(h), d.noCacheFields, d.privateFields))
}

func sanitize(h http.Header, self string, without []string) http.Header {
	out := make(http.Header, len(h)+2) // Age and Cache-Status come when it is served
	n := 0
	for _, lines := range h {
		n += len(lines)
	}
	all := make([]string, 0, n)
	for name, lines := range h {
		if unstored[name] || perExchange(name) || slices.Contains(without, name) {
			continue
		}
		if name == "Cache-Status" || name == "Proxy-Status" {
			if lines = withoutMember(lines, self); len(lines) == 0 {
				continue
			}
		}
		start := len(all)
		all = append(all, lines...)
		out[name] = all[start:len(all):len(all)]
	}
	return out
}

// connectionFields are the fields that Connection lists, but for those that are
// for all recipients and must not be there (RFC 9110 section 7.6.1).
func connectionFields(h http.Header) []string {
	var names []string
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = http.CanonicalHeaderKey(strings.Trim(name, " \t")); name != "" && !depended[name] {
				names = append(names, name)
			}
		}
	}
	return names
}

func perExchange(name string) bool {
	return strings.HasPrefix(name, "Ratelimit") || strings.HasPrefix(name, "X-Ratelimit") || strings.HasPrefix(name, "X-Rate-Limit")
}

// withoutMember returns lines without the list members called name.
func withoutMember(lines []string, name string) []string {
	var kept []string
	for _, line := range lines {
		if !strings.Contains(line, name) {
			kept = append(kept, line)
			continue
		}
		var members []string
		for more := true; more; {
			var m string
			m, line, more = nextMember(line)
			if id, _, _ := strings.Cut(m, ";"); m != "" && strings.TrimSpace(id) != name {
				members = append(members, m)
			}
		}
		if len(members) > 0 {
			kept = append(kept, strings.Join(members, ", "))
		}
	}
	return kept
}
