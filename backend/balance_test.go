package backend

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var nothing = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// handlers are endpoints "e0", "e1" and so on, of the given weights.
func handlers(weights ...int) []Endpoint {
	var eps []Endpoint
	for i, w := range weights {
		eps = append(eps, Endpoint{Name: fmt.Sprintf("e%d", i), Handler: nothing, Weight: w})
	}
	return eps
}

// picks counts what n requests get, one after the other.
func picks(t testing.TB, s *state, q query, n int) map[string]int {
	t.Helper()
	got := make(map[string]int)
	for range n {
		ep, done, err := s.choose(q)
		if err != nil {
			t.Fatalf("choose: %v", err)
		}
		done.unused()
		ep.unused()
		got[ep.name]++
	}
	return got
}

func setDown(ep *endpoint) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	ep.health.up = false
	ep.down.Store(true)
}

func TestRank(t *testing.T) {
	for _, tt := range []struct {
		f            fitness
		alarm, other bool
		want         rank
	}{
		{0, false, false, rankFirst},
		{isBackup, false, false, rankBackup},
		{isHeld, false, false, rankHeld},
		{isBackup | isHeld, false, false, rankHeld + rankBackup},
		{isBarred, false, false, rankHeld},
		{isBarred | isHeld, false, false, rankHeld},
		{isTried, false, false, rankTried},
		{isTried, false, true, rankNone},
		{isTried | isHeld, false, false, rankTried + rankHeld},
		{isTroubled, false, false, rankNone},
		{isTroubled, true, false, rankFirst},
		{isTroubled | isBackup, true, false, rankBackup},
		{isTroubled | isConfirmed, false, false, rankNone},
		{isTroubled | isConfirmed, true, false, rankTrial},
		{isTroubled | isConfirmed | isBackup, true, false, rankTrial},
		{isTroubled | isConfirmed | isTried, true, false, rankNone},
		{isConfirmed, true, false, rankFirst}, // nobody objects
		{isOut, true, false, rankNone},
		{isOut | isTroubled, true, false, rankNone},
	} {
		if got := tt.f.rank(tt.alarm, tt.other); got != tt.want {
			t.Errorf("%06b, alarm %v, other %v: rank %d, want %d", tt.f, tt.alarm, tt.other, got, tt.want)
		}
	}
	for r := range rankNone + 1 {
		want := r == rankBackup || r == rankHeld+rankBackup || r == rankTried+rankBackup || r == rankTried+rankHeld+rankBackup
		if got := r.backup(); got != want {
			t.Errorf("rank %d: backup %v, want %v", r, got, want)
		}
	}
}

func TestPanicking(t *testing.T) {
	for _, tt := range []struct {
		usable, all int
		threshold   float64
		want        bool
	}{
		{3, 3, 0.25, false},
		{1, 3, 0.25, false},
		{1, 4, 0.25, false},
		{1, 5, 0.25, true},
		{0, 1, 0.25, true},
		{0, 3, 0.25, true},
		{0, 3, -1, false},
		{1, 5, -1, false},
		{0, 0, 0.25, false},
		{9, 10, 1, true},
		{10, 10, 1, false},
	} {
		if got := panicking(tt.usable, tt.all, tt.threshold); got != tt.want {
			t.Errorf("panicking(%d of %d, %v) = %v, want %v", tt.usable, tt.all, tt.threshold, got, tt.want)
		}
	}
}

func TestRamp(t *testing.T) {
	for _, tt := range []struct {
		age, slow time.Duration
		want      float64
	}{
		{0, 10, 0.1}, {1, 10, 0.1}, {5, 10, 0.5}, {9, 10, 0.9}, {10, 10, 1}, {11, 10, 1}, {0, 0, 1}, {5, 0, 1},
	} {
		if got := ramp(tt.age, tt.slow); got != tt.want {
			t.Errorf("ramp(%d, %d) = %v, want %v", tt.age, tt.slow, got, tt.want)
		}
	}
}

