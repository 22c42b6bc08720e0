package backend

import (
	"iter"
	"net"
	"net/http"
	"net/url"
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

// ours has the fields that a client's Connection field can't take away: what
// was put there on this side of it, and what loops are detected by.
var ours = map[string]bool{"X-Request-Id": true, "Via": true, "Cdn-Loop": true}

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
func endToEnd(dst, h http.Header, request bool) {
	var nominated map[string]bool
	for _, v := range h["Connection"] {
		for name := range listSeq(v) {
			if name = http.CanonicalHeaderKey(name); !oneHop[name] && (!request || !ours[name]) {
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
	endToEnd(h, r.Header, true)
	delete(h, "Content-Length")
	delete(h, "Expect")
	delete(h, "Host")
	delete(h, "Proxy") // CGI origins read it as the HTTP_PROXY of their environment
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
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = ""
	}
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
	if client != "" {
		h["X-Forwarded-For"] = joined(h["X-Forwarded-For"], client)
		if have := h["Forwarded"]; len(have) > 0 {
			h["Forwarded"] = joined(have, forwardedNode(client, proto))
		}
	}
	if len(h["X-Forwarded-Proto"]) == 0 {
		h["X-Forwarded-Proto"] = []string{proto}
	}
	if len(h["X-Forwarded-Host"]) == 0 && r.Host != "" {
		h["X-Forwarded-Host"] = []string{r.Host}
	}
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

// forwardedNode is our element of a Forwarded field (RFC 7239 section 4).
func forwardedNode(client, proto string) string {
	if strings.Contains(client, ":") {
		client = `"[` + client + `]"`
	}
	return "for=" + client + ";proto=" + proto
}

// looped tells whether the request has been here before.
func (b *Backend) looped(r *http.Request) bool {
	for _, v := range r.Header["Via"] {
		for one := range listSeq(v) {
			if fields := strings.Fields(one); len(fields) >= 2 && fields[1] == b.id {
				return true
			}
		}
	}
	for _, v := range r.Header["Cdn-Loop"] {
		for one := range listSeq(v) {
			id, _, _ := strings.Cut(one, ";")
			if strings.TrimSpace(id) == b.id {
				return true
			}
		}
	}
	return false
}

// join puts the endpoint's path in front of the request's. The escaped forms
// are joined, so that nothing is decoded on the way.
func (ep *endpoint) join(u *url.URL) *url.URL {
	out := &url.URL{
		Scheme: ep.url.Scheme, Host: ep.url.Host, Path: u.Path,
		RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}
	escaped := u.EscapedPath()
	prefix := strings.TrimSuffix(ep.url.EscapedPath(), "/")
	if u.Path == "*" && prefix == "" {
		return out
	}
	if !strings.HasPrefix(escaped, "/") {
		escaped, out.Path = "/"+escaped, "/"+out.Path
	}
	out.Path = strings.TrimSuffix(ep.url.Path, "/") + out.Path
	out.RawPath = prefix + escaped
	return out
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
	case strings.ContainsFunc(r.Host, unsafe):
		return bad("the Host has forbidden characters")
	case strings.ContainsFunc(r.URL.RawQuery, unsafe):
		return bad("the query has forbidden characters")
	case s.prefixed && climbs(r.URL.Path):
		return bad("the path leaves the endpoint's")
	}
	return nil
}

func unsafe(c rune) bool { return c <= ' ' || c == 0x7f }

// climbs tells whether a path has segments that lead upward.
func climbs(path string) bool {
	if !strings.Contains(path, "..") {
		return false
	}
	for one := range strings.FieldsFuncSeq(path, func(c rune) bool { return c == '/' || c == '\\' }) {
		// Some take what follows a semicolon for parameters of the segment.
		if name, _, _ := strings.Cut(one, ";"); name == ".." {
			return true
		}
	}
	return false
}

// request makes what is sent to ep.
func (c *call) request(ep *endpoint) *request {
	q := &request{length: c.length, fresh: c.fresh, trailer: c.trailer, trailers: c.trailersOf}
	if c.upload != nil {
		q.body = c.upload.reader()
	}
	if ep.inProcess() {
		q.origin, q.http, q.client = c.r, c.r, c.w
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
	q.http = &http.Request{
		Method: c.r.Method, URL: u, Host: host, Header: c.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	q.target = u.RequestURI()
	q.upgrade, q.te, q.expect = c.upgrade, c.te, c.expect
	return q
}
