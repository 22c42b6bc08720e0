package breaker

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// scene is a handler behind a breaker under an open-loop load.
type scene struct {
	h http.Handler
	// arrived counts the calls that reached the handler, underWay those that are
	// in it, refused those that did not, and longest is how long an answer took
	// since it was last set to 0.
	arrived, underWay, refused, longest atomic.Int64
}

func newScene(b *Breaker, origin http.HandlerFunc) *scene {
	s := new(scene)
	s.h = b.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.arrived.Add(1)
		s.underWay.Add(1)
		defer s.underWay.Add(-1)
		origin(w, r)
	}))
	return s
}

// load sends a request every so often, for a time or until something is true,
// and waits for none.
func (s *scene) load(every, lasts time.Duration, until func() bool) {
	for end := time.Now().Add(lasts); time.Now().Before(end) && (until == nil || !until()); time.Sleep(every) {
		began := time.Now()
		go func() {
			if w := get(s.h); w.Code == http.StatusServiceUnavailable {
				s.refused.Add(1)
			}
			if took := int64(time.Since(began)); took > s.longest.Load() {
				s.longest.Store(took)
			}
		}()
	}
}

// A dead backend is asked by trials only, its recovery is noticed within 1.2 open
// times and a second, and what arrives then grows.
func TestSceneDeadBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		b := newBreaker(t, Config{OpenFor: 2 * time.Second, Ramp: 4 * time.Second})
		s := newScene(b, func(w http.ResponseWriter, r *http.Request) {
			if dead.Load() {
				failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
			}
		})
		closed := func() bool { return b.State().Phase == Closed }
		s.load(2*time.Millisecond, 12*time.Second, nil)
		dead.Store(true)
		died := time.Now()
		s.load(2*time.Millisecond, time.Minute, func() bool { return !closed() })
		if took := time.Since(died); took < 2*time.Second || took > 2*time.Second+100*time.Millisecond {
			t.Errorf("opened %v after the backend was gone, want after a run of OpenFor", took)
		}
		synctest.Wait()
		before := s.arrived.Load()
		s.load(2*time.Millisecond, 20*time.Second, nil)
		if n := s.arrived.Load() - before; n < 5 || n > 13*3 {
			t.Errorf("%d calls reached the dead backend in 20 s, want trials alone: at most 3 in 1.6 s", n)
		}
		dead.Store(false)
		mended := time.Now()
		s.load(2*time.Millisecond, time.Minute, closed)
		if took := time.Since(mended); took > 1200*2*time.Millisecond+time.Second {
			t.Errorf("recovery was noticed after %v, want at most 3.4s", took)
		}
		synctest.Wait()
		last := int64(0)
		for second := range 4 {
			before := s.arrived.Load()
			s.load(2*time.Millisecond, time.Second, nil)
			synctest.Wait()
			n := s.arrived.Load() - before
			if ideal := int64(500*(2*second+1)/8 + 20); n < last || n > ideal+25 {
				t.Errorf("second %d of the recovery: %d arrived after %d, want growth up to %d", second, n, last, ideal)
			}
			last = n
		}
		before, refused := s.arrived.Load(), s.refused.Load()
		s.load(2*time.Millisecond, time.Second, nil)
		synctest.Wait()
		if n := s.arrived.Load() - before; n != 500 || s.refused.Load() != refused {
			t.Errorf("after the ramp %d of 500 arrived", n)
		}
	})
}

// A backend that takes calls and never answers: the breaker opens at SlowCall and
// a little, though none has ended and much was well before; then nobody waits.
func TestSceneStalledBackend(t *testing.T) {
	for name, cfg := range map[string]Config{
		"hung":         {SlowCall: 2 * time.Second, TrialRelease: time.Second},
		"slow":         {SlowCall: 2 * time.Second, SlowRatio: 0.9, TrialRelease: time.Second},
		"from a start": {SlowCall: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(t, cfg)
				var stalls atomic.Bool
				release := make(chan struct{})
				s := newScene(b, func(http.ResponseWriter, *http.Request) {
					if stalls.Load() {
						<-release
					}
				})
				if name != "from a start" {
					s.load(10*time.Millisecond, 30*time.Second, nil)
				}
				stalls.Store(true)
				began := time.Now()
				s.load(10*time.Millisecond, time.Minute, func() bool { return b.State().Phase != Closed })
				if took := time.Since(began); took > 2300*time.Millisecond {
					t.Errorf("opened after %v, want SlowCall and the time of 20 calls", took)
				}
				// What arrived in SlowCall, and the volume.
				if n := s.underWay.Load(); n > 200+20+1 {
					t.Errorf("%d are in flight, want at most 221", n)
				}
				synctest.Wait()
				s.longest.Store(0)
				inFlight := s.underWay.Load()
				s.load(10*time.Millisecond, 4*time.Second, nil)
				synctest.Wait()
				if took := time.Duration(s.longest.Load()); took > 0 {
					t.Errorf("an answer took %v while open, want none that waits", took)
				}
				s.load(10*time.Millisecond, time.Minute, nil)
				if n := s.underWay.Load() - inFlight; n > 60/2*3+maxReleased {
					t.Errorf("%d trials more in a minute", n)
				}
				close(release)
			})
		})
	}
}

// A site of a few requests a minute whose backend hangs: its visitors don't all
// wait for a timeout, and once it is well none of them is refused.
func TestSceneFewRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{})
		var hangs atomic.Bool
		visit := func() (time.Duration, error) {
			began := time.Now()
			done, err := b.Allow()
			if err != nil {
				return 0, err
			}
			if hangs.Load() {
				time.Sleep(15 * time.Second)
				done(failure.New(failure.FirstByteTimeout, nil))
			} else {
				done(nil)
			}
			return time.Since(began), nil
		}
		hangs.Store(true)
		waited, refused := 0, 0
		for range 100 {
			switch took, err := visit(); {
			case errors.Is(err, ErrOpen):
				refused++
			case took > 0:
				waited++
			}
			time.Sleep(5 * time.Second)
		}
		if refused < 50 {
			t.Errorf("%d waited and %d were answered at once, want most of them", waited, refused)
		}
		hangs.Store(false)
		for b.State().Phase == Open {
			time.Sleep(time.Second)
		}
		for range 20 {
			if _, err := visit(); err != nil {
				t.Fatalf("refused after the recovery: %v", err)
			}
			time.Sleep(10 * time.Second)
		}
	})
}
