package errorpage

import (
	"io"
	"net/http"
	"strings"
	"testing"
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
