package errorpage

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// MaintenanceConfig says what [Page.Maintenance] keeps from whom. The zero
// value keeps the whole site from everybody, from [Page.StartMaintenance] until
// [Page.EndMaintenance].
type MaintenanceConfig struct {
	// File is the path of a file whose presence turns maintenance on; "" is none.
	// If its first line is a time (RFC 3339, such as 2027-01-31T04:00:00Z or
	// 2027-01-31 05:00:00+01:00), maintenance ends by itself then, though the file
	// may stay; any other text says nothing. Symbolic links are followed.
	//
	// It is looked at when requests come, at most once a second. A file that is
	// there but can't be read is on, without an end. Where it can't be told
	// whether it is there (no permission for its directory, a loop of links, a
	// directory or a pipe in its place), what was known stays, and Observe is
	// told. A file system that hangs delays requests by at most a second, once.
	File string

	// Hosts limits maintenance to requests for these hosts: names or addresses
	// without a port, where *.example.com is every name below example.com. nil is
	// all hosts.
	Hosts []string
	// Paths limits it to these paths and all that is below them: /shop and /shop/
	// are /shop, /shop/ and /shop/cart, but not /shopping. nil is all paths.
	Paths []string
	// Match limits it to the requests for which it returns true; nil is all. It
	// runs on the request's goroutine and under no lock. Where Hosts, Paths and
	// Match are given, all of them must hold.
	Match func(*http.Request) bool

	// Exempt are the networks of clients who go on seeing the site; nil is nobody.
	// A network of every address is an error.
	Exempt []netip.Prefix
	// ClientIP tells the client's address for Exempt; ok is false where it is not
	// known, and such a client is not exempt. nil is the address of the peer,
	// which is wrong behind a proxy: see ratelimit.NewClientIP.
	ClientIP func(*http.Request) (addr netip.Addr, ok bool)
	// BypassCookie is a cookie, as name=value, whose bearers go on seeing the
	// site; "" is none. The value is a secret: at least 16 bytes, best random.
	BypassCookie string

	// HealthPaths are the paths that health checks of load balancers ask for,
	// whatever Hosts, Paths, Match and Exempt say; nil is none.
	HealthPaths []string
	// HealthStatus is what they get during maintenance: 200 keeps this instance
	// in rotation, so that visitors see the page; with 503 load balancers take it
	// out, and show their own. 0 lets the checks through to the site.
	HealthStatus int

	// RetryAfter is told where no end is known; 0 tells nothing then, negative is
	// an error. It is rounded up to seconds.
	RetryAfter time.Duration
}

// MaintenanceState is whether maintenance is on.
type MaintenanceState struct {
	On bool
	// Since is when it began: for a file that was there already, when that was
	// written. The zero time while it is off.
	Since time.Time
	// Until is when it ends by itself; the zero time is not known, or off.
	Until time.Time
	// By is who turned it on: "api", "file" or "api and file"; "" while it is off.
	By string
}

// Maintenance returns next with pages, of cause maintenance and status 503, in
// its place while maintenance is on. Retry-After is the time that is left, or
// [MaintenanceConfig.RetryAfter] where no end is known.
//
// Where it stands decides who sees the page. Outside of a cache everybody does.
// Inside, the cache answers with what it has, stale or fresh; only what it does
// not have is the page, and next is left alone. (There, exempt clients and
// bearers of the cookie fetch what is then stored for everybody, and share what
// others are just being refused: a site that is to be tried out unseen wants it
// outside.)
//
// Requests that are being answered when it begins, and connections that were
// upgraded before, go on. All handlers of a Page share its state, and all that
// is off costs one atomic load; with a File, also a look at the clock.
func (p *Page) Maintenance(next http.Handler) http.Handler {
	m := p.maintenance
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := m.state(r.Context())
		if s == nil {
			next.ServeHTTP(w, r)
			return
		}
		switch m.scope.verdict(r) {
		case pass:
			next.ServeHTTP(w, r)
		case hold:
			p.ServeError(w, r, s.failure(time.Now(), m.retryAfter))
		case healthy:
			answerHealthy(w, r)
		}
	})
}

// StartMaintenance turns maintenance on until EndMaintenance is called or until
// comes (by the wall clock); the zero time is no end that is known. Called again
// it changes the end. A time that has passed ends it.
func (p *Page) StartMaintenance(until time.Time) {
	p.maintenance.set(&spell{since: time.Now().Round(0), until: until.Round(0)})
}

// EndMaintenance ends what StartMaintenance began. What a file turned on stays
// on until the file is gone or its time has come.
func (p *Page) EndMaintenance() { p.maintenance.set(nil) }

// MaintenanceState tells whether maintenance is on. With a File it looks at it
// under the same rules as a request.
func (p *Page) MaintenanceState() MaintenanceState {
	if s := p.maintenance.state(context.Background()); s != nil {
		return s.MaintenanceState
	}
	return MaintenanceState{}
}

