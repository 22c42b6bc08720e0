package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config says how a [Cache] behaves. The zero Config works: 64 MiB, the
// origin's own freshness, stale content up to a day old when the origin fails.
type Config struct {
	// Store holds the content. nil = a store of MemoryBytes that belongs to the
	// Cache and is closed by Shutdown. A Store that is given outlives the Cache.
	Store *Store
	// MemoryBytes is the size of the store where Store is nil, in bytes: 7/8 for
	// entries, 1/8 for fills in flight. 0 = 64 MiB; less than 64 KiB is an error.
	MemoryBytes int64
	// MaxObjectBytes is the largest body that is stored, in bytes. Larger ones
	// stream through unstored. 0 = 8 MiB; it is lowered to the store's
	// fill budget (an eighth of its memory). Negative is an error.
	MaxObjectBytes int64
	// Namespace keeps two caches on one Store apart.
	Namespace string

	// StaleWhileRevalidate is for how long after its freshness a response of an
	// origin that says nothing of it answers at once while a refresh runs
	// (RFC 5861 section 3). 0 or negative = only where the origin says so.
	StaleWhileRevalidate time.Duration
	// StaleIfError is for how long after its freshness a response of an origin
	// that says nothing of it may answer when a refresh fails (RFC 5861 section
	// 4). 0 = 24h; negative = only where the origin says so.
	StaleIfError time.Duration
	// StaleIfSlow is how long a refresh is awaited, from when it began, before the
	// stale copy answers and the refresh goes on. Who comes later, or within half a
	// minute after one that took longer, does not wait at all. 0 or negative = until
	// it ends (at most FillTimeout).
	StaleIfSlow time.Duration
	// RetryStale is the least time between two refreshes of a page that fail or
	// hang; meanwhile its stale copy answers at once. As long as the origin (scheme
	// and host) has answered nothing since, only one page in that time is refreshed
	// for all of them, so that an outage costs it one request per RetryStale and is
	// noticed to be over as soon. A page that is not elected is tried again after 8
	// times RetryStale, doubling up to 30s; a Retry-After of its failure replaces
	// all that (at most 5 minutes). 0 = 1s; negative = every request attempts.
	RetryStale time.Duration
	// FillTimeout is the deadline of a refresh, and of a fetch from the moment
	// its client left. 0 = 60s; negative is an error, since what has neither a
	// client nor a deadline might never end. Its context ends then; a handler that
	// has not returned a second later is waited for by nobody.
	FillTimeout time.Duration
	// FollowerWait is how long a request waits behind the fetch of another one
	// until that has its headers. Then stale content answers, or one more fetch
	// is let out, of which a URL gets one per FollowerWait, so that one that hangs
	// does not keep everybody from an origin that is well again. The others wait on,
	// for FillTimeout in all, but no less than twice FollowerWait; then they fail
	// (fill_timeout). 0 = 30s; negative = no limit but the client's patience.
	FollowerWait time.Duration

	// HitForMiss is for how long after a response that is of no use to others the
	// requests for its URL neither wait for each other's fetches nor let others
	// wait. A response that is of use ends it. 0 = 2 minutes; negative = requests
	// always wait for the headers of the fetch in flight.
	HitForMiss time.Duration

	// Compress stores what can be compressed under gzip and zstd, too, for clients
	// that accept one (RFC 9110 section 12.5.3): text, scripts, JSON, XML, SVG and
	// the like of 512 bytes and more, where at least a twentieth is saved. It is
	// done once, after the response was stored, on one goroutine: until then, and
	// where that has too much to do, content goes out as it is. It takes about as
	// much memory more as the content has compressed, twice. Compressed answers
	// have a weak ETag, all answers of what can be compressed a Vary; ranges are
	// those of the content as it is, and one that depends on a date in If-Range
	// gets the whole, since what the client has may be compressed. What has
	// no-transform or a digest is left alone, and so is what the origin compressed,
	// with which this has nothing to do: the origin is asked as before. false =
	// content as it came.
	Compress bool

	// StoreSetCookie stores responses with Set-Cookie where RFC 9111 permits
	// it. By default they are never stored.
	StoreSetCookie bool
	// IdentityCookies are names of cookies that tell who the client is. Requests
	// with one of them are never made to wait for another request's fetch,
	// nor others for theirs, unless the content is known to be shareable; like
	// requests with Authorization.
	IdentityCookies []string

	// Key says what of a request is part of the key. The zero Key: the URL as it
	// came.
	Key Key
	// Normalize reduces what requests say of codings, languages and media types
	// to what the origin has. The zero Normalize changes nothing.
	Normalize Normalize
	// MaxVariants bounds the stored responses of one URL that varies (RFC 9111
	// section 4.1): the one used least recently goes. 0 = 64; negative or more
	// than 1024 is an error.
	MaxVariants int

	// Targets are the names of the targeted fields (RFC 9213) that this cache is a
	// target of, in order. The first that a response has, that parses as a
	// structured dictionary and is not empty, counts instead of Cache-Control and
	// Expires; one that does not parse is ignored as a whole. All of them pass
	// downstream unchanged. nil = CDN-Cache-Control; empty but not nil = none.
	// Cache-Control, Expires, Pragma, what is no field name and what is there
	// twice are errors.
	Targets []string

	// Policy decides about one response, once for each fetch, when its headers
	// are known: whether it is stored, how long it is fresh, what it is tagged
	// with. It is asked about what the origin answered, not about failures that
	// were generated inside. It runs on the goroutine of the fetch, under no lock,
	// with the request as next gets it but for its conditions, which it must not
	// change nor keep. A panic of it is the fetch's failure. nil = the origin's
	// word on everything.
	Policy func(*http.Request, ResponseView) Decision
	// StatusTTL is the freshness of responses by status code, where they have
	// none of their own (max-age, s-maxage, Expires): {404: time.Minute} spares the
	// origin those who try names. It does not touch what may not be stored or
	// says no-cache. An answer of 500 or more with one is kept from the origin for
	// as long, but never replaces a good one, nor answers stale. The keys must be
	// from 200 to 599, but not 206 and 304, the values positive; nil = none. A
	// value for 200 is one for pages of which nobody said that they are for all.
	StatusTTL map[int]time.Duration

	// Scheme tells the scheme of a request, "http" or "https", which is part of
	// the key, whatever its case. nil = https if the connection is TLS. It must
	// trust forwarded fields of trusted peers only.
	Scheme func(*http.Request) string
	// Refresh is the outermost handler, where the cache sits inside a router
	// that pools what its contexts hold (chi, gin). Refreshes enter there with
	// a fresh context; the Cache inside it recognises them. nil = they enter at
	// the handler that Handler was given, with the values of the context of the
	// request that started them. It gets the request as the server got it, with
	// the URL of the request line: it has to be what the server calls, outside of
	// an http.StripPrefix and the like.
	Refresh http.Handler

	// Name is our member's name in Cache-Status; "" = "holdfast". It must be a
	// token (RFC 8941 section 3.3.4).
	Name string
	// ShowKey adds the key parameter to Cache-Status. It is meant for debugging.
	ShowKey bool

	// ErrorHandler answers requests that fail here: fill_timeout,
	// only_if_cached, what a refresh failed with. nil = failure.WriteError.
	ErrorHandler failure.ErrorHandler
	// Observe is told of every request and every fill. It is called on the
	// goroutine of the request or fill, never under a lock, and must not block.
	// nil = nothing.
	Observe func(context.Context, Event)
}

