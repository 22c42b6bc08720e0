package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/porttest"
)

var quiet = log.New(io.Discard, "", 0)

// brief is a limit that is to be exceeded; lasting is one before which other
// things have to happen.
const (
	brief   = 120 * time.Millisecond
	lasting = 5 * brief
)

// fault is one way in which a backend fails on the wire, and what is to be made
// of it.
type fault struct {
	name     string
	scripts  []script
	url      func(t *testing.T, f *faults) string // nil: plain http
	cfg      Config
	dialer   func(*dialer)
	method   string // "" is GET
	upgrade  string
	warm     bool // a request before the one that fails
	cause    failure.Cause
	status   int
	attempts int
	verdict  failure.Verdict
	detail   string // part of the detail or the error
	written  bool
	unsure   bool // whether it was written depends on who is faster
	body     string
	header   http.Header
	broken   bool // the status went out: the response is cut off
	arrived  int  // requests that the server read; 0: as many as attempts, -1: none, -2: depends
	setup    func(t *testing.T, b *Backend)
}

func tlsOn(cfg *tls.Config, s script) script {
	return func(c net.Conn, _ *bufio.Reader) {
		tc := tls.Server(c, cfg)
		if tc.HandshakeContext(context.Background()) == nil {
			s(tc, bufio.NewReader(tc))
		}
	}
}

