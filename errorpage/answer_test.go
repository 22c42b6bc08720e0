package errorpage

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	htmlpkg "html"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestNewJoinsAllErrors(t *testing.T) {
	_, err := New(Config{
		Brand:           "a\nb",
		Message:         "\xff",
		RequestIDHeader: "X Id",
		ProxyStatus:     failure.ProxyStatus{Name: "my proxy"},
	})
	if err == nil {
		t.Fatal("New accepts a wrong configuration")
	}
	for _, field := range []string{"Config.Brand", "Config.Message", "Config.RequestIDHeader", "Config.ProxyStatus.Name"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	for _, cfg := range []Config{
		{Brand: strings.Repeat("x", maxBrand+1)},
		{Message: strings.Repeat("x", maxMessage+1)},
		{RequestIDHeader: strings.Repeat("x", 65)},
		{RequestIDHeader: "X:Y"},
		{ProxyStatus: failure.ProxyStatus{Name: "1st"}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%+v) succeeds", cfg)
		}
	}
	if _, err := New(Config{Brand: "Müller & Söhne", ProxyStatus: failure.ProxyStatus{Name: "edge-1.example:443/x"}}); err != nil {
		t.Error(err)
	}
}

func TestFormats(t *testing.T) {
	p, rec := newPage(t, Config{Brand: "Acme"})
	e := &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 4200 * time.Millisecond}
	tests := []struct {
		name        string
		fields      []string
		format      string
		contentType string
		body        string // a part of it; "" is none at all
	}{
		{"browser", []string{"Accept", "text/html,*/*;q=0.8"}, "html", "text/html; charset=utf-8", "<h1>Temporarily unavailable</h1>"},
		{"problem", []string{"Accept", "application/problem+json"}, "problem", "application/problem+json", `"status":503`},
		{"json", []string{"Accept", "application/json"}, "json", "application/json", `"retryAfter":5`},
		{"curl", []string{"Accept", "*/*"}, "text", "text/plain; charset=utf-8", "Acme: 503 Service Unavailable\n"},
		{"image", []string{"Sec-Fetch-Dest", "image"}, "empty", "", ""},
	}
	for _, tt := range tests {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				r := get(append(tt.fields, "X-Request-Id", "id-1")...)
				r.Method = method
				resp := serve(p.Handler(failing(e)), r)
				body, _ := io.ReadAll(resp.Body)
				want := map[string]string{
					"Content-Type":           tt.contentType,
					"Cache-Control":          "no-store",
					"Vary":                   "Accept, Accept-Language, Sec-Fetch-Dest",
					"Content-Language":       map[bool]string{true: "en"}[tt.body != ""],
					"Retry-After":            "5",
					"X-Content-Type-Options": "nosniff",
					"X-Request-Id":           "id-1",
					"Proxy-Status":           "holdfast; error=destination_unavailable; cause=breaker_open",
				}
				for name, value := range want {
					if got := resp.Header.Get(name); got != value {
						t.Errorf("%s = %q, want %q", name, got, value)
					}
				}
				if got := resp.Header.Get("Content-Security-Policy") != ""; got != (tt.format == "html") {
					t.Errorf("has a policy = %v", got)
				}
				if resp.StatusCode != 503 {
					t.Errorf("status %d, want 503", resp.StatusCode)
				}
				length := resp.Header.Get("Content-Length")
				switch {
				case method == http.MethodHead && len(body) != 0:
					t.Errorf("HEAD has the body %q", body)
				case method != http.MethodHead && length != fmt.Sprint(len(body)):
					t.Errorf("Content-Length = %s for %d bytes", length, len(body))
				case method != http.MethodHead && (!strings.Contains(string(body), tt.body) || tt.body == "" && len(body) != 0):
					t.Errorf("body = %q, want %q in it", body, tt.body)
				case (length == "0") != (tt.body == ""):
					t.Errorf("Content-Length = %q", length)
				}
				if len(body) > 0 && !strings.Contains(string(body), "id-1") {
					t.Errorf("the body lacks the request id: %q", body)
				}
				ev := rec.last()
				if ev.Kind != Served || ev.Status != 503 || ev.Format != tt.format || ev.Failure != e || ev.RequestID != "id-1" {
					t.Errorf("event = %+v", ev)
				}
			})
		}
	}
}

