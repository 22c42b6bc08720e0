package errorpage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
)

// DefaultRequestIDHeader carries the request id unless configured otherwise.
const DefaultRequestIDHeader = "X-Request-Id"

const (
	maxBrand   = 100  // bytes
	maxMessage = 1000 // bytes
	// maxHTML bounds the built-in page in bytes, whatever the configured texts are,
	// but for its logo: it comes in the first round trip (RFC 6928).
	maxHTML = 14000
)

// Config says how pages look. The zero Config makes a neutral page in the
// language of the visitor, if it is built in, and tells visitors nothing but status and request id.
type Config struct {
	// Brand is shown above the message and in the title, as text; "" shows none.
	// At most 100 bytes of UTF-8 without control characters.
	Brand string
	// Logo stands in the place of Brand, which names it for those who don't see
	// it: an <svg> element, or a data: URL of type image/png, image/jpeg,
	// image/webp or image/svg+xml; "" is none. It is drawn 2.5rem high. An SVG has
	// shapes, paths, text and gradients, and neither scripts, styles (attributes
	// such as fill do) nor references to anything but its own parts; what an editor
	// noted in it is left out. At most 16 kB.
	Logo string
	// Color is the accent, "#rgb" or "#rrggbb"; "" is a calm blue. It is made
	// darker or lighter where it would not be readable (contrast 4.5, WCAG 2.2 AA).
	Color string
	// Support is where a visitor finds help: an absolute URL of https:, http: or
	// mailto:, of at most 500 bytes; "" shows no link. It is on every page, even
	// where what it leads to fails, too: better to host it elsewhere.
	Support string
	// SupportText is what that link says, in the place of the locale's own text;
	// "" is that. At most 100 bytes of UTF-8 without control characters.
	SupportText string
	// Message replaces the built-in sentence on pages with a 5xx status, as
	// text; "" is the built-in one for each group. Pages with a 4xx status keep
	// theirs: they tell what the client can do. At most 1000 bytes of UTF-8
	// without control characters.
	Message string
	// Messages are sentences for single groups, by locale; those of the locale ""
	// are for all that have none. They come before Message, and a locale's own
	// (de-AT) before those of its language (de). Each as Message; "" is none.
	Messages map[string]map[Group]string
	// Templates has own pages in the place of the built-in one: page.html and, if
	// it is there, GROUP.html for a [Group] ("rate_limited.html"), in the syntax of
	// html/template, with [TemplateData]. They are executed by New alone: for each
	// locale and group, with and without a time to wait. A template that fails, or
	// makes a page of more than 64 kB, is an error there, and so is a hole where
	// what fills it could mean something. Only HTML is made by them. nil is the
	// built-in page, which has less than 6 kB, and what is configured.
	Templates fs.FS
	// ContentSecurityPolicy is sent with pages that are HTML (CSP 3). "" admits the
	// styles and scripts that stand in the page, by their hashes, images by data:
	// URL if there are any, and nothing else: no style attributes, no files. Own
	// templates that load some need a policy of their own, which also has to admit
	// what [TemplateData.Retry] brings: its script, and connect-src 'self'. At most
	// 4096 bytes of printable ASCII.
	ContentSecurityPolicy string
	// AutoRetry is for how long a page that answered a GET, and that is looked at,
	// tries again by itself, if what it tells of passes with time: 0 is 15
	// minutes, negative is never, and makes pages without scripts; at most 24
	// hours. It asks by HEAD: after Retry-After if that is known (and at most 24
	// hours), else after 5 to 30 seconds, a little later each time; 20 times in 15
	// minutes at most. Waiting for the first Retry-After doesn't count.
	AutoRetry time.Duration
	// Locales are the languages that pages are offered in, as tags (BCP 47); the
	// first is for clients that accept none of them. Each must be built in, or a
	// variety of one that is (de-AT, pt-BR), or have texts in Texts. nil is all
	// of these, English first. With one language, Accept-Language is not looked
	// at, and Vary doesn't name it. At most 64.
	Locales []string
	// Texts adds languages, or changes texts of those that are built in, by tag
	// (BCP 47). nil adds none. The built-in languages are en, de, fr, es, pt, ar,
	// ja and zh-Hans.
	Texts map[string]Texts
	// ProxyStatus is how the Proxy-Status field (RFC 9209) is written. Its zero
	// value tells error and cause, and neither next hop nor details.
	ProxyStatus failure.ProxyStatus
	// RequestIDHeader names the request's and the response's field with the
	// request id; "" is X-Request-Id. An id that is no safe token (see
	// [ValidRequestID]) is never repeated; a new one is made.
	RequestIDHeader string
	// Intercept5xx replaces 5xx answers that nobody reported as a failure, and
	// those of the origin, too. The zero value passes them as sent.
	Intercept5xx bool
	// Intercept narrows that by status and content type, and says which fields of
	// the replaced answer the page keeps.
	Intercept Intercept
	// Maintenance is what [Page.Maintenance] goes by.
	Maintenance MaintenanceConfig
	// Observe is told of each page, each panic and each change of maintenance, on
	// the goroutine of the request (or of the caller of StartMaintenance,
	// EndMaintenance or MaintenanceState) and under no lock; nil is nobody.
	Observe func(context.Context, Event)
}

// EventKind tells what an Event is about.
type EventKind uint8

// The kinds of events.
const (
	// Served: a page was written.
	Served EventKind = iota + 1
	// Recovered: a handler panicked. Failure has the value and the stack; a page
	// follows if nothing had been sent.
	Recovered
	// MaintenanceOn: maintenance began, or its end or source changed.
	MaintenanceOn
	// MaintenanceOff: it is over.
	MaintenanceOff
	// MaintenanceUnknown: whether the file is there can't be told, and the last
	// known state stays. When it can be told again, MaintenanceOn or
	// MaintenanceOff follows.
	MaintenanceUnknown
)

