package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// told is what one request of a flow was told.
type told struct {
	at, took   time.Duration // at is since the flow began
	status     int           // 0: no answer
	retryAfter int           // in s; -1: none
	cause      string        // of Proxy-Status
}

// flowPages makes every page one that nobody has asked for before.
var flowPages atomic.Int64

// flow sends requests over so many connections that stay open, perSecond of them
// over all, each at its time if its connection is free by then, and left out where
// that is long past. extra gives a connection's requests further header lines.
func flow(t *testing.T, url string, conns, perSecond int, d time.Duration, extra func(conn int) string) []told {
	t.Helper()
	addr := hostOf(t, url)
	gap := time.Second / time.Duration(perSecond)
	each := make([][]told, conns)
	var wg sync.WaitGroup
	began := time.Now()
	for i := range conns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(began.Add(d + patience))
			br := bufio.NewReader(conn)
			wait := time.NewTimer(0)
			defer wait.Stop()
			for n := i; ; n += conns {
				due := time.Duration(n) * gap
				if due >= d {
					return
				}
				late := time.Since(began) - due
				if late > 300*time.Millisecond {
					continue
				}
				wait.Reset(-late)
				<-wait.C
				at := time.Since(began)
				a := told{at: at, retryAfter: -1}
				fmt.Fprintf(conn, "GET /flow/%d HTTP/1.1\r\nHost: site.example\r\n%s\r\n", flowPages.Add(1), extra(i))
				res, err := http.ReadResponse(br, nil)
				if err == nil {
					_, err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				if err != nil {
					t.Errorf("at %v: %v", at, err)
					return
				}
				a.took, a.status = time.Since(began)-at, res.StatusCode
				if _, a.cause, _ = strings.Cut(res.Header.Get("Proxy-Status"), "cause="); a.cause != "" {
					a.cause, _, _ = strings.Cut(a.cause, ";")
				}
				if after := res.Header.Get("Retry-After"); after != "" {
					if a.retryAfter, err = strconv.Atoi(after); err != nil || a.retryAfter < 1 {
						t.Errorf("Retry-After is %q", after)
					}
				}
				each[i] = append(each[i], a)
			}
		})
	}
	wg.Wait()
	return slices.Concat(each...)
}

func nothing(int) string { return "" }

// abuse is how twenty clients fared that ask five times a second each, beside one that
// asks 1,500 times, of a site that can do 300.
type abuse struct {
	offered float64 // by the abuser, per second
	got     int     // pages that it got
	asked   int     // by the others
	served  float64 // the share of those that were answered in time
	causes  map[string]int
}

const (
	abuseLasts = 4 * time.Second
	abusive    = 1500
)

func abused(t *testing.T, args ...string) *abuse {
	t.Helper()
	const (
		normal   = 20
		patience = 2 * time.Second
	)
	p := start(t, append([]string{"-backend", crew(t, 15, 50*time.Millisecond), "-trusted-proxy", "127.0.0.0/8"}, args...)...)
	a := &abuse{causes: map[string]int{}}
	var abuser []told
	var wg sync.WaitGroup
	wg.Go(func() {
		abuser = flow(t, p.site, 900, abusive, abuseLasts, func(int) string { return "X-Forwarded-For: 203.0.113.7\r\n" })
	})
	others := flow(t, p.site, normal, normal*5, abuseLasts, func(conn int) string {
		return fmt.Sprintf("X-Forwarded-For: 198.51.100.9, 192.0.2.%d\r\n", conn+1)
	})
	wg.Wait()
	well := 0
	for _, o := range others {
		if o.status == http.StatusOK && o.took < patience {
			well++
		} else {
			a.causes[fmt.Sprint(o.status, o.cause)]++
		}
	}
	for _, o := range abuser {
		if o.status == http.StatusOK {
			a.got++
		}
	}
	a.asked, a.served = len(others), float64(well)/float64(max(1, len(others)))
	a.offered = float64(len(abuser)) / abuseLasts.Seconds()
	t.Logf("the abuser asked %.0f times a second and got %d pages; of %d requests of the others %.1f %% were answered (else %v)",
		a.offered, a.got, a.asked, 100*a.served, a.causes)
	return a
}

// With a limit the twenty don't notice. Without, they do. What a busy machine keeps
// this test from asking is no fault; there must be abuse all the same.
func TestAbuser(t *testing.T) {
	t.Run("with a limit", func(t *testing.T) {
		a := abused(t, "-rate", "20/s", "-burst", "40")
		if a.offered < 600 || a.asked < 40 {
			t.Errorf("%.0f requests a second are no abuse, %d of others no measure: 1500 and 400 were wanted", a.offered, a.asked)
		}
		if a.served < 0.995 {
			t.Errorf("%.2f %% of the normal requests were answered, want at least 99.5", 100*a.served)
		}
	})
	t.Run("without", func(t *testing.T) {
		if a := abused(t, "-shed", "off"); a.served > 0.9 {
			t.Errorf("%.2f %% of the normal requests were answered without a limit: the load is none", 100*a.served)
		}
	})
}

