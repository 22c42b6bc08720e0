package breaker

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/holdfast-go/holdfast/failure"
)

type outcome uint8

const (
	succeeded outcome = iota
	neutral
	failed
)

// verdict is what became of a call. cause and text are of a failure.
type verdict struct {
	outcome outcome
	cause   failure.Cause
	text    string // beside the cause, or in place of it
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
	v := verdict{outcome: failed, text: "status " + strconv.Itoa(status)}
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
		v := verdict{outcome: failed, cause: e.Cause}
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
		return verdict{outcome: neutral}
	case ok:
		return b.judgeReported(e, e.Status)
	case errors.Is(err, context.Canceled), errors.Is(err, http.ErrAbortHandler):
		return verdict{outcome: neutral}
	case b.cfg.IsFailure != nil && !b.cfg.IsFailure(failure.New(0, err), 0):
		return verdict{outcome: succeeded}
	}
	return verdict{outcome: failed, text: err.Error()}
}
