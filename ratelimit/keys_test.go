package ratelimit

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestKeys(t *testing.T) {
	request := func(target, remote string, fields ...string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.RemoteAddr = target, remote
		for i := 0; i < len(fields); i += 2 {
			r.Header.Add(fields[i], fields[i+1])
		}
		return r
	}
	const v4, v6 = "192.0.2.1:1", "[2001:db8:1:2:3::4]:1"
	host := request("/", v4)
	host.Host = "WWW.Example.com"
	nobody := func(*http.Request) (string, bool) { return "", false }
	tests := []struct {
		name string
		key  func(*http.Request) (string, bool)
		r    *http.Request
		want string // "": not ok
	}{
		{"client", KeyByClient(nil), request("/", v4), "192.0.2.1"},
		{"client, IPv6", KeyByClient(PeerIP), request("/", v6), "2001:db8:1:2::/64"},
		{"client, none", KeyByClient(nil), request("/", "@"), ""},
		{"client, invalid", KeyByClient(func(*http.Request) (netip.Addr, bool) { return netip.Addr{}, true }), request("/", v4), ""},
		{"network", KeyByNetwork(nil, 24, 48), request("/", v4), "192.0.2.0/24"},
		{"network, IPv6", KeyByNetwork(nil, 24, 48), request("/", v6), "2001:db8:1::/48"},
		{"network, all bits", KeyByNetwork(nil, 99, 999), request("/", v6), "2001:db8:1:2:3::4"},
		{"header", KeyByHeader("x-api-key"), request("/", v4, "X-Api-Key", "k"), "k"},
		{"header, absent", KeyByHeader("X-Api-Key"), request("/", v4), ""},
		{"header, empty", KeyByHeader("X-Api-Key"), request("/", v4, "X-Api-Key", ""), ""},
		{"header, twice the same", KeyByHeader("X-Api-Key"), request("/", v4, "X-Api-Key", "k", "X-Api-Key", "k"), "k"},
		{"header, two", KeyByHeader("X-Api-Key"), request("/", v4, "X-Api-Key", "a", "X-Api-Key", "b"), ""},
		{"header, empty and another", KeyByHeader("X-Api-Key"), request("/", v4, "X-Api-Key", "", "X-Api-Key", "b"), ""},
		{"host", KeyByHeader("host"), host, "www.example.com"},
		{"cookie", KeyByCookie("sid"), request("/", v4, "Cookie", "a=b; sid=1"), "1"},
		{"cookie, absent", KeyByCookie("sid"), request("/", v4, "Cookie", "a=b"), ""},
		{"cookie, empty", KeyByCookie("sid"), request("/", v4, "Cookie", "sid="), ""},
		{"cookie, two", KeyByCookie("sid"), request("/", v4, "Cookie", "sid=1; sid=2"), ""},
		{"cookie, two lines", KeyByCookie("sid"), request("/", v4, "Cookie", "sid=1", "Cookie", "sid=2"), ""},
		{"cookie, empty and another", KeyByCookie("sid"), request("/", v4, "Cookie", "sid=; sid=2"), ""},
		{"cookie, twice the same", KeyByCookie("sid"), request("/", v4, "Cookie", "sid=1; sid=1"), "1"},
		{"path", KeyByPath(), request("/login", v4), "/login"},
		{"path, spelled otherwise", KeyByPath(), request("//x/..//./login", v4), "/login"},
		{"path of a directory", KeyByPath(), request("/a//b/", v4), "/a/b/"},
		{"path, above the root", KeyByPath(), request("/../../login", v4), "/login"},
		{"path, root", KeyByPath(), request("//", v4), "/"},
		{"path, none", KeyByPath(), request("*", v4), "/*"},
		{"all", KeyByAll(KeyByPath(), KeyByHeader("K")), request("/a", v4, "K", "b"), "\x02/a\x01b"},
		{"all, one missing", KeyByAll(KeyByPath(), nobody), request("/a", v4), ""},
		{"all of none", KeyByAll(), request("/a", v4), ""},
		{"first", KeyByFirst(KeyByHeader("K"), KeyByClient(nil)), request("/a", v4, "K", "192.0.2.1"), "\x00192.0.2.1"},
		{"first, the second", KeyByFirst(KeyByHeader("K"), KeyByClient(nil)), request("/a", v4), "\x01192.0.2.1"},
		{"first of nobody", KeyByFirst(nobody, nobody), request("/a", v4), ""},
	}
	for _, tt := range tests {
		got, ok := tt.key(tt.r)
		if ok != (tt.want != "") || ok && got != tt.want {
			t.Errorf("%s: %q, %t, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// Two pairs of keys that look the same when written one after the other.
func TestKeyByAllIsUnambiguous(t *testing.T) {
	key := func(a, b string) string {
		k, _ := KeyByAll(constant(a), constant(b))(nil)
		return k
	}
	if key("ab", "c") == key("a", "bc") || key("", "ab") == key("ab", "") || key("\x01a", "") == key("", "\x01a") {
		t.Error("different keys are one")
	}
}

// The default key and KeyByClient tell the same clients apart.
func TestPrefixLengths(t *testing.T) {
	h := newLimiter(t, Config{Rate: 1e-6, Burst: 1, IPv4Bits: 24, IPv6Bits: 48}).Handler(pass)
	for i, tt := range []struct {
		from string
		want int
	}{
		{"192.0.2.1:1", 204},
		{"192.0.2.255:1", 429},
		{"192.0.3.1:1", 204},
		{"[2001:db8:1:2::1]:1", 204},
		{"[2001:db8:1:ffff::1]:1", 429},
		{"[2001:db8:2:2::1]:1", 204},
		{"[::ffff:192.0.3.7%eth0]:1", 429},
	} {
		if got := get(h, tt.from).StatusCode; got != tt.want {
			t.Errorf("step %d: %s = %d, want %d", i, tt.from, got, tt.want)
		}
	}
}

// What a listener that speaks the PROXY protocol makes of its header: net/http
// takes RemoteAddr from the connection's RemoteAddr().String().
func TestPeerIPOfListeners(t *testing.T) {
	for want, addr := range map[string]net.Addr{
		"192.0.2.1":   &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 40000},      // TCP4, 16 bytes
		"192.0.2.2":   &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2).To4(), Port: 0},    // TCP4, 4 bytes, no port
		"2001:db8::1": &net.TCPAddr{IP: net.ParseIP("2001:db8::1"), Port: 65535},  // TCP6
		"fe80::1":     &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"},     // LOCAL: the connection itself
		"2001:db8::2": &net.UDPAddr{IP: net.ParseIP("2001:db8::2"), Port: 1},      // UDP6
		"192.0.2.3":   &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.3"), Port: 1}, // TCP6 with a mapped address
		"192.0.2.4":   net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.4]:1")),
	} {
		got, ok := PeerIP(&http.Request{RemoteAddr: addr.String()})
		if text(got, ok) != want {
			t.Errorf("PeerIP of %q = %q, want %q", addr, text(got, ok), want)
		}
	}
	for _, addr := range []net.Addr{
		&net.TCPAddr{Port: 1}, // UNSPEC, without an address
		&net.TCPAddr{IP: net.IPv4zero, Port: 1},
		&net.TCPAddr{IP: net.IP{1, 2, 3}, Port: 1}, // damaged
		&net.UnixAddr{Name: "/run/app.sock", Net: "unix"},
		&net.UnixAddr{Net: "unix"},
		&net.UnixAddr{Name: "@", Net: "unix"},
	} {
		if got, ok := PeerIP(&http.Request{RemoteAddr: addr.String()}); ok {
			t.Errorf("PeerIP of %q = %v, want none", addr, got)
		}
	}
}

