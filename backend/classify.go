package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var errUpgradeOverHTTP2 = errors.New("backend: an HTTP/2 connection can't be upgraded")

// facts is what is known of an attempt that failed.
type facts struct {
	err     error // what it failed with
	ended   error // why its context was cancelled; nil if it was not
	stage   phase // how far it came
	reused  bool  // its connection had carried a request before
	written bool  // the request was sent whole
	handler bool  // the endpoint is in-process

	// HTTP/1:
	head     *headScan // nil otherwise
	readErr  error     // what reading the connection ended with; nil if it went on
	writeErr error     // what writing the request's body ended with

	// HTTP/2:
	http2     bool
	sent      bool   // the request's header section was sent, or is about to be
	once      bool   // the request must not be executed twice
	writing   bool   // the peer has to take what is being written
	peerReset bool   // the peer reset the stream
	tooLarge  bool   // the stream's header section is over the limit
	goAway    bool   // the peer accepts no more
	broken    bool   // the connection ended
	deaf      bool   // the peer did not even answer a PING: we ended it
	dead      bool   // no more requests can be sent on it, whoever ended it
	garbage   string // what came instead of HTTP/2
}

// classify names the cause. It is a pure function; the facts decide, not the
// words of an error.
func classify(f facts) *failure.Error {
	e := cause(f)
	e.RequestWritten = f.written
	return e
}

func cause(f facts) *failure.Error {
	if e := endedBy(f); e != nil {
		return e
	}
	if e, ok := errors.AsType[*failure.Error](f.err); ok {
		c := *e
		return &c
	}
	switch {
	case errors.Is(f.err, errUpgradeOverHTTP2):
		return failure.New(failure.UpgradeFailed, f.err)
	case f.stage == phaseResolve:
		return resolving(f.err)
	case f.stage == phaseConnect:
		return connecting(f.err)
	case f.stage == phaseTLS:
		return securing(f.err)
	case f.stage == phaseBody:
		return readingBody(f)
	case f.http2:
		return exchangingHTTP2(f)
	}
	return exchanging(f)
}

// endedBy explains an attempt whose context was cancelled: by the timer, by the
// client's body, by the client, or by whoever set the context up.
func endedBy(f facts) *failure.Error {
	if f.ended == nil {
		return nil
	}
	if t, ok := errors.AsType[*timeoutError](f.ended); ok {
		return timedOut(t, f)
	}
	if u, ok := errors.AsType[*uploadError](f.ended); ok {
		return uploading(u.err)
	}
	if e, ok := errors.AsType[*failure.Error](f.ended); ok {
		c := *e
		return &c
	}
	switch {
	case errors.Is(f.ended, errInterim):
		return &failure.Error{Cause: failure.Malformed, Err: f.ended}
	case errors.Is(f.ended, context.DeadlineExceeded):
		return &failure.Error{Cause: failure.TotalDeadline, Detail: "the request's own deadline", Err: f.ended}
	}
	return failure.New(failure.ClientGone, f.ended)
}

func timedOut(t *timeoutError, f facts) *failure.Error {
	c := failure.FirstByteTimeout
	switch {
	case t.phase == phaseWrite && f.http2 && !f.sent && !f.writing && !f.once: // a stream may be free at this very moment
		return &failure.Error{Cause: failure.StreamRefused, Detail: fmt.Sprintf("no stream was free for %v", t.limit), Err: t}
	case t.body:
		return &failure.Error{Cause: failure.TotalDeadline, Detail: fmt.Sprintf("the body was not whole after %v of waiting (WholeBody)", t.limit), Err: t}
	case t.total:
		c = failure.TotalDeadline
	case t.phase == phaseResolve:
		c = failure.DNSTimeout
	case t.phase == phaseConnect:
		c = failure.ConnectTimeout
	case t.phase == phaseTLS:
		c = failure.TLSTimeout
	case t.phase == phaseWrite && !f.handler:
		c = failure.WriteTimeout
	case t.phase == phaseHeaders:
		c = failure.HeaderStall
	case t.phase == phaseBody:
		c = failure.BodyStall
	}
	return &failure.Error{Cause: c, Detail: fmt.Sprintf("after %v", t.limit), Err: t}
}

