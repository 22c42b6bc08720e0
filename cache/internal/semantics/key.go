package semantics

import (
	"net/http"
	"net/url"
	"strings"
)

// Keying is what the primary key of a request is made of beside the request.
type Keying struct {
	Namespace string
	// Query says which part of the query counts; nil = all of it.
	Query *Query
}

// Append appends the primary key of a request (RFC 9111 section 2) as far as
// its URL makes it: namespace, scheme, host, path and query. The host is
// lower-cased and loses the scheme's default port; path and query stay exactly
// as they came.
func (k *Keying) Append(dst []byte, scheme string, r *http.Request) []byte {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	return k.appendURL(dst, scheme, host, r.URL)
}

// AppendNamespace appends what all keys of a namespace, and no others, begin with.
func AppendNamespace(dst []byte, namespace string) []byte {
	return append(appendEscaped(dst, namespace), 0, '/')
}

// AppendURL appends what a request for u has there; u is absolute.
func (k *Keying) AppendURL(dst []byte, u *url.URL) []byte {
	return k.appendURL(dst, strings.ToLower(u.Scheme), u.Host, u)
}

// AppendKey is Keying.Append for a namespace and whole queries.
func AppendKey(dst []byte, namespace, scheme string, r *http.Request) []byte {
	return (&Keying{Namespace: namespace}).Append(dst, scheme, r)
}

// AppendURLKey is Keying.AppendURL for a namespace and whole queries.
func AppendURLKey(dst []byte, namespace string, u *url.URL) []byte {
	return (&Keying{Namespace: namespace}).AppendURL(dst, u)
}

func (k *Keying) appendURL(dst []byte, scheme, host string, u *url.URL) []byte {
	dst = AppendNamespace(dst, k.Namespace)
	dst = append(appendEscaped(dst, scheme), 0, '/')
	dst = append(appendHost(dst, scheme, host), 0, '/')
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	dst = appendEscaped(dst, path)
	if u.RawQuery == "" && (!u.ForceQuery || k.Query != nil) {
		return dst
	}
	n := len(dst)
	dst = append(dst, '?')
	if dst = k.Query.Append(dst, u.RawQuery); len(dst) == n+1 && k.Query != nil {
		return dst[:n] // an emptied query is none
	}
	return dst
}

// partHeader begins the parts of a key that fields make. No part of a URL
// contains it: there, a NUL is followed by something else.
const partHeader = "\x00h"

// AppendField appends the lines that a request has of a field to its key. One
// that is absent differs from one that is empty.
func AppendField(dst []byte, name string, lines []string) []byte {
	dst = appendEscaped(append(dst, partHeader...), name)
	if len(lines) == 0 {
		return append(dst, 0, 'a')
	}
	for _, line := range lines {
		dst = appendEscaped(append(dst, 0, '='), line)
	}
	return dst
}

// KeyParts are the parts of a primary key.
type KeyParts struct {
	// URL is all but the fields: what stands for the URL, whoever asks.
	URL string
	// Namespace, Scheme, Host and Path are what URL is made of, Path with the
	// query.
	Namespace, Scheme, Host, Path string
	// Fields are those that are part of the key, each "Name: value" with its
	// lines joined by ", ", or "Name" if the request had none.
	Fields []string
}

// SplitKey takes a primary key apart.
func SplitKey(key string) KeyParts {
	url, fields, more := strings.Cut(key, partHeader)
	p := KeyParts{URL: url}
	p.Namespace, url, _ = strings.Cut(url, "\x00/")
	p.Scheme, url, _ = strings.Cut(url, "\x00/")
	p.Host, p.Path, _ = strings.Cut(url, "\x00/")
	for more {
		var one string
		one, fields, more = strings.Cut(fields, partHeader)
		name, value, present := strings.Cut(one, "\x00=")
		if present {
			name += ": " + strings.ReplaceAll(value, "\x00=", ", ")
		}
		p.Fields = append(p.Fields, strings.TrimSuffix(name, "\x00a"))
	}
	return p
}

// URLPart is the part of a primary key that stands for the URL.
func URLPart(key string) string {
	url, _, _ := strings.Cut(key, partHeader)
	return url
}

// PurgeForm is a URL's part of a key as purges compare it: escapes of what needs
// none are undone, the others are in upper case (RFC 3986 section 6.2.2), and what
// people write but no URL has, blanks and bytes beyond ASCII, is escaped. Usually
// that is what it was.
func PurgeForm(part string) string {
	if strings.IndexFunc(part, func(c rune) bool { return c == '%' || unwritten(c) }) < 0 {
		return part
	}
	out := make([]byte, 0, len(part))
	for i := 0; i < len(part); i++ {
		c := part[i]
		if unwritten(rune(c)) {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
			continue
		}
		if c != '%' || i+2 >= len(part) || !isHex(part[i+1]) || !isHex(part[i+2]) {
			out = append(out, c)
			continue
		}
		if b := unhex(part[i+1])<<4 | unhex(part[i+2]); isUnreserved(b) {
			out = append(out, b)
		} else {
			out = append(out, '%', upper(part[i+1]), upper(part[i+2]))
		}
		i += 2
	}
	return string(out)
}

const upperHex = "0123456789ABCDEF"

func unwritten(c rune) bool { return c == ' ' || c >= 0x80 }

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return upper(c) - 'A' + 10
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// isUnreserved is RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// Host is a host as keys have it: in lower case, without the scheme's default
// port.
func Host(scheme, host string) string { return string(appendHost(nil, scheme, host)) }

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
