package cache

import (
	"crypto/rand"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// selection is the part of an object that a request gets. The zero selection is
// the whole.
type selection struct {
	spans []semantics.Span
	total int64 // -1 = not known
	// unsatisfiable: there is nothing of what was asked for.
	unsatisfiable bool
	// of several spans
	boundary    string
	contentType string
}

func (s *selection) whole() bool { return s.spans == nil && !s.unsatisfiable }

func (s *selection) status(whole int) int {
	switch {
	case s.unsatisfiable:
		return http.StatusRequestedRangeNotSatisfiable
	case s.spans != nil:
		return http.StatusPartialContent
	}
	return whole
}

// selectRanges works out what a Range request gets (RFC 9110 section 14.2) of a
// response with the given fields and length, which is -1 where it is not known.
// What can be ignored is, and the whole is the answer: all but byte ranges of a
// 200 to a GET, where If-Range holds. A date does not make it hold for what is
// coded, that is sent under codings, too: the client may have the beginning of
// another one. So are several ranges of content with a
// coding: the coding would be taken for that of the message with the parts.
func selectRanges(r *http.Request, status int, header http.Header, total int64, coded bool) selection {
	if r.Method != http.MethodGet || status != http.StatusOK {
		return selection{}
	}
	specs, ok := semantics.ParseRange(r.Header["Range"])
	if !ok || !semantics.RangeApplies(r.Header, header) || coded && semantics.RangeByDate(r.Header) {
		return selection{}
	}
	size := total
	if total < 0 {
		if slices.ContainsFunc(specs, func(s semantics.RangeSpec) bool { return !s.Bounded() }) {
			return selection{}
		}
		size = math.MaxInt64
	}
	spans, ok := semantics.Resolve(specs, size)
	switch {
	case !ok, len(spans) > 1 && len(header["Content-Encoding"]) > 0:
		return selection{}
	case len(spans) == 0:
		return selection{total: total, unsatisfiable: true}
	}
	return selection{spans: spans, total: total}
}

// fields sets the fields that go with the selection in a response that has those
// of the whole.
func (s *selection) fields(out http.Header) {
	if s.whole() {
		return
	}
	if s.unsatisfiable {
		refused(out)
		out["Content-Range"] = []string{"bytes */" + strconv.FormatInt(s.total, 10)}
		return
	}
	delete(out, "Content-Md5") // of the message, which is another one
	delete(out, "Content-Digest")
	if len(s.spans) == 1 {
		out["Content-Range"] = []string{s.contentRange(s.spans[0])}
		out["Content-Length"] = []string{strconv.FormatInt(s.spans[0].Len(), 10)}
		return
	}
	s.boundary = rand.Text()
	if lines := out["Content-Type"]; len(lines) > 0 {
		s.contentType = lines[0]
	}
	out["Content-Type"] = []string{"multipart/byteranges; boundary=" + s.boundary}
	n := int64(len(s.closing()))
	for i, span := range s.spans {
		n += int64(len(s.opening(i))) + span.Len()
	}
	out["Content-Length"] = []string{strconv.FormatInt(n, 10)}
}

func (s *selection) contentRange(span semantics.Span) string {
	return semantics.ContentRange{Span: span, Total: s.total}.String()
}

// opening is what stands before part i of several (RFC 9110 section 14.6).
func (s *selection) opening(i int) string {
	head := "\r\n--" + s.boundary + "\r\n"
	if i == 0 {
		head = head[2:]
	}
	if s.contentType != "" {
		head += "Content-Type: " + s.contentType + "\r\n"
	}
	return head + "Content-Range: " + s.contentRange(s.spans[i]) + "\r\n\r\n"
}

func (s *selection) closing() string { return "\r\n--" + s.boundary + "--\r\n" }

// write sends the selected parts of o. The object's bytes are not copied.
func (s *selection) write(w io.Writer, o *object) (sent int64, err error) {
	several := len(s.spans) > 1
	for i, span := range s.spans {
		if several {
			n, err := io.WriteString(w, s.opening(i))
			sent += int64(n)
			if err != nil {
				return sent, err
			}
		}
		n, err := writeSpan(w, o, span)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	if several {
		n, err := io.WriteString(w, s.closing())
		return sent + int64(n), err
	}
	return sent, nil
}

func writeSpan(w io.Writer, o *object, span semantics.Span) (sent int64, err error) {
	body, start := o.bodyAt(span)
	eachChunk(body, semantics.Span{Start: span.Start - start, End: span.End - start}, func(_, part []byte) bool {
		var n int
		n, err = w.Write(part)
		sent += int64(n)
		return err == nil
	})
	return sent, err
}
