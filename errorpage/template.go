package errorpage

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// Bounds of own templates.
const (
	maxTemplate = 256 << 10 // bytes of a file
	maxOwnPage  = 64 << 10  // bytes of a rendered page
)

// defaultPage is the built-in page: a template like any other.
const defaultPage = `<!doctype html>
<html lang="{{.Lang}}" dir="{{.Dir}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{.Heading}}{{with .Brand}} · {{.}}{{end}}</title>
<style>:root{color-scheme:light dark;--b:` + lightGround + `;--f:#1f2328;--d:#57606a;--l:#dfe0dc;--a:{{.AccentLight}}}` +
	`@media(prefers-color-scheme:dark){:root{--b:` + darkGround + `;--f:#edeeeb;--d:#a5acb5;--l:#32363d;--a:{{.AccentDark}}}}` + style + `</style>
</head>
<body>
{{if or .Logo .Brand}}<header>{{or .Logo .Brand}}</header>
{{end}}<main>
<h1>{{.Heading}}</h1>
<p dir="auto">{{.Message}}</p>
{{with .Wait}}<p class="d">{{.}}</p>
{{end}}{{.Retry}}{{with .Support}}<a class="s" href="{{.}}" rel="noreferrer">{{$.SupportText}}</a>
{{end}}</main>
<footer>{{.StatusLabel}} {{.Status}} · {{.RequestLabel}} <code>{{.RequestID}}</code></footer>
</body>
</html>
`

// TemplateData is what a template of [Config.Templates] is executed with, once
// for each locale and group, with and without a time to wait, when New is
// called. All but the three holes is known then.
type TemplateData struct {
	// Lang and Dir are for the html element: the language tag, and ltr or rtl.
	Lang, Dir string
	// Group is the group's name, for instance "rate_limited".
	Group string
	// Heading says what happened, Message what that means for the visitor.
	Heading, Message string

	// Status is the status code, Wait the sentence that says when to try again
	// (nil where nobody knows), RequestID the id that leads support to the
	// cause. They are holes, filled when a page is sent: their place is the text
	// of an element or an attribute in quotes, not a script, a style, a URL or an
	// unquoted attribute, and they can't be compared.
	Status, Wait, RequestID *Hole
	// StatusLabel and RequestLabel are what Status and RequestID are called.
	StatusLabel, RequestLabel string

	// Brand and Logo are as configured; Logo is "" or one element, <svg> or
	// <img>.
	Brand string
	Logo  template.HTML
	// AccentLight and AccentDark are the accent colour, made readable on a light
	// (#fbfaf8) and a dark (#16181c) ground, and as a ground for these.
	AccentLight, AccentDark template.CSS
	// Support is a link, or "", and SupportText what it says.
	Support, SupportText string

	// Retry lets the page try again by itself. It is to stand between the
	// elements of the body: a <div class="r"> that says so, hidden where it does
	// not, with a <span> for each of Retrying and GaveUp, of which one has the
	// attribute hidden; and a script. Both are left out of an answer that the
	// page must not ask for again, to a POST say.
	Retry template.HTML
	// Retrying and GaveUp are what Retry says.
	Retrying, GaveUp string
}

// Hole is a place in a page that is filled when the page is sent.
type Hole struct{ marker string }

// String returns a placeholder; "" for nil.
func (h *Hole) String() string {
	if h == nil {
		return ""
	}
	return h.marker
}

// MarshalJSON is what html/template calls for a hole in a script. The markers
// are found there, and New fails.
func (h *Hole) MarshalJSON() ([]byte, error) { return stdjson.Marshal(h.String()) }

// templates are what pages are rendered with.
type templates struct {
	own     bool
	common  *template.Template
	byGroup [groups]*template.Template // nil is common
}

// readTemplates parses the templates of fsys; those that are built in if it is
// nil.
func readTemplates(fsys fs.FS) (*templates, error) {
	if fsys == nil {
		t, err := template.New("page.html").Parse(defaultPage)
		return &templates{common: t}, err
	}
	ts := &templates{own: true}
	t, err := readTemplate(fsys, "page.html")
	if err != nil {
		return nil, err
	}
	ts.common = t
	var errs []error
	for g := range groups {
		t, err := readTemplate(fsys, g.String()+".html")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		ts.byGroup[g] = t
		errs = append(errs, err)
	}
	return ts, errors.Join(errs...)
}

func readTemplate(fsys fs.FS, name string) (*template.Template, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("errorpage: Config.Templates: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxTemplate+1))
	if err != nil {
		return nil, fmt.Errorf("errorpage: Config.Templates: %s: %w", name, err)
	}
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("errorpage: Config.Templates: %s has more than %d bytes", name, maxTemplate)
	}
	t, err := template.New(name).Option("missingkey=error").Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("errorpage: Config.Templates: %w", err)
	}
	return t, nil
}

func (ts *templates) of(g Group) *template.Template {
	if t := ts.byGroup[g]; t != nil {
		return t
	}
	return ts.common
}