// Whatever the fields are, a key is bounded, and it is the same for the same
// request.
func FuzzKeys(f *testing.F) {
	f.Add("/a/../b//", "sid=1; sid=2", "k", "192.0.2.1:1")
	f.Add("", "", "", "[fe80::1%x]:80")
	f.Add("//", "sid=\"a\"", "\x00", "@")
	keys := []func(*http.Request) (string, bool){
		KeyByPath(), KeyByCookie("sid"), KeyByHeader("K"), KeyByHeader("Host"), KeyByClient(nil),
		KeyByAll(KeyByPath(), KeyByHeader("K")), KeyByFirst(KeyByCookie("sid"), KeyByHeader("K"), KeyByPath()),
	}
	var limits []Limit
	for i, key := range keys {
		limits = append(limits, Limit{Name: string(rune('a' + i)), Rate: 1e9, Key: key})
	}
	l := newLimiter(f, Config{Limits: limits, MaxKeys: 64, Deny: prefixes("203.0.113.0/24")})
	f.Fuzz(func(t *testing.T, p, cookie, field, remote string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.Host, r.RemoteAddr = p, field, remote
		r.Header["Cookie"], r.Header["K"] = []string{cookie}, []string{field}
		for i, key := range keys {
			a, okA := key(r)
			b, okB := key(r)
			if a != b || okA != okB {
				t.Errorf("key %d: %q, %t and %q, %t", i, a, okA, b, okB)
			}
		}
		if clean, _ := keys[0](r); clean == "" || clean[0] != '/' {
			t.Errorf("KeyByPath of %q = %q", p, clean)
		}
		x := l.Explain(r)
		if len(x.Limits) != len(limits) && x.List == "" {
			t.Errorf("Explain = %+v, want all limits", x)
		}
		l.Handler(pass).ServeHTTP(httptest.NewRecorder(), r)
	})
}

// No network of a client's making is anybody else's, whatever it looks like.
func FuzzParseNode(f *testing.F) {
	for _, s := range []string{"", "1.2.3.4:5", "[::1]:_x", "[::ffff:1.2.3.4%z]:1", "::", "fe80::%", "[", "]:1", "1:2:3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		addr, ok := parseNode(s, true)
		if ok != addr.IsValid() || ok && (addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified()) {
			t.Errorf("parseNode(%q) = %v, %t", s, addr, ok)
		}
		if strict, strictOK := parseNode(s, false); strictOK && strict != addr {
			t.Errorf("parseNode(%q) = %v without obfuscation, %v with", s, strict, addr)
		}
		if ok {
			if again, okAgain := parseNode(addr.String(), false); !okAgain || again != addr {
				t.Errorf("parseNode(%q) = %v, but of that %v", s, addr, again)
			}
		}
		peer, peerOK := PeerIP(&http.Request{RemoteAddr: s})
		if peerOK != peer.IsValid() || peerOK && (peer.Zone() != "" || peer.Is4In6() || peer.IsUnspecified()) {
			t.Errorf("PeerIP(%q) = %v, %t", s, peer, peerOK)
		}
	})
}
