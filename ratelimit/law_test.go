package ratelimit

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// seeds is how many times every row of the tables is run; make law runs more.
var seeds = flag.Int("seeds", 4, "runs of every simulated row")

// figures are what a span of a simulated time came to.
type figures struct {
	share float64       // of what is possible, answered within a second of arrival
	p99   time.Duration // from arrival, of what was answered
	shed  int
	of    int
	limit int // at the end
}

func (w *world) figures(from, to, deadline time.Duration, capacity float64) figures {
	f := figures{share: w.goodput(from, to, deadline) / capacity, shed: w.shedIn(from, to), limit: w.g.allowed()}
	var all []time.Duration
	for _, o := range w.done {
		if o.at >= from && o.at < to {
			all = append(all, o.took)
		}
	}
	slices.Sort(all)
	if len(all) > 0 {
		f.p99 = all[len(all)*99/100]
	}
	for _, at := range w.arrived {
		if at >= from && at < to {
			f.of++
		}
	}
	return f
}

// row is a world with the worst that may come of it, whatever the seed.
type row struct {
	name     string
	world    world
	from, to time.Duration
	capacity float64
	deadline time.Duration // 0: a second
	share    float64       // at least; 0: whatever
	p99      time.Duration // at most; 0: whatever
	shed     float64       // share at most; 1: whatever
	cfg      AdaptiveConfig
	seeds    int // 0: as always
}

func (r row) run(t *testing.T) {
	t.Run(r.name, func(t *testing.T) {
		t.Parallel()
		if r.seeds == 0 {
			r.seeds = *seeds
		}
		var shares, sheds []float64
		var p99s []time.Duration
		var limits []int
		for seed := range uint64(r.seeds) {
			w := r.world
			cfg, err := r.cfg.normalize()
			if err != nil {
				t.Fatal(err)
			}
			g := cfg.gradient()
			w.g, w.rand = &g, rand.New(rand.NewPCG(seed, 11))
			if w.wait == 0 {
				w.wait = 250 * ms
			}
			w.run(r.to)
			f := w.figures(r.from, r.to, cmp.Or(r.deadline, sec), r.capacity)
			shed := float64(f.shed) / float64(max(1, f.of))
			if f.share < r.share || r.p99 > 0 && f.p99 > r.p99 || shed > r.shed {
				t.Errorf("seed %d: %.1f %% of what is possible, want %.0f; p99 %v, want %v; %d of %d shed; limit %d (rest %v)",
					seed, f.share*100, r.share*100, f.p99, r.p99, f.shed, f.of, f.limit, g.rest)
			}
			shares, sheds, p99s, limits = append(shares, f.share), append(sheds, shed), append(p99s, f.p99), append(limits, f.limit)
		}
		slices.Sort(shares)
		slices.Sort(sheds)
		slices.Sort(p99s)
		slices.Sort(limits)
		t.Logf("share min %.3f median %.3f; p99 median %v max %v; shed median %.4f max %.4f; limit %d to %d", shares[0], shares[len(shares)/2],
			p99s[len(p99s)/2].Round(ms), p99s[len(p99s)-1].Round(ms), sheds[len(sheds)/2], sheds[len(sheds)-1], limits[0], limits[len(limits)-1])
	})
}

