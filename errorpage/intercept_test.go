package errorpage

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestInterceptTakes(t *testing.T) {
	all := Config{Intercept5xx: true}
	pages := Config{Intercept5xx: true, Intercept: Intercept{Types: []string{"Text/HTML", "image/*"}}}
	some := Config{Intercept: Intercept{Statuses: []int{502, 599}}}
	tests := []struct {
		name   string
		cfg    Config
		status int
		fields []string
		want   bool
	}{
		{"off", Config{}, 503, nil, false},
		{"all", all, 500, nil, true},
		{"all, also what is not supported", all, 501, nil, true},
		{"the last", all, 599, nil, true},
		{"below", all, 499, nil, false},
		{"above", all, 600, nil, false},
		{"streamed events", all, 503, []string{"Content-Type", "text/event-stream"}, true},
		{"named", some, 502, nil, true},
		{"named, the last", some, 599, nil, true},
		{"not named", some, 503, nil, false},
		{"the switch beside a list", Config{Intercept5xx: true, Intercept: some.Intercept}, 503, nil, false},
		{"type", pages, 503, []string{"Content-Type", "text/html"}, true},
		{"with parameters", pages, 503, []string{"Content-Type", "TEXT/html ; charset=utf-8"}, true},
		{"any of a kind", pages, 503, []string{"Content-Type", "image/png"}, true},
		{"longer", pages, 503, []string{"Content-Type", "text/html5"}, false},
		{"an API's own problem", pages, 503, []string{"Content-Type", "application/problem+json"}, false},
		{"events", pages, 503, []string{"Content-Type", "text/event-stream"}, false},
		{"no type", pages, 503, nil, false},
		{"neither type nor body", pages, 503, []string{"Content-Length", "0"}, true},
		{"garbage", pages, 503, []string{"Content-Type", ";text/html"}, false},
	}
	for _, tt := range tests {
		i, err := newInterception(tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		for n := 0; n < len(tt.fields); n += 2 {
			h.Set(tt.fields[n], tt.fields[n+1])
		}
		if got := i.takes(tt.status, h); got != tt.want {
			t.Errorf("%s: takes = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestInterceptConfigErrors(t *testing.T) {
	for want, c := range map[string]Intercept{
		"Statuses[1] is 404":        {Statuses: []int{503, 404}},
		"Statuses[0] is 600":        {Statuses: []int{600}},
		"Types[0] is \"html\"":      {Statuses: []int{503}, Types: []string{"html"}},
		"Types[1]":                  {Statuses: []int{503}, Types: []string{"text/html", "text/html; charset=utf-8"}},
		"Types[0] is \"*/*\"":       {Statuses: []int{503}, Types: []string{"*/*/"}},
		"Keep[0]":                   {Statuses: []int{503}, Keep: []string{"Set Cookie"}},
		"Types and Keep need":       {Types: []string{"text/html"}},
		"must say what is replaced": {Keep: []string{}},
	} {
		_, err := New(Config{Intercept: c})
		if err == nil || !strings.Contains(err.Error(), strings.ReplaceAll(want, `"*/*"`, `"*/*/"`)) {
			t.Errorf("New(%+v) = %v, want it to say %s", c, err, want)
		}
	}
}

// What the origin said of its own answer, and to that visitor, goes with it.
func TestInterceptKeeps(t *testing.T) {
	sent := map[string]string{
		"Retry-After": "30", "WWW-Authenticate": "Bearer", "Set-Cookie": "session=secret", "Authorization": "Basic c2VjcmV0", "Etag": `"v"`,
		"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Content-Encoding": "gzip", "Content-Type": "text/html; charset=latin1",
		"Content-Language": "tlh", "Content-Length": "13", "Cache-Control": "public, max-age=3600", "Expires": "Mon, 01 Jan 2040 00:00:00 GMT",
		"Server": "old", "X-Powered-By": "older", "Location": "/elsewhere", "Refresh": "0;url=//evil.example", "Link": "</a.css>; rel=preload",
		"Clear-Site-Data": `"*"`, "Content-Security-Policy": "default-src *", "X-Request-Id": "theirs", "Content-Digest": "sha-256=:AA==:", "Trailer": "X-Sum",
		"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Expose-Headers": "X-Request-Id", "Vary": "Origin",
		"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Status": "holdfast; fwd=miss", "Ratelimit": `"default";r=1`,
	}
	const always = "Access-Control-Allow-Origin Access-Control-Expose-Headers Cross-Origin-Resource-Policy Cache-Status Ratelimit"
	for _, tt := range []struct {
		keep []string
		want string
	}{
		{nil, always + " Retry-After Www-Authenticate"},
		{[]string{}, always},
		{[]string{"link", "Set-Cookie"}, always + " Link Set-Cookie"},
	} {
		p, rec := newPage(t, Config{Intercept5xx: true, Intercept: Intercept{Keep: tt.keep}})
		inner := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range sent {
				w.Header().Set(name, value)
			}
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "its own words")
			w.Header().Set(http.TrailerPrefix+"X-Late", "1")
			w.Header().Set("X-Sum", "1")
		}))
		outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Strict-Transport-Security", "max-age=1")
			inner.ServeHTTP(w, r)
		})
		servers(t, outer, func(t *testing.T, c *http.Client, url string) {
			resp := fetch(t, c, url, "Accept", browser)
			if resp.err != nil || resp.status != 503 || !isPage(resp.body) || strings.Contains(resp.body, "own words") {
				t.Fatalf("%+v", resp)
			}
			var kept []string
			for name := range sent {
				name = http.CanonicalHeaderKey(name)
				if v := resp.header[name]; len(v) == 1 && v[0] == sent[name] || name == "Www-Authenticate" && len(v) > 0 {
					kept = append(kept, name)
				}
			}
			want := strings.Fields(tt.want)
			slices.Sort(kept)
			slices.Sort(want)
			if !slices.Equal(kept, want) {
				t.Errorf("keep %q: %q, want %q", tt.keep, kept, want)
			}
			if v := resp.header.Get("Vary"); !strings.HasPrefix(v, "Origin") && !slices.Contains(resp.header["Vary"], "Origin") {
				t.Errorf("Vary: %q", resp.header["Vary"])
			}
			if resp.header.Get("Strict-Transport-Security") == "" {
				t.Error("what an outer handler had set is gone")
			}
			if resp.header.Get("Cache-Control") != "no-store" || resp.header.Get("X-Request-Id") == "theirs" {
				t.Errorf("%v", resp.header)
			}
			wait := strings.Contains(resp.body, "in 30 seconds")
			if known := tt.keep == nil; wait != known || (rec.last().Failure.RetryAfter == 30*time.Second) != known {
				t.Errorf("keep %q: the page tells when to come back: %v, want %v", tt.keep, wait, known)
			}
		})
	}
}

