package errorpage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const browser = "text/html,application/xhtml+xml,*/*;q=0.8"

// isPage tells whether a body is one of ours.
func isPage(body string) bool { return strings.Contains(body, "<!doctype html>") }

func TestWhatIsReplaced(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	own := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "own text", status) })
	}
	report := func(e *failure.Error, status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), e)
			http.Error(w, "own text", status)
		})
	}
	tests := []struct {
		name      string
		next      http.Handler
		intercept bool
		status    int
		page      bool
	}{
		{"plain answer of a failing part", failing(refused), false, 502, true},
		{"another handler's text for the failure", report(refused, 502), false, 502, true},
		{"another status than the failure's", report(refused, 503), false, 503, false},
		{"a 200 after all", report(refused, 200), false, 200, false},
		{"the rate limit", failing(failure.New(failure.RateLimited, nil)), false, 429, true},
		{"no route", failing(failure.New(failure.NoBackend, nil)), false, 404, true},
		{"a status of the failure", failing(&failure.Error{Cause: failure.ClientBodyError, Status: 413}), false, 413, true},
		{"the origin's own 503", report(&failure.Error{Cause: failure.Upstream5xx, Status: 503}, 503), false, 503, false},
		{"the origin's own 429", report(&failure.Error{Cause: failure.Upstream429, Status: 429}, 429), false, 429, false},
		{"a foreign handler's 502", own(502), false, 502, false},
		{"a foreign handler's 404", own(404), false, 404, false},
		{"a foreign handler's 401", own(401), false, 401, false},
		{"nothing written", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { failure.Report(r.Context(), refused) }), false, 502, true},
		{"nothing written, nothing failed", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), false, 200, false},
		{"nothing written, mended", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), refused)
			failure.Mend(r.Context(), failure.Retried)
		}), false, 200, false},
		{"mended by a stale answer", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), refused)
			failure.Mend(r.Context(), failure.StaleIfError)
			_, _ = io.WriteString(w, "own text")
		}), false, 200, false},
		{"mended, and the same status by chance", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			failure.Report(r.Context(), refused)
			failure.Mend(r.Context(), failure.Retried)
			http.Error(w, "own text", http.StatusBadGateway)
		}), false, 502, false},
		{"client gone", report(failure.New(failure.ClientGone, nil), 502), false, 502, false},

		{"intercept: a foreign handler's 502", own(502), true, 502, true},
		{"intercept: an unknown 5xx", own(599), true, 599, true},
		{"intercept: the origin's own 503", report(&failure.Error{Cause: failure.Upstream5xx, Status: 503}, 503), true, 503, true},
		{"intercept: another status than the failure's", report(refused, 500), true, 500, true},
		{"intercept: a 404", own(404), true, 404, false},
		{"intercept: a status above", own(600), true, 600, false},
		{"intercept: client gone", report(failure.New(failure.ClientGone, nil), 502), true, 502, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, rec := newPage(t, Config{Intercept5xx: tt.intercept})
			resp := serve(p.Handler(tt.next), get("Accept", browser))
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || isPage(string(body)) != tt.page {
				t.Errorf("got %d %q, want %d, page %v", resp.StatusCode, body, tt.status, tt.page)
			}
			if strings.Contains(string(body), "own text") && tt.page {
				t.Errorf("the replaced text is in %q", body)
			}
			if served := slices.Contains(rec.kinds(), Served); served != tt.page {
				t.Errorf("events = %v, page %v", rec.kinds(), tt.page)
			}
		})
	}
}

func TestInterceptedFields(t *testing.T) {
	p, rec := newPage(t, Config{Intercept5xx: true})
	resp := serve(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.Header().Set("Set-Cookie", "a=b")
		http.Error(w, "down for the night", http.StatusServiceUnavailable)
	})), get("Accept", "application/json"))
	if resp.Header.Get("Retry-After") != "30" || resp.Header.Get("Proxy-Status") != "holdfast; received-status=503; cause=upstream_5xx" {
		t.Errorf("%v", resp.Header)
	}
	if e := rec.last().Failure; e.Cause != failure.Upstream5xx || e.Status != 503 {
		t.Errorf("failure = %v", e)
	}
}

// A page goes out when the status is chosen, not when a long body has been
// thrown away.
func TestInterceptedBodyIsNotAwaited(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	release := make(chan struct{})
	srv := httptest.NewServer(p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "first of many")
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})))
	defer srv.Close()
	defer close(release)
	resp := fetch(t, srv.Client(), srv.URL, "Accept", browser)
	if resp.status != 500 || !isPage(resp.body) {
		t.Errorf("%d %q", resp.status, resp.body)
	}
}

