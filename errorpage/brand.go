package errorpage

import (
	"errors"
	"fmt"
	"html/template"
	"net/url"
	"strings"
)

const maxSupport = 500 // bytes

// brand is the configured look, checked and ready for templates.
type brand struct {
	name        string
	logo        template.HTML
	imageLogo   bool // an image, not an inline SVG
	light, dark rgb
	support     string
	supportText string
}

// newBrand checks the part of cfg that is about looks.
func newBrand(cfg Config) (brand, error) {
	b := brand{name: cfg.Brand, support: cfg.Support, supportText: cfg.SupportText, imageLogo: strings.HasPrefix(cfg.Logo, "data:")}
	logo, logoErr := logoMarkup(cfg.Logo, cfg.Brand)
	b.logo = template.HTML(logo) //nolint:gosec // written by us, of what was checked
	var colorErr error
	b.light, b.dark, colorErr = accents(cfg.Color)
	errs := []error{
		checkText("Brand", cfg.Brand, maxBrand),
		logoErr,
		colorErr,
		checkSupport(cfg.Support),
		checkText("SupportText", cfg.SupportText, maxBrand),
	}
	if cfg.SupportText != "" && cfg.Support == "" {
		errs = append(errs, errors.New("errorpage: Config.SupportText is set without Config.Support: must be the text of a link"))
	}
	return b, errors.Join(errs...)
}

// checkSupport lets pass what a visitor can be sent to.
func checkSupport(s string) error {
	if s == "" {
		return nil
	}
	if err := checkText("Support", s, maxSupport); err != nil {
		return err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return fmt.Errorf("errorpage: Config.Support: %w", err)
	case strings.ContainsAny(s, " \t<>\"'\\^`{|}"):
		return fmt.Errorf("errorpage: Config.Support is %q: must be a URL, with what is no part of one percent-encoded", s)
	case u.Scheme == "mailto" && strings.Contains(u.Opaque, "@"):
		return nil
	case (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil:
		return nil
	}
	return fmt.Errorf("errorpage: Config.Support is %q: must be an absolute URL of the scheme https, http or mailto", s)
}
