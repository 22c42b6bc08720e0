package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
)

func TestAccessLine(t *testing.T) {
	o, log := newObserver(t, Config{})
	var id string
	h := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id = RequestID(r.Context())
		r.URL.Path = "/changed"
		o.Backend(r.Context(), backend.Event{Kind: backend.AttemptDone, Attempt: 1, Failure: failure.New(failure.ConnectionRefused, nil), Retry: true})
		o.Backend(r.Context(), backend.Event{Kind: backend.AttemptDone, Attempt: 2, Status: 201})
		o.Cache(r.Context(), cache.Event{Kind: cache.Served, Outcome: cache.Stale, Rung: failure.StaleOnSlow, FillID: "f1"})
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "hello")
	}))
	serve(h, get("http://example.com/a%2Fb?token=secret"))
	got := log.one(t, "request")
	for key, want := range map[string]any{
		"level": "INFO", "method": "GET", "host": "example.com", "path": "/a%2Fb", "proto": "HTTP/1.1", "peer": "192.0.2.1:1234",
		"status": 201., "bytes": 5., "request_id": id, "cache": "stale", "rung": "stale_on_slow", "fill": "f1", "attempts": 2.,
	} {
		if got[key] != want {
			t.Errorf("%s = %v, want %v", key, got[key], want)
		}
	}
	if d, ok := got["duration"].(float64); !ok || d <= 0 {
		t.Errorf("duration = %v", got["duration"])
	}
	for _, key := range []string{"aborted", "client_gone"} {
		if v, ok := got[key]; ok {
			t.Errorf("%s = %v, want none", key, v)
		}
	}
	if strings.Contains(log.buf.String(), "secret") {
		t.Errorf("the query is in the log: %s", log.buf.String())
	}
	if got := log.one(t, "attempt failed"); got["attempt"] != 1. || got["retry"] != true || got["request_id"] != id || got["level"] != "DEBUG" {
		t.Errorf("attempt line = %v", got)
	}
}

func TestAccessStatus(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	gone := failure.New(failure.ClientGone, nil)
	tests := []struct {
		name    string
		method  string
		next    http.HandlerFunc
		status  float64
		bytes   float64
		aborted bool
		gone    bool
		panics  bool
	}{
		{name: "nothing written", next: func(http.ResponseWriter, *http.Request) {}, status: 200},
		{name: "body only", next: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") }, status: 200, bytes: 3},
		{name: "not found", next: http.NotFound, status: 404, bytes: 19},
		{name: "head", method: http.MethodHead, next: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "abc") }, status: 200},
		{name: "failure", next: func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, refused, nil) }, status: 502, bytes: 16},
		{name: "client gone", next: func(_ http.ResponseWriter, r *http.Request) { failure.Report(r.Context(), gone) }, status: 499, gone: true},
		{name: "client gone and abort", next: func(w http.ResponseWriter, r *http.Request) { failure.Serve(w, r, gone, nil) }, status: 499, gone: true, panics: true},
		{name: "client gone in the body", next: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "abc")
			failure.Serve(w, r, gone, nil)
		}, status: 200, bytes: 3, gone: true, aborted: true, panics: true},
		{name: "abort before", next: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, aborted: true, panics: true},
		{name: "abort after", next: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "abc")
			panic(http.ErrAbortHandler)
		}, status: 200, bytes: 3, aborted: true, panics: true},
		{name: "panic", next: func(http.ResponseWriter, *http.Request) { panic("boom") }, aborted: true, panics: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, log := newObserver(t, Config{})
			r := get("/")
			if tt.method != "" {
				r.Method = tt.method
			}
			var resp *http.Response
			var panicked any
			func() {
				defer func() { panicked = recover() }()
				resp = serve(o.Handler(tt.next), r)
			}()
			if (panicked != nil) != tt.panics {
				t.Errorf("panicked with %v", panicked)
			}
			if tt.name == "abort before" && panicked != http.ErrAbortHandler { //nolint:errorlint // the identical value has to pass
				t.Errorf("panicked with %v, want http.ErrAbortHandler itself", panicked)
			}
			got := log.one(t, "request")
			if got["status"] != tt.status || got["bytes"] != tt.bytes || (got["aborted"] == true) != tt.aborted || (got["client_gone"] == true) != tt.gone {
				t.Errorf("line = %v", got)
			}
			if resp != nil && resp.Header.Get("X-Request-Id") != got["request_id"] && tt.status != 499 {
				t.Errorf("X-Request-Id = %q, line has %q", resp.Header.Get("X-Request-Id"), got["request_id"])
			}
			if n := len(log.all(t, "request failed")); (n == 1) != (tt.name == "failure") {
				t.Errorf("%d failure lines", n)
			}
		})
	}
}

