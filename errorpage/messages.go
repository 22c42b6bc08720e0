package errorpage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// setMessages puts the configured messages in place of the locales' own. What
// is said for a locale comes before what is said for its base language, that
// before what is said for all, and Message last.
func setMessages(all []*locale, cfg Config) error {
	errs := []error{checkText("Message", cfg.Message, maxMessage)}
	tags := make(map[string]string, len(cfg.Messages)) // as configured, by what it is called
	for _, key := range slices.Sorted(maps.Keys(cfg.Messages)) {
		for g, text := range cfg.Messages[key] {
			field := fmt.Sprintf("Messages[%q][%v]", key, g)
			if g >= groups {
				errs = append(errs, fmt.Errorf("errorpage: Config.%s: must be one of the groups", field))
			}
			errs = append(errs, checkText(field, text, maxMessage))
		}
		if key == "" {
			continue
		}
		tag, err := parseTag(key)
		if err != nil {
			errs = append(errs, fmt.Errorf("errorpage: Config.Messages[%q]: %w", key, err))
			continue
		}
		if twin, ok := tags[tag.String()]; ok {
			errs = append(errs, fmt.Errorf("errorpage: Config.Messages[%q] means the same language as %q: must be there once", key, twin))
		}
		if !slices.ContainsFunc(all, func(l *locale) bool { return speaks(l, tag) }) {
			errs = append(errs, fmt.Errorf("errorpage: Config.Messages[%q]: pages are not offered in this language: must be one of Config.Locales", key))
		}
		tags[tag.String()] = key
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, l := range all {
		for g := range groups {
			if text := messageFor(cfg, tags, l, g); text != "" {
				l.groups[g].message = newWords(text)
			}
		}
	}
	return nil
}

// speaks tells whether a message in the language of tag is one for l.
func speaks(l *locale, tag language.Tag) bool {
	t := tag.String()
	return t == l.lang || strings.HasPrefix(l.lang, t+"-") || varietyOf(tag) == varietyOf(l.tag)
}

// messageFor returns what is configured for a locale and a group; "" is
// nothing.
func messageFor(cfg Config, tags map[string]string, l *locale, g Group) string {
	best, text := "", ""
	for tag, key := range tags {
		parsed, err := parseTag(key)
		if t := cfg.Messages[key][g]; err == nil && t != "" && speaks(l, parsed) && (text == "" || len(tag) > len(best)) {
			best, text = tag, t
		}
	}
	switch {
	case text != "":
		return text
	case cfg.Messages[""][g] != "":
		return cfg.Messages[""][g]
	case g <= Internal: // those of 5xx
		return cfg.Message
	}
	return ""
}
