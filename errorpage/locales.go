package errorpage

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// builtIn are the languages that need no configuration, in the order in which
// they are offered.
var builtIn = []struct {
	tag   language.Tag
	texts *Texts
}{
	{language.MustParse("en"), &english},
	{language.MustParse("de"), &german},
	{language.MustParse("fr"), &french},
	{language.MustParse("es"), &spanish},
	{language.MustParse("pt"), &portuguese},
	{language.MustParse("ar"), &arabicTexts},
	{language.MustParse("ja"), &japanese},
	{language.MustParse("zh-Hans"), &chinese},
}

// Bounds of what a configuration may bring.
const (
	maxLocales  = 64
	maxTagBytes = 35  // RFC 5646 section 4.4.1
	maxLabel    = 200 // bytes of a heading, a label, or a form of a wait
)

// variety tells languages apart by what their speakers read: language, script
// and region, those that are left out filled in as is likely. zh, zh-Hans and
// zh-CN are one.
type variety struct {
	base, script, region, rest string
}

func varietyOf(tag language.Tag) variety {
	base, _ := tag.Base()
	script, _ := tag.Script()
	region, _ := tag.Region()
	v := variety{base: base.String(), script: script.String(), region: region.String()}
	for _, variant := range tag.Variants() {
		v.rest += "-" + variant.String()
	}
	return v
}

// parseTag reads a tag of the configuration.
func parseTag(s string) (language.Tag, error) {
	tag, err := language.Parse(s)
	if err == nil && len(s) <= maxTagBytes && len(tag.Extensions()) == 0 && namesLanguage(tag) {
		return tag, nil
	}
	return language.Tag{}, errors.New(`must be a language tag without extensions (BCP 47), like "de" or "pt-BR"`)
}

// namesLanguage tells a tag that names one language from those that leave it
// open: und-DE, mul, x-klingon.
func namesLanguage(tag language.Tag) bool {
	base, _, _ := tag.Raw()
	return base.String() != "und" && base.String() != "mul"
}

// spoken are Config.Texts by variety, each with the tag as it was configured.
type spoken map[variety]struct {
	tag   language.Tag
	texts *Texts
}

// newLocales makes the locales of a configuration. The error joins all that is
// wrong with it; where it is not nil, only the built-in ones are offered.
func newLocales(offered []string, custom map[string]Texts) (*locales, error) {
	var errs []error
	own := make(spoken, len(custom))
	for _, key := range sortedKeys(custom) {
		texts := custom[key]
		field := fmt.Sprintf("Texts[%q]", key)
		tag, err := parseTag(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("errorpage: Config.%s: %w", field, err))
			continue
		}
		v := varietyOf(tag)
		if twin, ok := own[v]; ok {
			errs = append(errs, fmt.Errorf("errorpage: Config.%s means the same language as %q: must be there once", field, twin.tag))
		}
		own[v] = struct {
			tag   language.Tag
			texts *Texts
		}{tag, &texts}
		errs = append(errs, texts.check(field, v.base))
	}
	tags, err := offer(offered, own)
	if err = errors.Join(append(errs, err)...); err != nil {
		tags, own = builtInTags(), nil
	}
	all := make([]*locale, len(tags))
	for i, tag := range tags {
		all[i] = newLocale(tag, layers(tag, own))
	}
	return newMatching(all), err
}

// offer returns the tags of the languages that are offered.
func offer(offered []string, own spoken) ([]language.Tag, error) {
	if len(offered) == 0 {
		tags := builtInTags()
		for _, v := range sortedVarieties(own) {
			if i := slices.IndexFunc(tags, func(t language.Tag) bool { return varietyOf(t) == v }); i >= 0 {
				tags[i] = own[v].tag
			} else {
				tags = append(tags, own[v].tag)
			}
		}
		return tags, checkNumber(len(tags), "Texts")
	}
	var errs []error
	var tags []language.Tag
	seen := map[variety]bool{}
	for i, s := range offered {
		tag, err := parseTag(s)
		if err == nil {
			v := varietyOf(tag)
			switch _, known := own[v]; {
			case seen[v]:
				err = errors.New("is there already")
			case !known && builtInFor(v) == nil:
				err = fmt.Errorf("must be a language with texts: one of %s, or one in Config.Texts", builtInTags())
			}
			seen[v] = true
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("errorpage: Config.Locales[%d] is %q: %w", i, s, err))
		}
		tags = append(tags, tag)
	}
	return tags, errors.Join(append(errs, checkNumber(len(tags), "Locales"))...)
}

func checkNumber(n int, field string) error {
	if n > maxLocales {
		return fmt.Errorf("errorpage: Config.%s makes %d languages: must be at most %d", field, n, maxLocales)
	}
	return nil
}

func builtInTags() []language.Tag {
	tags := make([]language.Tag, len(builtIn))
	for i, b := range builtIn {
		tags[i] = b.tag
	}
	return tags
}

// builtInFor returns the built-in texts for a variety, whatever its region; nil
// if there are none. A script of its own has texts of its own.
func builtInFor(v variety) *Texts {
	for _, b := range builtIn {
		if w := varietyOf(b.tag); w.base == v.base && w.script == v.script {
			return b.texts
		}
	}
	return nil
}

