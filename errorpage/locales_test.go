package errorpage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func textsFor(tags ...string) map[string]Texts {
	m := map[string]Texts{}
	for _, tag := range tags {
		m[tag] = Texts{Retrying: "again in " + tag}
	}
	return m
}

func mustLocales(t testing.TB, offered []string, custom map[string]Texts) *locales {
	t.Helper()
	ls, err := newLocales(offered, custom)
	if err != nil {
		t.Fatal(err)
	}
	return ls
}

func langs(ls *locales) string {
	var tags []string
	for _, l := range ls.all {
		tags = append(tags, l.lang)
	}
	return strings.Join(tags, " ")
}

func TestOffered(t *testing.T) {
	for _, tt := range []struct {
		offered []string
		custom  []string
		want    string
	}{
		{nil, nil, "en de fr es pt ar ja zh-Hans"},
		{[]string{}, nil, "en de fr es pt ar ja zh-Hans"},
		{[]string{"de"}, nil, "de"},
		{[]string{"zh-CN", "de-AT", "pt-BR", "en-GB"}, nil, "zh-CN de-AT pt-BR en-GB"},
		{[]string{"pt-PT", "pt-BR"}, nil, "pt-PT pt-BR"},
		{nil, []string{"pl", "it", "zh-Hant"}, "en de fr es pt ar ja zh-Hans it pl zh-Hant"},
		{nil, []string{"en-US", "zh"}, "en-US de fr es pt ar ja zh"}, // the same language by another name
		{nil, []string{"de-CH"}, "en de fr es pt ar ja zh-Hans de-CH"},
		{[]string{"it", "en"}, []string{"it", "pl"}, "it en"},
		{[]string{"EN-us", "iw"}, []string{"he"}, "en-US he"},
	} {
		if got := langs(mustLocales(t, tt.offered, textsFor(tt.custom...))); got != tt.want {
			t.Errorf("Locales %q, Texts for %q: offers %s, want %s", tt.offered, tt.custom, got, tt.want)
		}
	}
}

