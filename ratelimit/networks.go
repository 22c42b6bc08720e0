package ratelimit

import (
	"net/netip"
	"slices"
)

// listing is what the lists say of an address.
type listing uint8

const (
	unlisted listing = iota
	allowed
	denied
)

// networks are the allow and deny lists. Looking an address up takes one step
// per length of network that is listed, however long the lists are.
type networks struct {
	listed     map[netip.Prefix]listing
	len4, len6 []int // of the listed networks, the longest first
}

// newNetworks requires that all prefixes were found good.
func newNetworks(allow, deny []netip.Prefix) networks {
	n := networks{listed: make(map[netip.Prefix]listing, len(allow)+len(deny))}
	add := func(prefixes []netip.Prefix, as listing) {
		for _, p := range prefixes {
			p, _ = normalizeNetwork(p)
			n.listed[p] = as
			lengths := &n.len6
			if p.Addr().Is4() {
				lengths = &n.len4
			}
			if !slices.Contains(*lengths, p.Bits()) {
				*lengths = append(*lengths, p.Bits())
			}
		}
	}
	add(allow, allowed)
	add(deny, denied) // of two equal networks the second is kept
	slices.Sort(n.len4)
	slices.Reverse(n.len4)
	slices.Sort(n.len6)
	slices.Reverse(n.len6)
	return n
}

// find requires that addr is clean. network is the one that decided.
func (n *networks) find(addr netip.Addr) (as listing, network netip.Prefix) {
	lengths := n.len6
	if addr.Is4() {
		lengths = n.len4
	}
	for _, bits := range lengths {
		network, err := addr.Prefix(bits)
		if err != nil {
			break
		}
		if as, ok := n.listed[network]; ok {
			return as, network
		}
	}
	return unlisted, netip.Prefix{}
}