// uploading explains what is wrong with the client's body.
func uploading(err error) *failure.Error {
	e := failure.New(failure.ClientBodyError, err)
	e.Status = http.StatusBadRequest
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		e.Status = http.StatusRequestEntityTooLarge
		e.Detail = fmt.Sprintf("over %d bytes", tooLarge.Limit)
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		e.Status = http.StatusRequestTimeout
	}
	e.Params = []failure.Param{
		{Key: "status-code", Value: e.Status},
		{Key: "status-phrase", Value: http.StatusText(e.Status)},
	}
	return e
}

func resolving(err error) *failure.Error {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case exhausted(err): // and so it could not ask
		return failure.New(failure.LocalLimit, err)
	case ok && dns.IsNotFound:
		return failure.New(failure.DNSNotFound, err)
	case ok && dns.IsTimeout:
		return failure.New(failure.DNSTimeout, err)
	case ok && dns.IsTemporary:
		return failure.New(failure.DNSTimeout, err)
	}
	return failure.New(failure.DNSNotFound, err)
}

// exhausted tells that this process or host, not the peer, is the reason.
func exhausted(err error) bool {
	return anyOf(err, syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EACCES)
}

func anyOf(err error, targets ...error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// unroutable tells that there is no way to the address from here.
func unroutable(err error) bool {
	return anyOf(err, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EAFNOSUPPORT, syscall.EINVAL)
}

func connecting(err error) *failure.Error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Net == "unix" {
		return connectingSocket(err)
	}
	switch {
	case exhausted(err):
		return failure.New(failure.LocalLimit, err)
	case unroutable(err):
		return failure.New(failure.Unroutable, err)
	case anyOf(err, syscall.ETIMEDOUT, os.ErrDeadlineExceeded, context.DeadlineExceeded):
		return failure.New(failure.ConnectTimeout, err)
	}
	return failure.New(failure.ConnectionRefused, err)
}

// connectingSocket explains why a Unix socket could not be connected to: the
// causes are those of a port in the same condition.
func connectingSocket(err error) *failure.Error {
	e := failure.New(failure.ConnectionRefused, err)
	switch {
	case anyOf(err, syscall.EACCES, syscall.EPERM):
		e.Cause, e.Detail = failure.LocalLimit, "this process has no permission to write to the socket, or to search the directories above it"
	case exhausted(err):
		e.Cause = failure.LocalLimit
	case errors.Is(err, syscall.EAGAIN):
		e.Cause, e.Detail = failure.ConnectTimeout, "the socket's listen queue is full"
	case anyOf(err, syscall.ETIMEDOUT, os.ErrDeadlineExceeded, context.DeadlineExceeded):
		e.Cause = failure.ConnectTimeout
	case anyOf(err, syscall.ENOENT, syscall.ENOTDIR):
		e.Detail = "there is no such socket file"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Detail = "nobody listens on the socket file"
	case errors.Is(err, syscall.EPROTOTYPE):
		e.Detail = "it is a socket of another type than stream"
	}
	return e
}

// closedConn tells that the peer, or the way to it, ended the connection.
func closedConn(err error) bool {
	return anyOf(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, net.ErrClosed)
}

func reset(err error) bool {
	return anyOf(err, syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED)
}

// securing explains a failed handshake.
func securing(err error) *failure.Error {
	if e := alerted(err); e != nil {
		return e
	}
	if d := certificate(err); d != "" {
		return &failure.Error{Cause: failure.TLSCertificate, Detail: d, Err: err}
	}
	e := failure.New(failure.TLSProtocol, err)
	if rec, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Detail = fmt.Sprintf("the port speaks no TLS; it began with %+q", rec.RecordHeader[:])
	} else if closedConn(err) {
		e.Detail = "closed in the middle of the handshake"
	}
	return e
}

