package semantics

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// maxPairs bounds the work that a query can make: one with more pairs counts as
// it is.
const maxPairs = 1024

// Query says which part of a query is part of the key. A nil *Query is all of
// it, exactly as it came. What is left of a query stays as it came, too:
// matching is done on the decoded names, and nothing is re-encoded.
type Query struct {
	allow    map[string]bool // folded; nil = all
	ignore   map[string]bool
	prefixes []string // ignored
	sort     bool
}

// NewQuery returns the rule: only the names in allow count (nil = all), or
// those that are not in ignore, where a trailing asterisk stands for any rest;
// sorted: their order does not count.
func NewQuery(allow, ignore []string, sorted bool) *Query {
	if allow == nil && len(ignore) == 0 && !sorted {
		return nil
	}
	q := &Query{sort: sorted}
	if allow != nil {
		q.allow = make(map[string]bool, len(allow))
		for _, name := range allow {
			q.allow[foldName(name)] = true
		}
	}
	for _, name := range ignore {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			q.prefixes = append(q.prefixes, prefix)
			continue
		}
		if q.ignore == nil {
			q.ignore = make(map[string]bool, len(ignore))
		}
		q.ignore[name] = true
	}
	return q
}

// foldName is what frameworks make of a parameter's name, all of them at once:
// some drop white space around it, brackets before it and what follows one, take
// dots and blanks for underscores, or don't look at the case. What any of them may
// take for an allowed parameter is one.
func foldName(name string) string {
	name = strings.TrimLeft(strings.TrimSpace(name), "[]")
	if i := strings.IndexAny(name, "[]\x00"); i > 0 {
		name = name[:i]
	}
	return fold(name)
}

// foldOpen is foldName of the one that takes a bracket that is not closed for an
// underscore.
func foldOpen(name string) string {
	name, _, _ = strings.Cut(strings.TrimSpace(name), "\x00")
	return fold(strings.ReplaceAll(name, "[", "_"))
}

var underscored = strings.NewReplacer(".", "_", " ", "_", "+", "_")

func fold(name string) string { return strings.ToLower(underscored.Replace(name)) }

// SameName tells whether any framework may take a name, encoded or not, for
// another one, which has no brackets.
func SameName(name, as string) bool {
	decoded, _ := pairName(name)
	return foldName(decoded) == fold(as) || foldOpen(decoded) == fold(as)
}

// counts tells whether a pair is part of the key. One that is malformed is: a
// name that can't be decoded, or a semicolon, at which some origins split.
func (q *Query) counts(pair string) bool {
	name, ok := pairName(pair)
	switch {
	case !ok || strings.IndexByte(pair, ';') >= 0:
		return true
	case q.allow != nil:
		return pair == "" || q.allow[foldName(name)] || strings.IndexByte(name, '[') >= 0 && q.allow[foldOpen(name)]
	case q.ignore[name]:
		return false
	}
	for _, prefix := range q.prefixes {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// pairName is the decoded name of a pair.
func pairName(pair string) (name string, ok bool) {
	name, _, _ = strings.Cut(pair, "=")
	if strings.IndexByte(name, '%') < 0 && strings.IndexByte(name, '+') < 0 {
		return name, true
	}
	decoded, err := url.QueryUnescape(name)
	if err != nil {
		return name, false
	}
	return decoded, true
}

// Append appends what counts of a raw query; nothing if that is empty or has
// only empty pairs.
func (q *Query) Append(dst []byte, raw string) []byte {
	if q == nil || raw == "" || strings.Count(raw, "&") >= maxPairs {
		return appendEscaped(dst, raw)
	}
	if q.sort {
		return q.appendSorted(dst, raw)
	}
	start, sep, some := len(dst), false, false
	for pair := range strings.SplitSeq(raw, "&") {
		if !q.counts(pair) {
			continue
		}
		if sep {
			dst = append(dst, '&')
		}
		dst = appendEscaped(dst, pair)
		sep, some = true, some || pair != ""
	}
	if !some {
		return dst[:start]
	}
	return dst
}

// appendSorted is Append in the order of the decoded names. Pairs of one name
// keep theirs, and empty pairs go: they have no place in an order.
func (q *Query) appendSorted(dst []byte, raw string) []byte {
	type named struct{ name, pair string }
	var room [16]named
	pairs := room[:0]
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" || !q.counts(pair) {
			continue
		}
		name, _ := pairName(pair)
		pairs = append(pairs, named{name, pair})
	}
	slices.SortStableFunc(pairs, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	for i, p := range pairs {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = appendEscaped(dst, p.pair)
	}
	return dst
}
