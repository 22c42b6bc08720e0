package ratelimit

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestPeerIP(t *testing.T) {
	tests := map[string]string{
		"192.0.2.1:1234":            "192.0.2.1",
		"192.0.2.1":                 "192.0.2.1",
		"[2001:db8::1]:80":          "2001:db8::1",
		"2001:db8::1":               "2001:db8::1",
		"[fe80::1%eth0]:80":         "fe80::1",
		"[::ffff:192.0.2.1]:80":     "192.0.2.1",
		"[::ffff:192.0.2.1%lo0]:80": "192.0.2.1",
		"":                          "",
		"@":                         "",
		"/run/app.sock":             "",
		"localhost:80":              "",
		"0.0.0.0:80":                "",
		"[::]:80":                   "",
		"192.0.2.1:":                "",
		"192.0.2.256:80":            "",
	}
	for remote, want := range tests {
		addr, ok := PeerIP(&http.Request{RemoteAddr: remote})
		if got := text(addr, ok); got != want {
			t.Errorf("PeerIP(%q) = %q, want %q", remote, got, want)
		}
	}
}

// text is the address, or "" for none. It fails closed: no address without ok,
// no ok without an address.
func text(addr netip.Addr, ok bool) string {
	if ok != addr.IsValid() {
		return "ok does not match the address"
	}
	if !ok {
		return ""
	}
	return addr.String()
}

func prefixes(networks ...string) []netip.Prefix {
	var p []netip.Prefix
	for _, n := range networks {
		p = append(p, netip.MustParsePrefix(n))
	}
	return p
}

func TestNewClientIPValidates(t *testing.T) {
	good := []ClientIPConfig{
		{},
		{Header: "forwarded"},
		{Header: "x-forwarded-for", TrustedProxies: prefixes("10.0.0.0/8", "::1/128", "10.1.2.3/8")},
	}
	for _, cfg := range good {
		if _, err := NewClientIP(cfg); err != nil {
			t.Errorf("NewClientIP(%+v) = %v, want no error", cfg, err)
		}
	}
	_, err := NewClientIP(ClientIPConfig{
		Header:         "X-Real-IP",
		TrustedProxies: append(prefixes("10.0.0.0/8", "0.0.0.0/0", "::/0", "::ffff:0.0.0.0/90", "::ffff:0.0.0.0/96"), netip.Prefix{}),
	})
	if err == nil {
		t.Fatal("NewClientIP accepted nonsense")
	}
	for _, want := range []string{"ClientIPConfig.Header", "[1]", "[2]", "[3]", "[4]", "[5]"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("NewClientIP = %q, want it to contain %q", err, want)
		}
	}
}