// A text that is not there is that of the nearest language that has it, and a
// number keeps to the plurals of the language that it is told in.
func TestTextsFallBack(t *testing.T) {
	ls := mustLocales(t, []string{"en-GB", "de", "de-AT", "pl", "zh-Hant", "pt-PT"}, map[string]Texts{
		"de":      {Support: "Hilfe", Groups: map[Group]Text{NotFound: {Heading: "Nichts da"}}},
		"de-AT":   {Request: "Geschäftszahl"},
		"pl":      {Status: "Stan", Wait: Wait{Days: Forms{One: "Za {n} dzień.", Few: "Za {n} dni.", Many: "Za {n} dni!"}}},
		"en":      {GaveUp: "Enough."},
		"zh-Hant": {},
		"pt":      {Support: "Socorro"},
	})
	at := func(lang string) *locale {
		return ls.all[slices.IndexFunc(ls.all, func(l *locale) bool { return l.lang == lang })]
	}
	for _, tt := range []struct{ name, got, want string }{
		{"own", at("de-AT").request.text, "Geschäftszahl"},
		{"of the base language, configured", at("de-AT").support.text, "Hilfe"},
		{"of the base language, configured", at("de-AT").groups[NotFound].heading.text, "Nichts da"},
		{"of the base language, built in", at("de-AT").groups[NotFound].message.text, german.Groups[NotFound].Message},
		{"not of a variety", at("de").request.text, german.Request},
		{"English, configured", at("en-GB").gaveUp.text, "Enough."},
		{"English, configured", at("pl").gaveUp.text, "Enough."},
		{"English, built in", at("pl").retrying.text, english.Retrying},
		{"English number", string(at("pl").appendWait(nil, 22)), "Try again in 22 seconds."},
		{"own number", string(at("pl").appendWait(nil, 22*86400)), "Za 22 dni."},
		{"own number", string(at("pl").appendWait(nil, 25*86400)), "Za 25 dni!"},
		{"not of another script", at("zh-Hant").retrying.text, english.Retrying},
		{"of the parent", at("pt-PT").support.text, "Socorro"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	for _, l := range ls.all {
		for g := range groups {
			if l.groups[g].heading.text == "" || l.groups[g].message.html == "" {
				t.Errorf("%s has no text for %v", l.lang, g)
			}
		}
	}
}

func TestBadLocales(t *testing.T) {
	with := func(texts Texts) map[string]Texts { return map[string]Texts{"de": texts} }
	long := strings.Repeat("x", 1001)
	var crowd []string
	different := map[variety]bool{{base: "en", script: "Latn", region: "US"}: true}
	for c := range 26 {
		for d := range 26 {
			tag, err := parseTag(fmt.Sprintf("en-%c%c", 'A'+c, 'A'+d))
			if v := varietyOf(tag); err == nil && len(crowd) < 70 && !different[v] {
				different[v] = true
				crowd = append(crowd, tag.String())
			}
		}
	}
	for _, tt := range []struct {
		offered []string
		custom  map[string]Texts
		want    string // a part of the error
	}{
		{[]string{"de", ""}, nil, `Config.Locales[1] is "": must be a language tag`},
		{[]string{"*"}, nil, `Config.Locales[0] is "*"`},
		{[]string{"und"}, nil, `Config.Locales[0] is "und"`},
		{[]string{"und-DE"}, nil, `Config.Locales[0] is "und-DE"`},
		{[]string{"mul"}, nil, `Config.Locales[0] is "mul"`},
		{[]string{"x-klingon"}, nil, `Config.Locales[0] is "x-klingon"`},
		{[]string{"de-u-co-phonebk"}, nil, "without extensions"},
		{[]string{"german"}, nil, `Config.Locales[0] is "german"`},
		{[]string{"de\n"}, nil, `Config.Locales[0] is "de\n"`},
		{[]string{`de"><script>`}, nil, "Config.Locales[0]"},
		{[]string{strings.Repeat("de-", 1000)}, nil, "Config.Locales[0]"},
		{[]string{"it"}, nil, `Config.Locales[0] is "it": must be a language with texts: one of [en de fr es pt ar ja zh-Hans]`},
		{[]string{"zh-TW"}, nil, `Config.Locales[0] is "zh-TW": must be a language with texts`},
		{[]string{"de-DE", "de"}, nil, `Config.Locales[1] is "de": is there already`},
		{[]string{"it", "qq-invalid-tag-of-great-length"}, nil, "Config.Locales[1]"}, // all are told of
		{crowd, nil, "Config.Locales makes 70 languages: must be at most 64"},
		{nil, textsFor(crowd...), "Config.Texts makes 78 languages: must be at most 64"},
		{nil, textsFor("zh", "zh-CN"), `Config.Texts["zh-CN"] means the same language as "zh"`},
		{nil, textsFor("nonsense tag"), `Config.Texts["nonsense tag"]: must be a language tag`},
		{nil, with(Texts{Groups: map[Group]Text{groups: {}}}), fmt.Sprintf(`Config.Texts["de"].Groups has the key %d: must be a Group`, groups)},
		{nil, with(Texts{Groups: map[Group]Text{Timeout: {Heading: "a\nb"}}}), `Config.Texts["de"].Groups[timeout].Heading contains the control character U+000A`},
		{nil, with(Texts{Groups: map[Group]Text{Timeout: {Message: "a\u202eb"}}}), `Config.Texts["de"].Groups[timeout].Message contains U+202E`},
		{nil, with(Texts{Groups: map[Group]Text{Timeout: {Message: long}}}), `Groups[timeout].Message has 1001 bytes: must be at most 1000`},
		{nil, with(Texts{Retrying: long}), `Config.Texts["de"].Retrying has 1001 bytes: must be at most 200`},
		{nil, with(Texts{GaveUp: "\xff"}), `Config.Texts["de"].GaveUp is not UTF-8`},
		{nil, with(Texts{Status: "\u2028"}), `Config.Texts["de"].Status contains U+2028`},
		{nil, with(Texts{Request: "\u2066"}), `Config.Texts["de"].Request contains U+2066`},
		{nil, with(Texts{Request: "a\u2069"}), `Config.Texts["de"].Request contains U+2069`},
		{nil, with(Texts{Support: "\x00"}), `Config.Texts["de"].Support contains the control character U+0000`},
		{nil, with(Texts{Wait: Wait{Days: Forms{Other: "{n} Tage"}}}), `Config.Texts["de"].Wait.Days.One is empty: the language has this plural form`},
		{nil, with(Texts{Wait: Wait{Days: Forms{One: "ein Tag", Other: "viele Tage"}}}), `Config.Texts["de"].Wait.Days.Other is "viele Tage": must have {n} once`},
		{nil, with(Texts{Wait: Wait{Hours: Forms{One: "{n}{n}", Other: "{n}"}}}), `Config.Texts["de"].Wait.Hours.One is "{n}{n}": must have {n} once`},
		{nil, with(Texts{Wait: Wait{Hours: Forms{One: "<b>", Other: "{n}"}}}), `Config.Texts["de"].Wait.Hours.One is "<b>": must be without`},
		{nil, with(Texts{Wait: Wait{Hours: Forms{One: "1", Other: long}}}), `Config.Texts["de"].Wait.Hours.Other has 1001 bytes`},
		{nil, map[string]Texts{"ru": {Wait: Wait{Days: Forms{One: "день", Few: "{n}", Many: "{n}"}}}}, `Wait.Days.One is "день": must have {n} once`}, // 21, too
		{nil, map[string]Texts{"ru": {Wait: Wait{Days: Forms{One: "{n}", Other: "{n}"}}}}, `Wait.Days.Few is empty`},
	} {
		_, err := New(Config{Locales: tt.offered, Texts: tt.custom})
		if err == nil || !strings.Contains(err.Error(), "errorpage: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Locales %.60q, Texts %.200v: error %v, want %q in it", tt.offered, tt.custom, err, tt.want)
		}
	}
}

func TestEveryErrorIsTold(t *testing.T) {
	_, err := New(Config{Brand: "\n", Locales: []string{"qq!", "de", "de"}, Texts: map[string]Texts{"it": {Status: "\n", Request: "\n"}}})
	for _, want := range []string{"Config.Brand", "Config.Locales[0]", "Config.Locales[2]", `Texts["it"].Status`, `Texts["it"].Request`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}

// A configuration that is refused makes no locales, be they many.
func TestRefusedLocales(t *testing.T) {
	ls, err := newLocales(slices.Repeat([]string{"it"}, 1000), textsFor("it", "it-IT"))
	if got := langs(ls); err == nil || got != "en de fr es pt ar ja zh-Hans" {
		t.Errorf("newLocales = %.100s, %v", got, err)
	}
}

// What the caller does with his maps later changes nothing.
func TestConfigIsCopied(t *testing.T) {
	custom := map[string]Texts{"it": {Retrying: "a", Groups: map[Group]Text{NotFound: {Heading: "b"}}}}
	offered := []string{"it", "en"}
	ls := mustLocales(t, offered, custom)
	custom["it"].Groups[NotFound] = Text{Heading: "c"}
	delete(custom, "it")
	offered[0] = "de"
	if l := ls.all[0]; l.lang != "it" || l.retrying.text != "a" || l.groups[NotFound].heading.text != "b" {
		t.Errorf("the locale changed: %+v", l)
	}
}
