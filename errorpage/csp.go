package errorpage

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const maxPolicy = 4096 // bytes

// checkPolicy checks a configured Content-Security-Policy.
func checkPolicy(s string) error {
	if len(s) > maxPolicy {
		return fmt.Errorf("errorpage: Config.ContentSecurityPolicy has %d bytes: must be at most %d", len(s), maxPolicy)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return fmt.Errorf("errorpage: Config.ContentSecurityPolicy contains the byte %#x: must be printable ASCII", s[i])
		}
	}
	if s != "" && strings.Trim(s, " ;") == "" {
		return errors.New("errorpage: Config.ContentSecurityPolicy is empty but for blanks: must have directives (CSP 3, section 2.2)")
	}
	return nil
}

// setPolicies makes the policies of a page that was rendered as out.
func (pg *page) setPolicies(rr *renderer, out string) {
	without := out
	if begin, rest, ok := strings.Cut(out, rr.escaped(retryBegin)); ok {
		_, end, _ := strings.Cut(rest, rr.escaped(retryEnd))
		without = begin + end
	}
	pg.policy = rr.policyOf(without)
	pg.retryPolicy = pg.policy
	if len(without) != len(out) {
		pg.retryPolicy = rr.policyOf(out)
	}
}

// policyOf is the header value for a page: the configured one, or one that
// admits what the page itself brings, and nothing else (CSP 3).
func (rr *renderer) policyOf(out string) []string {
	policy := rr.policy
	if policy == "" {
		policy = contentSecurityPolicy(out)
	}
	lines, ok := rr.policies[policy]
	if !ok {
		lines = []string{policy}
		rr.policies[policy] = lines
	}
	return lines
}

func contentSecurityPolicy(page string) string {
	in := inlines(page)
	policy := "default-src 'none'"
	if len(in.styles) > 0 {
		policy += "; style-src " + hashes(in.styles)
	}
	if len(in.scripts) > 0 {
		policy += "; script-src " + hashes(in.scripts)
	}
	if slices.Contains(in.scripts, script) {
		policy += "; connect-src 'self'"
	}
	if in.images {
		policy += "; img-src data:"
	}
	return policy + "; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}

// newlines makes of line breaks what browsers do before they parse a page (HTML
// section 13.2.3.5): it is that text which they hash.
var newlines = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func hashes(texts []string) string {
	var list []string
	for _, text := range texts {
		sum := sha256.Sum256([]byte(newlines.Replace(text)))
		list = append(list, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), " ")
}

// inline is what a page brings with it.
type inline struct {
	styles, scripts []string
	images          bool // by data: URL
}

// inlines finds the styles and scripts of a page as a browser does: not in
// comments, attributes, or the text of a title.
func inlines(page string) inline {
	var in inline
	for {
		_, after, ok := strings.Cut(page, "<")
		if !ok {
			return in
		}
		page = after
		if strings.HasPrefix(page, "!--") {
			_, page, _ = strings.Cut(page[3:], "-->")
			continue
		}
		name := tagName(page)
		if name == "" {
			continue
		}
		end := tagEnd(page)
		tag := page[:end]
		page = strings.TrimPrefix(page[end:], ">")
		in.images = in.images || strings.Contains(tag, "data:image/")
		switch name {
		case "style", "script", "title", "textarea", "xmp", "iframe", "noembed", "noframes":
			text, rest := rawText(page, name)
			page = rest
			switch name {
			case "style":
				in.styles = append(in.styles, text)
			case "script":
				in.scripts = append(in.scripts, text)
			}
		}
	}
}

// tagName is the lower-case name of the start tag that s begins with after its
// "<"; "" if that is none.
func tagName(s string) string {
	if s == "" || !isAlphanumeric(s[0]) || s[0] <= '9' {
		return ""
	}
	end := strings.IndexAny(s, " \t\n\f\r/>")
	if end < 0 {
		end = len(s)
	}
	return strings.ToLower(s[:end])
}

// tagEnd is where the ">" is that ends a tag: outside of quoted values.
func tagEnd(s string) int {
	value := false // an equals sign was the last that counts
	var quote byte
	for i := range len(s) {
		c := s[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '>':
			return i
		case value && (c == '"' || c == '\''):
			quote, value = c, false
		case c == '=':
			value = true
		case c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\f':
			value = false
		}
	}
	return len(s)
}

// rawText cuts the text of an element whose content is not markup.
func rawText(s, name string) (text, rest string) {
	for i := 0; ; {
		n := strings.Index(s[i:], "</")
		if n < 0 {
			return s, ""
		}
		i += n
		if end := s[i+2:]; len(end) > len(name) && strings.EqualFold(end[:len(name)], name) && strings.IndexByte(" \t\n\f\r/>", end[len(name)]) >= 0 {
			return s[:i], s[i:]
		}
		i += 2
	}
}
