package semantics

import (
	"net/http"
	"slices"
	"strings"
)

// VaryNames returns the field names of Vary: canonical, sorted, each once.
// star: a member is "*", so that no request can be told to match (RFC 9111
// section 4.1). A member that is no field name counts as "*".
func VaryNames(h http.Header) (names []string, star bool) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			switch {
			case name == "":
			case name == "*" || !isToken(name):
				return nil, true
			default:
				names = append(names, http.CanonicalHeaderKey(name))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// AppendVariant appends the secondary key: the values that a request has for
// the names, normalised as RFC 9111 section 4.1 permits: lines are combined,
// white space around commas is dropped. Two requests have the same key exactly
// if all values match; a field that is absent matches only an absent one.
func AppendVariant(dst []byte, names []string, reqHeader http.Header) []byte {
	for _, name := range names {
		dst = appendEscaped(dst, name)
		lines, ok := reqHeader[name]
		if !ok {
			dst = append(dst, 0, 'a')
			continue
		}
		dst = append(dst, 0, 'p')
		for i, line := range lines {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, line)
		}
		dst = append(dst, 0, 'e')
	}
	return dst
}

// appendValue appends line without the white space around its commas, as far
// as these are outside of quoted strings.
func appendValue(dst []byte, line string) []byte {
	for more := true; more; {
		var member string
		if member, line, more = nextMember(line); more {
			dst = append(appendEscaped(dst, member), ',')
			continue
		}
		dst = appendEscaped(dst, member)
	}
	return dst
}

// appendEscaped appends s so that it can't contain the byte sequences that
// part a key: a NUL is always followed by 'n'.
func appendEscaped(dst []byte, s string) []byte {
	if strings.IndexByte(s, 0) < 0 {
		return append(dst, s...)
	}
	for i := range len(s) {
		if dst = append(dst, s[i]); s[i] == 0 {
			dst = append(dst, 'n')
		}
	}
	return dst
}
