package ratelimit

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The fields of draft-ietf-httpapi-ratelimit-headers-10, as they stand in a
// header map.
const (
	policyField = "Ratelimit-Policy"
	stateField  = "Ratelimit"
)

// member is what a limit contributes to the fields, as far as it is always the
// same.
type member struct {
	policy []string // one line
	name   string   // quoted
}

func newMember(name string, rate float64, burst int) member {
	quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	quota, window := policy(rate, burst)
	return member{policy: []string{fmt.Sprintf("%s;q=%d;w=%d", quoted, quota, window)}, name: quoted}
}

// maxInteger is the largest integer of a structured field (RFC 9651 section
// 3.3.1).
const maxInteger = 999_999_999_999_999

// policy tells a token bucket as a quota per window of whole seconds: a burst
// and the time in which it comes back, or what a second brings where that is
// more. It is rounded so as not to promise more than the bucket gives.
func policy(rate float64, burst int) (quota, window int64) {
	if rate > float64(burst) {
		return int64(rate), 1
	}
	return int64(burst), int64(min(math.Ceil(float64(burst)/rate), maxInteger))
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// fieldLines are the values of the two fields for claims that were looked at,
// the most restrictive limit first. told is what a refused request was told to wait;
// 0 = it was not refused. The policy must not be written to: it may be shared.
func fieldLines(cs []claim, told time.Duration) (policy []string, state string) {
	if len(cs) == 1 {
		return cs[0].limit.member.policy[:1:1], string(appendState(make([]byte, 0, 64), &cs[0], told))
	}
	order := make([]int, 0, maxLimits)
	for i := range cs {
		at := len(order)
		for at > 0 && stricter(&cs[i], &cs[order[at-1]]) {
			at--
		}
		order = slices.Insert(order, at, i)
	}
	var p, s []byte
	for n, i := range order {
		if n > 0 {
			p, s, told = append(p, ", "...), append(s, ", "...), 0
		}
		p, s = append(p, cs[i].limit.member.policy[0]...), appendState(s, &cs[i], told)
	}
	return []string{string(p)}, string(s)
}

// appendState tells how many permits are left, and in how many seconds there
// will be more; nothing of that where the bucket is full. A limit that refuses
// has none left for this request.
func appendState(b []byte, c *claim, told time.Duration) []byte {
	left, more := math.Floor(max(c.tokens, 0)), max(told, c.wait)
	switch {
	case more > 0:
		left = 0
	case c.tokens < float64(c.limit.Burst):
		more = max(wait(left+1-c.tokens, c.limit.Rate), 1)
	}
	b = append(append(b, c.limit.member.name...), ";r="...)
	b = strconv.AppendInt(b, int64(left), 10)
	if more > 0 {
		b = strconv.AppendInt(append(b, ";t="...), seconds(more), 10)
	}
	return b
}

// setRefused puts the fields on the answer to a refused request.
func setRefused(h http.Header, cs []claim, told time.Duration) {
	policy, state := fieldLines(cs, told)
	h[policyField] = policy
	h[stateField] = []string{state}
}

// setPassed puts the fields on an answer that passes. Those of a limit further
// in stay: a proxy must not make a policy look more permissive than it is (draft
// section 5). An origin that refused is the most restrictive and keeps the first
// place; else ours is before it.
func setPassed(h http.Header, cs []claim, status int) {
	policy, state := fieldLines(cs, 0)
	h[policyField] = beside(policy, h[policyField], status)
	h[stateField] = beside([]string{state}, h[stateField], status)
}

func beside(ours, theirs []string, status int) []string {
	switch {
	case len(theirs) == 0:
		return ours
	case status == http.StatusTooManyRequests:
		return slices.Concat(theirs, ours)
	}
	return slices.Concat(ours, theirs)
}
