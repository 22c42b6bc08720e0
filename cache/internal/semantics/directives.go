package semantics

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// A delta is an argument in seconds (RFC 9111 section 1.2.2).
type delta int64

const (
	absent  delta = -1
	invalid delta = -2 // present, but not a number: no freshness can be read from it
	// maxDelta is what greater values mean (RFC 9111 section 1.2.2).
	maxDelta delta = math.MaxInt32
)

// duration is d as a time; 0 for what is absent or invalid.
func (d delta) duration() time.Duration {
	return time.Duration(max(d, 0)) * time.Second
}

// parseDelta reads 1*DIGIT. Values beyond maxDelta are maxDelta.
func parseDelta(s string) delta {
	if s == "" {
		return invalid
	}
	var n delta
	for i := range len(s) {
		c := s[i]
		if c < '0' || c > '9' {
			return invalid
		}
		if n = n*10 + delta(c-'0'); n > maxDelta {
			n = maxDelta // goes on: what follows may be no digit
		}
	}
	return n
}

// directives are the response directives that mean something to a shared
// cache, from Cache-Control or from a targeted field in its place.
type directives struct {
	maxAge, sMaxAge, swr, sie                       delta
	public, private, noStore, noCache               bool
	mustRevalidate, proxyRevalidate, mustUnderstand bool
	// The fields named by the qualified forms of no-cache and private (RFC 9111
	// sections 5.2.2.4 and 5.2.2.7), which are not stored.
	noCacheFields, privateFields []string
	// targeted: Cache-Control and Expires do not count (RFC 9213 section 2.2), but
	// the field called target.
	targeted bool
	target   string
}

// defaultTargets is what Options.Targets is where it is nil.
var defaultTargets = []string{"Cdn-Cache-Control"}

func (o *Options) targets() []string {
	if o.Targets == nil {
		return defaultTargets
	}
	return o.Targets
}

// parseDirectives reads the first of the targeted fields that is present, parses
// and is not empty, or else Cache-Control (RFC 9213 section 2.2).
func parseDirectives(h http.Header, targets []string) directives {
	d, targeted := directives{}, false
	for _, name := range targets {
		if lines := h[name]; len(lines) > 0 && !targeted {
			d, targeted = parseTargeted(lines)
			d.target = name
		}
	}
	if !targeted {
		d = noDirectives()
		eachDirective(h["Cache-Control"], d.add)
	}
	d.checkFields(targets)
	return d
}

// checkFields reads qualified directives that name what a cache can't do
// without as those that apply to the whole response: without its Vary or
// Content-Encoding, for instance, it would be another one.
func (d *directives) checkFields(targets []string) {
	essential := func(name string) bool { return depended[name] || slices.Contains(targets, name) }
	d.private = d.private || slices.ContainsFunc(d.privateFields, essential)
	d.noCache = d.noCache || slices.ContainsFunc(d.noCacheFields, essential)
	d.noCacheFields = slices.DeleteFunc(d.noCacheFields, essential)
}

// depended are the fields by which a stored response is chosen, judged and
// decoded.
var depended = map[string]bool{
	"Vary": true, "Cache-Control": true, "Expires": true, "Date": true, "Age": true,
	"Content-Encoding": true, "Content-Range": true, "Content-Type": true, "Content-Length": true,
}

func noDirectives() directives {
	return directives{maxAge: absent, sMaxAge: absent, swr: absent, sie: absent}
}

// add takes one directive. Of several of a name with an argument the first
// counts (RFC 9111 section 4.2.1), unless one of them is invalid.
func (d *directives) add(name, arg string, has bool) {
	switch strings.ToLower(name) {
	case "max-age":
		d.maxAge.set(arg, has)
	case "s-maxage":
		d.sMaxAge.set(arg, has)
	case "stale-while-revalidate":
		d.swr.set(arg, has)
	case "stale-if-error":
		d.sie.set(arg, has)
	case "public":
		d.public = d.public || !has // with an argument it is not what it looks like
	case "no-store":
		d.noStore = true
	case "must-revalidate":
		d.mustRevalidate = true
	case "proxy-revalidate":
		d.proxyRevalidate = true
	case "must-understand":
		d.mustUnderstand = d.mustUnderstand || !has
	case "private":
		d.private = qualify(&d.privateFields, arg, has) || d.private
	case "no-cache":
		d.noCache = qualify(&d.noCacheFields, arg, has) || d.noCache
	}
}

func (d *delta) set(arg string, has bool) {
	n := invalid
	if has {
		n = parseDelta(arg)
	}
	if *d == absent || n == invalid {
		*d = n
	}
}

