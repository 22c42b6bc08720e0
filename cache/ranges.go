package cache

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// span is the part of an object that a request gets.
type span struct {
	start, end    int64
	whole         bool
	unsatisfiable bool
}

func (s span) status(whole int) int {
	switch {
	case s.unsatisfiable:
		return http.StatusRequestedRangeNotSatisfiable
	case !s.whole:
		return http.StatusPartialContent
	}
	return whole
}

// rangeFor works out what a Range request gets of o (RFC 9110 section 14.2) and
// sets the fields that go with it. One range of a 200 is answered with 206; all
// else that can be ignored is, and the whole is sent.
func (o *object) rangeFor(r *http.Request, out http.Header) span {
	whole := span{end: o.size, whole: true}
	lines := r.Header["Range"]
	if r.Method != http.MethodGet || o.status != http.StatusOK || len(lines) != 1 || len(o.trailer) > 0 ||
		!semantics.RangeApplies(r.Header, o.header) {
		return whole
	}
	part, ok := parseRange(lines[0], o.size)
	switch {
	case !ok:
		return whole
	case part.unsatisfiable:
		refused(out)
		out["Content-Range"] = []string{fmt.Sprintf("bytes */%d", o.size)}
	default:
		out["Content-Range"] = []string{fmt.Sprintf("bytes %d-%d/%d", part.start, part.end-1, o.size)}
		out["Content-Length"] = []string{strconv.FormatInt(part.end-part.start, 10)}
	}
	return part
}

// parseRange reads a field with one byte range. ok is false if it is to be
// ignored: another unit, several ranges, bad syntax.
func parseRange(field string, size int64) (s span, ok bool) {
	unit, spec, found := strings.Cut(field, "=")
	if !found || !strings.EqualFold(strings.TrimSpace(unit), "bytes") {
		return span{}, false
	}
	first, last, found := strings.Cut(strings.Trim(spec, " \t"), "-")
	if !found || strings.ContainsRune(spec, ',') {
		return span{}, false
	}
	if first == "" { // the last n bytes
		n, ok := parsePosition(last)
		if !ok {
			return span{}, false
		}
		if n == 0 || size == 0 {
			return span{unsatisfiable: true}, true
		}
		return span{start: max(size-n, 0), end: size}, true
	}
	start, ok := parsePosition(first)
	if !ok {
		return span{}, false
	}
	end := size
	if last != "" {
		n, ok := parsePosition(last)
		if !ok || n < start {
			return span{}, false
		}
		if n < size {
			end = n + 1
		}
	}
	if start >= size {
		return span{unsatisfiable: true}, true
	}
	return span{start: start, end: end}, true
}

// parsePosition reads digits; a number that does not fit is as large as can be.
func parsePosition(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		n = 1<<63 - 1
	}
	return n, true
}
