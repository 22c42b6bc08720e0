package errorpage

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// visit returns the page that a browser gets for e.
func visit(t testing.TB, p *Page, method, language string, e *failure.Error) (*http.Response, string) {
	t.Helper()
	r := get("Accept", browser, "Accept-Language", language, "X-Request-Id", "id-1")
	r.Method = method
	resp := serve(p.Handler(failing(e)), r)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// rendered returns the page of a locale, a group and a wait as it is sent.
func rendered(p *Page, l *locale, g Group, retryAfter int, retry bool) (string, *page) {
	f := facts{status: 503, group: g, retryAfter: retryAfter, id: strings.Repeat("x", maxRequestID), locale: l}
	pg := p.book.of(&f)
	return string(pg.appendTo(nil, &f, retry)), pg
}

var (
	styleElement  = regexp.MustCompile(`(?s)<style[^>]*>(.*?)</style>`)
	scriptElement = regexp.MustCompile(`(?s)<script[^>]*>(.*?)</script>`)
)

func TestBuiltInPages(t *testing.T) {
	p, _ := newPage(t, Config{Brand: "Acme", Support: "https://help.example/", Color: "#c00"})
	for _, l := range p.locales.all {
		for g := range groups {
			for _, retryAfter := range []int{0, 90} {
				for _, retry := range []bool{false, true} {
					body, pg := rendered(p, l, g, retryAfter, retry)
					name := l.lang + " " + g.String()
					if len(body) >= 6000 {
						t.Errorf("%s: %d bytes, want less than 6000", name, len(body))
					}
					for _, want := range []string{
						"<!doctype html>", `<html lang="` + l.lang + `" dir="` + l.dir + `">`, "<header>Acme</header>", "<main>\n<h1>", "<footer>", "<code>xxx",
						" 503 ", `<a class="s" href="https://help.example/"`, l.support.html,
					} {
						if strings.Count(body, want) != 1 {
							t.Errorf("%s: %q is there %d times, want once:\n%s", name, want, strings.Count(body, want), body)
						}
					}
					if sentence := string(l.appendWait(nil, 90)); strings.Contains(body, sentence) != (retryAfter > 0) {
						t.Errorf("%s: says %q = %v", name, sentence, retryAfter == 0)
					}
					checkPolicyOf(t, name, body, pg, retry)
					asks := retry && retries(g, retryAfter > 0)
					if got := strings.Count(body, "<script"); got != map[bool]int{true: 1}[asks] {
						t.Errorf("%s, may retry %v: %d scripts", name, retry, got)
					}
					if asks && !strings.Contains(body, map[bool]string{true: `data-after="90"`, false: `data-after="0"`}[retryAfter > 0]) {
						t.Errorf("%s: the script is not told when:\n%s", name, body)
					}
					if strings.Contains(body, "hole") || regexp.MustCompile(`\s(on[a-z]+|style|src)=`).MatchString(body) {
						t.Errorf("%s: the page has a marker, or attributes that the policy forbids:\n%s", name, body)
					}
				}
			}
		}
	}
}

// checkPolicyOf tells whether a browser applies just what stands in the page.
func checkPolicyOf(t *testing.T, name, body string, pg *page, retry bool) {
	t.Helper()
	policy := pg.policy[0]
	if retry {
		policy = pg.retryPolicy[0]
	}
	hashes := func(elements [][]string) string {
		list := ""
		for _, el := range elements {
			sum := sha256.Sum256([]byte(el[1]))
			list += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
		return list
	}
	want := "default-src 'none'; style-src" + hashes(styleElement.FindAllStringSubmatch(body, -1))
	if scripts := scriptElement.FindAllStringSubmatch(body, -1); len(scripts) > 0 {
		want += "; script-src" + hashes(scripts) + "; connect-src 'self'"
	}
	want += "; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
	if policy != want {
		t.Errorf("%s: the policy is\n%s, want\n%s", name, policy, want)
	}
}

func TestZeroPageIsPlain(t *testing.T) {
	p, _ := newPage(t, Config{AutoRetry: -1})
	for _, l := range p.locales.all {
		for g := range groups {
			body, _ := rendered(p, l, g, 5, true)
			for _, unwanted := range []string{"<script", "href=", "<header", "src=", "url(", "//", "@import", "&lt;", "<img"} {
				if strings.Contains(body, unwanted) {
					t.Errorf("%s %v: the page has %q:\n%s", l.lang, g, unwanted, body)
				}
			}
		}
	}
}

// Only what answered a GET asks for itself again; a HEAD is told of that page.
func TestWhoAsksAgain(t *testing.T) {
	p, _ := newPage(t, Config{})
	e := failure.New(failure.ConnectionRefused, nil)
	length := map[string]string{}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		resp, body := visit(t, p, method, "de", e)
		length[method] = resp.Header.Get("Content-Length")
		policy := resp.Header.Get("Content-Security-Policy")
		want := method == "GET" || method == "HEAD"
		if got := strings.Contains(policy, "script-src") && strings.Contains(policy, "connect-src 'self'"); got != want {
			t.Errorf("%s: the policy admits the script = %v, want %v: %s", method, got, want, policy)
		}
		if got := strings.Contains(body, "<script"); method != "HEAD" && got != want {
			t.Errorf("%s: has a script = %v, want %v", method, got, want)
		}
	}
	if length["HEAD"] != length["GET"] || length["GET"] == length["POST"] {
		t.Errorf("Content-Length by method: %v", length)
	}
	for d, want := range map[time.Duration]bool{0: true, time.Minute: true, 24 * time.Hour: true, 24*time.Hour + 1: false} {
		_, body := visit(t, p, "GET", "en", &failure.Error{Cause: failure.Maintenance, RetryAfter: d})
		if got := strings.Contains(body, "<script"); got != want {
			t.Errorf("Retry-After %v: has a script = %v, want %v", d, got, want)
		}
	}
	for d, want := range map[time.Duration]bool{0: false, time.Minute: true} {
		_, body := visit(t, p, "GET", "en", &failure.Error{Cause: failure.RateLimited, RetryAfter: d})
		if got := strings.Contains(body, "<script"); got != want {
			t.Errorf("rate limited, Retry-After %v: has a script = %v, want %v", d, got, want)
		}
	}
	for _, cause := range []failure.Cause{failure.Panic, failure.NoBackend, failure.ClientBodyError} {
		if _, body := visit(t, p, "GET", "en", failure.New(cause, nil)); strings.Contains(body, "<script") {
			t.Errorf("%v: has a script", cause)
		}
	}
}

func TestAutoRetry(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: `data-for="900"`, time.Minute: `data-for="60"`, 1: `data-for="1"`, 24 * time.Hour: `data-for="86400"`, -1: "",
	} {
		p, _ := newPage(t, Config{AutoRetry: d})
		_, body := visit(t, p, "GET", "en", failure.New(failure.ConnectionRefused, nil))
		if !strings.Contains(body, want) || strings.Contains(body, "data-for") != (want != "") {
			t.Errorf("AutoRetry %v: want %s in\n%s", d, want, body)
		}
	}
	if _, err := New(Config{AutoRetry: 24*time.Hour + 1}); err == nil || !strings.Contains(err.Error(), "Config.AutoRetry") {
		t.Errorf("AutoRetry of more than a day: %v", err)
	}
}

