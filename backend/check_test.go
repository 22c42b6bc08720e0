package backend

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// firstProbe is the result of the first check of b's only endpoint.
func firstProbe(t *testing.T, cfg Config) Probe {
	t.Helper()
	cfg.Health.Interval = time.Hour
	if cfg.Health.Timeout == 0 {
		cfg.Health.Timeout = 10 * time.Second
	}
	b := newBackend(t, cfg)
	ep := b.now().endpoints[0]
	var all []Probe
	await(t, "a check was made", func() bool {
		ep.mu.Lock()
		defer ep.mu.Unlock()
		all = ep.history.list()
		return len(all) > 0
	})
	return all[0]
}

// silent takes a connection and says nothing.
func silentServer(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }

// endless answers with a body that never ends.
func endless(begin string) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); !ok {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"+begin)
		for {
			if _, err := io.WriteString(c, "400\r\n"+strings.Repeat("x", 1024)+"\r\n"); err != nil {
				return
			}
		}
	}
}

func TestCheckHTTP(t *testing.T) {
	const short = 100 * time.Millisecond
	for _, test := range []struct {
		name   string
		server script
		health Health
		ok     bool
		detail string
	}{
		{"good", say(okHello), Health{Path: "/healthz"}, true, "GET /healthz: 200 OK"},
		{"redirect", say("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), Health{Path: "/"}, true, "GET /: 302 Found"},
		{"status", say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), Health{Path: "/healthz"}, false, "GET /healthz: 503 Service Unavailable, wanted 200-399"},
		{"own set", say("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), Health{Path: "/a", Status: "200-299, 401"}, true, "GET /a: 401 Unauthorized"},
		{"not in own set", say("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n"), Health{Path: "/a", Status: "200"}, false, "GET /a: 302 Found, wanted 200"},
		{"body", say(okHello), Health{Path: "/", Body: "hell"}, true, "GET /: 200 OK"},
		{"wrong body", say(okHello), Health{Path: "/", Body: "ok"}, false, `GET /: 200 OK, body does not contain "ok"; it begins "hello"`},
		{"chunked body", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), Health{Path: "/", Body: "hello"}, true, "GET /: 200 OK"},
		{"body without end", endless(""), Health{Path: "/"}, true, "GET /: 200 OK"},
		{"found in a body without end", endless("2\r\nok\r\n"), Health{Path: "/", Body: "ok"}, true, "GET /: 200 OK"},
		{"not found in a body without end", endless(""), Health{Path: "/", Body: "ok"}, false, `GET /: 200 OK, body does not contain "ok" in its first 64 kB; it begins "xxxx`},
		{"body that stalls", sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot"), Health{Path: "/", Body: "ok", Timeout: short}, false, "GET /: body not finished after 100ms"},
		{"body that breaks", sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot"), Health{Path: "/", Body: "ok"}, false, "GET /: truncated"},
		{"HEAD", say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Health{Path: "/", Method: "HEAD"}, true, "HEAD /: 200 OK"},
		{"silent", silentServer, Health{Path: "/", Timeout: short}, false, "GET /: no answer after 100ms"},
		{"half a header section", sayThenHang("HTTP/1.1 200 OK\r\nA: b\r\n"), Health{Path: "/", Timeout: short}, false, "GET /: header section not finished after 100ms"},
		{"garbage", sayThenHang("220 smtp.example ESMTP\r\n"), Health{Path: "/"}, false, "GET /: malformed"},
		{"closed", sayThenClose(""), Health{Path: "/"}, false, "GET /: closed_before_headers"},
		{"reset", thenReset(""), Health{Path: "/"}, false, "GET /: reset_before_headers"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := newFaults(t, test.server)
			p := firstProbe(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, Health: test.health})
			if p.OK != test.ok || !strings.HasPrefix(p.Detail, test.detail) {
				t.Errorf("check = %v, %q, want %v, %q", p.OK, p.Detail, test.ok, test.detail)
			}
		})
	}
}

func TestCheckReachesNobody(t *testing.T) {
	for _, kind := range []CheckKind{CheckHTTP, CheckTCP, CheckGRPC} {
		h := Health{Kind: kind}
		scheme := "http://"
		switch kind {
		case CheckHTTP:
			h.Path = "/"
		case CheckGRPC:
			scheme = "h2c://"
		case CheckTCP:
		}
		p := firstProbe(t, Config{Endpoints: []Endpoint{{URL: scheme + refusing(t)}}, Health: h})
		if p.OK || p.Detail != "connect: refused" {
			t.Errorf("%v: check = %v, %q, want connect: refused", kind, p.OK, p.Detail)
		}
	}
}

// What goes out is what was asked for.
func TestCheckRequest(t *testing.T) {
	got := make(chan *http.Request, 1)
	server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		if r, ok := readRequest(br); ok {
			select {
			case got <- r:
			default:
			}
			_, _ = io.WriteString(c, okHello)
		}
	})
	p := firstProbe(t, Config{
		Endpoints: []Endpoint{{URL: server.url() + "/app"}},
		Health:    Health{Path: "/up?deep=1", Method: "OPTIONS", Host: "shop.example"},
	})
	r := <-got
	if !p.OK || r.Method != "OPTIONS" || r.RequestURI != "/app/up?deep=1" || r.Host != "shop.example" {
		t.Errorf("check = %v; asked %s %s of %s, want OPTIONS /app/up?deep=1 of shop.example", p.Detail, r.Method, r.RequestURI, r.Host)
	}
}

