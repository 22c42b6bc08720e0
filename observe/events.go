package observe

import (
	"context"
	"log/slog"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/ratelimit"
)

// Backend is a backend.Config.Observe. A change of an endpoint's health is
// logged, since it is the one that operators look for first. Single attempts
// that failed are logged at level Debug: the request's line has their sum.
func (o *Observer) Backend(ctx context.Context, ev backend.Event) {
	o.metrics.backend(ev)
	switch ev.Kind {
	case backend.AttemptDone:
		recordOf(ctx).attempt(ev)
		o.logAttempt(ctx, ev)
	case backend.HealthChanged:
		level, message := slog.LevelInfo, "endpoint up"
		if !ev.Healthy {
			level, message = slog.LevelWarn, "endpoint down"
		}
		o.logEndpoint(ctx, level, message, ev)
	case backend.EndpointEjected:
		o.logEndpoint(ctx, slog.LevelWarn, "endpoint ejected", ev)
	case backend.EndpointReturned:
		o.logEndpoint(ctx, slog.LevelInfo, "endpoint returned", ev)
	case backend.CheckDisputed:
		level, message := slog.LevelInfo, "health check agrees with the traffic again"
		if !ev.Healthy {
			level, message = slog.LevelWarn, "health check is wrong"
		}
		o.logEndpoint(ctx, level, message, ev)
	case backend.ResolveFailed:
		o.logEndpoint(ctx, slog.LevelWarn, "name not resolved", ev)
	case backend.AddressesChanged:
		o.logEndpoint(ctx, slog.LevelInfo, "addresses changed", ev)
	case backend.TunnelClosed:
		o.log.LogAttrs(ctx, slog.LevelDebug, "tunnel closed", slog.String("backend", ev.Backend), slog.String("endpoint", ev.Endpoint),
			slog.String("detail", clip(ev.Detail, maxText)), slog.String("request_id", RequestID(ctx)))
	}
}

// logEndpoint is the line for a change of what is thought of an endpoint.
func (o *Observer) logEndpoint(ctx context.Context, level slog.Level, message string, ev backend.Event) {
	attrs := []slog.Attr{slog.String("backend", ev.Backend)}
	if ev.Endpoint != "" {
		attrs = append(attrs, slog.String("endpoint", ev.Endpoint))
	}
	attrs = append(attrs, slog.String("detail", clip(ev.Detail, maxText)))
	if ev.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	o.log.LogAttrs(ctx, level, message, attrs...)
}

func (o *Observer) logAttempt(ctx context.Context, ev backend.Event) {
	if ev.Failure == nil || !o.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	o.log.LogAttrs(ctx, slog.LevelDebug, "attempt failed",
		slog.String("cause", ev.Failure.Cause.String()),
		slog.String("backend", ev.Backend),
		slog.String("endpoint", ev.Endpoint),
		slog.Int("attempt", ev.Attempt),
		slog.Bool("retry", ev.Retry),
		slog.String("detail", clip(ev.Failure.Detail, maxText)),
		slog.Any("phases", ev.Phases),
		slog.String("request_id", RequestID(ctx)),
		slog.String("fill", o.fillID(ctx)))
}

// Breaker is a breaker.Config.Observe. Changes are logged, all of them. A refused
// request has its own failure line; one that a dry run would have refused gets a
// line "would refuse".
func (o *Observer) Breaker(ctx context.Context, ev breaker.Event) {
	o.metrics.breaker(ev)
	switch ev.Kind {
	case breaker.Refused:
		by := refusal{cause: failure.BreakerOpen, breaker: ev.Name}
		if ev.DryRun {
			o.logDry(ctx, kind{message: "would refuse", refusal: by}, ev.RetryAfter)
		} else {
			recordOf(ctx).refused(by)
		}
	case breaker.Changed:
		o.logBreaker(ctx, ev)
	}
}

