package backend

import "math"

// hashBound is how far above its share of the requests in flight an endpoint
// may go for the sake of a key.
const hashBound = 1.25

// hashOf is the FNV-1a hash of a key, mixed. It is the same in every process, so
// that several proxies agree.
func hashOf(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h ^= uint64(key[i])
		h *= 1099511628211
	}
	return mix(h)
}

// mix is the finalizer of SplitMix64: every bit of the input tells on every bit
// of the result.
func mix(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// preferenceOf orders the endpoints of a key (weighted rendezvous hashing): the
// least is its own. It depends on the endpoint alone, so that a key moves only
// if its endpoint goes, or to one that comes.
func preferenceOf(key, seed uint64, weight float64) float64 {
	u := (float64(mix(key^seed)>>11) + 0.5) / (1 << 53)
	return -math.Log(u) / weight
}

// fits tells whether a candidate may take one more request by its share of those
// in flight.
func (v *ballot) fits(c candidate) bool {
	return c.ep.inFlight.Load() < hashLimit(v.inFlight, c.weight/v.weight)
}

// hashLimit is how many requests an endpoint may have in flight: its share of
// all with the one that is to come, and a quarter above.
func hashLimit(inFlight int64, share float64) int64 {
	return int64(math.Ceil(hashBound * float64(max(inFlight, 0)+1) * share))
}

// nextByHash is the first in the order of the key that fits. At least one does,
// unless requests came in meanwhile; then it is the first of all.
func (v *ballot) nextByHash() *endpoint {
	var next candidate
	for _, ep := range v.state.endpoints {
		if v.rank(ep) != v.best || v.wasRefused(ep) {
			continue
		}
		w := ep.weight(v.now, v.state.cfg.SlowStart)
		c := candidate{ep: ep, weight: w, key: preferenceOf(v.query.hash, ep.seed, w)}
		if v.fits(c) && c.before(next) {
			next = c
		}
	}
	if next.ep == nil {
		return v.first.ep
	}
	return next.ep
}
