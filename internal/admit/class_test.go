package admit

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// enterAs is enter with a class.
func (l *tale) enterAs(ctx context.Context, s *Semaphore, c Class, queue int, wait time.Duration, name string) {
	go func() {
		err := s.AcquireAs(ctx, c, queue, wait)
		l.mu.Lock()
		defer l.mu.Unlock()
		word := "in"
		if err != nil {
			word = err.Error()
		}
		l.lines = append(l.lines, name+": "+word)
	}()
	synctest.Wait()
}

// A higher class is served first and takes the place of a lower one where the line
// is full, never that of its own.
func TestClasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Fixed(1))
		var log tale
		log.enterAs(t.Context(), s, Low, 3, time.Second, "holder")
		log.expect(t, "holder: in")
		log.enterAs(t.Context(), s, Low, 3, time.Second, "low 1")
		log.enterAs(t.Context(), s, Low, 3, time.Second, "low 2")
		log.enterAs(t.Context(), s, Ordinary, 3, time.Second, "ordinary")
		log.enterAs(t.Context(), s, Low, 3, time.Second, "low 3")
		log.expect(t, "low 3: admit: 3 of 3 waiting")
		log.enterAs(t.Context(), s, High, 3, time.Second, "high")
		log.expect(t, "low 1: admit: 3 of 3 waiting")
		log.enterAs(t.Context(), s, Ordinary, 3, time.Second, "ordinary 2")
		log.expect(t, "low 2: admit: 3 of 3 waiting")
		log.enterAs(t.Context(), s, Ordinary, 3, time.Second, "ordinary 3")
		log.expect(t, "ordinary 3: admit: 3 of 3 waiting")
		for _, next := range []string{"high", "ordinary", "ordinary 2"} {
			s.Release()
			log.expect(t, next+": in")
		}
		s.Release()
		if got, want := s.Stats(), (Stats{Limit: 1}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		log.enterAs(t.Context(), s, High, 0, time.Second, "last")
		log.enterAs(t.Context(), s, High, 0, time.Second, "nobody waits")
		log.expect(t, "last: in", "nobody waits: admit: 1 of 1 in flight")
		s.Release()
	})
}