// An own failure that is answered with its own status is no answer of the origin:
// nothing of it is stripped.
func TestInterceptLeavesOwnFailures(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	resp := serve(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ours", "1")
		failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
	})), get("Accept", browser))
	if resp.StatusCode != 502 || resp.Header.Get("X-Ours") == "" {
		t.Errorf("%d %v", resp.StatusCode, resp.Header)
	}
}

// The page is whole whatever becomes of the answer that it replaced: one that is
// streamed, or breaks midway, or has trailers.
func TestInterceptedStreams(t *testing.T) {
	broken := func(size string, breaks func(http.ResponseWriter)) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if size != "" {
				w.Header().Set("Content-Length", size)
			}
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusBadGateway)
			for range 100 {
				_, _ = io.WriteString(w, strings.Repeat("x", 1000))
				_ = http.NewResponseController(w).Flush()
			}
			breaks(w)
		}
	}
	for name, next := range map[string]http.HandlerFunc{
		"streamed":        broken("", func(http.ResponseWriter) {}),
		"by ReadFrom":     broken("", func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader(strings.Repeat("y", 100_000))) }),
		"cut":             broken("1000000", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }),
		"cut, no length":  broken("", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }),
		"with trailers":   broken("", func(w http.ResponseWriter) { w.Header().Set(http.TrailerPrefix+"X-Sum", "1") }),
		"a second status": broken("", func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }),
	} {
		t.Run(name, func(t *testing.T) {
			p, rec := newPage(t, Config{Intercept5xx: true})
			servers(t, p.Handler(next), func(t *testing.T, c *http.Client, url string) {
				for _, fields := range [][]string{{"Accept", browser}, {"Content-Type", "application/grpc"}} {
					grpc := fields[0] == "Content-Type"
					rec.mu.Lock()
					rec.events = nil
					rec.mu.Unlock()
					resp := fetch(t, c, url, fields...)
					if resp.err != nil || !grpc && (resp.status != 502 || !isPage(resp.body)) ||
						grpc && (resp.status != 200 || resp.header.Get("Grpc-Status") != "14" || resp.body != "") {
						t.Errorf("%+v", resp)
					}
					if got := rec.kinds(); !slices.Equal(got, []EventKind{Served}) {
						t.Errorf("events = %v", got)
					}
				}
			})
		})
	}
}

// An answer that never ends is cut off behind the page, by length or by time, and
// the failure stays what it was.
func TestInterceptedWithoutEnd(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	piece := strings.Repeat("x", 1000)
	for name, write := range map[string]func(http.ResponseWriter) error{
		"Write":       func(w http.ResponseWriter) error { _, err := w.Write([]byte(piece)); return err },
		"WriteString": func(w http.ResponseWriter) error { _, err := io.WriteString(w, piece); return err },
		"ReadFrom":    func(w http.ResponseWriter) error { _, err := io.Copy(w, strings.NewReader(piece)); return err },
		"slowly": func(w http.ResponseWriter) error {
			time.Sleep(10 * time.Millisecond)
			_, err := w.Write([]byte("."))
			return err
		},
	} {
		for _, abort := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				written := 0
				r := get("Accept", browser)
				ctx := failure.Track(r.Context())
				resp := serve(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					failure.Report(r.Context(), &failure.Error{Cause: failure.Upstream5xx, Status: 503})
					w.WriteHeader(http.StatusServiceUnavailable)
					for write(w) == nil && written < 10_000 {
						written++
					}
					failure.Report(r.Context(), failure.New(failure.ClientGone, nil)) // as a proxy takes it
					if abort {
						panic(http.ErrAbortHandler)
					}
				})), r.WithContext(ctx))
				body, _ := io.ReadAll(resp.Body)
				if written == 0 || written > maxVoid/1000 || time.Since(began) > 2*voidPatience || !isPage(string(body)) {
					t.Errorf("%s: %d written in %v, %q", name, written, time.Since(began), body)
				}
				if e, ok := failure.From(ctx); !ok || e.Cause != failure.Upstream5xx {
					t.Errorf("%s: the failure is %v", name, e)
				}
			})
		}
	}
}

// What a handler throws before anything was sent passes, and is the same value.
func TestAbortPassesUnchanged(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	p.StartMaintenance(time.Now().Add(-time.Hour))
	for name, next := range map[string]http.HandlerFunc{
		"at once":        func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"after a status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200); panic(http.ErrAbortHandler) },
		"after a status that is not replaced": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			panic(http.ErrAbortHandler)
		},
	} {
		func() {
			defer func() {
				if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the identical value
					t.Errorf("%s: %v", name, v)
				}
			}()
			serve(p.Handler(p.Maintenance(next)), get())
		}()
	}
}
