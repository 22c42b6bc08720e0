package observe

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ServerLog is an http.Server.ErrorLog. What net/http has to say there, mostly
// about connections that were broken in ways which their clients chose, is bounded
// like failure lines: message "http server", level Warn, with what it says as
// error; for panics that nobody recovered "http server panicked", level Error, by
// their origin.
func (o *Observer) ServerLog() *log.Logger { return log.New(serverLog{o}, "", 0) }

type serverLog struct{ observer *Observer }

// Write takes one line.
func (s serverLog) Write(line []byte) (int, error) {
	o, ctx := s.observer, context.Background()
	text := strings.TrimSuffix(string(line), "\n")
	k, limit := kind{level: slog.LevelWarn, message: "http server"}, maxText
	if strings.HasPrefix(text, "http: panic serving") || strings.HasPrefix(text, "http2: panic serving") {
		k = kind{level: slog.LevelError, message: "http server panicked", origin: panicOrigin(text)}
		limit = maxStack
	}
	if o.log.Enabled(ctx, k.level) && o.floods.pass(k) {
		o.log.LogAttrs(ctx, k.level, k.message, slog.String("error", clip(text, limit)))
	}
	return len(line), nil
}
