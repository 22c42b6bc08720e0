package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

// dialer makes connections. Its funcs are those of package net; tests put
// others in their place.
type dialer struct {
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, addr string) (net.Conn, error)
}

func newDialer() dialer {
	d := &net.Dialer{KeepAlive: 15 * time.Second}
	return dialer{lookup: lookupBy(new(net.Dialer).DialContext), connect: d.DialContext}
}

// fallbackDelay is how long the addresses of the preferred family have the
// start of those of the other (RFC 8305).
const fallbackDelay = 300 * time.Millisecond

// dial connects to the endpoint under the attempt's timer: resolve, connect, TLS.
// The attempt's stage tells how far it came. upgrade asks for HTTP/1 where the
// choice is ours.
func (a *attempt) dial(upgrade bool) (raw, conn net.Conn, err error) {
	raw, err = a.reach()
	if err != nil {
		return nil, nil, err
	}
	if a.ep.unix || a.ep.url.Scheme != "https" {
		return raw, raw, nil
	}
	conn, err = a.handshake(raw, upgrade)
	return raw, conn, err
}

// reach resolves and connects.
func (a *attempt) reach() (raw net.Conn, err error) {
	if a.ep.unix {
		a.addr = a.ep.addr
		return a.connect(func() (net.Conn, error) { return a.b.dialer.connect(a.ctx, "unix", a.ep.addr) })
	}
	at, err := a.place()
	if err != nil {
		return nil, err
	}
	a.addr = net.JoinHostPort(at.addrs[0].String(), a.ep.port)
	raw, err = a.connect(func() (net.Conn, error) {
		raw, err := a.b.dialer.race(a.ctx, at.addrs, a.ep.port)
		if err != nil && len(at.spare) > 0 && unroutable(err) && a.ctx.Err() == nil {
			if other, e := a.b.dialer.race(a.ctx, at.spare, a.ep.port); e == nil {
				return other, nil
			}
		}
		return raw, err
	})
	if err != nil {
		if n := a.ep.settings.Load().name; n != nil {
			n.poke() // it may have moved
		}
		return nil, err
	}
	if remote := raw.RemoteAddr(); len(at.addrs)+len(at.spare) > 1 && remote != nil {
		a.addr = remote.String()
	}
	return raw, nil
}

// connect makes the connection under the limit for it.
func (a *attempt) connect(to func() (net.Conn, error)) (net.Conn, error) {
	a.stage = phaseConnect
	if !a.watch.enter(phaseConnect) {
		return nil, a.ctx.Err()
	}
	raw, err := to()
	a.at.connected = time.Now()
	if err == nil {
		if err = a.introduce(raw); err != nil {
			raw.Close()
			return nil, err
		}
	}
	if err == nil {
		a.watch.enter(phaseOff)
	}
	return raw, err
}

// place is where the endpoint is. It waits for the resolver only while nothing
// is known, or where names are resolved by every connection.
func (a *attempt) place() (place, error) {
	if a.ep.ip != nil {
		return place{addrs: a.ep.ip}, nil
	}
	is := a.ep.settings.Load()
	if len(is.addrs) > 0 {
		return is.place, nil
	}
	a.stage = phaseResolve
	if !a.watch.enter(phaseResolve) {
		return place{}, a.ctx.Err()
	}
	addrs, err := a.lookup(is)
	a.at.resolved = time.Now()
	if is = a.ep.settings.Load(); err == nil && len(is.addrs) > 0 {
		return is.place, nil // which may be one of the addresses
	}
	return place{addrs: addrs}, err
}

func (a *attempt) lookup(is *settings) ([]netip.Addr, error) {
	if is.name != nil {
		if addrs, err := is.name.await(a.ctx); err == nil || !errors.Is(err, errNameDropped) {
			return addrs, err
		}
	}
	addrs, err := a.b.dialer.lookup(a.ctx, "ip", a.ep.host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: a.ep.host, IsNotFound: true}
	}
	if is.good == nil {
		return ordered(addrs), err
	}
	if err != nil {
		if known := is.good.addrs(); len(known) > 0 && a.ctx.Err() == nil {
			return known, nil
		}
		return nil, err
	}
	addrs = ordered(addrs)
	is.good.keep(addrs)
	return addrs, nil
}

