package backend

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// query is what an attempt asks of the balance.
type query struct {
	tried  []*endpoint // of the request's earlier attempts
	other  bool        // none of these
	hash   uint64      // for ConsistentHash
	hashed bool        // there is a key
	bound  *endpoint   // goes before those that are as fit; may be nil
	// repeatable tells that another attempt may follow if this one fails.
	repeatable bool
}

// choose picks the endpoint for the next attempt of a request: of those that are
// fittest the one that the balance names, and of the others if gates refuse. The
// error is why there is none.
func (s *state) choose(q query) (*endpoint, *pass, *failure.Error) {
	var refused []refusal
	for {
		ep, r := s.draw(&q, refused)
		if ep == nil {
			return nil, nil, s.none(q, refused)
		}
		done, err := s.permit(ep, r)
		if err == nil {
			return ep, done, nil
		}
		if refused = append(refused, refusal{ep, s.named(ep, err)}); len(refused) == maxDraws {
			return s.anybody(q, refused)
		}
	}
}

// maxDraws is after how many refusals nobody is drawn any more.
const maxDraws = 8

// anybody takes the first of the fittest endpoints that does not refuse, and goes
// through all but once: where thousands are at their limits, or have their gates
// closed, drawing one after the other would take the square of them and more.
func (s *state) anybody(q query, refused []refusal) (*endpoint, *pass, *failure.Error) {
	v := ballot{state: s, query: q, refused: refused, now: time.Since(s.b.began), policy: LeastInFlight}
	v.run()
	n := len(s.endpoints)
	ranks := make([]rank, n)
	for i, ep := range s.endpoints {
		if ranks[i] = rankNone; !v.wasRefused(ep) {
			ranks[i] = v.rank(ep)
		}
	}
	first := rand.IntN(n)
	for r := range rankNone {
		v.refused = refused
		if r.backup() && v.holdBackups() {
			continue
		}
		for i := range n {
			if i = (first + i) % n; ranks[i] != r {
				continue
			}
			done, err := s.permit(s.endpoints[i], r)
			if err == nil {
				return s.endpoints[i], done, nil
			}
			refused = append(refused, refusal{s.endpoints[i], s.named(s.endpoints[i], err)})
		}
	}
	return nil, nil, s.none(q, refused)
}

// permit asks what may keep a request from an endpoint that was picked. With it
// the request has one of the endpoint's slots.
func (s *state) permit(ep *endpoint, r rank) (*pass, *failure.Error) {
	if e := ep.acquire(); e != nil {
		if ep.trouble() != 0 {
			return nil, s.reason(ep, query{}) // which nobody waits for
		}
		return nil, e
	}
	taken := false
	defer func() {
		if !taken { // or the gate panicked
			ep.unused()
		}
	}()
	done, err := permit(ep.asked())
	if err == nil && r == rankTrial && !ep.live.trial(s.b.clock(time.Now())) {
		done.unused()
		err = s.reason(ep, query{})
	}
	if err != nil {
		return nil, err
	}
	taken = true
	return done, nil
}

// draw picks one of the fittest endpoints, without asking anybody. It is nil
// where none may be used.
func (s *state) draw(q *query, refused []refusal) (*endpoint, rank) {
	now := time.Since(s.b.began)
	v := ballot{state: s, query: *q, refused: refused, now: now, policy: s.cfg.Balance}
	if v.policy == ConsistentHash && !q.hashed {
		v.policy = PowerOfTwo
	}
	if v.policy == RoundRobin {
		s.b.turn.mu.Lock()
		defer s.b.turn.mu.Unlock()
	}
	v.run()
	if v.probe != nil && v.best < rankTrial {
		return v.probe, rankTrial
	}
	if ep := q.bound; ep != nil {
		if r := v.rankBound(ep); r < rankTried && r <= v.best {
			return ep, r
		}
	}
	return v.result(), v.best
}

