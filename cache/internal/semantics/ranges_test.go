package semantics

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) { // RFC 9110 section 14.1.2
	many := "bytes=0-0" + strings.Repeat(",5-5", MaxRanges-1)
	for _, tt := range []struct {
		lines []string
		want  []RangeSpec // nil = to be ignored
	}{
		{nil, nil},
		{[]string{"bytes=0-1"}, []RangeSpec{{0, 1}}},
		{[]string{"BYTES=0-"}, []RangeSpec{{0, OpenEnd}}},
		{[]string{"bytes=-5"}, []RangeSpec{{-1, 5}}},
		{[]string{"bytes=-0"}, []RangeSpec{{-1, 0}}},
		{[]string{"bytes= 0-0 , ,\t-1,"}, []RangeSpec{{0, 0}, {-1, 1}}},
		{[]string{"bytes=0-99999999999999999999"}, []RangeSpec{{0, math.MaxInt64 - 1}}},
		{[]string{"bytes=9223372036854775807-"}, []RangeSpec{{math.MaxInt64, OpenEnd}}},
		{[]string{"bytes=-99999999999999999999"}, []RangeSpec{{-1, math.MaxInt64}}},
		{[]string{"bytes=0-1", "bytes=2-3"}, nil},
		{[]string{"bytes=0-1, bytes=2-3"}, nil},
		{[]string{"lines=0-1"}, nil},
		{[]string{"bytes"}, nil},
		{[]string{"bytes="}, nil},
		{[]string{"bytes=,"}, nil},
		{[]string{"bytes=1"}, nil},
		{[]string{"bytes=-"}, nil},
		{[]string{"bytes=2-1"}, nil},
		{[]string{"bytes=0-1,2-1"}, nil},
		{[]string{"bytes=0 - 1"}, nil},
		{[]string{"bytes =0-1"}, nil},
		{[]string{"bytes=+1-2"}, nil},
		{[]string{"bytes=--1"}, nil},
		{[]string{"bytes=1-2-3"}, nil},
		{[]string{"bytes=0x1-2"}, nil},
		{[]string{many + ",7-7"}, nil},
	} {
		got, ok := ParseRange(tt.lines)
		if ok != (tt.want != nil) || ok && !reflect.DeepEqual(got, tt.want) {
			t.Errorf("ParseRange(%q) = %v, %v, want %v", tt.lines, got, ok, tt.want)
		}
	}
	if got, ok := ParseRange([]string{many}); !ok || len(got) != MaxRanges {
		t.Errorf("%d ranges: got %d, %v", MaxRanges, len(got), ok)
	}
}

func TestResolve(t *testing.T) { // RFC 9110 sections 14.1.2 and 15.3.7.2
	for _, tt := range []struct {
		field string
		size  int64
		want  string
	}{
		{"0-1", 10, "[{0 2}] true"},
		{"5-", 10, "[{5 10}] true"},
		{"-3", 10, "[{7 10}] true"},
		{"-30", 10, "[{0 10}] true"},
		{"0-99999999999999999999", 10, "[{0 10}] true"},
		{"10-", 10, "[] true"},
		{"-0", 10, "[] true"},
		{"9223372036854775807-", 10, "[] true"},
		{"-5", 0, "[] false"}, // satisfiable, but there is no way to say so
		{"0-", 0, "[] true"},
		{"-0", 0, "[] true"},
		{"0-0,2-2", 10, "[{0 1} {2 3}] true"},
		{"2-2,0-0", 10, "[{2 3} {0 1}] true"},
		{"0-0,1-1", 10, "[{0 2}] true"},
		{"5-8,0-1,7-9", 10, "[{5 10} {0 2}] true"},
		{"8-8,0-1,2-4,6-7", 10, "[{6 9} {0 5}] true"},
		{"0-0,20-30,2-2", 10, "[{0 1} {2 3}] true"},
		{"20-30,-1", 10, "[{9 10}] true"},
		{"0-,0-,0-", 10, "[{0 10}] true"},
	} {
		specs, ok := ParseRange([]string{"bytes=" + tt.field})
		if !ok {
			t.Fatalf("ParseRange(%q) failed", tt.field)
		}
		spans, ok := Resolve(specs, tt.size)
		if got := fmt.Sprint(spans, ok); got != tt.want {
			t.Errorf("Resolve(%q, %d) = %s, want %s", tt.field, tt.size, got, tt.want)
		}
	}
}

