package cache

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Purge names content that is to be forgotten, stored or being fetched. Exactly
// one of URL, Prefix, Host, Tag and All says which, in the namespace of the
// [Cache].
type Purge struct {
	// URL is an absolute http or https URL: all that is stored for it goes,
	// whatever Vary and [Key].Headers and Cookies made of it. Its query is taken as
	// requests' are: parameters that are not part of the key don't matter. Its
	// scheme must be what Config.Scheme tells of the requests, http behind a load
	// balancer that ends TLS unless that func knows better.
	URL string
	// Prefix is the beginning of such a URL, without a query: all that begins with
	// it goes. It may end within a segment: /news also stands for /newsletter;
	// /news/ does not.
	Prefix string
	// Host is a host, with its port where that is not the scheme's default; for
	// both schemes.
	Host string
	// Tag is one of Surrogate-Key, Cache-Tag or [Decision].Tags. Case counts.
	Tag string
	// All is all of the namespace.
	All bool

	// Soft makes the content stale instead, from now on: it is refreshed at its
	// next use, whatever stale-while-revalidate says, and until that succeeded it
	// may answer where the refresh fails or is slow, as far as its stale-if-error
	// allows.
	Soft bool
}

// maxPurge bounds what a Purge names, in bytes.
const maxPurge = 8 << 10

// Purge forgets content. When it has returned, no request that begins later is
// answered with what was asked of the origin before, from the store or from a
// fetch in flight; with Soft, only where the ladder of stale content has it.
//
// It takes the same time however much content there is, and frees no memory: what
// is purged makes room when it is asked for, or expires. What is remembered of
// purges is bounded: with more than about 32,000 of URLs, hosts and tags, the
// oldest become one of everything from before them; with more than 64 of
// prefixes, the oldest becomes one of its host.
//
// The error tells what is wrong with p, of which nothing has been done then.
func (c *Cache) Purge(p Purge) error { return c.purge(context.Background(), p) }

func (c *Cache) purge(ctx context.Context, p Purge) error {
	kind, do, err := c.purger(p)
	if err != nil {
		return err
	}
	do()
	if c.cfg.Observe != nil {
		c.cfg.Observe(ctx, Event{Kind: Purged, Detail: kind, Soft: p.Soft})
	}
	return nil
}

// purger works out what p asks for.
func (c *Cache) purger(p Purge) (kind string, do func(), err error) {
	var kinds []string
	for _, one := range []struct {
		name string
		set  bool
	}{{"URL", p.URL != ""}, {"Prefix", p.Prefix != ""}, {"Host", p.Host != ""}, {"Tag", p.Tag != ""}, {"All", p.All}} {
		if one.set {
			kinds = append(kinds, one.name)
		}
	}
	if len(kinds) != 1 {
		has := "none"
		if len(kinds) > 0 {
			has = strings.Join(kinds, " and ")
		}
		return "", nil, fmt.Errorf("cache: Purge has %s of URL, Prefix, Host, Tag and All: must have exactly one", has)
	}
	kind = strings.ToLower(kinds[0])
	g, namespace := &c.store.gen, c.cfg.Namespace
	switch {
	case p.URL != "":
		u, err := absolute(p.URL)
		if err != nil {
			return "", nil, fmt.Errorf("cache: Purge.URL is %.200q: %w", p.URL, err)
		}
		key := string(c.keyer.AppendURL(nil, u))
		do = func() {
			c.store.purgeURL(key, p.Soft)
			c.markers.forget(key) // whoever purges may have changed that
		}
	case p.Prefix != "":
		u, err := absolute(p.Prefix)
		if err == nil && (u.RawQuery != "" || u.ForceQuery) {
			err = errors.New("must have no query")
		}
		if err != nil {
			return "", nil, fmt.Errorf("cache: Purge.Prefix is %.200q: %w", p.Prefix, err)
		}
		prefix := semantics.PurgeForm(string(c.keyer.AppendURL(nil, u)))
		host := g.marksOf(prefix).ids[1]
		do = func() { g.purgePrefix(p.Soft, prefix, host) }
	case p.Host != "":
		hosts, err := purgedHosts(p.Host)
		if err != nil {
			return "", nil, fmt.Errorf("cache: Purge.Host is %.200q: %w", p.Host, err)
		}
		ids := make([]uint64, len(hosts))
		for i, host := range hosts {
			ids[i] = g.id(markHost, namespace, trimDot(host))
		}
		do = func() { g.purge(p.Soft, ids...) }
	case p.Tag != "":
		if len(p.Tag) > semantics.MaxTagBytes || strings.ContainsAny(p.Tag, "\x00\r\n") || strings.TrimSpace(p.Tag) != p.Tag {
			return "", nil, fmt.Errorf("cache: Purge.Tag is %.300q: must be a tag of at most %d bytes without white space around it", p.Tag, semantics.MaxTagBytes)
		}
		tag, rest := g.id(markTag, namespace, p.Tag), g.id(markAnyTag, namespace)
		do = func() { g.purge(p.Soft, tag, rest) }
	default:
		all := g.id(markAll, namespace)
		do = func() { g.purge(p.Soft, all) }
	}
	return kind, do, nil
}

func absolute(s string) (*url.URL, error) {
	if len(s) > maxPurge {
		return nil, fmt.Errorf("must have at most %d bytes", maxPurge)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("must be an absolute http or https URL: %w", errors.Unwrap(err))
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "" || u.User != nil {
		return nil, errors.New("must be an absolute http or https URL, without a user")
	}
	if !isASCII(u.Host) {
		return nil, errForeignHost
	}
	return u, nil
}

var errForeignHost = errors.New("must have its host as requests have it, in ASCII (xn--...)")

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return c > unicode.MaxASCII }) < 0
}

// purgedHosts are the forms that a host has in keys: without the default port
// of each scheme.
func purgedHosts(s string) ([]string, error) {
	u, err := url.Parse("http://" + s)
	if err != nil || u.Host != s || len(s) > maxPurge {
		return nil, errors.New("must be a host, with a port or none")
	}
	if !isASCII(s) {
		return nil, errForeignHost
	}
	host := semantics.Host("http", s)
	if tls := semantics.Host("https", s); tls != host {
		return []string{host, tls}, nil
	}
	return []string{host}, nil
}
