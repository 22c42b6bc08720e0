package ratelimit

import (
	"encoding/binary"
	"net/http"
	"net/netip"
	"path"
	"strings"
)

// appendAddrKey appends the key of a client with that address: the address
// itself where all its bits count, else its network.
func appendAddrKey(b []byte, addr netip.Addr, bits4, bits6 int) []byte {
	addr = addr.Unmap().WithZone("")
	bits := bits4
	if addr.Is6() {
		bits = bits6
	}
	if bits < addr.BitLen() {
		if network, err := addr.Prefix(bits); err == nil {
			return network.AppendTo(b)
		}
	}
	return addr.AppendTo(b)
}

// KeyByClient tells clients apart by their address, as [Limit] does without a
// Key: for use with [KeyByAll] and [KeyByFirst]. nil is [PeerIP]; behind a proxy
// use [NewClientIP]. New can't see what a Key does: Config.BehindProxy says
// nothing about a nil here.
func KeyByClient(clientIP func(*http.Request) (netip.Addr, bool)) func(*http.Request) (string, bool) {
	return KeyByNetwork(clientIP, 0, 0)
}

// KeyByNetwork is [KeyByClient] with another number of leading bits that make a
// client: 0 or less is 32 and 64, and too many are all.
func KeyByNetwork(clientIP func(*http.Request) (netip.Addr, bool), ipv4Bits, ipv6Bits int) func(*http.Request) (string, bool) {
	if clientIP == nil {
		clientIP = PeerIP
	}
	if ipv4Bits <= 0 {
		ipv4Bits = defaultIPv4Bits
	}
	if ipv6Bits <= 0 {
		ipv6Bits = defaultIPv6Bits
	}
	return func(r *http.Request) (string, bool) {
		addr, ok := clientIP(r)
		if !ok || !addr.IsValid() {
			return "", false
		}
		return string(appendAddrKey(make([]byte, 0, maxKey), addr, ipv4Bits, ipv6Bits)), true
	}
}

// KeyByHeader tells clients apart by a request field. ok is false where it is
// absent or empty, or where two of its lines differ, since nobody knows which
// one the backend reads. "Host" is the request's host, in lower case.
//
// A client can send what it likes, and a new value is a new bucket: use it for
// what the backend verifies, and beside a limit by client.
func KeyByHeader(name string) func(*http.Request) (string, bool) {
	name = http.CanonicalHeaderKey(name)
	if name == "Host" {
		return func(r *http.Request) (string, bool) { return strings.ToLower(r.Host), r.Host != "" }
	}
	return func(r *http.Request) (string, bool) {
		key := ""
		for i, line := range r.Header[name] {
			if i > 0 && line != key {
				return "", false
			}
			key = line
		}
		return key, key != ""
	}
}

// KeyByCookie is [KeyByHeader] for a cookie: ok is false where it is absent or
// empty, or sent with two different values.
func KeyByCookie(name string) func(*http.Request) (string, bool) {
	return func(r *http.Request) (string, bool) {
		key, found := "", false
		for _, c := range r.CookiesNamed(name) {
			if found && c.Value != key {
				return "", false
			}
			key, found = c.Value, true
		}
		return key, key != ""
	}
}

// KeyByPath tells paths apart, whoever asks: as the URL has it, decoded, with
// "//", "/./" and "/../" resolved. As there is no end of paths, give it to
// limits that leave out, by Cost, all paths but some, or combine it.
func KeyByPath() func(*http.Request) (string, bool) {
	return func(r *http.Request) (string, bool) {
		p := r.URL.Path
		clean := path.Clean("/" + strings.TrimLeft(p, "/"))
		if len(clean) > 1 && strings.HasSuffix(p, "/") {
			clean += "/"
		}
		return clean, true
	}
}

// KeyByAll tells apart by all keys together: a client and a path, say. ok is
// false where it is for one of them.
func KeyByAll(keys ...func(*http.Request) (string, bool)) func(*http.Request) (string, bool) {
	return func(r *http.Request) (string, bool) {
		var b []byte
		for _, key := range keys {
			k, ok := key(r)
			if !ok {
				return "", false
			}
			// With its length in front nothing in one key can be taken for the next.
			b = append(binary.AppendUvarint(b, uint64(len(k))), k...)
		}
		return string(b), len(keys) > 0
	}
}

// KeyByFirst tells apart by the first key that is ok: an account, say, and where
// there is none the client. Keys of different funcs are never the same.
func KeyByFirst(keys ...func(*http.Request) (string, bool)) func(*http.Request) (string, bool) {
	return func(r *http.Request) (string, bool) {
		for i, key := range keys {
			if k, ok := key(r); ok {
				return string(append(binary.AppendUvarint(make([]byte, 0, maxKey), uint64(i)), k...)), true
			}
		}
		return "", false
	}
}