// Defaults of Config.
const (
	defaultMemory       = 64 << 20
	minMemory           = 64 << 10
	defaultMaxObject    = 8 << 20
	defaultStaleIfError = 24 * time.Hour
	defaultRetryStale   = time.Second
	maxRetryStale       = 30 * time.Second
	maxRetryAfter       = 5 * time.Minute
	defaultFillTimeout  = 60 * time.Second
	defaultFollowerWait = 30 * time.Second
	defaultHitForMiss   = 2 * time.Minute
)

// resolve validates cfg and puts the defaults in.
func (cfg Config) resolve() (Config, error) {
	var errs []error
	if cfg.Store == nil {
		errs = append(errs, checkMemory("Config", cfg.MemoryBytes))
	} else if cfg.MemoryBytes != 0 {
		errs = append(errs, fmt.Errorf("cache: Config.MemoryBytes is %d beside Config.Store: must be 0, the store has its own size", cfg.MemoryBytes))
	}
	if cfg.MaxObjectBytes < 0 {
		errs = append(errs, fmt.Errorf("cache: Config.MaxObjectBytes is %d: must be positive, or 0 for the default", cfg.MaxObjectBytes))
	}
	if cfg.FillTimeout < 0 {
		errs = append(errs, fmt.Errorf("cache: Config.FillTimeout is %v: must be positive, or 0 for the default", cfg.FillTimeout))
	}
	if strings.ContainsRune(cfg.Namespace, 0) {
		errs = append(errs, fmt.Errorf("cache: Config.Namespace is %q: must not contain a NUL", cfg.Namespace))
	}
	errs = append(errs, cfg.Key.check())
	errs = append(errs, checkStatusTTL(cfg.StatusTTL)...)
	for _, name := range cfg.IdentityCookies {
		if !isToken(name) {
			errs = append(errs, fmt.Errorf("cache: Config.IdentityCookies has %q: must be a cookie name (RFC 6265 section 4.1.1)", name))
		}
	}
	errs = append(errs, cfg.Normalize.check())
	if cfg.MaxVariants < 0 || cfg.MaxVariants > maxVariants {
		errs = append(errs, fmt.Errorf("cache: Config.MaxVariants is %d: must be at most %d, or 0 for the default (%d)", cfg.MaxVariants, maxVariants, defaultVariants))
	}

	errs = append(errs, checkTargets(cfg.Targets)...)
	if cfg.Name == "" {
		cfg.Name = failure.DefaultName
	}
	if !isSFToken(cfg.Name) {
		errs = append(errs, fmt.Errorf("cache: Config.Name is %q: must be a token (RFC 8941 section 3.3.4)", cfg.Name))
	}
	if err := errors.Join(errs...); err != nil {
		return Config{}, err
	}

	cfg.StatusTTL = maps.Clone(cfg.StatusTTL)
	cfg.MaxObjectBytes = orDefault(cfg.MaxObjectBytes, defaultMaxObject)
	cfg.MaxVariants = orDefault(cfg.MaxVariants, defaultVariants)
	cfg.StaleWhileRevalidate = max(cfg.StaleWhileRevalidate, 0)
	cfg.StaleIfError = max(orDefault(cfg.StaleIfError, defaultStaleIfError), 0)
	cfg.StaleIfSlow = max(cfg.StaleIfSlow, 0)
	cfg.RetryStale = max(orDefault(cfg.RetryStale, defaultRetryStale), 0)
	cfg.FillTimeout = orDefault(cfg.FillTimeout, defaultFillTimeout)
	cfg.HitForMiss = max(orDefault(cfg.HitForMiss, defaultHitForMiss), 0)
	cfg.FollowerWait = max(orDefault(cfg.FollowerWait, defaultFollowerWait), 0)
	if scheme := cfg.Scheme; scheme == nil {
		cfg.Scheme = connectionScheme
	} else {
		cfg.Scheme = func(r *http.Request) string { return strings.ToLower(scheme(r)) } // RFC 3986 section 3.1
	}
	return cfg, nil
}