func TestClientIP(t *testing.T) {
	trusted := prefixes("10.0.0.0/8", "2001:db8:ffff::/48", "::ffff:172.16.0.0/108")
	many := strings.Repeat("10.0.0.1, ", maxHops-1)
	tests := []struct {
		name, remote, header string
		lines                []string
		want                 string
	}{
		{"stranger: fields are not looked at", "198.51.100.7:1", "", []string{"192.0.2.1"}, "198.51.100.7"},
		{"stranger, garbage", "198.51.100.7:1", "", []string{"garbage"}, "198.51.100.7"},
		{"no peer", "@", "", []string{"192.0.2.1"}, ""},
		{"one proxy", "10.0.0.1:1", "", []string{"192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:1", "", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"forged before", "10.0.0.1:1", "", []string{"203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		{"forged trusted before", "10.0.0.1:1", "", []string{"10.9.9.9, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"garbage before", "10.0.0.1:1", "", []string{"\x00\"(, , 192.0.2.1"}, "192.0.2.1"},
		{"lines", "10.0.0.1:1", "", []string{"203.0.113.9", "192.0.2.1", "10.0.0.3,10.0.0.2"}, "192.0.2.1"},
		{"forged line", "10.0.0.1:1", "", []string{"203.0.113.9", "192.0.2.1"}, "192.0.2.1"},
		{"all trusted: the first", "10.0.0.1:1", "", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"absent", "10.0.0.1:1", "", nil, ""},
		{"the other field", "10.0.0.1:1", "Forwarded", nil, ""},
		{"empty", "10.0.0.1:1", "", []string{""}, ""},
		{"empty element", "10.0.0.1:1", "", []string{"192.0.2.1,"}, ""},
		{"empty last line", "10.0.0.1:1", "", []string{"192.0.2.1", ""}, ""},
		{"unknown", "10.0.0.1:1", "", []string{"192.0.2.1, unknown"}, ""},
		{"name", "10.0.0.1:1", "", []string{"192.0.2.1, localhost"}, ""},
		{"unix socket", "10.0.0.1:1", "", []string{"192.0.2.1, unix:"}, ""},
		{"garbage behind a proxy", "10.0.0.1:1", "", []string{"192.0.2.1, x, 10.0.0.2"}, ""},
		{"port", "10.0.0.1:1", "", []string{"192.0.2.1:65535"}, "192.0.2.1"},
		{"port too large", "10.0.0.1:1", "", []string{"192.0.2.1:65536"}, ""},
		{"port empty", "10.0.0.1:1", "", []string{"192.0.2.1:"}, ""},
		{"port signed", "10.0.0.1:1", "", []string{"192.0.2.1:+80"}, ""},
		{"obfuscated port", "10.0.0.1:1", "", []string{"192.0.2.1:_p"}, ""},
		{"IPv6", "10.0.0.1:1", "", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1:1", "", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with port", "10.0.0.1:1", "", []string{"[2001:db8::1]:80"}, "2001:db8::1"},
		{"IPv6 with zone", "10.0.0.1:1", "", []string{"[fe80::1%en0]:80"}, "fe80::1"},
		{"IPv6 with empty zone", "10.0.0.1:1", "", []string{"fe80::1%"}, ""},
		{"IPv6 half open", "10.0.0.1:1", "", []string{"[2001:db8::1"}, ""},
		{"IPv6 with a tail", "10.0.0.1:1", "", []string{"[2001:db8::1]x"}, ""},
		{"IPv4 in brackets", "10.0.0.1:1", "", []string{"[192.0.2.1]"}, ""},
		{"IPv4 with zone", "10.0.0.1:1", "", []string{"192.0.2.1%en0"}, ""},
		{"mapped", "10.0.0.1:1", "", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"mapped in brackets", "10.0.0.1:1", "", []string{"[::ffff:192.0.2.1]:80"}, "192.0.2.1"},
		{"mapped proxies", "[::ffff:10.0.0.1]:1", "", []string{"192.0.2.1, ::ffff:10.0.0.2"}, "192.0.2.1"},
		{"mapped network", "172.16.5.5:1", "", []string{"192.0.2.1, 172.31.0.1"}, "192.0.2.1"},
		{"IPv6 proxy", "[2001:db8:ffff::1]:1", "", []string{"192.0.2.1, 2001:db8:ffff:1::2"}, "192.0.2.1"},
		{"unspecified", "10.0.0.1:1", "", []string{"0.0.0.0"}, ""},
		{"leading zeros", "10.0.0.1:1", "", []string{"192.0.02.1"}, ""},
		{"white space", "10.0.0.1:1", "", []string{" \t192.0.2.1 \t,\t10.0.0.2 "}, "192.0.2.1"},
		{"inner white space", "10.0.0.1:1", "", []string{"192.0.2.1 192.0.2.2"}, ""},
		{"quotes", "10.0.0.1:1", "", []string{`"192.0.2.1"`}, ""},
		{"many hops", "10.0.0.1:1", "", []string{"192.0.2.1, " + many[:len(many)-2]}, "192.0.2.1"},
		{"too many hops", "10.0.0.1:1", "", []string{"192.0.2.1, " + many + "10.0.0.1"}, ""},
		{"too many hops, all ours", "10.0.0.1:1", "", []string{many + many + "10.0.0.1"}, ""},
		{"endless", "10.0.0.1:1", "", []string{strings.Repeat("1", 1<<20)}, ""},

		{"RFC 7239 section 4", "10.0.0.1:1", "Forwarded", []string{`for="_gazonk"`}, ""},
		{"RFC 7239 section 4", "10.0.0.1:1", "Forwarded", []string{`For="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		{"RFC 7239 section 4", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.60;proto=http;by=203.0.113.43`}, "192.0.2.60"},
		{"RFC 7239 section 4", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.43, for=198.51.100.17`}, "198.51.100.17"},
		{"RFC 7239 section 7.1", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.43`, `for="[2001:db8:cafe::17]", for=unknown`}, ""},
		{"proxies", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.43`, `for=10.0.0.3;by=10.0.0.2,proto=https;for=10.0.0.2`}, "192.0.2.43"},
		{"all trusted", "10.0.0.1:1", "Forwarded", []string{`for=10.0.0.3, for=10.0.0.2`}, "10.0.0.3"},
		{"obfuscated port", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1:_a.b-c_9"`}, "192.0.2.1"},
		{"obfuscated port, bad", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1:_ä"`}, ""},
		{"obfuscated port, empty", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1:_"`}, ""},
		{"quotes left out", "10.0.0.1:1", "Forwarded", []string{`for=[2001:db8::1]:80`}, "2001:db8::1"},
		{"white space", "10.0.0.1:1", "Forwarded", []string{"for=192.0.2.1 ; proto=http\t,\tfor=10.0.0.2"}, "192.0.2.1"},
		{"empty pairs", "10.0.0.1:1", "Forwarded", []string{";;for=192.0.2.1;"}, "192.0.2.1"},
		{"commas and escapes in quotes", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;host="a, for=1.2.3.4 \" for=1.2.3.4"`}, "192.0.2.1"},
		{"without for", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1, proto=http`}, ""},
		{"empty element", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1,`}, ""},
		{"twice", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;for=192.0.2.2`}, ""},
		{"empty for", "10.0.0.1:1", "Forwarded", []string{`for=""`}, ""},
		{"no value", "10.0.0.1:1", "Forwarded", []string{`for=`}, ""},
		{"no equals sign", "10.0.0.1:1", "Forwarded", []string{`for`}, ""},
		{"open quote", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1`}, ""},
		{"open escape", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1\`}, ""},
		{"escaped address", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.\1"`}, ""},
		{"control character in quotes", "10.0.0.1:1", "Forwarded", []string{"for=192.0.2.1;host=\"\x01\""}, ""},
		{"text after quotes", "10.0.0.1:1", "Forwarded", []string{`for="192.0.2.1"x`}, ""},
		{"too many hops", "10.0.0.1:1", "Forwarded", []string{"for=192.0.2.1" + strings.Repeat(", for=10.0.0.1", maxHops)}, ""},
		{"many hops", "10.0.0.1:1", "Forwarded", []string{"for=192.0.2.1" + strings.Repeat(", for=10.0.0.1", maxHops-1)}, "192.0.2.1"},
		{"too many hops, all ours", "10.0.0.1:1", "Forwarded", []string{strings.Repeat("for=10.0.0.1,", 200) + "for=10.0.0.1"}, ""},
		// A client leaves a quote open, to swallow what its proxy adds.
		{"swallowed by a quote", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;by=", for=198.51.100.7`}, ""},
		{"swallowed, closed by the proxy", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;by=", for="[2001:db8::7]:1"`}, ""},
		{"swallowed, closed by its scheme", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;by=", for=198.51.100.7;proto="http"`}, ""},
		{"swallowed on a line of its own", "10.0.0.1:1", "Forwarded", []string{`for=192.0.2.1;by="`, `for=198.51.100.7`}, "198.51.100.7"},
	}
	for _, tt := range tests {
		find, err := NewClientIP(ClientIPConfig{TrustedProxies: trusted, Header: tt.header})
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
		name := tt.header
		if name == "" {
			name = xForwardedFor
		}
		if tt.lines != nil {
			r.Header[name] = tt.lines
		}
		addr, ok := find(r)
		if got := text(addr, ok); got != tt.want {
			t.Errorf("%s: %s: %.80q from %s = %q, want %q", name, tt.name, tt.lines, tt.remote, got, tt.want)
		}
	}
}

func TestAddrKey(t *testing.T) {
	tests := map[string]string{
		"192.0.2.1":             "192.0.2.1",
		"::ffff:192.0.2.1":      "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":  "2001:db8:1:2::/64",
		"2001:db8:1:2:ffff::":   "2001:db8:1:2::/64",
		"2001:db8:1:3::1":       "2001:db8:1:3::/64",
		"fe80::1%eth0":          "fe80::/64",
		"::ffff:192.0.2.1%eth0": "192.0.2.1",
	}
	for addr, want := range tests {
		if got := string(appendAddrKey(nil, netip.MustParseAddr(addr), 32, 64)); got != want {
			t.Errorf("appendAddrKey(%s) = %q, want %q", addr, got, want)
		}
	}
}

// Whatever a client writes in front of what its proxy appends, it is never taken
// for somebody else.
func FuzzXForwardedFor(f *testing.F) {
	for _, s := range []string{"", "192.0.2.1", "10.0.0.1, ", "[2001:db8::1]:80", "fe80::1%x", "\"", ",,,", "unknown", "::ffff:1.2.3.4"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	find, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8")})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, forged string, ownLine bool) {
		lines := []string{forged + ", 198.51.100.7, 10.0.0.2"}
		if ownLine {
			lines = []string{forged, "198.51.100.7, 10.0.0.2"}
		}
		addr, ok := find(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{xForwardedFor: lines}})
		if got := text(addr, ok); got != "198.51.100.7" {
			t.Errorf("%q = %q, want 198.51.100.7", lines, got)
		}
		// By itself it is an address, or nothing.
		addr, ok = find(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{xForwardedFor: {forged}}})
		if got := text(addr, ok); strings.Contains(got, " ") || ok && (addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified()) {
			t.Errorf("%q = %q, %t", forged, got, ok)
		}
	})
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		"", "for=192.0.2.1", `for="[2001:db8::1]:_x";proto=https, for=10.0.0.1`, `for="`, `by="\`, `by=",`, `by=";for=1.2.3.4`,
		"for=192.0.2.1,", `host="a\"b"`, ";;", "for=unknown", "for=1.2.3.4;for=1.2.3.5",
	} {
		f.Add(s)
	}
	find, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8"), Header: forwarded})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, forged string) {
		for _, appended := range []string{
			"for=198.51.100.7", `for="198.51.100.7:80"`, `for=198.51.100.7;proto="https"`, `for=198.51.100.7;host="example.com";proto=https`,
		} {
			addr, ok := find(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{forwarded: {forged + ", " + appended}}})
			if got := text(addr, ok); got != "198.51.100.7" && got != "" {
				t.Errorf("%q = %q, want 198.51.100.7 or nothing", forged+", "+appended, got)
			}
			addr, ok = find(&http.Request{RemoteAddr: "10.0.0.1:1", Header: http.Header{forwarded: {forged, appended}}})
			if got := text(addr, ok); got != "198.51.100.7" {
				t.Errorf("%q on a line before = %q, want 198.51.100.7", forged, got)
			}
		}
	})
}

func BenchmarkClientIP(b *testing.B) {
	for _, bb := range []struct {
		header, value string
		maxAllocs     float64
	}{
		{xForwardedFor, "203.0.113.9, 192.0.2.1, 10.0.0.2", 0},
		{forwarded, `for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`, 0},
	} {
		b.Run(bb.header, func(b *testing.B) {
			find, err := NewClientIP(ClientIPConfig{TrustedProxies: prefixes("10.0.0.0/8"), Header: bb.header})
			if err != nil {
				b.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = "10.0.0.1:1"
			r.Header.Set(bb.header, bb.value)
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := find(r); !ok {
					b.Fatal("no address")
				}
			}
			if got := testing.AllocsPerRun(100, func() { find(r) }); got > bb.maxAllocs {
				b.Errorf("%v allocations, want at most %v", got, bb.maxAllocs)
			}
		})
	}
}
