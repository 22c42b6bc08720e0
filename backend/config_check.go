package backend

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	defaultResolve      = 3 * time.Second
	defaultRefresh      = 10 * time.Second
	defaultConnect      = 3 * time.Second
	defaultTLSHandshake = 3 * time.Second
	defaultFirstByte    = 15 * time.Second
	defaultHeaderStall  = 5 * time.Second
	defaultBetweenBytes = 15 * time.Second
	defaultWrite        = 15 * time.Second
	defaultUntilHeaders = 60 * time.Second
	defaultStreamIdle   = 5 * time.Minute
	defaultClientWrite  = 60 * time.Second
	defaultIdleConn     = 4 * time.Second
	defaultRetries      = 2
	defaultReplayBody   = 64 << 10
	defaultMaxHeader    = 256 << 10
)

// durationField is a duration of a Config that is to be checked and to get its
// default.
type durationField struct {
	name  string
	value *time.Duration
	def   time.Duration
	off   bool // a negative value means none, which is 0 in the result
}

func (d durationField) check(fail failFunc) {
	switch {
	case *d.value == 0:
		*d.value = d.def
	case *d.value < 0 && d.off:
		*d.value = 0
	case *d.value < 0:
		fail("Config.%s is %v: must be positive, or 0 for %v", d.name, *d.value, d.def)
	}
}

// failFunc notes one mistake in a Config.
type failFunc func(format string, args ...any)

// resolved checks cfg and returns it with all defaults filled in. The error has
// every mistake. Limits that are off are 0 in the result.
func resolved(cfg Config) (Config, []target, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("backend: "+format, args...)) }

	if cfg.Name == "" {
		cfg.Name = "backend"
	}
	for _, d := range []durationField{
		{"Resolve", &cfg.Resolve, defaultResolve, false},
		{"ResolveInterval", &cfg.ResolveInterval, defaultRefresh, true},
		{"Connect", &cfg.Connect, defaultConnect, false},
		{"TLSHandshake", &cfg.TLSHandshake, defaultTLSHandshake, false},
		{"FirstByte", &cfg.FirstByte, defaultFirstByte, true},
		{"HeaderStall", &cfg.HeaderStall, defaultHeaderStall, true},
		{"BetweenBytes", &cfg.BetweenBytes, defaultBetweenBytes, true},
		{"Write", &cfg.Write, defaultWrite, true},
		{"UntilHeaders", &cfg.UntilHeaders, defaultUntilHeaders, true},
		{"WholeBody", &cfg.WholeBody, 0, true},
		{"StreamIdle", &cfg.StreamIdle, defaultStreamIdle, true},
		{"ClientWrite", &cfg.ClientWrite, defaultClientWrite, true},
		{"IdleConn", &cfg.IdleConn, defaultIdleConn, true},
		{"SlowStart", &cfg.SlowStart, defaultSlowStart, true},
	} {
		d.check(fail)
	}

	switch {
	case cfg.Retries == 0:
		cfg.Retries = defaultRetries
	case cfg.Retries < 0:
		cfg.Retries = 0
	}
	switch {
	case cfg.ReplayBody == 0:
		cfg.ReplayBody = defaultReplayBody
	case cfg.ReplayBody < 0:
		cfg.ReplayBody = 0
	}
	switch {
	case cfg.MaxHeaderBytes == 0:
		cfg.MaxHeaderBytes = defaultMaxHeader
	case cfg.MaxHeaderBytes < 0:
		fail("Config.MaxHeaderBytes is %d: must be positive, or 0 for %d", cfg.MaxHeaderBytes, defaultMaxHeader)
	}
	cfg.checkRetries(fail)
	cfg.checkLimits(fail)
	cfg.checkRestart(fail)
	cfg.checkDeadline(fail)
	cfg.Health.check(fail)
	cfg.Ejection.check(fail)
	cfg.checkBalance(fail)
	if cfg.Gate != nil && cfg.NewGate != nil {
		fail("Config.Gate and Config.NewGate are both set: one gate for the backend, or one per endpoint")
	}

	cfg.TLS = cfg.TLS.Clone()
	cfg.Endpoints = slices.Clone(cfg.Endpoints)
	targets := parseEndpoints(cfg.Endpoints, fail)
	cfg.Health.fits(cfg.Endpoints, targets, fail)
	return cfg, targets, errors.Join(errs...)
}