// A client that leaves a real connection.
func TestClientGone(t *testing.T) {
	o, log := newObserver(t, Config{})
	entered := make(chan struct{})
	done := make(chan struct{})
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		o.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		})).ServeHTTP(w, r)
	})
	srv := httptest.NewServer(outer)
	defer srv.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-entered
	conn.Close()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler does not notice")
	}
	if got := log.one(t, "request"); got["status"] != 499. || got["client_gone"] != true {
		t.Errorf("line = %v", got)
	}
	wantSamples(t, scrape(t, o), `holdfast_requests_total{code="499"} 1`, `holdfast_client_gone_total 1`)
}

// A handler further in that sends hints may clear the header map, as
// net/http/httputil does.
func TestEarlyHints(t *testing.T) {
	o, log := newObserver(t, Config{})
	done := make(chan struct{})
	inner := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		w.WriteHeader(http.StatusTeapot)
	}))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	resp, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-done
	if got := log.one(t, "request"); got["status"] != 418. || resp.StatusCode != 418 || resp.Header.Get("X-Request-Id") != got["request_id"] {
		t.Errorf("%d %v, line %v", resp.StatusCode, resp.Header, got)
	}
}

// An own deadline is no client that left.
func TestOwnDeadline(t *testing.T) {
	o, log := newObserver(t, Config{})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("our own limit"))
	serve(o.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), get("/").WithContext(ctx))
	if got := log.one(t, "request"); got["status"] != 200. {
		t.Errorf("line = %v", got)
	}
}

func TestRequestID(t *testing.T) {
	trust := func(r *http.Request) bool { return r.RemoteAddr == "192.0.2.1:1234" }
	tests := []struct {
		name  string
		trust func(*http.Request) bool
		peer  string
		in    []string
		kept  bool
	}{
		{"none", nil, "", nil, false},
		{"nobody is trusted", nil, "", []string{"abc"}, false},
		{"trusted", trust, "", []string{"abc"}, true},
		{"another peer", trust, "192.0.2.9:1", []string{"abc"}, false},
		{"trusted but unsafe", trust, "", []string{"a\nb"}, false},
		{"trusted but too long", trust, "", []string{strings.Repeat("a", 129)}, false},
		{"trusted but two", trust, "", []string{"a", "b"}, false},
		{"trusted but empty", trust, "", []string{""}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, log := newObserver(t, Config{TrustRequestID: tt.trust, RequestIDHeader: "x-correlation-id"})
			r := get("/")
			if tt.peer != "" {
				r.RemoteAddr = tt.peer
			}
			if tt.in != nil {
				r.Header["X-Correlation-Id"] = tt.in
			}
			var inner, fromContext string
			resp := serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				inner, fromContext = strings.Join(r.Header["X-Correlation-Id"], "|"), RequestID(r.Context())
				w.Header().Set("X-Correlation-Id", "of the origin")
			})), r)
			if kept := tt.in != nil && inner == strings.Join(tt.in, "|"); kept != tt.kept || inner == "" {
				t.Errorf("the handler saw %q, want it kept: %v", inner, tt.kept)
			}
			if got := resp.Header.Values("X-Correlation-Id"); len(got) != 1 || got[0] != inner || fromContext != inner || log.one(t, "request")["request_id"] != inner {
				t.Errorf("handler %q, response %q, context %q, line %v", inner, got, fromContext, log.all(t, "request"))
			}
			if got := r.Header["X-Correlation-Id"]; strings.Join(got, "|") != strings.Join(tt.in, "|") {
				t.Errorf("the caller's header is changed to %q", got)
			}
		})
	}
	if RequestID(context.Background()) != "" {
		t.Error("an id outside of a request")
	}
	o, _ := newObserver(t, Config{})
	o.Handler(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), &http.Request{}) // neither URL nor header
}