func TestParseContentRange(t *testing.T) { // RFC 9110 section 14.4
	for _, tt := range []struct {
		field string
		want  string // of String; "" = invalid
	}{
		{"bytes 0-4/10", "bytes 0-4/10"},
		{"Bytes 0-0/1", "bytes 0-0/1"},
		{"bytes 5-9/*", "bytes 5-9/*"},
		{"bytes 4-9/9", ""},
		{"bytes 4-3/10", ""},
		{"bytes */10", ""},
		{"bytes 0-4", ""},
		{"bytes=0-4/10", ""},
		{"lines 0-4/10", ""},
		{"bytes 0-4/", ""},
		{"bytes 0-4/-1", ""},
		{"bytes -4/10", ""},
		{"bytes 0-99999999999999999999/*", ""},
		{"bytes 0-4/99999999999999999999", ""},
		{"bytes 0-4/10, bytes 5-9/10", ""},
		{"", ""},
	} {
		c, ok := ParseContentRange([]string{tt.field})
		if ok != (tt.want != "") || ok && c.String() != tt.want {
			t.Errorf("ParseContentRange(%q) = %v, %v, want %q", tt.field, c, ok, tt.want)
		}
	}
	if _, ok := ParseContentRange([]string{"bytes 0-4/10", "bytes 0-4/10"}); ok {
		t.Error("two lines are one Content-Range")
	}
}

func TestSameRepresentation(t *testing.T) { // RFC 9111 section 3.4, RFC 9110 section 8.8.2.2
	const old, now = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", "Date: Sun, 06 Nov 1994 08:49:38 GMT"
	for _, tt := range []struct {
		a, b http.Header
		want bool
	}{
		{fields(`Etag: "a"`), fields(`Etag: "a"`), true},
		{fields(`Etag: "a"`), fields(`Etag: "b"`), false},
		{fields(`Etag: W/"a"`), fields(`Etag: W/"a"`), false},
		{fields(`Etag: "a"`, "Content-Encoding: gzip"), fields(`Etag: "a"`), false},
		{fields(), fields(), false},
		{fields(`Etag: ""`), fields(`Etag: ""`), true},
		{fields(`Etag: a`), fields(`Etag: a`), false},
		{fields(old, now), fields(old, now), true},
		{fields(old, now), fields(old), false},
		{fields(old), fields(old), false},
		{fields(old, strings.Replace(now, "38", "37", 1)), fields(old, now), false},
		{fields(`Etag: "a"`, old, now), fields(old, now), false},
		{fields(`Etag: W/"a"`, old, now), fields(`Etag: W/"a"`, old, now), false},
	} {
		if got := SameRepresentation(tt.a, tt.b); got != tt.want {
			t.Errorf("SameRepresentation(%v, %v) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=9223372036854775807-", "bytes=-9223372036854775808", "bytes=1-2,3-4,0-9", "x"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		specs, ok := ParseRange([]string{field})
		if !ok || size < 0 {
			return
		}
		if len(specs) == 0 || len(specs) > MaxRanges {
			t.Errorf("ParseRange(%q) = %d ranges", field, len(specs))
		}
		spans, ok := Resolve(specs, size)
		if !ok && size != 0 {
			t.Errorf("Resolve(%v, %d) is not to be answered", specs, size)
		}
		seen := make(map[int64]bool)
		for i, s := range spans {
			if s.Start < 0 || s.Start >= s.End || s.End > size {
				t.Errorf("Resolve(%q, %d) = %v", field, size, spans)
			}
			for _, o := range spans[:i] {
				if s.Start <= o.End && o.Start <= s.End {
					t.Errorf("Resolve(%q, %d) = %v: they touch", field, size, spans)
				}
			}
		}
		if size > 1<<12 {
			return
		}
		// Exactly what was asked for, byte by byte.
		for _, s := range spans {
			for at := s.Start; at < s.End; at++ {
				seen[at] = true
			}
		}
		for at := range size {
			want := false
			for _, r := range specs {
				want = want || r.Suffix() && at >= size-r.Last || !r.Suffix() && at >= r.First && at <= r.Last
			}
			if seen[at] != want {
				t.Errorf("Resolve(%q, %d) = %v: byte %d is %v, want %v", field, size, spans, at, seen[at], want)
			}
		}
	})
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-4/10", "bytes 5-9/*", "bytes */10", "bytes 9223372036854775807-9223372036854775807/*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		c, ok := ParseContentRange([]string{field})
		if !ok {
			return
		}
		if c.Start < 0 || c.Start >= c.End || c.Total >= 0 && c.End > c.Total {
			t.Errorf("ParseContentRange(%q) = %+v", field, c)
		}
		if again, ok := ParseContentRange([]string{c.String()}); !ok || again != c {
			t.Errorf("ParseContentRange(%q) = %+v, want %+v", c.String(), again, c)
		}
	})
}
