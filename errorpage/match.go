package errorpage

import (
	"hash/maphash"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/text/language"
)

// What is read of Accept-Language. Browsers send 5 to 100 bytes and up to 10
// members; what comes after the bounds is not looked at.
const (
	maxLanguageBytes   = 1024
	maxLanguageMembers = 16
)

// The table of fields seen. Longer ones, and those of several lines, are read
// each time. All of it is at most 150 kB for each Page; what is lost when two
// fields meet in one place is the work of reading the other once more.
const (
	seenFields = 256
	maxSeen    = 512 // bytes
)

// locales are the languages that pages are offered in, the first being the
// default. They are safe for concurrent use.
type locales struct {
	all     []*locale
	each    []int // the indices of all
	matcher language.Matcher
	vary    []string
	seed    maphash.Seed
	seen    [seenFields]atomic.Pointer[seenField]
}

// seenField is an Accept-Language field and what was decided.
type seenField struct {
	line  string
	index int
}

func newMatching(all []*locale) *locales {
	ls := &locales{all: all, vary: vary, seed: maphash.MakeSeed()}
	for i, l := range all {
		l.index = i
		ls.each = append(ls.each, i)
	}
	ls.matcher = ls.matcherOf(ls.each)
	if len(all) > 1 {
		ls.vary = varyLanguage
	}
	return ls
}

// of returns the locale for a request with the header h.
func (ls *locales) of(h http.Header) *locale { return ls.all[ls.match(h["Accept-Language"])] }

// match returns the index of the locale that the lines of an Accept-Language
// field (RFC 9110 section 12.5.4) prefer:
//
//   - members count in the order of their weights, and what they are given is
//     x/text's choice by CLDR: the first that has its own language here, else
//     the first whose speakers read another one with ease (gsw: de), at last one
//     that they may make out. So zh-TW gets zh-Hans only where it accepts
//     nothing else that is here.
//   - weight 0 excludes the locales that the range covers, as long as another
//     one is left.
//   - "*" is anything: the default.
//   - a member that makes no sense is ignored, and so is all that follows the
//     bounds; where nothing is left, the default is the answer.
func (ls *locales) match(lines []string) int {
	if len(ls.all) == 1 || len(lines) == 0 {
		return 0
	}
	line := lines[0]
	if len(lines) > 1 || len(line) > maxSeen {
		return ls.decide(lines)
	}
	place := &ls.seen[maphash.String(ls.seed, line)%seenFields]
	if s := place.Load(); s != nil && s.line == line {
		return s.index
	}
	index := ls.decide(lines)
	place.Store(&seenField{strings.Clone(line), index})
	return index
}

// decide is match without the table.
func (ls *locales) decide(lines []string) int {
	var room [maxLanguageMembers]languageRange
	ranges := readRanges(room[:0], lines)
	left, matcher := ls.left(ranges)
	var space [maxLanguageMembers]language.Tag
	wanted := space[:0]
	for _, r := range ranges {
		if r.weight == 0 || r.tag == "*" {
			break // what follows has no more weight than anything else
		}
		// An error may be about a subtag that is not registered; the others count.
		if tag, _ := language.Parse(withoutExtensions(r.tag)); namesLanguage(tag) && !settled(tag, wanted, matcher) {
			wanted = append(wanted, tag)
		}
	}
	if len(wanted) > 0 {
		if _, i, c := matcher.Match(wanted...); c != language.No {
			return left[i]
		}
	}
	return left[0]
}

// settled tells whether the variety of tag's language that is wanted most is well
// served. A browser in Hong Kong sends "zh-HK,zh;q=0.9": to x/text zh would be the
// better match, for zh-Hans.
func settled(tag language.Tag, wanted []language.Tag, matcher language.Matcher) bool {
	base, _, _ := tag.Raw()
	for _, w := range wanted {
		if b, _, _ := w.Raw(); b == base {
			_, _, c := matcher.Match(w)
			return c >= language.High
		}
	}
	return false
}

// left returns the locales that no range of weight 0 covers, or else all, and
// what matches among them.
func (ls *locales) left(ranges []languageRange) ([]int, language.Matcher) {
	if len(ranges) == 0 || ranges[len(ranges)-1].weight > 0 {
		return ls.each, ls.matcher
	}
	var left []int
	for _, i := range ls.each {
		if !excluded(ls.all[i].lang, ranges) {
			left = append(left, i)
		}
	}
	if len(left) == 0 || len(left) == len(ls.all) {
		return ls.each, ls.matcher
	}
	return left, ls.matcherOf(left)
}

func (ls *locales) matcherOf(indices []int) language.Matcher {
	tags := make([]language.Tag, len(indices))
	for i, index := range indices {
		tags[i] = ls.all[index].tag
	}
	return language.NewMatcher(tags)
}

// withoutExtensions cuts a tag at its first singleton: what follows is not about
// a language. What is left may be no tag.
func withoutExtensions(tag string) string {
	start := 0
	for i := 0; i <= len(tag); i++ {
		if i < len(tag) && tag[i] != '-' && tag[i] != '_' {
			continue
		}
		if i-start == 1 {
			return tag[:max(start-1, 0)]
		}
		start = i + 1
	}
	return tag
}

// languageRange is a member of Accept-Language; weight in thousandths.
type languageRange struct {
	tag    string
	weight int
}

// readRanges appends the members of a field to rs, which has the room for them,
// in the order of their weights; equal ones as they were sent.
func readRanges(rs []languageRange, lines []string) []languageRange {
	budget, members := maxLanguageBytes, 0
	for _, line := range lines[:min(len(lines), maxLanguageMembers)] {
		for line != "" && members < maxLanguageMembers {
			end := strings.IndexByte(line[:min(len(line), budget)], ',')
			if end < 0 {
				if len(line) > budget {
					return rs
				}
				end = len(line)
			}
			if r, ok := readRange(line[:end]); ok {
				rs = insert(rs, r)
			}
			line = line[min(end+1, len(line)):]
			budget = max(budget-end-1, 0)
			members++
		}
	}
	return rs
}

// insert keeps rs in order.
func insert(rs []languageRange, r languageRange) []languageRange {
	i := len(rs)
	for i > 0 && rs[i-1].weight < r.weight {
		i--
	}
	return slices.Insert(rs, i, r)
}

// readRange reads one member: "pt-BR;q=0.8".
func readRange(member string) (languageRange, bool) {
	tag, rest, _ := strings.Cut(member, ";")
	tag = strings.Trim(tag, " \t")
	if tag != "*" && !plausibleTag(tag) {
		return languageRange{}, false
	}
	r := languageRange{tag, 1000}
	for rest != "" {
		var param string
		param, rest, _ = strings.Cut(rest, ";")
		key, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.Trim(key, " \t"), "q") {
			continue
		}
		weight, ok := parseWeight(strings.Trim(value, " \t"))
		return languageRange{tag, weight}, ok
	}
	return r, true
}

// plausibleTag tells whether s may be a language tag. What isn't is not parsed.
func plausibleTag(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return len(s) >= 2 && len(s) <= maxTagBytes
}

// excluded tells whether a range of weight 0 covers tag (RFC 4647 section
// 3.3.1): en covers en-GB, and en-GB only itself.
func excluded(tag string, ranges []languageRange) bool {
	for i := len(ranges) - 1; i >= 0 && ranges[i].weight == 0; i-- {
		r := ranges[i].tag
		if len(tag) >= len(r) && strings.EqualFold(tag[:len(r)], r) && (len(tag) == len(r) || tag[len(r)] == '-') {
			return true
		}
	}
	return false
}
