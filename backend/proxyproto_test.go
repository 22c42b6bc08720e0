package backend

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// introduction is a PROXY header as the other side reads it.
type introduction struct {
	version       int
	local         bool
	client, proxy netip.AddrPort
}

// readProxyHeader is a parser of its own: by the text of the specification, not
// by the code that writes.
func readProxyHeader(br *bufio.Reader) (introduction, error) {
	if first, err := br.Peek(12); err == nil && bytes.Equal(first, []byte{0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a}) {
		return readBinaryHeader(br)
	}
	line, err := br.ReadSlice('\n')
	if err != nil || len(line) > 107 {
		return introduction{}, fmt.Errorf("no header: %q, %w", line, err)
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return introduction{}, fmt.Errorf("%q does not end in CR LF", line)
	}
	f := strings.Split(text, " ")
	if len(f) == 2 && f[0] == "PROXY" && f[1] == "UNKNOWN" {
		return introduction{version: 1}, nil
	}
	if len(f) != 6 || f[0] != "PROXY" || f[1] != "TCP4" && f[1] != "TCP6" {
		return introduction{}, fmt.Errorf("fields %q", f)
	}
	in := introduction{version: 1}
	for i, a := range []*netip.AddrPort{&in.client, &in.proxy} {
		if *a, err = netip.ParseAddrPort(net.JoinHostPort(f[2+i], f[4+i])); err != nil || a.Addr().Is4() != (f[1] == "TCP4") || a.Addr().Zone() != "" {
			return introduction{}, fmt.Errorf("%s in %q: %w", f[2+i], f, err)
		}
	}
	return in, nil
}

func readBinaryHeader(br *bufio.Reader) (introduction, error) {
	var h [16]byte
	if _, err := io.ReadFull(br, h[:]); err != nil {
		return introduction{}, err
	}
	rest := make([]byte, binary.BigEndian.Uint16(h[14:]))
	if _, err := io.ReadFull(br, rest); err != nil {
		return introduction{}, err
	}
	in := introduction{version: 2}
	switch h[12] {
	case 0x20:
		in.local = true
	case 0x21:
	default:
		return introduction{}, fmt.Errorf("version and command %#x", h[12])
	}
	size := map[byte]int{0x00: 0, 0x11: 4, 0x21: 16}
	n, ok := size[h[13]]
	if want := n*2 + 4; !ok || n > 0 && len(rest) != want || n == 0 && len(rest) != 0 {
		return introduction{}, fmt.Errorf("family %#x with %d bytes", h[13], len(rest))
	}
	if n == 0 {
		return in, nil
	}
	at := func(i int) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(rest[i*n : (i+1)*n])
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(rest[2*n+2*i:]))
	}
	in.client, in.proxy = at(0), at(1)
	return in, nil
}