// Shares are exactly by weight, and spread evenly.
func TestRoundRobinShares(t *testing.T) {
	b := newBackend(t, Config{Endpoints: handlers(5, 1, 3, 1), Balance: RoundRobin})
	last, run := "", 0
	for range 100 {
		got := make(map[string]int)
		for range 10 {
			ep, _, err := b.now().choose(query{})
			if err != nil {
				t.Fatal(err)
			}
			ep.unused()
			got[ep.name]++
			if ep.name != last {
				last, run = ep.name, 0
			}
			if run++; run > 2 {
				t.Fatalf("%s has %d in a row", last, run)
			}
		}
		if got["e0"] != 5 || got["e1"] != 1 || got["e2"] != 3 || got["e3"] != 1 {
			t.Fatalf("shares = %v, want 5, 1, 3, 1", got)
		}
	}
}

func TestRoundRobinConcurrent(t *testing.T) {
	b := newBackend(t, Config{Endpoints: handlers(1, 2, 4), Balance: RoundRobin})
	var got [3]atomic.Int64
	var wg sync.WaitGroup
	for range 7 {
		wg.Go(func() {
			for range 500 {
				ep, _, err := b.now().choose(query{})
				if err != nil {
					t.Error(err)
					return
				}
				got[ep.name[1]-'0'].Add(1)
			}
		})
	}
	wg.Wait()
	if a, b, c := got[0].Load(), got[1].Load(), got[2].Load(); a != 500 || b != 1000 || c != 2000 {
		t.Errorf("shares = %d, %d, %d, want 500, 1000, 2000", a, b, c)
	}
}

// Who was out does not catch up.
func TestRoundRobinReturn(t *testing.T) {
	b := newBackend(t, Config{Endpoints: handlers(1, 1, 1), Balance: RoundRobin})
	if err := b.Steer("e1", Drain); err != nil {
		t.Fatal(err)
	}
	if got := picks(t, b.now(), query{}, 100); got["e0"] != 50 || got["e2"] != 50 {
		t.Errorf("shares = %v, want 50 each of e0 and e2", got)
	}
	if err := b.Steer("e1", Automatic); err != nil {
		t.Fatal(err)
	}
	if got := picks(t, b.now(), query{}, 9); got["e1"] < 2 || got["e1"] > 4 {
		t.Errorf("shares = %v, want 3 each within one", got)
	}
}

// near tells whether n of all is the share within six standard deviations.
func near(n, all int, share float64) bool {
	return math.Abs(float64(n)-share*float64(all)) <= 6*math.Sqrt(float64(all)*share*(1-share))
}

// Endpoints that do equally well share by weight.
func TestEqualShares(t *testing.T) {
	for _, policy := range []Balance{PowerOfTwo, LeastInFlight} {
		for _, weights := range [][]int{{1, 1}, {1, 1, 1}, {3, 1}, {1, 2, 5}, {0, 0, 0, 4}} {
			b := newBackend(t, Config{Endpoints: handlers(weights...), Balance: policy})
			sum := 0
			for _, w := range weights {
				sum += max(w, 1)
			}
			const n = 20000
			got := picks(t, b.now(), query{}, n)
			for i, w := range weights {
				if share := float64(max(w, 1)) / float64(sum); !near(got[fmt.Sprintf("e%d", i)], n, share) {
					t.Errorf("%v, weights %v: %v, want e%d to have %.3f", policy, weights, got, i, share)
				}
			}
		}
	}
}

// Requests that stay are spread by weight.
func TestInFlightShares(t *testing.T) {
	for _, policy := range []Balance{PowerOfTwo, LeastInFlight} {
		b := newBackend(t, Config{Endpoints: handlers(1, 2, 1), Balance: policy})
		s := b.now()
		const n = 400
		for range n {
			if _, _, err := s.choose(query{}); err != nil {
				t.Fatal(err)
			}
		}
		slack := int64(n / 10)
		if policy == LeastInFlight {
			slack = 1
		}
		for i, want := range []int64{n / 4, n / 2, n / 4} {
			if got := s.endpoints[i].inFlight.Load(); got < want-slack || got > want+slack {
				t.Errorf("%v: e%d has %d in flight, want %d within %d", policy, i, got, want, slack)
			}
			s.endpoints[i].inFlight.Store(0)
		}
	}
}

