package ratelimit

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	defaultName       = "client"
	defaultMaxKeys    = 1 << 16
	defaultMaxWaiting = 1024
	defaultIPv4Bits   = 32
	defaultIPv6Bits   = 64

	// maxRate is what a clock of nanoseconds can tell apart. It keeps every
	// Rate away from the value that x/time/rate takes for "unlimited".
	maxRate       = 1e9
	maxBurst      = 1_000_000_000
	maxMaxKeys    = 1 << 26
	maxMaxWaiting = 1 << 20
	maxMaxDelay   = time.Minute
	maxLimits     = 16
)

// complaints collects what is wrong with a Config.
type complaints []error

func (c *complaints) add(field string, value any, must string) {
	*c = append(*c, fmt.Errorf("ratelimit: Config.%s is %v: must be %s", field, value, must))
}

// normalize fills in the defaults and validates everything. What it returns has
// all its limits in Limits.
func (c Config) normalize() (Config, error) {
	var errs complaints
	if c.Name == "" {
		c.Name = defaultName
	}
	if !printable(c.Name) {
		errs.add("Name", fmt.Sprintf("%q", c.Name), "printable ASCII")
	}
	c.normalizeLimits(&errs)
	for _, v := range []struct {
		field       string
		value       *int
		most, unset int
	}{
		{"MaxKeys", &c.MaxKeys, maxMaxKeys, defaultMaxKeys},
		{"MaxWaiting", &c.MaxWaiting, maxMaxWaiting, defaultMaxWaiting},
		{"IPv4Bits", &c.IPv4Bits, 32, defaultIPv4Bits},
		{"IPv6Bits", &c.IPv6Bits, 128, defaultIPv6Bits},
	} {
		if *v.value < 0 || *v.value > v.most {
			errs.add(v.field, *v.value, fmt.Sprintf("from 1 to %d, or 0 for %d", v.most, v.unset))
		} else if *v.value == 0 {
			*v.value = v.unset
		}
	}
	if c.MaxDelay < 0 || c.MaxDelay > maxMaxDelay {
		errs.add("MaxDelay", c.MaxDelay, fmt.Sprintf("from 0, for no delay, to %v", maxMaxDelay))
	}
	if !(c.Jitter >= 0 && c.Jitter <= 1) { // NaN is neither
		errs.add("Jitter", c.Jitter, "from 0, for none, to 1")
	}
	for i, p := range c.Allow {
		if _, must := normalizeNetwork(p); must != "" {
			errs.add(fmt.Sprintf("Allow[%d]", i), p, must)
		}
	}
	for i, p := range c.Deny {
		if _, must := normalizeNetwork(p); must != "" {
			errs.add(fmt.Sprintf("Deny[%d]", i), p, must)
		}
	}
	if c.BehindProxy && c.ClientIP == nil && c.needsClient() {
		errs.add("ClientIP", "nil", "set where BehindProxy is, to what NewClientIP returns: the peer is the proxy, and all its visitors would share one bucket")
	}
	return c, errors.Join(errs...)
}

// needsClient tells whether anything depends on the client's address.
func (c Config) needsClient() bool {
	return len(c.Allow)+len(c.Deny) > 0 || slices.ContainsFunc(c.Limits, func(l Limit) bool { return l.Key == nil })
}

func (c *Config) normalizeLimits(errs *complaints) {
	if len(c.Limits) == 0 {
		one := Limit{Name: c.Name, Rate: c.Rate, Burst: c.Burst, Key: c.Key}
		one.normalize("", errs)
		c.Limits = []Limit{one}
		return
	}
	if c.Rate != 0 || c.Burst != 0 || c.Key != nil {
		errs.add("Limits", fmt.Sprintf("of length %d", len(c.Limits)), "empty where Rate, Burst or Key is set: they are the shorthand for one limit")
	}
	if len(c.Limits) > maxLimits {
		errs.add("Limits", fmt.Sprintf("of length %d", len(c.Limits)), fmt.Sprintf("at most %d long", maxLimits))
	}
	c.Limits = slices.Clone(c.Limits)
	names := map[string]int{}
	for i := range c.Limits {
		l, where := &c.Limits[i], fmt.Sprintf("Limits[%d].", i)
		if l.Name == "" {
			l.Name = c.Name
		}
		if !printable(l.Name) {
			errs.add(where+"Name", fmt.Sprintf("%q", l.Name), "printable ASCII")
		}
		if first, taken := names[l.Name]; taken {
			errs.add(where+"Name", fmt.Sprintf("%q", l.Name), fmt.Sprintf("another one than that of Limits[%d]", first))
		} else {
			names[l.Name] = i
		}
		l.normalize(where, errs)
	}
}

func (l *Limit) normalize(where string, errs *complaints) {
	rateOK := l.Rate > 0 && l.Rate <= maxRate // NaN and the infinities are neither
	if !rateOK {
		errs.add(where+"Rate", l.Rate, fmt.Sprintf("above 0 and at most %v permits per second", maxRate))
	}
	switch {
	case l.Burst < 0 || l.Burst > maxBurst:
		errs.add(where+"Burst", l.Burst, fmt.Sprintf("from 1 to %d, or 0 for Rate rounded up", maxBurst))
	case l.Burst == 0 && rateOK:
		l.Burst = int(math.Ceil(l.Rate))
	}
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
