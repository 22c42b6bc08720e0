package semantics

import (
	"strconv"
	"time"
)

// CacheStatus is our member of the Cache-Status field (RFC 9211).
type CacheStatus struct {
	Name string
	// Hit, or else Fwd: why the request was forwarded.
	Hit bool
	Fwd string
	// FwdStatus is what the next hop answered; 0 is left out.
	FwdStatus         int
	Stored, Collapsed bool
	// TTL is the freshness left; it is written if HasTTL.
	TTL    time.Duration
	HasTTL bool
	// Key and Detail are left out where "". Detail must be a token.
	Key, Detail string
}

// Append appends the member.
func (c CacheStatus) Append(dst []byte) []byte {
	dst = append(dst, c.Name...)
	if c.Hit {
		dst = append(dst, "; hit"...)
	} else if c.Fwd != "" {
		dst = append(append(dst, "; fwd="...), c.Fwd...)
	}
	if c.FwdStatus != 0 && !c.Hit {
		dst = strconv.AppendInt(append(dst, "; fwd-status="...), int64(c.FwdStatus), 10)
	}
	if c.HasTTL {
		dst = strconv.AppendInt(append(dst, "; ttl="...), Seconds(c.TTL), 10)
	}
	if c.Stored && !c.Hit {
		dst = append(dst, "; stored"...)
	}
	if c.Collapsed && !c.Hit {
		dst = append(dst, "; collapsed"...)
	}
	if c.Key != "" {
		dst = append(appendQuoted(append(dst, "; key="...), c.Key), '"')
	}
	if c.Detail != "" {
		dst = append(append(dst, "; detail="...), c.Detail...)
	}
	return dst
}

// Seconds is d in whole seconds, rounded down: what is left of freshness is
// never overstated, nor staleness understated.
func Seconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d < 0 && d%time.Second != 0 {
		s--
	}
	return s
}

// appendQuoted appends an opening quote and s as the content of an sf-string;
// what can't stand in one becomes '?'.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c > 0x7e:
			dst = append(dst, '?')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