// maintenance is what all handlers of a Page share.
type maintenance struct {
	scope      scope
	retryAfter time.Duration
	file       *watch // nil is none
	observe    func(context.Context, Event)
	current    atomic.Pointer[inForce] // nil is off

	mu           sync.Mutex // guards what follows, and is never held over I/O or observe
	byAPI        *spell
	byFile       *spell
	fileTrouble  string // why it can't be told whether the file is there; "" if it can
	fileComplain string // what is wrong with its text
}

func newMaintenance(cfg MaintenanceConfig, observe func(context.Context, Event)) (*maintenance, error) {
	s, err := newScope(cfg)
	m := &maintenance{scope: s, retryAfter: cfg.RetryAfter, observe: observe}
	if cfg.File != "" {
		m.file = newWatch(cfg.File)
	}
	return m, err
}

// spell is one source's wish.
type spell struct{ since, until time.Time }

// over tells whether the spell has ended by itself.
func (s *spell) over(now time.Time) bool { return !s.until.IsZero() && !now.Before(s.until) }

// inForce is a state that is on, with what its pages need.
type inForce struct {
	MaintenanceState
	detail string
}

// over tells whether it has ended by itself.
func (s *inForce) over(now time.Time) bool { return !s.Until.IsZero() && !now.Before(s.Until) }

func (s *inForce) failure(now time.Time, retryAfter time.Duration) *failure.Error {
	e := &failure.Error{Cause: failure.Maintenance, Detail: s.detail, RetryAfter: retryAfter}
	if !s.Until.IsZero() {
		e.RetryAfter = max(s.Until.Sub(now), 1) // it was on a moment ago
	}
	return e
}

// merge is what the wishes of two sources, either of which may be nil, amount to
// now; nil is off. It ends when both have ended.
func merge(now time.Time, api, file *spell) *inForce {
	if api != nil && api.over(now) {
		api = nil
	}
	if file != nil && file.over(now) {
		file = nil
	}
	s := &inForce{}
	switch {
	case api == nil && file == nil:
		return nil
	case file == nil:
		s.MaintenanceState = MaintenanceState{On: true, Since: api.since, Until: api.until, By: "api"}
	case api == nil:
		s.MaintenanceState = MaintenanceState{On: true, Since: file.since, Until: file.until, By: "file"}
	default:
		s.MaintenanceState = MaintenanceState{On: true, Since: api.since, Until: api.until, By: "api and file"}
		if file.since.Before(api.since) {
			s.Since = file.since
		}
		if file.until.IsZero() || !api.until.IsZero() && file.until.After(api.until) {
			s.Until = file.until
		}
	}
	s.detail = "by " + s.By + " since " + s.Since.UTC().Format(time.RFC3339)
	if !s.Until.IsZero() {
		s.detail += ", until " + s.Until.UTC().Format(time.RFC3339)
	}
	return s
}

// state returns what is in force, nil if nothing is.
func (m *maintenance) state(ctx context.Context) *inForce {
	if m.file != nil {
		m.look(ctx)
	}
	s := m.current.Load()
	if s == nil || !s.over(time.Now()) {
		return s
	}
	m.settle(ctx, func(time.Time) (restate bool, note error) { return false, nil })
	return m.current.Load()
}

func (m *maintenance) set(s *spell) {
	m.settle(context.Background(), func(now time.Time) (restate bool, note error) {
		if s != nil && s.over(now) {
			s = nil
		}
		if s != nil && m.byAPI != nil && !m.byAPI.over(now) {
			s.since = m.byAPI.since
		}
		m.byAPI = s
		return false, nil
	})
}

// settle makes a change, under m.mu, puts in force what follows from it, and
// tells of it if anything did, or if the change wants it told in any case.
func (m *maintenance) settle(ctx context.Context, change func(now time.Time) (restate bool, note error)) {
	m.mu.Lock()
	now := time.Now()
	restate, note := change(now)
	before, after := m.current.Load(), merge(now, m.byAPI, m.byFile)
	if before != nil && after != nil {
		after.Since = before.Since
	}
	changed := (before == nil) != (after == nil) || before != nil && before.MaintenanceState != after.MaintenanceState
	if changed {
		m.current.Store(after)
	}
	if m.file != nil {
		m.file.next.Store(int64(m.file.due)) // last: who sees it sees the state, too
	}
	m.mu.Unlock()
	if !changed && !restate {
		return
	}
	ev := Event{Kind: MaintenanceOff, Err: note}
	if after != nil {
		ev.Kind, ev.Maintenance = MaintenanceOn, after.MaintenanceState
	}
	m.observe(ctx, ev)
}

func answerHealthy(w http.ResponseWriter, r *http.Request) {
	const body = "ok\n"
	h := w.Header()
	h["Content-Type"] = contentTypes[text]
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", "3")
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(body)) // the check may be gone; there is nobody to tell
	}
}
