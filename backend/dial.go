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
	return dialer{lookup: net.DefaultResolver.LookupNetIP, connect: d.DialContext}
}

// fallbackDelay is how long the addresses of the preferred family have the
// start of those of the other (RFC 8305).
const fallbackDelay = 300 * time.Millisecond

// dial connects to the endpoint under the attempt's timer: resolve, connect, TLS.
// The attempt's stage tells how far it came. upgrade asks for HTTP/1 where the
// choice is ours.
func (a *attempt) dial(upgrade bool) (raw, conn net.Conn, err error) {
	host, port, err := net.SplitHostPort(a.ep.addr)
	if err != nil {
		return nil, nil, err
	}
	addrs, err := a.resolve(host)
	if err != nil {
		return nil, nil, err
	}
	a.stage = phaseConnect
	if !a.watch.enter(phaseConnect) {
		return nil, nil, a.ctx.Err()
	}
	raw, err = a.b.dialer.race(a.ctx, addrs, port)
	a.at.connected = time.Now()
	if err != nil {
		return nil, nil, err
	}
	if a.ep.url.Scheme != "https" {
		a.watch.enter(phaseOff)
		return raw, raw, nil
	}
	conn, err = a.handshake(raw, upgrade)
	return raw, conn, err
}

func (a *attempt) resolve(host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	a.stage = phaseResolve
	if !a.watch.enter(phaseResolve) {
		return nil, a.ctx.Err()
	}
	addrs, err := a.b.dialer.lookup(a.ctx, "ip", host)
	a.at.resolved = time.Now()
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	return addrs, err
}

func (a *attempt) handshake(raw net.Conn, upgrade bool) (net.Conn, error) {
	a.stage = phaseTLS
	if !a.watch.enter(phaseTLS) {
		raw.Close()
		return nil, a.ctx.Err()
	}
	cfg := a.ep.tls
	if upgrade {
		cfg = a.ep.tlsHTTP1
	}
	conn := tls.Client(raw, cfg)
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
// with HTTP/1 alone, for upgrades.
func tlsConfigs(cfg *tls.Config, host string) (normal, http1 *tls.Config) {
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	normal = cfg.Clone()
	if normal.ServerName == "" {
		normal.ServerName = host
	}
	if len(normal.NextProtos) == 0 {
		normal.NextProtos = []string{"h2", "http/1.1"}
	}
	if normal.ClientSessionCache == nil {
		normal.ClientSessionCache = tls.NewLRUClientSessionCache(32)
	}
	http1 = normal.Clone()
	http1.NextProtos = []string{"http/1.1"}
	return normal, http1
}