func TestProxyHeader(t *testing.T) {
	ap := netip.MustParseAddrPort
	for _, tt := range []struct {
		client, local string
		want          [2]string // "" is unknown
	}{
		{"192.0.2.1:1234", "198.51.100.2:443", [2]string{"192.0.2.1:1234", "198.51.100.2:443"}},
		{"[2001:db8::1]:65535", "[2001:db8::2]:1", [2]string{"[2001:db8::1]:65535", "[2001:db8::2]:1"}},
		{"192.0.2.1:1234", "[2001:db8::2]:443", [2]string{"[::ffff:192.0.2.1]:1234", "[2001:db8::2]:443"}},
		{"[2001:db8::1]:1", "192.0.2.1:2", [2]string{"[2001:db8::1]:1", "[::ffff:192.0.2.1]:2"}},
		{"[::ffff:192.0.2.1]:1234", "[::ffff:192.0.2.2]:443", [2]string{"192.0.2.1:1234", "192.0.2.2:443"}},
		{"[fe80::1%eth0]:1", "[fe80::2%eth0]:2", [2]string{"[fe80::1]:1", "[fe80::2]:2"}},
		{"192.0.2.1:1234", "", [2]string{"192.0.2.1:1234", "0.0.0.0:0"}},
		{"[2001:db8::1]:1", "", [2]string{"[2001:db8::1]:1", "[::]:0"}},
		{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", [2]string{"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"}},
		{"", "198.51.100.2:443", [2]string{}},
		{"@", "", [2]string{}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.client
		p := peersOf(r)
		if tt.local != "" {
			p.local = plain(ap(tt.local))
		}
		for version := 1; version <= 2; version++ {
			in, err := readProxyHeader(bufio.NewReader(bytes.NewReader(append(proxyHeader(version, p), "GET / HTTP/1.1\r\n"...))))
			var got [2]string
			if in.client.IsValid() {
				got = [2]string{in.client.String(), in.proxy.String()}
			}
			if err != nil || in.version != version || got != tt.want || in.local {
				t.Errorf("%q, %q in version %d: %+v, %v, want %q", tt.client, tt.local, version, in, err, tt.want)
			}
		}
	}
	in, err := readProxyHeader(bufio.NewReader(bytes.NewReader(proxyHeader(2, peers{}))))
	if err == nil && !in.local {
		err = errors.New("not LOCAL")
	}
	if _, peek := readProxyHeader(bufio.NewReader(bytes.NewReader(proxyHeader(1, peers{})))); err != nil || peek != nil {
		t.Errorf("own connections: %v, %v", err, peek)
	}
}

// proxied serves connections that begin with a PROXY header and answers with
// what was in it.
type proxied struct {
	mu    sync.Mutex
	seen  []introduction
	wrong error
}

func (p *proxied) script(wrap *tls.Config) script {
	return func(c net.Conn, br *bufio.Reader) {
		in, err := readProxyHeader(br)
		p.mu.Lock()
		p.seen = append(p.seen, in)
		p.wrong = errors.Join(p.wrong, err)
		p.mu.Unlock()
		if err != nil {
			return
		}
		var conn net.Conn = buffered{c, br}
		if wrap != nil {
			conn = tls.Server(conn, wrap)
			br = bufio.NewReader(conn)
		}
		for { // keeps the connection open, whatever the request says
			if r, ok := readRequest(br); !ok || r.Method != "GET" && r.Method != "POST" {
				return
			}
			text := in.client.String()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
		}
	}
}

type buffered struct {
	net.Conn
	br *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.br.Read(p) }

func TestProxyProtocol(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, "127.0.0.1", farFuture())
	for _, tt := range []struct {
		name, scheme string
		version      int
		tls          *tls.Config
	}{
		{"1", "http", 1, nil},
		{"2", "http", 2, nil},
		{"1 before TLS", "https", 1, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}},
		{"2 before TLS", "https", 2, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var origin proxied
			server := newFaults(t, origin.script(tt.tls))
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: tt.scheme + "://" + server.addr, ProxyProtocol: tt.version}}, TLS: trusting(ca)})
			srv, client := front(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if as := r.Header.Get("X-As"); as != "" {
					r.RemoteAddr = as
				}
				b.ServeHTTP(w, r)
			}))
			for _, as := range []string{"192.0.2.1:1", "192.0.2.2:2", "192.0.2.1:1", "[2001:db8::1]:3", ""} {
				req, err := http.NewRequest("GET", srv.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("X-As", as)
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				ok := string(body) == as || as == "" && strings.HasPrefix(string(body), "127.0.0.1:")
				if res.StatusCode != 200 || !ok || err != nil {
					t.Errorf("as %q: status %d, %q, %v, want the address", as, res.StatusCode, body, err)
				}
			}
			origin.mu.Lock()
			defer origin.mu.Unlock()
			if origin.wrong != nil {
				t.Error(origin.wrong)
			}
			if len(origin.seen) != 5 {
				t.Errorf("%d connections for 5 requests, want one each", len(origin.seen))
			}
			for i, in := range origin.seen {
				want := netip.MustParseAddrPort(srv.Listener.Addr().String())
				if got := netip.AddrPortFrom(in.proxy.Addr().Unmap(), in.proxy.Port()); in.version != tt.version || in.local || got != want {
					t.Errorf("connection %d: %+v, want version %d and our end %s", i+1, in, tt.version, want)
				}
			}
		})
	}
}

// A check is nobody's.
func TestProxyProtocolOfChecks(t *testing.T) {
	for version := 1; version <= 2; version++ {
		var origin proxied
		server := newFaults(t, origin.script(nil))
		newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url(), ProxyProtocol: version}}, Health: Health{Path: "/"}})
		await(t, "a check", func() bool {
			origin.mu.Lock()
			defer origin.mu.Unlock()
			return len(origin.seen) > 0
		})
		origin.mu.Lock()
		if in := origin.seen[0]; origin.wrong != nil || in.client.IsValid() || in.version != version || in.local != (version == 2) {
			t.Errorf("version %d: %+v, %v, want nobody's address", version, in, origin.wrong)
		}
		origin.mu.Unlock()
	}
}

func TestProxyProtocolConfig(t *testing.T) {
	for _, ep := range []Endpoint{
		{URL: "http://a", ProxyProtocol: 3},
		{URL: "http://a", ProxyProtocol: -1},
		{URL: "h2c://a", ProxyProtocol: 1},
		{URL: "h2://a", ProxyProtocol: 2},
		{Handler: http.NotFoundHandler(), ProxyProtocol: 1},
	} {
		if _, err := New(Config{Endpoints: []Endpoint{ep}}); err == nil || !strings.Contains(err.Error(), "Config.Endpoints[0].ProxyProtocol is ") {
			t.Errorf("New with %+v: %v, want an error that names the field", ep, err)
		}
	}
}