// The longest message has its place on a page; only many long texts together are
// too much.
func TestPageIsSmall(t *testing.T) {
	p, err := New(Config{Brand: strings.Repeat("b", maxBrand), Message: strings.Repeat("m", maxMessage)})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.book.longest(p.locales.all); n >= 7000 {
		t.Errorf("the longest page has %d bytes", n)
	}
	label := strings.Repeat("'", maxLabel)
	_, err = New(Config{Brand: label[:maxBrand], Message: strings.Repeat("'", maxMessage), Locales: []string{"en"}, Texts: map[string]Texts{"en": {
		Retrying: label, GaveUp: label, Status: label, Request: label, Groups: map[Group]Text{Timeout: {Heading: label}},
	}}})
	if err == nil || !strings.Contains(err.Error(), "Config.Message") {
		t.Errorf("texts that make a page too long: %v", err)
	}
}

func TestHostileTexts(t *testing.T) {
	const hostile = `</title></style></main><script>alert(1)</script>'"&{{.}}` + "`"
	p, _ := newPage(t, Config{
		Brand: hostile, Support: "https://h.example/?a=%22%3E&b=1", SupportText: hostile,
		Messages: map[string]map[Group]string{"": {Unavailable: hostile}}, Locales: []string{"en"},
		Texts: map[string]Texts{"en": {
			Retrying: hostile, GaveUp: hostile, Status: hostile, Request: hostile, Support: hostile,
			Groups: map[Group]Text{Unavailable: {Heading: hostile, Message: hostile}},
		}},
	})
	resp, body := visit(t, p, "GET", "en", failure.New(failure.ConnectionRefused, nil))
	for what, want := range map[string]int{"<script": 1, "</title>": 1, "</style>": 1, "</main>": 1, "alert(1)": 10, "&lt;script&gt;alert(1)&lt;/script&gt;": 10} {
		if got := strings.Count(body, what); got != want {
			t.Errorf("%q is there %d times, want %d:\n%s", what, got, want, body)
		}
	}
	if !strings.Contains(body, `href="https://h.example/?a=%22%3E&amp;b=1"`) {
		t.Errorf("the link is not as configured:\n%s", body)
	}
	if strings.Contains(resp.Header.Get("Content-Security-Policy"), "unsafe") {
		t.Error("the policy is not strict")
	}
}

