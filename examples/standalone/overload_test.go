package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crew is a site with so many workers, each of which takes so long for a page, and a
// line before them that has no end.
func crew(t *testing.T, workers int, service time.Duration) string {
	t.Helper()
	hands, closing := make(chan struct{}, workers), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case hands <- struct{}{}: // whether or not somebody still waits for the page
		case <-closing:
			return
		}
		defer func() { <-hands }()
		done := time.NewTimer(service)
		defer done.Stop()
		<-done.C
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "page")
	}))
	t.Cleanup(func() {
		close(closing)
		s.Close()
	})
	return s.URL
}

// crowd has requests come at a rate, whether or not earlier ones were answered, each
// of which leaves after patience.
func crowd(t *testing.T, url string, perSecond int, d, patience time.Duration) []result {
	t.Helper()
	transport := &http.Transport{MaxIdleConns: 2000, MaxIdleConnsPerHost: 2000}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var (
		mu  sync.Mutex
		all []result
		wg  sync.WaitGroup
	)
	began := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; time.Since(began) < d; {
		<-tick.C
		for due := int(time.Since(began).Seconds() * float64(perSecond)); n < due; n++ {
			page := fmt.Sprintf("%s/page/%d", url, n)
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				start := time.Now()
				a := result{at: start.Sub(began)}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
				if err != nil {
					t.Error(err)
					return
				}
				res, err := client.Do(req)
				if a.err = err; err == nil {
					_, a.err = io.Copy(io.Discard, res.Body)
					res.Body.Close()
					a.status = res.StatusCode
				}
				a.took = time.Since(start)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, a)
			})
		}
	}
	wg.Wait()
	return all
}

// idle asks a server that does nothing, all the time, until it is called: it returns
// what that took.
func idle(t *testing.T) func() []time.Duration {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	stop, done := make(chan struct{}), make(chan []time.Duration, 1)
	go func() {
		var all []time.Duration
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-stop:
				done <- all
				return
			}
			start := time.Now()
			if res, err := s.Client().Get(s.URL); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				all = append(all, time.Since(start))
			}
		}
	}()
	ended := sync.OnceValue(func() []time.Duration {
		close(stop)
		all := <-done
		s.Close()
		return all
	})
	t.Cleanup(func() { ended() })
	return ended
}

// percentile of durations; 0 if there are none.
func percentile(all []time.Duration, share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(share*float64(len(all))))]
}

// overload is how a crowd fared at a site of which more was wanted than it can do.
type overload struct {
	share                    float64 // of the capacity that was useful
	admitted, atOnce, queued []time.Duration
}

func (o *overload) String() string {
	return fmt.Sprintf("goodput %.0f %% of capacity; admitted p99 %v; %d refused at once, p99 %v; %d after a wait, p99 %v", o.share*100,
		percentile(o.admitted, 0.99), len(o.atOnce), percentile(o.atOnce, 0.99), len(o.queued), percentile(o.queued, 0.99))
}

// workforce is what a site can do: so many workers, each of which takes so long.
type workforce struct {
	workers int
	service time.Duration
}

func (f workforce) capacity() int { return f.workers * int(time.Second/f.service) }

// The time that an overloaded site has to find its limit, and for which it is looked
// at then; and how long a request waits in line.
const (
	overloadFinds  = 3 * time.Second
	overloadLasts  = 4 * time.Second
	overloadInLine = 250 * time.Millisecond
)

// overloaded has three times as much wanted of the proxy's site as it can do, by
// clients that leave after a second.
func overloaded(t *testing.T, p *process, site workforce) *overload {
	t.Helper()
	o := &overload{}
	useful := 0
	for _, a := range crowd(t, p.site, 3*site.capacity(), overloadFinds+overloadLasts, time.Second) {
		switch {
		case a.at < overloadFinds:
		case a.err == nil && a.status == http.StatusOK:
			useful++
			o.admitted = append(o.admitted, a.took)
		case a.err == nil && a.status == http.StatusServiceUnavailable && a.took < overloadInLine*3/4:
			o.atOnce = append(o.atOnce, a.took)
		case a.err == nil && a.status == http.StatusServiceUnavailable:
			o.queued = append(o.queued, a.took)
		}
	}
	o.share = float64(useful) / (overloadLasts.Seconds() * float64(site.capacity()))
	return o
}

// A site of which three times as much is wanted as it can do goes on doing that, and
// the rest is turned away, most of it at once. Left alone it does nothing useful any
// more: whatever it answers, nobody waits for.
func TestOverload(t *testing.T) {
	site := workforce{10, 100 * time.Millisecond}
	for _, tt := range []struct {
		name string
		args []string
		well bool
	}{
		{"by default", []string{"-queue-wait", overloadInLine.String()}, true},
		{"with the capacity given", []string{"-queue-wait", overloadInLine.String(), "-max-in-flight", "10"}, true},
		{"without", []string{"-shed", "off"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, append([]string{"-backend", crew(t, site.workers, site.service)}, tt.args...)...)
			control := idle(t)
			o := overloaded(t, p, site)
			t.Log(o)
			if !tt.well {
				if o.share > 0.5 {
					t.Errorf("goodput is %.0f %% without protection: the load is none", o.share*100)
				}
				return
			}
			if o.share < 0.85 {
				t.Errorf("goodput is %.0f %% of the capacity, want at least 85", o.share*100)
			}
			if len(o.atOnce) == 0 {
				t.Error("nobody was turned away at once")
			}
			// What takes no time at all, from an address of its own, shows how busy the
			// machine is beside this test.
			noise := 10 * percentile(control(), 0.99)
			if p99 := percentile(o.atOnce, 0.99); p99 > 50*time.Millisecond+noise {
				t.Errorf("p99 of those turned away at once is %v, want under 50 ms and %v for a busy machine", p99, noise)
			}
			if p99 := percentile(o.queued, 0.99); p99 > overloadInLine+50*time.Millisecond+noise {
				t.Errorf("p99 of those turned away later is %v, want under %v and %v for a busy machine", p99, overloadInLine+50*time.Millisecond, noise)
			}
			if p99 := percentile(o.admitted, 0.99); p99 > overloadInLine+3*site.service+noise {
				t.Errorf("p99 of the admitted is %v, want under %v and %v for a busy machine", p99, overloadInLine+3*site.service, noise)
			}
		})
	}
}

// Requests that are merely held are no overload: by default none of them is turned
// away, nor a quick one among them.
func TestHeldIsNoOverload(t *testing.T) {
	var n atomic.Int64
	closing := make(chan struct{})
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		service := 20 * time.Millisecond
		if n.Add(1)%10 == 0 {
			service = 3 * time.Second
		}
		done := time.NewTimer(service)
		defer done.Stop()
		select {
		case <-done.C:
		case <-closing:
		}
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "page")
	}))
	t.Cleanup(func() {
		close(closing)
		site.Close()
	})
	p := start(t, "-backend", site.URL)
	all := crowd(t, p.site, 300, 7*time.Second, 30*time.Second)
	bad := 0
	for _, a := range all {
		if a.err != nil || a.status != http.StatusOK {
			bad++
		}
	}
	if bad > 0 || len(all) < 1500 {
		t.Errorf("%d of %d requests were not answered, want none of 1500 and more", bad, len(all))
	}
}