// untried tells whether an endpoint is left that was not tried, may be used and
// did not ask to be left alone.
func (s *state) untried(tried []*endpoint) bool {
	return s.some(query{tried: tried, other: true}, isBarred)
}

// some tells whether an endpoint may be used that has nothing of but.
func (s *state) some(q query, but fitness) bool {
	v := ballot{state: s, query: q, now: time.Since(s.b.began), policy: LeastInFlight}
	v.run()
	return slices.ContainsFunc(s.endpoints, func(ep *endpoint) bool {
		f := v.fitness(ep)
		return f&but == 0 && f.rank(v.alarm, q.other) < rankTrial
	})
}

// ballot goes through the endpoints once and keeps those that the policy may
// take.
type ballot struct {
	state   *state
	query   query
	refused []refusal
	now     time.Duration
	policy  Balance
	alarm   bool // see panicking

	all, usable int // endpoints that are to be used, and those of them that nobody objects to

	probe         *endpoint // one about which the request is to find out; nil: none
	best          rank      // of the candidates that follow
	count         int
	weight        float64 // of all candidates
	inFlight      int64   // of all candidates
	first, second candidate
}

// candidate is an endpoint with what the policy orders by: the least goes first.
type candidate struct {
	ep     *endpoint
	weight float64
	key    float64
	tie    float64 // orders those of the same key
}

func (c candidate) before(o candidate) bool {
	return o.ep == nil || c.key < o.key || c.key == o.key && c.tie < o.tie
}

func (v *ballot) run() {
	v.pass()
	if v.usable < v.all && panicking(v.usable, v.all, v.state.cfg.PanicThreshold) {
		v.alarm, v.all, v.usable = true, 0, 0
		v.pass()
	}
}

func (v *ballot) pass() {
	v.best, v.first, v.second = rankNone, candidate{}, candidate{}
	full := v.holdBackups()
	for _, ep := range v.state.endpoints {
		r := v.rank(ep)
		if r > v.best || r == rankNone || full && r.backup() || v.wasRefused(ep) {
			continue
		}
		if r < v.best {
			v.best, v.count, v.weight, v.inFlight = r, 0, 0, 0
			v.first, v.second = candidate{}, candidate{}
		}
		v.offer(ep)
	}
}

// rank is how fit an endpoint is for the request. It counts as it goes.
func (v *ballot) rank(ep *endpoint) rank {
	f := v.fitness(ep)
	if f&isOut == 0 {
		v.all++
		if f&isTroubled == 0 {
			v.usable++
		}
	}
	return f.rank(v.alarm, v.query.other)
}

// rankBound is that of an endpoint to which the request is bound: it is given
// requests while it is drained.
func (v *ballot) rankBound(ep *endpoint) rank {
	if v.wasRefused(ep) {
		return rankNone
	}
	f := v.fitness(ep)
	if ep.steered() == Drain {
		f &^= isOut
	}
	return f.rank(v.alarm, v.query.other)
}

func (v *ballot) fitness(ep *endpoint) fitness {
	var f fitness
	if ep.settings.Load().backup {
		f |= isBackup
	}
	if until := ep.heldUntil.Load(); until != 0 && int64(v.now) < until {
		f |= isHeld
	}
	if until := ep.barredUntil.Load(); until != 0 && int64(v.now) < until {
		f |= isBarred
	}
	if len(v.query.tried) > 0 && slices.Contains(v.query.tried, ep) {
		f |= isTried
	}
	if s := ep.steered(); s == ForceDown || s == Drain {
		f |= isOut
	}
	if ep.trouble() != 0 {
		f |= isTroubled
		if v.probe == nil && f&(isOut|isBackup) == 0 && ep.probes(&v.query, int64(v.now)) && !v.wasRefused(ep) {
			v.probe = ep
		}
		if ep.live.confirmsDown() {
			f |= isConfirmed
		}
	}
	return f
}