func (a *attempt) handshake(raw net.Conn, upgrade bool) (net.Conn, error) {
	a.stage = phaseTLS
	if !a.watch.enter(phaseTLS) {
		raw.Close()
		return nil, a.ctx.Err()
	}
	cfg := a.ep.tls
	if upgrade || a.ep.proxy != 0 || a.ep.http1.Load() {
		cfg = a.ep.tlsHTTP1
	}
	conn := tls.Client(&endTap{Conn: raw}, cfg)
	err := conn.HandshakeContext(a.ctx)
	a.at.secured = time.Now()
	if err != nil {
		raw.Close()
		return nil, err
	}
	a.watch.enter(phaseOff)
	return conn, nil
}

// race connects to the first address that answers. The addresses of the first
// one's family are tried in order; those of the other family join after a
// moment, or when the first ones failed.
func (d dialer) race(ctx context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
	var first, second []netip.Addr
	for _, ip := range addrs {
		if ip.Unmap().Is4() == addrs[0].Unmap().Is4() {
			first = append(first, ip)
		} else {
			second = append(second, ip)
		}
	}
	if len(second) == 0 {
		return d.serial(ctx, first, port)
	}
	type result struct {
		conn  net.Conn
		err   error
		first bool
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	over := make(chan struct{})
	defer close(over)
	start := func(addrs []netip.Addr, isFirst bool) {
		conn, err := d.serial(ctx, addrs, port)
		select {
		case results <- result{conn, err, isFirst}:
		case <-over:
			if conn != nil {
				conn.Close()
			}
		}
	}
	go start(first, true)
	late := time.NewTimer(fallbackDelay)
	defer late.Stop()
	running, started := 1, false
	var firstErr error
	for {
		select {
		case <-late.C:
			if !started {
				started = true
				running++
				go start(second, false)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			running--
			if r.first || firstErr == nil {
				firstErr = r.err
			}
			if !started {
				started = true
				running++
				go start(second, false)
			}
			if running == 0 {
				return nil, firstErr
			}
		}
	}
}

// serial tries one address after the other. An address that does not answer is
// left to the attempt's timer only if it is the last: the others get a second
// each.
func (d dialer) serial(ctx context.Context, addrs []netip.Addr, port string) (net.Conn, error) {
	var firstErr error
	for i, ip := range addrs {
		one, cancel := ctx, context.CancelFunc(func() {})
		if i < len(addrs)-1 {
			one, cancel = context.WithTimeoutCause(ctx, time.Second, errSlowAddress)
		}
		conn, err := d.connect(one, "tcp", net.JoinHostPort(ip.String(), port))
		cancel()
		if err == nil {
			return conn, nil
		}
		if firstErr == nil {
			firstErr = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, firstErr
}

var errSlowAddress = errors.New("backend: address did not answer in a second")

// tlsConfigs prepares the two configurations of an endpoint: as configured, and
// with HTTP/1 alone, for upgrades. onlyHTTP2 offers nothing else.
func tlsConfigs(cfg *tls.Config, host string, onlyHTTP2 bool) (normal, http1 *tls.Config) {
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	normal = cfg.Clone()
	if normal.ServerName == "" {
		normal.ServerName = host
	}
	switch {
	case onlyHTTP2:
		normal.NextProtos = []string{"h2"}
	case len(normal.NextProtos) == 0:
		normal.NextProtos = []string{"h2", "http/1.1"}
	}
	if normal.ClientSessionCache == nil {
		normal.ClientSessionCache = tls.NewLRUClientSessionCache(32)
	}
	http1 = normal.Clone()
	http1.NextProtos = []string{"http/1.1"}
	return normal, http1
}
