package backend

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// forwarded sends a raw request through a backend and returns what the origin
// got.
func forwarded(t *testing.T, cfg Config, prefix, raw string) (*http.Request, string) {
	t.Helper()
	got := make(chan *http.Request, 1)
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got <- r
	}))
	defer origin.Close()
	cfg.Endpoints = []Endpoint{{URL: origin.URL + prefix}}
	b := newBackend(t, cfg)
	srv, _ := front(t, b)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, raw)
	status, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-got:
		return r, status
	default:
		return nil, status
	}
}

func TestForwardedHeader(t *testing.T) {
	trust := func(*http.Request) bool { return true }
	const claims = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: claimed\r\nX-Forwarded-Prefix: /x\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.2.3.4\r\n"
	for _, tt := range []struct {
		name, fields string
		cfg          Config
		want         map[string]string // "" is absent
	}{
		{"from nobody", "", Config{}, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example",
			"Forwarded": "", "X-Real-Ip": "", "User-Agent": "", "Accept-Encoding": "",
		}},
		{"a proxy for the origin's own requests", "Proxy: http://evil.example\r\n", Config{}, map[string]string{"Proxy": ""}},
		{"claims of a stranger", claims, Config{}, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example", "X-Forwarded-Prefix": "",
			"Forwarded": "", "X-Real-Ip": "",
		}},
		{"claims of a friend", claims, Config{TrustForwarded: trust}, map[string]string{
			"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "claimed",
			"Forwarded": "for=1.2.3.4, for=127.0.0.1;by=_ID;host=shop.example;proto=http", "X-Real-Ip": "1.2.3.4",
		}},
		{"one hop", "Connection: close, X-Mine, X-Forwarded-For, X-Request-Id\r\nX-Mine: a\r\nX-Request-Id: id\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nTe: trailers, gzip\r\n", Config{}, map[string]string{
			"Connection": "TE", "X-Mine": "", "X-Request-Id": "id", "Keep-Alive": "", "Proxy-Connection": "", "Proxy-Authorization": "",
			"Te": "trailers", "X-Forwarded-For": "127.0.0.1",
		}},
		{"nominated by a client", "Connection: X-Forwarded-For, Forwarded, Via, CDN-Loop, traceparent, Cookie, Authorization, Cache-Control, If-None-Match, Host, Max-Forwards, X-Own\r\n" +
			claims + "Via: 1.1 edge\r\nCdn-Loop: edge\r\ntraceparent: 00-a-b-01\r\nCookie: a=b\r\nAuthorization: x\r\nCache-Control: no-store\r\nIf-None-Match: \"a\"\r\nX-Own: a\r\n", Config{TrustForwarded: trust}, map[string]string{
			"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "Forwarded": "for=1.2.3.4, for=127.0.0.1;by=_ID;host=shop.example;proto=http", "Via": "1.1 edge, 1.1 ID", "Cdn-Loop": "edge, ID",
			"Traceparent": "00-a-b-01", "Cookie": "a=b", "Authorization": "x", "Cache-Control": "no-store", "If-None-Match": `"a"`, "X-Own": "",
		}},
		{"Forwarded", "", Config{Forwarded: true}, map[string]string{"Forwarded": "for=127.0.0.1;by=_ID;host=shop.example;proto=http"}},
		{"Forwarded, with a stranger's claims", claims, Config{Forwarded: true}, map[string]string{"Forwarded": "for=127.0.0.1;by=_ID;host=shop.example;proto=http"}},
		{"Forwarded, obfuscated ids kept", "Forwarded: for=_hidden, for=\"[2001:db8::1]:4711\";by=_gw\r\n", Config{Forwarded: true, TrustForwarded: trust}, map[string]string{
			"Forwarded": `for=_hidden, for="[2001:db8::1]:4711";by=_gw, for=127.0.0.1;by=_ID;host=shop.example;proto=http`,
		}},
		{"passed on", "traceparent: 00-a-b-01\r\ntracestate: a=b\r\nbaggage: k=v\r\nX-Request-Id: r1\r\nPriority: u=1\r\nX-Empty:\r\nX_Under: u\r\nX-Odd: \xff\xfe\r\nMax-Forwards: 7\r\n", Config{}, map[string]string{
			"Traceparent": "00-a-b-01", "Tracestate": "a=b", "Baggage": "k=v", "X-Request-Id": "r1", "Priority": "u=1", "X_under": "u", "X-Odd": "\xff\xfe", "Max-Forwards": "7",
		}},
		{"garbage where loops are detected", "Via: " + strings.Repeat(", ;=\",,", 4000) + "\r\nCDN-Loop: ;;;,,\"a, b\" ;x=\"\r\n", Config{}, map[string]string{"X-Forwarded-For": "127.0.0.1"}},
		{"end to end", "Cookie: a=b\r\nCookie: c=d\r\nAuthorization: Bearer x\r\nAccept-Encoding: br\r\nVia: 1.1 edge\r\n", Config{}, map[string]string{
			"Cookie": "a=b; c=d", "Authorization": "Bearer x", "Accept-Encoding": "br",
		}},
		{"an upgrade that is none", "Upgrade: websocket\r\n", Config{}, map[string]string{"Upgrade": ""}},
		{"h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", Config{}, map[string]string{"Upgrade": "", "Http2-Settings": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, status := forwarded(t, tt.cfg, "", "GET /p HTTP/1.1\r\nHost: shop.example\r\n"+tt.fields+"\r\n")
			if r == nil {
				t.Fatalf("not forwarded: %s", status)
			}
			for name, want := range tt.want {
				if got := anonymous(r.Header.Get(name)); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
			if via := r.Header.Get("Via"); !strings.Contains(via, "1.1 holdfast-") {
				t.Errorf("Via = %q, want our name", via)
			}
			if r.Host == "shop.example" {
				t.Errorf("Host = %q, want the endpoint's", r.Host)
			}
		})
	}
	r, _ := forwarded(t, Config{PreserveHost: true}, "", "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n")
	if r == nil || r.Host != "shop.example" {
		t.Errorf("PreserveHost: request %v, want Host shop.example", r)
	}
}