// A check has a connection of its own, that nobody else uses after it.
func TestCheckOwnConnection(t *testing.T) {
	server := newFaults(t, say(okHello))
	var cfg Config
	cfg.Endpoints = []Endpoint{{URL: server.url()}}
	cfg.Health = Health{Path: "/", Interval: 5 * time.Millisecond}
	b := newBackend(t, cfg)
	ep := b.now().endpoints[0]
	checks := func() int {
		ep.mu.Lock()
		defer ep.mu.Unlock()
		return ep.health.checks
	}
	await(t, "five checks were made", func() bool { return checks() >= 5 })
	ep.pool.mu.Lock()
	idle := len(ep.pool.idle)
	ep.pool.mu.Unlock()
	if n := server.count(); idle != 0 || n < 5 {
		t.Errorf("%d connections for 5 checks, %d of them kept, want 5 or more, none kept", n, idle)
	}
	if n := ep.inFlight.Load(); n != 0 {
		t.Errorf("%d requests in flight, want none: checks do not count", n)
	}
	if n := ep.live.attempts.Load(); n != 0 {
		t.Errorf("%d attempts, want none: checks are no live traffic", n)
	}
}

func TestCheckTCP(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "127.0.0.1", farFuture())
	plain := newFaults(t, silentServer)
	secure := newFaults(t, func(c net.Conn, _ *bufio.Reader) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
	})
	for _, test := range []struct {
		name, url string
		ok        bool
		detail    string
	}{
		{"plain", plain.url(), true, "connected to " + plain.addr},
		{"TLS", "https://" + secure.addr, true, "connected to " + secure.addr + " with TLS"},
		{"no TLS there", "https://" + plain.addr, false, "TLS: handshake not finished after 200ms"},
	} {
		p := firstProbe(t, Config{
			Endpoints: []Endpoint{{URL: test.url}}, Health: Health{Kind: CheckTCP, Timeout: 200 * time.Millisecond}, TLS: trusting(ca),
		})
		if test.ok && !p.OK && strings.Contains(p.Detail, "after 200ms") { // a slow machine
			p = firstProbe(t, Config{Endpoints: []Endpoint{{URL: test.url}}, Health: Health{Kind: CheckTCP}, TLS: trusting(ca)})
		}
		if p.OK != test.ok || p.Detail != test.detail {
			t.Errorf("%s: check = %v, %q, want %v, %q", test.name, p.OK, p.Detail, test.ok, test.detail)
		}
	}
	if p := firstProbe(t, Config{Endpoints: []Endpoint{{Handler: new(switched)}}, Health: Health{Kind: CheckTCP}}); !p.OK {
		t.Errorf("a handler: %q, want good", p.Detail)
	}
}

func TestCheckHandler(t *testing.T) {
	h := new(switched)
	h.status.Store(500)
	p := firstProbe(t, Config{Endpoints: []Endpoint{{Handler: h}}, Health: Health{Path: "/h"}})
	if want := "GET /h: 500 Internal Server Error, wanted 200-399"; p.OK || p.Detail != want {
		t.Errorf("check = %v, %q, want %q", p.OK, p.Detail, want)
	}
	h.panics.Store(true)
	p = firstProbe(t, Config{Endpoints: []Endpoint{{Handler: h}}, Health: Health{Path: "/h"}})
	if p.OK || !strings.HasPrefix(p.Detail, "GET /h: panic: ") || len(p.Detail) > 600 {
		t.Errorf("check = %v, %q, want a panic, clipped", p.OK, p.Detail)
	}
}

