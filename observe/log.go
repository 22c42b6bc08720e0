package observe

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/holdfast-go/holdfast/failure"
)

// Bounds of what a backend, or a panic, can put into a line.
const (
	maxText  = 1 << 10
	maxStack = 16 << 10
)

func (o *Observer) logAccess(ctx context.Context, x *exchange, s summary, st story) {
	if !o.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.String("method", x.method),
		slog.String("host", x.host),
		slog.String("path", x.path),
		slog.String("proto", x.proto),
		slog.String("peer", x.peer),
		slog.Int("status", s.status),
		slog.Int64("bytes", s.bytes),
		slog.Duration("duration", s.took),
		slog.String("request_id", x.rec.id),
	)
	if x.client.IsValid() {
		attrs = append(attrs, slog.String("client", x.client.String()))
	}
	if st.cached {
		attrs = append(attrs, slog.String("cache", st.outcome.String()))
		if st.rung != failure.Unmended {
			attrs = append(attrs, slog.String("rung", st.rung.String()))
		}
	}
	if st.fill != "" {
		attrs = append(attrs, slog.String("fill", st.fill))
	}
	if st.attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", st.attempts))
	}
	if s.clientGone {
		attrs = append(attrs, slog.Bool("client_gone", true))
	}
	if s.aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	o.log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

// logFailures writes the line of the request's own failure e, if there is one,
// and those of failures that came beside it.
func (o *Observer) logFailures(ctx context.Context, rec *record, s summary, st story, e *failure.Error, rung failure.Rung) {
	for _, a := range st.asides {
		if a.failure == e || sameFill(a, st, e) {
			continue
		}
		o.logAside(ctx, rec.id, a)
	}
	if e == nil || e.Cause == failure.ClientGone {
		return
	}
	level, message := slog.LevelWarn, "failure mended"
	if rung == failure.Unmended {
		message = "request failed"
		if e.HTTPStatus() >= http.StatusInternalServerError {
			level = slog.LevelError
		}
	}
	if e.Cause == failure.Maintenance {
		level = slog.LevelInfo // it is planned
	}
	l := failureLine{level: level, message: message, failure: e, rung: rung, status: s.status, id: rec.id, fill: st.fill}
	if e.Cause == st.refusal.cause {
		l.refusal = st.refusal
	}
	o.logFailure(ctx, &l)
}

// sameFill tells whether a is the failure of the fill that the request waited
// for, which the request's own failure e, perhaps a copy with a note, is about.
func sameFill(a aside, st story, e *failure.Error) bool {
	return e != nil && a.fill != "" && a.fill == st.fill && a.failure.Cause == e.Cause
}

func (o *Observer) logAside(ctx context.Context, id string, a aside) {
	level := slog.LevelWarn
	switch a.failure.Cause {
	case failure.Panic:
		level = slog.LevelError
	case failure.Maintenance:
		level = slog.LevelInfo
	default:
	}
	o.logFailure(ctx, &failureLine{level: level, message: a.message, failure: a.failure, id: id, fill: a.fill})
}

// failureLine is what a line about a failure is made of.
type failureLine struct {
	level    slog.Level
	message  string
	failure  *failure.Error
	rung     failure.Rung
	status   int // that was sent; 0: of no answer
	refusal  refusal
	id, fill string
}

func (l *failureLine) kind() kind {
	e := l.failure
	k := kind{level: l.level, message: l.message, refusal: l.refusal, backend: e.Backend, endpoint: e.Endpoint}
	k.cause = e.Cause
	if e.Cause == failure.Panic {
		k.origin = panicOrigin(e.Detail)
	}
	return k
}

// logFailure makes nothing of a line that is left out.
func (o *Observer) logFailure(ctx context.Context, l *failureLine) {
	if !o.log.Enabled(ctx, l.level) || !o.floods.pass(l.kind()) {
		return
	}
	e := l.failure
	attrs := make([]slog.Attr, 0, 16)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	str("cause", e.Cause.String())
	str("rung", l.rung.String())
	if l.status != 0 {
		attrs = append(attrs, slog.Int("status", l.status))
	}
	str("backend", e.Backend)
	str("endpoint", e.Endpoint)
	str("breaker", l.refusal.breaker)
	str("limiter", l.refusal.limiter)
	str("limit", l.refusal.limit)
	if e.Status != 0 {
		attrs = append(attrs, slog.Int("received_status", e.Status))
	}
	limit := maxText
	if e.Cause == failure.Panic {
		limit = maxStack
	}
	str("detail", clip(e.Detail, limit))
	if e.Err != nil && (e.Cause != failure.NoEndpoint || e.Detail == "") { // whose error is its detail once more
		str("error", clip(errorText(e.Err), maxText))
	}
	if e.Attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", e.Attempts))
	}
	if e.Phases != (failure.Timings{}) {
		attrs = append(attrs, slog.Any("phases", e.Phases))
	}
	if len(e.Notes) > 0 {
		notes := make([]string, len(e.Notes))
		for i, n := range e.Notes {
			notes[i] = clip(n.String(), maxText)
		}
		attrs = append(attrs, slog.Any("notes", notes))
	}
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	str("hint", e.Cause.Row().Hint)
	str("request_id", l.id)
	str("fill", l.fill)
	o.log.LogAttrs(ctx, l.level, l.message, attrs...)
}

// logDry is the line of a request that a dry run let pass. Its kind has message
// and refusal.
func (o *Observer) logDry(ctx context.Context, k kind, retryAfter time.Duration) {
	k.level = slog.LevelInfo
	if !o.log.Enabled(ctx, k.level) || !o.floods.pass(k) {
		return
	}
	attrs := append(k.attrs(), slog.Bool("dry_run", true))
	if retryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", retryAfter))
	}
	if id := RequestID(ctx); id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	o.log.LogAttrs(ctx, k.level, k.message, attrs...)
}

// errorText is err's text, also of a panicking handler's value that can't even
// say what it is.
func errorText(err error) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprintf("%T, whose Error method panics", err)
		}
	}()
	return err.Error()
}

// clip bounds s to n bytes, without leaving half a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
