package errorpage

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	htmlpkg "html"
	"io"
	"net/url"
	"strings"
)

const (
	maxLogo      = 16 << 10 // bytes
	maxLogoDepth = 32       // elements in one another
)

// logoMarkup checks a logo and returns it as HTML, named by alt. An SVG is
// written anew from what was understood of it, so that a browser, whose rules
// for SVG inside of HTML are not those of XML, can't find anything else in it.
func logoMarkup(logo, alt string) (string, error) {
	if logo == "" {
		return "", nil
	}
	if len(logo) > maxLogo {
		return "", fmt.Errorf("errorpage: Config.Logo has %d bytes: must be at most %d", len(logo), maxLogo)
	}
	if strings.HasPrefix(logo, "data:") {
		if err := checkDataLogo(logo); err != nil {
			return "", fmt.Errorf("errorpage: Config.Logo: %w", err)
		}
		return `<img src="` + htmlpkg.EscapeString(logo) + `" alt="` + htmlpkg.EscapeString(alt) + `">`, nil
	}
	svg, err := cleanSVG(logo, alt)
	if err != nil {
		return "", fmt.Errorf("errorpage: Config.Logo: %w", err)
	}
	return svg, nil
}

// checkDataLogo checks a data: URL (RFC 2397). An SVG in it is an image, whose
// scripts and references browsers don't follow.
func checkDataLogo(logo string) error {
	head, data, found := strings.Cut(logo[len("data:"):], ",")
	mediaType, rest, _ := strings.Cut(head, ";")
	switch mediaType {
	case "image/png", "image/jpeg", "image/webp", "image/svg+xml":
	default:
		return fmt.Errorf("a data: URL of type %q: must be image/png, image/jpeg, image/webp or image/svg+xml", mediaType)
	}
	if !found || data == "" {
		return errors.New("a data: URL without data")
	}
	for i := range len(logo) {
		if c := logo[i]; c <= ' ' || c >= 0x7f {
			return fmt.Errorf("a data: URL with the byte %#x: must be printable ASCII, the rest percent-encoded", c)
		}
	}
	if strings.HasSuffix(";"+rest, ";base64") {
		if _, err := base64.StdEncoding.DecodeString(data); err != nil {
			return fmt.Errorf("a data: URL that is no base64: %w", err)
		}
		return nil
	}
	if _, err := url.PathUnescape(data); err != nil {
		return fmt.Errorf("a data: URL with a broken escape: %w", err)
	}
	return nil
}

const svgNamespace = "http://www.w3.org/2000/svg"

// svgElements can neither run nor load anything. title and desc are read, but
// not written: a browser parses what is in them as HTML.
var svgElements = wordSet(`svg g defs symbol use path rect circle ellipse line polyline polygon text tspan
	linearGradient radialGradient stop clipPath mask pattern marker title desc
	filter feBlend feColorMatrix feComposite feDropShadow feFlood feGaussianBlur feMerge feMergeNode feOffset`)

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		set[w] = true
	}
	return set
}

// cleanSVG returns an SVG document as an element for the inside of an HTML
// page.
func cleanSVG(logo, alt string) (string, error) {
	d := xml.NewDecoder(strings.NewReader(logo))
	c := svgCleaner{alt: alt}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("neither a data: URL nor well-formed SVG: %w", err)
		}
		if err := c.token(tok); err != nil {
			return "", err
		}
	}
	if !c.done {
		return "", errors.New("neither a data: URL nor an <svg> element")
	}
	return c.out.String(), nil
}

type svgCleaner struct {
	out   strings.Builder
	alt   string
	depth int
	skip  int // the depth of the element that is left out; 0 is none
	done  bool
}