func wireFaults(t *testing.T) []fault {
	ca, stranger := newAuthority(t), newAuthority(t)
	good := ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	https := func(_ *testing.T, f *faults) string { return "https://" + f.addr }
	h2c := func(_ *testing.T, f *faults) string { return "h2c://" + f.addr }
	withCert := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	silent := func(c net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }
	notH2 := "HTTP/1.1 400 Bad Request\r\n\r\n"

	return []fault{
		{
			name: "connection refused", url: refusedURL, scripts: []script{silent},
			cause: failure.ConnectionRefused, status: 502, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "connection refused, POST", url: refusedURL, scripts: []script{silent}, method: "POST",
			cause: failure.ConnectionRefused, status: 502, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "no such name", url: func(*testing.T, *faults) string { return "http://nowhere.invalid" }, scripts: []script{silent},
			dialer: func(d *dialer) {
				d.lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
			},
			cause: failure.DNSNotFound, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "nowhere.invalid",
		},
		{
			name: "resolver silent", url: func(*testing.T, *faults) string { return "http://slow.invalid" }, scripts: []script{silent},
			dialer: func(d *dialer) {
				d.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			},
			cfg: Config{Resolve: brief}, cause: failure.DNSTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "no way there", scripts: []script{silent}, dialer: failingDial(syscall.EHOSTUNREACH),
			cause: failure.Unroutable, status: 502, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "no descriptors left", scripts: []script{silent}, dialer: failingDial(syscall.EMFILE),
			cause: failure.LocalLimit, status: 503, attempts: 1, verdict: failure.Neutral,
		},
		{
			name: "packets dropped", scripts: []script{silent},
			dialer: func(d *dialer) {
				d.connect = func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			},
			cfg: Config{Connect: brief}, cause: failure.ConnectTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "TLS: silence", url: https, scripts: []script{silent}, cfg: Config{TLSHandshake: brief},
			cause: failure.TLSTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "TLS: plaintext on the port", url: https, scripts: []script{func(c net.Conn, br *bufio.Reader) {
				_, _ = br.Peek(1)
				_, _ = io.WriteString(c, notH2)
				_, _ = io.Copy(io.Discard, br)
			}},
			cause: failure.TLSProtocol, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "speaks no TLS",
		},
		{
			name: "TLS: no common version", url: https, cfg: Config{TLS: trusting(ca)},
			scripts: []script{tlsOn(&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, silent)},
			cause:   failure.TLSProtocol, status: 502, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "TLS: expired", url: https, cfg: Config{TLS: trusting(ca)},
			scripts: []script{tlsOn(withCert(ca.issue(t, "127.0.0.1", time.Now().Add(-time.Hour))), silent)},
			cause:   failure.TLSCertificate, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "valid from",
		},
		{
			name: "TLS: another name", url: https, cfg: Config{TLS: trusting(ca)},
			scripts: []script{tlsOn(withCert(ca.issue(t, "other.example", time.Now().Add(time.Hour))), silent)},
			cause:   failure.TLSCertificate, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "127.0.0.1",
		},
		{
			name: "TLS: unknown authority", url: https, cfg: Config{TLS: trusting(ca)},
			scripts: []script{tlsOn(withCert(stranger.issue(t, "127.0.0.1", time.Now().Add(time.Hour))), silent)},
			cause:   failure.TLSCertificate, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "unknown authority",
		},
		{
			name: "TLS: client certificate demanded", url: https, cfg: Config{TLS: trusting(ca)},
			scripts: []script{tlsOn(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, silent)},
			cause:   failure.TLSAlert, status: 502, attempts: 3, verdict: failure.LocalFailure, unsure: true,
		},
		{
			name: "plaintext to a TLS port", scripts: []script{sayThenClose("\x15\x03\x01\x00\x02\x02\x0a")},
			cause: failure.TLSProtocol, status: 502, attempts: 3, verdict: failure.LocalFailure, detail: "speaks TLS", written: true,
		},
		{
			name: "keep-alive race", warm: true, scripts: []script{func(c net.Conn, br *bufio.Reader) {
				_, _ = readRequest(br)
				_, _ = io.WriteString(c, okHello)
				_, _ = readRequest(br) // takes the next one and is gone
			}, thenReset("")},
			cfg: Config{Retries: -1}, cause: failure.KeepaliveRace, status: 502, attempts: 1, verdict: failure.Neutral, written: true,
		},
		{
			name: "closed before headers", scripts: []script{sayThenClose("")},
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "closed before headers, POST", scripts: []script{sayThenClose("")}, method: "POST",
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "closed in headers", scripts: []script{sayThenClose("HTTP/1.1 200 OK\r\nContent-Le")},
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "reset before headers", scripts: []script{thenReset("")},
			cause: failure.ResetBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "no answer", scripts: []script{sayThenHang("")}, cfg: Config{FirstByte: brief},
			cause: failure.FirstByteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "no answer, POST", scripts: []script{sayThenHang("")}, cfg: Config{FirstByte: brief}, method: "POST",
			cause: failure.FirstByteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "no answer after 103", scripts: []script{sayThenHang("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")}, cfg: Config{FirstByte: brief},
			cause: failure.FirstByteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "stall in headers", scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nServer: x\r\n")}, cfg: Config{HeaderStall: brief},
			cause: failure.HeaderStall, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "budget spent", scripts: []script{sayThenHang("")}, cfg: Config{UntilHeaders: lasting},
			cause: failure.TotalDeadline, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "truncated before its first byte", scripts: []script{sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")},
			cause: failure.Truncated, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "bad chunking at once", scripts: []script{sayThenClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello world\r\n")},
			cause: failure.BadChunking, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "headers too large", cfg: Config{MaxHeaderBytes: 2000},
			scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nX-Small: a\r\nX-Huge: " + strings.Repeat("a", 1900) + "\r\nX-More: " + strings.Repeat("b", 500) + "\r\n\r\n")},
			cause:   failure.HeadersTooLarge, status: 502, attempts: 1, verdict: failure.Neutral, detail: `"X-Huge"`, written: true,
		},
		{
			name: "one header line without end", cfg: Config{MaxHeaderBytes: 2000},
			scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nX-Endless: " + strings.Repeat("a", 9000))},
			cause:   failure.HeadersTooLarge, status: 502, attempts: 1, verdict: failure.Neutral, detail: `"X-Endless"`, written: true,
		},
		{
			name: "a banner", scripts: []script{sayThenHang("220 mail.example ESMTP\r\n")},
			cause: failure.Malformed, status: 502, attempts: 1, verdict: failure.BackendFailure, detail: "220 mail", written: true,
		},
		{
			name: "a bad header line", scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nno colon here\r\n\r\n")},
			cause: failure.Malformed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "an impossible status", scripts: []script{sayThenHang("HTTP/1.1 007 Bond\r\n\r\n")},
			cause: failure.Malformed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "two lengths", scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")},
			cause: failure.BadFraming, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "unknown coding", scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")},
			cause: failure.BadFraming, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "endless informational responses", scripts: []script{sayThenHang(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100))},
			cause: failure.Malformed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "304 unasked", scripts: []script{say("HTTP/1.1 304 Not Modified\r\n\r\n")},
			cause: failure.BadValidation, status: 502, attempts: 3, verdict: failure.Neutral, written: true,
		},
		{
			name: "206 unasked", scripts: []script{say("HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n")},
			cause: failure.BadValidation, status: 502, attempts: 3, verdict: failure.Neutral, written: true,
		},
		{
			name: "500", scripts: []script{say("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno")},
			cause: failure.Upstream5xx, status: 500, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "500, POST", scripts: []script{say("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno")}, method: "POST",
			cause: failure.Upstream5xx, status: 500, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "501", scripts: []script{say("HTTP/1.1 501 Oops\r\nContent-Length: 2\r\n\r\nno")},
			cause: failure.Upstream5xx, status: 501, attempts: 1, verdict: failure.Neutral, written: true,
		},
		{
			name: "503 with Retry-After", scripts: []script{say("HTTP/1.1 503 Later\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")},
			cause: failure.Upstream5xx, status: 503, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "429", scripts: []script{say("HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno")},
			cause: failure.Upstream429, status: 429, attempts: 1, verdict: failure.Neutral, written: true,
		},
		{
			name: "101 unasked", scripts: []script{sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")},
			cause: failure.UpgradeFailed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "another protocol", scripts: []script{sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")}, upgrade: "websocket",
			cause: failure.UpgradeFailed, status: 502, attempts: 1, verdict: failure.BackendFailure, detail: "chat", written: true,
		},
		{
			name: "upgrade over h2c", url: h2c, scripts: []script{silent}, upgrade: "websocket",
			cause: failure.UpgradeFailed, status: 502, attempts: 1, verdict: failure.BackendFailure, arrived: -1,
		},
		{
			name: "h2c to an HTTP/1 server", url: h2c, scripts: []script{func(c net.Conn, br *bufio.Reader) {
				_, _ = br.Peek(1)
				_, _ = io.WriteString(c, notH2)
				_, _ = io.Copy(io.Discard, br)
			}},
			cause: failure.Malformed, status: 502, attempts: 1, verdict: failure.BackendFailure, detail: "HTTP/1.1 400", unsure: true, arrived: -2,
		},
		{
			name: "h2: REFUSED_STREAM", url: h2c, scripts: []script{serveHTTP2(refuseStream)}, method: "POST",
			cause: failure.StreamRefused, status: 502, attempts: 3, verdict: failure.Neutral, written: true,
		},
		{
			name: "h2: GOAWAY", url: h2c, scripts: []script{serveHTTP2(goAway)}, method: "POST",
			cause: failure.StreamRefused, status: 502, attempts: 3, verdict: failure.Neutral, written: true,
		},
		{
			name: "h2: reset", url: h2c, scripts: []script{serveHTTP2(resetStream)}, method: "POST",
			cause: failure.ResetBeforeHeaders, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "h2: closed", url: h2c, scripts: []script{serveHTTP2(hangUp)}, method: "POST",
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		{
			name: "h2: no answer", url: h2c, scripts: []script{serveHTTP2(nil)}, cfg: Config{FirstByte: brief},
			cause: failure.FirstByteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
	}
}

// refusedURL is a URL where nobody listens.
func refusedURL(t *testing.T, _ *faults) string { return "http://" + refusing(t) }

// refusing is an address where nobody listens until the test ends: it is taken.
func refusing(t testing.TB) string {
	t.Helper()
	return porttest.Hold(t, "127.0.0.1:0").Addr()
}

func failingDial(errno syscall.Errno) func(*dialer) {
	return func(d *dialer) {
		d.connect = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errno}
		}
	}
}

// TestCauses produces every cause that can arise on the wire and checks all
// that follows from it.
func TestCauses(t *testing.T) {
	for _, f := range slices.Concat(wireFaults(t), netFaults(t), tlsFaults(t), http1Faults(t), http2Faults(t)) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

func (f fault) run(t *testing.T) {
	server := newFaults(t, f.scripts...)
	url := server.url()
	if f.url != nil {
		url = f.url(t, server)
	}
	var seen recorder
	cfg := f.cfg
	cfg.Endpoints = []Endpoint{{URL: url}}
	cfg.Observe = seen.observe
	gate := &countingGate{}
	cfg.Gate = gate
	d := newDialer()
	if f.dialer != nil {
		f.dialer(&d)
	}
	b := newBackendWith(t, cfg, d)
	b.hold = time.Minute // what breaks at once does so before the header section is sent, on a busy machine, too
	if f.broken {
		b.hold = time.Millisecond
	}
	if f.setup != nil {
		f.setup(t, b)
	}
	var got *failure.Error
	srv, client := front(t, tracked(b, func(e *failure.Error, r failure.Rung) {
		if r == failure.Unmended {
			got = e
		}
	}))
	if len(f.body) > 1<<20 {
		client.Transport = blunt{}
	}
	if f.warm {
		get(t, client, srv.URL)
	}
	method := "GET"
	if f.method != "" {
		method = f.method
	}
	var body io.Reader
	if f.body != "" {
		body = strings.NewReader(f.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/page", body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, f.header)
	if f.upgrade != "" {
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", f.upgrade)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	_, readErr := io.Copy(io.Discard, res.Body)
	res.Body.Close()
	srv.Close() // the handler has returned
	if (readErr != nil) != f.broken {
		t.Errorf("reading the response: %v, want an error: %v", readErr, f.broken)
	}

	if got == nil {
		t.Fatalf("status %d and nothing reported, want cause %v", res.StatusCode, f.cause)
	}
	if got.Cause != f.cause {
		t.Fatalf("cause = %v, want %v (%v)", got.Cause, f.cause, got)
	}
	if res.StatusCode != f.status {
		t.Errorf("status = %d, want %d", res.StatusCode, f.status)
	}
	want := "cause=" + f.cause.String()
	if token := f.cause.Row().ProxyError; token != "" {
		want = "error=" + token + "; " + want
	}
	if ps := res.Header.Get("Proxy-Status"); !f.broken && (!strings.HasPrefix(ps, "holdfast; ") || !strings.Contains(ps, want)) {
		t.Errorf("Proxy-Status = %q, want one with %q", ps, want)
	}
	if f.broken && !got.Noted(failure.AfterHeaders) {
		t.Errorf("notes = %v, want one that the response had begun", got.Notes)
	}
	f.checkArrivals(t, server, url)
	if got.Attempts != f.attempts {
		t.Errorf("attempts = %d, want %d", got.Attempts, f.attempts)
	}
	if v := got.Verdict(); v != f.verdict {
		t.Errorf("verdict = %v, want %v (attempts %d, written %v)", v, f.verdict, got.Attempts, got.RequestWritten)
	}
	if !f.unsure && got.RequestWritten != f.written {
		t.Errorf("request written = %v, want %v", got.RequestWritten, f.written)
	}
	if f.detail != "" && !strings.Contains(got.Error(), f.detail) {
		t.Errorf("error = %q, want one with %q", got, f.detail)
	}
	if got.Backend != "backend" || got.Endpoint == "" {
		t.Errorf("backend %q, endpoint %q: both should be named", got.Backend, got.Endpoint)
	}
	events := seen.of(AttemptDone)
	if n := len(events) - warmth(f); n != f.attempts {
		t.Errorf("%d attempts in events, want %d", n, f.attempts)
	}
	for i, ev := range events {
		if last := i == len(events)-1; !last && i >= warmth(f) && (!ev.Retry || ev.Failure == nil) || last && ev.Retry {
			t.Errorf("event %d of %d: retry %v, failure %v", i+1, len(events), ev.Retry, ev.Failure)
		}
	}
	gate.check(t, len(events))
}

// checkArrivals counts the attempts where they arrive: the requests that the
// server heard or, where they were encrypted, its connections.
func (f fault) checkArrivals(t *testing.T, server *faults, url string) {
	t.Helper()
	want := f.arrived
	switch f.cause {
	case failure.DNSNotFound, failure.DNSTimeout, failure.Unroutable, failure.LocalLimit, failure.ConnectionRefused, failure.ConnectTimeout:
		want = -1
	default:
		if want == 0 {
			want = f.attempts + warmth(f)
		}
	}
	if f.arrived == -2 {
		return // it can't be told
	}
	want = max(want, 0)
	count, what := server.heard.count, "requests"
	if strings.HasPrefix(url, "https:") {
		count, what = server.count, "connections"
	}
	if !eventually(func() bool { return count() >= want }) || count() != want {
		t.Errorf("%d %s arrived, want %d", count(), what, want)
	}
}

func warmth(f fault) int {
	if f.warm {
		return 1
	}
	return 0
}

// countingGate checks that every permit is given back once.
type countingGate struct {
	allowed, done int
	lastErr       error
}

func (g *countingGate) Allow() (func(error), error) {
	g.allowed++
	called := false
	return func(err error) {
		if called {
			panic("done called twice")
		}
		called = true
		g.done++
		g.lastErr = err
	}, nil
}

func (g *countingGate) check(t *testing.T, attempts int) {
	t.Helper()
	if g.allowed != attempts || g.done != attempts {
		t.Errorf("gate: %d allowed, %d done, want %d", g.allowed, g.done, attempts)
	}
	if _, ok := errors.AsType[*failure.Error](g.lastErr); !ok {
		t.Errorf("gate: done(%v), want a *failure.Error", g.lastErr)
	}
}