func TestCheckConfig(t *testing.T) {
	for _, test := range []struct {
		health Health
		want   string // "" is no error
	}{
		{Health{Path: "/", Status: "200,204-299", Method: "HEAD", Host: "a.example:8080"}, ""},
		{Health{Path: "/", Status: "2xx"}, `Config.Health.Status is "2xx": "2xx" is no status`},
		{Health{Path: "/", Status: "299-200"}, `the range 299-200 is empty`},
		{Health{Path: "/", Status: "200,"}, `"" is no status`},
		{Health{Path: "/", Status: "99"}, `"99" is no status`},
		{Health{Path: "/", Method: "CONNECT"}, "Config.Health.Method"},
		{Health{Path: "/", Method: "GE T"}, "Config.Health.Method"},
		{Health{Path: "/", Host: "a b"}, "Config.Health.Host"},
		{Health{Path: "/", Host: "a\r\nX: y"}, "Config.Health.Host"},
		{Health{Path: "/", Body: "x", Method: "HEAD"}, "Config.Health.Body"},
		{Health{Path: "/", Body: strings.Repeat("x", 70000)}, "Config.Health.Body has 70000 bytes"},
		{Health{Status: "200"}, `Config.Health.Status is "200", and Path is empty`},
		{Health{Kind: CheckTCP, Path: "/"}, `Config.Health.Path is "/": must be empty for a check of kind tcp`},
		{Health{Kind: CheckGRPC, Body: "x"}, "Config.Health.Body"},
		{Health{Path: "/", Service: "x"}, "Config.Health.Service"},
		{Health{Kind: 9}, "Config.Health.Kind is check(9)"},
		{Health{Path: "/", FastInterval: -1}, "Config.Health.FastInterval"},
		{Health{Path: "/", Jitter: 1.5}, "Config.Health.Jitter is 1.5"},
		{Health{Kind: CheckGRPC}, "Config.Endpoints[0].URL is \"http://127.0.0.1:1\": a gRPC check needs HTTP/2"},
	} {
		cfg := Config{Endpoints: []Endpoint{{URL: "http://127.0.0.1:1"}}, Health: test.health}
		_, _, err := resolved(cfg)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%+v: %v, want no error", test.health, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%+v: %v, want %q", test.health, err, test.want)
		}
	}
	for _, k := range []CheckKind{CheckHTTP, CheckTCP, CheckGRPC} {
		if got, err := ParseCheckKind(k.String()); got != k || err != nil {
			t.Errorf("ParseCheckKind(%q) = %v, %v, want %v", k.String(), got, err, k)
		}
	}
	if _, err := ParseCheckKind("ping"); err == nil {
		t.Error(`ParseCheckKind("ping") = nil, want an error`)
	}
}

func TestWanted(t *testing.T) {
	for _, test := range []struct {
		set    string
		status int
		want   bool
	}{
		{"", 199, false},
		{"", 200, true},
		{"", 399, true},
		{"", 400, false},
		{"200", 200, true},
		{"200", 201, false},
		{" 200 , 401 - 403 ", 402, true},
		{"500-599", 200, false},
	} {
		if got, err := wanted(test.set, test.status); got != test.want || err != nil {
			t.Errorf("wanted(%q, %d) = %v, %v, want %v", test.set, test.status, got, err, test.want)
		}
	}
}

func TestPause(t *testing.T) {
	h := Health{Path: "/", Interval: 2 * time.Second}
	h.check(func(format string, args ...any) { t.Errorf(format, args...) })
	for _, test := range []struct {
		is     health
		chance float64
		want   time.Duration
	}{
		{health{up: true}, 0.5, 2 * time.Second},
		{health{up: true}, 0, 1800 * time.Millisecond},
		{health{up: true}, 1, 2200 * time.Millisecond},
		{health{up: true, streak: 1}, 0.5, 500 * time.Millisecond},
		{health{}, 0.5, 2 * time.Second},
		{health{unproven: true}, 0.5, 500 * time.Millisecond},
		{health{unproven: true, checks: historySize}, 0.5, 2 * time.Second},
	} {
		if got := h.pause(test.is, test.chance); got != test.want {
			t.Errorf("pause(%+v, %v) = %v, want %v", test.is, test.chance, got, test.want)
		}
	}
}

// A check that contradicts is repeated soon; the state changes after the second
// one, not two intervals later.
func TestCheckFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(switched)
		h.status.Store(503)
		seen := new(recorder)
		b := newBackend(t, Config{
			Endpoints: []Endpoint{{Handler: h}}, Observe: seen.observe,
			Health: Health{Path: "/", Interval: time.Minute, FastInterval: time.Second, Jitter: -1, InitialDown: true},
		})
		synctest.Wait()
		if b.Available() {
			t.Error("it is up before its first good check")
		}
		h.status.Store(200)
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.Available() {
			t.Error("it is down after its first good check")
		}
		h.status.Store(500)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !b.Available() {
			t.Error("it is down after one bad check")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if b.Available() {
			t.Error("it is up a fast interval after the first bad check")
		}
		h.status.Store(200)
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if !b.Available() {
			t.Error("it is down after two good checks")
		}
		if n := len(seen.of(HealthChanged)); n != 3 {
			t.Errorf("%d changes, want 3", n)
		}
	})
}