// What a client sends can neither forge a line nor make one endless.
func TestHostileRequest(t *testing.T) {
	o, log := newObserver(t, Config{})
	r := get("/x")
	r.Method = strings.Repeat("M", 1000)
	r.Host = "a\n{\"msg\":\"request\"}" + strings.Repeat("h", 1000)
	r.URL.Path = "/\r\nlevel=ERROR msg=forged" + strings.Repeat("é", 5000)
	serve(o.Handler(http.NotFoundHandler()), r)
	got := log.one(t, "request")
	for key, limit := range map[string]int{"method": maxMethod, "host": maxHost, "path": maxPath} {
		if s, _ := got[key].(string); len(s) == 0 || len(s) > limit {
			t.Errorf("%s has %d bytes", key, len(s))
		}
	}
	if n := strings.Count(log.buf.String(), "\n"); n != 1 {
		t.Errorf("%d lines: %s", n, log.buf.String())
	}
	text := scrape(t, o)
	for _, s := range []string{"MMM", "hhh", "forged"} {
		if strings.Contains(text, s) {
			t.Errorf("the metrics have %q", s)
		}
	}
}

func TestSkipAccess(t *testing.T) {
	o, log := newObserver(t, Config{SkipAccess: func(r *http.Request) bool { return r.URL.Path == "/healthz" }})
	h := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Serve(w, r, failure.New(failure.NoEndpoint, nil), nil)
	}))
	serve(h, get("/healthz"))
	serve(h, get("/page"))
	if got := log.one(t, "request"); got["path"] != "/page" {
		t.Errorf("line = %v", got)
	}
	if n := len(log.all(t, "request failed")); n != 2 {
		t.Errorf("%d failure lines, want 2", n)
	}
	wantSamples(t, scrape(t, o), `holdfast_requests_total{code="503"} 2`)
}

func TestFailureLine(t *testing.T) {
	full := &failure.Error{
		Cause: failure.FirstByteTimeout, Backend: "shop", Endpoint: "10.0.0.1:80", Detail: "no byte in 15s\nforged", Attempts: 2,
		RetryAfter: 3 * time.Second, Err: errors.New("read: i/o timeout"), Notes: []failure.Note{{Kind: failure.NotRetried, Detail: "POST"}},
	}
	full.Phases[failure.PhaseWait] = 15 * time.Second
	tests := []struct {
		name    string
		e       *failure.Error
		mend    failure.Rung
		message string
		level   string
		want    map[string]any
	}{
		{"all facts", full, 0, "request failed", "ERROR", map[string]any{
			"cause": "first_byte_timeout", "rung": "unmended", "status": 504., "backend": "shop", "endpoint": "10.0.0.1:80",
			"detail": "no byte in 15s\nforged", "error": "read: i/o timeout", "attempts": 2., "retry_after": 3e9,
			"hint": failure.FirstByteTimeout.Row().Hint, "fill": "f9",
		}},
		{"mended", failure.New(failure.ConnectionRefused, nil), failure.StaleIfError, "failure mended", "WARN", map[string]any{
			"cause": "connection_refused", "rung": "stale_if_error", "status": 200.,
		}},
		{"the client's fault", failure.New(failure.RateLimited, nil), 0, "request failed", "WARN", map[string]any{"status": 429.}},
		{"the origin's answer", &failure.Error{Cause: failure.Upstream5xx, Status: 500}, 0, "request failed", "ERROR", map[string]any{"received_status": 500.}},
		{"error that panics", failure.New(failure.Panic, (*nilError)(nil)), 0, "request failed", "ERROR", map[string]any{"error": "*observe.nilError, whose Error method panics"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, log := newObserver(t, Config{})
			resp := serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				o.Cache(r.Context(), cache.Event{Kind: cache.Served, Outcome: cache.Failed, FillID: "f9"})
				failure.Report(r.Context(), tt.e)
				if tt.mend != 0 {
					failure.Mend(r.Context(), tt.mend)
					w.WriteHeader(http.StatusOK)
					return
				}
				w.WriteHeader(tt.e.HTTPStatus())
			})), get("/"))
			got := log.one(t, tt.message)
			if got["level"] != tt.level || got["request_id"] != resp.Header.Get("X-Request-Id") {
				t.Errorf("line = %v", got)
			}
			for key, want := range tt.want {
				if got[key] != want {
					t.Errorf("%s = %v, want %v", key, got[key], want)
				}
			}
			if tt.e == full {
				if phases, _ := got["phases"].(map[string]any); phases["wait"] != 15e9 {
					t.Errorf("phases = %v", got["phases"])
				}
				if notes := fmt.Sprint(got["notes"]); notes != "[not_retried: POST]" {
					t.Errorf("notes = %s", notes)
				}
			}
			wantSamples(t, scrape(t, o), fmt.Sprintf(`holdfast_failures_total{cause="%s",rung="%s"} 1`, tt.e.Cause, tt.mend))
		})
	}
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }

