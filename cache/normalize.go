package cache

import (
	"errors"
	"fmt"
	"maps"
	"net/http"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Normalize are sets to which fields of content negotiation are reduced, so that
// requests that get the same response share it although their fields differ
// (RFC 9111 section 4.1). A field whose set is empty is left alone; a set has at
// most 32 members, each once, in the order in which they are preferred where the
// client likes several as much.
//
// Of its set a field is left with the one member that the client likes best, by
// weights (q), wildcards, and exclusion with q=0. That is what responses with
// Vary are selected by, and what the origin is sent in the field's place, since
// a response must answer the request under which it is stored. Requests that
// are not for the cache at all (unsafe methods, bodies, upgrades) keep their
// fields, and outside of the cache nothing is changed: not the request, not what
// Config.ErrorHandler gets.
//
// A field that is absent, has nothing of the set, or is longer than 1024 bytes
// in all is left out: the origin's own choice answers. In place of
// Accept-Encoding it is "identity" then, which every client can read.
type Normalize struct {
	// Encodings is the set for Accept-Encoding (RFC 9110 section 12.5.3), for
	// instance br, gzip. x-gzip is gzip. "identity" need not be in it: it is chosen
	// where the client prefers it, and where nothing else is left.
	Encodings []string
	// Languages is the set for Accept-Language (RFC 9110 section 12.5.4), for
	// instance en, de, pt-BR. A range takes the tags within it (RFC 4647 section
	// 3.3.1): de takes de-AT. One that finds none takes the longest tag that
	// it is within (section 3.4): de-AT takes de.
	Languages []string
	// Types is the set for Accept (RFC 9110 section 12.5.1), for instance
	// text/html, application/json, without parameters. The most specific range
	// counts. A range with parameters counts only where nothing else is acceptable.
	Types []string
}

// check returns what is wrong with the sets.
func (n Normalize) check() error {
	_, wrong := semantics.NewNormaliser(n.Encodings, n.Languages, n.Types)
	for i, err := range wrong {
		wrong[i] = fmt.Errorf("cache: Config.Normalize.%w", err)
	}
	return errors.Join(wrong...)
}

// normalised is the request with the fields that select a variant in place of
// its own. It is what all but a hit goes on with: what it fetches, whom it
// shares that with and what is stored agree by themselves.
func normalised(r *http.Request, sel semantics.Selecting) *http.Request {
	if !sel.Changed() {
		return r
	}
	r = r.WithContext(r.Context())
	r.Header = maps.Clone(r.Header)
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	sel.Apply(r.Header)
	return r
}
