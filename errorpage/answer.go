package errorpage

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var contentTypes = [...][]string{
	html:    {"text/html; charset=utf-8"},
	problem: {"application/problem+json"},
	json:    {"application/json"},
	text:    {"text/plain; charset=utf-8"},
}

// vary: Accept and, whether it is there or not, Sec-Fetch-Dest decide; so does
// Accept-Language where there are several languages.
var (
	vary         = []string{"Accept, Sec-Fetch-Dest"}
	varyLanguage = []string{"Accept, Accept-Language, Sec-Fetch-Dest"}
)

// ServeError answers r with a page for err, usually an *failure.Error. It is a
// failure.ErrorHandler. An error of another type is answered with 502, or not
// at all if it says that the client left; a failure that nobody reported yet is
// reported to the slot of r's context.
func (p *Page) ServeError(w http.ResponseWriter, r *http.Request, err error) {
	e := failureOf(r, err)
	if known, ok := failure.From(r.Context()); !ok || known != e {
		failure.Report(r.Context(), e)
	}
	if e.Cause == failure.ClientGone {
		return
	}
	id, _ := p.requestID(r.Header)
	p.answer(w, r, e, e.HTTPStatus(), id)
}

func failureOf(r *http.Request, err error) *failure.Error {
	if e, ok := errors.AsType[*failure.Error](err); ok && e != nil {
		return e
	}
	if errors.Is(err, context.Canceled) && clientGone(r.Context()) {
		return failure.New(failure.ClientGone, err)
	}
	return failure.New(failure.HandlerAbort, err)
}

// clientGone tells a client that left from a deadline of our own, which has a
// cause of its own.
func clientGone(ctx context.Context) bool { return errors.Is(context.Cause(ctx), context.Canceled) }

// answer writes the page. What is in the header map of w stays there unless it
// described another body.
func (p *Page) answer(w http.ResponseWriter, r *http.Request, e *failure.Error, status int, id string) {
	if status < 400 || status > 599 {
		status = http.StatusBadGateway // no part of ours reports such a status
	}
	f := choose(r.Header)
	h := w.Header()
	p.setHeaders(h, e)
	if f == grpc {
		h[p.idHeader] = []string{id}
		answerGRPC(w, grpcType(r.Header.Get("Content-Type")), status, e.RetryAfterSeconds())
		status = http.StatusOK
	} else {
		p.answerHTTP(w, r, f, facts{status, groupOf(e, status), e.RetryAfterSeconds(), id, p.locales.of(r.Header)})
	}
	p.observe(r.Context(), Event{Kind: Served, Status: status, Format: f.String(), Failure: e, RequestID: id})
}

func (p *Page) answerHTTP(w http.ResponseWriter, r *http.Request, f format, facts facts) {
	buf, _ := p.buffers.Get().(*[]byte)
	body := (*buf)[:0]
	h := w.Header()
	switch f {
	case html:
		retry := asksAgain(r.Method, facts.retryAfter)
		pg := p.book.of(&facts)
		body = pg.appendTo(body, &facts, retry)
		h["Content-Security-Policy"] = pg.policy
		if retry {
			h["Content-Security-Policy"] = pg.retryPolicy
		}
	case problem, json:
		body = p.texts.appendProblem(body, facts)
	case text:
		body = p.texts.appendText(body, facts)
	case empty, grpc:
	}
	if f == empty {
		delete(h, "Content-Type")
	} else {
		h["Content-Type"] = contentTypes[f]
		h["Content-Language"] = facts.locale.header
	}
	addVary(h, p.locales.vary)
	setValues(h, p.idHeader, facts.id, "Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(facts.status)
	if len(body) > 0 && r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone; there is nobody to tell
	}
	*buf = body
	p.buffers.Put(buf)
}

// asksAgain tells whether the page of an answer may ask for itself again: only
// what answered a GET can be had once more by a GET. A HEAD is told of the same
// page.
func asksAgain(method string, retryAfter int) bool {
	return (method == http.MethodGet || method == http.MethodHead) && retryAfter <= maxPause
}

// setValues sets two fields for one allocation. An append to either copies.
func setValues(h http.Header, a, x, b, y string) {
	values := []string{x, y}
	h[a], h[b] = values[:1:1], values[1:]
}

// answerGRPC is a trailers-only answer: for gRPC the status is in a field of a
// 200 without a body. Clients that retry by themselves wait for as long as
// grpc-retry-pushback-ms says (gRPC proposal A6).
func answerGRPC(w http.ResponseWriter, contentType string, status, retryAfter int) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Grpc-Status"] = []string{grpcStatus(status)}
	h["Grpc-Message"] = []string{statusText(status)}
	if retryAfter > 0 {
		h["Grpc-Retry-Pushback-Ms"] = []string{strconv.FormatInt(int64(retryAfter)*1000, 10)}
	}
	w.WriteHeader(http.StatusOK)
}