func TestHistory(t *testing.T) {
	var h history
	if got := h.list(); got != nil {
		t.Errorf("list = %v, want nothing", got)
	}
	for i := range 200 {
		h.add(Probe{Detail: fmt.Sprint(i)})
		got := h.list()
		if want := min(i+1, historySize); len(got) != want || got[len(got)-1].Detail != fmt.Sprint(i) || got[0].Detail != fmt.Sprint(i+1-want) {
			t.Fatalf("after %d: %d probes from %s to %s", i+1, len(got), got[0].Detail, got[len(got)-1].Detail)
		}
	}
}

// The check is wrong: it fails, and requests are answered.
func TestCheckDisputed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		ep := b.now().endpoints[0]
		early := time.Now()
		time.Sleep(time.Second)
		for range 2 {
			b.recordHealth(ep, Probe{Detail: "GET /healthz: 404 Not Found, wanted 200-399"})
		}
		for range 10 { // what began before says nothing
			ep.answered(b, early, time.Now(), false)
		}
		time.Sleep(time.Second)
		failing := func() {
			time.Sleep(time.Second)
			b.recordHealth(ep, Probe{At: time.Now(), Detail: "GET /healthz: 404 Not Found, wanted 200-399"})
		}
		settleAs(b, ep, nil)
		settleAs(b, ep, nil)
		failing()
		if evs := seen.of(CheckDisputed); len(evs) != 0 {
			t.Fatalf("events = %+v, want none after two answers", evs)
		}
		for range 5 {
			settleAs(b, ep, nil)
		}
		evs := seen.of(CheckDisputed)
		if len(evs) != 1 || evs[0].Healthy || !strings.Contains(evs[0].Detail, "the check is wrong: live traffic has been answered 3 times") ||
			!strings.Contains(evs[0].Detail, "GET /healthz: 404 Not Found") {
			t.Fatalf("events = %+v, want one that says that the check is wrong", evs)
		}
		settleAs(b, ep, refused())
		settleAs(b, ep, refused())
		if n := len(seen.of(CheckDisputed)); n != 1 {
			t.Errorf("%d events after two failures, want 1", n)
		}
		settleAs(b, ep, refused())
		if evs = seen.of(CheckDisputed); len(evs) != 2 || !evs[1].Healthy {
			t.Errorf("events = %+v, want a second one: the check is right after all", evs)
		}
		for range 3 {
			settleAs(b, ep, nil)
		}
		failing()
		for range 2 {
			b.recordHealth(ep, Probe{OK: true, Detail: "GET /healthz: 200 OK"})
		}
		if evs = seen.of(CheckDisputed); len(evs) != 4 || evs[2].Healthy || !evs[3].Healthy {
			t.Errorf("events = %+v, want another dispute, and its end with a good check", evs)
		}
	})
}

// An endpoint that is coming back answers requests before its next check is due:
// the check is not wrong for that, only late.
func TestCheckLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		ep := b.now().endpoints[0]
		for range 2 {
			time.Sleep(time.Second)
			b.recordHealth(ep, Probe{At: time.Now(), Detail: "connect: refused"})
		}
		time.Sleep(time.Second)
		under := time.Now() // a check that began before the endpoint was back
		for range 10 {
			time.Sleep(time.Millisecond)
			settleAs(b, ep, nil)
		}
		b.recordHealth(ep, Probe{At: under, Detail: "connect: refused"})
		settleAs(b, ep, nil)
		if s := b.Endpoints()[0]; s.WrongCheck || s.Healthy {
			t.Errorf("status = %+v, want an endpoint that is down as far as its check knows", s)
		}
		for range 2 {
			b.recordHealth(ep, Probe{At: time.Now(), OK: true, Detail: "GET /healthz: 200 OK"})
		}
		if evs := seen.of(CheckDisputed); len(evs) != 0 {
			t.Errorf("events = %+v, want none", evs)
		}
	})
}

// What could not be reached is tried as soon as its check is good.
func TestCheckReprieve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := trio(t, Config{})
		ep := b.now().endpoints[0]
		time.Sleep(time.Minute)
		for range 3 {
			settleAs(b, ep, refused())
		}
		b.recordHealth(ep, Probe{Detail: "connect: refused"})
		if !ep.ejected(b.clock(time.Now())) {
			t.Fatal("a bad check ends the ejection")
		}
		b.recordHealth(ep, Probe{OK: true})
		if now := b.clock(time.Now()); ep.ejected(now) || !ep.probation(now) {
			t.Error("a good check does not end the ejection of what could not be reached")
		}
		settleAs(b, ep, &failure.Error{Cause: failure.FirstByteTimeout})
		b.recordHealth(ep, Probe{OK: true})
		if !ep.ejected(b.clock(time.Now())) {
			t.Error("a good check ends the ejection of what was reached and failed")
		}
	})
}
