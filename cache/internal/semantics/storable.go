package semantics

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Options are what the operator chose.
type Options struct {
	// StoreSetCookie lets responses with Set-Cookie be stored.
	StoreSetCookie bool
	// StaleWhileRevalidate and StaleIfError are windows for responses that have
	// none of their own; 0 is none.
	StaleWhileRevalidate, StaleIfError time.Duration
	// Targets are the targeted fields that are obeyed, by their canonical names, in
	// order (RFC 9213); nil is CDN-Cache-Control, and an empty list none.
	Targets []string
	// Self is our name in Cache-Status and Proxy-Status; our own members in these
	// are not stored.
	Self string
	// StatusTTL is the freshness of responses of a status that have none of their
	// own.
	StatusTTL map[int]time.Duration
	// Grant is what the operator says about the response; nil = nothing.
	Grant *Grant
}

// Reasons why a response is not stored: one token each, for events and the
// detail parameter of Cache-Status.
const (
	ReasonMethod         = "method"
	ReasonStatus         = "status"
	ReasonRequestNoStore = "request_no_store"
	ReasonNoStore        = "no_store"
	ReasonPrivate        = "private"
	ReasonAuthorization  = "authorization"
	ReasonSetCookie      = "set_cookie"
	ReasonVary           = "vary_star"
	ReasonNotUnderstood  = "must_understand"
	ReasonNoFreshness    = "no_freshness"
)

// Storable tells whether a shared cache may store the response to a request
// (RFC 9111 section 3), and if not, why not.
//
// Beyond the RFC's rules, a response with Set-Cookie is not stored unless
// Options says so, and one that has neither freshness nor a validator is not
// stored, since nothing useful can be done with it.
func Storable(method string, reqHeader http.Header, status int, h http.Header, o Options) (ok bool, reason string) {
	d := parseDirectives(h, o.targets())
	known := understood(status)
	switch {
	case method != http.MethodGet:
		return false, ReasonMethod
	case status < 200 || status > 599 || status == http.StatusPartialContent || status == http.StatusNotModified:
		return false, ReasonStatus
	case ParseRequest(reqHeader).NoStore:
		return false, ReasonRequestNoStore
	case d.mustUnderstand && !known:
		return false, ReasonNotUnderstood
	case d.noStore && !d.mustUnderstand && !o.anyway(): // RFC 9111 section 5.2.2.3
		return false, ReasonNoStore
	case d.private && !o.anyway():
		return false, ReasonPrivate
	case len(reqHeader["Authorization"]) > 0 && !d.shared():
		return false, ReasonAuthorization
	case len(h["Set-Cookie"]) > 0 && !o.StoreSetCookie && !d.leavesOut("Set-Cookie"):
		return false, ReasonSetCookie
	}
	if _, star := VaryNames(h); star {
		return false, ReasonVary
	}
	explicit := d.explicit(h)
	validator := len(h["Etag"]) > 0 || len(h["Last-Modified"]) > 0
	switch {
	case explicit, d.public && validator, o.anyway(), o.fresh(status) && !d.noCache:
		return true, ""
	case !heuristic(status):
		return false, ReasonStatus
	case !validator && !d.public:
		return false, ReasonNoFreshness
	}
	return true, ""
}

// explicit tells whether the response has freshness information of its own (RFC
// 9111 section 4.2.1), understood or not.
func (d *directives) explicit(h http.Header) bool {
	return d.maxAge != absent || d.sMaxAge != absent || !d.targeted && len(h["Expires"]) > 0
}

// shared tells whether the response may be used for others although its request
// had credentials (RFC 9111 section 3.5). One that is not to be stored is not,
// whoever stores it anyway.
func (d *directives) shared() bool {
	return (d.public || d.sMaxAge >= 0 || d.mustRevalidate) && !d.private && (!d.noStore || d.mustUnderstand)
}

// leavesOut tells whether the response says that a field is not to be stored.
func (d *directives) leavesOut(name string) bool {
	return slices.Contains(d.noCacheFields, name) || slices.Contains(d.privateFields, name)
}

// understood tells whether the caching requirements of a status code are
// implemented here: all that are registered but 206 and 304, which are never
// stored as they are, and 418, which is registered as unused.
func understood(status int) bool {
	return http.StatusText(status) != "" && status >= 200 && status != http.StatusTeapot &&
		status != http.StatusPartialContent && status != http.StatusNotModified
}

// heuristic tells whether a status code is heuristically cacheable (RFC 9110
// section 15.1).
func heuristic(status int) bool {
	switch status {
	case http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent, http.StatusMultipleChoices,
		http.StatusMovedPermanently, http.StatusPermanentRedirect, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusGone, http.StatusRequestURITooLong, http.StatusNotImplemented:
		return true
	}
	return false
}

// Posted tells whether the response to a POST may be stored for later GETs (RFC
// 9110 section 9.3.3): it has explicit freshness and a Content-Location that is
// the target, so that its content is what these would get, and is storable as if
// it were a GET's.
func Posted(r *http.Request, scheme string, status int, h http.Header, received time.Time, o Options) bool {
	if r.Method != http.MethodPost || status != http.StatusOK || first(h["Content-Location"]) == "" || len(h["Content-Location"]) != 1 {
		return false
	}
	if r.RequestURI != "" && r.RequestURI != r.URL.RequestURI() && r.RequestURI != r.URL.String() {
		return false // somebody outside took a part of the target away
	}
	d := parseDirectives(h, o.targets())
	date, ok, _ := singleDate(h["Date"])
	if !ok {
		date = received
	}
	if life, guess := lifetime(&d, h, status, date); life <= 0 || guess {
		return false
	}
	ok, _ = Storable(http.MethodGet, r.Header, status, h, o)
	return ok && isTarget(r, scheme, h["Content-Location"][0])
}

// isTarget tells whether a reference is to the target URI of a request.
func isTarget(r *http.Request, scheme, ref string) bool {
	target := targetURI(r, scheme)
	u, err := target.Parse(ref)
	return err == nil && u.Opaque == "" && u.User == nil && strings.EqualFold(u.Scheme, scheme) && sameHost(scheme, u.Host, target.Host) &&
		u.EscapedPath() == target.EscapedPath() && u.RawQuery == target.RawQuery
}
