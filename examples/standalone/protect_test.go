package main

import (
	"fmt"
	"net/http"
	"strconv"
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

// Without -breaker-slow it takes a third of -first-byte of silence. No more are in
// flight than came by then.
func TestStalledBackendByDefault(t *testing.T) {
	t.Parallel()
	const (
		silent    = 3 * time.Second
		perSecond = 40
		lasts     = 8 * time.Second
	)
	o := newIll(t)
	p := start(t, "-backend", "http://"+o.addr, "-first-byte", (3 * silent).String())
	flow(t, p.site, 10, perSecond, time.Second, nothing)
	cure := o.fail(t, "stall")
	all := flow(t, p.site, 600, perSecond, lasts, nothing)
	var late, quick int
	for _, a := range all {
		if a.status < 500 {
			t.Errorf("%+v, want to be told that it failed", a)
		}
		if a.at > silent+2*time.Second {
			late++
			if a.cause == "breaker_open" && a.took < silent/2 {
				quick++
			}
		}
	}
	asked := len(o.arrivals(time.Now()))
	t.Logf("%d of %d asked the site; after %v %d of %d were answered at once", asked, len(all), silent+2*time.Second, quick, late)
	// What came in the silence, while twenty more made up the breaker's mind, and
	// in a second for a busy machine; and trials.
	if most := perSecond*int(silent/time.Second) + 20 + perSecond + 32 + 9; asked > most {
		t.Errorf("%d were in flight at a site that is silent, want at most %d", asked, most)
	}
	if quick < late*8/10 {
		t.Errorf("%d of %d visitors were answered quickly once the breaker had opened, want nearly all", quick, late)
	}
	cure()
	eventually(t, "the site is found well again", func() bool {
		return get(t, http.DefaultClient, fmt.Sprint(p.site, "/well/", flowPages.Add(1))).StatusCode == http.StatusOK
	})
}

// A site whose pages all take longer than that is left alone, also by a crowd: once
// it has shown that it is slow.
func TestSlowSiteByDefault(t *testing.T) {
	t.Parallel()
	p := start(t, "-backend", crew(t, 1000, 4*time.Second), "-first-byte", "9s")
	one := flow(t, p.site, 1, 1, time.Second, nothing)
	for _, a := range append(one, flow(t, p.site, 300, 50, 3*time.Second, nothing)...) {
		if a.status != http.StatusOK {
			t.Errorf("%+v, want the page", a)
		}
	}
	if n := p.sum(t, "holdfast_breaker_changes_total"); n != 0 {
		t.Errorf("the breaker changed %v times", n)
	}
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

// sum adds up a metric's samples whose labels have all of these.
func (p *process) sum(t *testing.T, metric string, labels ...string) (sum float64) {
	t.Helper()
	for line := range strings.Lines(get(t, http.DefaultClient, p.admin+"/metrics").body) {
		rest, ok := strings.CutPrefix(line, metric+"{")
		if !ok {
			continue
		}
		have, value, ok := strings.Cut(rest, "} ")
		for _, l := range labels {
			ok = ok && strings.Contains(","+have+",", ","+l+",")
		}
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// With every policy dry, visitors of a failing site get what they would get without
// any, all of it from the site; and what would have been done is in metrics and log.
func TestDryRunTells(t *testing.T) {
	t.Run("an endpoint fails", func(t *testing.T) {
		t.Parallel()
		sites, args := newIlls(t, 3)
		sites[:1].fail(t, "500")
		p := start(t, append(args, "-rate", "1/h", "-burst", "1", "-breaker-min", "5", "-retries", "0", "-balance", "round-robin", "-dry-run", "rate,breaker,eject")...)
		began := time.Now()
		const perSecond, seconds = 100, 3
		all := flow(t, p.site, 20, perSecond, seconds*time.Second, nothing)
		failed, asked := 0, 0
		for _, a := range all {
			switch {
			case a.status == http.StatusInternalServerError && a.cause == "upstream_5xx" && a.retryAfter < 0:
				failed++
			case a.status != http.StatusOK || a.cause != "":
				t.Errorf("at %v: %+v, want the site's own answer", a.at, a)
			}
		}
		for _, o := range sites {
			n := len(o.arrivals(began))
			asked += n
			if n < len(all)/4 {
				t.Errorf("an endpoint was asked %d times of %d, though nothing may keep it out", n, len(all))
			}
		}
		if n := len(sites[0].arrivals(began)); asked != len(all) || n != failed {
			t.Errorf("%d requests, and %d reached the site; %d of them the endpoint that fails, and %d failed", len(all), asked, n, failed)
		}
		if n := p.sum(t, "holdfast_ratelimit_limited_total", `dry_run="true"`); int(n) != len(all)-1 {
			t.Errorf("%v would have been limited after the metrics, want all of %d but one", n, len(all))
		}
		for _, metric := range []string{"holdfast_breaker_refused_total", "holdfast_breaker_changes_total", "holdfast_backend_ejections_total"} {
			if n := p.sum(t, metric, `dry_run="true"`); n == 0 {
				t.Errorf("%s tells of no dry run", metric)
			}
		}
		for _, metric := range []string{
			"holdfast_ratelimit_limited_total", "holdfast_breaker_refused_total", "holdfast_breaker_changes_total", "holdfast_backend_ejections_total", "holdfast_shed_total",
		} {
			if n := p.sum(t, metric, `dry_run="false"`); n != 0 {
				t.Errorf("%s tells of %v that were done", metric, n)
			}
		}
		p.drained(t)
		for _, want := range []string{"would limit", "would refuse", "breaker changed", "dry_run=true"} {
			if !strings.Contains(p.stderr.String(), want) {
				t.Errorf("the log does not say %q", want)
			}
		}
	})
	t.Run("a site with too much to do", func(t *testing.T) {
		t.Parallel()
		p := start(t, "-backend", crew(t, 10, 50*time.Millisecond), "-shed", "adaptive", "-dry-run", "shed")
		all := flow(t, p.site, 1200, 600, 4*time.Second, nothing)
		for _, a := range all {
			if a.status != http.StatusOK {
				t.Errorf("at %v: %+v, want the page", a.at, a)
			}
		}
		would := p.sum(t, "holdfast_shed_total", `dry_run="true"`)
		t.Logf("of %d requests %v would have been turned away", len(all), would)
		if did := p.sum(t, "holdfast_shed_total", `dry_run="false"`); would == 0 || did != 0 {
			t.Errorf("%v would have been turned away and %v were, want some and none", would, did)
		}
		p.drained(t)
		if !strings.Contains(p.stderr.String(), "would shed") {
			t.Error("the log tells of nothing")
		}
	})
}