func (v *ballot) wasRefused(ep *endpoint) bool {
	for i := range v.refused {
		if v.refused[i].ep == ep {
			return true
		}
	}
	return false
}

// holdBackups tells whether backups are to wait since an endpoint before them is
// merely full. A request that failed once already is given to anybody.
func (v *ballot) holdBackups() bool {
	if len(v.query.tried) > 0 {
		return false
	}
	for i := range v.refused {
		if r := &v.refused[i]; r.err.Cause == failure.ConnectionLimit && !r.ep.settings.Load().backup {
			return true
		}
	}
	return false
}

// offer makes an endpoint of the best rank a candidate.
func (v *ballot) offer(ep *endpoint) {
	c := candidate{ep: ep, weight: ep.weight(v.now, v.state.cfg.SlowStart)}
	v.count++
	v.weight += c.weight
	switch v.policy {
	case RoundRobin:
		c.key = v.state.b.turn.due(ep, c.weight)
	case LeastInFlight:
		c.key = float64(ep.inFlight.Load()) / c.weight
		c.tie = rand.ExpFloat64() / c.weight
	case ConsistentHash:
		v.inFlight += ep.inFlight.Load()
		c.key = preferenceOf(v.query.hash, ep.seed, c.weight)
	case PowerOfTwo:
		// The two least are a draw by weight, and another by weight among the
		// rest.
		c.key = rand.ExpFloat64() / c.weight
	}
	switch {
	case c.before(v.first):
		v.first, v.second = c, v.first
	case c.before(v.second):
		v.second = c
	}
}

// result is the endpoint that the policy takes.
func (v *ballot) result() *endpoint {
	ep := v.first.ep
	if ep == nil {
		return nil
	}
	switch v.policy {
	case RoundRobin:
		v.state.b.turn.take(ep, v.first)
	case PowerOfTwo:
		if v.count > 1 && v.challenge() {
			return v.second.ep
		}
	case ConsistentHash:
		if v.count > 1 && !v.fits(v.first) {
			return v.nextByHash()
		}
	case LeastInFlight:
	}
	return ep
}

// challenge tells whether the second draw wins against the first.
func (v *ballot) challenge() bool {
	mean := v.weight / float64(v.count)
	of := func(c candidate) burden {
		b := c.ep.load.burden(v.now)
		b.crowd = float64(max(c.ep.inFlight.Load(), 0)) * mean / c.weight
		return b
	}
	p := yields(burdens(of(v.first), of(v.second)))
	return p > 0 && rand.Float64() < p
}

// turns has whose turn it is: every endpoint has a time at which its next
// request is due, and a request moves it on by one over its weight. The earliest
// is taken.
type turns struct {
	mu  sync.Mutex // guards what follows, and the due time of every endpoint
	now float64    // due time of the latest that was taken
}

// due requires that t.mu is held. An endpoint that had no part for a while does
// not catch up.
func (t *turns) due(ep *endpoint, weight float64) float64 {
	if ep.due < t.now {
		ep.due = t.now + 1/weight
	}
	return ep.due
}

// take requires that t.mu is held.
func (t *turns) take(ep *endpoint, c candidate) {
	t.now = c.key
	ep.due = c.key + 1/c.weight
}

// query is what the next attempt asks of the balance.
func (c *call) query(other bool) query {
	q := query{tried: c.tried, other: other, repeatable: c.cfg().Retries > 0 && (idempotent(c.r.Method) || c.keyed) && c.upload.replayable()}
	if cfg := c.cfg(); cfg.Balance == ConsistentHash {
		if !c.hashed {
			c.hashed = true
			if key := cfg.HashKey(c.r); key != "" {
				c.hash = max(1, hashOf(key))
			}
		}
		q.hash, q.hashed = c.hash, c.hash != 0
	}
	if c.state.bonds != nil {
		if c.attempts == 0 {
			c.bound = c.boundTo()
		}
		q.bound = c.bound
	}
	return q
}