// anonymous has ID where the made-up name of a backend is.
func anonymous(v string) string { return madeUp.ReplaceAllString(v, "ID") }

var madeUp = regexp.MustCompile(`holdfast-[a-z0-9]{10}`)

func TestForwardedElement(t *testing.T) {
	for _, tt := range []struct{ remote, host, want string }{
		{"192.0.2.1:80", "h", "for=192.0.2.1;by=_id;host=h;proto=http"},
		{"[2001:db8::1]:80", "h:81", `for="[2001:db8::1]";by=_id;host="h:81";proto=http`},
		{"[fe80::1%eth0]:80", "[fe80::2%eth0]:8080", `for="[fe80::1]";by=_id;host="[fe80::2]:8080";proto=http`},
		{"[::ffff:192.0.2.1]:80", "", "for=192.0.2.1;by=_id;proto=http"},
		{"@", "h", "for=unknown;by=_id;host=h;proto=http"},
		{"", `a"b\c`, `for=unknown;by=_id;host="a\"b\\c";proto=http`},
		{"not an address:1", "h", "for=unknown;by=_id;host=h;proto=http"},
	} {
		if got := forwardedElement(clientAddress(tt.remote), "id", unzoned(tt.host), "http"); got != tt.want {
			t.Errorf("element for %q, %q = %s, want %s", tt.remote, tt.host, got, tt.want)
		}
	}
}

func TestValidHost(t *testing.T) {
	for _, h := range []string{"", "a", "a.b:80", "a_b", "a:", "1.2.3.4:80", "[::1]", "[::1]:80", "[fe80::1%25eth0]", "[::ffff:1.2.3.4]:1", "xn--a.example", "a%20b", "A-Z~"} {
		if !validHost(h) {
			t.Errorf("validHost(%q) = false, want true", h)
		}
	}
	for _, h := range []string{
		" ", "a b", "a/b", "a@b", "a?b", "a#b", `a\b`, "a:b", "a:80:80", ":80", "::1", "[::1", "[::1]80", "[::1]:x", "[a]", "[]", "[::g]", "h\x00", "h\r\nX: y", "\u00fc", "<a>", `"a"`, "[::1]]",
		"[::1%a b]", "[::1%a/b]",
	} {
		if validHost(h) {
			t.Errorf("validHost(%q) = true, want false", h)
		}
	}
}

