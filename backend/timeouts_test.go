package backend

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// soon is a limit that is to be exceeded, late one that is not.
const (
	soon = 80 * time.Millisecond
	late = 30 * time.Second
)

// lateAll are limits that nothing here exceeds.
func lateAll(cfg Config) Config {
	cfg.Resolve, cfg.Connect, cfg.TLSHandshake, cfg.FirstByte, cfg.HeaderStall = late, late, late, late, late
	cfg.BetweenBytes, cfg.Write, cfg.UntilHeaders, cfg.StreamIdle, cfg.ClientWrite = late, late, late, late, late
	return cfg
}

// drip sends head, then a byte every now and then.
func drip(head string, bytes int, every time.Duration) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); !ok {
			return
		}
		_, err := io.WriteString(c, head)
		for ; err == nil && bytes != 0; bytes-- {
			<-time.After(every)
			_, err = io.WriteString(c, "x")
		}
	}
}

// TestTimeoutsByRequest has every limit set for one request alone, and exceeded:
// the cause is that of the limit.
func TestTimeoutsByRequest(t *testing.T) {
	hang := func(d *dialer) {
		d.connect = func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	for _, tt := range []struct {
		name   string
		limits Timeouts
		script script
		url    func(f *faults) string
		dialer func(*dialer)
		body   io.Reader
		cause  failure.Cause
		detail string
	}{
		{
			name: "Resolve", limits: Timeouts{Resolve: soon}, url: func(*faults) string { return "http://app" }, cause: failure.DNSTimeout,
			dialer: func(d *dialer) {
				d.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			},
		},
		{name: "Connect", limits: Timeouts{Connect: soon}, dialer: hang, cause: failure.ConnectTimeout},
		{
			name: "TLSHandshake", limits: Timeouts{TLSHandshake: soon}, url: func(f *faults) string { return "https://" + f.addr },
			script: func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }, cause: failure.TLSTimeout,
		},
		{
			name: "Write", limits: Timeouts{Write: soon}, script: deaf, body: io.LimitReader(noEnd{}, 64<<20),
			cause: failure.WriteTimeout,
		},
		{name: "FirstByte", limits: Timeouts{FirstByte: soon}, script: sayThenHang(""), cause: failure.FirstByteTimeout},
		{name: "HeaderStall", limits: Timeouts{HeaderStall: soon}, script: sayThenHang("HTTP/1.1 200 OK\r\nA: b"), cause: failure.HeaderStall},
		{name: "UntilHeaders", limits: Timeouts{UntilHeaders: soon}, script: sayThenHang(""), cause: failure.TotalDeadline},
		{
			name: "BetweenBytes", limits: Timeouts{BetweenBytes: soon}, cause: failure.BodyStall,
			script: sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"),
		},
		{
			name: "StreamIdle", limits: Timeouts{StreamIdle: soon, WholeBody: time.Millisecond}, cause: failure.BodyStall,
			script: sayThenHang("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"),
		},
		{
			name: "WholeBody", limits: Timeouts{WholeBody: soon}, cause: failure.TotalDeadline, detail: "80ms of waiting (WholeBody)",
			script: drip("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", -1, 5*time.Millisecond),
		},
		{
			name: "WholeBody without a byte", limits: Timeouts{WholeBody: soon}, cause: failure.TotalDeadline, detail: "WholeBody",
			script: sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.script == nil {
				tt.script = say(okHello)
			}
			f := newFaults(t, tt.script)
			url := f.url()
			if tt.url != nil {
				url = tt.url(f)
			}
			var seen recorder
			d := newDialer()
			if tt.dialer != nil {
				tt.dialer(&d)
			}
			b := newBackendWith(t, lateAll(Config{
				Endpoints: []Endpoint{{URL: url}}, Observe: seen.observe, Retries: -1,
				Timeouts: func(r *http.Request) Timeouts {
					if r.URL.Path != "/hurry" {
						return Timeouts{}
					}
					return tt.limits
				},
			}), d)
			srv, client := front(t, b)
			method := http.MethodGet
			if tt.body != nil {
				method = http.MethodPut
			}
			req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/hurry", tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if res, err := client.Do(req); err == nil {
				if _, err := io.Copy(io.Discard, res.Body); err == nil && res.StatusCode == 200 {
					t.Error("a response that looks complete")
				}
				res.Body.Close()
			}
			await(t, "the attempt ended", func() bool { return len(seen.of(AttemptDone)) == 1 })
			if e := seen.of(AttemptDone)[0].Failure; e == nil || e.Cause != tt.cause || !strings.Contains(e.Detail, tt.detail) {
				t.Errorf("failure = %v, want %v with %q", e, tt.cause, tt.detail)
			}
		})
	}
}

// noEnd is a body without an end.
type noEnd struct{}

func (noEnd) Read(p []byte) (int, error) { return len(p), nil }

// slowWriter is a client that takes its time for everything it takes.
type slowWriter struct {
	*httptest.ResponseRecorder
	each time.Duration
}

func (w *slowWriter) Write(p []byte) (int, error) {
	<-time.After(w.each)
	return w.ResponseRecorder.Write(p)
}

// slowBody is a request's body that comes in pieces.
type slowBody struct {
	pieces int
	each   time.Duration
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.pieces == 0 {
		return 0, io.EOF
	}
	b.pieces--
	<-time.After(b.each)
	return copy(p, "piece"), nil
}

