package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/backend"
)

// config is what the command line amounts to.
type config struct {
	listen, admin, control string
	backends               []*url.URL
	cacheMemory            int64         // bytes
	maxObject              int64         // bytes; 0 is the cache's own default
	staleIfError           time.Duration // 0 is off
	staleWhileRevalidate   time.Duration // 0 is what the origin says
	staleIfSlow            time.Duration // 0 is off
	keyIgnoreQuery         []string
	compress               bool
	snapshot               string // "" is none
	storeSetCookie         bool
	rate                   float64 // per client and second; 0 is off
	burst                  int     // 0 is what the rate suggests
	firstByte              time.Duration
	betweenBytes           time.Duration
	connect                time.Duration
	retries                int           // -1: what suits the number of endpoints
	restartWait            time.Duration // 0 is off
	balance                backend.Balance
	maxInFlight            int // 0 is no limit
	queue                  int // -1: as many as maxInFlight
	queueWait              time.Duration
	shed                   bool          // the site is sent no more than it can work on
	breakerRatio           float64       // 0 is the breaker's own default, here and below
	breakerMin             int           // verdicts
	breakerWindow          time.Duration // of the ratio
	breakerOpen            time.Duration // until the next trial
	breakerSlow            time.Duration // after which a call without an answer counts as failed
	trustedProxies         []netip.Prefix
	dryRun                 []string // of dryRuns
	brand                  string   // "" is none
	brandColor             string   // "" is errorpage's own
	locales                []string // nil is all that errorpage has
	maintenanceFile        string   // "" is none
	maintenancePlace       place
	intercept5xx           bool
	health                 string // "" is no check
	healthInterval         time.Duration
	lameDuck               time.Duration
	drainTimeout           time.Duration
	demo                   bool
	version                bool
}

const (
	minCacheMemory = 1 << 20
	maxCacheMemory = 1 << 40 // more is a typing error, and its bookkeeping alone would not fit
	defaultListen  = "127.0.0.1:8080"
	defaultAdmin   = "127.0.0.1:8081"
	defaultControl = "127.0.0.1:8082"

	defaultBreakerWindow = 10 * time.Second
)

// defaults is the configuration without flags. The demonstration differs where
// somebody is watching it: failures show within a second, and Ctrl-C ends it
// without a wait for load balancers that aren't there.
func defaults(demo bool) config {
	c := config{
		listen:         defaultListen,
		admin:          defaultAdmin,
		control:        defaultControl,
		cacheMemory:    64 << 20,
		staleIfError:   24 * time.Hour,
		staleIfSlow:    500 * time.Millisecond,
		firstByte:      15 * time.Second,
		betweenBytes:   15 * time.Second,
		connect:        3 * time.Second,
		retries:        -1,
		restartWait:    2 * time.Second,
		queue:          -1,
		queueWait:      time.Second,
		shed:           true,
		healthInterval: 500 * time.Millisecond,
		lameDuck:       2 * time.Second,
		drainTimeout:   30 * time.Second,
	}
	if demo {
		c.firstByte = time.Second
		c.betweenBytes = 3 * time.Second
		c.connect = time.Second
		c.restartWait = 0 // what is broken is to show at once
		c.staleIfSlow = 300 * time.Millisecond
		c.lameDuck = 0
		c.drainTimeout = 8 * time.Second // net/http waits 5 s for connections that a browser opened ahead of need
		c.demo = true
	}
	return c
}

// parseFlags turns the command line into a config. The error is one line that
// names the flag and says what would be right; flag.ErrHelp asks for the usage.
func parseFlags(args []string) (config, error) {
	l := newLine(len(args) == 0)
	if err := l.flags.Parse(args); err != nil {
		if l.problem != nil {
			err = l.problem
		}
		return config{}, err
	}
	if l.version {
		return l.config, nil
	}
	if l.flags.NArg() > 0 {
		return config{}, unexpected(l.flags.Arg(0))
	}
	if l.demo {
		l.demoDefaults()
	}
	return l.config, l.check(l.given)
}

// line is a command line while it is parsed.
type line struct {
	config
	flags   *flag.FlagSet
	given   map[string]bool
	problem error // what was wrong with a value, in our words
}

