package cache

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Key says what of a request is part of the key beside scheme, host, path and
// Vary. The zero Key takes the whole query as it came, and no field but those of
// forwarders (see Unkeyed).
//
// The origin gets every request with all that the client sent, whatever the key
// has of it, and its answer to the first client is that of all who have the same
// key. So what is left out must not change the answer.
type Key struct {
	// QueryAllow names the query parameters that are part of the key: any other
	// is left out. nil = all are; empty = none is. Names are compared decoded,
	// and loosely, so that no framework finds an allowed parameter in what is
	// left out here: case, white space around a name, brackets before it and what
	// follows one don't count; a dot, a blank and an opening bracket are
	// underscores. It is not to be set beside QueryIgnore.
	QueryAllow []string
	// QueryIgnore names the query parameters that are left out of the key. A
	// trailing asterisk stands for any rest: "utm_*". Names are compared decoded,
	// and exactly. nil = none is.
	//
	// What is malformed always counts: a name that can't be decoded, and a
	// pair with a semicolon, at which some origins split. A query of which
	// nothing is left equals no query at all. One of more than 1024 pairs counts
	// as it is.
	QueryIgnore []string
	// SortQuery makes the order of different parameters not count. Those of
	// one name keep theirs: a=1&a=2 differs from a=2&a=1.
	SortQuery bool
	// Headers names request fields whose values are part of the key: one that is
	// absent differs from one that is empty. Requests with more than 8 KiB of
	// them, with those of Cookies, bypass the cache. Unlike with Vary, an entry
	// is found without the origin saying so, and every value has entries of its
	// own for every URL: it is for what has few values.
	//
	// Whatever is named here, requests whose Connection lists a field, which a
	// proxy behind the cache would take away (RFC 9110 section 7.6.1), bypass the
	// cache: the answer would be to another request than the key's.
	Headers []string
	// Cookies names the cookies whose values are part of the key, in the same
	// way. Cookies that are not named do not count, unless some framework takes
	// them for one that is (see QueryAllow).
	Cookies []string
	// Unkeyed names request fields that get none of the care that those need
	// by which a client can have another one's content answered ("cache
	// poisoning"): an origin that builds links, redirects or the whole answer
	// from a field that is not part of the key makes that everybody's. Unless
	// they are named here,
	//
	//   - X-Forwarded-* (but X-Forwarded-For), X-Host, X-Original-Host,
	//     X-Url-Scheme, X-Scheme and Front-End-Https are part of the key where
	//     they are present, and so are host and proto of Forwarded (RFC 7239).
	//     Behind a load balancer that sets them they have few values, so that
	//     hits stay hits; what a client invents makes an entry for itself.
	//   - requests with X-Original-Url, X-Rewrite-Url, X-Http-Method,
	//     X-Http-Method-Override or X-Method-Override, which ask for another
	//     resource than they name, bypass the cache, and so do those that spell
	//     any of these fields, or of Headers, with underscores.
	//
	// It is for fields of which the origin is known to make nothing, and for
	// those whose values are different with every request.
	Unkeyed []string
}

// maxKeyFields bounds the part of a key that fields make, in bytes.
const maxKeyFields = 8 << 10

// check validates k.
func (k *Key) check() error {
	var errs []error
	if k.QueryAllow != nil && k.QueryIgnore != nil {
		errs = append(errs, fmt.Errorf("cache: Config.Key.QueryIgnore is %q beside Config.Key.QueryAllow: must be nil, since what is not allowed is ignored anyway", k.QueryIgnore))
	}
	for _, name := range k.QueryAllow {
		if name == "" || strings.ContainsRune(name, '*') {
			errs = append(errs, fmt.Errorf("cache: Config.Key.QueryAllow has %q: must be a parameter's name without an asterisk", name))
		}
	}
	for _, name := range k.QueryIgnore {
		if i := strings.IndexByte(name, '*'); name == "" || name == "*" || i >= 0 && i < len(name)-1 {
			errs = append(errs, fmt.Errorf("cache: Config.Key.QueryIgnore has %q: must be a parameter's name, with an asterisk at its end or none (an empty QueryAllow ignores all)", name))
		}
	}
	for _, name := range k.Headers {
		switch {
		case !isToken(name):
			errs = append(errs, fmt.Errorf("cache: Config.Key.Headers has %q: must be a field name (RFC 9110 section 5.1)", name))
		case strings.EqualFold(name, "Cookie"):
			errs = append(errs, fmt.Errorf("cache: Config.Key.Headers has %q: must not, name the cookies in Config.Key.Cookies", name))
		case strings.EqualFold(name, "Host"):
			errs = append(errs, fmt.Errorf("cache: Config.Key.Headers has %q: must not, the host is part of the key anyway", name))
		}
	}
	for _, name := range k.Cookies {
		if !isToken(name) {
			errs = append(errs, fmt.Errorf("cache: Config.Key.Cookies has %q: must be a cookie name (RFC 6265 section 4.1.1)", name))
		}
	}
	for _, name := range k.Unkeyed {
		if !isToken(name) || handlingOf(http.CanonicalHeaderKey(name)) == handleNot {
			errs = append(errs, fmt.Errorf("cache: Config.Key.Unkeyed has %q: must be one of the fields that its documentation lists", name))
		}
	}
	return errors.Join(errs...)
}