// Hosts that no backend should have to make sense of end here.
func TestHosts(t *testing.T) {
	for _, tt := range []struct{ fields, want string }{
		{"Host: a.example\r\nHost: b.example\r\n", " 400 "},
		{"", " 400 "},
		{"Host: a/b\r\n", " 400 "},
		{"Host: a@b\r\n", " 400 "},
		{"Host: a:b\r\n", " 400 "},
		{"Host: [::1]:80\r\n", " 200 "},
		{"Host: [fe80::1%25eth0]:80\r\n", " 200 "},
	} {
		r, status := forwarded(t, Config{PreserveHost: true}, "", "GET / HTTP/1.1\r\n"+tt.fields+"\r\n")
		if !strings.Contains(status, tt.want) || (r != nil) != (tt.want == " 200 ") {
			t.Errorf("%q: %q, forwarded %v, want%s", tt.fields, status, r != nil, tt.want)
		}
		if r != nil && (strings.Contains(r.Host, "%") || strings.Contains(r.Header.Get("X-Forwarded-Host"), "%")) {
			t.Errorf("%q: Host %q, X-Forwarded-Host %q, want no zone", tt.fields, r.Host, r.Header.Get("X-Forwarded-Host"))
		}
	}
	if r, status := forwarded(t, Config{PreserveHost: true}, "", "GET / HTTP/1.0\r\n\r\n"); r == nil || r.Host == "" || r.Header.Get("X-Forwarded-Host") != "" {
		t.Errorf("HTTP/1.0 without Host: %q, %v, want the endpoint's Host", status, r)
	}
}

func TestMaxForwards(t *testing.T) {
	for _, tt := range []struct {
		method, value string
		status        string
		want          string // at the backend; "-" is not forwarded
	}{
		{"TRACE", "0", " 405 ", "-"},
		{"TRACE", "00", " 405 ", "-"},
		{"TRACE", "1", " 200 ", "0"},
		{"OPTIONS", "0", " 200 ", "-"},
		{"OPTIONS", "10", " 200 ", "9"},
		{"OPTIONS", "99999999999999999999", " 200 ", "2147483647"},
		{"OPTIONS", "", " 200 ", ""},
		{"OPTIONS", "-1", " 200 ", "-1"},
		{"OPTIONS", "x", " 200 ", "x"},
		{"GET", "0", " 200 ", "0"},
	} {
		r, status := forwarded(t, Config{}, "", tt.method+" /a HTTP/1.1\r\nHost: h\r\nMax-Forwards: "+tt.value+"\r\n\r\n")
		if !strings.Contains(status, tt.status) || (r == nil) != (tt.want == "-") {
			t.Errorf("%s with %q: %q, forwarded %v, want%s, %v", tt.method, tt.value, status, r != nil, tt.status, tt.want != "-")
		}
		if r != nil && r.Header.Get("Max-Forwards") != tt.want {
			t.Errorf("%s with %q: forwarded with %q, want %q", tt.method, tt.value, r.Header.Get("Max-Forwards"), tt.want)
		}
	}
	if r, status := forwarded(t, Config{}, "", "TRACE / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"); r != nil || !strings.Contains(status, " 400 ") {
		t.Errorf("TRACE with a body: %q, forwarded %v, want 400", status, r != nil)
	}
}

// What follows a refused CONNECT is not HTTP, whatever it looks like.
func TestConnectSmugglesNothing(t *testing.T) {
	var hits atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer origin.Close()
	srv, _ := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}}))
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	all, err := io.ReadAll(c)
	if n := strings.Count(string(all), "HTTP/1.1 "); n != 1 || hits.Load() != 0 {
		t.Errorf("%d answers (%v), %d requests at the backend, want 1 and 0:\n%s", n, err, hits.Load(), all)
	}
}