// grpcStatus is gRPC's own mapping of statuses that come from proxies
// (grpc/doc/http-grpc-status-mapping.md).
func grpcStatus(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "13" // INTERNAL
	case http.StatusUnauthorized:
		return "16" // UNAUTHENTICATED
	case http.StatusForbidden:
		return "7" // PERMISSION_DENIED
	case http.StatusNotFound:
		return "12" // UNIMPLEMENTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "14" // UNAVAILABLE
	}
	return "2" // UNKNOWN
}

// setHeaders prepares h for any format.
func (p *Page) setHeaders(h http.Header, e *failure.Error) {
	p.dropPlainMember(h, e)
	failure.SetHeaders(h, e, p.cfg.ProxyStatus)
	for name := range h {
		if ofAnother(name) {
			delete(h, name)
		}
	}
	h["X-Content-Type-Options"] = p.noSniff
}

// ofAnother tells whether a field was about the body that the page replaces, or
// about what a client or a proxy in front was to do with it: go elsewhere, load
// what belongs to it, keep it for longer than Cache-Control says (RFC 9213 and
// older fields), send a file in its place.
func ofAnother(name string) bool {
	switch name {
	case "Content-Digest", "Content-Md5", "Digest", "Repr-Digest", "Signature", "Signature-Input", "Transfer-Encoding",
		"Refresh", "Location", "Sourcemap", "Speculation-Rules", "Use-As-Dictionary", "No-Vary-Search",
		"Content-Security-Policy-Report-Only",
		"Pragma", "Edge-Control", "X-Accel-Expires", "X-Accel-Redirect", "X-Sendfile", "X-Lighttpd-Send-File",
		"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin", "Grpc-Retry-Pushback-Ms":
		return true
	}
	return strings.HasPrefix(name, http.TrailerPrefix) || strings.HasSuffix(name, "-Cdn-Cache-Control")
}

// dropPlainMember removes what failure.WriteError, whose answer is being
// replaced, put into Proxy-Status under the default name, if ours is another.
func (p *Page) dropPlainMember(h http.Header, e *failure.Error) {
	name := p.cfg.ProxyStatus.Name
	lines := h["Proxy-Status"]
	if name == "" || name == failure.DefaultName || len(lines) == 0 {
		return
	}
	plain := http.Header{}
	failure.ProxyStatus{}.Set(plain, e)
	if last := len(lines) - 1; lines[last] == plain.Get("Proxy-Status") {
		h["Proxy-Status"] = slices.Clip(lines[:last])
	}
}

// written tells whether h belongs to a page that p itself wrote for this
// request. The identity of a header value tells, together with the id: a copy
// of an answer to somebody else has another id.
func (p *Page) written(h http.Header, id string) bool {
	mark, ids := h["X-Content-Type-Options"], h[p.idHeader]
	return len(mark) == 1 && &mark[0] == &p.noSniff[0] && len(ids) == 1 && ids[0] == id
}

// addVary adds what decided to a Vary that is there already.
func addVary(h http.Header, vary []string) {
	lines := h["Vary"]
	if len(lines) == 0 {
		h["Vary"] = vary
		return
	}
	for name := range strings.SplitSeq(vary[0], ", ") {
		if !varies(lines, name) {
			h.Add("Vary", name)
		}
	}
}

func varies(lines []string, name string) bool {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if m := strings.Trim(member, " \t"); m == "*" || strings.EqualFold(m, name) {
				return true
			}
		}
	}
	return false
}

// intercepted is the failure of a 5xx answer of somebody else that the page
// replaces: the one that was reported, with the Retry-After that was sent.
func intercepted(ctx context.Context, status int, h http.Header, now time.Time) *failure.Error {
	e, ok := failure.From(ctx)
	if !ok || e.Own() || e.HTTPStatus() != status {
		e = &failure.Error{Cause: failure.Upstream5xx, Status: status}
	}
	if e.RetryAfter > 0 {
		return e
	}
	if d := retryAfter(h.Get("Retry-After"), now); d > 0 {
		c := *e
		c.RetryAfter = d
		return &c
	}
	return e
}

// maxRetryAfter is the longest that an origin is believed.
const maxRetryAfter = 365 * 24 * time.Hour

// retryAfter reads a Retry-After field (RFC 9110 section 10.2.3); 0 is none.
func retryAfter(s string, now time.Time) time.Duration {
	var d time.Duration
	if s != "" && len(s) <= 9 && allDigits(s) {
		n, _ := strconv.Atoi(s)
		d = time.Duration(n) * time.Second
	} else if t, err := http.ParseTime(s); err == nil {
		d = t.Sub(now)
	}
	if d < 0 || d > maxRetryAfter {
		return 0
	}
	return d
}
