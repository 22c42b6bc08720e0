package errorpage

import (
	stdjson "encoding/json"
	"fmt"
	htmlpkg "html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestAnswersSpeakTheLanguage(t *testing.T) {
	p, _ := newPage(t, Config{})
	for _, tt := range []struct{ accept, want string }{
		{"text/html", `<html lang="de" dir="ltr">`},
		{"text/html", "<h1>Hier ist nichts</h1>"},
		{"application/problem+json", `"title":"Not Found","status":404,"detail":"Unter dieser Adresse gibt es keine Seite."`},
		{"*/*", "404 Not Found\nUnter dieser Adresse gibt es keine Seite.\nReferenz: abc\n"},
	} {
		resp := serve(p.Handler(failing(noBackend())), get("Accept", tt.accept, "Accept-Language", "de-AT,de;q=0.9,en;q=0.8", "X-Request-Id", "abc"))
		body, _ := io.ReadAll(resp.Body)
		if got := resp.Header.Get("Content-Language"); got != "de" || !strings.Contains(string(body), tt.want) {
			t.Errorf("Accept %s: Content-Language %q, %s, want %q in it", tt.accept, got, body, tt.want)
		}
	}
}

// Labels have the punctuation, and pages the direction, of the language.
func TestAnswersLookRight(t *testing.T) {
	p, _ := newPage(t, Config{})
	for _, tt := range []struct{ accept, lang, want string }{
		{"text/plain", "fr", "\nRéférence\u00a0: abc\n"},
		{"text/plain", "es", "\nReferencia: abc\n"},
		{"text/plain", "ja", "\nお問い合わせ番号：abc\n"},
		{"text/plain", "zh", "\n请求编号：abc\n"},
		{"text/html", "ar", `<html lang="ar" dir="rtl">`},
		{"text/html", "zh-CN", `<html lang="zh-Hans" dir="ltr">`},
	} {
		resp := serve(p.Handler(failing(noBackend())), get("Accept", tt.accept, "Accept-Language", tt.lang, "X-Request-Id", "abc"))
		if body, _ := io.ReadAll(resp.Body); !strings.Contains(string(body), tt.want) {
			t.Errorf("%s in %s: %s, want %q in it", tt.accept, tt.lang, body, tt.want)
		}
	}
}

// With one language there is nothing to vary by.
func TestOneLanguage(t *testing.T) {
	p, _ := newPage(t, Config{Locales: []string{"de-AT"}})
	resp := serve(p.Handler(failing(noBackend())), get("Accept", "*/*", "Accept-Language", "en"))
	for name, want := range map[string]string{"Content-Language": "de-AT", "Vary": "Accept, Sec-Fetch-Dest"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// What the replaced answer said of its language is not true of the page.
func TestLanguageOfTheReplacedAnswer(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	for dest, want := range map[string]string{"document": "en", "image": ""} {
		resp := serve(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Language", "tlh")
			w.WriteHeader(http.StatusBadGateway)
		})), get("Sec-Fetch-Dest", dest))
		if got := resp.Header.Get("Content-Language"); got != want {
			t.Errorf("Sec-Fetch-Dest %s: Content-Language = %q, want %q", dest, got, want)
		}
	}
}

// Nothing of the field is repeated, whatever it is.
func TestHostileAcceptLanguage(t *testing.T) {
	p, _ := newPage(t, Config{})
	for _, line := range []string{
		"canary", "de-x-canary", "<script>canary</script>", `en"canary`, "canary\xff", "x-canary;q=0", "de;canary=1", "en-u-va-canary",
		"de,canary" + strings.Repeat("canary,", 5000),
	} {
		for _, accept := range []string{"text/html", "application/problem+json", "application/json", "text/plain"} {
			resp := serve(p.Handler(failing(noBackend())), get("Accept", accept, "Accept-Language", line))
			body, _ := io.ReadAll(resp.Body)
			if all := fmt.Sprint(resp.Header, string(body)); strings.Contains(all, "canary") {
				t.Errorf("Accept-Language %.40q, Accept %s: %s", line, accept, all)
			}
			if got := resp.Header.Get("Content-Language"); got != "en" && got != "de" {
				t.Errorf("Accept-Language %.40q: Content-Language = %q", line, got)
			}
		}
	}
}

// FuzzTexts: what New accepts stays text in every format.
func FuzzTexts(f *testing.F) {
	f.Add("Heading", "Message", "Wait {n}", "Label")
	f.Add("<b>", `"}`, "a\\b {n}", "'")
	f.Add("</title><script>alert(1)</script>", `\"},{"a":"`, "{n}&lt;", "\u2028")
	f.Add("\u202e", "日本", "{n}'s", "\u200f")
	tags := regexp.MustCompile(`<[^>]*>`)
	f.Fuzz(func(t *testing.T, heading, message, wait, label string) {
		p, err := New(Config{Locales: []string{"de"}, Texts: map[string]Texts{"de": {
			Groups: map[Group]Text{Unavailable: {heading, message}}, Wait: Wait{Seconds: Forms{One: wait, Other: wait}}, Request: label, Status: label,
		}}})
		if err != nil {
			return
		}
		// What is empty is taken from the built-in texts.
		first := func(a, b string) string {
			if a == "" {
				return b
			}
			return a
		}
		wantMessage := first(message, german.Groups[Unavailable].Message)
		wantWait := strings.Replace(first(wait, german.Wait.Seconds.Other), placeholder, "90", 1)
		e := &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 90 * time.Second}
		page := func(accept string) string {
			w := httptest.NewRecorder()
			p.ServeError(w, get("Accept", accept, "X-Request-Id", "abc"), e)
			return w.Body.String()
		}
		body := page("text/html")
		if got, want := len(tags.FindAllString(body, -1)), strings.Count(body, "<"); got != want || strings.Contains(body, "<script>alert") {
			t.Errorf("%d tags of %d in %s", got, want, body)
		}
		visible := htmlpkg.UnescapeString(tags.ReplaceAllString(body, ""))
		for _, want := range []string{first(heading, german.Groups[Unavailable].Heading), wantMessage, wantWait, first(label, german.Request)} {
			if !strings.Contains(visible, want) {
				t.Errorf("the page lacks %q: %s", want, visible)
			}
		}
		var doc struct{ Detail string }
		if err := stdjson.Unmarshal([]byte(page("application/json")), &doc); err != nil || doc.Detail != wantMessage {
			t.Errorf("detail = %q, %v, want %q", doc.Detail, err, wantMessage)
		}
		want := "503 Service Unavailable\n" + wantMessage + "\n" + wantWait + "\n" + first(label, german.Request) + ": abc\n"
		if got := page("text/plain"); got != want {
			t.Errorf("text = %q, want %q", got, want)
		}
	})
}
