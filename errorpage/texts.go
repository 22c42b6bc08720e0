package errorpage

import (
	"crypto/sha256"
	"encoding/base64"
	htmlpkg "html"
	"net/http"
	"strconv"
)

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
	`code{font:inherit;font-family:ui-monospace,Menlo,Consolas,monospace;user-select:all;direction:ltr;unicode-bidi:isolate}`

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

	message words
}

func newTexts(brand, message string) texts {
	var t texts
	if brand != "" {
		t.htmlBrandTitle = " · " + htmlpkg.EscapeString(brand)
		t.htmlBrand = `<p class="brand">` + htmlpkg.EscapeString(brand) + "</p>\n"
		t.textBrand = brand + ": "
	}
	t.message = newWords(message)
	return t
}

// facts is what differs from page to page.
type facts struct {
	status     int
	group      Group
	retryAfter int // seconds; 0 is unknown
	id         string
	locale     *locale
}

// messageFor is the configured message or the built-in one.
func (t *texts) messageFor(f facts) *words {
	if t.message.text != "" && f.status >= 500 {
		return &t.message
	}
	return &f.locale.groups[f.group].message
}

func (t *texts) appendHTML(b []byte, f facts) []byte {
	l, heading := f.locale, f.locale.groups[f.group].heading.html
	b = append(b, `<!doctype html>
<html lang="`...)
	b = append(append(append(b, l.lang...), `" dir="`...), l.dir...)
	b = append(b, `">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>`...)
	b = append(append(b, heading...), t.htmlBrandTitle...)
	b = append(b, "</title>\n<style>"+style+"</style>\n</head>\n<body>\n<main>\n"...)
	b = append(b, t.htmlBrand...)
	b = append(append(append(b, "<h1>"...), heading...), "</h1>\n<p>"...)
	b = append(append(b, t.messageFor(f).html...), "</p>\n"...)
	if f.retryAfter > 0 {
		b = append(l.appendWait(append(b, "<p>"...), f.retryAfter), "</p>\n"...)
	}
	b = append(append(append(b, `<p class="ref">`...), l.status.html...), ' ')
	b = append(strconv.AppendInt(b, int64(f.status), 10), " · "...)
	b = append(append(append(b, l.request.html...), " <code>"...), f.id...)
	return append(b, "</code></p>\n</main>\n</body>\n</html>\n"...)
}

// appendProblem writes a problem document (RFC 9457). Its type is about:blank:
// the status says what kind of problem it is, so the title is the status's.
func (t *texts) appendProblem(b []byte, f facts) []byte {
	b = append(append(b, `{"type":"about:blank","title":"`...), statusText(f.status)...)
	b = strconv.AppendInt(append(b, `","status":`...), int64(f.status), 10)
	b = append(append(b, `,"detail":"`...), t.messageFor(f).json...)
	b = append(appendInstance(append(b, `","instance":"`...), f.id), '"')
	if f.retryAfter > 0 {
		b = strconv.AppendInt(append(b, `,"retryAfter":`...), int64(f.retryAfter), 10)
	}
	b = append(append(b, `,"requestId":"`...), f.id...)
	return append(b, "\"}\n"...)
}

func (t *texts) appendText(b []byte, f facts) []byte {
	b = strconv.AppendInt(append(b, t.textBrand...), int64(f.status), 10)
	b = append(append(append(b, ' '), statusText(f.status)...), '\n')
	b = append(append(b, t.messageFor(f).text...), '\n')
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

// longestHTML is the size of the largest page that can come of t.
func (t *texts) longestHTML(all []*locale) int {
	longest := 0
	f := facts{status: 599, id: string(make([]byte, maxRequestID))}
	for _, f.locale = range all {
		for f.group = range groups {
			for _, f.retryAfter = range [...]int{100, 100 * 60, 40 * 3600, 1<<31 - 1} {
				longest = max(longest, len(t.appendHTML(nil, f)))
			}
		}
	}
	return longest
}
