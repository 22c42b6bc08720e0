package breaker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"github.com/holdfast-go/holdfast/failure"
)

type outcome uint8

const (
	succeeded outcome = iota
	neutral
	failed
)

// verdict is what became of a call. cause, text and failure are of a failure.
type verdict struct {
	outcome outcome
	cause   failure.Cause
	text    string // beside the cause, or in place of it
	failure kind   // bad, silent, unreached or stalled
	unused  bool   // no call was made
}

// kind is how the call is counted; wasSlow tells that it was counted as slow
// before. It is not for what is neutral.
func (v verdict) kind(wasSlow bool) kind {
	switch {
	case v.outcome == succeeded && wasSlow:
		return slowGood
	case v.outcome == succeeded:
		return good
	case !wasSlow:
		return v.failure
	case v.failure == bad:
		return slowBad
	}
	return slowSilent
}

// maxText bounds the text that is kept of an error: it may quote a backend.
const maxText = 200

// String is what refusals say about the last failure.
func (v verdict) String() string {
	text := v.text
	if len(text) > maxText {
		text = text[:maxText] + "..."
	}
	switch {
	case v.cause == 0:
		return text
	case text == "":
		return v.cause.String()
	}
	return v.cause.String() + " (" + text + ")"
}

// judge decides of a call of which we know what was reported during it, which
// status it was answered with, and whether its client left. What was reported
// outranks the client's leaving: who reported it saw which came first.
func (b *Breaker) judge(e *failure.Error, status int, gone bool) verdict {
	switch {
	case e != nil:
		return b.judgeReported(e, status)
	case gone:
		return verdict{outcome: neutral}
	case b.cfg.IsFailure != nil:
		if !b.cfg.IsFailure(nil, status) {
			return verdict{outcome: succeeded}
		}
	case !failure.CountsStatus(status):
		return verdict{outcome: succeeded}
	}
	v := verdict{outcome: failed, text: "status " + strconv.Itoa(status), failure: bad}
	if status >= 500 {
		v.cause = failure.Upstream5xx
	}
	return v
}

func (b *Breaker) judgeReported(e *failure.Error, status int) verdict {
	if e.Cause == failure.ClientGone || e.Cause == failure.HandlerAbort {
		return verdict{outcome: neutral}
	}
	byTable := e.Verdict()
	isFailure := byTable != failure.Neutral
	if b.cfg.IsFailure != nil {
		isFailure = b.cfg.IsFailure(e, status)
	}
	switch {
	case isFailure:
		v := verdict{outcome: failed, cause: e.Cause, failure: silent}
		switch {
		case byTable == failure.LocalFailure:
			v.failure = unreached
		case e.Cause == failure.Upstream5xx || e.Cause == 0 && e.Status != 0:
			v.failure = bad
		}
		if e.Status != 0 {
			v.text = "status " + strconv.Itoa(e.Status)
		}
		return v
	case byTable == failure.Neutral:
		return verdict{outcome: neutral}
	}
	return verdict{outcome: succeeded}
}

// judgeError decides of a call by what its caller says of it.
func (b *Breaker) judgeError(err error) verdict {
	switch e, ok := errors.AsType[*failure.Error](err); {
	case err == nil:
		return verdict{outcome: succeeded}
	case errors.Is(err, failure.ErrUnused):
		return verdict{outcome: neutral, unused: true}
	case ok:
		return b.judgeReported(e, e.Status)
	case errors.Is(err, context.Canceled), errors.Is(err, http.ErrAbortHandler):
		return verdict{outcome: neutral}
	}
	if c := localCause(err); c != 0 {
		return b.judgeReported(failure.New(c, err), 0)
	}
	if b.cfg.IsFailure != nil && !b.cfg.IsFailure(failure.New(0, err), 0) {
		return verdict{outcome: succeeded}
	}
	return verdict{outcome: failed, text: err.Error(), failure: silent}
}

// localCause is the cause of an error of the standard library that keeps calls
// from being made at all; 0 of others.
func localCause(err error) failure.Cause {
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return failure.DNSNotFound
		}
		return failure.DNSTimeout
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return failure.TLSCertificate
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return failure.TLSProtocol
	}
	e, ok := errors.AsType[*net.OpError](err)
	if !ok || e.Op != "dial" {
		return 0
	}
	for _, row := range dialErrors {
		if errors.Is(err, row.errno) {
			return row.cause
		}
	}
	if e.Timeout() {
		return failure.ConnectTimeout
	}
	return 0
}

// dialErrors is why there is no connection.
var dialErrors = []struct {
	errno syscall.Errno
	cause failure.Cause
}{
	{syscall.ECONNREFUSED, failure.ConnectionRefused},
	{syscall.EHOSTUNREACH, failure.Unroutable},
	{syscall.ENETUNREACH, failure.Unroutable},
	{syscall.EMFILE, failure.LocalLimit},
	{syscall.ENFILE, failure.LocalLimit},
	{syscall.EADDRNOTAVAIL, failure.LocalLimit},
	{syscall.EACCES, failure.LocalLimit},
	{syscall.EPERM, failure.LocalLimit},
}