func TestMessages(t *testing.T) {
	p, _ := newPage(t, Config{
		Message: "for all 5xx", Locales: []string{"en", "de", "de-AT", "fr"},
		Messages: map[string]map[Group]string{
			"":      {Overloaded: "busy", NotFound: "nothing", Maintenance: "repairs"},
			"de":    {Overloaded: "voll", Timeout: "zu langsam"},
			"de-at": {Overloaded: "randvoll"},
		},
	})
	for _, tt := range []struct {
		language string
		cause    failure.Cause
		want     string
	}{
		{"en", failure.ConnectionRefused, "for all 5xx"},
		{"en", failure.Panic, "for all 5xx"},
		{"en", failure.RateLimited, english.Groups[RateLimited].Message},
		{"en", failure.Shed, "busy"},
		{"fr", failure.Shed, "busy"},
		{"fr", failure.NoBackend, "nothing"},
		{"de", failure.Shed, "voll"},
		{"de", failure.Maintenance, "repairs"},
		{"de", failure.ConnectTimeout, "zu langsam"},
		{"de-AT", failure.ConnectTimeout, "zu langsam"},
		{"de-AT", failure.Shed, "randvoll"},
		{"en", failure.ConnectTimeout, "for all 5xx"},
	} {
		for accept, wrap := range map[string]string{"text/html": `<p dir="auto">%</p>`, "application/json": `"detail":"%"`, "text/plain": "\n%\n"} {
			resp := serve(p.Handler(failing(failure.New(tt.cause, nil))), get("Accept", accept, "Accept-Language", tt.language))
			body, _ := io.ReadAll(resp.Body)
			if want := strings.ReplaceAll(wrap, "%", tt.want); !strings.Contains(string(body), want) {
				t.Errorf("%s, %v, %s: %q is not in\n%s", tt.language, tt.cause, accept, want, body)
			}
		}
	}
	for key, messages := range map[string]map[Group]string{
		"xx-!": {Timeout: "a"}, "ja": {Timeout: "a"}, "de": {groups: "a"}, "": {Timeout: "a\nb"}, "en": {Timeout: strings.Repeat("a", maxMessage+1)},
	} {
		_, err := New(Config{Locales: []string{"en", "de"}, Messages: map[string]map[Group]string{key: messages}})
		if err == nil || !strings.Contains(err.Error(), `Config.Messages["`+key+`"]`) {
			t.Errorf("Messages[%q] = %v: %v", key, messages, err)
		}
	}
	if _, err := New(Config{Messages: map[string]map[Group]string{"de": nil, "DE": nil}}); err == nil {
		t.Error("one language twice is accepted")
	}
}
