package backend

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// join puts the endpoint's path in front of the request's. The escaped forms
// are joined, so that nothing is decoded on the way.
func (ep *endpoint) join(u *url.URL) *url.URL {
	if u.Path == "*" { // for the server as a whole
		return &url.URL{Scheme: ep.url.Scheme, Host: ep.url.Host, Path: "*"}
	}
	out := &url.URL{
		Scheme: ep.url.Scheme, Host: ep.url.Host, Path: u.Path,
		RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}
	escaped := u.EscapedPath()
	prefix := strings.TrimSuffix(ep.url.EscapedPath(), "/")
	if !strings.HasPrefix(escaped, "/") {
		escaped, out.Path = "/"+escaped, "/"+out.Path
	}
	out.Path = strings.TrimSuffix(ep.url.Path, "/") + out.Path
	out.RawPath = prefix + escaped
	return out
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

// validHost tells whether h can be a Host: a name or an address, perhaps with a
// port (RFC 3986 section 3.2.2, RFC 9110 section 7.2). An absent one is valid.
// net/http lets more pass than backends agree about.
func validHost(h string) bool {
	if rest, ok := strings.CutPrefix(h, "["); ok {
		address, port, closed := strings.Cut(rest, "]")
		if !closed || !strings.Contains(address, ":") || port != "" && port[0] != ':' {
			return false
		}
		address, zone, _ := strings.Cut(address, "%")
		for i := range len(address) {
			if c := address[i]; c != ':' && c != '.' && !isHex(c) {
				return false
			}
		}
		return printable(zone) && !strings.ContainsAny(zone, " /\\@?#[]\"<>") && (port == "" || digits(port[1:]))
	}
	name, port, _ := strings.Cut(h, ":")
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~!$&'()*+,;=%", c) >= 0:
		default:
			return false
		}
	}
	return digits(port) && (name != "" || h == "")
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// unzoned is a host without the zone of an IPv6 address: it means something on
// this machine alone (RFC 6874 section 1).
func unzoned(host string) string {
	if !strings.HasPrefix(host, "[") {
		return host
	}
	end := strings.LastIndexByte(host, ']')
	zone := strings.LastIndexByte(host, '%')
	if zone < 0 || end < zone {
		return host
	}
	zone = strings.IndexByte(host, '%')
	return host[:zone] + host[end:]
}

// allowed is what this package forwards, and which methods CONNECT is none of.
const allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"

// lastHop tells whether a request is to go no further than here (RFC 9110
// section 7.6.2).
func lastHop(r *http.Request) bool {
	if r.Method != http.MethodTrace && r.Method != http.MethodOptions {
		return false
	}
	v := r.Header["Max-Forwards"]
	return len(v) > 0 && v[0] != "" && strings.Trim(v[0], "0") == ""
}

// oneFurther counts a hop down.
func oneFurther(h http.Header, method string) {
	if method != http.MethodTrace && method != http.MethodOptions {
		return
	}
	v := h["Max-Forwards"]
	if len(v) == 0 || v[0] == "" || !digits(v[0]) {
		return
	}
	left, err := strconv.ParseUint(v[0], 10, 31)
	if err != nil {
		left = 1 << 31 // more than there are hops
	}
	if left > 0 {
		h["Max-Forwards"] = []string{strconv.FormatUint(left-1, 10)}
	}
}

// answerHere answers what is not forwarded to a remote endpoint, and tells
// whether it did: CONNECT, since a gateway is no tunnel to wherever (RFC 9110
// section 9.3.6), a TRACE with a body (section 9.3.8), and what ends at this
// hop. A TRACE that ends here is refused rather than reflected: what was put into
// the header on this side of the client is nothing for it.
func answerHere(w http.ResponseWriter, r *http.Request, remote bool) bool {
	switch {
	case r.Method == http.MethodConnect:
		if r.ProtoMajor == 1 {
			w.Header()["Connection"] = closing // what follows is not HTTP
		}
		w.Header().Set("Allow", allowed)
		http.Error(w, "405 Method Not Allowed", http.StatusMethodNotAllowed)
	case !remote:
		return false
	case r.Method == http.MethodTrace && hasBody(r):
		http.Error(w, "400 Bad Request", http.StatusBadRequest)
	case !lastHop(r):
		return false
	case r.Method == http.MethodTrace:
		w.Header().Set("Allow", strings.TrimSuffix(allowed, ", TRACE"))
		http.Error(w, "405 Method Not Allowed", http.StatusMethodNotAllowed)
	default:
		w.Header().Set("Allow", allowed)
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusOK)
	}
	return true
}
