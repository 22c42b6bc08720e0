package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// parts reads a multipart/byteranges body: "Content-Range=bytes" for each.
func parts(t *testing.T, a answer) (got []string) {
	t.Helper()
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" {
		t.Fatalf("Content-Type = %q, want multipart/byteranges", a.header.Get("Content-Type"))
	}
	if n := a.header.Get("Content-Length"); n != strconv.Itoa(len(a.body)) {
		t.Errorf("Content-Length = %s, want %d", n, len(a.body))
	}
	if cr := a.header.Get("Content-Range"); cr != "" {
		t.Errorf("Content-Range = %q beside several parts (RFC 9110 section 15.3.7.2)", cr)
	}
	for r := multipart.NewReader(strings.NewReader(a.body), params["boundary"]); ; {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if p.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("a part's Content-Type = %q, want text/plain", p.Header.Get("Content-Type"))
		}
		got = append(got, p.Header.Get("Content-Range")+"="+string(body))
	}
}

func TestRangesOfStored(t *testing.T) { // RFC 9110 sections 14.2 and 15.3.7
	c := newCache(t, Config{})
	o := newOrigin(page(200, "0123456789", "Cache-Control: max-age=60", "Content-Type: text/plain", `Etag: "a"`,
		"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Content-Digest: sha-256=:x:"))
	h := c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	const date, later = "Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT"
	for _, tt := range []struct {
		headers []string
		status  int
		want    string // the body, or the parts
		extra   string // Content-Range
	}{
		{[]string{"Range: bytes=0-0,2-2"}, 206, "[bytes 0-0/10=0 bytes 2-2/10=2]", ""},
		{[]string{"Range: bytes=-1,0-1"}, 206, "[bytes 9-9/10=9 bytes 0-1/10=01]", ""},
		{[]string{"Range: bytes=7-8,0-1,8-"}, 206, "[bytes 7-9/10=789 bytes 0-1/10=01]", ""},
		{[]string{"Range: bytes=0-1,40-"}, 206, "01", "bytes 0-1/10"},
		{[]string{"Range: bytes=0-3,2-5"}, 206, "012345", "bytes 0-5/10"},
		{[]string{"Range: bytes=0-1,2-3"}, 206, "0123", "bytes 0-3/10"},
		{[]string{"Range: bytes=40-50,60-"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=10-"}, 416, "", "bytes */10"},
		{[]string{"Range: bytes=9-"}, 206, "9", "bytes 9-9/10"},
		{[]string{"Range: bytes=0-1", "Range: bytes=2-3"}, 200, "0123456789", ""},
		{[]string{"Range: bytes=0-1,x"}, 200, "0123456789", ""},
		{[]string{"Range: pages=1-2"}, 200, "0123456789", ""},
		{[]string{"Range: bytes=0-0" + strings.Repeat(",2-2", 64)}, 200, "0123456789", ""},
		{[]string{"Range: bytes=0-" + strings.Repeat(",0-", 63)}, 206, "0123456789", "bytes 0-9/10"},
		{[]string{"Range: bytes=1-2", `If-Range: "a"`}, 206, "12", "bytes 1-2/10"},
		{[]string{"Range: bytes=1-2", `If-Range: W/"a"`}, 200, "0123456789", ""},
		{[]string{"Range: bytes=1-2", `If-Range: "b"`}, 200, "0123456789", ""},
		{[]string{"Range: bytes=1-2", "If-Range: " + date}, 206, "12", "bytes 1-2/10"},
		{[]string{"Range: bytes=1-2", "If-Range: " + later}, 200, "0123456789", ""},
		{[]string{"Range: bytes=40-", `If-Range: "b"`}, 200, "0123456789", ""},
		{[]string{"Range: bytes=1-2", `If-None-Match: "a"`}, 304, "", ""},
		{[]string{"Range: bytes=40-", `If-None-Match: "a"`}, 304, "", ""},
		{[]string{"Range: bytes=1-2", `If-None-Match: "b"`, "If-Modified-Since: " + later}, 206, "12", "bytes 1-2/10"},
		{[]string{"Range: bytes=1-2", "If-Modified-Since: " + later}, 304, "", ""},
	} {
		a := do(h, "GET", "/", tt.headers...)
		got := a.body
		if strings.HasPrefix(tt.want, "[") {
			got = fmt.Sprint(parts(t, a))
		}
		if a.status != tt.status || got != tt.want || a.header.Get("Content-Range") != tt.extra {
			t.Errorf("%v: got %d %q %q, want %d %q %q", tt.headers, a.status, got, a.header.Get("Content-Range"), tt.status, tt.want, tt.extra)
		}
		if a.status == 206 && a.header.Get("Content-Digest") != "" {
			t.Errorf("%v: the digest of the whole message is with a part", tt.headers)
		}
		if a.status == 416 && (a.header.Get("Cache-Control") != "" || a.header.Get("Etag") != "") {
			t.Errorf("%v: a refusal with %v", tt.headers, a.header)
		}
	}
	if a := do(h, "HEAD", "/", "Range: bytes=0-1"); a.status != 200 || a.header.Get("Content-Range") != "" || a.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %v, want 200 and the whole's length", a.status, a.header)
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestRangesOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		origin http.HandlerFunc
		field  string
		status int
		body   string
	}{
		{"suffix of nothing", page(200, "", "Cache-Control: max-age=60"), "bytes=-5", 200, ""},
		{"beyond nothing", page(200, "", "Cache-Control: max-age=60"), "bytes=0-", 416, ""},
		{"404", page(404, "gone", "Cache-Control: max-age=60"), "bytes=0-1", 404, "gone"},
		{"203", page(203, "body", "Cache-Control: max-age=60"), "bytes=0-1", 203, "body"},
		{"coded", page(200, "body", "Cache-Control: max-age=60", "Content-Encoding: x"), "bytes=0-1", 206, "bo"},
		{"coded, several", page(200, "body", "Cache-Control: max-age=60", "Content-Encoding: x"), "bytes=0-0,2-2", 200, "body"},
		{"trailers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "1")
		}, "bytes=0-1", 200, "body"},
	} {
		c := newCache(t, Config{})
		h := c.Handler(tt.origin)
		do(h, "GET", "/")
		settled(t, c)
		if a := do(h, "GET", "/", "Range: "+tt.field); a.status != tt.status || a.body != tt.body || !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("%s: got %d %q %q, want %d %q from the store", tt.name, a.status, a.body, a.cacheStatus(), tt.status, tt.body)
		}
	}
}

// TestRangesOverSockets: what arrives is framed as it should be, over both
// protocols and several chunks.
func TestRangesOverSockets(t *testing.T) {
	c := newCache(t, Config{})
	body := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	h := c.Handler(page(200, string(body), "Cache-Control: max-age=60", "Content-Type: text/plain"))
	wire(t, h, func(t *testing.T, client *http.Client, url string) {
		send(t.Context(), t, client, "GET", url)
		settled(t, c)
		a := send(t.Context(), t, client, "GET", url, "Range: bytes=65530-65545,3-5,-4")
		want := fmt.Sprintf("[bytes 65530-65545/320000=%s bytes 3-5/320000=345 bytes 319996-319999/320000=cdef]", body[65530:65546])
		if got := fmt.Sprint(parts(t, a)); a.err != nil || a.status != 206 || got != want {
			t.Errorf("got %d %v %s, want %s", a.status, a.err, got, want)
		}
		b := send(t.Context(), t, client, "GET", url, "Range: bytes=0-0,2-2")
		if a.header.Get("Content-Type") == b.header.Get("Content-Type") {
			t.Error("two answers have the same boundary")
		}
	})
}
