package backend

import (
	"maps"
	"net/http"
	"slices"
	"strings"
)

// notTrailers has the fields that a recipient acts on before it reads the body,
// or by which it trusts the sender: framing, routing, conditions, credentials,
// content and response control (RFC 9110 section 6.5.1). One that merges the
// trailers into the header section would be misled by them.
var notTrailers = map[string]bool{
	"Content-Length": true, "Host": true, "Max-Forwards": true, "Expect": true,
	"Cache-Control": true, "Pragma": true, "Range": true, "If-Match": true, "If-None-Match": true,
	"If-Modified-Since": true, "If-Unmodified-Since": true, "If-Range": true,
	"Authorization": true, "Www-Authenticate": true, "Authentication-Info": true, "Proxy-Authentication-Info": true,
	"Cookie": true, "Set-Cookie": true,
	"Content-Encoding": true, "Content-Type": true, "Content-Range": true,
	"Age": true, "Date": true, "Expires": true, "Location": true, "Retry-After": true, "Vary": true, "Warning": true,
}

// trailerField tells whether a field may be passed on in a trailer section.
func trailerField(name string) bool {
	return token(name) && !notTrailers[name] && !oneHop[name] && !ours[name] && !claimsClient(name)
}

// trailerNames lists the fields that are announced.
func trailerNames(h http.Header) string {
	names := make([]string, 0, len(h))
	for name := range h {
		if trailerField(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// trailersOf has the client's trailers for an attempt. It is called after the
// end of the body, when net/http writes them no more.
func (c *call) trailersOf() http.Header {
	var h http.Header
	for name, values := range c.r.Trailer {
		if trailerField(name) && len(values) > 0 {
			if h == nil {
				h = make(http.Header, len(c.r.Trailer))
			}
			h[name] = values
		}
	}
	return h
}

// announced is what an attempt's request says of its trailers before they are
// there; nil: nothing.
func announced(names string) http.Header {
	if names == "" {
		return nil
	}
	h := make(http.Header)
	for name := range listSeq(names) {
		h[name] = nil
	}
	return h
}

// joinTrailer fills in what was announced, and adds what was not.
func joinTrailer(dst, h http.Header) http.Header {
	if dst == nil {
		return h
	}
	maps.Copy(dst, h)
	return dst
}
