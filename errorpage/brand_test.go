package errorpage

import (
	"encoding/base64"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// The accent is read on the ground, and the ground on the accent.
func TestContrast(t *testing.T) {
	light, _ := parseColor(lightGround)
	dark, _ := parseColor(darkGround)
	check := func(c rgb) {
		a, b, err := accents(c.String())
		if err != nil {
			t.Fatal(err)
		}
		if x, y := contrast(a, light), contrast(b, dark); x < 4.5 || y < 4.5 {
			t.Errorf("%v: %v on light has %.2f, %v on dark has %.2f, want 4.5", c, a, x, b, y)
		}
		if contrast(c, light) >= 4.5 && a != c || contrast(c, dark) >= 4.5 && b != c {
			t.Errorf("%v can be read as it is, but became %v and %v", c, a, b)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := rng.Uint32()
		check(rgb{uint8(n), uint8(n >> 8), uint8(n >> 16)})
	}
	for v := range 256 {
		check(rgb{uint8(v), uint8(v), uint8(v)})
	}
	for _, tt := range []struct {
		a, b string
		want float64
	}{{"#000", "#fff", 21}, {"#777777", "#fff", 4.48}, {"#f00", "#fff", 4.0}, {"#123456", "#123456", 1}} {
		a, _ := parseColor(tt.a)
		b, _ := parseColor(tt.b)
		if got := contrast(a, b); math.Abs(got-tt.want) > 0.005 {
			t.Errorf("contrast(%s, %s) = %.3f, want %.2f", tt.a, tt.b, got, tt.want)
		}
	}
	// The page's own texts, as its style has them.
	for _, tt := range []struct{ text, ground string }{
		{"#1f2328", lightGround}, {"#57606a", lightGround}, {"#edeeeb", darkGround}, {"#a5acb5", darkGround},
	} {
		a, _ := parseColor(tt.text)
		b, _ := parseColor(tt.ground)
		if got := contrast(a, b); got < 6 || !strings.Contains(defaultPage, tt.text) {
			t.Errorf("%s on %s has %.2f, want 6 and to be in the page", tt.text, tt.ground, got)
		}
	}
}

func TestColors(t *testing.T) {
	for in, want := range map[string]string{"#abc": "#aabbcc", "#A1b2C3": "#a1b2c3", "#000": "#000000"} {
		if c, ok := parseColor(in); !ok || c.String() != want {
			t.Errorf("parseColor(%q) = %v, %v, want %s", in, c, ok, want)
		}
	}
	for _, bad := range []string{"red", "#ab", "#abcd", "abc", "#ggg", "#12345", "#1234567", "#fff;}", " #fff", "rgb(0,0,0)", "#", "#äb"} {
		if _, err := New(Config{Color: bad}); err == nil || !strings.Contains(err.Error(), "Config.Color") {
			t.Errorf("Color %q: %v", bad, err)
		}
	}
}

func TestSupport(t *testing.T) {
	for _, good := range []string{"https://help.example", "http://help.example:8080/a?b=c#d", "mailto:help@example.org", "mailto:help@example.org?subject=It%20fails", "HTTPS://help.example/"} {
		p, err := New(Config{Support: good, Brand: "A", SupportText: "Ask us"})
		if err != nil {
			t.Errorf("Support %q: %v", good, err)
			continue
		}
		_, body := visit(t, p, "GET", "en", failure.New(failure.NoBackend, nil))
		if !strings.Contains(body, `rel="noreferrer">Ask us</a>`) || strings.Contains(body, "Zgotmpl") {
			t.Errorf("Support %q: the link is not there:\n%s", good, body)
		}
	}
	for _, bad := range []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "//help.example", "/help", "help", "https://", "https:help", "mailto:", "mailto:nobody",
		"vbscript:x", "https://a b", "https://a/\"><script>", "https://user:pass@a/", "https://a/\n", "ftp://a", " https://a", "https://a/" + strings.Repeat("a", 500), "https://a/\xff",
	} {
		if _, err := New(Config{Support: bad}); err == nil || !strings.Contains(err.Error(), "Config.Support") {
			t.Errorf("Support %q: %v", bad, err)
		}
	}
	if _, err := New(Config{SupportText: "Help"}); err == nil || !strings.Contains(err.Error(), "Config.SupportText") {
		t.Errorf("a text without a link: %v", err)
	}
}

func TestLogo(t *testing.T) {
	const open = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">`
	png := "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte("\x89PNG"))
	for in, want := range map[string]string{
		open + `<path d="M0 0h9" fill="url(#a)"/></svg>`: `<svg viewBox="0 0 9 9" role="img" aria-label="A &amp; B"><path d="M0 0h9" fill="url(#a)"></path></svg>`,
		"\ufeff" + open + "</svg>":                       "",

		`<?xml version="1.0"?><!-- x --><svg viewBox="0 0 1 1"><title>x</title></svg>` + "\n":            `<svg viewBox="0 0 1 1" role="img" aria-label="A &amp; B"></svg>`,
		open + `<use xlink:href="#a"/><text>1 &lt; 2</text></svg>`:                                       `<svg viewBox="0 0 9 9" role="img" aria-label="A &amp; B"><use href="#a"></use><text>1 &lt; 2</text></svg>`,
		`<svg xmlns:i="http://inkscape"><i:view><i:x onload="a"/></i:view><g i:label="x" id="a"/></svg>`: `<svg role="img" aria-label="A &amp; B"><g id="a"></g></svg>`,
		png:                             `<img src="` + png + `" alt="A &amp; B">`,
		"data:image/svg+xml,%3Csvg/%3E": `<img src="data:image/svg+xml,%3Csvg/%3E" alt="A &amp; B">`,
	} {
		got, err := logoMarkup(in, "A & B")
		if want != "" && (err != nil || got != want) {
			t.Errorf("logoMarkup(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	deep := open + strings.Repeat("<g>", 40) + strings.Repeat("</g>", 40) + "</svg>"
	for name, bad := range map[string]string{
		"script":              open + `<script>alert(1)</script></svg>`,
		"prefixed script":     `<s:svg xmlns:s="http://www.w3.org/2000/svg"><s:script/></s:svg>`,
		"onload":              `<svg onload="alert(1)"/>`,
		"OnClick":             open + `<g OnClick="a"/></svg>`,
		"prefixed handler":    `<svg xmlns:e="http://www.w3.org/2001/xml-events"><g e:onclick="a"/></svg>`,
		"foreignObject":       open + `<foreignObject><p/></foreignObject></svg>`,
		"html":                open + `<p xmlns="http://www.w3.org/1999/xhtml">x</p></svg>`,
		"external use":        open + `<use href="https://evil.example/a.svg#x"/></svg>`,
		"external xlink":      open + `<use xlink:href="//evil.example/#x"/></svg>`,
		"javascript link":     open + `<use href="javascript:alert(1)"/></svg>`,
		"link":                open + `<a href="https://a"><g/></a></svg>`,
		"image":               open + `<image href="#a"/></svg>`,
		"animate":             open + `<animate attributeName="href" to="javascript:a"/></svg>`,
		"set":                 open + `<set attributeName="onclick" to="a"/></svg>`,
		"style element":       open + `<style>*{display:none}</style></svg>`,
		"style attribute":     open + `<g style="fill:red"/></svg>`,
		"external paint":      open + `<g fill="url(https://evil.example/#a)"/></svg>`,
		"quoted paint":        open + `<g fill="url( 'http://evil')"/></svg>`,
		"escaped paint":       open + `<g fill="u\72l(http://evil)"/></svg>`,
		"image-set":           open + `<g mask="image-set('http://evil' 1x)"/></svg>`,
		"entity bomb":         `<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg>&b;</svg>`,
		"document type":       `<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd"><svg/>`,
		"stylesheet":          `<?xml-stylesheet href="http://evil"?><svg/>`,
		"unknown entity":      open + `&evil;</svg>`,
		"not closed":          open + `<g></svg>`,
		"not SVG":             `<p>x</p>`,
		"two":                 `<svg/><svg/>`,
		"text after":          `<svg/>x`,
		"text":                `Acme`,
		"URL":                 `https://evil.example/a.png`,
		"deep":                deep,
		"large":               open + strings.Repeat(" ", maxLogo) + "</svg>",
		"data of HTML":        "data:text/html,<script>alert(1)</script>",
		"data of GIF":         "data:image/gif;base64,R0lGOD",
		"data without type":   "data:,x",
		"data, broken base64": "data:image/png;base64,a*b",
		"data, no data":       "data:image/png;base64,",
		"data, no comma":      "data:image/png;base64",
		"data, quote":         "data:image/svg+xml,<svg a=\"\n\"/>",
		"data, broken escape": "data:image/svg+xml,%zz",
		"attribute name":      `<svg a:b:c="1"/>`,
		"not UTF-8":           "<svg>\xff</svg>",
	} {
		if _, err := New(Config{Logo: bad}); err == nil || !strings.Contains(err.Error(), "Config.Logo") {
			t.Errorf("%s: New accepts the logo %.80q (%v)", name, bad, err)
		}
	}
	p, _ := newPage(t, Config{Brand: "A", Logo: png})
	resp, body := visit(t, p, "GET", "en", failure.New(failure.NoBackend, nil))
	if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "; img-src data:;") || !strings.Contains(body, `<header><img src="`+png+`" alt="A"></header>`) {
		t.Errorf("a logo by data: URL: %s\n%s", policy, body)
	}
}

// What is made of a logo can be read again, and stays as it is.
func FuzzLogo(f *testing.F) {
	f.Add(`<svg viewBox="0 0 9 9"><path d="M0 0h9" fill="url(#a)"/><title>a</title></svg>`)
	f.Add(`<svg xmlns:x="y"><x:a/><text>&lt;script&gt;</text><![CDATA[<script>]]></svg>`)
	f.Add("data:image/png;base64,AAAA")
	f.Fuzz(func(t *testing.T, logo string) {
		got, err := logoMarkup(logo, "")
		if err != nil || strings.HasPrefix(logo, "data:") {
			return
		}
		lower := strings.ToLower(got)
		for _, bad := range []string{"<script", "<style", "<foreign", "<image", "<a ", "<a>", "<!", "<?", " on"} {
			if i := strings.Index(lower, bad); i >= 0 && (bad != " on" || strings.Contains(strings.TrimLeft(lower[i+3:], "abcdefghijklmnopqrstuvwxyz"), `="`) && inTag(lower, i)) && got != "" {
				t.Fatalf("logoMarkup(%q) = %q", logo, got)
			}
		}
		again, err := logoMarkup(got, "")
		if len(got) <= maxLogo && got != "" && (err != nil || strings.Count(again, "<") != strings.Count(got, "<")) {
			t.Fatalf("logoMarkup(%q) = %q, which is read as %q, %v", logo, got, again, err)
		}
	})
}

// inTag tells whether the attribute at i is one: text and values have no such
// brackets and quotes as they are.
func inTag(s string, i int) bool {
	tag := s[strings.LastIndexByte(s[:i], '<')+1 : i]
	return !strings.Contains(tag, ">") && strings.Count(tag, `"`)%2 == 0
}
