package semantics

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// RFC 9110 section 12.5.3.
func TestChooseCoding(t *testing.T) {
	both := [Codings]int64{1000, 300, 250}
	onlyGzip := [Codings]int64{1000, 300, 0}
	smallGzip := [Codings]int64{1000, 200, 250}
	for _, tt := range []struct {
		field string
		sizes [Codings]int64
		part  bool
		want  Coding
	}{
		{"gzip", both, false, Gzip},
		{"GZip", both, false, Gzip},
		{"x-gzip", both, false, Gzip},
		{"zstd", both, false, Zstd},
		{"zstd", onlyGzip, false, Identity},
		{"gzip, deflate, br, zstd", both, false, Zstd},
		{"gzip, deflate, br, zstd", smallGzip, false, Gzip},
		{"zstd;q=0.5, gzip;q=0.8", both, false, Gzip},
		{"zstd;q=0.5, gzip ; q=0.4", both, false, Zstd},
		{"zstd;q=0.5,gzip;Q=0.800", both, false, Gzip},
		{"br", both, false, Identity},
		{"", both, false, Identity},
		{"identity", both, false, Identity},
		{"gzip;q=0", both, false, Identity},
		{"gzip;q=0.000", both, false, Identity},
		{"gzip;q=0.001", both, false, Gzip},
		{"gzip;q=0.5, identity", both, false, Identity},
		{"gzip;q=0.5, identity;q=0.5", both, false, Gzip},
		{"gzip;q=0.5, identity;q=0.4", both, false, Gzip},
		{"gzip;q=0.5, identity;q=0", both, false, Gzip},
		{"*", both, false, Gzip},
		{"*;q=0", both, false, Identity},
		{"*;q=0, gzip", both, false, Gzip},
		{"gzip;q=0, *", both, false, Zstd},
		{"gzip;q=0, zstd;q=0, *", both, false, Identity},
		{"zstd, *;q=0.1", onlyGzip, false, Gzip},
		{"*, zstd", both, false, Zstd},
		{"identity;q=0", both, false, Identity}, // nothing else is acceptable either
		{"gzip;q=2", both, false, Identity},
		{"gzip;q=", both, false, Identity},
		{"gzip;q=x", both, false, Identity},
		{"gzip;q=1.001", both, false, Identity},
		{"gzip;level=9", both, false, Identity},
		{";q=1, gzip", both, false, Gzip},
		{",,gzip,,", both, false, Gzip},
		{"gzip" + strings.Repeat(" ", 2000), both, false, Identity},
		// A range is one of the identity, unless that is ruled out.
		{"gzip", both, true, Identity},
		{"gzip, identity;q=0", both, true, Gzip},
		{"gzip, *;q=0", both, true, Gzip},
		{"gzip, *;q=0, identity;q=0.1", both, true, Identity},
	} {
		if got := ChooseCoding([]string{tt.field}, &tt.sizes, tt.part); got != tt.want {
			t.Errorf("ChooseCoding(%q, %v, %t) = %v, want %v", tt.field, tt.sizes, tt.part, got, tt.want)
		}
	}
	if got := ChooseCoding([]string{"br", "gzip"}, &both, false); got != Gzip {
		t.Errorf("of two lines = %v, want gzip", got)
	}
	lines := []string{"gzip, deflate, br;q=0.5, zstd"}
	if n := testing.AllocsPerRun(100, func() { ChooseCoding(lines, &both, false) }); n != 0 {
		t.Errorf("ChooseCoding makes %v allocations, want none", n)
	}
}

func FuzzChooseCoding(f *testing.F) {
	for _, s := range []string{"gzip;q=0.5, *;q=0", "identity;q=0", `a="b,c";q=1`, ";;,q=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sizes := [Codings]int64{10, 5, 0}
		if got := ChooseCoding([]string{s}, &sizes, false); got != Identity && (sizes[got] == 0 || !strings.ContainsAny(s, "gG*")) {
			t.Errorf("ChooseCoding(%q) = %v", s, got)
		}
	})
}