// renderer renders pages and cuts them at their holes.
type renderer struct {
	templates *templates
	brand     brand
	autoRetry int    // seconds; 0 is off
	core      string // of the markers: nobody else's text contains it
	same      map[string]string
	policies  map[string][]string
	policy    string // the configured one
}

func newRenderer(ts *templates, b brand, autoRetry int, policy string) *renderer {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return &renderer{
		templates: ts, brand: b, autoRetry: autoRetry, policy: policy,
		core: "hole" + hex.EncodeToString(random[:]),
		same: map[string]string{}, policies: map[string][]string{},
	}
}

// A marker is <core, a letter, a space, >. In the text of an element and in a
// quoted attribute html/template writes it as &lt;core, letter, space, &gt;.
// Everywhere else it comes out otherwise, and is found out.
func (rr *renderer) marker(k kind) string  { return "<" + rr.core + string(k) + " >" }
func (rr *renderer) escaped(k kind) string { return "&lt;" + rr.core + string(k) + " &gt;" }

// render returns the page of a locale and a group.
func (rr *renderer) render(l *locale, g Group, wait bool) (*page, error) {
	data := TemplateData{
		Lang: l.lang, Dir: l.dir, Group: g.String(),
		Heading: l.groups[g].heading.text, Message: l.groups[g].message.text,
		Status: &Hole{rr.marker(statusHole)}, RequestID: &Hole{rr.marker(idHole)},
		StatusLabel: l.status.text, RequestLabel: l.request.text,
		Brand: rr.brand.name, Logo: rr.brand.logo,
		AccentLight: template.CSS(rr.brand.light.String()), AccentDark: template.CSS(rr.brand.dark.String()),
		Support: rr.brand.support, SupportText: rr.brand.supportText,
		Retrying: l.retrying.text, GaveUp: l.gaveUp.text,
	}
	if data.SupportText == "" {
		data.SupportText = l.support.text
	}
	if wait {
		data.Wait = &Hole{rr.marker(waitHole)}
	}
	retry := ""
	if rr.autoRetry > 0 && retries(g, wait) {
		retry = rr.retry(l)
		data.Retry = template.HTML(retry) //nolint:gosec // of escaped texts
	}
	out := bounded{limit: maxOwnPage}
	t := rr.templates.of(g)
	if err := t.Execute(&out, &data); err != nil {
		return nil, fmt.Errorf("errorpage: Config.Templates: %s: %w", t.Name(), err)
	}
	p, err := rr.cut(out.String(), retry)
	if err != nil {
		return nil, fmt.Errorf("errorpage: Config.Templates: %s: %w", t.Name(), err)
	}
	return p, nil
}

// retries tells whether a page of the group tries again by itself: where time
// mends it, and a visitor who asks too often only knowing when.
func retries(g Group, wait bool) bool {
	switch g {
	case Unavailable, Overloaded, Maintenance, Timeout:
		return true
	case RateLimited:
		return wait
	case Internal, NotFound, RequestTimeout, TooLarge, BadRequest, Refused, groups:
	}
	return false
}

// retry is [TemplateData.Retry].
func (rr *renderer) retry(l *locale) string {
	return rr.escaped(retryBegin) +
		`<div class="r" role="status" aria-live="polite" hidden><span>` + l.retrying.html + `</span><span hidden>` + l.gaveUp.html + `</span></div>` +
		`<script data-after="` + rr.escaped(secondsHole) + `" data-for="` + strconv.Itoa(rr.autoRetry) + `">` + script + "</script>\n" +
		rr.escaped(retryEnd)
}

// bounded is a buffer that ends a template that doesn't end by itself.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("makes a page of more than %d bytes", b.limit)
	}
	return b.Buffer.Write(p)
}

// cut makes a page of what a template wrote.
func (rr *renderer) cut(out, retry string) (*page, error) {
	if strings.Contains(out, "ZgotmplZ") {
		return nil, errors.New("something stands in a place where html/template lets nothing stand: a hole must stand in the text of an element or in a quoted attribute")
	}
	found := strings.Count(out, "&lt;"+rr.core)
	if found != strings.Count(out, rr.core) {
		return nil, errHole
	}
	if retry != "" {
		if n := strings.Count(out, rr.escaped(retryBegin)); n > 1 || n != strings.Count(out, retry) {
			return nil, errors.New("has Retry twice or in the wrong place: it must stand once, between the elements of the body")
		}
	}
	c := cutter{rr: rr, page: &page{}}
	for rest := out; ; {
		before, after, ok := strings.Cut(rest, "&lt;"+rr.core)
		c.constant(before)
		if !ok {
			break
		}
		if len(after) < 6 || after[1:6] != " &gt;" || !strings.ContainsRune(kinds, rune(after[0])) {
			return nil, errHole
		}
		c.hole(kind(after[0]))
		rest = after[6:]
	}
	c.page.setPolicies(rr, out)
	return c.page, nil
}

var errHole = errors.New("a hole stands in a script, a style, a URL or an unquoted attribute, or is cut up: must stand in the text of an element or in a quoted attribute")