// String returns the kind's name, for instance "served".
func (k EventKind) String() string {
	switch k {
	case Served:
		return "served"
	case Recovered:
		return "recovered"
	case MaintenanceOn:
		return "maintenance_on"
	case MaintenanceOff:
		return "maintenance_off"
	case MaintenanceUnknown:
		return "maintenance_unknown"
	}
	return "event(?)"
}

// Event is something that happened to a request.
type Event struct {
	Kind EventKind
	// Status is the HTTP status that was sent: 200 for gRPC. 0 if Kind is not
	// Served.
	Status int
	// Format is one of html, problem, json, text, empty and grpc; "" if Kind is
	// not Served.
	Format string
	// Failure is why; nil if Kind is neither Served nor Recovered.
	Failure *failure.Error
	// RequestID is the id that the visitor was shown; "" as above.
	RequestID string
	// Maintenance is what is in force now, if Kind is MaintenanceOn.
	Maintenance MaintenanceState
	// Err is what the file lacks, or why it can't be looked at, if Kind is one of
	// maintenance.
	Err error
}

// Page writes error pages. It is safe for concurrent use.
type Page struct {
	cfg      Config
	idHeader string // canonical
	texts    texts
	locales  *locales
	book     *book
	// noSniff is a header value that only pages of this Page carry, by identity.
	noSniff []string
	buffers sync.Pool // of *[]byte

	maintenance *maintenance
	intercept   interception
}

// New returns a Page. The error joins everything that is wrong with cfg.
func New(cfg Config) (*Page, error) {
	if cfg.RequestIDHeader == "" {
		cfg.RequestIDHeader = DefaultRequestIDHeader
	}
	locales, err := newLocales(cfg.Locales, cfg.Texts)
	if err == nil { // else some of those that Messages are for may be missing
		err = setMessages(locales.all, cfg)
	}
	book, bookErr := bind(cfg, locales.all)
	errs := []error{err, bookErr}
	if !validFieldName(cfg.RequestIDHeader) {
		errs = append(errs, fmt.Errorf("errorpage: Config.RequestIDHeader is %q: must be a field name (RFC 9110 section 5.1)", cfg.RequestIDHeader))
	}
	if n := cfg.ProxyStatus.Name; n != "" && !validToken(n) {
		errs = append(errs, fmt.Errorf("errorpage: Config.ProxyStatus.Name is %q: must be a token (RFC 8941 section 3.3.4)", n))
	}
	p := &Page{
		cfg:      cfg,
		idHeader: http.CanonicalHeaderKey(cfg.RequestIDHeader),
		texts:    newTexts(cfg.Brand),
		locales:  locales,
		book:     book,
		noSniff:  []string{"nosniff"},
		buffers:  sync.Pool{New: func() any { return new([]byte) }},
	}
	if p.intercept, err = newInterception(cfg); err != nil {
		errs = append(errs, err)
	}
	if p.maintenance, err = newMaintenance(cfg.Maintenance, p.observe); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

// bind makes the book of a configuration.
func bind(cfg Config, all []*locale) (*book, error) {
	brand, err := newBrand(cfg)
	templates, templatesErr := readTemplates(cfg.Templates)
	errs := []error{err, templatesErr, checkPolicy(cfg.ContentSecurityPolicy)}
	autoRetry := cfg.AutoRetry
	switch {
	case autoRetry == 0:
		autoRetry = defaultAutoRetry
	case autoRetry > maxAutoRetry:
		errs = append(errs, fmt.Errorf("errorpage: Config.AutoRetry is %v: must be at most %v", autoRetry, maxAutoRetry))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	rr := newRenderer(templates, brand, seconds(autoRetry), cfg.ContentSecurityPolicy)
	book, err := newBook(rr, all)
	if err != nil || templates.own {
		return book, err
	}
	if n := book.longest(all) - len(brand.logo); n > maxHTML {
		return nil, fmt.Errorf("errorpage: Config.Message, Messages, Texts or Support make the built-in page have %d bytes: must be at most %d", n, maxHTML)
	}
	return book, nil
}

// seconds rounds up; what is negative is 0.
func seconds(d time.Duration) int { return int((max(d, 0) + time.Second - 1) / time.Second) }

func (p *Page) observe(ctx context.Context, ev Event) {
	if p.cfg.Observe != nil {
		p.cfg.Observe(ctx, ev)
	}
}

func checkText(field, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("errorpage: Config.%s has %d bytes: must be at most %d", field, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("errorpage: Config.%s is not UTF-8", field)
	}
	for _, c := range s {
		if unicode.IsControl(c) {
			return fmt.Errorf("errorpage: Config.%s contains the control character %U: must be text", field, c)
		}
	}
	return nil
}

// validFieldName tells whether s is a field name that a request id may have.
func validFieldName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return true
}

// validToken tells whether s is an sf-token.
func validToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		first := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '*'
		if !first && (i == 0 || !isTokenChar(c) && c != ':' && c != '/') {
			return false
		}
	}
	return true
}

// isTokenChar tells whether c is a tchar (RFC 9110 section 5.6.2).
func isTokenChar(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	case c == '!', c == '#', c == '$', c == '%', c == '&', c == '\'', c == '*', c == '+', c == '-', c == '.', c == '^', c == '_', c == '`', c == '|', c == '~':
		return true
	}
	return false
}
