package errorpage

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/text/language"
)

// Accept-Language as it is sent.
func TestAcceptLanguage(t *testing.T) {
	all := mustLocales(t, nil, nil)
	for _, tt := range []struct{ name, line, want string }{
		{"Chrome, United States", "en-US,en;q=0.9", "en"},
		{"Chrome, Germany", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "de"},
		{"Chrome, Austria", "de-AT,de;q=0.9,en;q=0.8", "de"},
		{"Chrome, France", "fr-FR,fr;q=0.9,en-US;q=0.8,en;q=0.7", "fr"},
		{"Chrome, Mexico", "es-MX,es;q=0.9,en;q=0.8", "es"},
		{"Chrome, Latin America", "es-419,es;q=0.9", "es"},
		{"Chrome, Brazil", "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "pt"},
		{"Chrome, Portugal", "pt-PT,pt;q=0.9,en;q=0.8", "pt"},
		{"Chrome, Egypt", "ar-EG,ar;q=0.9,en-US;q=0.8,en;q=0.7", "ar"},
		{"Chrome, Japan", "ja,en-US;q=0.9,en;q=0.8", "ja"},
		{"Chrome, China", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"},
		{"Chrome, Singapore", "zh-SG,zh;q=0.9,en-SG;q=0.8", "zh-Hans"},
		{"Chrome, Poland", "pl-PL,pl;q=0.9,en-US;q=0.8,en;q=0.7", "en"},
		{"Chrome, Netherlands, German third", "nl-NL,nl;q=0.9,de;q=0.8,en;q=0.7", "de"},
		{"Chrome, incognito and reduced", "fr-CA", "fr"},
		{"Firefox, United Kingdom", "en-GB,en;q=0.5", "en"},
		{"Firefox, Germany", "de,en-US;q=0.7,en;q=0.3", "de"},
		{"Firefox, Switzerland", "fr-CH,fr;q=0.8,de;q=0.5,en;q=0.3", "fr"},
		{"Firefox, Morocco", "ar,fr-FR;q=0.8,fr;q=0.6,en-US;q=0.4,en;q=0.2", "ar"},
		{"Firefox, Serbia", "sr,sr-RS;q=0.8,sr-CS;q=0.6,en-US;q=0.4,en;q=0.2", "en"},
		{"Firefox 3 digits", "ja;q=0.999,de;q=0.998", "ja"},
		{"Safari, Germany", "de-DE", "de"},
		{"Safari, Italy", "it-IT,it;q=0.9", "en"},
		{"Safari, iPhone in China", "zh-CN,zh-Hans;q=0.9", "zh-Hans"},
		{"Safari, iPhone in Spain", "es-ES,es;q=0.9", "es"},
		{"old Safari", "de-de", "de"},
		{"Edge, Germany", "de,de-DE;q=0.9,en;q=0.8,en-GB;q=0.7,en-US;q=0.6", "de"},
		{"Internet Explorer", "pt-BR, en-US; q=0.5", "pt"},
		{"Opera, spaces", "fr-FR , fr ;q=0.8 , en;q=0.6", "fr"},
		{"Java", "de_AT", "de"},
		{"macros", "i-klingon, art-lojban, zh-cmn-Hans-CN", "zh-Hans"},
		{"deprecated", "cmn", "zh-Hans"},
		{"Googlebot sends none", "", "en"},
		{"curl sends none; wget", "*", "en"},

		// Traditional Chinese is read by who reads Simplified, with effort: x/text
		// takes it for a last resort.
		{"Firefox, Taiwan", "zh-TW,zh;q=0.8,en-US;q=0.5,en;q=0.3", "zh-Hans"},
		{"Hong Kong, English second", "zh-HK,en;q=0.9", "en"},
		{"Safari, Taiwan", "zh-TW", "zh-Hans"},
		{"script, German third", "zh-Hant-TW,it;q=0.9,de;q=0.1", "de"},

		// Languages whose speakers read another one (CLDR).
		{"Galician", "gl-ES,gl;q=0.9", "es"},
		{"Basque, and French, which is named", "eu,fr;q=0.8", "fr"},
		{"Swiss German", "gsw-CH", "de"},
		{"Breton", "br", "fr"},
		{"Serbian in Latin letters", "sr-Latn-RS,sr-Latn", "en"},
		{"Persian is not Arabic", "fa-IR,fa;q=0.9", "en"},
		{"Cantonese", "yue-HK,de;q=0.5", "de"},
		{"a script that we don't write", "ja-Latn,de;q=0.2", "de"},

		{"order by weight", "de;q=0.1,fr;q=0.9,es;q=0.5", "fr"},
		{"equal weights", "es;q=0.5,fr;q=0.5", "es"},
		{"upper case Q", "de;Q=0.5, fr;Q=0.6", "fr"},
		{"other parameters", "de;level=1;q=0.5,fr;x;q=0.6", "fr"},
		{"anything else", "it,*;q=0.5,de;q=0.1", "en"},
		{"anything first", "*,de;q=0.5", "en"},
		{"anything, not English", "*,en;q=0", "de"},
		{"not German", "de;q=0,de-AT;q=0.9,fr;q=0.1", "fr"},
		{"not English", "en;q=0", "de"},
		{"not these", "en;q=0,de;q=0.000,fr;q=0.0", "es"},
		{"not Brazilian", "pt-BR;q=0,pt;q=0.5", "pt"},
		{"nothing at all", "*;q=0", "en"},
		{"none of ours", "en;q=0,de;q=0,fr;q=0,es;q=0,pt;q=0,ar;q=0,ja;q=0,zh;q=0", "en"},
		{"not Austrian, and nothing else", "de-AT;q=0", "en"},
		{"a range that is no subtag", "zh-Han;q=0,zh", "zh-Hans"},
		{"a prefix that is no subtag", "e;q=0,en-;q=0", "en"},

		{"garbage", "}{;;,=,q=1,;q=0.5,;;;,", "en"},
		{"garbage before", "!!!,de", "de"},
		{"garbage after", "de,!!!;q=9", "de"},
		{"bad weight", "de;q=x,fr;q=0.1", "fr"},
		{"negative weight", "de;q=-1,fr;q=0.1", "fr"},
		{"weight over 1", "fr;q=0.9,de;q=5", "de"},
		{"infinite weight", "de;q=inf,fr;q=0.1", "fr"},
		{"script", `<script>alert(1)</script>,de`, "de"},
		{"UTF-8", "dé,日本,fr", "fr"},
		{"not UTF-8", "\xff\xfe,de\xff,fr", "fr"},
		{"NUL", "de\x00,fr", "fr"},
		{"unknown region", "de-XX", "de"},
		{"unknown language", "qq-DE,xx,fr;q=0.1", "fr"},
		{"no language", "und-DE,und,mul,fr;q=0.1", "fr"},
		{"private", "x-de,de-x-secret;q=0.5", "de"},
		{"extensions", "de-u-nu-latn,fr", "de"},
		{"long tag", "de-" + strings.Repeat("aaaaaaaa-", 100) + "x,fr", "fr"},
		{"after the bound of members", strings.Repeat("it,", maxLanguageMembers) + "de", "en"},
		{"before the bound of members", strings.Repeat("it,", maxLanguageMembers-1) + "de", "de"},
		{"after the bound of bytes", strings.Repeat("x", maxLanguageBytes) + ",de", "en"},
		{"before the bound of bytes", strings.Repeat("x", maxLanguageBytes-3) + ",de", "de"},
		{"cut short by the bound", strings.Repeat("x", maxLanguageBytes-3) + ",de-AT", "en"},
		{"10,000 members", strings.Repeat("it,", 10_000) + "de", "en"},
		{"8 kB", "fr," + strings.Repeat("it;q=0.9,", 900), "fr"},
	} {
		var lines []string
		if tt.line != "" {
			lines = []string{tt.line}
		}
		for _, time := range []string{"first", "second"} {
			if got := all.all[all.match(lines)].lang; got != tt.want {
				t.Errorf("%s, for the %s time: match(%.80q) = %s, want %s", tt.name, time, tt.line, got, tt.want)
			}
		}
	}
}

func TestAcceptLanguageInLines(t *testing.T) {
	all := mustLocales(t, nil, nil)
	for _, tt := range []struct {
		lines []string
		want  string
	}{
		{[]string{"it;q=0.9", "de;q=0.5,fr;q=0.8"}, "fr"},
		{[]string{"", "de"}, "de"},
		{[]string{""}, "en"},
		{append(make([]string, 10_000), "de"), "en"}, // a line is as much work as a member
	} {
		if got := all.all[all.match(tt.lines)].lang; got != tt.want {
			t.Errorf("match(%.60q) = %s, want %s", tt.lines, got, tt.want)
		}
	}
}

// Where several varieties are offered, everybody gets the nearest.
func TestVarieties(t *testing.T) {
	ls := mustLocales(t, []string{"de", "pt-PT", "pt-BR", "en-GB", "en", "zh-Hant", "zh-Hans", "it"}, textsFor("zh-Hant", "it"))
	for line, want := range map[string]string{
		"pt": "pt-BR", "pt-BR": "pt-BR", "pt-PT": "pt-PT", "pt-AO": "pt-PT", "en-AU": "en-GB", "en-US": "en", "en": "en",
		"zh-TW": "zh-Hant", "zh-HK,zh;q=0.9": "zh-Hant", "en-AU,en;q=0.9": "en-GB", "en-AU,en-US;q=0.9": "en-GB", "zh-HK,zh-Hans;q=0.9": "zh-Hant", "zh-XX,zh-TW": "zh-Hans",
		"pt-AO,pt;q=0.9,en;q=0.8": "pt-PT",
		"zh":                      "zh-Hans", "it-CH": "it", "ja": "de", "*": "de", "zh-Hans;q=0,zh": "zh-Hant",
		"pt-BR;q=0,pt": "pt-PT", "en-GB;q=0,en-IE": "en",
	} {
		if got := ls.all[ls.match([]string{line})].lang; got != want {
			t.Errorf("match(%q) = %s, want %s", line, got, want)
		}
	}
}

// kept counts what the table holds.
func kept(ls *locales) (fields, bytes int) {
	for i := range ls.seen {
		if s := ls.seen[i].Load(); s != nil {
			fields++
			bytes += len(s.line)
		}
	}
	return fields, bytes
}

func TestSeenFieldsAreBounded(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	for i := range 20_000 {
		ls.match([]string{fmt.Sprintf("de-x-%d", i)})
		ls.match([]string{fmt.Sprintf("de-x-%d,%s", i, strings.Repeat("x", maxSeen))})
		ls.match([]string{"de", fmt.Sprint(i)})
	}
	fields, bytes := kept(ls)
	if fields > seenFields || bytes > seenFields*maxSeen || fields < seenFields/2 {
		t.Errorf("after a flood the table has %d fields of %d bytes: want %d fields at most, and most of them", fields, bytes, seenFields)
	}
	for i := range ls.seen {
		if s := ls.seen[i].Load(); s != nil && len(s.line) > maxSeen {
			t.Errorf("the table has a field of %d bytes", len(s.line))
		}
	}
	if got := ls.all[ls.match([]string{"fr,it"})].lang; got != "fr" {
		t.Errorf("after a flood match = %s, want fr", got)
	}
}

// The table keeps no memory of requests alive.
func TestSeenFieldsAreCopies(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	line := strings.Repeat("fr,de", 20)[:5]
	ls.match([]string{line})
	for i := range ls.seen {
		if s := ls.seen[i].Load(); s != nil && unsafe.StringData(s.line) == unsafe.StringData(line) {
			t.Error("the table has the string that came with the request")
		}
	}
}

func TestWithoutExtensions(t *testing.T) {
	for tag, want := range map[string]string{
		"": "", "de": "de", "zh-Hant-TW": "zh-Hant-TW", "de-u-co-phonebk": "de", "de-AT-x-y-z": "de-AT", "de_x_y": "de", "x-de": "", "i-klingon": "",
		"a": "", "-": "-", "de-": "de-", "de-a": "de",
	} {
		if got := withoutExtensions(tag); got != want {
			t.Errorf("withoutExtensions(%q) = %q, want %q", tag, got, want)
		}
	}
}

// One language never looks at the field.
func TestOneLanguageKeepsNothing(t *testing.T) {
	ls := mustLocales(t, []string{"de"}, nil)
	ls.match([]string{"fr"})
	if fields, _ := kept(ls); fields != 0 {
		t.Errorf("the table has %d fields, want none", fields)
	}
}

func TestMatchConcurrently(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 2000 {
				for line, want := range map[string]string{"de": "de", "fr,de": "fr", fmt.Sprintf("ja-x-%d", (i+j)%700): "ja"} {
					if got := ls.all[ls.match([]string{line})].lang; got != want {
						t.Errorf("match(%q) = %s, want %s", line, got, want)
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestMatchAllocs(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	for _, line := range []string{"de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "garbage", strings.Repeat("x,", maxSeen/2)} {
		lines := []string{line}
		ls.match(lines)
		if n := testing.AllocsPerRun(100, func() { ls.match(lines) }); n != 0 {
			t.Errorf("match(%.40q) allocates %v times when seen before", line, n)
		}
	}
}

// The work for a field that nobody saw before does not grow with it.
func TestMatchWorkIsBounded(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	work := func(members int) float64 {
		lines := []string{strings.Repeat("gsw-CH,gsw,", members/2) + "en;q=0"}
		return testing.AllocsPerRun(10, func() { ls.match(lines) })
	}
	few, many := work(100), work(20_000)
	if many > few || many > 20*maxLanguageMembers {
		t.Errorf("20,000 members cost %v allocations, 100 cost %v: want no more, and %d at most", many, few, 20*maxLanguageMembers)
	}
}

// The ranges are few, in order, and of what was sent, and the answer is one of
// the locales; the table never changes it.
func FuzzAcceptLanguage(f *testing.F) {
	for _, line := range []string{
		"", "*", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7", "zh-TW,zh;q=0.9", "x-klingon;q=0", "en;q=0,*;q=0.1", "\xff", "a,,,;q=,-", "i-default,sr_Latn",
		strings.Repeat("de-u-co-phonebk,", 80), "de-DE-1996-x-" + strings.Repeat("a-", 40), "<script>", "en-a-bbb-x-a-ccc,und-u-va-posix", "zh-min-nan;q=1.0000",
	} {
		f.Add(line, "")
	}
	f.Add("de;q=0.5", "fr")
	ls := mustLocales(f, []string{"pt", "en", "de", "zh-Hans", "ar", "en-GB"}, nil)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, lines := range [][]string{{a}, {b}, {a, b}, {a + "," + b}} {
			rs := readRanges(nil, lines)
			joined := strings.Join(lines, "\n")
			if len(rs) > maxLanguageMembers || !slices.IsSortedFunc(rs, func(x, y languageRange) int { return y.weight - x.weight }) {
				t.Errorf("readRanges(%q) = %v", lines, rs)
			}
			for _, r := range rs {
				if r.weight < 0 || r.weight > 1000 || len(r.tag) > maxTagBytes || !strings.Contains(joined, r.tag) {
					t.Errorf("readRanges(%q) has %+v", lines, r)
				}
			}
			want := ls.decide(lines)
			if want < 0 || want >= len(ls.all) {
				t.Fatalf("decide(%q) = %d", lines, want)
			}
			for range 2 {
				if got := ls.match(lines); got != want {
					t.Errorf("match(%q) = %d, want %d", lines, got, want)
				}
			}
		}
	})
}

// Without exclusions, and with nothing foreign to HTTP in the tags, the answer is
// as good as that of x/text.
func TestMatchAgreesWithXText(t *testing.T) {
	ls := mustLocales(t, nil, nil)
	for _, a := range []string{"de", "de-CH", "fr-CA", "es-419", "pt-PT", "ar-MA", "ja-JP", "zh", "zh-TW", "zh-SG", "it", "gl", "sr-Latn", "ta", "fa"} {
		for _, b := range []string{"en", "en-GB", "de", "it", "zh-HK", "br", "ru"} {
			_, want, c := ls.matcher.Match(language.MustParse(a), language.MustParse(b))
			if c == language.No {
				want = 0
			}
			if got := ls.match([]string{a + "," + b + ";q=0.5"}); got != want {
				t.Errorf("%s, then %s: match = %s, x/text says %s", a, b, ls.all[got].lang, ls.all[want].lang)
			}
		}
	}
}

func BenchmarkAcceptLanguage(b *testing.B) {
	ls := mustLocales(b, nil, nil)
	for _, bm := range []struct {
		name, line string
	}{
		{"seen", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"},
		{"long", strings.Repeat("it,", 10_000)},
		{"excluding", strings.Repeat("gsw-CH,gsw,", 14) + "en;q=0" + strings.Repeat(" ", maxSeen)},
		{"worst", strings.Repeat("gsw-u-co-phonebk-nu-latn-x-a-b,", 40)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			lines := []string{bm.line}
			b.ReportAllocs()
			for b.Loop() {
				ls.match(lines)
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		lines := []string{"de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"}
		b.ReportAllocs()
		for b.Loop() {
			ls.decide(lines)
		}
	})
}
