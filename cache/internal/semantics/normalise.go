package semantics

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"sync/atomic"
)

// The bounds of normalisation.
const (
	// maxChoices bounds a configured set.
	maxChoices = 32
	// maxNegotiated is how long a field may be, in bytes of all its lines, to be
	// read. Beyond, it counts as absent.
	maxNegotiated = 1024
)

// Normaliser reduces fields of content negotiation to one member of a set. It
// may be used by several goroutines.
type Normaliser struct {
	encodings, languages, media *options
}

// options is a set. What a field is reduced to is made beforehand.
type options struct {
	match   matching
	names   []string // lower-case
	choices []choice // one for each name
	none    *choice

	// Few values make up most of the traffic. A slot holds the last one that fell
	// into it: what clients send can't make it grow, and a value that was pushed
	// out costs another reading.
	seed maphash.Seed
	memo [memoSlots]atomic.Pointer[chosen]
}

// memoSlots is a power of two.
const memoSlots = 64

// chosen is what a line was reduced to.
type chosen struct {
	line   string
	choice *choice
}

// choose returns what the lines are reduced to.
func (o *options) choose(lines []string) *choice {
	if len(lines) != 1 || len(lines[0]) > maxNegotiated {
		return o.read(lines)
	}
	line := lines[0]
	slot := &o.memo[maphash.String(o.seed, line)%memoSlots]
	if m := slot.Load(); m != nil && m.line == line {
		return m.choice
	}
	c := o.read(lines)
	slot.Store(&chosen{strings.Clone(line), c})
	return c
}

// NewNormaliser makes a Normaliser of content codings, language tags and media
// types, each in the order in which they are preferred where the client likes
// several as much. An empty set leaves its field alone. It is nil if all are
// empty. wrong has an error for each set and member that is not right.
func NewNormaliser(encodings, languages, types []string) (n *Normaliser, wrong []error) {
	if len(encodings)+len(languages)+len(types) == 0 {
		return nil, nil
	}
	n = &Normaliser{}
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	for _, s := range []struct {
		field string
		set   []string
		to    **options
		match matching
		name  func(string) string // as it is compared; "" if it is none
		want  string
	}{
		{"Encodings", encodings, &n.encodings, matchCodings, codingName, "a content coding such as gzip"},
		{"Languages", languages, &n.languages, matchLanguages, tagName, "a language tag such as de or pt-BR"},
		{"Types", types, &n.media, matchTypes, typeName, "a media type without parameters such as text/html"},
	} {
		if len(s.set) == 0 {
			continue
		}
		if len(s.set) > maxChoices {
			bad("%s has %d members: must be at most %d", s.field, len(s.set), maxChoices)
			continue
		}
		o := &options{match: s.match, none: &choice{}, seed: maphash.MakeSeed()}
		for _, member := range s.set {
			name := s.name(member)
			if name == "" {
				bad("%s has %q: must be %s", s.field, member, s.want)
			}
			if name != "" && o.index(name) >= 0 {
				bad("%s has %q twice: must be once", s.field, member)
			}
			o.names = append(o.names, name)
			o.choices = append(o.choices, choice{[]string{member}})
		}
		*s.to = o
	}
	if o := n.encodings; o != nil {
		// Without a coding is always to be had, and what remains.
		if i := o.index("identity"); i >= 0 {
			o.none = &o.choices[i]
		} else {
			o.names = append(o.names, "identity")
			o.choices = append(o.choices, choice{[]string{"identity"}})
			o.none = &o.choices[len(o.choices)-1]
		}
	}
	return n, wrong
}

func (o *options) index(name string) int {
	for i, n := range o.names {
		if n == name {
			return i
		}
	}
	return -1
}

// codingName is how a coding is compared: x-gzip is gzip (RFC 9110 section
// 8.4.1.3).
func codingName(s string) string {
	if !isToken(s) || s == "*" {
		return ""
	}
	s = strings.ToLower(s)
	switch s {
	case "x-gzip", "x-compress":
		return s[2:]
	}
	return s
}

func tagName(s string) string {
	if !isLanguageRange(s) || s == "*" {
		return ""
	}
	return strings.ToLower(s)
}

func typeName(s string) string {
	major, minor, _ := strings.Cut(s, "/")
	if !isToken(major) || !isToken(minor) || major == "*" || minor == "*" {
		return ""
	}
	return strings.ToLower(s)
}

