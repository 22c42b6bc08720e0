package main

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var leftOut = regexp.MustCompile(`msg="no more lines left out" .*left_out=(\d+) `)

// An outage does not drown the log, and the log accounts for every failure: those
// that it has in full, and those that it says it left out.
func TestLogUnderFlood(t *testing.T) {
	o := newIll(t)
	o.fail(t, "503")
	p := start(t, "-backend", "http://"+o.addr, "-breaker-min", "100000", "-lame-duck", "0s")
	c := newClient(t)
	const n = 600
	began := time.Now()
	for range n {
		if r := get(t, c, p.site+"/"); r.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("status %s, want 503", r.Status)
		}
	}
	took := time.Since(began)
	p.drained(t)
	log := p.stderr.String()
	full, told := strings.Count(log, `msg="request failed"`), 0
	for _, m := range leftOut.FindAllStringSubmatch(log, -1) {
		k, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		told += k
	}
	t.Logf("%d requests in %v: %d lines in full, %d told of", n, took, full, told)
	if full+told != n {
		t.Errorf("the log accounts for %d and %d failures, want %d in all\n%s", full, told, n, tail(log, 1000))
	}
	if most := 21 + int(10*took.Seconds()); full < 20 || full > most {
		t.Errorf("%d lines in full, want 20 to %d", full, most)
	}
	if access := strings.Count(log, "msg=request "); access != n {
		t.Errorf("%d access lines, want %d", access, n)
	}
}
