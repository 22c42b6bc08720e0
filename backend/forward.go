package backend

import (
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// oneHop has the fields that mean one connection only, or that this package
// writes itself (RFC 9110 section 7.6.1).
var oneHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Te": true, "Trailer": true, "Transfer-Encoding": true,
	"Upgrade": true, "Http2-Settings": true, "Proxy-Authorization": true, "Proxy-Authenticate": true,
}

// ours has the fields that no trailer section may bring: what was put into the
// header section on this side of the client, and what loops are detected by.
var ours = map[string]bool{"X-Request-Id": true, "Via": true, "Cdn-Loop": true}

// meantForAll has fields that a Connection field must not name (RFC 9110 section
// 7.6.1) and can't take away here. Without them a recipient would be misled: a
// private answer could be stored, or a client could strip what was put there on
// this side of it. claimsClient has others.
var meantForAll = map[string]bool{
	"X-Request-Id": true, "Via": true, "Cdn-Loop": true, "Traceparent": true, "Tracestate": true, "Baggage": true, "Max-Forwards": true,
	"Host": true, "Authorization": true, "Cookie": true, "Origin": true, "Range": true, "Expect": true,
	"If-Match": true, "If-None-Match": true, "If-Modified-Since": true, "If-Unmodified-Since": true, "If-Range": true,
	"Cache-Control": true, "Cdn-Cache-Control": true, "Pragma": true, "Vary": true, "Age": true, "Date": true, "Expires": true, "Etag": true,
	"Set-Cookie": true, "Location": true, "Retry-After": true, "Www-Authenticate": true, "Strict-Transport-Security": true,
	"Content-Type": true, "Content-Encoding": true, "Content-Length": true, "Content-Range": true, "Content-Security-Policy": true,
}

// listSeq gives the members of a comma-separated list of tokens.
func listSeq(v string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for one := range strings.SplitSeq(v, ",") {
			if one = strings.TrimSpace(one); one != "" && !yield(one) {
				return
			}
		}
	}
}

func hasToken(values []string, want string) bool {
	for _, v := range values {
		for one := range listSeq(v) {
			if strings.EqualFold(one, want) {
				return true
			}
		}
	}
	return false
}

// endToEnd copies the fields of h that are not of one hop to dst. The values
// are shared, not to be changed.
func endToEnd(dst, h http.Header) {
	var nominated map[string]bool
	for _, v := range h["Connection"] {
		for name := range listSeq(v) {
			if name = http.CanonicalHeaderKey(name); !oneHop[name] && !meantForAll[name] && !claimsClient(name) {
				if nominated == nil {
					nominated = make(map[string]bool)
				}
				nominated[name] = true
			}
		}
	}
	for name, values := range h {
		if oneHop[name] || nominated[name] {
			continue
		}
		if have := dst[name]; len(have) > 0 {
			dst[name] = append(slices.Clip(have), values...)
		} else {
			dst[name] = slices.Clip(values)
		}
	}
}

// closeUp takes the spaces from before the colons (RFC 9112 section 5.1: a proxy
// must, where it does not refuse the response).
func closeUp(h http.Header) {
	for name, values := range h {
		if clean := strings.TrimRight(name, " \t"); clean != name {
			delete(h, name)
			clean = http.CanonicalHeaderKey(clean)
			h[clean] = append(h[clean], values...)
		}
	}
}

// upgradeOf is the protocol that r asks for; "" is none. HTTP/2 has no upgrades
// (RFC 9113 section 8.6), and a request with a body keeps its protocol here.
func upgradeOf(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || !hasToken(r.Header["Connection"], "Upgrade") || hasBody(r) {
		return ""
	}
	u := r.Header.Get("Upgrade")
	if strings.EqualFold(u, "h2c") || !printable(u) {
		return "" // nothing that could be forwarded
	}
	return u
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// forwardHeader is the header section for remote endpoints.
func (s *state) forwardHeader(r *http.Request) http.Header {
	h := make(http.Header, len(r.Header)+6)
	endToEnd(h, r.Header)
	delete(h, "Content-Length")
	delete(h, "Expect")
	delete(h, "Host")
	delete(h, "Proxy")                          // CGI origins read it as the HTTP_PROXY of their environment
	if crumbs := h["Cookie"]; len(crumbs) > 1 { // RFC 9113 section 8.2.3
		h["Cookie"] = []string{strings.Join(crumbs, "; ")}
	}
	oneFurther(h, r.Method)
	s.forwardedFor(h, r)
	version := "1.1 "
	if r.ProtoMajor == 2 {
		version = "2 "
	} else if r.ProtoMajor == 1 && r.ProtoMinor == 0 {
		version = "1.0 "
	}
	h["Via"] = joined(h["Via"], version+s.b.id)
	h["Cdn-Loop"] = joined(h["Cdn-Loop"], s.b.id)
	return h
}

// looped tells whether the request has been here before.
func (b *Backend) looped(r *http.Request) bool {
	for _, v := range r.Header["Via"] {
		for one := range listSeq(v) {
			if fields := strings.Fields(one); len(fields) >= 2 && strings.EqualFold(fields[1], b.id) {
				return true
			}
		}
	}
	for _, v := range r.Header["Cdn-Loop"] {
		for one := range listSeq(v) {
			id, _, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(id), b.id) {
				return true
			}
		}
	}
	return false
}

// unfit names what keeps a request from being forwarded as it is; nil if
// nothing does.
func (s *state) unfit(r *http.Request) *failure.Error {
	bad := func(why string) *failure.Error {
		return &failure.Error{Cause: failure.ClientBodyError, Status: http.StatusBadRequest, Backend: s.cfg.Name, Detail: why}
	}
	switch {
	case s.b.looped(r):
		return &failure.Error{Cause: failure.Loop, Backend: s.cfg.Name, Detail: "Via or CDN-Loop names " + s.b.id}
	case !token(r.Method):
		return bad("the method is no token")
	case !validHost(r.Host):
		return bad("the Host is no host")
	case strings.ContainsFunc(r.URL.RawQuery, unsafe):
		return bad("the query has forbidden characters")
	case s.prefixed && climbs(r.URL.Path):
		return bad("the path leaves the endpoint's")
	}
	return nil
}

// request makes what is sent to ep.
func (c *call) request(ep *endpoint) *request {
	q := &request{length: c.length, fresh: c.fresh, trailer: c.trailer, trailers: c.trailersOf}
	if c.upload != nil {
		q.body = c.upload.reader()
	}
	if ep.inProcess() {
		r := c.r
		if c.cfg().DeadlineHeader != "" {
			same := *r
			same.Header = c.withDeadline(r.Header)
			r = &same
		}
		q.origin, q.http, q.client = r, r, c.w
		return q
	}
	if c.header == nil {
		c.header = c.state.forwardHeader(c.r)
	}
	u := ep.join(c.r.URL)
	host := ep.url.Host
	if c.cfg().PreserveHost && c.r.Host != "" {
		host = c.r.Host
	}
	host = unzoned(host)
	q.http = &http.Request{
		Method: c.r.Method, URL: u, Host: host, Header: c.withDeadline(c.header),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if q.target = u.RequestURI(); c.r.URL.Path == "*" && c.r.Method == http.MethodOptions {
		q.target = "*" // RFC 9112 section 3.2.4
	}
	q.last = ep.proxy != 0
	q.upgrade, q.te, q.expect = c.upgrade, c.te, c.expect
	return q
}