func newLine(demo bool) *line {
	l := &line{
		config: defaults(demo),
		flags:  flag.NewFlagSet("standalone", flag.ContinueOnError),
		given:  make(map[string]bool),
	}
	l.flags.SetOutput(io.Discard)
	l.flags.Usage = func() {}

	add(l, "listen", &l.listen, parseAddr)
	add(l, "admin", &l.admin, parseAddr)
	add(l, "control", &l.control, parseAddr)
	add(l, "cache-memory", &l.cacheMemory, parseCacheMemory)
	add(l, "stale-if-error", &l.staleIfError, parseWindow)
	add(l, "max-object", &l.maxObject, parseMaxObject)
	add(l, "stale-while-revalidate", &l.staleWhileRevalidate, parseWindow)
	add(l, "stale-if-slow", &l.staleIfSlow, parseWindow)
	add(l, "key-ignore-query", &l.keyIgnoreQuery, parseNames)
	add(l, "snapshot", &l.snapshot, parseFile)
	add(l, "rate", &l.rate, parseRate)
	add(l, "burst", &l.burst, parseCount)
	add(l, "first-byte", &l.firstByte, parsePositive)
	add(l, "between-bytes", &l.betweenBytes, parsePositive)
	add(l, "connect", &l.connect, parsePositive)
	add(l, "retries", &l.retries, parseRetries)
	add(l, "restart-wait", &l.restartWait, parseWindow)
	add(l, "balance", &l.balance, parseBalance)
	add(l, "max-in-flight", &l.maxInFlight, parseCount)
	add(l, "queue", &l.queue, parseQueue)
	add(l, "queue-wait", &l.queueWait, parsePositive)
	add(l, "dry-run", &l.dryRun, parseDryRun)
	add(l, "shed", &l.shed, parseShed)
	add(l, "breaker-ratio", &l.breakerRatio, parseShare)
	add(l, "breaker-min", &l.breakerMin, parseCount)
	add(l, "breaker-window", &l.breakerWindow, parseSpan)
	add(l, "breaker-open", &l.breakerOpen, parsePositive)
	add(l, "breaker-slow", &l.breakerSlow, parsePositive)
	add(l, "brand", &l.brand, parseBrand)
	add(l, "brand-color", &l.brandColor, parseColor)
	add(l, "locales", &l.locales, parseLocales)
	add(l, "maintenance-file", &l.maintenanceFile, parseSwitchFile)
	add(l, "maintenance-place", &l.maintenancePlace, parsePlace)
	add(l, "health", &l.health, parsePath)
	add(l, "health-interval", &l.healthInterval, parseInterval)
	add(l, "lame-duck", &l.lameDuck, parseWindow)
	add(l, "drain-timeout", &l.drainTimeout, parsePositive)
	l.flags.BoolFunc("store-set-cookie", "", set(l, "store-set-cookie", &l.storeSetCookie, parseSwitch))
	l.flags.BoolFunc("compress", "", set(l, "compress", &l.compress, parseSwitch))
	l.flags.BoolFunc("intercept-5xx", "", set(l, "intercept-5xx", &l.intercept5xx, parseSwitch))
	l.flags.BoolFunc("demo", "", set(l, "demo", &l.demo, parseSwitch))
	l.flags.BoolFunc("version", "", set(l, "version", &l.version, parseSwitch))
	l.flags.Func("trusted-proxy", "", func(s string) error {
		p, err := parseProxy(s)
		if err != nil {
			return l.wrong("trusted-proxy", s, err)
		}
		l.trustedProxies = append(l.trustedProxies, p)
		return nil
	})
	l.flags.Func("backend", "", func(s string) error {
		u, err := parseBackend(s)
		if err == nil && slices.ContainsFunc(l.backends, func(other *url.URL) bool { return sameEndpoint(other, u) }) {
			err = errTwice
		}
		if err != nil {
			return l.wrong("backend", s, err)
		}
		l.given["backend"] = true
		l.backends = append(l.backends, u)
		return nil
	})
	return l
}

// sameEndpoint tells whether two URLs are two ways to write one endpoint.
func sameEndpoint(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(hostPort(a), hostPort(b)) &&
		strings.TrimSuffix(a.EscapedPath(), "/") == strings.TrimSuffix(b.EscapedPath(), "/")
}

var errTwice = errors.New("must be given once, not twice")

// add defines a flag that has a value and may be given once.
func add[T any](l *line, name string, to *T, parse func(string) (T, error)) {
	l.flags.Func(name, "", set(l, name, to, parse))
}

func set[T any](l *line, name string, to *T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil && l.given[name] {
			err = errTwice
		}
		if err != nil {
			return l.wrong(name, s, err)
		}
		l.given[name] = true
		*to = v
		return nil
	}
}

// wrong keeps what is wrong with a value: the flag package would word it
// differently for every kind of flag.
func (l *line) wrong(name, value string, err error) error {
	l.problem = fmt.Errorf("-%s %q: %w", name, value, err)
	return l.problem
}