// ills are endpoints of one site.
type ills []*ill

func newIlls(t *testing.T, n int) (ills, []string) {
	var all ills
	var args []string
	for range n {
		o := newIll(t)
		all, args = append(all, o), append(args, "-backend", "http://"+o.addr)
	}
	return all, args
}

// fail is ill.fail for all of them. What they were asked before is forgotten.
func (all ills) fail(t *testing.T, mode string) (cure func()) {
	cures := make([]func(), 0, len(all))
	for _, o := range all {
		cures = append(cures, o.fail(t, mode))
	}
	return func() {
		for _, cure := range cures {
			cure()
		}
	}
}

// arrivals are the times at which it was asked since, in their order.
func (o *ill) arrivals(since time.Time) []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []time.Duration
	for _, at := range o.asked {
		for _, t := range at {
			all = append(all, t.Sub(since))
		}
	}
	slices.Sort(all)
	return all
}

func between(sorted []time.Duration, from, to time.Duration) int {
	a, _ := slices.BinarySearch(sorted, from)
	b, _ := slices.BinarySearch(sorted, to)
	return b - a
}

var attemptsLine = regexp.MustCompile(`holdfast_backend_attempts_total\{[^}]*endpoint="[^"]+"[^}]*\} (\d+)`)

// attempts is how many times an endpoint was tried, after the metrics.
func (p *process) attempts(t *testing.T) (n int) {
	for _, m := range attemptsLine.FindAllStringSubmatch(get(t, http.DefaultClient, p.admin+"/metrics").body, -1) {
		one, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		n += one
	}
	return n
}