// isLanguageRange tells whether s is a basic language range (RFC 4647 section
// 2.1).
func isLanguageRange(s string) bool {
	if s == "*" {
		return true
	}
	first := true
	for part := range strings.SplitSeq(s, "-") {
		if len(part) == 0 || len(part) > 8 {
			return false
		}
		for i := range len(part) {
			c := part[i] | 0x20
			if (c < 'a' || c > 'z') && (first || part[i] < '0' || part[i] > '9') {
				return false
			}
		}
		first = false
	}
	return true
}

// Select returns the fields that select a variant, h itself unchanged. n may be
// nil. It makes no allocation for a value that it has seen lately.
func (n *Normaliser) Select(h http.Header) Selecting {
	s := Selecting{Header: h}
	if n == nil {
		return s
	}
	if n.encodings != nil {
		s.encoding = n.encodings.choose(h[acceptEncoding])
	}
	if n.languages != nil {
		s.language = n.languages.choose(h[acceptLanguage])
	}
	if n.media != nil {
		s.media = n.media.choose(h[accept])
	}
	return s
}

// matching is by which rules a field's members are about names. A func would
// cost an allocation.
type matching uint8

const (
	matchCodings matching = iota
	matchLanguages
	matchTypes
)

// liking is what a field says of one name.
type liking struct {
	// rank is how specific the member is that says it; 0 = none does. Of members
	// of one rank the first counts, but of rank soft the one with the most weight.
	rank   int
	weight int // in thousandths; 0 = not acceptable
	member int // which member of the field it is
	exact  bool
}

const (
	soft = 1 // as good as nothing, but not nothing
	wild = 2
	near = 3
)

func (l *liking) note(rank, weight, member int, exact bool) {
	if rank > l.rank || rank == soft && l.rank == soft && weight > l.weight {
		*l = liking{rank, weight, member, exact}
	}
}

// read is choose without memory.
func (o *options) read(lines []string) *choice {
	size := 0
	for _, line := range lines {
		if size += len(line) + 1; size > maxNegotiated {
			return o.none
		}
	}
	var room [maxChoices + 1]liking
	likings := room[:len(o.names)]
	member := 0
	for _, line := range lines {
		for more := true; more; {
			var s string
			if s, line, more = nextMember(line); s == "" {
				continue
			}
			if m, ok := parseWeighted(s); ok {
				switch o.match {
				case matchCodings:
					likeCodings(o.names, likings, m, member)
				case matchLanguages:
					likeLanguages(o.names, likings, m, member)
				case matchTypes:
					likeTypes(o.names, likings, m, member)
				}
				member++
			}
		}
	}
	best := -1
	for i := range likings {
		l := &likings[i]
		switch {
		case l.rank == 0 || l.weight == 0:
		case best < 0 || l.weight > likings[best].weight:
			best = i
		case l.weight == likings[best].weight && l.member == likings[best].member && l.exact && !likings[best].exact:
			best = i // "de" means de rather than de-AT
		}
	}
	if best < 0 {
		return o.none
	}
	return &o.choices[best]
}

// likeCodings is RFC 9110 section 12.5.3. What is not mentioned is not
// acceptable, but for no coding, which is what remains.
func likeCodings(names []string, likings []liking, m weighted, member int) {
	if m.name == "*" {
		for i := range names {
			likings[i].note(wild, m.weight, member, false)
		}
		return
	}
	name := m.name
	if len(name) > 2 && name[0]|0x20 == 'x' && name[1] == '-' && (equalFold(name[2:], "gzip") || equalFold(name[2:], "compress")) {
		name = name[2:]
	}
	for i, n := range names {
		if equalFold(name, n) {
			likings[i].note(near, m.weight, member, true)
		}
	}
}

