package failure

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Error is one failure: a cause with its facts. Its fields are not changed
// after it was reported; [Error.With] makes an altered copy.
type Error struct {
	Cause Cause
	// Backend and Endpoint name what failed, as configured; "" if nothing did
	// that has a name.
	Backend, Endpoint string
	// Status is a status that was received (upstream_5xx, upstream_429) or that
	// replaces the row's (client_body_error: 400, 408 or 413); 0 is none.
	Status int
	// Detail has the facts for the operator: counts, limits, addresses, first
	// bytes. It is not for visitors.
	Detail string
	// Params are the extra parameters that RFC 9209 section 2.3 defines for the
	// row's error type.
	Params []Param
	// Notes are what colours the failure without being its cause.
	Notes []Note
	// Attempts is how many attempts were made; 0 if none was.
	Attempts int
	// RequestWritten tells whether the last attempt's request had been sent
	// whole.
	RequestWritten bool
	// Phases is where the time went, over all attempts.
	Phases Timings
	// RetryAfter is the time until another try makes sense; 0 is unknown. It is
	// never a guess.
	RetryAfter time.Duration
	// Err is the underlying error, if there was one.
	Err error
}

// Param is an extra parameter of the Proxy-Status field. Value is a string, an
// int or a Token.
type Param struct {
	Key   string
	Value any
}

// Token is a value that is written without quotes (RFC 8941 section 3.3.4).
type Token string

// Note is a circumstance beside the cause.
type Note struct {
	Kind NoteKind
	// Detail is a number, an id or a name; "" is none.
	Detail string
}

// NoteKind names a circumstance.
type NoteKind string

// The notes.
const (
	RetryBudgetSpent NoteKind = "retry_budget_spent"
	NotRetried       NoteKind = "not_retried"        // detail: why
	SharedFill       NoteKind = "shared_fill"        // detail: the fill's id
	StaleForbidden   NoteKind = "stale_forbidden"    // detail: the directive
	StaleExpired     NoteKind = "stale_expired"      // detail: since when
	TooLargeToStore  NoteKind = "too_large_to_store" // detail: the limit
	StoreUnavailable NoteKind = "store_unavailable"
	AfterHeaders     NoteKind = "after_headers" // the response had begun: the connection was aborted
)

// String returns "kind" or "kind: detail".
func (n Note) String() string {
	if n.Detail == "" {
		return string(n.Kind)
	}
	return string(n.Kind) + ": " + n.Detail
}

// New returns an Error of the given cause that wraps err, which may be nil.
func New(c Cause, err error) *Error { return &Error{Cause: c, Err: err} }

// ErrUnused is what the done func of a permit is called with if the permit was
// not used after all. It says nothing about the backend.
var ErrUnused = errors.New("failure: permit unused")

// Error is for logs: backend, endpoint, cause, detail, wrapped error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("holdfast: ")
	if e.Backend != "" {
		b.WriteString("backend " + strconv.Quote(e.Backend))
		if e.Endpoint != "" {
			b.WriteString(" endpoint " + e.Endpoint)
		}
		b.WriteString(": ")
	}
	b.WriteString(e.Cause.String())
	if e.Status != 0 {
		fmt.Fprintf(&b, " (status %d)", e.Status)
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the underlying error.
func (e *Error) Unwrap() error { return e.Err }

// HTTPStatus is the status to send: the row's, or the one that was received,
// or 504 where a directive of the stored response forbade the stale answer
// that would have been sent instead (RFC 9111 section 5.2.2.2), unless the
// service is in maintenance, which is more to the point. It is
// [StatusClientGone] where nothing is to be sent.
func (e *Error) HTTPStatus() int {
	row := e.Cause.Row()
	switch {
	case e.Cause == ClientGone:
		return StatusClientGone
	case row.Status == 0 || e.Cause == ClientBodyError && e.Status != 0:
		if e.Status == 0 {
			return http.StatusBadGateway
		}
		return e.Status
	case e.Cause != Maintenance && e.Noted(StaleForbidden):
		return http.StatusGatewayTimeout
	}
	return row.Status
}

// Received is the status that the backend answered with before or while it
// failed; 0 if there was none.
func (e *Error) Received() int {
	if e.Cause == ClientBodyError { // there Status is the one to send
		return 0
	}
	return e.Status
}

// Own tells whether the answer to this failure is ours to write. It is not
// where the origin answered for itself, or where nobody is left to read it.
func (e *Error) Own() bool { return e.Cause.Row().Status != 0 }

// Verdict is what a breaker and passive health make of the failure: the row's,
// narrowed by its condition.
func (e *Error) Verdict() Verdict {
	row := e.Cause.Row()
	counts := true
	switch row.CountsIf {
	case Always:
	case IfRetried:
		counts = e.Attempts > 1
	case IfRequestWritten:
		counts = e.RequestWritten
	case UnlessNotSupported:
		counts = CountsStatus(e.Status)
	case IfHandlerIsBackend:
		counts = e.Backend != ""
	}
	if !counts {
		return Neutral
	}
	return row.Counts
}

// CountsStatus tells whether a received status is a failure of the backend:
// any from 500 to 599 but 501 and 505, which say what it does not support.
func CountsStatus(status int) bool {
	return status >= 500 && status <= 599 &&
		status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// Noted tells whether e carries a note of the kind.
func (e *Error) Noted(k NoteKind) bool {
	return slices.ContainsFunc(e.Notes, func(n Note) bool { return n.Kind == k })
}

// With returns a copy of e with the notes added that it does not carry yet.
func (e *Error) With(notes ...Note) *Error {
	c := *e
	c.Notes = slices.Clip(c.Notes)
	for _, n := range notes {
		if !slices.Contains(c.Notes, n) {
			c.Notes = append(c.Notes, n)
		}
	}
	return &c
}

// RetryAfterSeconds is the value for a Retry-After field (RFC 9110 section
// 10.2.3): RetryAfter in whole seconds, rounded up; 0 if it is unknown.
func (e *Error) RetryAfterSeconds() int {
	if e.RetryAfter <= 0 {
		return 0
	}
	return int((e.RetryAfter-1)/time.Second) + 1
}

// Recovered returns the Error for a value that was recovered from a handler's
// panic: handler_abort for [http.ErrAbortHandler], else panic. The stack goes
// into the detail.
func Recovered(v any, stack []byte) *Error {
	if err, ok := v.(error); ok {
		if errors.Is(err, http.ErrAbortHandler) {
			return New(HandlerAbort, err)
		}
		return &Error{Cause: Panic, Err: err, Detail: string(stack)}
	}
	return &Error{Cause: Panic, Err: fmt.Errorf("%v", v), Detail: string(stack)}
}

// As returns the Error in err's chain. An error that has none is
// wrapped with the cause that the caller falls back to.
func As(err error, fallback Cause) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return New(fallback, err)
}