// Over HTTP/2 a cookie may come in crumbs, and the host in a pseudo-field.
func TestForwardedFromHTTP2(t *testing.T) {
	got := make(chan *http.Request, 1)
	origin := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer origin.Close()
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}, PreserveHost: true})
	srv := httptest.NewUnstartedServer(b)
	srv.EnableHTTP2 = true
	srv.StartTLS()
	defer srv.Close()
	req, err := http.NewRequest("POST", srv.URL, io.NopCloser(strings.NewReader("hello")))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.example"
	req.Header["Cookie"] = []string{"a=b; c=d", "e=f"}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	r := <-got
	want := map[string]string{"Cookie": "a=b; c=d; e=f", "Via": "2 ID", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example", ":authority": "", "Host": ""}
	for name, want := range want {
		if v := r.Header[name]; anonymous(strings.Join(v, "|")) != want {
			t.Errorf("%s = %q, want %q", name, v, want)
		}
	}
	if res.ProtoMajor != 2 || r.Host != "shop.example" || !slices.Equal(r.TransferEncoding, []string{"chunked"}) {
		t.Errorf("%s, Host %q, coding %q, want HTTP/2, shop.example, chunked", res.Proto, r.Host, r.TransferEncoding)
	}
}

func TestForwardedTarget(t *testing.T) {
	for _, tt := range []struct{ prefix, target, want string }{
		{"", "/", "/"},
		{"", "/a%2Fb/%c3%a4?x=%20&y;z", "/a%2Fb/%c3%a4?x=%20&y;z"},
		{"", "//double//slash", "//double//slash"},
		{"", "/a?", "/a?"},
		{"", "/../up", "/../up"},
		{"", "http://elsewhere.example/abs?q", "/abs?q"},
		{"/app", "/", "/app/"},
		{"/app/", "/x", "/app/x"},
		{"/a%20b", "/c%2Fd", "/a%20b/c%2Fd"},
		{"/app", "/../up", ""},
		{"/app", "/x/%2e%2e/up", ""},
		{"/app", "/..%5cup", ""},
		{"/app", "/..;a=b/up", ""},
		{"/app", "/a..b", "/app/a..b"},
	} {
		r, status := forwarded(t, Config{}, tt.prefix, "GET "+tt.target+" HTTP/1.1\r\nHost: h\r\n\r\n")
		switch {
		case tt.want == "" && (r != nil || !strings.Contains(status, " 400 ")):
			t.Errorf("prefix %q, target %q: %q, forwarded %v, want 400", tt.prefix, tt.target, status, r != nil)
		case tt.want != "" && (r == nil || r.RequestURI != tt.want):
			t.Errorf("prefix %q, target %q: %q, forwarded as %v, want %q", tt.prefix, tt.target, status, r, tt.want)
		}
	}
}

// OPTIONS * goes on as such, also to an endpoint with a path.
func TestOptionsOfServer(t *testing.T) {
	for _, url := range []string{"", "/app"} {
		lines := make(chan string, 1)
		server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
			line, _ := br.ReadString('\n')
			lines <- line
			_, _ = io.WriteString(c, okHello)
		})
		b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url() + url}}})
		r := httptest.NewRequest("OPTIONS", "*", nil)
		b.ServeHTTP(httptest.NewRecorder(), r)
		if line := <-lines; line != "OPTIONS * HTTP/1.1\r\n" {
			t.Errorf("path %q: %q, want OPTIONS *", url, line)
		}
	}
}

// Whatever a client does with framing, the backend sees one request, framed by
// us.
func TestFraming(t *testing.T) {
	for _, tt := range []struct{ name, raw, want string }{
		{"length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "3"},
		{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "-1"},
		{"no body", "POST / HTTP/1.1\r\nHost: h\r\n\r\n", "0"},
		{"both", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "-1"},
	} {
		r, status := forwarded(t, Config{}, "", tt.raw)
		if r == nil {
			if !strings.Contains(status, " 400 ") {
				t.Errorf("%s: %q", tt.name, status)
			}
			continue
		}
		if got := map[int64]string{3: "3", -1: "-1", 0: "0"}[r.ContentLength]; got != tt.want {
			t.Errorf("%s: length = %d, want %s", tt.name, r.ContentLength, tt.want)
		}
		if r.Header.Get("Content-Length") != "" && r.TransferEncoding != nil {
			t.Errorf("%s: both framings passed on", tt.name)
		}
	}
}

func TestLoop(t *testing.T) {
	var b *Backend
	srv, client := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.ServeHTTP(w, r) }))
	var seen recorder
	b = newBackend(t, Config{Endpoints: []Endpoint{{URL: srv.URL}}, Observe: seen.observe, Retries: -1})
	if status, _, _ := get(t, client, srv.URL); status != 502 {
		t.Errorf("status %d, want 502", status)
	}
	if evs := seen.of(AttemptDone); len(evs) != 2 || evs[0].Failure == nil || evs[0].Failure.Cause != failure.Loop {
		t.Errorf("events = %+v, want the inner request refused as a loop", evs)
	}
	// Two backends of this kind, one behind the other, are no loop.
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Via"))
	}))
	defer origin.Close()
	inner := newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}})
	isrv, _ := front(t, inner)
	outer := newBackend(t, Config{Endpoints: []Endpoint{{URL: isrv.URL}}})
	osrv, _ := front(t, outer)
	if status, _, via := get(t, client, osrv.URL); status != 200 || !strings.Contains(via, outer.id) || !strings.Contains(via, inner.id) {
		t.Errorf("status %d, Via %q, want both", status, via)
	}
}