// TestTimeoutsOfOthers has time pass that is not the backend's: no limit of it
// may be exceeded by that.
func TestTimeoutsOfOthers(t *testing.T) {
	big := "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000)
	slowDial := func(d *dialer) {
		connect := d.connect
		d.connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-time.After(2 * soon)
			return connect(ctx, network, addr)
		}
		d.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
	}
	for _, tt := range []struct {
		name   string
		limits Timeouts
		script script
		dialer func(*dialer)
		client time.Duration // for every piece that it takes
		upload *slowBody
		length int
	}{
		{name: "slow client, BetweenBytes", limits: Timeouts{BetweenBytes: soon}, script: say(big), client: 2 * soon, length: 300_000},
		{name: "slow client, WholeBody", limits: Timeouts{WholeBody: soon}, script: say(big), client: soon / 2, length: 300_000},
		{
			name: "slow upload", limits: Timeouts{Write: soon, FirstByte: soon, UntilHeaders: soon, BetweenBytes: soon, HeaderStall: soon},
			script: say(okHello), upload: &slowBody{pieces: 3, each: 2 * soon}, length: 5,
		},
		{name: "event stream, WholeBody", limits: Timeouts{WholeBody: soon, BetweenBytes: soon}, length: 3, script: drip("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", 3, soon)},
		{name: "drips, BetweenBytes", limits: Timeouts{BetweenBytes: 10 * soon}, length: 20, script: drip("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", 20, soon/2)},
		{name: "slow connect, Resolve", limits: Timeouts{Resolve: soon, TLSHandshake: soon, FirstByte: 10 * soon}, dialer: slowDial, script: say(okHello), length: 5},
		{name: "off", limits: Timeouts{FirstByte: -1, HeaderStall: -1, BetweenBytes: -1, Write: -1, UntilHeaders: -1, StreamIdle: -1, ClientWrite: -1, WholeBody: -1, Connect: -1}, script: say(okHello), length: 5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFaults(t, tt.script)
			d := newDialer()
			if tt.dialer != nil {
				tt.dialer(&d)
			}
			_, port, _ := net.SplitHostPort(f.addr)
			url := f.url()
			if tt.dialer != nil {
				url = "http://app:" + port
			}
			b := newBackendWith(t, lateAll(Config{
				Endpoints: []Endpoint{{URL: url}}, Retries: -1, Timeouts: func(*http.Request) Timeouts { return tt.limits },
			}), d)
			w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
			w.each = tt.client
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if tt.upload != nil {
				r = httptest.NewRequest(http.MethodPut, "/", io.NopCloser(tt.upload))
			}
			defer func() {
				if v := recover(); v != nil {
					t.Errorf("aborted: %v after %d bytes", v, w.Body.Len())
				}
			}()
			b.ServeHTTP(w, r)
			if w.Code != 200 || w.Body.Len() != tt.length {
				t.Errorf("answered %d with %d bytes, want %d: %s", w.Code, w.Body.Len(), tt.length, w.Header().Get("Proxy-Status"))
			}
		})
	}
}

// TestTimeoutsOver lays one set of limits over another.
func TestTimeoutsOver(t *testing.T) {
	cfg, _, err := resolved(Config{Endpoints: []Endpoint{{Handler: http.NotFoundHandler()}}, WholeBody: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	base := limitsOf(&cfg)
	if got := base.over(Timeouts{}); got != base {
		t.Errorf("nothing over %+v is %+v", base, got)
	}
	got := base.over(Timeouts{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1})
	if want := (Timeouts{Resolve: base.Resolve, Connect: base.Connect, TLSHandshake: base.TLSHandshake}); got != want {
		t.Errorf("negative limits give %+v, want %+v", got, want)
	}
	const huge = 1<<63 - 1
	got = base.over(Timeouts{huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge})
	if got.Resolve != maxTimeout || got.WholeBody != maxTimeout {
		t.Errorf("huge limits give %+v", got)
	}
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}},
		Timeouts: func(*http.Request) Timeouts {
			return Timeouts{huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge}
		},
	})
	if w := oneGet(b); w.Body.String() != "ok" {
		t.Errorf("with huge limits: %d %q", w.Code, w.Body)
	}
}

// TestTimeoutsClientWrite has a client that takes nothing cut off by a limit of
// its request alone.
func TestTimeoutsClientWrite(t *testing.T) {
	f := newFaults(t, drip("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"+strings.Repeat("x", 20_000_000), 0, soon))
	var seen recorder
	b := newBackend(t, lateAll(Config{
		Endpoints: []Endpoint{{URL: f.url()}}, Observe: seen.observe,
		Timeouts: func(*http.Request) Timeouts { return Timeouts{ClientWrite: soon} },
	}))
	srv, _ := front(t, b)
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the client is cut off", func() bool { return len(seen.of(AttemptDone)) == 1 })
	if e := seen.of(AttemptDone)[0].Failure; e == nil || e.Cause != failure.ClientGone || !strings.Contains(e.Detail, "80ms") {
		t.Errorf("failure = %v, want client_gone", e)
	}
}

// What takes time here, with a header section that came whole, is not held
// against the backend.
func TestHeaderStallIsNotOurs(t *testing.T) {
	f := newFaults(t, say("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Field: a value that has to be looked at\r\n", 60)+"Content-Length: 5\r\n\r\nhello"))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: f.url()}}, HeaderStall: time.Nanosecond, Retries: -1})
	for range 300 {
		if w := oneGet(b); w.Code != 200 {
			t.Fatalf("answered %d %s", w.Code, w.Header().Get("Proxy-Status"))
		}
	}
}
