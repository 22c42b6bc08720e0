package ratelimit

import (
	prio "container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// world is a simulation in virtual time: open-loop arrivals, our limit with a
// short line, and a backend of some workers with an unbounded queue.
type world struct {
	g       *gradient // nil: no protection
	workers func(at time.Duration) int
	service func(r *rand.Rand, at time.Duration) time.Duration
	away    time.Duration // of pure distance, in the latency and on no worker
	rate    func(at time.Duration) float64
	wait    time.Duration // in our line
	queue   int           // in our line; 0: as the limit
	rand    *rand.Rand

	now      time.Duration
	agenda   agenda
	inFlight int
	line     []time.Duration // since when
	busy     int
	backlog  []job
	done     []outcome
	arrived  []time.Duration
	shed     []time.Duration
	limits   []limitAt
}

type limitAt struct {
	at    time.Duration
	limit float64
}

type job struct{ came, sent time.Duration }

type outcome struct {
	at, took, upstream time.Duration
}

type event struct {
	at time.Duration
	do func()
}

type agenda []event

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)        { *a = append(*a, x.(event)) }
func (a *agenda) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) { prio.Push(&w.agenda, event{w.now + d, do}) }

func (w *world) limit() int {
	if w.g == nil {
		return math.MaxInt
	}
	return w.g.allowed()
}

func (w *world) run(d time.Duration) {
	if w.rand == nil {
		w.rand = rand.New(rand.NewPCG(1, 2))
	}
	var arrive func()
	arrive = func() {
		if w.rate(w.now) > 0 {
			w.arrive()
		}
		w.after(time.Duration(w.rand.ExpFloat64()*float64(time.Second)/max(w.rate(w.now), 1)), arrive)
	}
	arrive()
	var watch func()
	watch = func() {
		if w.g != nil {
			w.limits = append(w.limits, limitAt{w.now, float64(w.g.allowed())})
		}
		w.after(100*time.Millisecond, watch)
	}
	watch()
	for w.now < d {
		e := prio.Pop(&w.agenda).(event)
		w.now = e.at
		e.do()
	}
}

func (w *world) arrive() {
	w.arrived = append(w.arrived, w.now)
	if w.inFlight < w.limit() {
		w.send(w.now)
		return
	}
	w.g.full()
	queue := w.queue
	if queue == 0 {
		queue = w.limit()
	}
	if len(w.line) >= queue {
		w.shed = append(w.shed, w.now)
		return
	}
	w.line = append(w.line, w.now)
	if w.wait > 0 {
		came := w.now
		w.after(w.wait, func() {
			if i := slices.Index(w.line, came); i >= 0 {
				w.line = slices.Delete(w.line, i, i+1)
				w.shed = append(w.shed, came)
			}
		})
	}
}

func (w *world) send(came time.Duration) {
	w.inFlight++
	w.backlog = append(w.backlog, job{came, w.now})
	w.work()
}

func (w *world) work() {
	for w.busy < w.workers(w.now) && len(w.backlog) > 0 {
		j := w.backlog[0]
		w.backlog = w.backlog[1:]
		w.busy++
		w.after(w.service(w.rand, w.now), func() {
			w.busy--
			w.work()
			w.after(w.away, func() { w.finish(j) })
		})
	}
}

func (w *world) finish(j job) {
	w.inFlight--
	w.done = append(w.done, outcome{w.now, w.now - j.came, w.now - j.sent})
	if w.g != nil {
		w.g.add(w.now, w.now-j.sent, true)
	}
	for len(w.line) > 0 && w.inFlight < w.limit() {
		came := w.line[0]
		w.line = w.line[1:]
		w.send(came)
	}
}

// goodput is the answers per second within a deadline, from one moment to another.
func (w *world) goodput(from, to, deadline time.Duration) float64 {
	n := 0
	for _, o := range w.done {
		if o.at >= from && o.at < to && o.took <= deadline {
			n++
		}
	}
	return float64(n) / (to - from).Seconds()
}

// p99 is of the time upstream.
func (w *world) p99(from, to time.Duration) time.Duration {
	var all []time.Duration
	for _, o := range w.done {
		if o.at >= from && o.at < to {
			all = append(all, o.upstream)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

func (w *world) shedIn(from, to time.Duration) int {
	n := 0
	for _, at := range w.shed {
		if at >= from && at < to {
			n++
		}
	}
	return n
}

func newGradient() *gradient {
	cfg, err := AdaptiveConfig{}.normalize()
	if err != nil {
		panic(err)
	}
	g := cfg.gradient()
	return &g
}

func always[T any](v T) func(time.Duration) T { return func(time.Duration) T { return v } }

func steadily(d time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(*rand.Rand, time.Duration) time.Duration { return d }
}

func randomly(d time.Duration) func(*rand.Rand, time.Duration) time.Duration {
	return func(r *rand.Rand, _ time.Duration) time.Duration {
		return time.Duration(r.ExpFloat64() * float64(d))
	}
}

const ms = time.Millisecond