// layer is where a locale's texts may come from.
type layer struct {
	base  string
	texts *Texts
}

// layers returns the sources of a locale's texts, the nearest first.
func layers(tag language.Tag, own spoken) []layer {
	var ls []layer
	self := varietyOf(tag)
	add := func(base string, t *Texts) {
		if t != nil {
			ls = append(ls, layer{base, t})
		}
	}
	add(self.base, own[self].texts)
	for t := tag.Parent(); t != language.Und; t = t.Parent() {
		if v := varietyOf(t); v != self {
			add(v.base, own[v].texts)
		}
	}
	add(self.base, builtInFor(self))
	add("en", own[varietyOf(language.English)].texts)
	add("en", &english)
	return ls
}

// newLocale takes each text from the first layer that has it.
func newLocale(tag language.Tag, from []layer) *locale {
	base := varietyOf(tag).base
	l := &locale{tag: tag, lang: tag.String(), dir: direction(tag), header: []string{tag.String()}, colon: colonOf(base)}
	first := func(get func(*Texts) string) words {
		for _, layer := range from {
			if s := get(layer.texts); s != "" {
				return newWords(s)
			}
		}
		return words{}
	}
	for g := range groups {
		l.groups[g] = wording{
			heading: first(func(t *Texts) string { return t.Groups[g].Heading }),
			message: first(func(t *Texts) string { return t.Groups[g].Message }),
		}
	}
	l.retrying = first(func(t *Texts) string { return t.Retrying })
	l.gaveUp = first(func(t *Texts) string { return t.GaveUp })
	l.status = first(func(t *Texts) string { return t.Status })
	l.request = first(func(t *Texts) string { return t.Request })
	l.support = first(func(t *Texts) string { return t.Support })
	for u := range units {
		for _, layer := range from {
			if forms := layer.texts.Wait.forms(u); *forms != (Forms{}) {
				l.wait[u] = newCounted(forms, pluralOf(layer.base))
				break
			}
		}
	}
	return l
}

func newCounted(forms *Forms, rule pluralRule) counted {
	c := counted{plural: rule}
	for f := range numForms {
		c.parts[f] = newSentence(forms.of(f))
	}
	return c
}

// check returns what is wrong with texts for the language base.
func (t *Texts) check(field, base string) error {
	var errs []error
	for _, g := range sortedGroups(t.Groups) {
		if g >= groups {
			errs = append(errs, fmt.Errorf("errorpage: Config.%s.Groups has the key %d: must be a Group", field, g))
			continue
		}
		at := fmt.Sprintf("%s.Groups[%s]", field, g)
		errs = append(errs, checkWords(at+".Heading", t.Groups[g].Heading, maxLabel), checkWords(at+".Message", t.Groups[g].Message, maxMessage))
	}
	for _, label := range []struct{ name, s string }{
		{"Retrying", t.Retrying}, {"GaveUp", t.GaveUp}, {"Status", t.Status}, {"Request", t.Request}, {"Support", t.Support},
	} {
		errs = append(errs, checkWords(field+"."+label.name, label.s, maxLabel))
	}
	rule := pluralOf(base)
	for u := range units {
		if forms := t.Wait.forms(u); *forms != (Forms{}) {
			errs = append(errs, forms.check(fmt.Sprintf("%s.Wait.%s", field, u), rule))
		}
	}
	return errors.Join(errs...)
}

// enough is a number up to which every form for whole numbers occurs.
const enough = 200

// check returns what is wrong with forms by the rule of their language.
func (fs *Forms) check(field string, rule pluralRule) error {
	var numbers [numForms]int // how many a form stands for
	for n := 1; n <= enough; n++ {
		numbers[rule(n)]++
	}
	var errs []error
	for f, stands := range numbers {
		s, at := fs.of(form(f)), fmt.Sprintf("%s.%s", field, form(f))
		errs = append(errs, checkWords(at, s, maxLabel))
		switch {
		case stands == 0:
		case s == "":
			errs = append(errs, fmt.Errorf("errorpage: Config.%s is empty: the language has this plural form", at))
		case strings.ContainsAny(s, `<>&"\`):
			errs = append(errs, fmt.Errorf("errorpage: Config.%s is %q: must be without the characters < > & \" \\", at, s))
		case strings.Count(s, placeholder) > 1, stands > 1 && !strings.Contains(s, placeholder):
			errs = append(errs, fmt.Errorf("errorpage: Config.%s is %q: must have %s once, for the number", at, s, placeholder))
		}
	}
	return errors.Join(errs...)
}

// checkWords is checkText for what is going to be seen beside other text.
func checkWords(field, s string, limit int) error {
	if err := checkText(field, s, limit); err != nil {
		return err
	}
	for _, c := range s {
		if c >= 0x2028 && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == 0xfeff {
			return fmt.Errorf("errorpage: Config.%s contains %U: must be without line separators and characters that turn the direction", field, c)
		}
	}
	return nil
}

func sortedKeys(m map[string]Texts) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedGroups(m map[Group]Text) []Group {
	keys := make([]Group, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedVarieties(own spoken) []variety {
	keys := make([]variety, 0, len(own))
	for k := range own {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b variety) int { return strings.Compare(own[a].tag.String(), own[b].tag.String()) })
	return keys
}
