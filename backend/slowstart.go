package backend

import "time"

const (
	defaultSlowStart = 10 * time.Second
	// slowStartFloor is the least part of its weight that an endpoint has: it
	// has to be given some requests to warm up by.
	slowStartFloor = 0.1
)

// ramp is the part of its weight that an endpoint has, since it came up age ago.
func ramp(age, slow time.Duration) float64 {
	if slow <= 0 || age >= slow {
		return 1
	}
	return max(float64(age)/float64(slow), slowStartFloor)
}

// warmUp has the endpoint's weight grow from now on: it came up, returned from
// its ejection, or is new among others.
func (ep *endpoint) warmUp(b *Backend) {
	ep.warmSince.Store(b.clock(time.Now()))
}

// weight is the endpoint's share at this moment beside the others'.
func (ep *endpoint) weight(now, slow time.Duration) float64 {
	w := float64(ep.settings.Load().weight)
	since := ep.warmSince.Load()
	if since == 0 {
		return w
	}
	part := ramp(now-time.Duration(since), slow)
	if part == 1 {
		ep.warmSince.CompareAndSwap(since, 0)
	}
	return w * part
}
