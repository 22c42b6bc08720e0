package semantics

import (
	"net/http"
	"strings"
	"time"
)

// Condition is how the conditions of a request turn out.
type Condition uint8

// The outcomes.
const (
	Proceed     Condition = iota // there are none, or they hold
	NotModified                  // 304
)

// HasConditions tells whether a request has any precondition or a Range.
func HasConditions(h http.Header) bool {
	return len(h["If-None-Match"]) > 0 || len(h["If-Modified-Since"]) > 0 || len(h["Range"]) > 0 || HasOriginConditions(h)
}

// HasOriginConditions tells whether a request has a precondition that is for the
// origin alone: a cache must not evaluate it (RFC 9111 section 4.3.2, RFC 9110
// section 13.2.2).
func HasOriginConditions(h http.Header) bool {
	return len(h["If-Match"]) > 0 || len(h["If-Unmodified-Since"]) > 0
}

// Conditional evaluates the preconditions of a GET or HEAD that a cache may
// evaluate against a stored response, in the order of RFC 9110 section 13.2.2.
// Those of other methods, and those against a response that is not successful,
// are not evaluated (section 13.2.1). received stands in for the response's Date.
func Conditional(method string, reqHeader http.Header, status int, h http.Header, received time.Time) Condition {
	if method != http.MethodGet && method != http.MethodHead || status < 200 || status > 299 {
		return Proceed
	}
	if lines := reqHeader["If-None-Match"]; len(lines) > 0 {
		if matchETag(lines, first(h["Etag"])) {
			return NotModified
		}
		return Proceed
	}
	if since, ok, _ := singleDate(reqHeader["If-Modified-Since"]); ok && !modified(h, received).After(since) {
		return NotModified
	}
	return Proceed
}

// RangeApplies evaluates If-Range (RFC 9110 section 13.1.5): whether a Range
// may be answered from the stored response.
func RangeApplies(reqHeader, h http.Header) bool {
	lines := reqHeader["If-Range"]
	if len(lines) == 0 {
		return true
	}
	if len(lines) > 1 {
		return false
	}
	if v := lines[0]; strings.HasPrefix(v, `"`) || strings.HasPrefix(v, "W/") {
		return strong(v, first(h["Etag"]))
	}
	since, ok := ParseDate(lines[0])
	stored, ok2, _ := singleDate(h["Last-Modified"])
	date, ok3, _ := singleDate(h["Date"])
	// A date is a strong validator only if it is a while before the Date (RFC
	// 9110 section 8.8.2.2).
	return ok && ok2 && ok3 && stored.Equal(since) && strongDate(stored, date)
}

// RangeByDate tells whether If-Range has a date, or what is no entity tag at
// least.
func RangeByDate(reqHeader http.Header) bool {
	lines := reqHeader["If-Range"]
	return len(lines) > 0 && !strings.HasPrefix(lines[0], `"`) && !strings.HasPrefix(lines[0], "W/")
}

// modified is the time that a cache compares with (RFC 9111 section 4.3.2).
func modified(h http.Header, received time.Time) time.Time {
	if t, ok, _ := singleDate(h["Last-Modified"]); ok {
		return t
	}
	if t, ok, _ := singleDate(h["Date"]); ok {
		return t
	}
	return received.Truncate(time.Second)
}

// matchETag tells whether the list of entity tags has one that is etag by the
// weak comparison, or is "*". Parsing ends at what is no entity tag.
func matchETag(lines []string, etag string) bool {
	for _, line := range lines {
		if line == etag && etag != "" {
			return true // also a tag that lacks its quotes: the client sends back what it got
		}
		for {
			line = strings.TrimLeft(line, " \t,")
			if line == "" {
				break
			}
			if line[0] == '*' {
				return true
			}
			n := scanETag(line)
			if n == 0 {
				break
			}
			if etag != "" && weak(line[:n], etag) {
				return true
			}
			line = line[n:]
		}
	}
	return false
}

// scanETag returns the length of the entity tag that s begins with (RFC 9110
// section 8.8.3), 0 if there is none.
func scanETag(s string) int {
	i := 0
	if strings.HasPrefix(s, "W/") {
		i = 2
	}
	if i >= len(s) || s[i] != '"' {
		return 0
	}
	for i++; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < 0x21 || c == 0x7f:
			return 0
		}
	}
	return 0
}

// IsETag tells whether s is an entity tag (RFC 9110 section 8.8.3).
func IsETag(s string) bool { return s != "" && scanETag(s) == len(s) }

// IsWeak tells a weak entity tag.
func IsWeak(etag string) bool { return strings.HasPrefix(etag, "W/") }

// NamedBy tells whether the entity tag of a 304 names a stored response by its
// tag (RFC 9111 section 4.3.4): a strong one only one that is the same, a weak
// one also by weak comparison.
func NamedBy(etag, stored string) bool {
	if IsWeak(etag) {
		return weak(etag, stored)
	}
	return strong(etag, stored)
}

// strong and weak are the comparisons of RFC 9110 section 8.8.3.2.
func strong(a, b string) bool { return a == b && !strings.HasPrefix(a, "W/") && scanETag(a) == len(a) }

func weak(a, b string) bool { return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/") }

// SetValidators makes a request conditional on what is stored, in place of
// the client's own conditions (RFC 9111 section 4.3.1).
func SetValidators(out http.Header, etags []string, lastModified string) {
	for _, name := range [...]string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range"} {
		delete(out, name)
	}
	if len(etags) > 0 {
		out["If-None-Match"] = []string{strings.Join(etags, ", ")}
	}
	if lastModified != "" {
		out["If-Modified-Since"] = []string{lastModified}
	}
}
