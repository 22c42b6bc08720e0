package admit

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// changing is a limit that a test changes.
type changing struct{ atomic.Int64 }

func (c *changing) Limit() int { return int(c.Load()) }

// tale is what happened, in order.
type tale struct {
	mu    sync.Mutex // guards lines
	lines []string
}

// enter has somebody come who tells how it went; a slot is kept.
func (l *tale) enter(ctx context.Context, s *Semaphore, queue int, wait time.Duration, name string) {
	go func() {
		err := s.Acquire(ctx, queue, wait)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, fmt.Sprintf("%s: %v", name, err))
	}()
	synctest.Wait()
}

// expect takes what happened since it was last asked.
func (l *tale) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, want) {
		t.Fatalf("happened %q, want %q", l.lines, want)
	}
	l.lines = nil
}

func TestInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Fixed(2))
		var log tale
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			log.enter(t.Context(), s, 2, time.Second, name)
		}
		log.expect(t, "a: <nil>", "b: <nil>", "e: admit: 2 of 2 waiting")
		time.Sleep(300 * time.Millisecond)
		if got, want := s.Stats(), (Stats{Limit: 2, InFlight: 2, Queued: 2, Oldest: 300 * time.Millisecond}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		s.Release()
		log.expect(t, "c: <nil>")
		s.Release()
		log.expect(t, "d: <nil>")
		s.Release()
		s.Release()
		if got, want := s.Stats(), (Stats{Limit: 2}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
	})
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Fixed(1))
		if !s.TryAcquire() || s.TryAcquire() {
			t.Fatal("TryAcquire: want one slot")
		}
		if err := s.Acquire(t.Context(), 0, time.Second); err == nil || err.Error() != "admit: 1 of 1 in flight" {
			t.Errorf("Acquire without a line = %v", err)
		}
		err := s.Acquire(t.Context(), 1, 30*time.Millisecond)
		r, ok := errors.AsType[*RefusedError](err)
		if want := (RefusedError{Reason: TimedOut, InFlight: 1, Limit: 1, Queue: 1, Waited: 30 * time.Millisecond}); !ok || *r != want {
			t.Errorf("Acquire = %+v, want %+v", r, want)
		}
		cause := errors.New("left")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		if err := s.Acquire(ctx, 1, 0); !errors.Is(err, cause) {
			t.Errorf("Acquire = %v, want %v", err, cause)
		}
		down := errors.New("down")
		time.AfterFunc(time.Millisecond, func() { s.Flush(down) })
		if err := s.Acquire(t.Context(), 1, 0); !errors.Is(err, down) {
			t.Errorf("Acquire = %v, want %v", err, down)
		}
		time.AfterFunc(time.Millisecond, func() { s.Close(down) })
		for range 2 { // who waits, and who comes later
			if err := s.Acquire(t.Context(), 1, 0); !errors.Is(err, down) {
				t.Errorf("Acquire = %v, want %v", err, down)
			}
		}
		if got, want := s.Stats(), (Stats{Limit: 1, InFlight: 1}); got != want {
			t.Errorf("Stats = %+v, want %+v", got, want)
		}
		s.Release()
		if err := s.Acquire(t.Context(), 1, 0); err != nil {
			t.Errorf("Acquire of a free slot = %v", err)
		}
	})
}

// The newest goes first only under a strain that lasts, and no longer.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Fixed(1))
		s.TryAcquire()
		var log tale
		const long = time.Hour
		log.enter(t.Context(), s, 3, long, "a")
		log.enter(t.Context(), s, 3, long, "b")
		log.enter(t.Context(), s, 3, long, "c")
		time.Sleep(2 * Patience)
		s.Release() // long, but nobody was refused
		log.expect(t, "a: <nil>")
		log.enter(t.Context(), s, 3, long, "d")
		log.enter(t.Context(), s, 3, long, "x")
		time.Sleep(Patience - time.Millisecond)
		log.enter(t.Context(), s, 3, long, "x")
		s.Release() // not for long
		log.expect(t, "x: admit: 3 of 3 waiting", "x: admit: 3 of 3 waiting", "b: <nil>")
		time.Sleep(time.Millisecond)
		s.Release()
		log.expect(t, "d: <nil>")
		log.enter(t.Context(), s, 3, long, "e")
		time.Sleep(Patience)
		s.Release() // nobody was refused since
		log.expect(t, "c: <nil>")
		log.enter(t.Context(), s, 2, long, "f")
		log.enter(t.Context(), s, 2, long, "x")
		time.Sleep(Patience)
		log.enter(t.Context(), s, 2, long, "x")
		s.Release()
		log.expect(t, "x: admit: 2 of 2 waiting", "x: admit: 2 of 2 waiting", "f: <nil>")
		s.Release()
		if st := s.Stats(); st.NewestFirst {
			t.Error("newest first although the line was empty")
		}
		log.expect(t, "e: <nil>")
	})
}