func TestLawOverload(t *testing.T) {
	for _, c := range []struct {
		workers int
		service time.Duration
		cfg     AdaptiveConfig
	}{
		{20, 50 * ms, AdaptiveConfig{}},
		{10, 100 * ms, AdaptiveConfig{}},
		{100, 10 * ms, AdaptiveConfig{}},
	} {
		capacity := float64(c.workers) / c.service.Seconds()
		for _, kind := range []string{"fixed", "random", "shared"} {
			for _, patience := range []time.Duration{0, sec} {
				for _, load := range []struct {
					name     string
					rate     func(time.Duration) float64
					from, to time.Duration
				}{
					{"cold", always(3 * capacity), 3 * sec, 9 * sec},
					{"ramp", func(at time.Duration) float64 { return capacity * min(3, 0.3+0.3*at.Seconds()) }, 12 * sec, 17 * sec},
					{"step", changing(20*sec, 0.3*capacity, 3*capacity), 23 * sec, 28 * sec},
				} {
					r := row{
						name:  fmt.Sprintf("%d of %v, %s, %s, patience %v", c.workers, c.service, kind, load.name, patience),
						world: world{workers: always(c.workers), service: steadily(c.service), rate: load.rate, patience: patience},
						from:  load.from, to: load.to, capacity: capacity, share: 0.85, shed: 1, cfg: c.cfg,
					}
					switch kind {
					case "random":
						r.world.service = randomly(c.service)
					case "shared":
						r.world.shared = true
					default:
						r.p99 = 250*ms + 3*c.service
					}
					switch {
					case c.workers == 100 && (kind == "shared" || load.name == "ramp" || patience == 0):
						continue // as with 20; they are expensive
					case c.workers == 100:
						r.seeds = max(1, *seeds/5)
					case c.workers == 10 && kind == "shared":
						// Nothing ends as it would at rest, and few do before they are
						// given up: it is found late, and what was begun is still worked off.
						// What takes no time to wait for was never seen after a cold start, so
						// that a longer line is taken for rest.
						r.from, r.to = r.from+17*sec, r.to+17*sec
						if load.name == "cold" && patience == 0 {
							r.deadline = 1500 * ms
						} else if load.name == "cold" {
							r.share = 0.6
						}
					case c.workers == 10:
						r.from, r.to = r.from+2*sec, r.to+2*sec
					}
					r.run(t)
				}
			}
		}
	}
	row{
		name: "half of them static", world: world{
			workers: always(20), service: steadily(50 * ms), rate: always(2400.),
			held: func(r *rand.Rand, _ time.Duration) time.Duration {
				if r.Float64() < 0.5 {
					return 2 * ms
				}
				return 0
			},
		}, from: 3 * sec, to: 13 * sec, capacity: 1600, share: 0.45, shed: 1,
	}.run(t)
	row{
		name: "a crowd at once, and on", world: world{
			workers: always(20), service: steadily(50 * ms), rate: changing(10*ms, 60000., 1200.),
		}, from: 4 * sec, to: 13 * sec, capacity: 400, share: 0.85, shed: 1,
	}.run(t)
}

// holding has a share of the requests held.
func holding(share float64, least, most time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(r *rand.Rand, _ time.Duration) time.Duration {
		if r.Float64() < share {
			return least + time.Duration(r.Float64()*float64(most-least))
		}
		return 5*ms + time.Duration(r.Float64()*float64(45*ms))
	}
}

func jitter(d, by time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(r *rand.Rand, _ time.Duration) time.Duration {
		return d + time.Duration((2*r.Float64()-1)*float64(by))
	}
}

func TestLawLeavesAlone(t *testing.T) {
	quiet := func(name string, w world, to time.Duration) {
		if w.workers == nil {
			w.workers = always(1)
		}
		if w.service == nil {
			w.service = steadily(ms)
		}
		row{name: name, world: w, to: to, capacity: 1}.run(t)
	}
	for _, share := range []float64{0.1, 0.5, 0.9} {
		for _, inFlight := range []float64{100, 400, 800} {
			rate := inFlight / (share * 16)
			quiet(fmt.Sprintf("%.0f %% held, %.0f in flight", share*100, inFlight),
				world{held: holding(share, 2*sec, 30*sec), rate: always(rate)}, 90*sec)
			quiet(fmt.Sprintf("%.0f %% held for 8 s, %.0f in flight", share*100, inFlight),
				world{held: holding(share, 8*sec, 8*sec), rate: always(2 * rate)}, 60*sec)
		}
		quiet(fmt.Sprintf("%.0f %% held from the second minute on", share*100), world{
			held: func(r *rand.Rand, at time.Duration) time.Duration {
				return holding(changing(60*sec, 0, share)(at), 2*sec, 30*sec)(r, at)
			}, rate: always(400 / (share * 16)),
		}, 120*sec)
	}
	for _, c := range []struct {
		workers int
		service time.Duration
	}{{20, 50 * ms}, {10, 100 * ms}, {100, 10 * ms}} {
		capacity := float64(c.workers) / c.service.Seconds()
		for kind, service := range map[string]func(*rand.Rand, time.Duration) time.Duration{"fixed": steadily(c.service), "random": randomly(c.service)} {
			span := min(60*sec, time.Duration(100e3/capacity*float64(sec)))
			name := fmt.Sprintf("%d of %v, %s, ", c.workers, c.service, kind)
			if c.workers == 100 && kind == "fixed" {
				continue
			}
			quiet(name+"seven tenths", world{workers: always(c.workers), service: service, rate: always(0.7 * capacity)}, span)
			quiet(name+"seven tenths of it shared", world{workers: always(c.workers), service: service, rate: always(0.7 * capacity), shared: true}, span)
			quiet(name+"bursts", world{workers: always(c.workers), service: service, rate: func(at time.Duration) float64 {
				if at%sec < 200*ms {
					return 1.5 * capacity
				}
				return 0.5 * capacity
			}}, span)
			quiet(name+"pauses", world{workers: always(c.workers), service: service, rate: always(0.5 * capacity), paused: func(at time.Duration) bool {
				return at%(5*sec) > 4700*ms
			}}, span)
		}
	}
	for _, inFlight := range []float64{1, 30, 300, 800} {
		rate := inFlight / 0.3
		quiet(fmt.Sprintf("far, %.0f in flight", inFlight), world{held: jitter(300*ms, 50*ms), rate: always(rate)}, 20*sec)
	}
	quiet("far, 800 at once", world{held: jitter(300*ms, 50*ms), rate: changing(10*ms, 80000., 100.)}, 20*sec)
	quiet("far, 800 at once again and again", world{held: jitter(300*ms, 50*ms), rate: func(at time.Duration) float64 {
		if at%(2*sec) < 10*ms {
			return 80000
		}
		return 10
	}}, 60*sec)
	for _, rate := range []float64{30, 300, 1000} {
		quiet(fmt.Sprintf("a far one moves farther, %.0f per s", rate), world{held: func(r *rand.Rand, at time.Duration) time.Duration {
			return jitter(changing(10*sec, 100*ms, 400*ms)(at), 20*ms)(r, at)
		}, rate: always(rate)}, 25*sec)
	}
	quiet("one per second", world{workers: always(1), service: steadily(200 * ms), rate: always(1.)}, 600*sec)
	quiet("ever slower", world{held: func(r *rand.Rand, at time.Duration) time.Duration {
		return jitter(100*ms+at/100, 20*ms)(r, at)
	}, rate: always(500.)}, 40*sec)
}

