package failure

import (
	"net/http"
	"strconv"
)

// ErrorHandler answers a request that failed. err is usually an *[Error].
type ErrorHandler = func(w http.ResponseWriter, r *http.Request, err error)

// Serve is how a failing part ends a request: it reports e to the slot of the
// request's context, then lets h answer ([WriteError] if h is nil).
//
// For a client that left nothing is written, and the request is aborted with
// http.ErrAbortHandler: net/http takes a client that only closed its own side
// of the connection for gone, too, and would make an empty 200 of a handler
// that returns without an answer.
func Serve(w http.ResponseWriter, r *http.Request, e *Error, h ErrorHandler) {
	Report(r.Context(), e)
	if e.Cause == ClientGone {
		panic(http.ErrAbortHandler)
	}
	if h == nil {
		h = WriteError
	}
	h(w, r, e)
}

// WriteError is the plain default ErrorHandler: the row's status with one line
// of text, Proxy-Status, and Retry-After where the time is known. It says
// nothing of addresses or errors. An err that is no *Error is answered with 502.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := As(err, HandlerAbort)
	if e.Cause == ClientGone {
		return
	}
	status := e.HTTPStatus()
	h := w.Header()
	SetHeaders(h, e, ProxyStatus{})
	h["Content-Type"] = textPlain
	h["X-Content-Type-Options"] = noSniff
	body := strconv.Itoa(status) + " " + http.StatusText(status) + "\n"
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // the client may be gone; there is nobody to tell
	}
}

var (
	textPlain = []string{"text/plain; charset=utf-8"}
	noSniff   = []string{"nosniff"}
	noStore   = []string{"no-store"}
	closing   = []string{"close"}
)

// SetHeaders prepares h for the answer to e, whatever its body will be:
// leftovers that described another body are removed, and Proxy-Status,
// Retry-After and Cache-Control: no-store are set.
func SetHeaders(h http.Header, e *Error, p ProxyStatus) {
	for _, name := range [...]string{
		"Content-Length", "Content-Encoding", "Content-Range", "Content-Language", "Content-Location", "Content-Disposition",
		"Accept-Ranges", "Etag", "Last-Modified", "Expires", "Age", "Trailer", "Cdn-Cache-Control", "Surrogate-Control",
		"Retry-After",
	} {
		delete(h, name)
	}
	p.Set(h, e)
	h["Cache-Control"] = noStore
	if s := e.RetryAfterSeconds(); s > 0 {
		h.Set("Retry-After", strconv.Itoa(s))
	}
	if e.Cause == Draining {
		h["Connection"] = closing
	}
}
