package errorpage

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

func TestOwnTemplates(t *testing.T) {
	p, _ := newPage(t, Config{
		Brand: "A & B",
		Templates: files("page.html", `<!doctype html><html lang="{{.Lang}}" dir="{{.Dir}}"><title>{{.Status}} {{.Heading}}</title>`+
			`<!-- <style>no</style> --><STYLE media="(width > 1px)">p{color:{{.AccentLight}}}</STYLE ><style>p{margin:0}</style>`+
			`<body data-group="{{.Group}}" data-id="{{.RequestID}}" title='{{with .Wait}}{{.}}{{else}}now{{end}}'><h1 title="<style>x</style>">{{.Brand}}</h1>`+
			`{{.Retry}}<img src="data:image/png;base64,AAAA"><script>if("</"+"script>".length>1){}</script><p>{{printf "%s" .RequestID}} {{.RequestID.String}} {{.StatusLabel}}</p>`,
			"rate_limited.html", `slow down, {{.RequestID}}`),
		Texts: map[string]Texts{"en": {Wait: Wait{Seconds: Forms{One: "it's {n} second", Other: "it's {n} seconds"}}}},
	})
	resp, body := visit(t, p, "GET", "en", &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 7 * time.Second})
	for what, want := range map[string]int{
		`<title>503 Temporarily unavailable</title>`: 1, `data-id="id-1"`: 1, `title='it&#39;s 7 seconds'`: 1, "id-1": 3,
		"<h1 title=\"<style>x</style>\">A &amp; B</h1>": 1, script: 1, `data-after="7"`: 1, `data-group="unavailable"`: 1,
	} {
		if got := strings.Count(body, what); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", what, got, want, body)
		}
	}
	policy := resp.Header.Get("Content-Security-Policy")
	want := "default-src 'none'; style-src " + hashes([]string{"p{color:#3e63b0}", "p{margin:0}"}) +
		"; script-src " + hashes([]string{script, `if("</"+"script>".length>1){}`}) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
	if policy != want {
		t.Errorf("the policy is\n%s, want\n%s", policy, want)
	}

	resp, body = visit(t, p, "POST", "de", failure.New(failure.ConnectionRefused, nil))
	if strings.Contains(body, script) || strings.Contains(body, "data-for") || !strings.Contains(body, "title='now'") || !strings.Contains(body, `lang="de"`) {
		t.Errorf("after a POST:\n%s", body)
	}
	if policy := resp.Header.Get("Content-Security-Policy"); strings.Contains(policy, "connect-src") || strings.Contains(policy, hashes([]string{script})) {
		t.Errorf("after a POST the policy admits the script: %s", policy)
	}
	resp, body = visit(t, p, "GET", "en", failure.New(failure.RateLimited, nil))
	if body != "slow down, id-1" || resp.Header.Get("Content-Security-Policy") != "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'" {
		t.Errorf("a group's own page: %q, %v", body, resp.Header)
	}
}