func TestRetryAfterIsNeverInvented(t *testing.T) {
	p, _ := newPage(t, Config{})
	for _, accept := range []string{"text/html", "application/json", "*/*"} {
		resp := serve(p.Handler(failing(failure.New(failure.ConnectionRefused, nil))), get("Accept", accept))
		body, _ := io.ReadAll(resp.Body)
		if resp.Header.Get("Retry-After") != "" || strings.Contains(string(body), "Try again in") || strings.Contains(string(body), "retryAfter") {
			t.Errorf("Accept %s: Retry-After out of nothing: %v %s", accept, resp.Header, body)
		}
	}
}

// Whatever the failure and the request say, nothing of it is told to visitors.
func TestNothingLeaks(t *testing.T) {
	const canary = "canary"
	p, _ := newPage(t, Config{})
	for _, cause := range failure.Causes() {
		if cause == failure.ClientGone {
			continue // is told nothing at all
		}
		e := &failure.Error{
			Cause: cause, Backend: canary, Endpoint: canary, Detail: canary, Err: errors.New(canary),
			Params: []failure.Param{{Key: canary, Value: canary}},
			Notes:  []failure.Note{{Kind: failure.SharedFill, Detail: canary}},
		}
		for _, fields := range [][]string{
			{"Accept", "text/html"},
			{"Accept", "application/problem+json"},
			{"Accept", "text/plain"},
			{"Sec-Fetch-Dest", "image"},
			{"Content-Type", "application/grpc"},
		} {
			resp := serve(p.Handler(failing(e)), get(append(fields, "X-Request-Id", canary+"<", "Referer", canary, "Cookie", canary)...))
			body, _ := io.ReadAll(resp.Body)
			if text := fmt.Sprint(resp.Header, string(body)); strings.Contains(text, canary) || strings.Contains(text, "secret") {
				t.Errorf("%v, %q: %s", cause, fields, text)
			}
			if strings.Contains(string(body), cause.String()) && cause != failure.Maintenance { // which is announced
				t.Errorf("%v, %q: the body names the cause: %s", cause, fields, body)
			}
		}
	}
}

func TestHostileRequestIDs(t *testing.T) {
	p, rec := newPage(t, Config{})
	made := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, id := range []string{
		"", "<script>", `"},{"a":"`, "a b", "a\nb", "a\x00", "ä", "=cmd|' /C calc'!A0", "-x", "@SUM", "a;b", "a,b", "${jndi:ldap://x}",
		strings.Repeat("a", maxRequestID+1), "%0d%0a", "a'b", "a\\b", "../../etc",
	} {
		var inner string
		resp := serve(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner = r.Header.Get("X-Request-Id")
			failing(failure.New(failure.NoEndpoint, nil)).ServeHTTP(w, r)
		})), get("X-Request-Id", id, "Accept", "text/html"))
		body, _ := io.ReadAll(resp.Body)
		got := resp.Header.Get("X-Request-Id")
		if !made.MatchString(got) {
			t.Errorf("id %q: sent %q, want a new one", id, got)
		}
		if inner != got || rec.last().RequestID != got || !strings.Contains(string(body), "<code>"+got+"</code>") {
			t.Errorf("id %q: handler saw %q, event %q, header %q, body %s", id, inner, rec.last().RequestID, got, body)
		}
	}
	for _, id := range []string{"a", "018f2f6e-7b6a-7c3d-9a57-0123456789ab", "Root=1-6789:x", "A/b+c=", strings.Repeat("a", maxRequestID)} {
		if got := serve(p.Handler(failing(failure.New(failure.NoEndpoint, nil))), get("X-Request-Id", id)).Header.Get("X-Request-Id"); got != id {
			t.Errorf("id %q was replaced by %q", id, got)
		}
	}
	two := get("X-Request-Id", "a", "X-Request-Id", "b")
	if got := serve(p.Handler(failing(failure.New(failure.NoEndpoint, nil))), two).Header.Get("X-Request-Id"); !made.MatchString(got) {
		t.Errorf("of two ids %q was sent, want a new one", got)
	}
}

func TestNewRequestID(t *testing.T) {
	seen := map[string]bool{}
	for range 10000 {
		id := NewRequestID()
		if seen[id] || !ValidRequestID(id) || !isUUID(id) {
			t.Fatalf("NewRequestID() = %q", id)
		}
		seen[id] = true
	}
}

// The request that came is not changed: its header may be in use elsewhere.
func TestRequestIsNotChanged(t *testing.T) {
	p, _ := newPage(t, Config{RequestIDHeader: "x-correlation"})
	r := get("Accept", "text/html")
	var inner string
	p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		inner = r.Header.Get("X-Correlation")
	})).ServeHTTP(httptest.NewRecorder(), r)
	if inner == "" || r.Header.Get("X-Correlation") != "" {
		t.Errorf("the handler saw %q, the caller %q", inner, r.Header.Get("X-Correlation"))
	}
	p.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), &http.Request{}) // no header map at all
}