// TLS alerts (RFC 8446 section 6) that mean that there is no common ground,
// rather than that we were refused.
const (
	alertProtocolVersion = 70
	alertNoApplication   = 120 // RFC 7301 section 3.2
)

// alerted recognizes an alert that the peer sent. Its type is not exported by
// crypto/tls, but it is a number.
func alerted(err error) *failure.Error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return nil
	}
	e := &failure.Error{Cause: failure.TLSAlert, Err: err}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		id := int(v.Uint())
		e.Params = []failure.Param{
			{Key: "alert-id", Value: id},
			{Key: "alert-message", Value: strings.TrimPrefix(op.Err.Error(), "tls: ")},
		}
		switch id {
		case alertProtocolVersion:
			return &failure.Error{Cause: failure.TLSProtocol, Detail: "no common TLS version", Err: err}
		case alertNoApplication:
			return &failure.Error{Cause: failure.TLSProtocol, Detail: "no common application protocol (ALPN)", Err: err}
		}
	}
	return e
}

// certificate says what is wrong with the peer's certificate; "" if that is not
// the reason.
func certificate(err error) string {
	var cert *x509.Certificate
	if v, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(v.UnverifiedCertificates) > 0 {
		cert = v.UnverifiedCertificates[0]
	}
	if host, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("valid for %s, not for %s", strings.Join(names(host.Certificate), ", "), host.Host)
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if cert = unknown.Cert; cert != nil {
			return fmt.Sprintf("unknown authority %q", cert.Issuer)
		}
		return "unknown authority"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired && invalid.Cert != nil {
			return fmt.Sprintf("valid from %s until %s", day(invalid.Cert.NotBefore), day(invalid.Cert.NotAfter))
		}
		return "invalid: " + invalid.Error()
	}
	if cert != nil {
		return fmt.Sprintf("the certificate of %s was not accepted", strings.Join(names(cert), ", "))
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func names(c *x509.Certificate) []string {
	all := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		all = []string{c.Subject.CommonName}
	}
	return all
}

// exchanging explains why no HTTP/1 response came.
func exchanging(f facts) *failure.Error {
	if e := alerted(f.err); e != nil {
		return e
	}
	if f.head == nil {
		return failure.New(failure.ClosedBeforeHeaders, f.err)
	}
	switch {
	case errors.Is(f.readErr, errHeadTooLarge):
		return &failure.Error{
			Cause: failure.HeadersTooLarge, Detail: f.head.sizes(), Err: f.readErr,
			Params: []failure.Param{{Key: "header-section-size", Value: int(f.head.size)}},
		}
	case anyOf(f.readErr, errTwoLengths, errLength, errCoding, errObscured):
		return failure.New(failure.BadFraming, f.readErr)
	case errors.Is(f.readErr, errNotHTTP) && f.head.tlsRecord():
		return &failure.Error{Cause: failure.TLSProtocol, Detail: "the port speaks TLS", Err: f.readErr}
	case errors.Is(f.readErr, errNotHTTP) || f.readErr == nil || errors.Is(f.readErr, errInterim):
		// Without an error of the connection it is the parser's.
		return &failure.Error{Cause: failure.Malformed, Detail: "it began with " + f.head.excerpt(), Err: f.err}
	}
	silent := !f.head.started && f.head.interim == 0
	switch {
	case silent && f.reused && closedConn(f.readErr):
		return failure.New(failure.KeepaliveRace, f.err)
	case reset(f.readErr) || reset(f.writeErr):
		return failure.New(failure.ResetBeforeHeaders, f.err)
	}
	return failure.New(failure.ClosedBeforeHeaders, f.err)
}