func TestTiers(t *testing.T) {
	eps := handlers(1, 1, 1, 1)
	eps[2].Backup, eps[3].Backup = true, true
	all := []string{"e0", "e1", "e2", "e3"}
	for _, tt := range []struct {
		name  string
		set   func(b *Backend, ep []*endpoint)
		tried []int
		other bool
		want  string // the names that are picked; "": none
	}{
		{"all is well", nil, nil, false, "e0 e1"},
		{"one is down", func(_ *Backend, ep []*endpoint) { setDown(ep[0]) }, nil, false, "e1"},
		{"all primaries are down", func(_ *Backend, ep []*endpoint) { setDown(ep[0]); setDown(ep[1]) }, nil, false, "e2 e3"},
		{"one is held", func(b *Backend, ep []*endpoint) { holdLong(ep[0]) }, nil, false, "e1"},
		{"all primaries are held", func(b *Backend, ep []*endpoint) { holdLong(ep[0]); holdLong(ep[1]) }, nil, false, "e2 e3"},
		{"all are held", func(b *Backend, ep []*endpoint) {
			for _, one := range ep {
				holdLong(one)
			}
		}, nil, false, "e0 e1"},
		{"one is tried", nil, []int{0}, false, "e1"},
		{"all primaries are tried", nil, []int{0, 1}, false, "e2 e3"},
		{"all are tried", nil, []int{0, 1, 2, 3}, false, "e0 e1"},
		{"all are tried, another is demanded", nil, []int{0, 1, 2, 3}, true, ""},
		{"forced down", func(b *Backend, ep []*endpoint) { ep[0].steering.Store(uint32(ForceDown)) }, nil, false, "e1"},
		{"drained", func(b *Backend, ep []*endpoint) { ep[0].steering.Store(uint32(Drain)) }, nil, false, "e1"},
		{"down and forced up", func(b *Backend, ep []*endpoint) {
			setDown(ep[0])
			ep[0].steering.Store(uint32(ForceUp))
		}, nil, false, "e0 e1"},
		{"all checks fail", func(b *Backend, ep []*endpoint) {
			for _, one := range ep {
				setDown(one)
			}
		}, nil, false, "e0 e1"},
		{"all checks fail, traffic agrees of one", func(b *Backend, ep []*endpoint) {
			for _, one := range ep {
				setDown(one)
			}
			kill(ep[0])
		}, nil, false, "e1"},
		{"all checks fail, traffic agrees of both primaries", func(b *Backend, ep []*endpoint) {
			for _, one := range ep {
				setDown(one)
			}
			kill(ep[0])
			kill(ep[1])
		}, nil, false, "e2 e3"},
		{"all are forced down or drained", func(b *Backend, ep []*endpoint) {
			for i, one := range ep {
				one.steering.Store(uint32([]Steering{ForceDown, Drain}[i%2]))
			}
		}, nil, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight, ConsistentHash} {
				b := newBackend(t, Config{Endpoints: eps, Balance: policy, HashKey: func(*http.Request) string { return "" }})
				s := b.now()
				if tt.set != nil {
					tt.set(b, s.endpoints)
				}
				var tried []*endpoint
				for _, i := range tt.tried {
					tried = append(tried, s.endpoints[i])
				}
				seen := make(map[string]bool)
				for i := range 200 {
					ep, _, err := s.choose(query{tried: tried, other: tt.other, hash: mix(uint64(i)), hashed: true})
					switch {
					case err == nil:
						ep.unused()
						seen[ep.name] = true
					case err.Cause != failure.NoEndpoint || !strings.Contains(err.Detail, "0 of 4 endpoints"):
						t.Fatalf("choose: %v, want no_endpoint", err)
					}
				}
				var got []string
				for _, name := range all {
					if seen[name] {
						got = append(got, name)
					}
				}
				if strings.Join(got, " ") != tt.want {
					t.Errorf("%v: picked %v, want %s", policy, got, tt.want)
				}
			}
		})
	}
}

func holdLong(ep *endpoint) { ep.heldUntil.Store(int64(time.Hour)) }

// kill has live traffic say that the endpoint is dead.
func kill(ep *endpoint) {
	ep.live.settled(&outcome{failure: &failure.Error{Cause: failure.ConnectTimeout}}, int64(time.Hour))
}

