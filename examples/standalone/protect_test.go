package main

import (
	"net/http"
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
