package observe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
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
	// LogBurst and LogRate bound the lines that repeat one another: those with
	// the same message, cause, backend and endpoint, limiter and limit, and of
	// panics the same origin. LogBurst of them are logged in full, and then
	// LogRate per second; the others are counted, and lines of their own tell
	// how many there were (see the package comment). 0 is 20 and 10; if one is
	// negative, every line is logged. Access lines, changes of state and level
	// Debug are not affected.
	LogBurst int
	LogRate  float64
}

// Observer collects what the other packages tell. It is safe for concurrent
// use. See [Observer.Shutdown] for what its end is.
type Observer struct {
	cfg      Config
	log      *slog.Logger
	idHeader string // canonical
	metrics  *metrics
	handler  http.Handler // of Metrics
	floods   *floods
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
	if math.IsNaN(cfg.LogRate) || math.IsInf(cfg.LogRate, 0) {
		errs = append(errs, fmt.Errorf("observe: Config.LogRate is %v: must be lines per second, 0 for %d, or negative for every line", cfg.LogRate, defaultLogRate))
	}
	cfg.LogRate, cfg.LogBurst = cmp.Or(cfg.LogRate, defaultLogRate), cmp.Or(cfg.LogBurst, defaultLogBurst)
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
		floods:   newFloods(cfg, m.leftOut.of),
		fillID:   cache.FillID,
	}, nil
}

// Metrics serves the metrics in the formats of Prometheus: those of the
// configured Registerer if it can be gathered, otherwise the Observer's own. It
// belongs on an address that visitors can't reach.
func (o *Observer) Metrics() http.Handler { return o.handler }

// Shutdown tells of the lines that were left out and not told of yet. It belongs
// after everything that is observed has ended: lines that come later are all
// logged. The error is that of ctx, if it ended while earlier lines were still
// being written; all of them have been handed to the Logger even so.
func (o *Observer) Shutdown(ctx context.Context) error {
	if err := o.floods.shutdown(ctx); err != nil {
		return fmt.Errorf("observe: shutdown: %w", err)
	}
	return nil
}

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
