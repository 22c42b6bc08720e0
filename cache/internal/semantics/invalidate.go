package semantics

import (
	"net/http"
	"net/url"
	"strings"
)

// Safe tells whether a method is known to be safe (RFC 9110 section 9.2.1).
// One that is not known may not be.
func Safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// Invalidates tells whether the answer to a request makes what is stored for
// its target invalid: a non-error answer to an unsafe method (RFC 9111 section
// 4.4).
func Invalidates(method string, status int) bool {
	return !Safe(method) && status >= 200 && status <= 399
}

// InvalidatedURIs returns the other resources that are invalid then: those
// that Location and Content-Location name, as far as they are of the same
// origin as the target.
func InvalidatedURIs(r *http.Request, scheme string, h http.Header) []*url.URL {
	var uris []*url.URL
	target := targetURI(r, scheme)
	for _, name := range [...]string{"Location", "Content-Location"} {
		ref := first(h[name])
		if ref == "" {
			continue
		}
		u, err := target.Parse(ref)
		if err != nil || u.Opaque != "" || !strings.EqualFold(u.Scheme, scheme) || !sameHost(scheme, u.Host, target.Host) {
			continue
		}
		u.Scheme, u.User = scheme, nil
		uris = append(uris, u)
	}
	return uris
}

// targetURI is the target of a request (RFC 9110 section 7.1).
func targetURI(r *http.Request, scheme string) *url.URL {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return &url.URL{Scheme: scheme, Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
}
