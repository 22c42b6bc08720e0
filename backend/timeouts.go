package backend

import (
	"net/http"
	"time"
)

// Timeouts are the limits of one request, as [Config.Timeouts] sets them. A
// field that is 0 means what the Config says, a negative one no limit where the
// Config's field of that name may be negative, else also what the Config says.
// Nothing is longer than a year.
type Timeouts struct {
	Resolve, Connect, TLSHandshake, FirstByte, HeaderStall, BetweenBytes, Write, UntilHeaders, StreamIdle, ClientWrite, WholeBody time.Duration
}

// maxTimeout bounds what an override says.
const maxTimeout = 365 * 24 * time.Hour

// limitsOf are those of cfg, which is resolved.
func limitsOf(cfg *Config) Timeouts {
	return Timeouts{
		Resolve: cfg.Resolve, Connect: cfg.Connect, TLSHandshake: cfg.TLSHandshake, FirstByte: cfg.FirstByte,
		HeaderStall: cfg.HeaderStall, BetweenBytes: cfg.BetweenBytes, Write: cfg.Write, UntilHeaders: cfg.UntilHeaders,
		StreamIdle: cfg.StreamIdle, ClientWrite: cfg.ClientWrite, WholeBody: cfg.WholeBody,
	}
}

// over lays o over t. In the result 0 is no limit.
func (t Timeouts) over(o Timeouts) Timeouts {
	for _, f := range []struct {
		of  *time.Duration
		to  time.Duration
		off bool // may be none
	}{
		{&t.Resolve, o.Resolve, false},
		{&t.Connect, o.Connect, false},
		{&t.TLSHandshake, o.TLSHandshake, false},
		{&t.FirstByte, o.FirstByte, true},
		{&t.HeaderStall, o.HeaderStall, true},
		{&t.BetweenBytes, o.BetweenBytes, true},
		{&t.Write, o.Write, true},
		{&t.UntilHeaders, o.UntilHeaders, true},
		{&t.StreamIdle, o.StreamIdle, true},
		{&t.ClientWrite, o.ClientWrite, true},
		{&t.WholeBody, o.WholeBody, true},
	} {
		switch {
		case f.to > 0:
			*f.of = min(f.to, maxTimeout)
		case f.to < 0 && f.off:
			*f.of = 0
		}
	}
	return t
}

// limitsFor are the limits of r.
func (s *state) limitsFor(r *http.Request) *Timeouts {
	if s.cfg.Timeouts == nil {
		return &s.limits
	}
	limits := s.limits.over(s.cfg.Timeouts(r))
	return &limits
}
