package semantics

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxRanges is how many ranges one request may ask for. With more the field is
// ignored, as RFC 9110 section 14.2 permits.
const MaxRanges = 64

// RangeSpec is one range-spec of bytes (RFC 9110 section 14.1.2). Where First is
// -1 it is the suffix of Last bytes; where Last is [OpenEnd] it goes to the end.
type RangeSpec struct{ First, Last int64 }

// OpenEnd is the Last of a range without one.
const OpenEnd = math.MaxInt64

// Suffix tells the form that counts from the end.
func (r RangeSpec) Suffix() bool { return r.First < 0 }

// Bounded tells the form that is the same whatever the length is.
func (r RangeSpec) Bounded() bool { return r.First >= 0 && r.Last != OpenEnd }

// Span is the bytes from Start up to, but not with, End.
type Span struct{ Start, End int64 }

// Len is the number of bytes.
func (s Span) Len() int64 { return s.End - s.Start }

// Cut returns what of b, which stands at pos, is in the span.
func (s Span) Cut(b []byte, pos int64) []byte {
	from := min(max(s.Start-pos, 0), int64(len(b)))
	to := min(max(s.End-pos, from), int64(len(b)))
	return b[from:to]
}

// ParseRange reads Range. ok is false if the field is to be ignored (RFC 9110
// section 14.2): another unit than bytes, bad syntax, several lines, which no
// list makes one of, or more than MaxRanges.
func ParseRange(lines []string) (specs []RangeSpec, ok bool) {
	if len(lines) != 1 {
		return nil, false
	}
	unit, set, found := strings.Cut(lines[0], "=")
	if !found || !strings.EqualFold(strings.TrimLeft(unit, " \t"), "bytes") {
		return nil, false
	}
	for member := range strings.SplitSeq(set, ",") {
		if member = strings.Trim(member, " \t"); member == "" {
			continue // a list may have empty members (RFC 9110 section 5.6.1.2)
		}
		spec, ok := parseRangeSpec(member)
		if !ok || len(specs) == MaxRanges {
			return nil, false
		}
		specs = append(specs, spec)
	}
	return specs, len(specs) > 0
}

func parseRangeSpec(s string) (RangeSpec, bool) {
	first, last, found := strings.Cut(s, "-")
	if !found {
		return RangeSpec{}, false
	}
	if first == "" {
		n, ok := parsePosition(last)
		return RangeSpec{-1, n}, ok
	}
	r := RangeSpec{Last: OpenEnd}
	var ok bool
	if r.First, ok = parsePosition(first); !ok {
		return RangeSpec{}, false
	}
	if last != "" {
		if r.Last, ok = parsePosition(last); !ok || r.Last < r.First {
			return RangeSpec{}, false
		}
		r.Last = min(r.Last, OpenEnd-1)
		r.First = min(r.First, r.Last)
	}
	return r, true
}

// parsePosition reads digits; a number that does not fit is as large as can be.
func parsePosition(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, true
}

// Resolve returns what the ranges are of a representation of size bytes: in the
// order in which they were asked for, those that overlap or touch as one, in the
// place of the first of them (RFC 9110 section 15.3.7.2). Those that can't be
// satisfied are left out; none is left if none can. A suffix of an empty
// representation can be, but there is no Content-Range that says so: ok is false
// then, and the whole is the answer.
func Resolve(specs []RangeSpec, size int64) (spans []Span, ok bool) {
	for _, r := range specs {
		switch {
		case r.Suffix() && r.Last > 0 && size == 0:
			return nil, false
		case r.Suffix() && r.Last > 0:
			spans = append(spans, Span{max(size-r.Last, 0), size})
		case !r.Suffix() && r.First < size:
			spans = append(spans, Span{r.First, min(r.Last, size-1) + 1})
		}
	}
	return coalesce(spans), true
}

func coalesce(spans []Span) []Span {
	if len(spans) < 2 {
		return spans
	}
	order := make([]int, len(spans)) // by their start
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(spans[a].Start, spans[b].Start) })
	type group struct {
		Span
		at int
	}
	var groups []group
	for _, i := range order {
		s := spans[i]
		if n := len(groups) - 1; n >= 0 && s.Start <= groups[n].End {
			groups[n].End = max(groups[n].End, s.End)
			groups[n].at = min(groups[n].at, i)
			continue
		}
		groups = append(groups, group{s, i})
	}
	slices.SortFunc(groups, func(a, b group) int { return cmp.Compare(a.at, b.at) })
	out := make([]Span, len(groups))
	for i, g := range groups {
		out[i] = g.Span
	}
	return out
}

// ContentRange is a Content-Range of bytes (RFC 9110 section 14.4). Total is -1
// where it is not known.
type ContentRange struct {
	Span
	Total int64
}

// String is the field's value.
func (c ContentRange) String() string {
	b := strconv.AppendInt([]byte("bytes "), c.Start, 10)
	b = strconv.AppendInt(append(b, '-'), c.End-1, 10)
	if c.Total < 0 {
		return string(append(b, "/*"...))
	}
	return string(strconv.AppendInt(append(b, '/'), c.Total, 10))
}

// ParseContentRange reads the Content-Range of a 206 with one part. It is false
// for one that is invalid, and must not be combined with anything then, has
// another unit, or numbers that are too large.
func ParseContentRange(lines []string) (c ContentRange, ok bool) {
	if len(lines) != 1 {
		return c, false
	}
	unit, rest, found := strings.Cut(lines[0], " ")
	if !found || !strings.EqualFold(unit, "bytes") {
		return c, false
	}
	span, total, found := strings.Cut(rest, "/")
	first, last, found2 := strings.Cut(span, "-")
	if !found || !found2 {
		return c, false
	}
	start, ok1 := parsePosition(first)
	end, ok2 := parsePosition(last)
	c.Total = -1
	ok3 := true
	if total != "*" {
		c.Total, ok3 = parsePosition(total)
	}
	if !ok1 || !ok2 || !ok3 || end < start || end == math.MaxInt64 || c.Total == math.MaxInt64 || c.Total >= 0 && c.Total <= end {
		return ContentRange{}, false
	}
	c.Start, c.End = start, end+1
	return c, true
}

// StrongValidator returns what If-Range may ask with for the rest of a stored
// response: its entity tag if that is strong, or its Last-Modified where there is
// no tag and the date is strong (RFC 9110 section 8.8.2.2); else "".
func StrongValidator(h http.Header) string {
	if lines := h["Etag"]; len(lines) > 0 {
		if len(lines) == 1 && strong(lines[0], lines[0]) {
			return lines[0]
		}
		return ""
	}
	modified, ok, _ := singleDate(h["Last-Modified"])
	date, ok2, _ := singleDate(h["Date"])
	if ok && ok2 && strongDate(modified, date) {
		return h["Last-Modified"][0]
	}
	return ""
}

// strongDate tells whether a Last-Modified can't be that of two representations:
// it is a while before the Date.
func strongDate(modified, date time.Time) bool { return date.Sub(modified) >= time.Second }

// SameRepresentation tells whether two responses are parts of one representation
// and may be combined: they have the same strong validator (RFC 9111 section 3.4).
// Beyond that the coding has to be the same, for origins that forget it in the
// tag.
func SameRepresentation(a, b http.Header) bool {
	v := StrongValidator(a)
	return v != "" && v == StrongValidator(b) && slices.Equal(a["Content-Encoding"], b["Content-Encoding"])
}