func TestConnectIsRefused(t *testing.T) {
	r, status := forwarded(t, Config{}, "", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	if r != nil || !strings.Contains(status, " 405 ") {
		t.Errorf("CONNECT: %q, forwarded %v, want 405", status, r != nil)
	}
}

func TestResponseFields(t *testing.T) {
	server := newFaults(t, say("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nX-Private: a\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"+
		"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nProxy-Status: inner; error=dns_error\r\nContent-Length: 5\r\n\r\nhello"))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	srv, client := front(t, b)
	_, h, _ := get(t, client, srv.URL)
	for name, want := range map[string]int{"X-Private": 0, "Keep-Alive": 0, "Proxy-Connection": 0, "Set-Cookie": 2, "Proxy-Status": 1} {
		if got := len(h.Values(name)); got != want {
			t.Errorf("%s: %d values, want %d", name, got, want)
		}
	}
}

// Spaces before the colon go where they are harmless (RFC 9112 section 5.1).
func TestSpaceBeforeColon(t *testing.T) {
	server := newFaults(t, say("HTTP/1.1 200 OK\r\nX-Spaced  : a\r\nX-Spaced: b\r\nContent-Length: 5\r\n\r\nhello"))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	srv, client := front(t, b)
	_, h, _ := get(t, client, srv.URL)
	if got := h["X-Spaced"]; len(got) != 2 {
		t.Errorf("X-Spaced = %q, want both values", got)
	}
}

// A field that an inner layer made must not end another one.
func TestNoInjection(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Evil") != "" || r.Method != "GET" {
			t.Errorf("injected: %v", r.Header)
		}
	}))
	defer origin.Close()
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}, PreserveHost: true})
	for name, change := range map[string]func(*http.Request){
		"value":  func(r *http.Request) { r.Header["X-A"] = []string{"a\r\nX-Evil: 1"} },
		"name":   func(r *http.Request) { r.Header["X-A: b\r\nX-Evil"] = []string{"1"} },
		"host":   func(r *http.Request) { r.Host = "h\r\nX-Evil: 1" },
		"method": func(r *http.Request) { r.Method = "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET" },
		"query":  func(r *http.Request) { r.URL.RawQuery = "a HTTP/1.1\r\nX-Evil: 1" },
		"path":   func(r *http.Request) { r.URL = &url.URL{Path: "/a HTTP/1.1\r\nX-Evil: 1\r\n"} },
	} {
		r := httptest.NewRequest("GET", "/", nil)
		change(r)
		rec := httptest.NewRecorder()
		b.ServeHTTP(rec, r)
		if rec.Code != 200 && rec.Code != 400 {
			t.Errorf("%s: status %d, want 200 or 400", name, rec.Code)
		}
	}
}

func TestRefusedRequestsAreObserved(t *testing.T) {
	var seen recorder
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "http://127.0.0.1:1/app"}}, Observe: seen.observe})
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, httptest.NewRequest("GET", "/../x", nil))
	evs := seen.of(AttemptDone)
	if len(evs) != 1 || evs[0].Attempt != 0 || evs[0].Failure == nil || evs[0].Failure.Cause != failure.ClientBodyError {
		t.Errorf("events = %+v, want one without an attempt", evs)
	}
}
