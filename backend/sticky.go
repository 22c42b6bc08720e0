package backend

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Sticky binds a client to the endpoint that answered it first, by a cookie; the
// zero value is off. It is for backends that keep sessions in memory, which is
// better avoided: a bound client is not balanced, and loses its session with its
// endpoint all the same.
//
// The cookie's value tells nothing of the endpoint: it is a keyed hash of its
// name. One that is not known, or whose endpoint may not be used, counts as none:
// the request is balanced, and the answer sets the cookie anew. An endpoint that
// is drained keeps its bound clients. Backups do not keep theirs once another
// endpoint may be used again.
//
// The cookie is set only where it changes, and never with a 304, which a cache
// would copy it from, an upgrade, or an answer that is an error of the backend. An
// answer that sets it is one client's own: it gets Cache-Control: private unless
// it says so already, so that no shared cache in front gives one client's cookie
// to the others. A client that has been served from such a cache alone is not
// bound.
type Sticky struct {
	// Cookie is the name; "" is off.
	Cookie string
	// Key makes the values. Give the same to all proxies that share the clients,
	// and keep it: with nil it is random for each Backend, and clients are bound
	// anew after a restart. At least 16 bytes.
	Key []byte
	// TTL is how long clients keep the cookie from when it was set; 0 is until
	// they are closed, negative and less than a second are refused.
	TTL time.Duration
	// Path and Domain are the cookie's scope; "" is "/", and the host alone.
	Path, Domain string
	// SameSite is the cookie's; 0 is http.SameSiteLaxMode.
	SameSite http.SameSite
	// Secure has the cookie sent over TLS alone. It is set without being asked
	// for where the request came over TLS.
	Secure bool
	// Scripts lets scripts read the cookie; otherwise it is HttpOnly.
	Scripts bool
	// Shared leaves Cache-Control as it came.
	Shared bool
}

const leastStickyKey = 16

func (s *Sticky) check(fail failFunc) {
	if s.Cookie == "" {
		return
	}
	if s.Path == "" {
		s.Path = "/"
	}
	if s.SameSite == 0 {
		s.SameSite = http.SameSiteLaxMode
	}
	if s.TTL < 0 || s.TTL > 0 && s.TTL < time.Second {
		fail("Config.Sticky.TTL is %v: must be at least 1s, or 0 for a cookie of the session", s.TTL)
	}
	if s.Key != nil && len(s.Key) < leastStickyKey {
		fail("Config.Sticky.Key has %d bytes: must have at least %d, or be nil for a random one", len(s.Key), leastStickyKey)
	}
	if s.SameSite == http.SameSiteNoneMode && !s.Secure {
		fail("Config.Sticky.SameSite is None: browsers demand Secure with it")
	}
	if err := s.cookie("x", false).Valid(); err != nil {
		fail("Config.Sticky (Cookie %q, Path %q, Domain %q) makes no cookie: %w", s.Cookie, s.Path, s.Domain, err)
	}
	s.Key = slices.Clone(s.Key)
}

// cookie is the one that binds to the endpoint of token.
func (s *Sticky) cookie(token string, tls bool) *http.Cookie {
	return &http.Cookie{
		Name: s.Cookie, Value: token, Path: s.Path, Domain: s.Domain, MaxAge: int(s.TTL / time.Second),
		Secure: s.Secure || tls, HttpOnly: !s.Scripts, SameSite: s.SameSite,
	}
}

// bonds are the tokens of a state's endpoints.
type bonds struct {
	endpoints map[string]*endpoint
	tokens    map[*endpoint]string
}

// newBonds is nil where Sticky is off.
func newBonds(cfg *Config, random []byte, endpoints []*endpoint) *bonds {
	if cfg.Sticky.Cookie == "" {
		return nil
	}
	key := cfg.Sticky.Key
	if key == nil {
		key = random
	}
	all := &bonds{endpoints: make(map[string]*endpoint, len(endpoints)), tokens: make(map[*endpoint]string, len(endpoints))}
	for _, ep := range endpoints {
		token := tokenOf(key, cfg.Name, ep.name)
		all.endpoints[token], all.tokens[ep] = ep, token
	}
	return all
}

func tokenOf(key []byte, backend, endpoint string) string {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(backend + "\x00" + endpoint))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// boundTo is the endpoint that the request's cookie names; nil: none.
func (c *call) boundTo() *endpoint {
	if len(c.r.Header["Cookie"]) == 0 {
		return nil
	}
	for _, cookie := range c.r.CookiesNamed(c.cfg().Sticky.Cookie) {
		if ep := c.state.bonds.endpoints[cookie.Value]; ep != nil {
			return ep
		}
	}
	return nil
}

// bind has the answer of ep set the cookie, where it is not the one that the
// client has.
func (c *call) bind(h http.Header, ep *endpoint, status int) {
	if ep == c.bound || status == http.StatusNotModified {
		return
	}
	s := &c.cfg().Sticky
	h["Set-Cookie"] = append(slices.Clip(h["Set-Cookie"]), s.cookie(c.state.bonds.tokens[ep], c.r.TLS != nil).String())
	if !s.Shared && !hasToken(h["Cache-Control"], "private") && !hasToken(h["Cache-Control"], "no-store") {
		said := slices.DeleteFunc(listOf(h["Cache-Control"]), func(one string) bool { return strings.EqualFold(one, "public") })
		h["Cache-Control"] = []string{strings.Join(append(said, "private"), ", ")}
	}
}

// listOf are the members of a list field.
func listOf(lines []string) []string {
	var all []string
	for _, line := range lines {
		for one := range listSeq(line) {
			all = append(all, one)
		}
	}
	return all
}
