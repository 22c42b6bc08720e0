package main

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestScheme(t *testing.T) {
	trusted := proxies{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		peer, said string
		tls        bool
		want       string
	}{
		{"10.0.0.1:1", "https", false, "https"},
		{"10.0.0.1:1", "http", true, "http"},
		{"10.0.0.1:1", "http, HTTPS ", false, "https"},
		{"10.0.0.1:1", "gopher", false, "http"},
		{"10.0.0.1:1", "", true, "https"},
		{"192.0.2.1:1", "https", false, "http"},
		{"192.0.2.1:1", "http", true, "https"},
		{"garbage", "https", false, "http"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		if tt.said != "" {
			r.Header.Set("X-Forwarded-Proto", tt.said)
		}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		} else {
			r.TLS = nil
		}
		if got := trusted.scheme(r); got != tt.want {
			t.Errorf("scheme of %+v = %q", tt, got)
		}
	}
}

// Behind a proxy that is trusted, visitors are told apart, and the site and the
// log learn who they are. Of others nothing is believed.
func TestTrustedProxy(t *testing.T) {
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(site.Close)
	for _, tt := range []struct {
		args []string
		body string
		two  int // status of a second visitor's first request
		log  string
	}{
		{[]string{"-trusted-proxy", "127.0.0.0/8"}, "192.0.2.1, 127.0.0.1 https", http.StatusOK, "client=192.0.2.1"},
		{nil, "127.0.0.1 http", http.StatusTooManyRequests, "peer=127.0.0.1"},
	} {
		p := start(t, append([]string{"-backend", site.URL, "-rate", "1/h", "-burst", "1"}, tt.args...)...)
		c := newClient(t)
		first := get(t, c, p.site+"/", "X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https")
		if first.StatusCode != http.StatusOK || first.body != tt.body {
			t.Errorf("%q: first visitor: %s %q, want %q", tt.args, first.Status, first.body, tt.body)
		}
		if again := get(t, c, p.site+"/", "X-Forwarded-For", "192.0.2.1"); again.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%q: the same visitor again: %s, want 429", tt.args, again.Status)
		}
		if second := get(t, c, p.site+"/", "X-Forwarded-For", "192.0.2.2"); second.StatusCode != tt.two {
			t.Errorf("%q: another visitor: %s, want %d", tt.args, second.Status, tt.two)
		}
		p.drained(t)
		if log := p.stderr.String(); !strings.Contains(log, tt.log) {
			t.Errorf("%q: the log lacks %q:\n%s", tt.args, tt.log, log)
		}
	}
}
