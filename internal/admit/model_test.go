package admit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// model is what a semaphore ought to do, without locks and wake-ups.
type model struct {
	limit, inFlight int
	line            []int // ids, the oldest first
	deadline        map[int]time.Duration
	result          map[int]string
	now             time.Duration
	strained        time.Duration // -1: not
	refused         time.Duration
}

func (m *model) newest() bool {
	return m.strained >= 0 && m.now-m.strained >= Patience && m.now-m.refused <= Patience
}

func (m *model) strain() {
	if m.strained < 0 || m.now-m.refused > Patience {
		m.strained = m.now
	}
	m.refused = m.now
}

func (m *model) settle() {
	newest := m.newest()
	for len(m.line) > 0 && m.inFlight < m.limit {
		i := 0
		if newest {
			i = len(m.line) - 1
		}
		m.end(m.line[i], "slot")
		m.inFlight++
	}
	if len(m.line) == 0 {
		m.strained = -1
	}
}

func (m *model) end(id int, how string) {
	m.line = slices.DeleteFunc(m.line, func(other int) bool { return other == id })
	m.result[id] = how
}

// sleep moves the time by d, through all the deadlines before its end.
func (m *model) sleep(d time.Duration) {
	for end := m.now + d; ; {
		next := -1
		for _, id := range m.line {
			if m.deadline[id] <= end && (next < 0 || m.deadline[id] < m.deadline[next]) {
				next = id
			}
		}
		if next < 0 {
			m.now = end
			return
		}
		m.now = m.deadline[next]
		m.end(next, "late")
		m.strain()
		m.settle()
	}
}

// op is one thing that happens.
type op struct {
	What       string
	N, Ms, Max int
}

// TestModel runs random histories beside the model.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ops := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) op {
			return op{
				What: rapid.SampledFrom([]string{"acquire", "acquire", "acquire", "try", "release", "release", "limit", "flush", "cancel", "sleep"}).Draw(rt, "what"),
				N:    rapid.IntRange(0, 5).Draw(rt, "n"),
				Ms:   rapid.IntRange(1, 900).Draw(rt, "ms"),
				Max:  rapid.IntRange(0, 4).Draw(rt, "max"),
			}
		}), 1, 60).Draw(rt, "ops")
		var wrong string
		synctest.Test(t, func(*testing.T) { wrong = play(ops) })
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

var errFlushed = errors.New("flushed")

func play(ops []op) string {
	var l changing
	l.Store(2)
	s := New(&l)
	m := &model{limit: 2, deadline: map[int]time.Duration{}, result: map[int]string{}, strained: -1}
	var mu sync.Mutex // guards got
	got := map[int]string{}
	cancels := map[int]context.CancelFunc{}
	defer func() {
		s.Flush(errFlushed)
		for _, cancel := range cancels {
			cancel()
		}
	}()
	for i, o := range ops {
		switch o.What {
		case "acquire":
			ctx, cancel := context.WithCancel(context.Background())
			cancels[i] = cancel
			// No two deadlines are the same: nobody could tell which is first.
			wait := time.Duration(o.Ms)*time.Millisecond + time.Duration(i+1)*time.Microsecond
			go func() {
				how := outcome(s.Acquire(ctx, o.Max, wait))
				mu.Lock()
				defer mu.Unlock()
				got[i] = how
			}()
			m.acquire(i, o.Max, wait)
		case "try":
			ok := s.TryAcquire()
			m.settle()
			want := m.inFlight < m.limit
			if want {
				m.inFlight++
			}
			if ok != want {
				return fmt.Sprintf("op %d: TryAcquire = %v, want %v", i, ok, want)
			}
		case "release":
			if m.inFlight == 0 {
				continue
			}
			s.Release()
			m.inFlight--
			m.settle()
		case "limit":
			l.Store(int64(o.N))
			m.limit = max(1, o.N)
			s.Wake()
			m.settle()
		case "flush":
			s.Flush(errFlushed)
			for _, id := range slices.Clone(m.line) {
				m.end(id, "flushed")
			}
			m.settle()
		case "cancel":
			if len(m.line) > 0 {
				id := m.line[o.N%len(m.line)]
				cancels[id]()
				m.end(id, "left")
				m.settle()
			}
		case "sleep":
			time.Sleep(time.Duration(o.Ms) * time.Millisecond)
			m.sleep(time.Duration(o.Ms) * time.Millisecond)
		}
		synctest.Wait()
		mu.Lock()
		wrong := m.differs(s, got)
		mu.Unlock()
		if wrong != "" {
			return fmt.Sprintf("after op %d %+v: %s", i, o, wrong)
		}
	}
	return ""
}

func (m *model) acquire(id, queue int, wait time.Duration) {
	m.settle()
	switch {
	case m.inFlight < m.limit:
		m.inFlight++
		m.result[id] = "slot"
	case len(m.line) < queue:
		m.line = append(m.line, id)
		m.deadline[id] = m.now + wait
	case queue == 0:
		m.result[id] = "occupied"
	default:
		m.result[id] = "full"
		m.strain()
	}
}

func outcome(err error) string {
	if err == nil {
		return "slot"
	}
	if r, ok := errors.AsType[*RefusedError](err); ok {
		return [...]string{"occupied", "full", "late"}[r.Reason]
	}
	if errors.Is(err, errFlushed) {
		return "flushed"
	}
	return "left"
}

func (m *model) differs(s *Semaphore, got map[int]string) string {
	st := s.Stats()
	if st.InFlight != m.inFlight || st.Queued != len(m.line) {
		return fmt.Sprintf("%d in flight, %d queued, want %d and %d (line %v)", st.InFlight, st.Queued, m.inFlight, len(m.line), m.line)
	}
	for id, want := range m.result {
		if got[id] != want {
			return fmt.Sprintf("acquire of op %d = %q, want %q", id, got[id], want)
		}
	}
	return ""
}
