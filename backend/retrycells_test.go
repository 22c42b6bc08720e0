package backend

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// retryCells are the columns "retry" and "counts" of the table of causes, word
// by word as they were designed. What the code does is held against them.
const retryCells = `
dns_not_found | any+other | L
dns_timeout | any+other | L
unroutable | any+other | L
connection_refused | any+other | L
connect_timeout | any+other | L
local_limit | - | -
connection_limit | +other | -
queue_timeout | - | -
queue_full | +other | -
tls_timeout | any+other | L
tls_protocol | any+other | L
tls_certificate | any+other | L
tls_alert | any+other | L
keepalive_race | idem, once, on a fresh connection | - first, then F
closed_before_headers | idem | F
reset_before_headers | idem | F if the request was written whole, else -
stream_refused | any | -
write_timeout | - | F
first_byte_timeout | idem+other, once | F
header_stall | idem+other, once | F
body_stall | - | F
total_deadline | - | F
truncated | idem* | F
bad_chunking | - | F
bad_content_coding | - | F
headers_too_large | - | -
malformed | - | F
bad_framing | - | F
bad_validation | idem | -
upgrade_failed | - | F
upstream_5xx | GET/HEAD+other, once, for 500, 502, 503, 504 | F, but not 501 and 505
upstream_429 | - before that time | -
endpoint_down | +other | -
endpoint_ejected | +other | -
held_down | +other | -
no_endpoint | - | -
breaker_open | - | -
no_backend | - | -
rate_limited | - | -
shed | - | -
client_gone | - | -
client_body_error | - | -
maintenance | - | -
loop | - | -
fill_timeout | own fetch once | -
panic | - | F if the handler is the backend
handler_abort | - | -
only_if_cached | - | -
draining | - | -
`

// permits reads a cell: may there be another attempt under f, after a failure
// with status?
func permits(t *testing.T, cell string, status int, f retryFacts, c failure.Cause) bool {
	t.Helper()
	cell = strings.TrimSuffix(cell, "*")
	methods, rest, _ := strings.Cut(cell, ",")
	methods, other := strings.CutSuffix(strings.TrimSpace(methods), "+other")
	ok := false
	switch methods {
	case "-", "- before that time", "own fetch once": // the last is the cache's
		return false
	case "any":
		ok, other = true, false // rather elsewhere, but also there
	case "": // merely "+other"
		ok = true
	case "idem":
		ok = f.keyed || slices.Contains([]string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"}, f.method)
	case "GET/HEAD":
		ok = f.method == "GET" || f.method == "HEAD"
	default:
		t.Fatalf("%v: can't read the cell %q", c, cell)
	}
	if strings.Contains(rest, "once") && slices.Contains(f.once, c) || other && !f.others {
		return false
	}
	if _, statuses, ok := strings.Cut(rest, "for "); ok && !strings.Contains(statuses, fmt.Sprint(status)) {
		return false
	}
	return ok && !f.begun && f.replayable && f.attempts <= f.limit
}

// counts reads a cell of the other column.
func counts(t *testing.T, cell string, e *failure.Error) failure.Verdict {
	t.Helper()
	count := map[bool]failure.Verdict{true: failure.BackendFailure}
	switch cell {
	case "-", "F if the handler is the backend": // which an attempt's error says
		return failure.Neutral
	case "L":
		return failure.LocalFailure
	case "F":
		return failure.BackendFailure
	case "- first, then F":
		return count[e.Attempts > 1]
	case "F if the request was written whole, else -":
		return count[e.RequestWritten]
	case "F, but not 501 and 505":
		return count[e.Status != 501 && e.Status != 505]
	}
	t.Fatalf("%v: can't read the cell %q", e.Cause, cell)
	return 0
}

// TestRetryCells goes through all that a retry may depend on.
func TestRetryCells(t *testing.T) {
	yes := []bool{false, true}
	rows, permitted := 0, 0
	for line := range strings.Lines(retryCells) {
		cells := strings.Split(strings.TrimSuffix(line, "\n"), " | ")
		if len(cells) != 3 {
			continue
		}
		rows++
		c, ok := failure.ParseCause(cells[0])
		if !ok {
			t.Errorf("%q is no cause", cells[0])
			continue
		}
		for _, status := range []int{500, 501, 502, 503, 504, 505, 599} {
			for _, attempts := range []int{1, 2, 3} {
				for _, written := range yes {
					e := &failure.Error{Cause: c, Status: status, Attempts: attempts, RequestWritten: written}
					if c != failure.Panic {
						if got, want := e.Verdict(), counts(t, cells[2], e); got != want {
							t.Errorf("%v %d after %d attempts, written %t: counts as %v, want %v", c, status, attempts, written, got, want)
						}
					}
				}
				for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "MKCOL"} {
					for bits := range 32 {
						f := retryFacts{
							method: method, attempts: attempts, limit: 2,
							replayable: yes[bits&1], keyed: yes[bits>>1&1], begun: yes[bits>>2&1], others: yes[bits>>3&1],
						}
						if yes[bits>>4&1] {
							f.once = []failure.Cause{c}
						}
						got, why := mayRetry(&failure.Error{Cause: c, Status: status}, f)
						if want := permits(t, cells[1], status, f, c); got != want || got && why != "" {
							t.Fatalf("%v: %q, status %d, %+v: retried %t (%s), want %t", c, cells[1], status, f, got, why, want)
						}
						if got {
							permitted++
						}
						// What names a time is not asked again before it, unless elsewhere.
						later, _ := mayRetry(&failure.Error{Cause: c, Status: status, RetryAfter: time.Second}, f)
						if later != (got && f.others) {
							t.Fatalf("%v with Retry-After, %+v: retried %t", c, f, later)
						}
					}
				}
			}
		}
	}
	if rows != len(failure.Causes()) || permitted == 0 {
		t.Errorf("%d rows, want %d; %d retries were permitted", rows, len(failure.Causes()), permitted)
	}
}