// The failure of a fill is told once: by the request that waited for it, or by
// a line of its own.
func TestFillFailures(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	done := cache.Event{Kind: cache.FillDone, FillID: "f1", Failure: refused}
	tests := []struct {
		name  string
		next  func(o *Observer, w http.ResponseWriter, r *http.Request)
		after bool // FillDone comes when the request has ended
		want  string
	}{
		{"the request's own", func(o *Observer, w http.ResponseWriter, r *http.Request) {
			o.Cache(r.Context(), done)
			failure.Serve(w, r, refused.With(failure.Note{Kind: failure.SharedFill, Detail: "f1"}), nil)
			o.Cache(r.Context(), cache.Event{Kind: cache.Served, Outcome: cache.Failed, FillID: "f1"})
		}, false, "request failed"},
		{"mended", func(o *Observer, _ http.ResponseWriter, r *http.Request) {
			o.Cache(r.Context(), done)
			failure.Report(r.Context(), refused)
			failure.Mend(r.Context(), failure.StaleIfError)
		}, false, "failure mended"},
		{"answered while refreshing", func(o *Observer, _ http.ResponseWriter, r *http.Request) {
			o.Cache(r.Context(), done)
		}, false, "fill failed"},
		{"after the request", func(*Observer, http.ResponseWriter, *http.Request) {}, true, "fill failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, log := newObserver(t, Config{})
			var ctx context.Context
			resp := serve(o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx = context.WithoutCancel(r.Context())
				tt.next(o, w, r)
			})), get("/"))
			if tt.after {
				o.Cache(ctx, done)
			}
			got := log.one(t, tt.want)
			if got["cause"] != "connection_refused" || got["request_id"] != resp.Header.Get("X-Request-Id") {
				t.Errorf("line = %v", got)
			}
			if tt.want == "fill failed" && got["fill"] != "f1" {
				t.Errorf("line = %v", got)
			}
			if n := len(log.all(t, "")); n != 2 {
				t.Errorf("%d lines, want the access line and one more: %v", n, log.all(t, ""))
			}
		})
	}
	o, log := newObserver(t, Config{})
	o.Cache(context.Background(), done)
	o.Cache(context.Background(), cache.Event{Kind: cache.FillDone, FillID: "f2", Failure: failure.New(failure.ClientGone, nil)})
	if got := log.one(t, ""); got["fill"] != "f1" {
		t.Errorf("line = %v", got)
	}
}