func TestGRPC(t *testing.T) {
	p, rec := newPage(t, Config{})
	for _, tt := range []struct {
		contentType, answer string
		cause               failure.Cause
		status              string
	}{
		{"application/grpc", "application/grpc", failure.ConnectionRefused, "14"},
		{"application/grpc+proto; charset=x", "application/grpc", failure.FirstByteTimeout, "14"},
		{"application/grpc-web+proto", "application/grpc-web", failure.RateLimited, "14"},
		{"application/grpc-web-text", "application/grpc-web-text", failure.NoBackend, "12"},
		{"APPLICATION/GRPC", "application/grpc", failure.Panic, "2"},
		{"application/grpc", "application/grpc", failure.ClientBodyError, "13"},
	} {
		r := get("Content-Type", tt.contentType)
		r.Method = http.MethodPost
		resp := serve(p.Handler(failing(failure.New(tt.cause, nil))), r)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || len(body) != 0 || resp.Header.Get("Grpc-Status") != tt.status ||
			resp.Header.Get("Grpc-Message") == "" || resp.Header.Get("Content-Type") != tt.answer {
			t.Errorf("%s, %v: %d %v %q", tt.contentType, tt.cause, resp.StatusCode, resp.Header, body)
		}
		if ev := rec.last(); ev.Status != 200 || ev.Format != "grpc" {
			t.Errorf("event = %+v", ev)
		}
	}
}

// What described another body goes, what layers further in said of the request
// stays.
func TestHeadersOfOthers(t *testing.T) {
	p, _ := newPage(t, Config{ProxyStatus: failure.ProxyStatus{Name: "edge", NextHop: true}})
	h := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Encoding": "gzip", "Etag": `"a"`, "Content-Length": "7", "Last-Modified": "x", "Content-Digest": "x",
			"Digest": "x", "Accept-Ranges": "bytes", "Cache-Control": "max-age=60", "Trailer": "X-Sum", http.TrailerPrefix + "X-Late": "x",
			"Content-Security-Policy": "default-src *",
			"Vary":                    "Origin, accept", "Cache-Status": "holdfast; fwd=miss", "Strict-Transport-Security": "max-age=1",
			"Proxy-Status": "inner; error=dns_error", "Content-Type": "image/png", "X-Content-Type-Options": "maybe",
		} {
			w.Header().Set(name, value)
		}
		failure.Serve(w, r, &failure.Error{Cause: failure.ConnectionRefused, Endpoint: "10.0.0.1:80"}, nil)
	}))
	resp := serve(h, get("Accept", "text/html"))
	for _, name := range []string{
		"Content-Encoding", "Etag", "Last-Modified", "Content-Digest", "Digest", "Accept-Ranges", "Trailer", http.TrailerPrefix + "X-Late",
	} {
		if v := resp.Header.Values(name); len(v) != 0 {
			t.Errorf("%s = %q, want none", name, v)
		}
	}
	for name, want := range map[string]string{
		"Vary":                      "Origin, accept|Accept-Language|Sec-Fetch-Dest",
		"Cache-Status":              "holdfast; fwd=miss",
		"Strict-Transport-Security": "max-age=1",
		"Proxy-Status":              `inner; error=dns_error|edge; error=connection_refused; next-hop="10.0.0.1:80"; cause=connection_refused`,
		"Content-Security-Policy":   p.book.pages[0][Unavailable][0].retryPolicy[0],
		"Content-Type":              "text/html; charset=utf-8",
		"X-Content-Type-Options":    "nosniff",
		"Cache-Control":             "no-store",
	} {
		if got := strings.Join(resp.Header.Values(name), "|"); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// Nothing of the answer that failed sends the visitor elsewhere, or has a cache
// or proxy in front do something else with the page than Cache-Control says.
func TestFieldsOfTheAnswerThatFailed(t *testing.T) {
	gone := []string{
		"Refresh", "Location", "Transfer-Encoding", "Pragma", "Cdn-Cache-Control", "Cloudflare-Cdn-Cache-Control", "Surrogate-Control",
		"X-Accel-Expires", "X-Accel-Redirect", "X-Sendfile", "Content-Security-Policy-Report-Only", "Signature", "Grpc-Status",
	}
	kept := []string{"Strict-Transport-Security", "Access-Control-Allow-Origin", "Cache-Status", "Server-Timing"}
	p, _ := newPage(t, Config{})
	h := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range slices.Concat(gone, kept) {
			w.Header().Set(name, "x")
		}
		panic("midway")
	}))
	for _, accept := range []string{"text/html", "application/json", "text/plain"} {
		resp := serve(h, get("Accept", accept))
		for _, name := range gone {
			if v := resp.Header.Values(name); len(v) != 0 {
				t.Errorf("%s: %s = %q, want none", accept, name, v)
			}
		}
		for _, name := range kept {
			if v := resp.Header.Get(name); v != "x" {
				t.Errorf("%s: %s = %q, want it kept", accept, name, v)
			}
		}
	}
}