func TestTemplatesThatAreWrong(t *testing.T) {
	for name, tmpl := range map[string]string{
		"syntax":               `{{.Heading`,
		"no such field":        `{{.Cause}}`,
		"no such function":     `{{env "HOME"}}`,
		"hole in a script":     `<script>var id={{.RequestID}}</script>`,
		"hole in a string":     `<script>var id="{{.RequestID}}"</script>`,
		"hole in a template":   "<script>var id=`{{.RequestID}}`</script>",
		"hole in a style":      `<style>p{content:"{{.RequestID}}"}</style>`,
		"hole in a style name": `<style>.x{{.Status}}{}</style>`,
		"hole in a URL":        `<a href="/help?id={{.RequestID}}">x</a>`,
		"hole as a URL":        `<a href="{{.RequestID}}">x</a>`,
		"hole in a src":        `<img src="/{{.Status}}.png">`,
		"hole in a srcset":     `<img srcset="/{{.Status}}.png 2x">`,
		"hole in a handler":    `<p onclick="f({{.Status}})">x</p>`,
		"hole in a style attr": `<p style="width:{{.Status}}px">x</p>`,
		"unquoted attribute":   `<p title={{.Wait}}>x</p>`,
		"unquoted status":      `<p data-s={{.Status}}>x</p>`,
		"attribute name":       `<p {{.Status}}>x</p>`,
		"hole compared":        `{{if eq .Status "503"}}x{{end}}`,
		"hole compared to int": `{{if eq .Status 503}}x{{end}}`,
		"hole measured":        `{{len .RequestID}}`,
		"Retry in a title":     `<title>{{.Retry}}</title>`,
		"Retry in a value":     `<p title="{{.Retry}}">x</p>`,
		"Retry in a script":    `<script>{{.Retry}}</script>`,
		"Retry twice":          `{{.Retry}}{{.Retry}}`,
		"open tag":             `<p title="{{.Brand}}`,
		"branches apart":       `{{if .Brand}}<a href="{{end}}{{.Heading}}`,
		"endless output":       `{{range 2000000000}}aaaaaaaa{{end}}`,
		"endless recursion":    `{{define "a"}}x{{template "a"}}{{end}}{{template "a"}}`,
		"oversize page":        strings.Repeat("a", maxOwnPage+1),
		"oversize file":        "{{/*" + strings.Repeat("a", maxTemplate) + "*/}}",
	} {
		_, err := New(Config{Templates: files("page.html", tmpl)})
		if err == nil || !strings.Contains(err.Error(), "Config.Templates") || !strings.Contains(err.Error(), "page.html") {
			t.Errorf("%s: %v, want an error that names Config.Templates and page.html", name, err)
		}
		if _, err := New(Config{Templates: files("page.html", "x", "too_large.html", tmpl)}); strings.HasPrefix(name, "Retry") != (err == nil) {
			t.Errorf("%s, in a page for one group: %v", name, err)
		}
	}
	for name, fsys := range map[string]fs.FS{
		"no page":    files("unavailable.html", "x"),
		"unreadable": unreadable{},
		"directory":  files("page.html/x", "x"),
	} {
		if _, err := New(Config{Templates: fsys}); err == nil || !strings.Contains(err.Error(), "Config.Templates") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, tmpl := range map[string]string{
		"nothing": "", "no holes": "<p>{{.Message}}", "text alone": "{{.RequestID}}", "as long as may be": strings.Repeat("a", maxOwnPage),
	} {
		if _, err := New(Config{Templates: files("page.html", tmpl)}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type unreadable struct{}

func (unreadable) Open(string) (fs.File, error) { return nil, errors.New("disk on fire") }

func TestConfiguredPolicy(t *testing.T) {
	const policy = "default-src 'self'; style-src 'unsafe-inline'"
	p, _ := newPage(t, Config{ContentSecurityPolicy: policy})
	for _, method := range []string{"GET", "POST"} {
		if resp, _ := visit(t, p, method, "en", failure.New(failure.NoEndpoint, nil)); resp.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: the policy is %q", method, resp.Header.Get("Content-Security-Policy"))
		}
	}
	for _, bad := range []string{"a\nb", "a\x00", "ä", " ; ", strings.Repeat("a", maxPolicy+1), "a\x7f"} {
		if _, err := New(Config{ContentSecurityPolicy: bad}); err == nil || !strings.Contains(err.Error(), "Config.ContentSecurityPolicy") {
			t.Errorf("policy %q: %v", bad, err)
		}
	}
}

func TestInlines(t *testing.T) {
	for in, want := range map[string]string{
		"<style>a</style>":                      "a|",
		"<style\n>a</styled></style\n>":         "a</styled>|",
		"<SCRIPT a='>'>b</sCript >":             "|b",
		"<script a=\">\" b=c>b</script>":        "|b",
		"<script a=b'>b</script>":               "|b",
		"<!-- <style>a</style> -->":             "|",
		"<title><style>a</style></title>":       "|",
		"<p title='<style>a</style>'>":          "|",
		"<textarea><script>x</script>":          "|",
		"<script>a":                             "|a",
		"<script><style>x</style></script>":     "|<style>x</style>",
		"a < b <3 </style><style>x</style><":    "x|",
		"<styles>a</styles>":                    "|",
		"<style>a</style><style>b</style>":      "a,b|",
		"<noscript><style>n</style></noscript>": "n|",
		"<style":                                "|",
	} {
		got := inlines(in)
		if s := strings.Join(got.styles, ",") + "|" + strings.Join(got.scripts, ","); s != want && in != "<style" {
			t.Errorf("inlines(%q) = %q, want %q", in, s, want)
		}
	}
}

func FuzzInlines(f *testing.F) {
	f.Add("<style>a</style><script src='x>y'>b</script><!-- <style> -->")
	f.Fuzz(func(t *testing.T, page string) {
		in := inlines(page)
		for _, text := range append(in.styles, in.scripts...) {
			if !strings.Contains(page, text) {
				t.Fatalf("inlines(%q) has %q", page, text)
			}
		}
	})
}
