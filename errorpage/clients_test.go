package errorpage

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What navigations, tags and scripts of browsers say they accept.
const (
	chromeDocument  = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	firefoxDocument = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.8"
	plainDocument   = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8" // Safari, Firefox since 132, Wget2
	chromeImage     = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
)

// client is a request as a client really sends it, as far as it matters.
type client struct {
	name   string
	method string // "" is GET
	fields []string
	format format
	lang   string // "" where the answer is in no language
}

var clients = []client{
	// Navigations.
	{"Chrome, Windows, German", "", []string{"Accept", chromeDocument, "Accept-Language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Site", "none", "Sec-Fetch-User", "?1", "Upgrade-Insecure-Requests", "1"}, html, "de"},
	{"Chrome, Android, Portuguese, plain HTTP", "", []string{"Accept", chromeDocument, "Accept-Language", "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "Upgrade-Insecure-Requests", "1"}, html, "pt"},
	{"Chrome, incognito: one language", "", []string{"Accept", chromeDocument, "Accept-Language", "fr-FR,fr;q=0.9", "Sec-Fetch-Dest", "document"}, html, "fr"},
	{"Chrome, prerender by speculation rules", "", []string{"Accept", chromeDocument, "Accept-Language", "en-US,en;q=0.9", "Sec-Fetch-Dest", "document", "Sec-Purpose", "prefetch;prerender"}, html, "en"},
	{"Chrome, reload", "", []string{"Accept", chromeDocument, "Accept-Language", "ja", "Cache-Control", "max-age=0", "Sec-Fetch-Dest", "document"}, html, "ja"},
	{"Chrome, a form", http.MethodPost, []string{"Accept", chromeDocument, "Accept-Language", "es-419,es;q=0.9", "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://site.example", "Sec-Fetch-Dest", "document"}, html, "es"},
	{"Chrome, a frame", "", []string{"Accept", chromeDocument, "Accept-Language", "zh-CN,zh;q=0.9", "Sec-Fetch-Dest", "iframe", "Sec-Fetch-Mode", "navigate"}, html, "zh-Hans"},
	{"Chrome, an object", "", []string{"Accept", chromeDocument, "Accept-Language", "ar", "Sec-Fetch-Dest", "object", "Sec-Fetch-Mode", "navigate"}, html, "ar"},
	{"Chrome, an image in a tab of its own", "", []string{"Accept", chromeDocument, "Accept-Language", "de", "Sec-Fetch-Dest", "document"}, html, "de"},
	{"Edge", "", []string{"Accept", chromeDocument, "Accept-Language", "fr,fr-FR;q=0.9,en;q=0.8,en-GB;q=0.7,en-US;q=0.6", "Sec-Fetch-Dest", "document"}, html, "fr"},
	{"Samsung Internet, Arabic", "", []string{"Accept", chromeDocument, "Accept-Language", "ar-SA,ar;q=0.9,en-US;q=0.8,en;q=0.7", "X-Requested-With", "com.sec.android.app.sbrowser"}, html, "ar"},
	{"Firefox, German", "", []string{"Accept", firefoxDocument, "Accept-Language", "de,en-US;q=0.7,en;q=0.3", "Sec-Fetch-Dest", "document", "DNT", "1"}, html, "de"},
	{"Firefox since 132, Spanish", "", []string{"Accept", plainDocument, "Accept-Language", "es-ES,es;q=0.8,en-US;q=0.5,en;q=0.3", "Sec-Fetch-Dest", "document", "Priority", "u=0, i"}, html, "es"},
	{"Safari, macOS", "", []string{"Accept", plainDocument, "Accept-Language", "fr-CA,fr;q=0.9", "Sec-Fetch-Dest", "document", "Priority", "u=0, i"}, html, "fr"},
	{"Safari before 16.4", "", []string{"Accept", plainDocument, "Accept-Language", "ja-jp"}, html, "ja"},
	{"Safari, iOS, simplified Chinese", "", []string{"Accept", plainDocument, "Accept-Language", "zh-CN,zh-Hans;q=0.9", "Sec-Fetch-Dest", "document"}, html, "zh-Hans"},
	{"Tor Browser", "", []string{"Accept", plainDocument, "Accept-Language", "en-US,en;q=0.5", "Sec-Fetch-Dest", "document"}, html, "en"},
	{"Opera Mini", "", []string{"Accept", "text/html, application/xml;q=0.9, application/xhtml+xml, image/png, image/webp, image/jpeg, image/gif, image/x-xbitmap, */*;q=0.1", "Accept-Language", "pt-PT,pt;q=0.9"}, html, "pt"},
	{"Android 2.3", "", []string{"Accept", "application/xml,application/xhtml+xml,text/html;q=0.9,text/plain;q=0.8,image/png,*/*;q=0.5", "Accept-Language", "de-DE, en-US", "Accept-Charset", "utf-8, iso-8859-1, utf-16, *;q=0.7"}, html, "de"},
	{"Internet Explorer 11", "", []string{"Accept", "text/html, application/xhtml+xml, image/jxr, */*", "Accept-Language", "de-DE"}, html, "de"},
	{"Internet Explorer 11, a language that is not here", "", []string{"Accept", "text/html, application/xhtml+xml, */*", "Accept-Language", "fi-FI"}, html, "en"},
	// Names no page at all. It shows plain text as well.
	{"Internet Explorer 8", "", []string{"Accept", "image/gif, image/jpeg, image/pjpeg, application/x-ms-application, application/xaml+xml, application/x-ms-xbap, */*", "Accept-Language", "de-de"}, text, "de"},
	{"Lynx", "", []string{"Accept", "text/html, text/plain, text/sgml, text/css, application/xhtml+xml, */*;q=0.01", "Accept-Language", "en"}, html, "en"},
	{"w3m", "", []string{"Accept", "text/html, text/*;q=0.5, image/*, application/*", "Accept-Language", "fr;q=1.0, en;q=0.5"}, html, "fr"},
	{"Turbo Drive", "", []string{"Accept", "text/html, application/xhtml+xml", "Accept-Language", "es", "Sec-Fetch-Dest", "empty"}, html, "es"},
	{"Turbo, a form", http.MethodPost, []string{"Accept", "text/vnd.turbo-stream.html, text/html, application/xhtml+xml", "Sec-Fetch-Dest", "empty"}, html, "en"},
	{"jQuery.load", "", []string{"Accept", "text/html, */*; q=0.01", "X-Requested-With", "XMLHttpRequest", "Sec-Fetch-Dest", "empty"}, html, "en"},
	{"a service worker that passes a navigation on", "", []string{"Accept", chromeDocument, "Accept-Language", "de", "Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate"}, html, "de"},

	// Tags: nobody sees the body.
	{"Chrome, img", "", []string{"Accept", chromeImage, "Accept-Language", "de", "Sec-Fetch-Dest", "image", "Sec-Fetch-Mode", "no-cors"}, empty, ""},
	{"Firefox, img", "", []string{"Accept", "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "Sec-Fetch-Dest", "image"}, empty, ""},
	{"Safari, img", "", []string{"Accept", "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "Sec-Fetch-Dest", "image"}, empty, ""},
	{"Chrome, script", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "script"}, empty, ""},
	{"Chrome, style", "", []string{"Accept", "text/css,*/*;q=0.1", "Sec-Fetch-Dest", "style"}, empty, ""},
	{"Chrome, font", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "font", "Sec-Fetch-Mode", "cors", "Origin", "https://site.example"}, empty, ""},
	{"Firefox, font", "", []string{"Accept", "application/font-woff2;q=1.0,application/font-woff;q=0.9,*/*;q=0.8", "Sec-Fetch-Dest", "font"}, empty, ""},
	{"Firefox, video", "", []string{"Accept", "video/webm,video/ogg,video/*;q=0.9,application/ogg;q=0.7,audio/*;q=0.6,*/*;q=0.5", "Range", "bytes=0-", "Sec-Fetch-Dest", "video"}, empty, ""},
	{"Safari, video", "", []string{"Accept", "*/*", "Range", "bytes=0-1", "Sec-Fetch-Dest", "video"}, empty, ""},
	{"Chrome, track", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "track"}, empty, ""},
	{"Chrome, manifest", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "manifest"}, empty, ""},
	{"Chrome, a module of JSON", "", []string{"Accept", "application/json,*/*;q=0.5", "Sec-Fetch-Dest", "json"}, empty, ""},
	{"Chrome, preload of an image", "", []string{"Accept", chromeImage, "Sec-Fetch-Dest", "image", "Purpose", "prefetch"}, empty, ""},
	{"Chrome, speculation rules", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "speculationrules"}, empty, ""},
	{"Chrome, a compression dictionary", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "dictionary"}, empty, ""},
	{"Chrome, the Reporting API", http.MethodPost, []string{"Accept", "*/*", "Content-Type", "application/reports+json", "Sec-Fetch-Dest", "report"}, empty, ""},
	{"a service worker's script", "", []string{"Accept", "*/*", "Service-Worker", "script", "Sec-Fetch-Dest", "serviceworker"}, empty, ""},
	// Over plain HTTP browsers don't say what for. An image that is text is as broken as one that is nothing.
	{"Chrome, img over plain HTTP", "", []string{"Accept", chromeImage, "Accept-Language", "de"}, text, "de"},

	// Scripts in a page.
	{"fetch()", "", []string{"Accept", "*/*", "Accept-Language", "de-DE,de;q=0.9", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Site", "same-origin"}, problem, "de"},
	{"fetch() over plain HTTP", "", []string{"Accept", "*/*", "Accept-Language", "de-DE,de;q=0.9"}, text, "de"},
	{"fetch() for JSON", "", []string{"Accept", "application/json", "Sec-Fetch-Dest", "empty"}, json, "en"},
	{"fetch() that knows RFC 9457", "", []string{"Accept", "application/json, application/problem+json", "Sec-Fetch-Dest", "empty"}, problem, "en"},
	{"fetch() for text", "", []string{"Accept", "text/plain", "Sec-Fetch-Dest", "empty"}, text, "en"},
	{"XMLHttpRequest, htmx", "", []string{"Accept", "*/*", "Hx-Request", "true", "Sec-Fetch-Dest", "empty"}, problem, "en"},
	{"axios", "", []string{"Accept", "application/json, text/plain, */*", "Accept-Language", "ja,en-US;q=0.9,en;q=0.8", "Sec-Fetch-Dest", "empty"}, json, "ja"},
	{"jQuery.getJSON", "", []string{"Accept", "application/json, text/javascript, */*; q=0.01", "X-Requested-With", "XMLHttpRequest"}, json, "en"},
	{"Apollo", http.MethodPost, []string{"Accept", "application/graphql-response+json,application/json;q=0.9", "Content-Type", "application/json", "Sec-Fetch-Dest", "empty"}, json, "en"},
	{"EventSource", "", []string{"Accept", "text/event-stream", "Cache-Control", "no-cache", "Sec-Fetch-Dest", "empty"}, problem, "en"},
	{"sendBeacon", http.MethodPost, []string{"Accept", "*/*", "Content-Type", "text/plain;charset=UTF-8", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "no-cors"}, problem, "en"},
	{"link rel=prefetch", "", []string{"Accept", "*/*", "Sec-Fetch-Dest", "empty", "Sec-Fetch-Mode", "no-cors", "Sec-Purpose", "prefetch"}, problem, "en"},
	{"a preflight", http.MethodOptions, []string{"Accept", "*/*", "Access-Control-Request-Method", "PUT", "Origin", "https://a.example", "Sec-Fetch-Dest", "empty"}, problem, "en"},

	// Programs.
	{"curl", "", []string{"Accept", "*/*", "User-Agent", "curl/8.5.0"}, text, "en"},
	{"curl, a language", "", []string{"Accept", "*/*", "Accept-Language", "fr"}, text, "fr"},
	{"curl -I", http.MethodHead, []string{"Accept", "*/*"}, text, "en"},
	{"Wget", "", []string{"Accept", "*/*", "Accept-Encoding", "identity", "User-Agent", "Wget/1.21.4"}, text, "en"},
	{"HTTPie", "", []string{"Accept", "*/*", "User-Agent", "HTTPie/3.2"}, text, "en"},
	{"HTTPie, JSON", http.MethodPost, []string{"Accept", "application/json, */*;q=0.5", "Content-Type", "application/json"}, json, "en"},
	{"Go", "", []string{"Accept-Encoding", "gzip", "User-Agent", "Go-http-client/1.1"}, text, "en"},
	{"Python urllib", "", []string{"Accept-Encoding", "identity", "User-Agent", "Python-urllib/3.12"}, text, "en"},
	{"Python requests", "", []string{"Accept", "*/*", "User-Agent", "python-requests/2.32"}, text, "en"},
	{"Java HttpURLConnection", "", []string{"Accept", "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, html, "en"},
	{"Java HttpURLConnection since 17", "", []string{"Accept", "text/html, image/gif, image/jpeg, */*; q=0.2"}, html, "en"},
	{"Java HttpClient", "", []string{"User-Agent", "Java-http-client/21"}, text, "en"},
	{"Spring, an object", "", []string{"Accept", "application/json, application/*+json"}, json, "en"},
	{"Spring, a string", "", []string{"Accept", "text/plain, */*"}, text, "en"},
	{"Node's fetch", "", []string{"Accept", "*/*", "Accept-Language", "*", "Sec-Fetch-Mode", "cors", "User-Agent", "node"}, text, "en"},
	{"URLSession", "", []string{"Accept", "*/*", "Accept-Language", "pt-BR,pt;q=0.9"}, text, "pt"},
	{"Mastodon", "", []string{"Accept", "application/activity+json, application/ld+json"}, problem, "en"},
	{"GitHub's clients", "", []string{"Accept", "application/vnd.github+json"}, problem, "en"},
	{"Docker", "", []string{"Accept", "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, */*"}, problem, "en"},
	{"kubectl", "", []string{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"}, json, "en"},
	{"Kubernetes, protobuf", "", []string{"Accept", "application/vnd.kubernetes.protobuf, */*"}, text, "en"},

	// gRPC and its kin.
	{"grpc-go", http.MethodPost, []string{"Content-Type", "application/grpc", "Te", "trailers", "User-Agent", "grpc-go/1.76.0", "Grpc-Timeout", "1S"}, grpc, ""},
	{"grpc-java, with its codec", http.MethodPost, []string{"Content-Type", "application/grpc+proto", "Te", "trailers"}, grpc, ""},
	{"grpc-web", http.MethodPost, []string{"Content-Type", "application/grpc-web+proto", "Accept", "application/grpc-web+proto", "X-Grpc-Web", "1", "Sec-Fetch-Dest", "empty"}, grpc, ""},
	{"grpc-web-text", http.MethodPost, []string{"Content-Type", "application/grpc-web-text", "Accept", "application/grpc-web-text", "X-Grpc-Web", "1", "Sec-Fetch-Dest", "empty"}, grpc, ""},
	// Connect takes its code from the status, unless the type is application/json.
	{"Connect, Go", http.MethodPost, []string{"Content-Type", "application/proto", "Connect-Protocol-Version", "1"}, text, "en"},
	{"Connect, browser", http.MethodPost, []string{"Content-Type", "application/json", "Connect-Protocol-Version", "1", "Accept", "*/*", "Sec-Fetch-Dest", "empty"}, problem, "en"},
	{"Connect, stream", http.MethodPost, []string{"Content-Type", "application/connect+proto"}, text, "en"},
	{"Twirp", http.MethodPost, []string{"Content-Type", "application/protobuf", "Accept", "application/protobuf"}, text, "en"},

	// Crawlers go by status and Retry-After; those that render say that they want a page.
	{"Googlebot", "", []string{"Accept", "text/html,application/xhtml+xml,application/signed-exchange;v=b3,application/xml;q=0.9,*/*;q=0.8", "From", "googlebot(at)googlebot.com"}, html, "en"},
	{"Googlebot, images", "", []string{"Accept", "image/webp,image/*;q=0.9,*/*;q=0.8"}, text, "en"},
	{"Bingbot", "", []string{"Accept", "*/*", "From", "bingbot(at)microsoft.com"}, text, "en"},
	{"facebookexternalhit", "", []string{"Accept", "*/*", "Accept-Encoding", "deflate, gzip", "Range", "bytes=0-524287"}, text, "en"},
	{"facebookexternalhit, for a German share", "", []string{"Accept", "*/*", "Accept-Language", "de-DE", "X-Facebook-Locale", "de_DE"}, text, "de"},
	{"Slackbot", "", []string{"Accept", "*/*", "Range", "bytes=0-32768"}, text, "en"},
	{"a feed reader", "", []string{"Accept", "application/rss+xml, application/rdf+xml;q=0.8, application/atom+xml;q=0.6, application/xml;q=0.4, text/xml;q=0.4", "If-None-Match", `"a"`}, text, "en"},
	{"a feed reader that takes anything", "", []string{"Accept", "application/atom+xml,application/rss+xml;q=0.9,*/*;q=0.1"}, text, "en"},
	{"JSON Feed", "", []string{"Accept", "application/feed+json, application/atom+xml;q=0.9"}, problem, "en"},

	// Probes.
	{"kube-probe", "", []string{"Accept", "*/*", "Connection", "close", "User-Agent", "kube-probe/1.33"}, text, "en"},
	{"HAProxy, no header at all", http.MethodOptions, nil, text, "en"},
	{"Prometheus", "", []string{"Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"}, text, "en"},
}

// Each client gets what it can use, and every cache on the way knows why.
func TestClients(t *testing.T) {
	p, _ := newPage(t, Config{Brand: "Acme"})
	h := p.Handler(failing(noEndpoint()))
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			resp := serve(h, c.request())
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			wantType := ""
			switch c.format {
			case grpc:
				wantType, _, _ = strings.Cut(c.request().Header.Get("Content-Type"), "+")
			case empty:
			default:
				wantType = contentTypes[c.format][0]
			}
			if got := resp.Header.Get("Content-Type"); got != wantType {
				t.Errorf("Content-Type = %q, want %q", got, wantType)
			}
			if got := resp.Header.Get("Content-Language"); got != c.lang {
				t.Errorf("Content-Language = %q, want %q", got, c.lang)
			}
			wantStatus := http.StatusServiceUnavailable
			if c.format == grpc {
				wantStatus = http.StatusOK
				if got := resp.Header.Get("Grpc-Status"); got != "14" {
					t.Errorf("Grpc-Status = %q, want 14", got)
				}
			} else if got, want := resp.Header.Get("Vary"), "Accept, Accept-Language, Sec-Fetch-Dest"; got != want {
				t.Errorf("Vary = %q, want %q", got, want)
			}
			if resp.StatusCode != wantStatus {
				t.Errorf("status %d, want %d", resp.StatusCode, wantStatus)
			}
			c.checkBody(t, string(body))
		})
	}
}

func (c client) request() *http.Request {
	method := c.method
	if method == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, "/article", http.NoBody)
	for i := 0; i+1 < len(c.fields); i += 2 {
		r.Header.Add(c.fields[i], c.fields[i+1])
	}
	return r
}

// checkBody expects the body's own mark of its format, and of its language.
func (c client) checkBody(t *testing.T, body string) {
	t.Helper()
	start := map[format]string{html: "<!doctype html>", problem: "{", json: "{", text: "Acme: 503 "}[c.format]
	if c.method == http.MethodHead {
		start = ""
	}
	if (body == "") != (start == "") || !strings.HasPrefix(strings.ToLower(body), strings.ToLower(start)) {
		t.Errorf("body = %q, want one that starts with %q", body, start)
	}
	if c.format == html && !strings.Contains(body, `lang="`+c.lang+`"`) && !strings.Contains(body, "lang="+c.lang) {
		t.Errorf("the page does not say that its language is %s: %.120q", c.lang, body)
	}
}

// A field that a cache is told of must be all that decides: two requests that
// differ elsewhere get the same.
func TestVaryNamesAllThatDecides(t *testing.T) {
	p, _ := newPage(t, Config{})
	h := p.Handler(failing(noEndpoint()))
	for _, c := range clients {
		if c.format == grpc || c.method != "" {
			continue
		}
		whole, bare := c.request(), get("X-Request-Id", "one")
		whole.Header.Set("X-Request-Id", "one")
		for name := range strings.SplitSeq(varyLanguage[0], ", ") {
			if lines, ok := whole.Header[name]; ok {
				bare.Header[name] = lines
			}
		}
		a, b := serve(h, whole), serve(h, bare)
		bodyA, _ := io.ReadAll(a.Body)
		bodyB, _ := io.ReadAll(b.Body)
		if string(bodyA) != string(bodyB) || a.Header.Get("Content-Type") != b.Header.Get("Content-Type") {
			t.Errorf("%s: the answer depends on more than Vary says:\n%q\n%q", c.name, bodyA, bodyB)
		}
	}
}
