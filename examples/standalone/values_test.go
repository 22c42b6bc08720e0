package main

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func sprint(v any) string { return fmt.Sprintf("%+v", v) }

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"4096": 4096, "64MB": 64e6, "64mb": 64e6, "64MiB": 64 << 20, "1 GiB": 1 << 30, "1.5GiB": 3 << 29, "0.5kB": 500, "2TB": 2e12, "10b": 10, "1KiB": 1024,
	} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]float64{"10/s": 10, "0.5/s": 0.5, "600/m": 10, "3600/h": 1, "1.50/s": 1.5} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("parseRate(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
}

func TestParseAddr(t *testing.T) {
	for _, s := range []string{":0", ":8080", "127.0.0.1:80", "[::1]:80", "localhost:65535", "a-b.example:1", "[fe80::1%eth0]:80", "0.0.0.0:1"} {
		if got, err := parseAddr(s); err != nil || got != s {
			t.Errorf("parseAddr(%q) = %q, %v", s, got, err)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", true},
		{"127.0.0.1:80", "127.0.0.1:81", false},
		{"127.0.0.1:0", "127.0.0.1:0", false},
		{":0", ":0", false},
		{":80", "127.0.0.1:80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"[::]:80", "10.0.0.1:80", true},
		{"localhost:80", "127.0.0.1:80", true},
		{"[::ffff:127.0.0.1]:80", "127.0.0.1:80", true},
		{"[::1]:80", "127.0.0.1:80", false},
		{"A.example:80", "a.EXAMPLE:80", true},
	} {
		if got := overlap(tt.a, tt.b); got != tt.want || overlap(tt.b, tt.a) != tt.want {
			t.Errorf("overlap(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

// Whatever stands on the command line is refused in one line or means something
// that the parts can work with.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "127.0.0.1:8080", "http://a:80/x", "64MiB", "10/s", "1h", "/healthz", "20", "true", "h2c://[::1]:1", "1..5GB", "http://a%zz", "[::1]:0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil && n < 0 {
			t.Errorf("parseSize(%q) = %d", s, n)
		}
		if r, err := parseRate(s); err == nil && (r <= 0 || math.IsNaN(r) || math.IsInf(r, 0)) {
			t.Errorf("parseRate(%q) = %v", s, r)
		}
		if d, err := parsePositive(s); err == nil && (d <= 0 || d > maxDuration) {
			t.Errorf("parsePositive(%q) = %v", s, d)
		}
		if u, err := parseBackend(s); err == nil && (u.Hostname() == "" || strings.ContainsAny(u.Host, " \r\n\x00")) {
			t.Errorf("parseBackend(%q) = %q", s, u)
		}
		if p, err := parsePath(s); err == nil && (p[0] != '/' || strings.ContainsAny(p, " \r\n\x00")) {
			t.Errorf("parsePath(%q) = %q", s, p)
		}
		if a, err := parseAddr(s); err == nil && strings.ContainsAny(a, " \r\n\x00") {
			t.Errorf("parseAddr(%q) = %q", s, a)
		}
		for _, name := range []string{"listen", "backend", "cache-memory", "rate", "burst", "health"} {
			if _, err := parseFlags([]string{"-" + name + "=" + s}); err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("parseFlags(-%s=%q): %q has more than one line", name, s, err)
			}
		}
	})
}
