package semantics

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func normaliser(t testing.TB, encodings, languages, types string) *Normaliser {
	t.Helper()
	n, wrong := NewNormaliser(strings.Fields(encodings), strings.Fields(languages), strings.Fields(types))
	if wrong != nil {
		t.Fatal(wrong)
	}
	return n
}

// normalised is what one field with the lines becomes; "-" is absent.
func normalised(n *Normaliser, name string, lines ...string) string {
	h := http.Header{}
	if lines != nil {
		h[name] = lines
	}
	was := h.Clone()
	out := h.Clone()
	n.Select(h).Apply(out)
	if fmt.Sprint(h) != fmt.Sprint(was) {
		return "the request was changed"
	}
	switch lines := out[name]; len(lines) {
	case 0:
		return "-"
	case 1:
		return lines[0]
	default:
		return fmt.Sprint(lines)
	}
}

// TestNormaliseEncoding is RFC 9110 section 12.5.3.
func TestNormaliseEncoding(t *testing.T) {
	for _, tt := range []struct{ set, field, want string }{
		{"br gzip", "gzip, deflate, br, zstd", "br"},
		{"gzip br", "gzip, deflate, br, zstd", "gzip"},
		{"br gzip", "gzip;q=1.0, br;q=0.9", "gzip"},
		{"br gzip", "gzip;q=0.5,br;q=0.501", "br"},
		{"br gzip", "GZIP", "gzip"},
		{"br gzip", "x-gzip", "gzip"},
		{"x-gzip", "gzip", "x-gzip"},
		{"br gzip", "gzip;q=0", "identity"},
		{"br gzip", "gzip;q=0.000, br;q=0", "identity"},
		{"br gzip", "zstd", "identity"},
		{"br gzip", "", "identity"},
		{"br gzip", "identity", "identity"},
		{"br gzip", "*", "br"},
		{"br gzip", "*;q=0.1", "br"},
		{"br gzip", "br;q=0, *", "gzip"},
		{"br gzip", "*;q=0", "identity"},
		{"br gzip", "*;q=0, gzip", "gzip"},
		{"br gzip", "identity;q=0", "identity"},
		{"br gzip", "gzip, identity;q=0", "gzip"},
		{"br gzip", "identity, gzip;q=0.5", "identity"},
		{"br gzip", "gzip;q=0.5, *;q=0.8", "br"},
		{"gzip", "gzip;q=0.5, *;q=0.8", "identity"},
		{"gzip", "gzip, identity", "gzip"},
		{"identity gzip", "gzip, identity", "identity"},
		{"identity gzip", "gzip", "gzip"},
		{"gzip", "gzip;q=2", "identity"},
		{"gzip", "gzip;q=-1", "identity"},
		{"gzip", "gzip;q=abc, *;q=0", "identity"},
		{"gzip", "gzip;q=.5", "gzip"},
		{"gzip", "gzip ; q=0.5 , , br", "gzip"},
		{"gzip", "gzip;q=0, gzip", "identity"},
		{"gzip", "gzip;q=0.0001", "gzip"},
		{"gzip", strings.Repeat(" ", 1024) + "gzip", "identity"},
		{"gzip", strings.Repeat(" ", 1000) + "gzip", "gzip"},
	} {
		if got := normalised(normaliser(t, tt.set, "", ""), "Accept-Encoding", tt.field); got != tt.want {
			t.Errorf("%q of {%s} = %q, want %q", tt.field, tt.set, got, tt.want)
		}
	}
	n := normaliser(t, "br gzip", "", "")
	if got := normalised(n, "Accept-Encoding"); got != "identity" {
		t.Errorf("absent = %q, want identity", got)
	}
	if got := normalised(n, "Accept-Encoding", "gzip;q=0.5", "br;q=0.9"); got != "br" {
		t.Errorf("two lines = %q, want br", got)
	}
	if got := normalised(n, "Accept-Language", "De"); got != "De" {
		t.Errorf("a field that is not configured = %q, want it as it was", got)
	}
}

