package backend

import (
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const (
	grpcTimeout = "Grpc-Timeout"
	// leastLeft is what an attempt needs at the least; it is also what the field
	// can tell.
	leastLeft = time.Millisecond
	// enoughAnswers is how many answers it takes to say how fast an endpoint can
	// be.
	enoughAnswers = 10
)

func (cfg *Config) checkDeadline(fail failFunc) {
	name := cfg.DeadlineHeader
	if name == "" {
		if cfg.TrustDeadline != nil {
			fail("Config.TrustDeadline is set, but DeadlineHeader is not: name the field")
		}
		return
	}
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	switch canonical {
	case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Keep-Alive", "Expect", "Via", "Cdn-Loop":
		fail("Config.DeadlineHeader is %q: must be a field of its own, such as X-Request-Timeout-Ms or Grpc-Timeout", name)
	default:
		if !token(name) {
			fail("Config.DeadlineHeader is %q: must be the name of a field, such as X-Request-Timeout-Ms or Grpc-Timeout", name)
		}
	}
	cfg.DeadlineHeader = canonical
}

// trustedDeadline has the time until the final headers as the caller wants it,
// if that is less and the caller may say so.
func (c *call) trustedDeadline() {
	cfg := c.cfg()
	if cfg.DeadlineHeader == "" || cfg.TrustDeadline == nil {
		return
	}
	values := c.r.Header[cfg.DeadlineHeader]
	if len(values) != 1 || !cfg.TrustDeadline(c.r) {
		return
	}
	d, ok := parseDeadline(cfg.DeadlineHeader, values[0])
	if !ok || c.limits.UntilHeaders > 0 && d >= c.limits.UntilHeaders {
		return
	}
	limits := *c.limits
	limits.UntilHeaders = max(d, time.Nanosecond) // 0 would be no limit
	c.limits, c.hurried = &limits, true
}

// parseDeadline reads milliseconds, or the syntax of gRPC: up to eight digits and
// a unit.
func parseDeadline(name, v string) (time.Duration, bool) {
	unit, digits := time.Millisecond, 12
	if name == grpcTimeout {
		if len(v) < 2 {
			return 0, false
		}
		switch v[len(v)-1] {
		case 'H':
			unit = time.Hour
		case 'M':
			unit = time.Minute
		case 'S':
			unit = time.Second
		case 'm':
			unit = time.Millisecond
		case 'u':
			unit = time.Microsecond
		case 'n':
			unit = time.Nanosecond
		default:
			return 0, false
		}
		v, digits = v[:len(v)-1], 8
	}
	if len(v) > digits || strings.Trim(v, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, false
	}
	if n > int64(maxTimeout/unit) {
		return maxTimeout, true
	}
	return time.Duration(n) * unit, true
}

// formatDeadline is the reverse. What is left is never said to be more.
func formatDeadline(name string, left time.Duration) string {
	ms := max(0, left.Milliseconds())
	if name != grpcTimeout {
		return strconv.FormatInt(ms, 10)
	}
	if ms > 99_999_999 {
		return strconv.FormatInt(ms/1000, 10) + "S"
	}
	return strconv.FormatInt(ms, 10) + "m"
}

// withDeadline is h with the field as the next attempt has it. h itself may be
// in use by an earlier one.
func (c *call) withDeadline(h http.Header) http.Header {
	name := c.cfg().DeadlineHeader
	if name == "" {
		return h
	}
	left, ok := c.left()
	if !ok && len(h[name]) == 0 {
		return h
	}
	h = maps.Clone(h)
	if h == nil {
		h = make(http.Header)
	}
	if ok {
		h[name] = []string{formatDeadline(name, left)}
	} else {
		delete(h, name)
	}
	return h
}

// left is what remains of the time until the final headers; ok is false where
// there is no limit.
func (c *call) left() (left time.Duration, ok bool) {
	if c.limits.UntilHeaders <= 0 {
		return 0, false
	}
	return c.limits.UntilHeaders - time.Since(c.began) + c.uploaded, true
}

// outOfTime makes e the end of that time.
func (c *call) outOfTime(e *failure.Error) {
	e.Cause, e.Detail = failure.TotalDeadline, fmt.Sprintf("after %v", c.limits.UntilHeaders)
	if e.Phases.Total() > 0 {
		e.Detail += ": " + e.Phases.String()
	}
}

// tooLate tells that an attempt can't end in what is left of the time; ep is nil
// as long as none is picked. Only where somebody is in a hurry, or an attempt
// has failed, there is something to find out.
func (c *call) tooLate(ep *endpoint, last *failure.Error) *failure.Error {
	if !c.hurried && c.attempts == 0 {
		return nil
	}
	left, ok := c.left()
	if !ok {
		return nil
	}
	e := &failure.Error{Backend: c.cfg().Name, Attempts: c.attempts, Phases: c.phases}
	if last != nil {
		e.Err, e.RequestWritten = last, last.RequestWritten
	}
	if left < leastLeft {
		c.outOfTime(e)
		return e
	}
	if ep == nil {
		return nil
	}
	now := time.Since(c.b.began)
	fastest, n := ep.latency.best(now)
	if n < enoughAnswers || left >= fastest || ep.live.hurry(int64(now)) {
		return nil
	}
	e.Cause, e.Endpoint = failure.TotalDeadline, ep.name
	e.Detail = fmt.Sprintf("%v of %v left, the fastest answer lately took %v", left.Round(time.Millisecond), c.limits.UntilHeaders, fastest)
	if e.Phases.Total() > 0 {
		e.Detail += ": " + e.Phases.String()
	}
	return e
}

// best is the fastest answer of the window that ends now, and the number of
// answers.
func (l *latencies) best(now time.Duration) (fastest time.Duration, n int) {
	epoch := int64(now/latencySpan) + 1
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.slices {
		s := &l.slices[i]
		if s.epoch == 0 || s.epoch <= epoch-latencySlices || s.count == 0 {
			continue
		}
		if d := time.Duration(s.fastest) * time.Microsecond; n == 0 || d < fastest {
			fastest = d
		}
		n += int(s.count)
	}
	return fastest, n
}

// hurry permits one attempt per second that will hardly end in time: the
// endpoint may have become faster.
func (v *evidence) hurry(now int64) bool {
	last := v.hurried.Load()
	return (last == 0 || now-last >= int64(trialEvery)) && v.hurried.CompareAndSwap(last, now)
}
