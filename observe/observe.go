package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
)

// Config says where what was observed goes. The zero Config logs to the
// default logger and keeps a registry of its own.
type Config struct {
	// Logger gets the lines; nil is slog.Default() at the time of New.
	Logger *slog.Logger
	// Registerer gets the metrics; nil is a registry of the Observer's own,
	// which also has those of the Go runtime and the process.
	Registerer prometheus.Registerer
	// RequestIDHeader names the field of request and response that carries the
	// request id; "" is X-Request-Id.
	RequestIDHeader string
	// TrustRequestID tells whether the id that the request came with may be
	// kept, if errorpage.ValidRequestID finds it safe; nil is never. Ids from
	// clients that are not trusted would let them hide among others' lines.
	TrustRequestID func(*http.Request) bool
	// ClientIP is the client's address, for the access line, where the peer is a
	// proxy; nil: the line has the peer alone. ok false is a client whose address
	// is not known.
	ClientIP func(*http.Request) (addr netip.Addr, ok bool)
	// SkipAccess tells whether a request gets no access line, a health check,
	// say; nil skips none. It is called when the request has ended, with the
	// request as it came. Metrics and failure lines are not affected.
	SkipAccess func(*http.Request) bool
}

// Observer collects what the other packages tell. It is safe for concurrent
// use, and has nothing to be shut down.
type Observer struct {
	cfg      Config
	log      *slog.Logger
	idHeader string // canonical
	metrics  *metrics
	handler  http.Handler // of Metrics
	// fillID tells whether a context belongs to a fill of the cache.
	fillID func(context.Context) string
}

// New returns an Observer. The error joins everything that is wrong with cfg.
// It fails if the Registerer has these metrics already: one Registerer serves
// one Observer.
func New(cfg Config) (*Observer, error) {
	var errs []error
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.RequestIDHeader == "" {
		cfg.RequestIDHeader = errorpage.DefaultRequestIDHeader
	}
	if !validFieldName(cfg.RequestIDHeader) {
		errs = append(errs, fmt.Errorf("observe: Config.RequestIDHeader is %q: must be a field name (RFC 9110 section 5.1)", cfg.RequestIDHeader))
	}
	m := newMetrics()
	handler, err := expose(m, cfg.Registerer, len(errs) == 0)
	if err != nil {
		errs = append(errs, fmt.Errorf("observe: Config.Registerer: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return &Observer{
		cfg:      cfg,
		log:      cfg.Logger,
		idHeader: http.CanonicalHeaderKey(cfg.RequestIDHeader),
		metrics:  m,
		handler:  handler,
		fillID:   cache.FillID,
	}, nil
}

// Metrics serves the metrics in the formats of Prometheus: those of the
// configured Registerer if it can be gathered, otherwise the Observer's own. It
// belongs on an address that visitors can't reach.
func (o *Observer) Metrics() http.Handler { return o.handler }

// RequestID returns the id of the request that ctx belongs to; "" outside of
// [Observer.Handler].
func RequestID(ctx context.Context) string {
	if rec := recordOf(ctx); rec != nil {
		return rec.id
	}
	return ""
}

// validFieldName tells whether s is a token (RFC 9110 section 5.6.2) of a length
// that a field name has.
func validFieldName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