// keyer makes primary keys.
type keyer struct {
	semantics.Keying
	scheme  func(*http.Request) string
	headers []string // canonical, sorted, each once
	cookies []string
	unkeyed map[string]bool
	form    string // describes all that; "" for the zero Key
}

func newKeyer(cfg *Config) keyer {
	k := keyer{
		Keying: semantics.Keying{
			Namespace: cfg.Namespace,
			Query:     semantics.NewQuery(cfg.Key.QueryAllow, cfg.Key.QueryIgnore, cfg.Key.SortQuery),
		},
		scheme:  cfg.Scheme,
		cookies: slices.Compact(slices.Sorted(slices.Values(cfg.Key.Cookies))),
		unkeyed: make(map[string]bool, len(cfg.Key.Unkeyed)),
	}
	for _, name := range cfg.Key.Headers {
		k.headers = append(k.headers, http.CanonicalHeaderKey(name))
	}
	slices.Sort(k.headers)
	k.headers = slices.Compact(k.headers)
	if key := cfg.Key; key.QueryAllow != nil || key.QueryIgnore != nil || key.SortQuery || key.Headers != nil || key.Cookies != nil || key.Unkeyed != nil {
		k.form = fmt.Sprintf(" %t %q %q %t %q %q %q", key.QueryAllow == nil, key.QueryAllow, key.QueryIgnore, key.SortQuery, k.headers, k.cookies, key.Unkeyed)
	}
	for _, name := range cfg.Key.Unkeyed {
		k.unkeyed[http.CanonicalHeaderKey(name)] = true
	}
	return k
}

// appendURL appends the URL's part of a request's key.
func (k *keyer) appendURL(dst []byte, r *http.Request) []byte {
	return k.Append(dst, k.scheme(r), r)
}

// append appends a request's primary key. sel has its fields. ok is false if it has none: what
// decides about its answer can't be part of a key.
func (k *keyer) append(dst []byte, r *http.Request, sel semantics.Selecting) (key []byte, ok bool) {
	dst = k.appendURL(dst, r)
	start := len(dst)
	for _, name := range k.headers {
		dst = semantics.AppendField(dst, name, sel.Values(name))
	}
	for _, name := range k.cookies {
		dst = semantics.AppendField(dst, "Cookie:"+name, cookieValues(r.Header["Cookie"], name))
	}
	foreign, bypass := k.forwarderFields(r.Header)
	bypass = bypass || takesAway(r.Header["Connection"]) || len(k.headers) > 0 && k.misspelt(r.Header)
	for _, f := range foreign {
		dst = semantics.AppendField(dst, f.name, f.values)
	}
	return dst, !bypass && len(dst)-start <= maxKeyFields
}

// cookieValues are the values of all cookies of a name: which of them an origin
// goes by is its own business. Some origins find it also in what is spelled
// another way, or after a comma (RFC 2109). Such a pair is there whole, after a
// semicolon, which no value has: to others it is none of the name.
func cookieValues(lines []string, name string) []string {
	var values []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			n, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(n, " \t") == name {
				values = append(values, value)
				continue
			}
			for part := range strings.SplitSeq(pair, ",") {
				if n, _, _ := strings.Cut(part, "="); semantics.SameName(n, name) {
					values = append(values, ";"+pair)
					break
				}
			}
		}
	}
	return values
}
