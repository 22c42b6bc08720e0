package ratelimit

import (
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
	// distance is that of one request, instead of away.
	distance func(r *rand.Rand, at time.Duration) time.Duration
	away     time.Duration // of pure distance, in the latency and on no worker
	rate     func(at time.Duration) float64
	wait     time.Duration // in our line
	queue    int           // in our line; 0: as the limit
	rand     *rand.Rand

	// patience is after what time clients leave; the backend works on. 0: never.
	patience time.Duration
	// held is for how long a request is held on no worker; 0 is not at all.
	held func(r *rand.Rand, at time.Duration) time.Duration
	// shared has the workers work on all requests at once.
	shared bool
	// paused tells that nothing is worked on.
	paused func(at time.Duration) bool
	asleep bool

	pool     pool
	now      time.Duration
	agenda   agenda
	inFlight int
	line     []time.Duration // since when
	busy     int
	backlog  []*job
	done     []outcome
	left     int
	arrived  []time.Duration
	shed     []time.Duration
	limits   []limitAt
}

type limitAt struct {
	at    time.Duration
	limit float64
}

type job struct {
	came, sent time.Duration
	mark       mark
	gone       bool
}

type outcome struct {
	at, took, upstream time.Duration
}

type event struct {
	at time.Duration
	do func()
}

type agenda []event

// push and pop are those of a heap.
func (a *agenda) push(e event) {
	h := append(*a, e)
	i := len(h) - 1
	for up := (i - 1) / 2; i > 0 && h[i].at < h[up].at; up = (i - 1) / 2 {
		h[i], h[up] = h[up], h[i]
		i = up
	}
	*a = h
}

func (a *agenda) pop() event {
	h := *a
	first := h[0]
	h[0] = h[len(h)-1]
	h[len(h)-1] = event{}
	h = h[:len(h)-1]
	for i := 0; ; {
		least := i
		for _, down := range [...]int{2*i + 1, 2*i + 2} {
			if down < len(h) && h[down].at < h[least].at {
				least = down
			}
		}
		if least == i {
			break
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
	*a = h
	return first
}

func (w *world) after(d time.Duration, do func()) { w.agenda.push(event{w.now + d, do}) }

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
		e := w.agenda.pop()
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
	if w.g == nil {
		return
	}
	w.g.full(w.now)
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
	j := &job{came: came, sent: w.now}
	if w.g != nil {
		j.mark, _ = w.g.began(w.now)
	}
	if w.patience > 0 {
		w.after(came+w.patience-w.now, func() { w.finish(j, false) })
	}
	if w.held != nil {
		if d := w.held(w.rand, w.now); d > 0 {
			w.after(d, func() { w.finish(j, true) })
			return
		}
	}
	if w.shared {
		w.pool.add(w, j, w.service(w.rand, w.now))
		return
	}
	w.backlog = append(w.backlog, j)
	w.work()
}

func (w *world) work() {
	if w.paused != nil && w.paused(w.now) {
		if !w.asleep {
			w.asleep = true
			w.after(ms, func() { w.asleep = false; w.work() })
		}
		return
	}
	for w.busy < w.workers(w.now) && len(w.backlog) > 0 {
		j := w.backlog[0]
		w.backlog = w.backlog[1:]
		w.busy++
		w.after(w.service(w.rand, w.now), func() {
			w.busy--
			w.work()
			away := w.away
			if w.distance != nil {
				away = w.distance(w.rand, w.now)
			}
			w.after(away, func() { w.finish(j, true) })
		})
	}
}

// pool is processor sharing: requests progress by their share of the workers.
type pool struct {
	done  float64 // work that each of those present since the beginning got
	since time.Duration
	jobs  agenda // at the work at which they are done
	turn  int
}

func (p *pool) pace(w *world) float64 {
	return min(1, float64(w.workers(w.now))/float64(max(1, len(p.jobs))))
}

func (p *pool) advance(w *world) {
	p.done += float64(w.now-p.since) * p.pace(w)
	p.since = w.now
}

func (p *pool) add(w *world, j *job, service time.Duration) {
	p.advance(w)
	p.jobs.push(event{time.Duration(p.done) + service, func() { w.finish(j, true) }})
	p.next(w)
}

func (p *pool) next(w *world) {
	p.turn++
	if len(p.jobs) == 0 {
		return
	}
	turn := p.turn
	w.after(max(0, time.Duration((float64(p.jobs[0].at)-p.done)/p.pace(w)))+1, func() {
		if turn != p.turn {
			return
		}
		p.advance(w)
		for len(p.jobs) > 0 && float64(p.jobs[0].at) <= p.done+1 {
			p.jobs.pop().do()
			p.turn = turn
		}
		p.next(w)
	})
}

// finish is an answer, or that the client leaves.
func (w *world) finish(j *job, answered bool) {
	if j.gone {
		return
	}
	j.gone = true
	w.inFlight--
	if answered {
		w.done = append(w.done, outcome{w.now, w.now - j.came, w.now - j.sent})
	} else {
		w.left++
	}
	if w.g != nil {
		w.g.ended(w.now, j.mark, w.now-j.sent, answered, true)
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
