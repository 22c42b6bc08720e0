package semantics

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConditional(t *testing.T) { // RFC 9110 section 13.2.2
	stored := []string{`Etag: "a"`, "Last-Modified: " + at(0), date(time.Hour)}
	weakly := []string{`Etag: W/"a"`, date(time.Hour)}
	tests := []struct {
		name    string
		request []string
		stored  []string
		status  int
		want    Condition
	}{
		{"none", nil, stored, 200, Proceed},
		{"same tag", []string{`If-None-Match: "a"`}, stored, 200, NotModified},
		{"other tag", []string{`If-None-Match: "b"`}, stored, 200, Proceed},
		{"in a list", []string{`If-None-Match: "b", W/"a"`}, stored, 200, NotModified},
		{"in another line", []string{`If-None-Match: "b"`, `If-None-Match: ,"a"`}, stored, 200, NotModified},
		{"a comma inside a tag", []string{`If-None-Match: "b,"a","`}, stored, 200, Proceed},
		{"weak comparison", []string{`If-None-Match: "a"`}, weakly, 200, NotModified},
		{"any", []string{"If-None-Match: *"}, stored, 200, NotModified},
		{"any, of what has no tag", []string{"If-None-Match: *"}, nil, 200, NotModified},
		{"a tag without quotes, as the origin sent it", []string{"If-None-Match: abc"}, []string{"Etag: abc"}, 200, NotModified},
		{"no tag stored", []string{`If-None-Match: "a"`}, nil, 200, Proceed},
		{"the tag counts, not the date", []string{`If-None-Match: "b"`, "If-Modified-Since: " + at(time.Hour)}, stored, 200, Proceed},
		{"not modified since", []string{"If-Modified-Since: " + at(0)}, stored, 200, NotModified},
		{"modified since", []string{"If-Modified-Since: " + at(-time.Second)}, stored, 200, Proceed},
		{"no date", []string{"If-Modified-Since: yesterday"}, stored, 200, Proceed},
		{"the Date stands in for Last-Modified (RFC 9111 4.3.2)", []string{"If-Modified-Since: " + at(time.Hour)}, weakly, 200, NotModified},
		{"the time of receipt stands in for the Date", []string{"If-Modified-Since: " + at(2*time.Hour)}, nil, 200, NotModified},
		{"If-Match is for the origin (RFC 9110 13.2.2)", []string{`If-Match: "b"`}, stored, 200, Proceed},
		{"If-Match beside If-None-Match", []string{`If-Match: "b"`, `If-None-Match: "a"`}, stored, 200, NotModified},
		{"If-Unmodified-Since is for the origin", []string{"If-Unmodified-Since: " + at(-time.Second)}, stored, 200, Proceed},
		{"only successful responses", []string{`If-None-Match: "a"`}, stored, 404, Proceed},
	}
	for _, tt := range tests {
		got := Conditional("GET", fields(tt.request...), tt.status, fields(tt.stored...), t0.Add(2*time.Hour))
		if got != tt.want {
			t.Errorf("%s: Conditional = %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := Conditional("POST", fields(`If-None-Match: "a"`), 200, fields(stored...), t0); got != Proceed {
		t.Errorf("POST: %v", got)
	}
}

func TestRangeApplies(t *testing.T) { // RFC 9110 section 13.1.5
	stored := fields(`Etag: "a"`, "Last-Modified: "+at(0), date(time.Hour))
	for v, want := range map[string]bool{
		`"a"`: true, `"b"`: false, `W/"a"`: false, at(0): true, at(time.Second): false, "x": false, "": false,
	} {
		if got := RangeApplies(http.Header{"If-Range": {v}}, stored); got != want {
			t.Errorf("If-Range: %s = %v, want %v", v, got, want)
		}
	}
	if !RangeApplies(nil, stored) {
		t.Error("without If-Range")
	}
	if RangeApplies(http.Header{"If-Range": {`W/"a"`}}, fields(`Etag: W/"a"`)) {
		t.Error("a weak tag was taken for a strong one")
	}
}

func TestSetValidators(t *testing.T) {
	h := fields(`If-None-Match: "client"`, "If-Modified-Since: x", `If-Match: "x"`, "If-Unmodified-Since: x", "If-Range: x", "Range: x", "Accept: y")
	SetValidators(h, []string{`"a"`, `W/"b"`}, at(0))
	want := fields(`If-None-Match: "a", W/"b"`, "If-Modified-Since: "+at(0), "Accept: y")
	if d := cmp.Diff(want, h); d != "" {
		t.Error(d)
	}
}

func TestParseDate(t *testing.T) { // RFC 9110 section 5.6.7
	want := time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"} {
		if got, ok := ParseDate(s); !ok || !got.Equal(want) {
			t.Errorf("ParseDate(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{
		"", "0", "-1", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000", "Sun, 06 Nov 1994 08:49:37", "sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 gmt", "Sun, 6 Nov 1994 08:49:37 GMT", "Mon, 06 Nov 1994 08:49:37 GMT",
		"Sun,  06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994  08:49:37 GMT", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 8:49:37 GMT",
		"Sun, 06 Nov 94 08:49:37 GMT", "Sun, 06-Nov-1994 08:49:37 GMT", "Sun Nov 06 08:49:37 1994", "Sun, 06 Nov 1994 24:49:37 GMT", " Sun, 06 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Nov 1994 08.49.37 GMT",
	} {
		if got, ok := ParseDate(s); ok {
			t.Errorf("ParseDate(%q) = %v", s, got)
		}
	}
}

func TestCacheStatus(t *testing.T) { // RFC 9211 section 2
	for _, tt := range []struct {
		c    CacheStatus
		want string
	}{
		{CacheStatus{Name: "a", Hit: true, HasTTL: true, TTL: 59900 * time.Millisecond}, "a; hit; ttl=59"},
		{CacheStatus{Name: "a", Hit: true, HasTTL: true, TTL: -500 * time.Millisecond, Detail: "x"}, "a; hit; ttl=-1; detail=x"},
		{CacheStatus{Name: "a", Hit: true, Fwd: "miss", FwdStatus: 200, Stored: true, Collapsed: true}, "a; hit"},
		{CacheStatus{Name: "a", Fwd: "uri-miss", FwdStatus: 200, Stored: true, Collapsed: true}, "a; fwd=uri-miss; fwd-status=200; stored; collapsed"},
		{CacheStatus{Name: "a", Fwd: "stale", FwdStatus: 503, HasTTL: true, TTL: -2 * time.Second}, "a; fwd=stale; fwd-status=503; ttl=-2"},
		{CacheStatus{Name: "a", Fwd: "bypass", Key: "a\"\\\x00é"}, `a; fwd=bypass; key="a\"\\???"`},
	} {
		if got := string(tt.c.Append(nil)); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.c, got, tt.want)
		}
	}
}