// likeLanguages is basic filtering (RFC 4647 section 3.3.1), in which the longest
// range counts; and where a range finds nothing by it, lookup (section 3.4): of
// the tags that the range begins with, the longest. What is excluded by weight
// excludes nothing wider.
func likeLanguages(names []string, likings []liking, m weighted, member int) {
	if m.name == "*" {
		for i := range names {
			// Less than what a range found by lookup.
			likings[i].note(soft, m.weight, member, false)
		}
		return
	}
	if !isLanguageRange(m.name) {
		return
	}
	found, longest := false, -1
	for i, n := range names {
		switch {
		case within(n, m.name):
			likings[i].note(near+len(m.name), m.weight, member, len(n) == len(m.name))
			found = true
		case within(m.name, n) && (longest < 0 || len(n) > len(names[longest])):
			longest = i
		}
	}
	if l := &likings[max(longest, 0)]; !found && longest >= 0 && m.weight > 0 && (l.rank < wild || l.rank == wild && m.weight > l.weight) {
		*l = liking{wild, m.weight, member, false}
	}
}

// within tells whether tag begins with the subtags of rng.
func within(tag, rng string) bool {
	return len(tag) >= len(rng) && (len(tag) == len(rng) || tag[len(rng)] == '-') && equalFold(tag[:len(rng)], rng)
}

// likeTypes is RFC 9110 section 12.5.1: the most specific range counts. A range
// with parameters is about something more special than any of our names; it
// counts only where nothing else is acceptable.
func likeTypes(names []string, likings []liking, m weighted, member int) {
	major, minor, _ := strings.Cut(m.name, "/")
	if m.name == "*" { // a form that old clients send
		minor = "*"
	}
	for i, n := range names {
		at := strings.IndexByte(n, '/')
		switch {
		case major == "*" && minor == "*":
			likings[i].note(wild, m.weight, member, false)
		case !equalFold(major, n[:at]):
		case minor == "*":
			likings[i].note(near, m.weight, member, false)
		case !equalFold(minor, n[at+1:]):
		case m.parameters && m.weight > 0:
			likings[i].note(soft, m.weight-1001, member, false) // below all others
		case m.parameters:
		default:
			likings[i].note(near+1, m.weight, member, true)
		}
	}
}

// equalFold compares without regard to the case of ASCII letters. That of other
// letters means something: strings.EqualFold takes the Kelvin sign for a k.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// weighted is a member of a field of content negotiation.
type weighted struct {
	name       string
	weight     int // in thousandths
	parameters bool
}

// parseWeighted reads a member. It is not ok where its weight is not one; such
// a member is as good as not there.
func parseWeighted(s string) (m weighted, ok bool) {
	m.weight = 1000
	name, rest, _ := strings.Cut(s, ";")
	m.name = strings.TrimRight(name, " \t")
	for rest != "" {
		var p string
		p, rest = nextParameter(rest)
		switch {
		case p == "":
		case len(p) > 1 && p[0]|0x20 == 'q' && p[1] == '=':
			// What follows the weight is no parameter of the name's.
			m.weight, ok = parseWeight(p[2:])
			return m, ok
		default:
			m.parameters = true
		}
	}
	return m, true
}

// nextParameter cuts s at the first semicolon outside of a quoted string.
func nextParameter(s string) (p, rest string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			return strings.Trim(s[:i], " \t"), s[i+1:]
		}
	}
	return strings.Trim(s, " \t"), ""
}

// parseWeight reads a qvalue (RFC 9110 section 12.4.2) in thousandths. It also
// takes what clients send in its place: no digit before the point, more than
// three after it.
func parseWeight(s string) (int, bool) {
	whole, part, _ := strings.Cut(s, ".")
	weight := 0
	switch {
	case whole == "1":
		weight = 1000
	case whole == "0", whole == "" && part != "":
	default:
		return 0, false
	}
	unit := 100
	for i := range len(part) {
		c := part[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		weight += int(c-'0') * unit
		unit /= 10
	}
	if weight == 0 && strings.Trim(part, "0") != "" {
		weight = 1
	}
	return weight, weight <= 1000
}

// CodingsAccepted tells whether a client has said that it can read content with
// all the codings (RFC 9110 section 12.5.3). One that says nothing of them is
// not trusted to.
func CodingsAccepted(reqHeader http.Header, codings []string) bool {
	for _, line := range codings {
		for more := true; more; {
			var coding string
			if coding, line, more = nextMember(line); coding == "" || equalFold(coding, "identity") {
				continue
			}
			name := codingName(coding)
			o := options{match: matchCodings, names: []string{name}, choices: []choice{{}}}
			if name == "" || o.read(reqHeader[acceptEncoding]) != &o.choices[0] {
				return false
			}
		}
	}
	return true
}
