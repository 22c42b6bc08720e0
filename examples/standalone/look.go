package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-go/holdfast/errorpage"
)

// parseBrand checks a name that visitors are shown.
func parseBrand(s string) (string, error) {
	s = strings.TrimSpace(s)
	if _, err := errorpage.New(errorpage.Config{Brand: s, Locales: []string{"en"}}); err != nil || s == "" {
		return "", errors.New("must be a name of at most 100 bytes in one line of UTF-8, such as Example & Sons")
	}
	return s, nil
}

// parseColor reads a colour as CSS writes it in hexadecimal digits, with its # or
// without.
func parseColor(s string) (string, error) {
	digits := strings.TrimPrefix(s, "#")
	if len(digits) != 3 && len(digits) != 6 || strings.Trim(strings.ToLower(digits), "0123456789abcdef") != "" {
		return "", errors.New("must be a colour of 3 or 6 hexadecimal digits, such as #0f766e, 0f766e or 07f")
	}
	return "#" + digits, nil
}

// parseLocales reads a list of languages. Which ones there are errorpage knows.
func parseLocales(s string) ([]string, error) {
	if len(s) > 1000 {
		return nil, errors.New("must be a list of languages of at most 1000 bytes")
	}
	var tags []string
	for tag := range strings.SplitSeq(s, ",") {
		tag = strings.TrimSpace(tag)
		if _, err := errorpage.New(errorpage.Config{Locales: []string{tag}}); err != nil {
			return nil, fmt.Errorf("must be languages that the pages are in, with commas between them; %q is none of en, de, fr, es, pt, ar, ja and zh-Hans, nor a variety such as de-AT", tag)
		}
		tags = append(tags, tag)
	}
	if _, err := errorpage.New(errorpage.Config{Locales: tags}); err != nil {
		return nil, errors.New("must be different languages, at most 64")
	}
	return tags, nil
}

// pageConfig is how the pages look and what they say, but who is told of them.
func pageConfig(cfg config, t tuning) errorpage.Config {
	c := t.page
	c.Locales = cfg.locales
	c.Intercept5xx = c.Intercept5xx || cfg.intercept5xx
	c.Maintenance.File = cfg.maintenanceFile
	if cfg.brand != "" {
		c.Brand, c.Logo = cfg.brand, ""
	}
	if cfg.brandColor != "" {
		c.Color = cfg.brandColor
	}
	return c
}