func TestCompressible(t *testing.T) {
	for _, tt := range []struct {
		status int
		lines  string
		want   bool
	}{
		{200, "Content-Type: text/html; charset=utf-8", true},
		{200, "Content-Type: TEXT/CSS", true},
		{404, "Content-Type: text/plain", true},
		{200, "Content-Type: application/json", true},
		{200, "Content-Type: application/vnd.api+json", true},
		{200, "Content-Type: image/svg+xml", true},
		{200, "Content-Type: application/wasm", true},
		{200, "Content-Type: font/ttf", true},
		{200, "Content-Type: font/woff2", false},
		{200, "Content-Type: image/png", false},
		{200, "Content-Type: video/mp4", false},
		{200, "Content-Type: application/zip", false},
		{200, "Content-Type: application/octet-stream", false},
		{200, "Content-Type: multipart/byteranges; boundary=text/html", false},
		{200, "Content-Type: text/event-stream", false},
		{200, "Content-Type: text", false},
		{200, "Content-Type: ", false},
		{200, "X-A: b", false},
		{200, "Content-Type: text/html|Content-Type: image/png", false},
		{204, "Content-Type: text/html", false},
		{206, "Content-Type: text/html", false},
		{200, "Content-Type: text/html|Content-Encoding: br", false},
		{200, "Content-Type: text/html|Content-Range: bytes 0-1/2", false},
		{200, "Content-Type: text/html|Content-Md5: x", false},
		{200, "Content-Type: text/html|Content-Digest: x", false},
		{200, "Content-Type: text/html|Repr-Digest: x", false},
		{200, "Content-Type: text/html|Digest: x", false},
		{200, "Content-Type: text/html|Trailer: X-A", false},
		{200, "Content-Type: text/html|Cache-Control: max-age=5, No-Transform", false},
		{200, "Content-Type: text/html|Cache-Control: max-age=5|Cache-Control: no-transform", false},
		{200, `Content-Type: text/html|Cache-Control: private="no-transform"`, true},
		{200, "Content-Type: text/html|Cdn-Cache-Control: max-age=5, no-transform", false},
		{200, "Content-Type: text/html|Mine-Cache-Control: no-transform;a=b", false},
		{200, "Content-Type: text/html|Cache-Control: no-transformation", true},
	} {
		h := make(http.Header)
		for line := range strings.SplitSeq(tt.lines, "|") {
			name, value, _ := strings.Cut(line, ": ")
			h[name] = append(h[name], value)
		}
		if got := Compressible(tt.status, h, []string{"mine-cache-control"}); got != tt.want {
			t.Errorf("Compressible(%d, %s) = %t, want %t", tt.status, tt.lines, got, tt.want)
		}
	}
}

func TestVaryWith(t *testing.T) {
	for _, tt := range []struct {
		lines, want []string
	}{
		{nil, []string{"Accept-Encoding"}},
		{[]string{"X-A"}, []string{"X-A", "Accept-Encoding"}},
		{[]string{"X-A, accept-encoding"}, []string{"X-A, accept-encoding"}},
		{[]string{"X-A", "*"}, []string{"X-A", "*"}},
		{[]string{"X-Accept-Encoding"}, []string{"X-Accept-Encoding", "Accept-Encoding"}},
	} {
		room := append(make([]string, 0, 8), tt.lines...)
		got, added := VaryWith(room, "Accept-Encoding")
		if !slices.Equal(got, tt.want) || added != (len(tt.want) > len(tt.lines)) {
			t.Errorf("VaryWith(%q) = %q, %t", tt.lines, got, added)
		}
		if full := room[:cap(room)]; slices.Contains(full[len(room):], "Accept-Encoding") {
			t.Errorf("VaryWith(%q) wrote into its argument", tt.lines)
		}
	}
}

func TestWeakTag(t *testing.T) {
	for etag, want := range map[string]string{`"a"`: `W/"a"`, `W/"a"`: `W/"a"`, "": "", "a": "a"} {
		if got := WeakTag(etag); got != want {
			t.Errorf("WeakTag(%s) = %s, want %s", etag, got, want)
		}
	}
}
