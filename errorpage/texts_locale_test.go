package errorpage

import (
	stdjson "encoding/json"
	htmlpkg "html"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// every calls f for each text in v, with its place.
func every(place string, v reflect.Value, f func(place, s string)) {
	switch v.Kind() {
	case reflect.String:
		f(place, v.String())
	case reflect.Struct:
		for i := range v.NumField() {
			every(place+"."+v.Type().Field(i).Name, v.Field(i), f)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			every(place+"."+k.Interface().(Group).String(), v.MapIndex(k), f)
		}
	default:
		panic(place + " is of a kind that this test doesn't know")
	}
}

func TestBuiltInTextsAreComplete(t *testing.T) {
	for _, b := range builtIn {
		tag := b.tag.String()
		if err := b.texts.check("built in: "+tag, varietyOf(b.tag).base); err != nil {
			t.Error(err)
		}
		if len(b.texts.Groups) != int(groups) {
			t.Errorf("%s has texts for %d groups, want %d", tag, len(b.texts.Groups), groups)
		}
		var has [numForms]bool
		for n := range enough {
			has[pluralOf(varietyOf(b.tag).base)(n)] = true
		}
		every(tag, reflect.ValueOf(*b.texts), func(place, s string) {
			name := place[strings.LastIndexByte(place, '.')+1:]
			for f := range numForms {
				if name == f.String() && strings.Contains(place, ".Wait.") {
					if (s != "") != has[f] {
						t.Errorf("%s = %q: is such a form there = %v", place, s, has[f])
					}
					return
				}
			}
			if s == "" {
				t.Errorf("%s is empty", place)
			}
		})
	}
}

// The built-in texts need no escape anywhere, and nothing hides in them.
func TestBuiltInTextsAreClean(t *testing.T) {
	for _, b := range builtIn {
		every(b.tag.String(), reflect.ValueOf(*b.texts), func(place, s string) {
			switch {
			case !utf8.ValidString(s), !norm.NFC.IsNormalString(s):
				t.Errorf("%s: %q is not normal UTF-8", place, s)
			case strings.ContainsAny(s, `<>&"'\`):
				t.Errorf("%s: %q has a character with a meaning in HTML or JSON", place, s)
			case strings.ContainsAny(s, "!！¡…"), strings.Contains(s, "..."), strings.Contains(s, "  "), strings.TrimSpace(s) != s:
				t.Errorf("%s: %q is not calm and tidy", place, s)
			}
			for _, c := range s {
				if unicode.IsControl(c) || unicode.Is(unicode.Cf, c) || unicode.Is(unicode.Co, c) || c == utf8.RuneError {
					t.Errorf("%s: %q has %U", place, s, c)
				}
			}
			bound := 45
			switch {
			case strings.HasSuffix(place, ".Message"):
				bound = 160
			case strings.Contains(place, ".Wait."):
				bound = 60
			case strings.HasSuffix(place, ".Retrying"), strings.HasSuffix(place, ".GaveUp"):
				bound = 90
			case !strings.HasSuffix(place, ".Heading"):
				bound = 22
			}
			if n := utf8.RuneCountInString(s); n > bound {
				t.Errorf("%s has %d characters, want at most %d: %q", place, n, bound, s)
			}
			sentence := strings.HasSuffix(s, ".") || strings.HasSuffix(s, "。")
			if s != "" && sentence != (bound >= 60) {
				t.Errorf("%s: %q ends in a full stop = %v", place, s, sentence)
			}
		})
	}
}

// script is what the letters of a language are, apart from Latin ones, and the
// punctuation that it has none of.
var scripts = map[string]struct {
	letters *unicode.RangeTable
	never   string
}{
	"en": {unicode.Latin, "\u00a0\u202f"}, "de": {unicode.Latin, ""}, "fr": {unicode.Latin, ""},
	"es": {unicode.Latin, ""}, "pt": {unicode.Latin, ""},
	"ar": {unicode.Arabic, ",;?٠١٢٣٤٥٦٧٨٩"}, "ja": {nil, ".,;:? ，"}, "zh-Hans": {unicode.Han, ".,;:?、"},
}

func TestTypography(t *testing.T) {
	for _, b := range builtIn {
		tag := b.tag.String()
		rules, ok := scripts[tag]
		if !ok {
			t.Errorf("%s: no rules", tag)
		}
		every(tag, reflect.ValueOf(*b.texts), func(place, s string) {
			s = strings.ReplaceAll(s, placeholder, "5")
			if tag == "ar" {
				s = strings.TrimSuffix(strings.ReplaceAll(s, ". ", ""), ".") // Arabic shares the full stop
			}
			if i := strings.IndexAny(s, rules.never); i >= 0 {
				t.Errorf("%s: %q has one of %q", place, s, rules.never)
			}
			for _, c := range s {
				if rules.letters != nil && unicode.IsLetter(c) && !unicode.Is(rules.letters, c) {
					t.Errorf("%s: %q has the letter %c", place, s, c)
				}
				if rules.letters == nil && unicode.IsLetter(c) && !unicode.In(c, unicode.Hiragana, unicode.Katakana, unicode.Han) && c != 'ー' {
					t.Errorf("%s: %q has the letter %c", place, s, c)
				}
			}
			if tag == "fr" {
				for i, c := range s {
					if strings.ContainsRune(";?", c) && !strings.HasSuffix(s[:i], "\u202f") || c == ':' && !strings.HasSuffix(s[:i], "\u00a0") {
						t.Errorf("%s: %q lacks a space that does not break before %c", place, s, c)
					}
				}
			}
		})
	}
}

func TestWaitInEveryLanguage(t *testing.T) {
	const minute, hour, day = 60, 3600, 86400
	p, _ := newPage(t, Config{})
	want := map[string]map[int]string{
		"en": {1: "Try again in 1 second.", 90: "Try again in 90 seconds.", 300: "Try again in 5 minutes.", 3 * hour: "Try again in 3 hours.", 3 * day: "Try again in 3 days."},
		"de": {1: "Bitte in 1\u00a0Sekunde noch einmal versuchen.", 3 * day: "Bitte in 3\u00a0Tagen noch einmal versuchen."},
		"fr": {1: "Merci de réessayer dans 1\u00a0seconde.", 300: "Merci de réessayer dans 5\u00a0minutes."},
		"es": {1: "Vuelva a intentarlo dentro de 1\u00a0segundo.", 3 * day: "Vuelva a intentarlo dentro de 3\u00a0días."},
		"pt": {1: "Tente novamente daqui a 1\u00a0segundo.", 3 * hour: "Tente novamente daqui a 3\u00a0horas."},
		"ar": {
			1: "يُرجى المحاولة مرة أخرى بعد ثانية واحدة.", 2: "يُرجى المحاولة مرة أخرى بعد ثانيتين.", 3: "يُرجى المحاولة مرة أخرى بعد 3\u00a0ثوانٍ.",
			10: "يُرجى المحاولة مرة أخرى بعد 10\u00a0ثوانٍ.", 11: "يُرجى المحاولة مرة أخرى بعد 11\u00a0ثانية.", 100: "يُرجى المحاولة مرة أخرى بعد 100\u00a0ثانية.",
			5 * minute: "يُرجى المحاولة مرة أخرى بعد 5\u00a0دقائق.", 15 * day: "يُرجى المحاولة مرة أخرى بعد 15\u00a0يومًا.", 100 * day: "يُرجى المحاولة مرة أخرى بعد 100\u00a0يوم.",
		},
		"ja":      {1: "1秒後にもう一度お試しください。", 300: "5分後にもう一度お試しください。", 3 * hour: "3時間後にもう一度お試しください。"},
		"zh-Hans": {1: "请在 1\u00a0秒后重试。", 300: "请在 5\u00a0分钟后重试。", 3 * day: "请在 3\u00a0天后重试。"},
	}
	for _, l := range p.locales.all {
		if len(want[l.lang]) == 0 {
			t.Errorf("%s: nothing is wanted", l.lang)
		}
		for seconds, want := range want[l.lang] {
			if got := string(l.appendWait(nil, seconds)); got != want {
				t.Errorf("%s: appendWait(%d) = %q, want %q", l.lang, seconds, got, want)
			}
		}
		if got, want := string(l.appendWait(nil, -5)), string(l.appendWait(nil, 1)); got != want {
			t.Errorf("%s: appendWait(-5) = %q, want %q", l.lang, got, want)
		}
		b := make([]byte, 0, 200)
		if n := testing.AllocsPerRun(100, func() { b = l.appendWait(b[:0], 12345) }); n != 0 {
			t.Errorf("%s: appendWait allocates %v times", l.lang, n)
		}
	}
}

func TestDirection(t *testing.T) {
	tags := []string{"fa", "he", "ur", "ps", "yi", "dv", "ckb", "sd", "ug", "az-Arab", "ku-Arab"}
	for _, l := range mustLocales(t, nil, textsFor(tags...)).all {
		want := "ltr"
		if l.lang == "ar" || strings.Contains(strings.Join(tags, " "), l.lang) {
			want = "rtl"
		}
		if l.dir != want {
			t.Errorf("%s is written %s, want %s", l.lang, l.dir, want)
		}
	}
}

func TestWords(t *testing.T) {
	for _, s := range []string{"", "plain", `<a href="x">'&`, "\\ \"", "日本 ü é", "a\u00a0b"} {
		w := newWords(s)
		var back string
		if err := stdjson.Unmarshal([]byte(`"`+w.json+`"`), &back); err != nil || back != s {
			t.Errorf("newWords(%q).json = %s: is %q, %v", s, w.json, back, err)
		}
		if htmlpkg.UnescapeString(w.html) != s || strings.ContainsAny(w.html, `<>"'`) || w.text != s {
			t.Errorf("newWords(%q) = %+v", s, w)
		}
	}
}

// What a message says of when to try again holds for a wait of hours, too.
func TestMessagesPromiseNoMoment(t *testing.T) {
	for tag, words := range map[string][]string{
		"en": {"moment"}, "de": {"gleich", "Moment bis"}, "fr": {"un instant"}, "es": {"instantes", "un momento"}, "pt": {"instantes", "um momento"}, "ar": {"قليل"},
	} {
		p, _ := newPage(t, Config{Locales: []string{tag}})
		for g := range groups {
			for _, w := range words {
				if m := p.locales.all[0].groups[g].message.text; strings.Contains(m, w) {
					t.Errorf("%s, %v: %q promises %q", tag, g, m, w)
				}
			}
		}
	}
}