// Where all is dead by all evidence each endpoint is tried once a second, and
// the answer says why not.
func TestTrials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var attempts atomic.Int64
		dead := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			attempts.Add(1)
			panic("dead")
		})
		b, err := New(Config{Endpoints: []Endpoint{{Name: "a", Handler: dead}, {Name: "b", Handler: dead}}, Retries: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = b.Shutdown(context.Background()) }()
		for _, ep := range b.now().endpoints {
			setDown(ep)
		}
		// One attempt each was needed to find out.
		for range 20 {
			serveQuiet(b)
		}
		found := attempts.Load()
		if found < 2 || found > 4 {
			t.Errorf("%d attempts to find out, want 2 to 4", found)
		}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if ep, _, e := b.now().choose(query{}); e == nil {
				ep.unused()
			} else if e.Cause != failure.NoEndpoint || !strings.Contains(e.Detail, "a: endpoint_down") {
				t.Fatalf("refused with %v, want no_endpoint with both reasons", e)
			}
			serveQuiet(b)
		}
		// 10 s, twice a second at most: the direct choices take trials, too.
		if got := attempts.Load() - found; got > 21 {
			t.Errorf("%d attempts in 10 s at two dead endpoints, want at most 21", got)
		}
		// It is found alive by its next trial, and used at once.
		b.now().endpoints[0].live.answered(b.clock(time.Now()))
		if got := picks(t, b.now(), query{}, 50); got["a"] != 50 {
			t.Errorf("picked %v, want a alone", got)
		}
	})
}

// serveQuiet has b answer one request, whatever comes.
func serveQuiet(b *Backend) int {
	defer func() { _ = recover() }()
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w.Code
}

// Gates are asked after the pick; who is refused is replaced, and a permit that
// is not used goes back.
func TestGateRefusalsMoveOn(t *testing.T) {
	gates := map[string]*refusingGate{"e0": {refuse: true}, "e1": {}, "e2": {refuse: true}}
	eps := handlers(1, 1, 1)
	eps[1].Backup = true
	for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight} {
		b := newBackend(t, Config{Endpoints: eps, Balance: policy, NewGate: func(n string) Gate { return gates[n] }})
		if got := picks(t, b.now(), query{}, 50); got["e1"] != 50 {
			t.Errorf("%v: picked %v, want the backup alone", policy, got)
		}
	}
	unused := 0
	for _, err := range gates["e1"].results {
		if err == failure.ErrUnused { //nolint:errorlint // the value itself is what is specified
			unused++
		}
	}
	if unused != 150 {
		t.Errorf("%d permits came back unused, want 150", unused)
	}
}

// A primary that is merely full is not out: its backup stays unused, unless the
// request failed once already.
func TestFullPrimaryKeepsBackupsOut(t *testing.T) {
	eps := handlers(1, 1)
	eps[0].MaxInFlight, eps[1].Backup = 5, true
	b := newBackend(t, Config{Endpoints: eps})
	s := b.now()
	for range 5 {
		if ep, _, err := s.choose(query{}); err != nil || ep.name != "e0" {
			t.Fatalf("choose = %v, %v, want e0", ep, err)
		}
	}
	if ep, _, err := s.choose(query{}); err == nil || !strings.Contains(err.Detail, "5 of 5 requests in flight") || !strings.Contains(err.Detail, "e1: connection_limit (a backup") {
		t.Errorf("choose = %v, %v, want no_endpoint since the primary is full", ep, err)
	}
	other := &endpoint{}
	if ep, _, err := s.choose(query{tried: []*endpoint{other}}); err != nil || ep.name != "e1" {
		t.Errorf("choose after a failure = %v, %v, want the backup", ep, err)
	}
}

// An endpoint that came up gets a share that grows.
func TestSlowStart(t *testing.T) {
	for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight} {
		synctest.Test(t, func(t *testing.T) {
			b, err := New(Config{Endpoints: handlers(1, 1), Balance: policy, SlowStart: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = b.Shutdown(context.Background()) }()
			s := b.now()
			const n = 5000
			if got := picks(t, s, query{}, n)["e1"]; !near(got, n, 0.5) {
				t.Errorf("%v: %d of %d at the start of the process, want half", policy, got, n)
			}
			s.endpoints[1].warmUp(b)
			for _, step := range []struct {
				after time.Duration
				want  float64
			}{{0, 0.1 / 1.1}, {5 * time.Second, 1.0 / 3}, {5 * time.Second, 0.5}, {time.Hour, 0.5}} {
				time.Sleep(step.after)
				if got := picks(t, s, query{}, n)["e1"]; !near(got, n, step.want) {
					t.Errorf("%v: %d of %d after %v more, want %.2f", policy, got, n, step.after, step.want)
				}
			}
		})
	}
}