// TestNormaliseLanguage is RFC 4647 sections 3.3.1 and 3.4.
func TestNormaliseLanguage(t *testing.T) {
	for _, tt := range []struct{ set, field, want string }{
		{"en de", "de", "de"},
		{"en de", "de-AT", "de"},
		{"en de", "de-AT, en;q=0.8", "de"},
		{"en de", "DE-at;q=0.9, EN;q=0.8", "de"},
		{"en de", "en, de", "en"},
		{"de en", "en, de", "de"},
		{"en de", "fr", "-"},
		{"en de", "fr, de;q=0.1", "de"},
		{"en de", "*", "en"},
		{"en de", "fr, *;q=0.5", "en"},
		{"en de", "de-CH, *;q=0.5", "de"},
		{"en de", "en;q=0, *", "de"},
		{"en de", "*;q=0", "-"},
		{"en de", "de;q=0", "-"},
		{"en de", "de;q=0, de-AT", "-"},
		{"en de", "de-AT;q=0, de", "de"},
		{"en de", "de-AT;q=0", "-"},
		{"en de", "", "-"},
		{"en de", "deu", "-"},
		{"de-AT de", "de", "de"},
		{"de-AT de-DE", "de", "de-AT"},
		{"de de-AT", "de-AT", "de-AT"},
		{"de-AT", "de", "de-AT"},
		{"de-AT", "de-DE", "-"},
		{"de-AT en", "de;q=0.5, de-AT;q=0, en;q=0.1", "en"},
		{"de-AT en", "de-AT;q=0.9, de;q=0, en;q=0.1", "de-AT"},
		{"zh-Hant zh-Hans", "zh-Hans-CN", "zh-Hans"},
		{"zh zh-Hant", "zh-Hant-TW", "zh-Hant"},
		{"zh zh-Hant-TW", "zh-Hant", "zh-Hant-TW"},
		{"en de", "de-, en;q=0.1", "en"},
		{"en de", "toolonglanguage, de;q=0.1", "de"},
		{"pt-BR en", "PT-br", "pt-BR"},
		{"en de", "*-CH, de;q=0.1", "de"},
		{"en de", "de-DE;q=0.3, de-AT;q=0.7, en;q=0.5", "de"},
	} {
		if got := normalised(normaliser(t, "", tt.set, ""), "Accept-Language", tt.field); got != tt.want {
			t.Errorf("%q of {%s} = %q, want %q", tt.field, tt.set, got, tt.want)
		}
	}
	if got := normalised(normaliser(t, "", "en de", ""), "Accept-Language"); got != "-" {
		t.Errorf("absent = %q, want absent", got)
	}
}

// TestNormaliseType is RFC 9110 section 12.5.1.
func TestNormaliseType(t *testing.T) {
	const (
		chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
		image  = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
		safari = "image/webp,image/png,image/svg+xml,image/*;q=0.8,video/*;q=0.8,*/*;q=0.5"
	)
	for _, tt := range []struct{ set, field, want string }{
		{"application/json text/html", chrome, "text/html"},
		{"image/avif image/webp image/jpeg", image, "image/avif"},
		{"image/avif image/webp image/jpeg", safari, "image/webp"},
		{"text/html application/json", "*/*", "text/html"},
		{"text/html application/json", "application/*", "application/json"},
		{"text/html application/json", "application/*, text/html;q=0.9", "application/json"},
		{"text/html application/json", "text/html;q=0, */*", "application/json"},
		{"text/html application/json", "image/png", "-"},
		{"text/html application/json", "image/png, */*;q=0", "-"},
		{"text/html", "Text/HTML", "text/html"},
		{"text/html text/plain", "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5", "text/plain"},
		{"text/html image/jpeg", "text/*;q=0.3, text/plain;q=0.7, */*;q=0.5", "image/jpeg"},
		{"application/json text/html", "text/html;level=1, */*;q=0.1", "application/json"},
		{"text/html application/json", "application/json;charset=utf-8", "application/json"},
		{"text/html application/json", `application/json;x="a,b;q=0";q=0.5, text/html;q=0.4`, "text/html"},
		{"text/html application/json", `image/png;x="text/html,"`, "-"},
		{"text/html application/json", "text/html;q=1.5, application/json;q=0.1", "application/json"},
		{"text/html application/json", "*;q=.2", "text/html"},
		{"text/html", "", "-"},
		{"text/html", "text", "-"},
		{"text/html", "text/html/x", "-"},
		{"text/html", "*/html", "-"},
	} {
		if got := normalised(normaliser(t, "", "", tt.set), "Accept", tt.field); got != tt.want {
			t.Errorf("%q of {%s} = %q, want %q", tt.field, tt.set, got, tt.want)
		}
	}
}

func TestNewNormaliser(t *testing.T) {
	if n, err := NewNormaliser(nil, []string{}, nil); n != nil || err != nil {
		t.Errorf("NewNormaliser() of nothing = %v, %v, want nil", n, err)
	}
	many := make([]string, maxChoices+1)
	for i := range many {
		many[i] = fmt.Sprint("x", i)
	}
	for _, tt := range []struct {
		encodings, languages, types []string
		want                        string
	}{
		{[]string{"gzip", "*"}, nil, nil, `Encodings has "*"`},
		{[]string{"g zip"}, nil, nil, `Encodings has "g zip"`},
		{[]string{"gzip", "x-GZIP"}, nil, nil, `Encodings has "x-GZIP" twice`},
		{many, nil, nil, "Encodings has 33 members"},
		{nil, []string{"de_AT"}, nil, `Languages has "de_AT"`},
		{nil, []string{"de", "DE"}, nil, `Languages has "DE" twice`},
		{nil, nil, []string{"text/*"}, `Types has "text/*"`},
		{nil, nil, []string{"text/html;level=1"}, `Types has "text/html;level=1"`},
		{nil, nil, []string{"html"}, `Types has "html"`},
	} {
		if _, wrong := NewNormaliser(tt.encodings, tt.languages, tt.types); len(wrong) != 1 || !strings.Contains(wrong[0].Error(), tt.want) {
			t.Errorf("NewNormaliser(%v, %v, %v) = %v, want %s", tt.encodings, tt.languages, tt.types, wrong, tt.want)
		}
	}
}