// exchangingHTTP2 explains why no HTTP/2 response came.
func exchangingHTTP2(f facts) *failure.Error {
	if e := alerted(f.err); e != nil {
		return e
	}
	if f.garbage != "" {
		return &failure.Error{Cause: failure.Malformed, Detail: "no HTTP/2; it began with " + f.garbage, Err: f.err}
	}
	if f.tooLarge {
		return &failure.Error{Cause: failure.HeadersTooLarge, Detail: "its largest field is not known with HTTP/2", Err: f.err}
	}
	if s, ok := errors.AsType[streamError](f.err); ok {
		return resetHTTP2(s, f)
	}
	if code, ok := connError(f.err); ok && !f.goAway {
		return &failure.Error{Cause: failure.Malformed, Detail: "the connection broke the rules: " + codeName(code), Err: f.err}
	}
	silent := closedConn(f.err) || isGoAwayError(f.err) || netError(f.err)
	switch {
	case !f.sent && (f.goAway || f.broken):
		return failure.New(failure.StreamRefused, f.err) // nothing of it was sent
	case f.goAway && !silent:
		return failure.New(failure.StreamRefused, f.err) // the peer says so
	case reset(f.err):
		return failure.New(failure.ResetBeforeHeaders, f.err)
	case silent || f.broken || f.deaf:
		return failure.New(failure.ClosedBeforeHeaders, f.err)
	}
	return failure.New(failure.Malformed, f.err)
}

// resetHTTP2 explains a stream that one of both sides reset before its headers.
func resetHTTP2(s streamError, f facts) *failure.Error {
	switch {
	case f.peerReset && (s.Code == codeRefusedStream || s.Code == codeHTTP11):
		return &failure.Error{Cause: failure.StreamRefused, Detail: codeName(s.Code), Err: f.err}
	case f.peerReset:
		return &failure.Error{Cause: failure.ResetBeforeHeaders, Detail: codeName(s.Code), Err: f.err}
	case s.Cause != nil && strings.Contains(s.Cause.Error(), "header list larger"):
		// The one place where words decide: of a section that is small while
		// compressed, net/http alone knows the size, and does not export this
		// error.
		return &failure.Error{Cause: failure.HeadersTooLarge, Detail: "its largest field is not known with HTTP/2", Err: f.err}
	}
	return &failure.Error{Cause: failure.Malformed, Detail: "it broke the rules: " + codeName(s.Code), Err: errors.Join(f.err, s.Cause)}
}

func netError(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// readingBody explains a body that broke.
func readingBody(f facts) *failure.Error {
	if f.head != nil && f.head.chunked && !closedConn(f.err) && !netError(f.err) && !closedConn(f.readErr) {
		// The connection is fine: it is the coding that is wrong.
		return &failure.Error{
			Cause: failure.BadChunking, Err: f.err,
			Params: []failure.Param{{Key: "coding", Value: "chunked"}},
		}
	}
	if f.http2 {
		return readingHTTP2(f)
	}
	return failure.New(failure.Truncated, f.err)
}

// readingHTTP2 explains an HTTP/2 body that broke.
func readingHTTP2(f facts) *failure.Error {
	if s, ok := errors.AsType[streamError](f.err); ok {
		if f.peerReset {
			return &failure.Error{Cause: failure.Truncated, Detail: "reset with " + codeName(s.Code), Err: f.err}
		}
		return &failure.Error{Cause: failure.Malformed, Detail: "it broke the rules: " + codeName(s.Code), Err: errors.Join(f.err, s.Cause)}
	}
	if code, ok := connError(f.err); ok && !f.goAway {
		return &failure.Error{Cause: failure.Malformed, Detail: "the connection broke the rules: " + codeName(code), Err: f.err}
	}
	if closedConn(f.err) || isGoAwayError(f.err) || netError(f.err) || f.broken || f.goAway || f.deaf {
		return failure.New(failure.Truncated, f.err)
	}
	if f.dead {
		return failure.New(failure.Malformed, f.err)
	}
	// The connection is fine, and nobody reset the stream: more came than was
	// announced (RFC 9113 section 8.1.1).
	return &failure.Error{Cause: failure.BadFraming, Detail: "the body does not fit its Content-Length", Err: f.err}
}