// Who joins others warms up; who was there from the start or stays does not, nor
// does one that the operator only drained.
func TestSlowStartWhen(t *testing.T) {
	b := newBackend(t, Config{Endpoints: handlers(1, 1)})
	warming := func() string {
		var names []string
		for _, ep := range b.now().endpoints {
			if ep.warmSince.Load() != 0 {
				names = append(names, ep.name)
			}
		}
		return strings.Join(names, " ")
	}
	for _, step := range []struct {
		name string
		do   func() error
		want string
	}{
		{"the start", func() error { return nil }, ""},
		{"the same again", func() error { return b.Update(Config{Endpoints: handlers(1, 5)}) }, ""},
		{"drained", func() error { return b.Steer("e0", Drain) }, ""},
		{"no more", func() error { return b.Steer("e0", Automatic) }, ""},
		{"another one", func() error { return b.Update(Config{Endpoints: handlers(1, 5, 1)}) }, "e2"},
		{"forced down", func() error { return b.Steer("e1", ForceDown) }, "e2"},
		{"up again", func() error { return b.Steer("e1", Automatic) }, "e1 e2"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := warming(); got != step.want {
			t.Errorf("after %s %q warm up, want %q", step.name, got, step.want)
		}
	}
}

// One of three endpoints is bad in some way; the simulation runs on a virtual
// clock.
func TestPowerOfTwoAvoids(t *testing.T) {
	answer := func(d time.Duration, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
			w.WriteHeader(status)
		}
	}
	for _, tt := range []struct {
		name string
		bad  http.HandlerFunc
		most int // of 3000 requests at the bad one
	}{
		{"slow", answer(time.Second, 200), 60},
		{"fails at once", answer(0, 500), 120},
		{"crashes at once", func(http.ResponseWriter, *http.Request) { panic("x") }, 120},
		{"hangs", answer(time.Hour, 200), 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hits [3]atomic.Int64
				var eps []Endpoint
				for i := range hits {
					h := answer(20*time.Millisecond, 200)
					if i == 1 {
						h = tt.bad
					}
					eps = append(eps, Endpoint{Name: fmt.Sprint(i), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						hits[i].Add(1)
						h(w, r)
					})})
				}
				b, err := New(Config{Endpoints: eps, Retries: -1})
				if err != nil {
					t.Fatal(err)
				}
				var wg sync.WaitGroup
				const n = 3000 // at 100 per second
				for range n {
					time.Sleep(10 * time.Millisecond)
					wg.Go(func() { serveQuiet(b) })
				}
				wg.Wait()
				if got := hits[1].Load(); got < 1 || got > int64(tt.most) {
					t.Errorf("%d of %d requests at the bad endpoint, want 1 to %d", got, n, tt.most)
				}
				if a, c := hits[0].Load(), hits[2].Load(); a < n/3 || c < n/3 {
					t.Errorf("%d and %d at the good ones, want half each", a, c)
				}
				if err := b.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestBalanceConfig(t *testing.T) {
	key := func(*http.Request) string { return "" }
	eps := handlers(1)
	for _, tt := range []struct {
		cfg  Config
		want []string
	}{
		{Config{Endpoints: eps, Balance: ConsistentHash}, []string{"Config.HashKey is nil"}},
		{Config{Endpoints: eps, Balance: 77, PanicThreshold: 1.5}, []string{"Config.Balance is balance(77)", "Config.PanicThreshold is 1.5"}},
		{Config{Endpoints: eps, PanicThreshold: math.NaN()}, []string{"Config.PanicThreshold is NaN"}},
		{Config{Endpoints: handlers(2_000_000)}, []string{"Weight is 2000000", "at most 1000000"}},
		{Config{Endpoints: eps, Balance: ConsistentHash, HashKey: key, PanicThreshold: -1, SlowStart: -1}, nil},
	} {
		cfg, _, err := resolved(tt.cfg)
		if tt.want == nil {
			if err != nil || cfg.PanicThreshold >= 0 || cfg.SlowStart != 0 {
				t.Errorf("resolved: %v, threshold %v, slow start %v, want no error and both off", err, cfg.PanicThreshold, cfg.SlowStart)
			}
			continue
		}
		for _, part := range tt.want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("resolved = %v, want %q in it", err, part)
			}
		}
	}
	cfg, _, err := resolved(Config{Endpoints: eps})
	if err != nil || cfg.PanicThreshold != 0.25 || cfg.SlowStart != 10*time.Second || cfg.Balance != PowerOfTwo {
		t.Errorf("defaults: %v, %v, %v, %v", err, cfg.PanicThreshold, cfg.SlowStart, cfg.Balance)
	}
}

