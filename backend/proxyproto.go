package backend

import (
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strconv"
)

// peers are the two ends of the connection that a request came over. The zero
// value is that of a connection of our own: nobody's.
type peers struct {
	client, local netip.AddrPort // not valid: not known
	foreign       bool           // there is a client
}

// peersOf are those of r, without zones and with IPv4 addresses as such.
func peersOf(r *http.Request) peers {
	p := peers{foreign: true}
	if client, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		p.client = plain(client)
	}
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		p.local = plain(a.AddrPort())
	}
	return p
}

func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// pair is the two addresses in one family. Where they differ the IPv4 one is
// mapped into IPv6; an unknown local end is the unspecified address, so that the
// client's is not lost with it.
func (p peers) pair() (client, local netip.AddrPort, v4 bool) {
	client, local = p.client, p.local
	if !local.IsValid() {
		none := netip.IPv6Unspecified()
		if client.Addr().Is4() {
			none = netip.IPv4Unspecified()
		}
		local = netip.AddrPortFrom(none, 0)
	}
	if client.Addr().Is4() && local.Addr().Is4() {
		return client, local, true
	}
	six := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	return six(client), six(local), false
}

// proxySignature begins a header of version 2.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// proxyHeader is the header of the PROXY protocol, version 1 or 2
// (haproxy.org/download/2.9/doc/proxy-protocol.txt, sections 2.1 and 2.2).
func proxyHeader(version int, p peers) []byte {
	if version == 1 {
		return proxyLine(p)
	}
	return proxyBinary(p)
}

// proxyLine is at most 107 bytes long.
func proxyLine(p peers) []byte {
	if !p.client.IsValid() {
		return []byte("PROXY UNKNOWN\r\n")
	}
	client, local, v4 := p.pair()
	b := []byte("PROXY TCP6 ")
	if v4 {
		b[9] = '4'
	}
	b = append(client.Addr().AppendTo(b), ' ')
	b = append(local.Addr().AppendTo(b), ' ')
	b = append(strconv.AppendUint(b, uint64(client.Port()), 10), ' ')
	b = strconv.AppendUint(b, uint64(local.Port()), 10)
	return append(b, "\r\n"...)
}

func proxyBinary(p peers) []byte {
	const (
		local, proxy = 0x20, 0x21 // version 2, command
		unspec       = 0x00
		tcp4, tcp6   = 0x11, 0x21
	)
	b := []byte(proxySignature)
	switch {
	case !p.foreign:
		return append(b, local, unspec, 0, 0)
	case !p.client.IsValid():
		return append(b, proxy, unspec, 0, 0)
	}
	client, here, v4 := p.pair()
	if v4 {
		b = append(b, proxy, tcp4, 0, 12)
	} else {
		b = append(b, proxy, tcp6, 0, 36)
	}
	b = append(b, client.Addr().AsSlice()...)
	b = append(b, here.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, here.Port())
}

// introduce tells a fresh connection's peer whom it is for, before anything
// else is sent.
func (a *attempt) introduce(raw net.Conn) error {
	if a.ep.proxy == 0 {
		return nil
	}
	_, err := raw.Write(proxyHeader(a.ep.proxy, a.peers)) // fits the socket's buffer
	return err
}
