package semantics

import (
	"net/http"
	"strings"
	"testing"
)

// TestVariantFolding is RFC 9111 section 4.1: what a field's own specification
// says means the same selects the same.
func TestVariantFolding(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []string
		same bool
	}{
		{"Accept-Language", []string{"en, de"}, []string{"eN, De"}, true},
		{"Accept-Language", []string{"en, de"}, []string{" en ,\t  de "}, true},
		{"Accept-Language", []string{"en, de"}, []string{"en", "de"}, true},
		{"Accept-Language", []string{"en, de"}, []string{",en,, de,"}, true},
		{"Accept-Language", []string{"en, de"}, []string{"en", "", "de"}, true},
		{"Accept-Language", []string{"en, de"}, []string{"de, en"}, false},
		{"Accept-Language", []string{"en;q=0.5"}, []string{"en ; q=0.500"}, true},
		{"Accept-Language", []string{"en;q=0.5"}, []string{"en;Q=0.5"}, true},
		{"Accept-Language", []string{"en;q=0.5"}, []string{"en;q=0.501"}, false},
		{"Accept-Language", []string{"en;q=0"}, []string{"en"}, false},
		{"Accept-Language", []string{"en;q=0"}, []string{"en;q=0.000"}, true},
		{"Accept-Language", []string{"en;q=0"}, []string{"en;q=0."}, true},
		{"Accept-Language", []string{"en, de"}, []string{"en; q = 1, de"}, false},
		{"Accept-Language", []string{"en"}, []string{"en;q=1"}, true},
		{"Accept-Language", []string{"en"}, []string{"en;q=1."}, true},
		{"Accept-Language", []string{"en"}, []string{"en;q=1.0"}, true},
		{"Accept-Language", []string{"en"}, []string{"en;q=1.000"}, true},
		{"Accept-Language", []string{"en"}, []string{"en;q=1.0000"}, false},
		{"Accept-Language", []string{"en"}, []string{"en;q=1.001"}, false},
		{"Accept-Language", []string{""}, []string{","}, true},
		{"Accept-Language", []string{""}, nil, false},
		{"Accept-Language", []string{"e n"}, []string{"en"}, false},
		{"Accept-Language", []string{"e n"}, []string{"e  n"}, false},
		{"Accept-Language", []string{"k"}, []string{"\u212a"}, false},
		{"Accept-Language", []string{`"en"`}, []string{`"EN"`}, false},
		{"Accept-Encoding", []string{"gzip, br"}, []string{"GZip,BR;q=1"}, true},
		{"Accept-Encoding", []string{"gzip, br"}, []string{"br, gzip"}, false},
		{"Accept-Encoding", []string{"gzip;q=1, br"}, []string{"gzip, br;q=1.00"}, true},
		{"Accept-Encoding", []string{"gzip", "br"}, []string{"gzip,br"}, true},
		{"Accept-Encoding", []string{"gzip;q=1;x"}, []string{"gzip;x"}, false},
		{"Accept", []string{"text/html;Level=A"}, []string{"TEXT/Html; level=A"}, true},
		{"Accept", []string{"text/html;level=A"}, []string{"text/html;level=a"}, false},
		{"Accept", []string{`text/html;level="A, B"`}, []string{`Text/HTML ; level="A, B"`}, true},
		{"Accept", []string{`text/html;level="A, B"`}, []string{`text/html;level="a, B"`}, false},
		{"Accept", []string{`text/html;level="A, B"`}, []string{`text/html;level="A,B"`}, false},
		{"Accept", []string{`text/html;level="A\", B"`}, []string{`TEXT/html;level="A\", B"`}, true},
		{"Accept", []string{`text/html;level="A`}, []string{`text/HTML;level="A`}, false},
		{"Accept", []string{"text/html;q=1;ext=1"}, []string{"text/html;ext=1"}, false},
		{"Accept", []string{"text/html;level=1;q=1.0"}, []string{"text/html;level=1"}, true},
		{"Accept", []string{"text/html;level=1 , */*"}, []string{"text/html;level=1,*/*"}, true},
		{"X-Other", []string{"en"}, []string{"EN"}, false},
		{"X-Other", []string{"1, 2"}, []string{" 1,2 "}, true},
		{"X-Other", []string{"1, 2"}, []string{"1", "2"}, true},
		{"X-Other", []string{"1,,2"}, []string{"1,2"}, false},
		{"User-Agent", []string{"A;q=1"}, []string{"A"}, false},
	} {
		key := func(lines []string) string {
			h := http.Header{}
			if lines != nil {
				h[tt.name] = lines
			}
			return string(AppendVariant(nil, []string{tt.name}, h))
		}
		if got := key(tt.a) == key(tt.b); got != tt.same {
			t.Errorf("%s: %q and %q the same = %v, want %v (%q, %q)", tt.name, tt.a, tt.b, got, tt.same, key(tt.a), key(tt.b))
		}
	}
}

// FuzzFold: folding is idempotent, and nothing of a field gets out of its place
// in the key.
func FuzzFold(f *testing.F) {
	f.Add("gzip;q=1.0, BR ; q=0.50,,", "de")
	f.Add("text/html;a=\"B, \\\" C\";q=1, */*", "\x00")
	f.Fuzz(func(t *testing.T, field, other string) {
		for _, fold := range []folding{foldAll, foldMedia} {
			got := string(appendFolded(nil, []string{field}, fold))
			if strings.IndexByte(field, 0) < 0 {
				if again := string(appendFolded(nil, []string{got}, fold)); again != got {
					t.Fatalf("%q is %q, which is %q", field, got, again)
				}
				if len(got) > len(field) {
					t.Fatalf("%q grew to %q", field, got)
				}
			}
			if strings.Count(got, "\x00") != strings.Count(got, "\x00n") {
				t.Fatalf("%q: a NUL is not escaped in %q", field, got)
			}
		}
		names := []string{"Accept", "Accept-Encoding"}
		one := string(AppendVariant(nil, names, http.Header{"Accept": {field}, "Accept-Encoding": {other}}))
		two := string(AppendVariant(nil, names, http.Header{"Accept": {field + "x"}, "Accept-Encoding": {other}}))
		if one == two {
			t.Fatalf("%q with and without an x at its end is %q", field, one)
		}
	})
}