// qualify notes in fields those that a qualified directive names. It returns
// true if the directive applies to the whole response: it names none, or not only
// field names.
func qualify(fields *[]string, arg string, has bool) (whole bool) {
	if !has {
		return true
	}
	var names []string
	for name := range strings.SplitSeq(arg, ",") {
		if name = strings.Trim(name, " \t"); name == "" {
			continue
		}
		if !isToken(name) {
			return true
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	*fields = append(*fields, names...)
	return len(names) == 0
}

// parseTargeted reads a targeted field, a structured dictionary (RFC 9213
// section 2.1). It is ignored whole if it does not parse or is empty. The value
// of a member that is not of its directive's type is not consumed: a restriction
// applies in full, freshness is none, a permission is not given. Parameters are
// ignored.
func parseTargeted(lines []string) (directives, bool) {
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 {
		return directives{}, false
	}
	d := noDirectives()
	d.targeted = true
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, ok := member.(httpsfv.Item)
		if !ok {
			d.add(name, "", true)
			continue
		}
		switch v := item.Value.(type) {
		case bool:
			if v {
				d.add(name, "", false)
			}
		case int64:
			d.addTyped(name, strconv.FormatInt(v, 10), !qualified(name))
		case string:
			d.addTyped(name, v, qualified(name))
		case httpsfv.Token:
			d.addTyped(name, string(v), qualified(name))
		default:
			d.add(name, "", true)
		}
	}
	return d, true
}

// addTyped takes a member with a value. If that is not of the directive's type,
// the directive stands without one.
func (d *directives) addTyped(name, value string, fits bool) {
	if !fits {
		value = ""
	}
	d.add(name, value, true)
}

// qualified tells whether a directive's argument is a list of field names.
func qualified(name string) bool { return name == "private" || name == "no-cache" }

// eachDirective calls f for each directive of a Cache-Control field (RFC 9111
// section 5.2), with its argument, which may be a token or a quoted string
// whatever the directive's own grammar says. Commas and names inside of quoted
// strings are part of them. Behind a quote that is never closed all may be a
// directive, but none has an argument that can be understood.
func eachDirective(lines []string, f func(name, arg string, hasArg bool)) {
	for _, line := range lines {
		for more := true; more; {
			var member string
			member, line, more = nextMember(line)
			if member == "" {
				continue
			}
			if !more && unterminated(member) {
				for member := range strings.SplitSeq(member, ",") {
					name, _, _ := strings.Cut(member, "=")
					f(strings.Trim(name, " \t\""), notUnderstood, true)
				}
				continue
			}
			name, arg, has := strings.Cut(member, "=")
			if name = strings.TrimRight(name, " \t"); len(arg) > 0 && arg[0] == '"' {
				arg = unquote(arg)
			}
			if len(name) < len(member) && member[len(name)] != '=' {
				// White space before the equals sign is no part of the grammar. The
				// name is still understood, its argument is not.
				arg = notUnderstood
			}
			f(name, arg, has)
		}
	}
}

// nextMember cuts line at the first comma outside of a quoted string; more: it
// found one. An unterminated string ends with the line.
func nextMember(line string) (member, rest string, more bool) {
	quoted := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			return strings.Trim(line[:i], " \t"), line[i+1:], true
		}
	}
	return strings.Trim(line, " \t"), "", false
}

// unterminated tells whether a quoted string in member is not closed.
func unterminated(member string) bool {
	quoted := false
	for i := 0; i < len(member); i++ {
		switch c := member[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		}
	}
	return quoted
}

// notUnderstood is no argument of anything.
const notUnderstood = "\x00"

// unquote returns the content of a quoted string (RFC 9110 section 5.6.4), or
// notUnderstood if s is none, with something after it for instance.
func unquote(s string) string {
	const bad = notUnderstood
	if len(s) < 2 || s[0] != '"' {
		return bad
	}
	if body := s[1 : len(s)-1]; s[len(s)-1] == '"' && strings.IndexByte(body, '"') < 0 && strings.IndexByte(body, '\\') < 0 {
		return body
	}
	out := make([]byte, 0, len(s))
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			if i != len(s)-1 {
				return bad
			}
			return string(out)
		case '\\':
			if i++; i == len(s) {
				return bad
			}
			out = append(out, s[i])
		default:
			out = append(out, c)
		}
	}
	return bad
}

// isToken tells whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 {
			continue
		}
		return false
	}
	return s != ""
}
