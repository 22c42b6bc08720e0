package backend

import (
	"fmt"
	"time"
)

// health is what the active checks of an endpoint found, and what live traffic
// says of it.
type health struct {
	up       bool
	since    time.Time
	detail   string // of the last check: its status line or its error
	streak   int    // checks in a row that contradict up
	checks   int    // made; stops at many
	unproven bool   // it began down, and no check was good yet

	dispute dispute
}

// many is where counts end that are compared with small numbers only.
const many = 1 << 20

// next is the state after one more check. It is a pure function.
func (h health) next(good bool, detail string, now time.Time, rise, fall int) health {
	h.detail = detail
	h.checks = min(h.checks+1, many)
	if good == h.up {
		h.streak = 0
		return h
	}
	h.streak = min(h.streak+1, many)
	need := fall
	if good {
		if need = rise; h.unproven {
			need = 1
		}
	}
	if h.streak >= need {
		h.up, h.since, h.streak = good, now, 0
		h.unproven = h.unproven && !good
	}
	return h
}

// fast tells whether the next check is to come soon.
func (h health) fast() bool {
	return h.streak > 0 || h.unproven && h.checks < historySize
}

// dispute is what live traffic says while the check says that the endpoint is
// down. It counts attempts that began after that.
//
// A check that failed before the first of these answers says nothing against
// them: the endpoint is coming back, and the next check will find out.
type dispute struct {
	answered int
	last     time.Time // answered
	run      int       // answers in a row; below 0: failures in a row
	first    time.Time // of these answers
	failed   bool      // a check that began after first did
	wrong    bool      // the check is
}

// disputed is how many answers in a row show that the check is wrong, and how
// many failures in a row that it is right after all. It is more than one: a
// backend that is half dead answers sometimes.
const disputed = 3

// next is the dispute with one more outcome. It is a pure function.
func (d dispute) next(good bool, now time.Time) dispute {
	if good {
		if d.run <= 0 {
			d.first, d.failed = now, false
		}
		d.answered = min(d.answered+1, many)
		d.last = now
		d.run = min(max(d.run, 0)+1, many)
	} else {
		d.run = max(min(d.run, 0)-1, -many)
	}
	return d.decided()
}

// checked is the dispute with one more check that failed. It is a pure function.
func (d dispute) checked(began time.Time) dispute {
	if d.run > 0 && began.After(d.first) {
		d.failed = true
	}
	return d.decided()
}

func (d dispute) decided() dispute {
	switch {
	case d.run >= disputed && d.failed:
		d.wrong = true
	case d.run <= -disputed:
		d.wrong = false
	}
	return d
}

// explain is the detail of a check that is wrong.
func (h health) explain(now time.Time) string {
	return fmt.Sprintf("the check is wrong: live traffic has been answered %d times since it took the endpoint down, the last time %v ago; the check: %s",
		h.dispute.answered, now.Sub(h.dispute.last).Round(time.Millisecond), h.detail)
}

// recordHealth takes in the result of a check.
func (b *Backend) recordHealth(ep *endpoint, p Probe) {
	cfg := &b.now().cfg.Health
	now := time.Now()
	ep.mu.Lock()
	ep.history.add(p)
	before := ep.health
	after := before.next(p.OK, p.Detail, now, cfg.Rise, cfg.Fall)
	if after.up != before.up {
		after.dispute = dispute{}
		ep.down.Store(!after.up)
	} else if !after.up && !p.OK {
		after.dispute = after.dispute.checked(p.At)
	}
	ep.health = after
	ep.mu.Unlock()
	if p.OK {
		ep.ejection.reprieve(b.clock(now))
	}
	if after.up == before.up {
		b.tellDispute(ep, before, after, now)
		return
	}
	if after.up {
		ep.warmUp(b)
	}
	b.endpointsChanged()
	b.observe(b.ctx, Event{Kind: HealthChanged, Endpoint: ep.name, Address: ep.address(), Healthy: after.up, Detail: p.Detail})
	if before.dispute.wrong {
		b.observe(b.ctx, Event{Kind: CheckDisputed, Endpoint: ep.name, Address: ep.address(), Healthy: true, Detail: p.Detail})
	}
}

// contradict takes in the outcome of an attempt at an endpoint that is down by
// its check.
func (b *Backend) contradict(ep *endpoint, good bool, began time.Time) {
	now := time.Now()
	ep.mu.Lock()
	h := ep.health
	if h.up || began.Before(h.since) {
		ep.mu.Unlock()
		return
	}
	before := h
	h.dispute = h.dispute.next(good, now)
	ep.health = h
	ep.mu.Unlock()
	b.tellDispute(ep, before, h, now)
}

// tellDispute tells of a check that turned out wrong, or right after all.
func (b *Backend) tellDispute(ep *endpoint, before, after health, now time.Time) {
	was := before.dispute.wrong
	if after.dispute.wrong == was {
		return
	}
	ev := Event{Kind: CheckDisputed, Endpoint: ep.name, Address: ep.address(), Healthy: was, Detail: after.detail}
	if !was {
		ev.Detail = after.explain(now)
	}
	b.observe(b.ctx, ev)
}

func (ep *endpoint) up() bool { return !ep.down.Load() }

// unchecked is reached when no check watches the endpoint any more.
func (ep *endpoint) unchecked() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if !ep.health.up {
		ep.health = health{up: true, since: time.Now()}
		ep.down.Store(false)
	}
	ep.health.detail, ep.health.streak, ep.health.unproven = "", 0, false
	ep.history = history{}
}
