package backend

import (
	"crypto/tls"
	"net/http"
	"strings"
)

// state is the configuration and the endpoints at one moment. It is never
// changed, only replaced; a request keeps the one that it came in under.
type state struct {
	b           *Backend
	cfg         Config      // with all defaults
	tlsFrom     *tls.Config // what cfg.TLS was cloned from
	limits      Timeouts    // those of cfg; 0 is no limit
	http2       *http.Transport
	sources     []source
	endpoints   []*endpoint // of sources
	remote      bool        // an endpoint is outside of this process
	prefixed    bool        // an endpoint has a path
	multiplexed bool        // an endpoint may speak HTTP/2
	bonds       *bonds      // nil: clients are not bound

	byKey map[string]*source      // of sources
	names map[string]*name        // of sources, by their hosts
	good  map[string]*lastGood    // of sources, by their hosts
	is    map[*endpoint]*settings // of endpoints
}

// newState has the endpoints of sources. cfg is resolved.
func (b *Backend) newState(cfg Config, sources []source) *state {
	s := &state{b: b, cfg: cfg, sources: sources, limits: limitsOf(&cfg)}
	s.byKey, s.names, s.good = make(map[string]*source, len(sources)), make(map[string]*name), make(map[string]*lastGood)
	s.is = make(map[*endpoint]*settings, len(sources))
	for i := range sources {
		src := &sources[i]
		s.endpoints = append(s.endpoints, src.endpoints...)
		s.byKey[src.target.key] = src
		if n := src.name; n != nil {
			s.names[n.host] = n
		}
		if src.good != nil {
			s.good[src.target.host] = src.good
		}
		for k, ep := range src.endpoints {
			s.is[ep] = src.settings[k]
		}
	}
	for _, ep := range s.endpoints {
		if ep.url != nil {
			s.remote = true
			s.prefixed = s.prefixed || strings.Trim(ep.url.Path, "/") != ""
			s.multiplexed = s.multiplexed || ep.h2c || ep.url.Scheme == "https"
		}
	}
	s.bonds = newBonds(&s.cfg, b.stickyKey[:], s.endpoints)
	return s
}

// targets are those of the sources.
func (s *state) targets() []target {
	all := make([]target, len(s.sources))
	for i := range s.sources {
		all[i] = s.sources[i].target
	}
	return all
}

// now is the state at this moment.
func (b *Backend) now() *state { return b.state.Load() }
