package backend

import (
	"strings"
	"time"
)

// state is the configuration and the endpoints at one moment. It is never
// changed, only replaced; a request keeps the one that it came in under.
type state struct {
	b           *Backend
	cfg         Config   // with all defaults
	limits      Timeouts // those of cfg; 0 is no limit
	endpoints   []*endpoint
	remote      bool // an endpoint is outside of this process
	prefixed    bool // an endpoint has a path
	multiplexed bool // an endpoint may speak HTTP/2
}

// Timeouts are limits of one request's way. In a Config's override a field that
// is 0 means what the Config says, and a negative one no limit where the
// Config's field permits that.
type Timeouts struct {
	Connect, TLSHandshake, FirstByte, HeaderStall, BetweenBytes, Write, UntilHeaders, StreamIdle, ClientWrite time.Duration
}

// newState has the endpoints of cfg, which is resolved.
func (b *Backend) newState(cfg Config, endpoints []*endpoint) *state {
	s := &state{b: b, cfg: cfg, endpoints: endpoints, limits: Timeouts{
		Connect: cfg.Connect, TLSHandshake: cfg.TLSHandshake, FirstByte: cfg.FirstByte, HeaderStall: cfg.HeaderStall,
		BetweenBytes: cfg.BetweenBytes, Write: cfg.Write, UntilHeaders: cfg.UntilHeaders, StreamIdle: cfg.StreamIdle,
		ClientWrite: cfg.ClientWrite,
	}}
	for _, ep := range endpoints {
		if ep.url != nil {
			s.remote = true
			s.prefixed = s.prefixed || strings.Trim(ep.url.Path, "/") != ""
			s.multiplexed = s.multiplexed || ep.h2c || ep.url.Scheme == "https"
		}
	}
	return s
}

// now is the state at this moment.
func (b *Backend) now() *state { return b.state.Load() }
