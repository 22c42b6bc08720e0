package errorpage

import (
	"net/http"
	"strconv"
)

// texts are the configured parts of a page that is no HTML.
type texts struct {
	brand string // before the status, in plain text
}

func newTexts(brand string) texts {
	if brand == "" {
		return texts{}
	}
	return texts{brand: brand + ": "}
}

// facts is what differs from page to page.
type facts struct {
	status     int
	group      Group
	retryAfter int // seconds; 0 is unknown
	id         string
	locale     *locale
}

// message is what the visitor is told.
func (f *facts) message() *words { return &f.locale.groups[f.group].message }

// appendProblem writes a problem document (RFC 9457). Its type is about:blank:
// the status says what kind of problem it is, so the title is the status's.
func (t *texts) appendProblem(b []byte, f facts) []byte {
	b = append(append(b, `{"type":"about:blank","title":"`...), statusText(f.status)...)
	b = strconv.AppendInt(append(b, `","status":`...), int64(f.status), 10)
	b = append(append(b, `,"detail":"`...), f.message().json...)
	b = append(appendInstance(append(b, `","instance":"`...), f.id), '"')
	if f.retryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retryAfter":`...), int64(f.retryAfter), 10)
	}
	b = append(append(b, `,"requestId":"`...), f.id...)
	return append(b, "\"}\n"...)
}

func (t *texts) appendText(b []byte, f facts) []byte {
	b = strconv.AppendInt(append(b, t.brand...), int64(f.status), 10)
	b = append(append(append(b, ' '), statusText(f.status)...), '\n')
	b = append(append(b, f.message().text...), '\n')
	if f.retryAfter > 0 {
		b = append(f.locale.appendWait(b, f.retryAfter), '\n')
	}
	b = append(append(append(b, f.locale.request.text...), f.locale.colon...), f.id...)
	return append(b, '\n')
}

func statusText(status int) string {
	if s := http.StatusText(status); s != "" {
		return s
	}
	return "Error"
}