// A page written by ServeError inside of Handler is not written again.
func TestServeErrorInside(t *testing.T) {
	p, rec := newPage(t, Config{Intercept5xx: true})
	h := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.ServeError(w, r, errors.New("boom"))
	}))
	for _, accept := range []string{browser, "application/json", "*/*"} {
		resp := serve(h, get("Accept", accept))
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 502 || !strings.Contains(string(body), resp.Header.Get("X-Request-Id")) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
	if got := rec.kinds(); len(got) != 3 {
		t.Errorf("events = %v, want one each", got)
	}
}

// A page that was made for somebody else (a collapsed request, say) is made
// anew, in this visitor's format and with this visitor's id.
func TestForeignPageIsReplaced(t *testing.T) {
	p, _ := newPage(t, Config{})
	e := failure.New(failure.ConnectionRefused, nil)
	leader := httptest.NewRecorder()
	p.ServeError(leader, get("Accept", "application/json", "X-Request-Id", "leader"), e)
	h := p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Report(r.Context(), e)
		maps.Copy(w.Header(), leader.Header())
		w.WriteHeader(leader.Code)
		_, _ = w.Write(leader.Body.Bytes())
	}))
	resp := serve(h, get("Accept", browser, "X-Request-Id", "follower"))
	body, _ := io.ReadAll(resp.Body)
	if !isPage(string(body)) || strings.Contains(string(body), "leader") || resp.Header.Get("X-Request-Id") != "follower" {
		t.Errorf("%v %s", resp.Header, body)
	}
}

type result struct {
	status int
	header http.Header
	body   string
	err    error
}

func fetch(t *testing.T, c *http.Client, url string, fields ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		return result{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return result{resp.StatusCode, resp.Header, string(body), err}
}

// servers starts h over HTTP/1.1 and HTTP/2, and keeps what net/http logs.
func servers(t *testing.T, h http.Handler, test func(t *testing.T, c *http.Client, url string)) {
	t.Helper()
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(h)
			srv.EnableHTTP2 = proto == "h2"
			if srv.EnableHTTP2 {
				srv.StartTLS()
			} else {
				srv.Start()
			}
			defer srv.Close()
			test(t, srv.Client(), srv.URL)
		})
	}
}

