package errorpage

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
)

// A browser knows one kind of line break: what it hashes is not always what was
// sent.
func TestPolicyOfOtherLineBreaks(t *testing.T) {
	const own = "<!doctype html>\n<title>x</title>\n<style>\nb{color:red}\n</style>\n<script>\n'a'\n</script>\n<p>{{.Message}}"
	policy := func(lineBreak string) (string, string) {
		p, _ := newPage(t, Config{Locales: []string{"en"}, Templates: fstest.MapFS{
			"page.html": {Data: []byte(strings.ReplaceAll(own, "\n", lineBreak))},
		}})
		resp := serve(p.Handler(failing(noBackend())), get("Accept", "text/html"))
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Fatal(resp.StatusCode, err)
		}
		return resp.Header.Get("Content-Security-Policy"), string(body)
	}
	want, _ := policy("\n")
	if !strings.Contains(want, "style-src 'sha256-") || !strings.Contains(want, "script-src 'sha256-") {
		t.Fatalf("policy = %s", want)
	}
	for _, lineBreak := range []string{"\r\n", "\r"} {
		got, body := policy(lineBreak)
		if !strings.Contains(body, "<style>"+lineBreak) {
			t.Errorf("%q: the page is no longer as it was written: %q", lineBreak, body)
		}
		if got != want {
			t.Errorf("%q: policy = %s, want %s", lineBreak, got, want)
		}
	}
}
