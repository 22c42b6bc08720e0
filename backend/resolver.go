package backend

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
)

// lookupBy is a lookup by the resolver of package net. That one puts the errors
// of its sockets into words; here the one that tells that this process or host
// is out of something is kept beside them.
func lookupBy(dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, host string) ([]netip.Addr, error) {
	r := &net.Resolver{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if short, ok := ctx.Value(shortageKey{}).(*atomic.Pointer[error]); ok && err != nil && exhausted(err) {
			short.Store(&err)
		}
		return conn, err
	}}
	return func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		var short atomic.Pointer[error]
		addrs, err := r.LookupNetIP(context.WithValue(ctx, shortageKey{}, &short), network, host)
		if why := short.Load(); err != nil && why != nil {
			err = errors.Join(*why, err)
		}
		return addrs, err
	}
}

type shortageKey struct{}