// A refresh that enters at the outermost handler again is no request.
func TestRefreshPasses(t *testing.T) {
	type fillKey struct{}
	o, log := newObserver(t, Config{})
	o.fillID = func(ctx context.Context) string {
		id, _ := ctx.Value(fillKey{}).(string)
		return id
	}
	page, err := errorpage.New(errorpage.Config{Observe: o.ErrorPage})
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	h := o.Handler(page.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Get("X-Request-Id")
		failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
	})))
	r := get("/", "X-Request-Id", "of-the-first-request")
	resp := serve(h, r.WithContext(context.WithValue(r.Context(), fillKey{}, "f1")))
	if resp.StatusCode != 502 || seen != "of-the-first-request" {
		t.Errorf("%d, the handler saw the id %q", resp.StatusCode, seen)
	}
	if all := log.all(t, ""); len(all) != 0 {
		t.Errorf("lines: %v", all)
	}
	text := scrape(t, o)
	if strings.Contains(text, "holdfast_requests_total{") || strings.Contains(text, "holdfast_errorpage_served_total{") {
		t.Error("the refresh is counted as a request")
	}
}

// Events of detached work may come at any time; what comes late changes
// nothing, and none of it is a race.
func TestLateEvents(t *testing.T) {
	o, log := newObserver(t, Config{})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	h := o.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithoutCancel(r.Context())
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					o.Backend(ctx, backend.Event{Kind: backend.AttemptDone, Backend: "b", Endpoint: "e", Attempt: 1})
					o.Cache(ctx, cache.Event{Kind: cache.Served, Outcome: cache.Hit})
					o.ErrorPage(ctx, errorpage.Event{Kind: errorpage.Served, Status: 502, Format: "html"})
					if i >= 100 {
						select {
						case <-stop:
							return
						default:
						}
					}
				}
			})
		}
		_, _ = io.WriteString(w, "done")
	}))
	for range 10 {
		serve(h, get("/"))
	}
	before := len(log.all(t, "request"))
	close(stop)
	wg.Wait()
	if after := len(log.all(t, "request")); before != 10 || after != 10 {
		t.Errorf("%d access lines, then %d, want 10", before, after)
	}
}

// With the error page inside, a panic is told once, with its stack.
func TestPanicLine(t *testing.T) {
	refused := failure.New(failure.ConnectionRefused, nil)
	tests := []struct {
		name string
		next http.HandlerFunc
		want map[string]int // lines by message
	}{
		{"before anything", func(http.ResponseWriter, *http.Request) { panic("boom") }, map[string]int{"request failed": 1, "panic recovered": 0}},
		{"after the page", func(w http.ResponseWriter, r *http.Request) {
			failure.Serve(w, r, refused, nil)
			panic("boom")
		}, map[string]int{"request failed": 1, "panic recovered": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, log := newObserver(t, Config{})
			page, err := errorpage.New(errorpage.Config{Observe: o.ErrorPage})
			if err != nil {
				t.Fatal(err)
			}
			serve(o.Handler(page.Handler(tt.next)), get("/"))
			stacks := 0
			for message, n := range tt.want {
				got := log.all(t, message)
				if len(got) != n {
					t.Errorf("%d lines %q, want %d", len(got), message, n)
				}
				for _, line := range got {
					if detail, _ := line["detail"].(string); strings.Contains(detail, "goroutine") && line["cause"] == "panic" && line["level"] == "ERROR" {
						stacks++
					}
				}
			}
			if stacks != 1 {
				t.Errorf("%d lines have the stack: %v", stacks, log.all(t, ""))
			}
			wantSamples(t, scrape(t, o), "holdfast_errorpage_panics_total 1")
		})
	}
}

// Uploads that a handler parsed are removed by net/http, which knows only the
// request that it made.
func TestMultipartFormIsHandedBack(t *testing.T) {
	o, _ := newObserver(t, Config{})
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 1000) + "\r\n--b--\r\n"
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set("Content-Type", `multipart/form-data; boundary="b"`)
	o.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
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
