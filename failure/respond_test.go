package failure

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestProxyStatus(t *testing.T) {
	refused := &Error{Cause: ConnectionRefused, Endpoint: "127.0.0.1:9000", Detail: `dial "x": refused`}
	tests := []struct {
		name   string
		p      ProxyStatus
		e      *Error
		before []string
		want   []string
	}{
		{"plain", ProxyStatus{}, refused, nil, []string{`holdfast; error=connection_refused; cause=connection_refused`}},
		{
			"all that is known",
			ProxyStatus{Name: "edge", NextHop: true, Details: true},
			refused, nil,
			[]string{`edge; error=connection_refused; next-hop="127.0.0.1:9000"; cause=connection_refused; details="dial \"x\": refused"`},
		},
		{
			"the origin's own error",
			ProxyStatus{},
			&Error{Cause: Upstream5xx, Status: 503}, nil,
			[]string{`holdfast; received-status=503; cause=upstream_5xx`},
		},
		{
			"after others",
			ProxyStatus{},
			refused,
			[]string{`cdn; error=dns_timeout`},
			[]string{`cdn; error=dns_timeout`, `holdfast; error=connection_refused; cause=connection_refused`},
		},
		{
			"in place of our own",
			ProxyStatus{},
			refused,
			[]string{`cdn; details="a, holdfast", holdfast; error=dns_error`, `b`},
			[]string{`cdn; details="a, holdfast", b, holdfast; error=connection_refused; cause=connection_refused`},
		},
		{
			"extra parameters",
			ProxyStatus{Details: true},
			&Error{Cause: TLSAlert, Params: []Param{{"alert-id", 42}, {"alert-message", "bad certificate"}, {"x", Token("tok")}}}, nil,
			[]string{`holdfast; error=tls_alert_received; cause=tls_alert; alert-id=42; alert-message="bad certificate"; x=tok`},
		},
		{
			"bytes that no string can hold",
			ProxyStatus{Details: true},
			&Error{Cause: Malformed, Detail: "SSH\r\n\xff\""}, nil,
			[]string{`holdfast; error=http_protocol_error; cause=malformed; details="SSH???\""`},
		},
		{
			"a stack is no detail",
			ProxyStatus{Details: true},
			Recovered("boom", []byte("goroutine 1")), nil,
			[]string{`holdfast; error=proxy_internal_error; cause=panic`},
		},
	}
	for _, tt := range tests {
		h := http.Header{}
		for _, v := range tt.before {
			h.Add("Proxy-Status", v)
		}
		tt.p.Set(h, tt.e)
		got := h.Values("Proxy-Status")
		if strings.Join(got, "\n") != strings.Join(tt.want, "\n") {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
		if _, err := httpsfv.UnmarshalList(got); err != nil {
			t.Errorf("%s: %q is no structured list: %v", tt.name, got, err)
		}
	}
}

func FuzzProxyStatus(f *testing.F) {
	f.Add("detail", `cdn; details="x"`, "next")
	f.Add("\"\\\xff\r\n", `holdfast`, "")
	f.Fuzz(func(t *testing.T, detail, before, endpoint string) {
		h := http.Header{}
		if _, err := httpsfv.UnmarshalList([]string{before}); err == nil && before != "" {
			h.Add("Proxy-Status", before)
		}
		p := ProxyStatus{NextHop: true, Details: true}
		e := &Error{Cause: Malformed, Detail: detail, Endpoint: endpoint}
		p.Set(h, e)
		p.Set(h, e)
		list, err := httpsfv.UnmarshalList(h.Values("Proxy-Status"))
		if err != nil {
			t.Fatalf("Set(%q, %q) on %q = %q: %v", detail, endpoint, before, h.Values("Proxy-Status"), err)
		}
		ours := 0
		for _, m := range list {
			if item, ok := m.(httpsfv.Item); ok && item.Value == httpsfv.Token("holdfast") {
				ours++
			}
		}
		if ours != 1 {
			t.Fatalf("%q has our member %d times", h.Values("Proxy-Status"), ours)
		}
	})
}

func TestWriteError(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST"} {
		w := httptest.NewRecorder()
		w.Header().Set("Etag", `"of another body"`)
		w.Header().Set("Set-Cookie", "by=an-outer-layer")
		r := httptest.NewRequest(method, "/", nil)
		r = r.WithContext(Track(r.Context()))
		e := &Error{Cause: BreakerOpen, RetryAfter: 1500 * time.Millisecond, Detail: "secret", Err: errors.New("10.1.2.3")}
		Serve(w, r, e, nil)
		if got, ok := From(r.Context()); !ok || got != e {
			t.Errorf("%s: not reported", method)
		}
		h := w.Header()
		if w.Code != 503 || h.Get("Retry-After") != "2" || h.Get("Cache-Control") != "no-store" || h.Get("Etag") != "" || h.Get("Set-Cookie") == "" {
			t.Errorf("%s: %d %v", method, w.Code, h)
		}
		want := "503 Service Unavailable\n"
		if method == "HEAD" {
			want = ""
		}
		if got := w.Body.String(); got != want {
			t.Errorf("%s: body %q, want %q", method, got, want)
		}
	}
}

func TestWriteErrorOfNoKnownCause(t *testing.T) {
	w := httptest.NewRecorder()
	WriteError(w, httptest.NewRequest("GET", "/", nil), errors.New("odd"))
	if w.Code != http.StatusBadGateway || strings.Contains(w.Body.String(), "odd") {
		t.Errorf("%d %q", w.Code, w.Body.String())
	}
}

func TestNobodyAnswersAClientThatLeft(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(Track(r.Context()))
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler { //nolint:errorlint // the identical value is what net/http looks for
				t.Errorf("recovered %v, want http.ErrAbortHandler", v)
			}
		}()
		Serve(w, r, New(ClientGone, nil), func(http.ResponseWriter, *http.Request, error) { t.Error("the handler was called") })
	}()
	WriteError(w, r, New(ClientGone, nil))
	if w.Body.Len() != 0 || len(w.Header()) != 0 {
		t.Errorf("written: %v %q", w.Header(), w.Body)
	}
	if e, ok := From(r.Context()); !ok || e.Cause != ClientGone {
		t.Error("not reported")
	}
}
