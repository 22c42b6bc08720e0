package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A backend that accepts everything and answers nothing: the breaker opens by calls
// that none of them has ended, and from then on visitors are answered at once.
// Well again, it is found within seconds.
func TestStalledBackend(t *testing.T) {
	const firstByte = 8 * time.Second
	o := newIll(t)
	p := start(t, "-backend", "http://"+o.addr, "-first-byte", firstByte.String(),
		"-breaker-slow", "1s", "-breaker-window", "10s", "-breaker-min", "10")
	cure := o.fail(t, "stall")
	all := visitors(t, p.site, 40, 5*time.Second)
	var early, late, quick int
	for _, a := range all {
		switch {
		case a.err != nil || a.status < 500:
			t.Errorf("at %v: status %d, error %v after %v; want to be told that it failed", a.at, a.status, a.err, a.took)
		case a.at < 2*time.Second:
			early++
		default:
			late++
			if a.took < firstByte/4 {
				quick++
			}
		}
	}
	o.mu.Lock()
	asked := len(o.asked)
	o.mu.Unlock()
	t.Logf("%d visitors in the first 2 s; later %d of %d answered in under %v; the backend was asked %d times", early, quick, late, firstByte/4, asked)
	if quick < late*9/10 {
		t.Errorf("%d of %d visitors were answered quickly once the breaker had opened, want nearly all", quick, late)
	}
	if asked > len(all)*2/3 {
		t.Errorf("a backend that answers nothing was asked %d times by %d visitors", asked, len(all))
	}
	cure()
	began := time.Now()
	eventually(t, "the site is found well again", func() bool {
		return get(t, http.DefaultClient, p.site+"/well").StatusCode == http.StatusOK
	})
	t.Logf("found well after %v", time.Since(began))
}

// What is dry decides and tells, and no visitor sees anything of it.
func TestDryRun(t *testing.T) {
	o := newIll(t)
	o.mode = "503"
	p := start(t, "-backend", "http://"+o.addr, "-rate", "1/h", "-burst", "1", "-breaker-min", "2", "-dry-run", "rate,breaker,eject")
	c := newClient(t)
	for i := range 10 {
		r := get(t, c, fmt.Sprintf("%s/%d", p.site, i))
		if r.StatusCode != http.StatusServiceUnavailable || r.body != "broken" || r.Header.Get("Retry-After") != "" || r.Header.Get("Ratelimit") != "" {
			t.Errorf("visitor %d: %s %q %v, want the origin's own answer", i, r.Status, r.body, r.Header)
		}
	}
	o.mu.Lock()
	asked := len(o.asked)
	o.mu.Unlock()
	if asked != 10 {
		t.Errorf("the origin was asked for %d pages, want all 10", asked)
	}
	metrics := get(t, c, p.admin+"/metrics").body
	for _, want := range []string{`holdfast_breaker_changes_total{breaker="` + o.addr + `",`, `holdfast_ratelimit_decisions_total{`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	p.drained(t)
	if log := p.stderr.String(); !strings.Contains(log, "breaker changed") || !strings.Contains(log, "dry_run=true") {
		t.Errorf("the log does not tell of the dry run:\n%s", tail(log, 2000))
	}
}