// Who waits in vain is a strain as well.
func TestNewestFirstAfterTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Fixed(1))
		s.TryAcquire()
		var log tale
		log.enter(t.Context(), s, 9, time.Hour, "old")
		for range 3 {
			log.enter(t.Context(), s, 9, Patience/2, "x")
			time.Sleep(Patience/2 + 1)
		}
		log.expect(t, "x: admit: waited 500 ms", "x: admit: waited 500 ms", "x: admit: waited 500 ms")
		log.enter(t.Context(), s, 9, time.Hour, "new")
		s.Release()
		log.expect(t, "new: <nil>")
		s.Release()
		log.expect(t, "old: <nil>")
	})
}

func TestLimitThatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l changing
		l.Store(1)
		s := New(&l)
		var log tale
		for _, name := range []string{"a", "b", "c", "d"} {
			log.enter(t.Context(), s, 9, 0, name)
		}
		l.Store(2)
		log.expect(t, "a: <nil>")
		s.Wake()
		log.expect(t, "b: <nil>")
		l.Store(3)
		if s.TryAcquire() { // who waits comes first
			t.Error("TryAcquire overtook the line")
		}
		log.expect(t, "c: <nil>")
		l.Store(0) // counts as 1
		s.Release()
		s.Release()
		log.expect(t)
		s.Release()
		log.expect(t, "d: <nil>")
		s.Release()
		defer func() {
			if recover() == nil {
				t.Error("a slot was given back twice, and nothing said so")
			}
		}()
		s.Release()
	})
}

// Whatever races, every slot is held by one and comes back.
func TestSlotsUnderRaces(t *testing.T) {
	var l changing
	l.Store(3)
	s := New(&l)
	var holders, most atomic.Int64
	flushed := errors.New("flushed")
	stop := make(chan struct{})
	var noise, wg sync.WaitGroup
	noise.Go(func() {
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			l.Store(i%4 + 1)
			s.Wake()
			s.Stats()
			if i%16 == 0 {
				s.Flush(flushed)
			}
			runtime.Gosched()
		}
	})
	var admitted, refused atomic.Int64
	for g := range 16 {
		wg.Go(func() {
			for i := range 400 {
				ctx, cancel := context.WithCancel(t.Context())
				if (g+i)%3 == 0 {
					go cancel()
				}
				err := s.Acquire(ctx, 8, time.Duration(i%5)*10*time.Microsecond)
				if err == nil {
					n := holders.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					admitted.Add(1)
					for range 3 {
						runtime.Gosched() // others come meanwhile
					}
					holders.Add(-1)
					s.Release()
				} else {
					refused.Add(1)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	close(stop)
	noise.Wait()
	if st := s.Stats(); st.InFlight != 0 || st.Queued != 0 {
		t.Errorf("at the end %+v, want nobody", st)
	}
	if most.Load() > 4 {
		t.Errorf("%d in at once, want at most 4", most.Load())
	}
	if admitted.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d admitted, %d refused: want some of both", admitted.Load(), refused.Load())
	}
}

func TestAllocations(t *testing.T) {
	s := New(Fixed(1))
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if s.Acquire(ctx, 8, time.Second) == nil {
			s.Release()
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkUncontended(b *testing.B) {
	s := New(Fixed(8))
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if s.Acquire(ctx, 8, time.Second) == nil {
			s.Release()
		}
	}
}
