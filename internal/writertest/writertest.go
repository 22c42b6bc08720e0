// Package writertest is the conformance test of everything that stands between
// net/http and a handler: what a bare http.ResponseWriter and *http.Request can
// do, they must still be able to do behind the middleware.
//
// Each check runs over a real HTTP/1.1 server and a real HTTP/2 server (TLS) on
// loopback, with real clients. Requests whose check concerns the connection
// itself (deadlines, hijack, cancellation, uploads) are POSTs, which no layer
// has a reason to answer from elsewhere; what a page needs is checked with GET.
package writertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// Check names one thing that a middleware must let through.
type Check string

// The checks.
const (
	// Flush: Flush delivers headers, then body, while the handler is still at
	// work.
	Flush Check = "flush"
	// FlushError: http.ResponseController.Flush works, and tells when the client
	// is gone.
	FlushError Check = "flush_error"
	// Hijack: on HTTP/1.1 the connection is handed over with what was already
	// read from it; on HTTP/2 the attempt is refused and the handler can still
	// answer.
	Hijack Check = "hijack"
	// Assertions: a type assertion on http.Flusher, http.Hijacker,
	// http.CloseNotifier, io.ReaderFrom or io.StringWriter succeeds where it does
	// on the bare writer. Of a GET only the Flusher, the CloseNotifier and the
	// StringWriter are demanded.
	Assertions Check = "assertions"
	// EarlyHints: 103 responses arrive, in order and at once, and the final
	// header is whole, even if the handler clears the header map in between.
	EarlyHints Check = "early_hints"
	// Trailers: announced ones, and those with http.TrailerPrefix.
	Trailers Check = "trailers"
	// ReadDeadline: http.ResponseController.SetReadDeadline.
	ReadDeadline Check = "read_deadline"
	// WriteDeadline: http.ResponseController.SetWriteDeadline.
	WriteDeadline Check = "write_deadline"
	// FullDuplex: http.ResponseController.EnableFullDuplex, and an echo.
	FullDuplex Check = "full_duplex"
	// ReadFrom: a file is copied whole; the number of bytes and the reader's
	// error come back; a source that fails at once leaves the status open.
	ReadFrom Check = "read_from"
	// Abort: after a panic with http.ErrAbortHandler the client never gets a
	// message that looks whole.
	Abort Check = "abort"
	// Cancel: a client that leaves cancels the context of its POST.
	Cancel Check = "cancel"
	// CancelGET: a client that leaves cancels the context of its GET.
	CancelGET Check = "cancel_get"
	// Head: HEAD has the headers of GET, Content-Length included, and no body.
	Head Check = "head"
	// NoBody: 204 and 304 stay without body, whatever the handler writes.
	NoBody Check = "no_body"
	// FirstStatus: of several final statuses the first is sent.
	FirstStatus Check = "first_status"
	// ImplicitOK: a handler that chooses no status sends a 200.
	ImplicitOK Check = "implicit_ok"
	// HeaderSnapshot: what is changed in the header map after WriteHeader is not
	// sent.
	HeaderSnapshot Check = "header_snapshot"
	// Upload: the handler reads the request's body while the client sends it.
	Upload Check = "upload"
	// Continue: without a reading handler no 100 Continue is sent, with one it
	// is.
	Continue Check = "continue"
	// Events: server-sent events arrive one by one.
	Events Check = "events"
	// Upgrade: a WebSocket-like upgrade of a GET on HTTP/1.1.
	Upgrade Check = "upgrade"
	// ContentLength: a length that the handler announced is announced to the
	// client, and a body that stays short of it is broken.
	ContentLength Check = "content_length"
)

type check struct {
	name Check
	run  func(*env) error
}

var checks = []check{
	{Flush, checkFlush},
	{FlushError, checkFlushError},
	{Hijack, checkHijack},
	{Assertions, checkAssertions},
	{EarlyHints, checkEarlyHints},
	{Trailers, checkTrailers},
	{ReadDeadline, checkReadDeadline},
	{WriteDeadline, checkWriteDeadline},
	{FullDuplex, checkFullDuplex},
	{ReadFrom, checkReadFrom},
	{Abort, checkAbort},
	{Cancel, checkCancel},
	{CancelGET, checkCancelGET},
	{Head, checkHead},
	{NoBody, checkNoBody},
	{FirstStatus, checkFirstStatus},
	{ImplicitOK, checkImplicitOK},
	{HeaderSnapshot, checkHeaderSnapshot},
	{Upload, checkUpload},
	{Continue, checkContinue},
	{Events, checkEvents},
	{Upgrade, checkUpgrade},
	{ContentLength, checkContentLength},
}

// Option changes what Run demands.
type Option func(*options)

type options struct {
	without map[Check]string
	invalid []error
}

// Without switches a check off, for a middleware that by design doesn't let
// that through. The reason is required; it is logged.
func Without(name Check, reason string) Option {
	return func(o *options) {
		if reason == "" {
			o.invalid = append(o.invalid, fmt.Errorf("writertest: Without(%s) gives no reason", name))
		}
		if !slices.ContainsFunc(checks, func(c check) bool { return c.name == name }) {
			o.invalid = append(o.invalid, fmt.Errorf("writertest: Without(%s): there is no such check", name))
		}
		o.without[name] = reason
	}
}

// patience bounds every wait of a check; it passes only in a check that fails.
const patience = 10 * time.Second

// Run checks that wrap passes through what net/http writers can do, over
// HTTP/1.1 and HTTP/2. wrap is called once per server. It must not answer by
// itself: Run makes about a hundred requests to URLs that occur only once.
func Run(t *testing.T, wrap func(http.Handler) http.Handler, opts ...Option) {
	t.Helper()
	o := options{without: map[Check]string{}}
	for _, opt := range opts {
		opt(&o)
	}
	if err := errors.Join(o.invalid...); err != nil {
		t.Fatal(err)
	}
	for _, proto := range protocols {
		t.Run(string(proto), func(t *testing.T) {
			for _, c := range checks {
				if reason, off := o.without[c.name]; off {
					t.Logf("%s: not checked: %s", c.name, reason)
					continue
				}
				t.Run(string(c.name), func(t *testing.T) {
					if err := verify(c.run, proto, wrap, patience); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// verify runs one check. All that the client, the handlers and the servers'
// logs have to complain of is in the error.
func verify(run func(*env) error, proto protocol, wrap func(http.Handler) http.Handler, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	e := &env{ctx: ctx, proto: proto, wrap: wrap}
	err := run(e)
	cancel() // the handlers that still wait give up
	e.close()
	return errors.Join(append(e.complaints(), err)...)
}