// A dead site is asked by trials only; who is turned away is told why and until
// when; that it is well is noticed, and then it is not overrun.
func TestDeadBackend(t *testing.T) {
	const (
		open      = time.Second // and as long a ramp: the default
		perSecond = 400
		dead      = 6 * time.Second
		watched   = 2 * time.Second // of that, at its end
		slice     = open / 10
	)
	for _, n := range []int{1, 3} {
		for _, mode := range []string{"refused", "500"} {
			t.Run(fmt.Sprintf("%s, %d endpoints", mode, n), func(t *testing.T) {
				sites, args := newIlls(t, n)
				p := start(t, args...)
				flow(t, p.site, 100, perSecond, time.Second, nothing)

				cure := sites.fail(t, mode)
				began := time.Now()
				var before int
				var wg sync.WaitGroup
				wg.Go(func() {
					<-time.After(dead - watched)
					before = p.attempts(t)
				})
				ill := flow(t, p.site, 100, perSecond, dead, nothing)
				wg.Wait()
				trials := p.attempts(t) - before
				// Of each endpoint three trials at once, and a round each 0.8 s at most.
				if trials > n*9 {
					t.Errorf("%d attempts within %v at endpoints that are dead, want trials alone", trials, watched)
				}
				refusal := "breaker_open"
				if n > 1 {
					refusal = "no_endpoint"
				}
				asked := make([][]time.Duration, n)
				for i, o := range sites {
					asked[i] = o.arrivals(began)
				}
				var refused, untimed, wrong, untrue int
				for _, a := range ill {
					switch {
					case a.at < dead-watched: // it has opened by then, and nobody waits any more
						continue
					case a.cause != refusal:
						wrong++
						continue
					}
					refused++
					if a.status != http.StatusServiceUnavailable || a.took > open {
						t.Errorf("at %v: %+v, want 503 at once", a.at, a)
					}
					if a.retryAfter < 0 {
						untimed++
						continue
					}
					if mode == "500" && n == 1 { // a trial can be seen
						next, _ := slices.BinarySearch(asked[0], a.at+a.took)
						if next == len(asked[0]) {
							continue
						}
						fits := func(trial time.Duration) bool {
							off := time.Duration(a.retryAfter)*time.Second - (trial - a.at)
							return off >= -time.Second && off <= 1500*time.Millisecond
						}
						// While a trial is on its way to the site the next one is told of.
						soon := asked[0][next]-a.at-a.took < 500*time.Millisecond && next+1 < len(asked[0])
						if told := fits(asked[0][next]) || soon && fits(asked[0][next+1]); !told {
							untrue++
						}
					}
					if a.retryAfter > 2 {
						t.Errorf("at %v: Retry-After is %d, and no breaker is open for longer than 1.2s", a.at, a.retryAfter)
					}
				}
				t.Logf("dead: %d attempts in %v; %d refused, of them %d without a time; %d told another cause; %d told a wrong time", trials, watched, refused, untimed, wrong, untrue)
				if refused < perSecond || wrong > trials+n*9 || untimed > refused/10 || untrue > refused/50 {
					t.Errorf("%d refused, %d of them without a time, %d with a wrong one, %d told another cause; want nearly all refused, and told the time", refused, untimed, untrue, wrong)
				}

				for _, o := range sites {
					o.mu.Lock()
					clear(o.asked)
					o.mu.Unlock()
				}
				cure()
				began = time.Now()
				well := flow(t, p.site, 100, perSecond, 5*open, nothing)
				slices.SortFunc(well, func(a, b told) int { return int(a.at - b.at) })
				first, last := -1, 0
				for i, a := range well {
					if a.status == http.StatusOK && first < 0 {
						first = i
					}
					if a.status != http.StatusOK {
						last = i
					}
				}
				if first < 0 {
					t.Fatal("that the site is well was never noticed")
				}
				if noticed := well[first].at; noticed > open*12/10+time.Second {
					t.Errorf("that the site is well was noticed after %v, want at most %v", noticed, open*12/10+time.Second)
				}
				if well[last].at > 4*open {
					t.Errorf("%v after the cure a visitor was told %d %s", well[last].at, well[last].status, well[last].cause)
				}
				for _, a := range well[first:last] {
					if a.status != http.StatusOK && a.cause != refusal {
						t.Errorf("while it recovers: %+v", a)
					}
					// Everybody is admitted when the ramp is over.
					off := time.Duration(a.retryAfter)*time.Second - (well[last].at - a.at)
					if n == 1 && a.status != http.StatusOK && a.retryAfter >= 0 && (off < -time.Second || off > 1500*time.Millisecond) {
						t.Errorf("at %v: Retry-After is %d, and the last was refused at %v", a.at, a.retryAfter, well[last].at)
					}
				}
				var all []time.Duration
				for i, o := range sites {
					asked[i] = o.arrivals(began)
					all = append(all, asked[i]...)
				}
				slices.Sort(all)
				from := all[0]
				var shown []int
				for at := from; at < from+open+5*slice; at += slice {
					shown = append(shown, between(all, at, at+slice))
				}
				const full = int(perSecond * open / time.Second)
				early, late := between(all, from, from+open/2), between(all, from+open/2, from+open)
				t.Logf("noticed after %v, everybody admitted after %v; arrivals per %v: %v", well[first].at, well[last].at, slice, shown)
				// A quarter of a half, and what each is always sent; three quarters.
				if most := full/8 + n*35; early > most || early >= late || n == 1 && early*3/2 > late {
					t.Errorf("%d arrived in the first half of the ramp and %d in the second, want at most %d, and growth", early, late, most)
				}
			})
		}
	}
}

// All endpoints answer 503, and their health checks find them well: what visitors
// ask for is not multiplied.
func TestAllUnavailable(t *testing.T) {
	const perSecond = 100
	for _, tt := range []struct {
		mode string
		args []string
	}{
		{"503", nil},
		{"503 later", nil}, // they say when to come again
		{"503", []string{"-breaker-min", "1000000"}},
		{"503 later", []string{"-breaker-min", "1000000"}},
	} {
		t.Run(strings.TrimSpace(tt.mode+" "+strings.Join(tt.args, " ")), func(t *testing.T) {
			t.Parallel()
			sites, args := newIlls(t, 3)
			p := start(t, slices.Concat(args, []string{"-health", "/health"}, tt.args)...)
			flow(t, p.site, 50, perSecond, time.Second, nothing)
			sites.fail(t, tt.mode)
			began := time.Now()
			all := flow(t, p.site, 50, perSecond, 4*time.Second, nothing)
			asked := 0
			for _, o := range sites {
				asked += len(o.arrivals(began))
			}
			causes := map[string]int{}
			for _, a := range all {
				causes[a.cause]++
				if a.status != http.StatusServiceUnavailable {
					t.Errorf("at %v: %+v, want 503", a.at, a)
				}
			}
			t.Logf("%d requests made %d at the endpoints; told %v", len(all), asked, causes)
			if asked*10 > len(all)*13 || causes["upstream_5xx"] == 0 {
				t.Errorf("%d requests made %d at the endpoints, want at most 1.3 times as many", len(all), asked)
			}
			if body := get(t, http.DefaultClient, p.admin+"/readyz").body; strings.Contains(body, "endpoint_down") {
				t.Errorf("the checks find them down: the test shows nothing\n%s", body)
			}
		})
	}
}