func TestLawAfterwards(t *testing.T) {
	overload := func(until time.Duration, then func(time.Duration) float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 {
			if at < until {
				return 1200
			}
			return then(at)
		}
	}
	for _, light := range []float64{0, 20} {
		row{name: fmt.Sprintf("a crowd from far after an overload and %.0f per s", light), world: world{
			workers: always(20), service: steadily(50 * ms), held: func(r *rand.Rand, at time.Duration) time.Duration {
				if at > 30*sec {
					return jitter(300*ms, 50*ms)(r, at)
				}
				return 0
			}, rate: overload(20*sec, func(at time.Duration) float64 {
				switch {
				case at < 30*sec:
					return light
				case at < 30*sec+10*ms:
					return 80000
				}
				return 1000
			}),
		}, from: 25 * sec, to: 50 * sec, capacity: 1}.run(t)
		row{name: fmt.Sprintf("held ones after an overload and %.0f per s", light), world: world{
			workers: always(20), service: steadily(50 * ms), held: func(r *rand.Rand, at time.Duration) time.Duration {
				if at > 30*sec {
					return holding(0.5, 2*sec, 30*sec)(r, at)
				}
				return 0
			}, rate: overload(20*sec, func(at time.Duration) float64 {
				if at < 30*sec {
					return light
				}
				return 50
			}),
		}, from: 25 * sec, to: 90 * sec, capacity: 1}.run(t)
	}
	row{name: "held ones right after an overload", world: world{
		workers: always(20), service: steadily(50 * ms), held: func(r *rand.Rand, at time.Duration) time.Duration {
			if at > 20*sec {
				return holding(0.1, 8*sec, 8*sec)(r, at)
			}
			return 0
		}, rate: overload(20*sec, always(100.)),
	}, from: 40 * sec, to: 120 * sec, capacity: 100, share: 0.6, shed: 0.25}.run(t)
	for _, kind := range []string{"fixed", "random"} {
		service := steadily(50 * ms)
		if kind == "random" {
			service = randomly(50 * ms)
		}
		row{name: "capacity grows fourfold, " + kind, world: world{
			workers: changing(20*sec, 20, 80), service: service, rate: always(4800.),
		}, from: 30 * sec, to: 40 * sec, capacity: 1600, share: 0.85, shed: 1}.run(t)
		row{name: "capacity falls to a quarter, " + kind, world: world{
			workers: changing(20*sec, 80, 20), service: service, rate: always(4800.),
		}, from: 23 * sec, to: 40 * sec, capacity: 400, share: 0.85, shed: 1}.run(t)
	}
}
