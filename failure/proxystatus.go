package failure

import (
	"net/http"
	"strconv"
	"strings"
)

// ProxyStatus writes our member of the Proxy-Status field (RFC 9209). The zero
// value tells the error and the cause, and neither where the backend is nor
// what was wrong in detail.
type ProxyStatus struct {
	// Name identifies this proxy in the list; "" is "holdfast". It must be a
	// token (RFC 8941 section 3.3.4).
	Name string
	// NextHop adds the endpoint as next-hop.
	NextHop bool
	// Details adds the extra parameters of the error type and, as details, the
	// facts that are meant for operators.
	Details bool
}

// DefaultName is our member's name in Proxy-Status and Cache-Status.
const DefaultName = "holdfast"

// Set appends our member for e to the field in h. A member of the same name,
// left by an inner part for the same response, is replaced.
func (p ProxyStatus) Set(h http.Header, e *Error) {
	if p == (ProxyStatus{}) && len(h["Proxy-Status"]) == 0 && e.Received() == 0 && e.Cause < numCauses {
		h["Proxy-Status"] = plain[e.Cause]
		return
	}
	name := p.name()
	member := p.member(e)
	for _, line := range h.Values("Proxy-Status") {
		if strings.Contains(line, name) {
			p.replace(h, member)
			return
		}
	}
	h.Add("Proxy-Status", member)
}

// plain are the fields of the zero ProxyStatus without a received status, which
// are most. Nobody changes them; an append to one copies it.
var plain = func() (fields [numCauses][]string) {
	for c := range fields {
		fields[c] = []string{ProxyStatus{}.member(&Error{Cause: Cause(c)})}
	}
	return fields
}()

func (p ProxyStatus) name() string {
	if p.Name == "" {
		return DefaultName
	}
	return p.Name
}

// replace is the slow path of Set: the field has several members, or text that
// looks like ours.
func (p ProxyStatus) replace(h http.Header, member string) {
	var kept []string
	for _, line := range h.Values("Proxy-Status") {
		for _, m := range splitMembers(line) {
			id, _, _ := strings.Cut(m, ";")
			if strings.TrimSpace(id) != p.name() {
				kept = append(kept, m)
			}
		}
	}
	h.Set("Proxy-Status", strings.Join(append(kept, member), ", "))
}

func (p ProxyStatus) member(e *Error) string {
	row := e.Cause.Row()
	b := make([]byte, 0, 96)
	b = append(b, p.name()...)
	if row.ProxyError != "" {
		b = append(append(b, "; error="...), row.ProxyError...)
	}
	if status := e.Received(); status != 0 {
		b = strconv.AppendInt(append(b, "; received-status="...), int64(status), 10)
	}
	if p.NextHop && e.Endpoint != "" {
		b = appendString(append(b, "; next-hop="...), e.Endpoint)
	}
	b = append(append(b, "; cause="...), e.Cause.String()...)
	if !p.Details {
		return string(b)
	}
	for _, param := range e.Params {
		b = append(append(append(b, "; "...), param.Key...), '=')
		switch v := param.Value.(type) {
		case Token:
			b = append(b, v...)
		case int:
			b = strconv.AppendInt(b, int64(v), 10)
		case string:
			b = appendString(b, v)
		default:
			b = append(b, "?0"...)
		}
	}
	if e.Detail != "" && e.Cause != Panic {
		b = appendString(append(b, "; details="...), e.Detail)
	}
	return string(b)
}

// maxDetails bounds a string parameter: the detail may quote what a backend
// sent.
const maxDetails = 512

// appendString appends s as an sf-string (RFC 8941 section 3.3.3). What can't
// stand in one becomes '?'.
func appendString(b []byte, s string) []byte {
	if len(s) > maxDetails {
		s = s[:maxDetails]
	}
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c > 0x7e:
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// splitMembers splits a structured list at the commas outside of strings.
func splitMembers(line string) []string {
	var members []string
	start, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			members = appendMember(members, line[start:i])
			start = i + 1
		}
	}
	return appendMember(members, line[start:])
}

func appendMember(members []string, m string) []string {
	if m = strings.Trim(m, " \t"); m != "" {
		members = append(members, m)
	}
	return members
}