func TestServeErrorAlone(t *testing.T) {
	p, rec := newPage(t, Config{})
	ctx := failure.Track(context.Background())
	e := failure.New(failure.DNSTimeout, nil)
	w := httptest.NewRecorder()
	p.ServeError(w, get("Accept", "text/html").WithContext(ctx), fmt.Errorf("wrapped: %w", e))
	if w.Code != 504 || !strings.Contains(w.Body.String(), "This takes too long") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got, _ := failure.From(ctx); got != e {
		t.Errorf("slot = %v, want %v", got, e)
	}

	ctx = failure.Track(context.Background())
	w = httptest.NewRecorder()
	p.ServeError(w, get().WithContext(ctx), errors.New("dial tcp 10.0.0.1: secret"))
	if got, ok := failure.From(ctx); w.Code != 502 || !ok || strings.Contains(w.Body.String(), "10.0.0.1") {
		t.Errorf("%d %s, slot %v", w.Code, w.Body, got)
	}

	events := len(rec.kinds())
	cctx, cancel := context.WithCancel(failure.Track(context.Background()))
	cancel()
	w = httptest.NewRecorder()
	p.ServeError(w, get().WithContext(cctx), fmt.Errorf("round trip: %w", context.Canceled))
	if got, _ := failure.From(cctx); got == nil || got.Cause != failure.ClientGone || w.Body.Len() != 0 || len(rec.kinds()) != events {
		t.Errorf("client gone: body %q, slot %v, %d events", w.Body, got, len(rec.kinds())-events)
	}

	for _, status := range []int{0, 42, 200, 301, 600, 9999, -1} {
		w = httptest.NewRecorder()
		p.ServeError(w, get(), &failure.Error{Cause: failure.Upstream5xx, Status: status})
		if w.Code != 502 {
			t.Errorf("reported status %d: sent %d, want 502", status, w.Code)
		}
	}
	w = httptest.NewRecorder()
	p.ServeError(w, get(), nil)
	if w.Code != 502 {
		t.Errorf("nil error: sent %d, want 502", w.Code)
	}
}

func TestRetryAfterOfTheOrigin(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"":                              0,
		"120":                           2 * time.Minute,
		"0":                             0,
		"-1":                            0,
		"1.5":                           0,
		"soon":                          0,
		"99999999999999999999":          0,
		"Wed, 01 Jul 2026 12:00:30 GMT": 30 * time.Second,
		"Wed, 01 Jul 2026 11:00:00 GMT": 0,
		"Fri, 01 Jan 9999 00:00:00 GMT": 0,
		"31536000":                      maxRetryAfter,
		"31536001":                      0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("retryAfter(%q) = %v, want %v", in, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Wed, 01 Jul 2026 12:00:30 GMT")
	f.Add("Fri, 01 Jan 9999 00:00:00 GMT")
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > maxRetryAfter {
			t.Fatalf("retryAfter(%q) = %v", s, d)
		}
	})
}

// What counts as a safe id means nothing anywhere it is put.
func FuzzRequestID(f *testing.F) {
	f.Add("018f2f6e-7b6a-7c3d-9a57-0123456789ab")
	f.Add("Root=1-6789:x/y+z@~")
	f.Add("<a>")
	f.Fuzz(func(t *testing.T, id string) {
		if !ValidRequestID(id) {
			return
		}
		quoted, err := stdjson.Marshal(id)
		if err != nil || string(quoted) != `"`+id+`"` {
			t.Errorf("%q in JSON is %s, %v", id, quoted, err)
		}
		if htmlpkg.EscapeString(id) != id {
			t.Errorf("%q needs an escape in HTML", id)
		}
		if urn := string(appendInstance(nil, id)); strings.ContainsAny(urn, " %?#[]") {
			t.Errorf("%q is no URN", urn)
		}
		if len(id) > maxRequestID || strings.ContainsAny(id[:1], "=+-@/.") {
			t.Errorf("%q is accepted", id)
		}
	})
}
