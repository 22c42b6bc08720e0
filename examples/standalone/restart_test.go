package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// result is what one visitor got.
type result struct {
	status int
	err    error
	at     time.Duration // since the first
	took   time.Duration
}

// visitors asks for pages that nobody has asked for before, so many per second,
// until the end of d.
func visitors(t *testing.T, url string, perSecond int, d time.Duration) []result {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	var (
		mu  sync.Mutex
		all []result
		wg  sync.WaitGroup
	)
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; time.Since(began) < d; i++ {
		<-tick.C
		wg.Go(func() {
			start := time.Now()
			a := result{at: start.Sub(began)}
			res, err := client.Get(fmt.Sprintf("%s/page/%d", url, i))
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
	wg.Wait()
	return all
}

// The only backend is gone for a second and a half: visitors wait, and nobody
// learns of it. With the flag switched off they do.
func TestRestartOfTheOnlyBackend(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		fail bool
	}{
		{"by default", nil, false},
		{"with a health check", []string{"-health", "/health"}, false},
		{"switched off", []string{"-restart-wait", "0"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newIll(t)
			p := start(t, append([]string{"-backend", "http://" + o.addr}, tt.args...)...)
			done := make(chan []result)
			go func() { done <- visitors(t, p.site, 60, 4*time.Second) }()
			pause := time.NewTimer(time.Second)
			<-pause.C
			again := o.refuse(t)
			pause.Reset(1500 * time.Millisecond)
			<-pause.C
			again()
			all := <-done
			bad := slices.DeleteFunc(slices.Clone(all), func(a result) bool { return a.err == nil && a.status == http.StatusOK })
			waited := slices.DeleteFunc(slices.Clone(all), func(a result) bool { return a.took < 100*time.Millisecond })
			t.Logf("%d visitors, %d waited, %d were failed", len(all), len(waited), len(bad))
			switch {
			case tt.fail && len(bad) == 0:
				t.Error("nobody was failed although nobody waits")
			case !tt.fail && len(bad) > 0:
				t.Errorf("failed: %+v", bad)
			case !tt.fail && len(waited) == 0:
				t.Error("nobody waited: was it down at all?")
			}
		})
	}
}

// The site takes two requests at once and two more may wait for a moment.
func TestQueueFlags(t *testing.T) {
	o := newIll(t)
	o.mode = "stall"
	p := start(t, "-backend", "http://"+o.addr, "-max-in-flight", "2", "-queue", "2", "-queue-wait", "300ms", "-first-byte", "4s")
	var wg sync.WaitGroup
	var mu sync.Mutex
	causes := map[string]int{}
	for i := range 8 {
		wg.Go(func() {
			res, err := http.Get(fmt.Sprintf("%s/%d", p.site, i))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
			_, cause, _ := strings.Cut(res.Header.Get("Proxy-Status"), "cause=")
			cause, _, _ = strings.Cut(cause, ";")
			mu.Lock()
			defer mu.Unlock()
			causes[fmt.Sprint(res.StatusCode, " ", cause)]++
		})
	}
	wg.Wait()
	want := map[string]int{"504 first_byte_timeout": 2, "503 queue_timeout": 2, "503 queue_full": 4}
	if fmt.Sprint(causes) != fmt.Sprint(want) {
		t.Errorf("answers %v, want %v", causes, want)
	}
}

// The admin address shows the endpoints.
func TestBackendsPage(t *testing.T) {
	o := newIll(t)
	p := start(t, "-backend", "http://"+o.addr, "-backend", "http://127.0.0.1:1", "-health", "/health", "-balance", "round_robin")
	for i := range 4 {
		if got := get(t, http.DefaultClient, fmt.Sprintf("%s/%d", p.site, i)); got.StatusCode != http.StatusOK {
			t.Errorf("status %d, want 200", got.StatusCode)
		}
	}
	eventually(t, "the check has found out", func() bool {
		res, err := http.Get(p.admin + "/backends")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got := res.Header.Get("Content-Type"); got != "application/json" {
			t.Fatalf("Content-Type %q", got)
		}
		var page struct {
			Name      string
			Endpoints []struct {
				Name    string
				Healthy bool
				Reason  string
				Detail  string
			}
		}
		if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
			t.Fatal(err)
		}
		if page.Name != "site" || len(page.Endpoints) != 2 {
			t.Fatalf("page %+v, want the two endpoints of site", page)
		}
		good, dead := page.Endpoints[0], page.Endpoints[1]
		return good.Healthy && good.Name == o.addr && !dead.Healthy && dead.Reason == "endpoint_down" && strings.Contains(dead.Detail, "refused")
	})
	steer := func(endpoint, how string) (int, string) {
		t.Helper()
		res, err := http.PostForm(p.admin+"/backends", url.Values{"endpoint": {endpoint}, "steering": {how}})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	if status, body := steer(o.addr, "force-down"); status != http.StatusOK {
		t.Errorf("force-down: %d %s", status, body)
	}
	if got := get(t, http.DefaultClient, p.site+"/steered"); got.StatusCode != http.StatusServiceUnavailable && got.StatusCode != http.StatusBadGateway {
		t.Errorf("with the good endpoint forced down: status %d", got.StatusCode)
	}
	if status, body := steer(o.addr, "automatic"); status != http.StatusOK {
		t.Errorf("automatic: %d %s", status, body)
	}
	if got := get(t, http.DefaultClient, p.site+"/back"); got.StatusCode != http.StatusOK {
		t.Errorf("after force-down: status %d, want 200", got.StatusCode)
	}
	if status, body := steer("nobody", "drain"); status != http.StatusBadRequest || !strings.Contains(body, o.addr) {
		t.Errorf("unknown endpoint: %d %s, want 400 and the names that there are", status, body)
	}
	if status, body := steer(o.addr, "away"); status != http.StatusBadRequest || !strings.Contains(body, "drain") {
		t.Errorf("unknown steering: %d %s, want 400 and what there is", status, body)
	}
}