func TestChooseAllocatesNothing(t *testing.T) {
	for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight, ConsistentHash} {
		for _, n := range []int{1, 3, 100} {
			b := newBackend(t, Config{Endpoints: handlers(make([]int, n)...), Balance: policy, HashKey: func(*http.Request) string { return "" }})
			s := b.now()
			q := query{hash: 7, hashed: true}
			if got := testing.AllocsPerRun(100, func() { chooseAndLeave(s, q) }); got != 0 {
				t.Errorf("%v with %d endpoints: %v allocations, want none", policy, n, got)
			}
		}
	}
}

func chooseAndLeave(s *state, q query) {
	if ep, _, err := s.choose(q); err == nil {
		ep.unused()
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight, ConsistentHash} {
		for _, n := range []int{1, 3, 100} {
			b.Run(fmt.Sprintf("%v/%d", policy, n), func(b *testing.B) {
				o := newBackend(b, Config{Endpoints: handlers(make([]int, n)...), Balance: policy, HashKey: func(*http.Request) string { return "" }})
				s := o.now()
				b.ReportAllocs()
				i := uint64(0)
				for b.Loop() {
					i++
					chooseAndLeave(s, query{hash: mix(i), hashed: true})
				}
			})
		}
	}
}

// Where many refuse, everybody is asked once, and drawing does not take the
// square of them.
func TestManyRefuse(t *testing.T) {
	var asked atomic.Int64
	var open atomic.Pointer[string] // the endpoint whose gate is
	gates := func(name string) Gate {
		return gateFunc(func() (func(error), error) {
			asked.Add(1)
			if is := open.Load(); is != nil && *is == name {
				return func(error) {}, nil
			}
			return nil, &failure.Error{Cause: failure.BreakerOpen, RetryAfter: time.Minute}
		})
	}
	weights := func(n int) []int {
		all := make([]int, n)
		for i := range all {
			all[i] = 1
		}
		return all
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	takes := func(n, times int) (all time.Duration) {
		b := newBackend(t, Config{Endpoints: handlers(weights(n)...), NewGate: gates})
		for range times {
			asked.Store(0)
			began := threadTime(t)
			_, _, e := b.now().choose(query{})
			all += threadTime(t) - began
			if e == nil || e.Cause != failure.NoEndpoint || e.RetryAfter != time.Minute || asked.Load() != int64(n) {
				t.Fatalf("%d gates asked of %d: %.100v, want all once", asked.Load(), n, e)
			}
			if _, all := ofCause(e, failure.BreakerOpen); !all {
				t.Errorf("%.100v, want the refusal of every one", e)
			}
		}
		return all
	}
	if few, many := takes(300, 300), takes(3000, 30); many > few*7/2+10*time.Millisecond {
		t.Errorf("300 refuse 300 times in %v, 3000 refuse 30 times in %v, want about the same", few, many)
	}

	eps := handlers(weights(40)...)
	eps[39].Backup = true
	b := newBackend(t, Config{Endpoints: eps, NewGate: gates})
	for _, name := range []string{"e0", "e17", "e38", "e39"} {
		open.Store(&name)
		for range 20 {
			asked.Store(0)
			ep, _, e := b.now().choose(query{})
			if e != nil || ep.name != name || asked.Load() > 40 {
				t.Fatalf("chose %v, %v after %d gates, want %s", ep, e, asked.Load(), name)
			}
			ep.unused()
		}
	}
	for i := range eps[:39] {
		eps[i].MaxInFlight = 1
	}
	b = newBackend(t, Config{Endpoints: eps})
	for _, ep := range b.now().endpoints[:39] {
		ep.inFlight.Add(1)
		defer ep.unused()
	}
	if ep, _, e := b.now().choose(query{}); e == nil || !full(e) {
		t.Errorf("chose %v, %v, want no backup while the others are merely full", ep, e)
	}
	tried := b.now().endpoints[:1]
	if ep, _, e := b.now().choose(query{tried: tried, other: true}); e != nil || ep.name != "e39" {
		t.Errorf("chose %v, %v, want the backup for a request that failed already", ep, e)
	} else {
		ep.unused()
	}
}

// threadTime is what the thread has had of a processor: how busy the machine is
// does not show in it.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	const thread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thread, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