func (c *svgCleaner) token(tok xml.Token) error {
	switch tok := tok.(type) {
	case xml.Directive:
		return errors.New("has a document type: must have none")
	case xml.ProcInst:
		if tok.Target != "xml" {
			return fmt.Errorf("has the processing instruction %q: must have none", tok.Target)
		}
	case xml.CharData:
		if c.depth == 0 {
			if strings.TrimSpace(string(tok)) != "" {
				return errors.New("has text around the <svg> element")
			}
			return nil
		}
		if c.skip == 0 && strings.TrimSpace(string(tok)) != "" {
			c.out.WriteString(htmlpkg.EscapeString(string(tok)))
		}
	case xml.StartElement:
		return c.start(tok)
	case xml.EndElement:
		if c.skip == 0 {
			c.out.WriteString("</" + tok.Name.Local + ">")
		}
		if c.skip == c.depth {
			c.skip = 0
		}
		c.depth--
		c.done = c.depth == 0
	}
	return nil
}

func (c *svgCleaner) start(el xml.StartElement) error {
	name := el.Name.Local
	foreign := el.Name.Space != "" && el.Name.Space != svgNamespace
	switch {
	case c.done:
		return errors.New("has more than one <svg> element")
	case c.depth == 0 && (name != "svg" || foreign):
		return fmt.Errorf("begins with <%s>: must be an <svg> element or a data: URL", name)
	case c.depth >= maxLogoDepth:
		return fmt.Errorf("has more than %d elements in one another", maxLogoDepth)
	case !foreign && !svgElements[name]:
		return fmt.Errorf("has the element <%s>: must draw by shapes, paths, text and gradients alone (or be a data: URL)", name)
	}
	c.depth++
	if c.skip != 0 || foreign || name == "title" || name == "desc" { // an editor's own notes
		if c.skip == 0 {
			c.skip = c.depth
		}
		if foreign && strings.HasPrefix(el.Name.Space, "http://www.w3.org/1999/xhtml") {
			return fmt.Errorf("has the HTML element <%s>: must be SVG alone", name)
		}
		return nil
	}
	c.out.WriteString("<" + name)
	for _, a := range el.Attr {
		if err := c.attribute(a, c.depth == 1); err != nil {
			return err
		}
	}
	if c.depth == 1 {
		if c.alt == "" {
			c.out.WriteString(` aria-hidden="true"`)
		} else {
			c.out.WriteString(` role="img" aria-label="` + htmlpkg.EscapeString(c.alt) + `"`)
		}
	}
	c.out.WriteByte('>')
	return nil
}

func (c *svgCleaner) attribute(a xml.Attr, root bool) error {
	name, value := a.Name.Local, strings.TrimSpace(a.Value)
	lower := strings.ToLower(name)
	link := lower == "href"
	switch {
	case strings.HasPrefix(lower, "on"):
		return fmt.Errorf("has the attribute %s: must have no scripts", name)
	case lower == "style":
		return errors.New("has a style attribute: the page's policy forbids it; must have attributes such as fill in its place (or be a data: URL)")
	case link && !strings.HasPrefix(value, "#"):
		return fmt.Errorf("refers to %q: must refer to its own parts alone", value)
	case !link && a.Name.Space != "" || a.Name.Space == "xmlns" || name == "xmlns":
		return nil // an editor's own notes, and names of namespaces
	case root && (lower == "role" || strings.HasPrefix(lower, "aria-")):
		return nil
	case !attributeName(name):
		return fmt.Errorf("has the attribute %q: must be one of SVG", name)
	}
	if err := checkReferences(value); err != nil {
		return err
	}
	c.out.WriteString(" " + name + `="` + htmlpkg.EscapeString(a.Value) + `"`)
	return nil
}

func attributeName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return s != ""
}

// checkReferences lets a value refer to the logo's own parts alone: url(#a).
func checkReferences(value string) error {
	if strings.ContainsRune(value, '\\') {
		return fmt.Errorf("has the value %q: must have no backslash", value)
	}
	rest := strings.ToLower(value)
	if strings.Contains(rest, "javascript:") || strings.Contains(rest, "image(") || strings.Contains(rest, "image-set(") || strings.Contains(rest, "src(") {
		return fmt.Errorf("has the value %q: must load and run nothing", value)
	}
	for {
		_, after, found := strings.Cut(rest, "url(")
		if !found {
			return nil
		}
		rest = strings.TrimLeft(after, " \t\r\n'\"")
		if !strings.HasPrefix(rest, "#") {
			return fmt.Errorf("refers to %q: must refer to its own parts alone", value)
		}
	}
}
