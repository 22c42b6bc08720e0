package semantics

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxVaryNames bounds the names of a Vary field. What varies by more can't be
// told apart at a reasonable price, and counts as "*".
const maxVaryNames = 32

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
	if names = slices.Compact(names); len(names) > maxVaryNames {
		return nil, true
	}
	return names, false
}

// Dated is when a response is from, by its Date, and at the latest when it was
// received: of several that match, the most recent one is used (RFC 9111 section
// 4.1).
func Dated(h http.Header, received time.Time) time.Time {
	if t, ok, _ := singleDate(h["Date"]); ok && t.Before(received) {
		return t
	}
	return received
}

// Selecting are the fields of a request by which a variant is selected: those
// of its header, but for what was normalised in their place.
type Selecting struct {
	Header http.Header
	// nil = as in Header.
	encoding, language, media *choice
}

// choice is what stands in for a field; without lines it is absent.
type choice struct{ lines []string }

// Changed tells whether any field was normalised.
func (s Selecting) Changed() bool { return s.encoding != nil || s.language != nil || s.media != nil }

// Apply puts the normalised fields into h.
func (s Selecting) Apply(h http.Header) {
	s.encoding.apply(h, acceptEncoding)
	s.language.apply(h, acceptLanguage)
	s.media.apply(h, accept)
}

// Values returns the lines of a field; nil where it is absent.
func (s Selecting) Values(name string) []string {
	lines, _ := s.values(name)
	return lines
}

func (s Selecting) values(name string) (lines []string, ok bool) {
	var c *choice
	switch name {
	case acceptEncoding:
		c = s.encoding
	case acceptLanguage:
		c = s.language
	case accept:
		c = s.media
	}
	if c != nil {
		return c.lines, c.lines != nil
	}
	lines, ok = s.Header[name]
	return lines, ok
}

func (c *choice) apply(h http.Header, name string) {
	switch {
	case c == nil:
	case c.lines == nil:
		delete(h, name)
	default:
		h[name] = c.lines
	}
}

const (
	accept         = "Accept"
	acceptEncoding = "Accept-Encoding"
	acceptLanguage = "Accept-Language"
)

// AppendVariant appends the secondary key: the values that a request has for
// the names, normalised as RFC 9111 section 4.1 permits: lines are combined,
// white space around commas is dropped, and of the fields of content negotiation
// what their own specifications say does not matter. Two requests have the same
// key exactly if all values match; a field that is absent matches only an
// absent one.
func (s Selecting) AppendVariant(dst []byte, names []string) []byte {
	for _, name := range names {
		dst = appendEscaped(dst, name)
		fold := foldNothing
		switch name {
		case acceptEncoding, acceptLanguage:
			fold = foldAll
		case accept:
			fold = foldMedia
		}
		lines, ok := s.values(name)
		if !ok {
			dst = append(dst, 0, 'a')
			continue
		}
		dst = append(dst, 0, 'p')
		if fold == foldNothing {
			dst = appendValues(dst, lines)
		} else {
			dst = appendFolded(dst, lines, fold)
		}
		dst = append(dst, 0, 'e')
	}
	return dst
}

// AppendVariant is [Selecting.AppendVariant] with nothing normalised in place
// of the header's fields.
func AppendVariant(dst []byte, names []string, reqHeader http.Header) []byte {
	return Selecting{Header: reqHeader}.AppendVariant(dst, names)
}

// appendValues appends lines without the white space around their commas, as
// far as these are outside of quoted strings.
func appendValues(dst []byte, lines []string) []byte {
	for i, line := range lines {
		if i > 0 {
			dst = append(dst, ',')
		}
		for more := true; more; {
			var member string
			if member, line, more = nextMember(line); more {
				dst = append(appendEscaped(dst, member), ',')
				continue
			}
			dst = appendEscaped(dst, member)
		}
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