// FuzzNormalise: what comes out is of the set, or nothing, and stays what it is.
func FuzzNormalise(f *testing.F) {
	f.Add("gzip;q=0.5, *;q=0", "de-AT, en;q=0.8", `text/*;q=0.3, text/html;a="b,c";q=.7`, false)
	f.Add("x-gzip", "*", "*", true)
	f.Add("identity;q=0", "de;q=0,de-AT", "text/html;level=1", false)
	codings, tags, types := []string{"gzip", "br", "zstd"}, []string{"de-AT", "de", "en", "zh-Hant-TW", "pt-BR", "pt"}, []string{"text/html", "text/plain", "application/json"}
	n, err := NewNormaliser(codings, tags, types)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, encoding, language, media string, cut bool) {
		h := http.Header{}
		for name, v := range map[string]string{"Accept-Encoding": encoding, "Accept-Language": language, "Accept": media} {
			h[name] = []string{v}
			if cut {
				h[name] = []string{v[:len(v)/2], v[len(v)/2:]}
			}
		}
		s := n.Select(h)
		out := h.Clone()
		s.Apply(out)
		for name, set := range map[string][]string{"Accept-Encoding": append(codings, "identity"), "Accept-Language": tags, "Accept": types} {
			lines, ok := out[name]
			if ok && (len(lines) != 1 || !slices.Contains(set, lines[0])) || !ok && name == "Accept-Encoding" {
				t.Fatalf("%s of %q is %q", name, h[name], lines)
			}
		}
		again := out.Clone()
		n.Select(out).Apply(again)
		if fmt.Sprint(again) != fmt.Sprint(out) {
			t.Fatalf("%v becomes %v, which becomes %v", h, out, again)
		}
		names := []string{"Accept", "Accept-Encoding", "Accept-Language"}
		if string(s.AppendVariant(nil, names)) != string(AppendVariant(nil, names, out)) {
			t.Fatalf("%v selects another variant than what is sent in its place, %v", h, out)
		}
	})
}

func TestSelectAllocations(t *testing.T) {
	n := normaliser(t, "br gzip", "en de", "text/html application/json")
	h := http.Header{
		"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Accept-Language": {"de-AT,de;q=0.9,en;q=0.8"},
		"Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
	}
	buf := make([]byte, 0, 256)
	names := []string{"Accept", "Accept-Encoding", "Accept-Language"}
	if got := testing.AllocsPerRun(100, func() { buf = n.Select(h).AppendVariant(buf[:0], names) }); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func BenchmarkSelect(b *testing.B) {
	n := normaliser(b, "br gzip", "en de", "text/html application/json")
	h := http.Header{
		"Accept-Encoding": {"gzip, deflate, br, zstd"}, "Accept-Language": {"de-AT,de;q=0.9,en;q=0.8"},
		"Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"},
	}
	b.ReportAllocs()
	for b.Loop() {
		n.Select(h)
	}
}

func TestCodingsAccepted(t *testing.T) {
	for _, tt := range []struct {
		field  []string
		coding []string
		want   bool
	}{
		{nil, nil, true},
		{nil, []string{"identity"}, true},
		{nil, []string{"gzip"}, false},
		{[]string{""}, []string{"gzip"}, false},
		{[]string{"gzip"}, []string{"gzip"}, true},
		{[]string{"gzip"}, []string{"x-gzip"}, true},
		{[]string{"gzip;q=0.1, identity"}, []string{"GZIP"}, true},
		{[]string{"gzip;q=0"}, []string{"gzip"}, false},
		{[]string{"*"}, []string{"br"}, true},
		{[]string{"*, br;q=0"}, []string{"br"}, false},
		{[]string{"gzip"}, []string{"gzip, br"}, false},
		{[]string{"gzip", "br"}, []string{"gzip", "br"}, true},
		{[]string{"gzip"}, []string{"g zip"}, false},
		{[]string{"gzip"}, []string{","}, true},
	} {
		if got := CodingsAccepted(http.Header{"Accept-Encoding": tt.field}, tt.coding); got != tt.want {
			t.Errorf("CodingsAccepted(%q, %q) = %v, want %v", tt.field, tt.coding, got, tt.want)
		}
	}
}

// TestNamedBy is RFC 9111 section 4.3.4.
func TestNamedBy(t *testing.T) {
	for _, tt := range []struct {
		etag, stored string
		want         bool
	}{
		{`"a"`, `"a"`, true},
		{`"a"`, `W/"a"`, false},
		{`W/"a"`, `"a"`, true},
		{`W/"a"`, `W/"a"`, true},
		{`"a"`, `"b"`, false},
		{`W/"a"`, `W/"b"`, false},
		{"a", "a", false},
	} {
		if got := NamedBy(tt.etag, tt.stored); got != tt.want {
			t.Errorf("NamedBy(%s, %s) = %v, want %v", tt.etag, tt.stored, got, tt.want)
		}
	}
}
