package errorpage

import (
	"crypto/sha256"
	"encoding/base64"
	stdjson "encoding/json"
	htmlpkg "html"
	"net/http"
	"strconv"
)

// wording is what visitors are told. It depends on the status alone, never on
// the cause. Its texts are safe in HTML and in JSON as they are.
type wording struct {
	heading, sentence string
}

func wordingOf(status int) wording {
	switch status {
	case http.StatusBadRequest:
		return wording{"The request was not understood", "Something about the request is not as it should be. Please go back and try once more."}
	case http.StatusNotFound:
		return wording{"Nothing is here", "There is no page at this address."}
	case http.StatusRequestTimeout:
		return wording{"The request took too long", "It did not arrive in time. The connection may be slow; please try once more."}
	case http.StatusRequestEntityTooLarge:
		return wording{"The upload is too large", "Please try again with less."}
	case http.StatusTooManyRequests:
		return wording{"Too many requests", "Many requests came in a short time. Please wait a moment before the next one."}
	case http.StatusInternalServerError:
		return wording{"Something went wrong", "An error on our side keeps this page from being shown."}
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return wording{"Temporarily unavailable", "The service cannot answer right now. Nothing is wrong on your side; please try again in a moment."}
	case http.StatusGatewayTimeout:
		return wording{"This takes too long", "The service did not answer in time. Nothing is wrong on your side; please try again in a moment."}
	}
	if status < 500 {
		return wording{"This did not work", "The request cannot be answered as it is."}
	}
	return wording{"Temporarily unavailable", "An error on our side keeps this page from being shown. Please try again in a moment."}
}

// style is all that the page loads. Colours keep a contrast of 7:1 or more.
const style = `:root{color-scheme:light dark;--bg:#f6f6f4;--fg:#23262b;--dim:#4f545c;--line:#d9d9d4}` +
	`@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e9e9e6;--dim:#b3b6bb;--line:#34373d}}` +
	`*{box-sizing:border-box}` +
	`body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);color:var(--fg);` +
	`font:1.0625rem/1.6 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}` +
	`main{width:100%;max-width:34rem;overflow-wrap:anywhere}` +
	`h1{margin:0 0 .75rem;font-size:clamp(1.5rem,5vw,2.125rem);line-height:1.2;font-weight:650}` +
	`p{margin:0 0 1rem}` +
	`.brand{font-weight:600;color:var(--dim)}` +
	`.ref{margin:2rem 0 0;padding-top:1rem;border-top:1px solid var(--line);font-size:.875rem;color:var(--dim)}` +
	`code{font:inherit;font-family:ui-monospace,Menlo,Consolas,monospace;user-select:all}`

// contentSecurityPolicy permits that style and nothing else.
func contentSecurityPolicy() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}

// texts are the configured parts of a page, encoded once for each format.
type texts struct {
	htmlBrandTitle string // after the heading, in the title
	htmlBrand      string
	textBrand      string

	message     bool
	htmlMessage string
	jsonMessage string
	textMessage string
}

func newTexts(brand, message string) texts {
	var t texts
	if brand != "" {
		t.htmlBrandTitle = " · " + htmlpkg.EscapeString(brand)
		t.htmlBrand = `<p class="brand">` + htmlpkg.EscapeString(brand) + "</p>\n"
		t.textBrand = brand + ": "
	}
	if message != "" {
		t.message = true
		t.htmlMessage = htmlpkg.EscapeString(message)
		t.textMessage = message
		quoted, err := stdjson.Marshal(message)
		if err == nil { // a string always has a form in JSON
			t.jsonMessage = string(quoted[1 : len(quoted)-1])
		}
	}
	return t
}

// facts is what differs from page to page.
type facts struct {
	status     int
	retryAfter int // seconds; 0 is unknown
	id         string
}

// replaced tells whether the configured message stands in for the sentence.
func (t *texts) replaced(status int) bool { return t.message && status >= 500 }

func (t *texts) appendHTML(b []byte, f facts) []byte {
	w := wordingOf(f.status)
	if t.replaced(f.status) {
		w.sentence = t.htmlMessage
	}
	b = append(b, `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>`...)
	b = append(append(b, w.heading...), t.htmlBrandTitle...)
	b = append(b, "</title>\n<style>"+style+"</style>\n</head>\n<body>\n<main>\n"...)
	b = append(b, t.htmlBrand...)
	b = append(append(append(b, "<h1>"...), w.heading...), "</h1>\n<p>"...)
	b = append(append(b, w.sentence...), "</p>\n"...)
	if f.retryAfter > 0 {
		b = append(appendWait(append(b, "<p>"...), f.retryAfter), "</p>\n"...)
	}
	b = strconv.AppendInt(append(b, `<p class="ref">Status `...), int64(f.status), 10)
	b = append(append(b, " · Request <code>"...), f.id...)
	return append(b, "</code></p>\n</main>\n</body>\n</html>\n"...)
}

// appendProblem writes a problem document (RFC 9457). Its type is about:blank:
// the status says what kind of problem it is, so the title is the status's.
func (t *texts) appendProblem(b []byte, f facts) []byte {
	detail := wordingOf(f.status).sentence
	if t.replaced(f.status) {
		detail = t.jsonMessage
	}
	b = append(append(b, `{"type":"about:blank","title":"`...), statusText(f.status)...)
	b = strconv.AppendInt(append(b, `","status":`...), int64(f.status), 10)
	b = append(append(b, `,"detail":"`...), detail...)
	b = append(appendInstance(append(b, `","instance":"`...), f.id), '"')
	if f.retryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retryAfter":`...), int64(f.retryAfter), 10)
	}
	b = append(append(b, `,"requestId":"`...), f.id...)
	return append(b, "\"}\n"...)
}

func (t *texts) appendText(b []byte, f facts) []byte {
	sentence := wordingOf(f.status).sentence
	if t.replaced(f.status) {
		sentence = t.textMessage
	}
	b = strconv.AppendInt(append(b, t.textBrand...), int64(f.status), 10)
	b = append(append(append(b, ' '), statusText(f.status)...), '\n')
	b = append(append(b, sentence...), '\n')
	if f.retryAfter > 0 {
		b = append(appendWait(b, f.retryAfter), '\n')
	}
	b = append(append(b, "Request: "...), f.id...)
	return append(b, '\n')
}

// appendWait says when to try again: to the second up to two minutes, above in
// the unit that a person would use, rounded up.
func appendWait(b []byte, seconds int) []byte {
	n, unit := seconds, "second"
	switch {
	case seconds > 48*3600:
		n, unit = (seconds-1)/86400+1, "day"
	case seconds > 2*3600:
		n, unit = (seconds-1)/3600+1, "hour"
	case seconds > 120:
		n, unit = (seconds-1)/60+1, "minute"
	}
	b = strconv.AppendInt(append(b, "Try again in "...), int64(n), 10)
	b = append(append(b, ' '), unit...)
	if n != 1 {
		b = append(b, 's')
	}
	return append(b, '.')
}

func statusText(status int) string {
	if s := http.StatusText(status); s != "" {
		return s
	}
	return "Error"
}

// longestHTML is the size of the largest page that can come of t.
func (t *texts) longestHTML() int {
	longest := 0
	for status := 400; status < 600; status++ {
		f := facts{status: status, retryAfter: 1<<31 - 1, id: string(make([]byte, maxRequestID))}
		longest = max(longest, len(t.appendHTML(nil, f)))
	}
	return longest
}
