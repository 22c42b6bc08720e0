package semantics

import (
	"net/http"
	"net/url"
	"strings"
)

// AppendKey appends the primary key of a request (RFC 9111 section 2):
// namespace, scheme, host, path and query. The host is lower-cased and loses
// the scheme's default port; path and query stay exactly as they came.
func AppendKey(dst []byte, namespace, scheme string, r *http.Request) []byte {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return appendURL(dst, namespace, scheme, host, r.URL)
}

// AppendNamespace appends what all keys of a namespace, and no others, begin with.
func AppendNamespace(dst []byte, namespace string) []byte {
	return append(appendEscaped(dst, namespace), 0, '/')
}

// AppendURLKey appends the key that a request for u has; u is absolute.
func AppendURLKey(dst []byte, namespace string, u *url.URL) []byte {
	return appendURL(dst, namespace, u.Scheme, u.Host, u)
}

func appendURL(dst []byte, namespace, scheme, host string, u *url.URL) []byte {
	dst = AppendNamespace(dst, namespace)
	dst = append(appendEscaped(dst, scheme), 0, '/')
	dst = append(appendHost(dst, scheme, host), 0, '/')
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	dst = appendEscaped(dst, path)
	if u.RawQuery != "" || u.ForceQuery {
		dst = append(dst, '?')
		dst = appendEscaped(dst, u.RawQuery)
	}
	return dst
}

func appendHost(dst []byte, scheme, host string) []byte {
	host = trimPort(scheme, host)
	for i := range len(host) {
		c := host[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if dst = append(dst, c); c == 0 {
			dst = append(dst, 'n')
		}
	}
	return dst
}

func trimPort(scheme, host string) string {
	switch scheme {
	case "http":
		host = strings.TrimSuffix(host, ":80")
	case "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":")
}

// sameHost compares two hosts of one scheme.
func sameHost(scheme, a, b string) bool {
	return strings.EqualFold(trimPort(scheme, a), trimPort(scheme, b))
}
