package observe

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
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
	o.logFailure(ctx, level, message, e, rung, s.status, rec.id, st.fill)
}

// sameFill tells whether a is the failure of the fill that the request waited
// for, which the request's own failure e, perhaps a copy with a note, is about.
func sameFill(a aside, st story, e *failure.Error) bool {
	return e != nil && a.fill != "" && a.fill == st.fill && a.failure.Cause == e.Cause
}

func (o *Observer) logAside(ctx context.Context, id string, a aside) {
	level := slog.LevelWarn
	if a.failure.Cause == failure.Panic {
		level = slog.LevelError
	}
	o.logFailure(ctx, level, a.message, a.failure, failure.Unmended, 0, id, a.fill)
}

func (o *Observer) logFailure(ctx context.Context, level slog.Level, message string, e *failure.Error, rung failure.Rung, status int, id, fill string) {
	if !o.log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	str := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	str("cause", e.Cause.String())
	str("rung", rung.String())
	if status != 0 {
		attrs = append(attrs, slog.Int("status", status))
	}
	str("backend", e.Backend)
	str("endpoint", e.Endpoint)
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
	str("request_id", id)
	str("fill", fill)
	o.log.LogAttrs(ctx, level, message, attrs...)
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