func (o *Observer) logBreaker(ctx context.Context, ev breaker.Event) {
	level := slog.LevelInfo
	if ev.To == breaker.Open {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.String("breaker", ev.Name),
		slog.String("from", ev.From.String()),
		slog.String("to", ev.To.String()),
		slog.String("reason", clip(ev.Reason, maxText)),
	}
	if ev.Requests > 0 {
		attrs = append(attrs, slog.Int("requests", ev.Requests), slog.Int("failures", ev.Failures))
	}
	if ev.Slow > 0 {
		attrs = append(attrs, slog.Int("slow", ev.Slow))
	}
	if ev.To == breaker.Closed && ev.Share < 1 { // it recovers: the share grows from here
		attrs = append(attrs, slog.Float64("share", ev.Share))
	}
	if ev.Forced != breaker.Automatic {
		attrs = append(attrs, slog.String("forced", ev.Forced.String()))
	}
	if ev.DryRun {
		attrs = append(attrs, slog.Bool("dry_run", true))
	}
	if ev.LastCause != 0 {
		attrs = append(attrs, slog.String("last_cause", ev.LastCause.String()))
	}
	if ev.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", ev.RetryAfter))
	}
	o.log.LogAttrs(ctx, level, "breaker changed", attrs...)
}

// Cache is a cache.Config.Observe. A purge gets a line. A fill that failed gets a failure line of its
// own where no request tells of it.
func (o *Observer) Cache(ctx context.Context, ev cache.Event) {
	o.metrics.cache(ev)
	switch ev.Kind {
	case cache.Served:
		recordOf(ctx).served(ev)
	case cache.Purged:
		o.log.LogAttrs(ctx, slog.LevelInfo, "cache purged", slog.String("of", ev.Detail), slog.Bool("soft", ev.Soft))
	case cache.FillDone:
		if ev.Failure == nil || ev.Failure.Cause == failure.ClientGone {
			return
		}
		a := aside{message: "fill failed", failure: ev.Failure, fill: ev.FillID}
		if !recordOf(ctx).aside(a) {
			o.logAside(ctx, RequestID(ctx), a)
		}
	}
}

// RateLimit is a ratelimit.Config.Observe. A refused request has its own failure
// line; one that a dry run would have refused gets a line "would limit".
func (o *Observer) RateLimit(ctx context.Context, ev ratelimit.Event) {
	o.metrics.rateLimit(ev)
	by := refusal{cause: failure.RateLimited, limiter: ev.Name, limit: ev.Limit}
	switch {
	case ev.Kind != ratelimit.Limited:
	case ev.DryRun:
		o.logDry(ctx, kind{message: "would limit", refusal: by}, ev.RetryAfter)
	default:
		recordOf(ctx).refused(by)
	}
}

// Shed is the Observe of a ratelimit.AdaptiveConfig or ShedderConfig. A request
// that was shed has its own failure line; one that a dry run would have shed gets
// a line "would shed".
func (o *Observer) Shed(ctx context.Context, ev ratelimit.ShedEvent) {
	o.metrics.shedding.event(ev)
	by := refusal{cause: failure.Shed, limit: ev.Name}
	switch {
	case ev.Kind != ratelimit.Shed:
	case ev.DryRun:
		o.logDry(ctx, kind{message: "would shed", refusal: by}, ev.RetryAfter)
	default:
		recordOf(ctx).refused(by)
	}
}

// ErrorPage is an errorpage.Config.Observe. A panic is logged even where it is
// not the request's failure, since the page had been sent before. So is every
// change of maintenance.
func (o *Observer) ErrorPage(ctx context.Context, ev errorpage.Event) {
	if ev.Kind == errorpage.Served && o.fillID(ctx) != "" {
		return // the cache makes use of it or not, but no visitor sees it
	}
	o.metrics.errorPage(ev)
	switch ev.Kind {
	case errorpage.MaintenanceOn, errorpage.MaintenanceOff, errorpage.MaintenanceUnknown:
		o.logMaintenance(ctx, ev)
	default:
	}
	if ev.Kind != errorpage.Recovered || ev.Failure == nil {
		return
	}
	a := aside{message: "panic recovered", failure: ev.Failure}
	if !recordOf(ctx).aside(a) {
		o.logAside(ctx, ev.RequestID, a)
	}
}