func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func checkMemory(where string, n int64) error {
	if n != 0 && n < minMemory {
		return fmt.Errorf("cache: %s.MemoryBytes is %d: must be at least %d (64 KiB), or 0 for the default", where, n, minMemory)
	}
	return nil
}

func checkTargets(targets []string) (errs []error) {
	seen := make(map[string]bool)
	for _, name := range targets {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			errs = append(errs, fmt.Errorf("cache: Config.Targets has %q: must be a field name (RFC 9110 section 5.1)", name))
		case canonical == "Cache-Control", canonical == "Expires", canonical == "Pragma":
			errs = append(errs, fmt.Errorf("cache: Config.Targets has %q: must be a field of a structured dictionary (RFC 9213 section 2.1), as CDN-Cache-Control", name))
		case seen[canonical]:
			errs = append(errs, fmt.Errorf("cache: Config.Targets has %q twice: must be there once, where it ranks", name))
		}
		seen[canonical] = true
	}
	return errs
}

// canonicalNames are field names as they are in an http.Header; nil stays nil.
func canonicalNames(names []string) []string {
	if names == nil {
		return nil
	}
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = http.CanonicalHeaderKey(name)
	}
	return out
}

func connectionScheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// isToken tells whether s is a token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// isSFToken tells whether s is an sf-token (RFC 8941 section 3.3.4).
func isSFToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isTokenByte(c) && c != ':' && c != '/' {
			return false
		}
		letter := c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
		if i == 0 && c != '*' && !letter {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