// demoDefaults puts the demonstration's own defaults where nothing was given.
func (l *line) demoDefaults() {
	d := defaults(true)
	for name, of := range map[string]func(*config) *time.Duration{
		"first-byte":    func(c *config) *time.Duration { return &c.firstByte },
		"between-bytes": func(c *config) *time.Duration { return &c.betweenBytes },
		"stale-if-slow": func(c *config) *time.Duration { return &c.staleIfSlow },
		"connect":       func(c *config) *time.Duration { return &c.connect },
		"restart-wait":  func(c *config) *time.Duration { return &c.restartWait },
		"lame-duck":     func(c *config) *time.Duration { return &c.lameDuck },
		"drain-timeout": func(c *config) *time.Duration { return &c.drainTimeout },
	} {
		if !l.given[name] {
			*of(&l.config) = *of(&d)
		}
	}
}

// check finds what single flags can't see: flags that only make sense together,
// and addresses that collide.
func (c *config) check(given map[string]bool) error {
	switch {
	case c.demo && len(c.backends) > 0:
		return errors.New("-demo and -backend exclude each other: the demonstration has an origin of its own")
	case !c.demo && given["control"]:
		return errors.New("-control needs -demo: only the demonstration has a control page")
	case !c.demo && len(c.backends) == 0:
		return errors.New("-backend is missing: must be the URL of the site, such as -backend http://127.0.0.1:3000; without any flag this is a demonstration")
	case c.demo && c.health != "":
		return errors.New("-health needs -backend: the demonstration's origin has no such check")
	case given["health-interval"] && c.health == "":
		return errors.New("-health-interval needs -health: must be given together, such as -health /healthz -health-interval 1s")
	case (given["queue"] || given["queue-wait"]) && c.maxInFlight == 0 && !c.shed:
		return errors.New("-queue and -queue-wait need -max-in-flight or -shed adaptive: must be given together, such as -max-in-flight 100 -queue 200")
	case c.demo && (given["breaker-window"] || given["breaker-slow"]):
		return errors.New("-breaker-window and -breaker-slow need -backend: the demonstration has a window of its own")
	case c.breakerSlow > 0 && 2*c.breakerSlow >= cmp.Or(c.breakerWindow, defaultBreakerWindow):
		return fmt.Errorf("-breaker-slow %v must be shorter than half of -breaker-window %v: what is counted together must be of the same time", c.breakerSlow, cmp.Or(c.breakerWindow, defaultBreakerWindow))
	case given["maintenance-place"] && c.maintenanceFile == "":
		return errors.New("-maintenance-place needs -maintenance-file: must be given together, such as -maintenance-file /run/maintenance -maintenance-place inside")
	case c.dry("rate") && c.rate == 0:
		return errors.New("-dry-run rate needs -rate: must be given together, such as -rate 10/s -dry-run rate")
	case c.burst > 0 && c.rate == 0:
		return errors.New("-burst needs -rate: must be given together, such as -rate 10/s -burst 20")
	case c.maxObject > c.cacheMemory/8:
		return fmt.Errorf("-max-object %d must be at most an eighth of -cache-memory, here %d bytes: that much is kept for pages that come in", c.maxObject, c.cacheMemory/8)
	case c.demo && c.snapshot != "":
		return errors.New("-snapshot needs -backend: the demonstration begins empty")
	case c.lameDuck >= c.drainTimeout:
		return fmt.Errorf("-lame-duck %v must be shorter than -drain-timeout %v, which includes it", c.lameDuck, c.drainTimeout)
	}
	return c.checkAddrs()
}

// dry tells whether a part is to decide and tell, and do nothing.
func (c *config) dry(part string) bool { return slices.Contains(c.dryRun, part) }

func (c *config) checkAddrs() error {
	if overlap(c.listen, c.admin) {
		return fmt.Errorf("-admin %s: must be another address than -listen %s", c.admin, c.listen)
	}
	own := []struct{ flag, addr string }{{"listen", c.listen}, {"admin", c.admin}}
	for _, o := range own {
		if c.demo && overlap(c.control, o.addr) {
			return fmt.Errorf("-control %s: must be another address than -%s %s", c.control, o.flag, o.addr)
		}
		for _, u := range c.backends {
			if target := hostPort(u); u.Scheme != "unix" && overlap(target, o.addr) && local(target, o.addr) {
				return fmt.Errorf("-backend %s: must be the site, not this proxy's own -%s %s", u, o.flag, o.addr)
			}
		}
	}
	return nil
}

// local tells whether target, which has the port of addr, is that listener for
// sure: with a wildcard address only the loopback names are known to be ours.
func local(target, addr string) bool {
	targetHost, _, _ := net.SplitHostPort(target)
	ownHost, _, _ := net.SplitHostPort(addr)
	ip, err := netip.ParseAddr(canonicalHost(targetHost))
	return !wildcard(ownHost) || err == nil && (ip.IsLoopback() || ip.IsUnspecified())
}

func unexpected(arg string) error {
	if _, err := parseBackend(arg); err == nil {
		return fmt.Errorf("unexpected argument %q: is -backend %s meant?", arg, arg)
	}
	return fmt.Errorf("unexpected argument %q: every setting is a flag", arg)
}
