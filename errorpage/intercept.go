package errorpage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Intercept says which answers of somebody else become pages. The zero value,
// without [Config.Intercept5xx], is none: all pass as sent.
type Intercept struct {
	// Statuses are the statuses that are replaced, from 500 to 599; nil is all of
	// them if Config.Intercept5xx is set, else none.
	Statuses []int
	// Types limits it to answers with these content types, for instance text/html
	// or text/*, so that an API's own problem documents pass; nil is all, with and
	// without a type. An answer that has neither a type nor a body is replaced in
	// any case.
	Types []string
	// Keep names the fields of the replaced answer that the page keeps; nil is
	// Retry-After and WWW-Authenticate, an empty list is none. All others go, cookies
	// and what described another body among them, but for those that say who may
	// read the answer (Access-Control-*, Cross-Origin-Resource-Policy, Vary), those
	// of our own parts (Cache-Status, Proxy-Status, the request id, RateLimit
	// and RateLimit-Policy, Connection), and what was there before next was
	// called.
	Keep []string
}

// interception is an Intercept in force.
type interception struct {
	on       bool
	statuses [100]bool // from 500 on
	types    []string  // in lower case; text/* without its star
	keep     map[string]bool
}

// newInterception checks cfg; the error joins everything that is wrong with it.
func newInterception(cfg Config) (interception, error) {
	c := cfg.Intercept
	i := interception{on: cfg.Intercept5xx || len(c.Statuses) > 0, keep: map[string]bool{
		"Cache-Status": true, "Proxy-Status": true, "Vary": true, "Connection": true, "Cross-Origin-Resource-Policy": true,
		"Ratelimit": true, "Ratelimit-Policy": true,
	}}
	var errs []error
	for n, status := range c.Statuses {
		if status < 500 || status > 599 {
			errs = append(errs, fmt.Errorf("errorpage: Config.Intercept.Statuses[%d] is %d: must be from 500 to 599", n, status))
			continue
		}
		i.statuses[status-500] = true
	}
	if cfg.Intercept5xx && len(c.Statuses) == 0 {
		for n := range i.statuses {
			i.statuses[n] = true
		}
	}
	for n, t := range c.Types {
		main, sub, ok := strings.Cut(strings.ToLower(t), "/")
		if !ok || main == "" || sub == "" || !allToken(main) || sub != "*" && !allToken(sub) {
			errs = append(errs, fmt.Errorf("errorpage: Config.Intercept.Types[%d] is %q: must be a content type without parameters, such as text/html or text/*", n, t))
			continue
		}
		i.types = append(i.types, main+"/"+strings.TrimSuffix(sub, "*"))
	}
	keep := c.Keep
	if keep == nil {
		keep = []string{"Retry-After", "WWW-Authenticate"}
	}
	for n, name := range keep {
		if !validFieldName(name) {
			errs = append(errs, fmt.Errorf("errorpage: Config.Intercept.Keep[%d] is %q: must be a field name (RFC 9110 section 5.1)", n, name))
		}
		i.keep[http.CanonicalHeaderKey(name)] = true
	}
	if !i.on && (len(c.Types) > 0 || c.Keep != nil) {
		errs = append(errs, errors.New("errorpage: Config.Intercept.Types and Keep need Statuses or Config.Intercept5xx: must say what is replaced"))
	}
	return i, errors.Join(errs...)
}

func allToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return true
}

// takes tells whether an answer of somebody else becomes a page.
func (i *interception) takes(status int, h http.Header) bool {
	if !i.on || status < 500 || status > 599 || !i.statuses[status-500] {
		return false
	}
	if len(i.types) == 0 {
		return true
	}
	contentType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	contentType = strings.ToLower(strings.Trim(contentType, " \t"))
	if contentType == "" {
		return h.Get("Content-Length") == "0"
	}
	for _, t := range i.types {
		if contentType == t || strings.HasSuffix(t, "/") && strings.HasPrefix(contentType, t) {
			return true
		}
	}
	return false
}

// before returns what has to be known of h later: what an outer handler put
// there.
func (i *interception) before(h http.Header) http.Header {
	if !i.on || len(h) == 0 {
		return nil
	}
	return maps.Clone(h)
}

// strip removes what the page does not keep from h, the header of the answer that
// it replaces.
func (i *interception) strip(h, before http.Header) {
	for name, values := range h {
		if i.keep[name] || strings.HasPrefix(name, "Access-Control-") {
			continue
		}
		// The same values, and not equal ones, are those that were there.
		if old := before[name]; len(old) == 0 || len(old) != len(values) || &old[0] != &values[0] {
			delete(h, name)
		}
	}
}

// failure is the failure of an answer that is replaced: the one that was
// reported, with the Retry-After that was sent.
func (i *interception) failure(ctx context.Context, status int, h http.Header, now time.Time) *failure.Error {
	e := intercepted(ctx, status, h, now)
	if e.RetryAfter > 0 && !i.keep["Retry-After"] {
		c := *e
		c.RetryAfter = 0
		return &c
	}
	return e
}