func TestPanics(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	value := errors.New("secret of the handler")
	tests := []struct {
		name    string
		next    http.HandlerFunc
		status  int  // 0: the connection breaks
		page    bool // else own text
		cause   failure.Cause
		noted   bool // AfterHeaders
		events  []EventKind
		wrapped bool // the failure wraps the one before
	}{
		{
			name:   "before anything",
			next:   func(http.ResponseWriter, *http.Request) { panic(value) },
			status: 500, page: true, cause: failure.Panic, events: []EventKind{Recovered, Served},
		},
		{
			name:   "no error value",
			next:   func(http.ResponseWriter, *http.Request) { panic("text") },
			status: 500, page: true, cause: failure.Panic, events: []EventKind{Recovered, Served},
		},
		{
			name: "with headers prepared",
			next: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				w.Header().Set("Content-Length", "3")
				panic(value)
			},
			status: 500, page: true, cause: failure.Panic, events: []EventKind{Recovered, Served},
		},
		{
			name: "after a 103",
			next: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				panic(value)
			},
			status: 500, page: true, cause: failure.Panic, events: []EventKind{Recovered, Served},
		},
		{
			name: "impossible status",
			next: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(42) },
			// net/http panics.
			status: 500, page: true, cause: failure.Panic, events: []EventKind{Recovered, Served},
		},
		{
			name: "reported before",
			next: func(_ http.ResponseWriter, r *http.Request) {
				failure.Report(r.Context(), refused)
				panic(value)
			},
			status: 500, page: true, cause: failure.Panic, wrapped: true, events: []EventKind{Recovered, Served},
		},
		{
			name: "after the page",
			next: func(w http.ResponseWriter, r *http.Request) {
				failure.Serve(w, r, refused, nil)
				panic(value)
			},
			status: 502, page: true, cause: failure.ConnectionRefused, events: []EventKind{Served, Recovered},
		},
		{
			name: "after the status",
			next: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "own text")
				panic(value)
			},
			cause: failure.Panic, noted: true, events: []EventKind{Recovered},
		},
		{
			name: "client gone",
			next: func(_ http.ResponseWriter, r *http.Request) {
				failure.Report(r.Context(), failure.New(failure.ClientGone, nil))
				panic(value)
			},
			cause: failure.Panic, wrapped: true, events: []EventKind{Recovered},
		},
		{
			name:  "abort",
			next:  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			cause: 0,
		},
		{
			name: "abort of an own failure",
			next: func(_ http.ResponseWriter, r *http.Request) {
				failure.Report(r.Context(), refused)
				panic(fmt.Errorf("wrapped: %w", http.ErrAbortHandler))
			},
			cause: failure.ConnectionRefused,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, rec := newPage(t, Config{})
			slot := make(chan *failure.Error, 1)
			outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx := failure.Track(r.Context())
				defer func() {
					e, _ := failure.From(ctx)
					slot <- e
					if v := recover(); v != nil {
						if err, ok := v.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
							t.Errorf("passed on: %v", v)
						}
						panic(http.ErrAbortHandler)
					}
				}()
				p.Handler(tt.next).ServeHTTP(w, r.WithContext(ctx))
			})
			servers(t, outer, func(t *testing.T, c *http.Client, url string) {
				rec.events = nil
				resp := fetch(t, c, url, "Accept", browser)
				e := <-slot
				switch {
				case tt.status == 0 && resp.err == nil:
					t.Errorf("got %d %q, want a broken connection", resp.status, resp.body)
				case tt.status != 0 && (resp.err != nil || resp.status != tt.status || isPage(resp.body) != tt.page):
					t.Errorf("got %+v, want %d, page %v", resp, tt.status, tt.page)
				}
				if strings.Contains(resp.body, "secret") || strings.Contains(resp.body, "goroutine") {
					t.Errorf("the page tells of the panic: %s", resp.body)
				}
				switch {
				case tt.cause == 0 && e != nil:
					t.Errorf("slot = %v, want none", e)
				case tt.cause == 0:
				case e == nil || e.Cause != tt.cause || e.Noted(failure.AfterHeaders) != tt.noted:
					t.Errorf("slot = %v, want %v", e, tt.cause)
				case tt.cause == failure.Panic && !strings.Contains(e.Detail, "goroutine"):
					t.Errorf("detail = %q, want the stack", e.Detail)
				case tt.wrapped:
					if _, ok := errors.AsType[*failure.Error](e.Err); !ok {
						t.Errorf("%v does not wrap the earlier failure", e)
					}
				}
				if got := rec.kinds(); !slices.Equal(got, tt.events) {
					t.Errorf("events = %v, want %v", got, tt.events)
				}
			})
		})
	}
}

// gRPC wants the status in the one header section that ends the stream.
func TestGRPCOverHTTP2(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	mux := http.NewServeMux()
	mux.Handle("/own", failing(failure.New(failure.NoEndpoint, nil)))
	mux.HandleFunc("/foreign", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadGateway) })
	servers(t, p.Handler(mux), func(t *testing.T, c *http.Client, url string) {
		for _, path := range []string{"/own", "/foreign"} {
			resp := fetch(t, c, url+path, "Content-Type", "application/grpc")
			if resp.err != nil || resp.status != 200 || resp.body != "" || resp.header.Get("Grpc-Status") != "14" {
				t.Errorf("%s: %+v", path, resp)
			}
		}
	})
}

// Nothing of a page depends on whether the response has begun with hints, even
// if those cleared the header map.
func TestFailureAfterEarlyHints(t *testing.T) {
	p, _ := newPage(t, Config{})
	servers(t, p.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		failure.Serve(w, r, failure.New(failure.Truncated, nil), nil)
	})), func(t *testing.T, c *http.Client, url string) {
		resp := fetch(t, c, url, "Accept", browser)
		if resp.err != nil || resp.status != 502 || !isPage(resp.body) || resp.header.Get("X-Request-Id") == "" {
			t.Errorf("%+v", resp)
		}
	})
}

// Uploads that a handler parsed are removed by net/http, which knows only the
// request that it made.
func TestMultipartFormIsHandedBack(t *testing.T) {
	p, _ := newPage(t, Config{})
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n--b--\r\n"
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", `multipart/form-data; boundary="b"`)
	p.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if err := r.ParseMultipartForm(1); err != nil {
			t.Error(err)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if r.MultipartForm == nil {
		t.Fatal("the outer request has no form")
	}
	if err := r.MultipartForm.RemoveAll(); err != nil {
		t.Error(err)
	}
}
