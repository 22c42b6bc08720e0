package semantics

import (
	"net/http"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
)

// The fields of RFC 9875, as net/http has their names.
const (
	CacheGroups            = "Cache-Groups"
	CacheGroupInvalidation = "Cache-Group-Invalidation"
)

// The bounds of what a response may be filed under. Of groups RFC 9875 section
// 2 asks for 32 of 32 characters.
const (
	MaxTags     = 128
	MaxTagBytes = 256
	maxTagTotal = 8 << 10
)

// Tags returns the tags that a response has by Surrogate-Key, whose members are
// parted by blanks, by Cache-Tag, where commas do it, and those in more; each
// once, case counts. over: there are more than the bounds allow, or longer ones,
// which are left out.
func Tags(h http.Header, more []string) (tags []string, over bool) {
	total := 0
	add := func(tag string) {
		tag = strings.Trim(tag, " \t")
		switch {
		case tag == "":
		case len(tag) > MaxTagBytes || len(tags) >= MaxTags || total+len(tag) > maxTagTotal:
			over = over || !slices.Contains(tags, tag)
		case !slices.Contains(tags, tag):
			tags = append(tags, tag)
			total += len(tag)
		}
	}
	for _, tag := range more { // first: those of the operator are not pushed out
		add(tag)
	}
	for _, line := range h["Surrogate-Key"] {
		for tag := range strings.FieldsFuncSeq(line, func(c rune) bool { return c == ' ' || c == '\t' }) {
			if add(tag); over {
				return tags, over
			}
		}
	}
	for _, line := range h["Cache-Tag"] {
		for tag := range strings.SplitSeq(line, ",") {
			if add(tag); over {
				return tags, over
			}
		}
	}
	return tags, over
}

// Groups reads Cache-Groups or Cache-Group-Invalidation (RFC 9875 sections 2
// and 3), structured lists of strings. Parameters are ignored; a field that is
// none, or has another member than a string, is ignored whole. over: see Tags.
func Groups(lines []string) (groups []string, over bool) {
	if len(lines) == 0 {
		return nil, false
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil, false
	}
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil, false
		}
		if _, ok = item.Value.(string); !ok {
			return nil, false
		}
	}
	total := 0
	for _, member := range list {
		item, _ := member.(httpsfv.Item)
		group, _ := item.Value.(string)
		if slices.Contains(groups, group) {
			continue
		}
		if len(group) > MaxTagBytes || len(groups) >= MaxTags || total+len(group) > maxTagTotal {
			return groups, true
		}
		groups = append(groups, group)
		total += len(group)
	}
	return groups, false
}
