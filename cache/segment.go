package cache

import (
	"slices"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// maxSegments bounds the parts that are kept of one representation. At the bound
// the smallest goes.
const maxSegments = 16

// segment is a part of a representation that is there. It is never changed.
type segment struct {
	semantics.Span
	body [][]byte
}

// addSegment returns segs with s: sorted, and what overlaps or touches as one.
// limit bounds their bytes together: what is furthest from s goes first. s itself
// is not above it.
func addSegment(segs []segment, s segment, limit int64) []segment {
	merged := s
	var out []segment
	at := 0 // of merged
	for _, e := range segs {
		switch {
		case e.End < merged.Start:
			out = append(out, e)
			at = len(out)
		case e.Start > merged.End:
			out = append(out, e)
		default:
			merged = joinSegments(e, merged)
		}
	}
	if merged.Len() > limit {
		merged = s
	}
	out = slices.Insert(out, at, merged)
	for total := segmentBytes(out); total > limit; {
		gone := 0
		if at == 0 || at < len(out)-1 && out[len(out)-1].Start-merged.End > merged.Start-out[0].End {
			gone = len(out) - 1
		}
		total -= out[gone].Len()
		out = slices.Delete(out, gone, gone+1)
		if gone < at {
			at--
		}
	}
	if len(out) > maxSegments {
		gone := -1
		for i, e := range out {
			if i != at && (gone < 0 || e.Len() < out[gone].Len()) {
				gone = i
			}
		}
		out = slices.Delete(out, gone, gone+1)
	}
	return out
}

func segmentBytes(segs []segment) (n int64) {
	for _, s := range segs {
		n += s.Len()
	}
	return n
}

// joinSegments joins two segments that overlap or touch.
func joinSegments(a, b segment) segment {
	if b.Start < a.Start || b.Start == a.Start && b.End > a.End {
		a, b = b, a
	}
	if b.End <= a.End {
		return a
	}
	rest := cutBody(b.body, semantics.Span{Start: a.End - b.Start, End: b.Len()})
	return segment{semantics.Span{Start: a.Start, End: b.End}, joinBodies(a.body, rest)}
}

// joinBodies is a with b after it. Small chunks become one, so that many small
// parts are not kept as many chunks.
func joinBodies(a, b [][]byte) [][]byte {
	out := make([][]byte, 0, len(a)+len(b))
	out = append(out, a...)
	for _, chunk := range b {
		if n := len(out) - 1; n >= 0 && len(out[n])+len(chunk) <= minChunk {
			out[n] = slices.Concat(out[n], chunk)
			continue
		}
		out = append(out, chunk)
	}
	return out
}

// cutBody is a part of a body whose bytes are shared with it, unless a small part
// of a chunk would keep all of the chunk.
func cutBody(body [][]byte, span semantics.Span) [][]byte {
	var out [][]byte
	eachChunk(body, span, func(chunk, part []byte) bool {
		if cap(chunk)-len(part) > len(part)/8 {
			part = slices.Clone(part)
		}
		out = append(out, slices.Clip(part))
		return true
	})
	return out
}

// eachChunk calls f with the parts of body's chunks that are in span, until it is
// false.
func eachChunk(body [][]byte, span semantics.Span, f func(chunk, part []byte) bool) {
	skip, left := span.Start, span.Len()
	for _, chunk := range body {
		if left == 0 {
			return
		}
		if skip >= int64(len(chunk)) {
			skip -= int64(len(chunk))
			continue
		}
		part := chunk[skip:]
		skip = 0
		if int64(len(part)) > left {
			part = part[:left]
		}
		left -= int64(len(part))
		if !f(chunk, part) {
			return
		}
	}
}

// gapOf returns what is missing of a representation where that is one piece. total
// is -1 where it is not known: then the end is missing.
func gapOf(segs []segment, total int64) (gap semantics.Span, ok bool) {
	end := total
	if total < 0 {
		end = semantics.OpenEnd
	}
	pos, found := int64(0), 0
	for _, s := range segs {
		if s.Start > pos {
			gap = semantics.Span{Start: pos, End: s.Start}
			found++
		}
		pos = s.End
	}
	if pos < end {
		gap = semantics.Span{Start: pos, End: end}
		found++
	}
	return gap, found == 1
}
