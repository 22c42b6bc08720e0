package backend

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// listenUnix serves h on a socket.
func listenUnix(t *testing.T, path string, h http.Handler) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ErrorLog: quiet}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
}

func TestUnixSocket(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+" "+r.RequestURI) })
	path := filepath.Join(t.TempDir(), "a b.sock")
	listenUnix(t, path, echo)
	urls := []string{"unix://" + strings.ReplaceAll(path, " ", "%20")}
	if runtime.GOOS == "linux" {
		name := "holdfast-test-" + filepath.Base(filepath.Dir(path))
		listenUnix(t, "@"+name, echo)
		urls = append(urls, "unix:@"+name)
	}
	for _, url := range urls {
		for _, preserve := range []bool{false, true} {
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: url}}, PreserveHost: preserve, Health: Health{Path: "/up"}})
			want := "localhost /x?y"
			if preserve {
				want = "example.com /x?y"
			}
			for range 3 {
				w := httptest.NewRecorder()
				b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/x?y", nil))
				if w.Body.String() != want {
					t.Errorf("%s: %d %q, want %q", url, w.Code, w.Body, want)
				}
			}
			await(t, "it is checked", func() bool { return strings.Contains(b.Endpoints()[0].Detail, "200") })
			if n := b.now().endpoints[0].name; n != "unix:"+strings.TrimPrefix(strings.TrimPrefix(strings.ReplaceAll(url, "%20", " "), "unix://"), "unix:") {
				t.Errorf("name = %q", n)
			}
		}
	}
}

func TestUnixSocketCauses(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	ln.Close()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	type row struct {
		name, path string
		cause      failure.Cause
		detail     string
	}
	rows := []row{
		{"no file", filepath.Join(dir, "none.sock"), failure.ConnectionRefused, "no such socket file"},
		{"a directory that is a file", filepath.Join(plain, "x.sock"), failure.ConnectionRefused, "no such socket file"},
		{"nobody listens", stale, failure.ConnectionRefused, "nobody listens"},
		{"no socket", plain, failure.ConnectionRefused, "nobody listens"},
	}
	if os.Geteuid() != 0 { // who may do everything
		barred := filepath.Join(dir, "barred")
		if err := os.Mkdir(barred, 0); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row{"no permission", filepath.Join(barred, "x.sock"), failure.LocalLimit, "no permission"})
	}
	for _, tt := range rows {
		var seen recorder
		b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "unix://" + tt.path}}, Observe: seen.observe, Retries: -1})
		w := oneGet(b)
		ev := seen.of(AttemptDone)
		if len(ev) != 1 || ev[0].Failure == nil || ev[0].Failure.Cause != tt.cause || !strings.Contains(ev[0].Failure.Detail, tt.detail) {
			t.Errorf("%s: %d, %+v, want %v with %q", tt.name, w.Code, ev, tt.cause, tt.detail)
		}
	}
}

var socketErrors = []struct {
	err    error
	cause  failure.Cause
	detail string
}{
	{syscall.ENOENT, failure.ConnectionRefused, "no such socket file"},
	{syscall.ENOTDIR, failure.ConnectionRefused, "no such socket file"},
	{syscall.ECONNREFUSED, failure.ConnectionRefused, "nobody listens"},
	{syscall.EPROTOTYPE, failure.ConnectionRefused, "another type"},
	{syscall.EACCES, failure.LocalLimit, "no permission"},
	{syscall.EPERM, failure.LocalLimit, "no permission"},
	{syscall.EMFILE, failure.LocalLimit, ""},
	{syscall.EAGAIN, failure.ConnectTimeout, "listen queue is full"},
}

// TestUnixSocketErrors has each error of the kernel as connect returns it.
func TestUnixSocketErrors(t *testing.T) {
	for _, tt := range socketErrors {
		err := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", tt.err)}
		if e := classify(facts{err: err, stage: phaseConnect}); e.Cause != tt.cause || !strings.Contains(e.Detail, tt.detail) {
			t.Errorf("%v: %v %q, want %v with %q", tt.err, e.Cause, e.Detail, tt.cause, tt.detail)
		}
	}
}

// TestSocketRestarts has a socket file that goes and comes back: no connection
// is to be left, and the next request is answered.
func TestSocketRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "unix://" + path}}})
	for range 3 {
		ln, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ErrorLog: quiet}
		go func() { _ = srv.Serve(ln) }()
		for range 5 {
			if w := oneGet(b); w.Code != 200 {
				t.Errorf("answered %d %s", w.Code, w.Header().Get("Proxy-Status"))
			}
		}
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		if w := oneGet(b); w.Code != 502 {
			t.Errorf("while it is down: %d", w.Code)
		}
	}
}

// TestOnlyHTTP2 has h2:// speak HTTP/2 over TLS or nothing, and say why not.
func TestOnlyHTTP2(t *testing.T) {
	auth := newAuthority(t)
	cert := auth.issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	serve := func(protos ...string) string {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
		srv.Config.ErrorLog = quiet
		srv.EnableHTTP2 = len(protos) > 0 && protos[0] == "h2"
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return strings.Replace(srv.URL, "https", "h2", 1)
	}
	silent := newFaults(t, func(c net.Conn, _ *bufio.Reader) { // ALPN is ignored
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if tc.Handshake() == nil {
			_, _ = io.Copy(io.Discard, tc)
		}
	})
	plain := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, br)
	})
	for _, tt := range []struct {
		name, url string
		status    int
		cause     failure.Cause
		detail    string
	}{
		{"h2 and h1", serve("h2", "http/1.1"), 200, 0, ""},
		{"h1 alone", serve("http/1.1"), 502, failure.TLSProtocol, "no common application protocol"},
		{"none", "h2://" + silent.addr, 502, failure.TLSProtocol, `chose "no protocol"`},
		{"no TLS", "h2://" + plain.addr, 502, failure.TLSProtocol, "speaks no TLS"},
	} {
		var seen recorder
		b := newBackend(t, Config{
			Endpoints: []Endpoint{{URL: tt.url}}, Observe: seen.observe, Retries: -1,
			TLS: &tls.Config{RootCAs: auth.pool, NextProtos: []string{"http/1.1"}}, // the scheme decides
		})
		for range 3 {
			w := oneGet(b)
			evs := seen.of(AttemptDone)
			ev := evs[len(evs)-1]
			if w.Code != tt.status || tt.status == 200 && w.Body.String() != "HTTP/2.0" {
				t.Errorf("%s: %d %q", tt.name, w.Code, w.Body)
			}
			if e := ev.Failure; tt.cause != 0 && (e == nil || e.Cause != tt.cause || !strings.Contains(e.Detail, tt.detail)) {
				t.Errorf("%s: %+v, want %v with %q", tt.name, e, tt.cause, tt.detail)
			}
		}
	}
	// An upgrade has no way over HTTP/2.
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: serve("h2", "http/1.1")}}, TLS: &tls.Config{RootCAs: auth.pool}, Retries: -1})
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	b.ServeHTTP(w, r)
	if w.Code != 502 || !strings.Contains(w.Header().Get("Proxy-Status"), "http_upgrade_failed") {
		t.Errorf("upgrade: %d %s", w.Code, w.Header().Get("Proxy-Status"))
	}
}
