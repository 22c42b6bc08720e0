package breaker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		b := newBreaker(t, Config{MinVolume: 2, Trials: 1, Observe: func(_ context.Context, ev Event) {
			if ev.Kind == Changed {
				changes = append(changes, fmt.Sprintf("%v>%v %v %v", ev.From, ev.To, ev.Forced, ev.RetryAfter > 0))
			}
		}})
		old, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}

		b.Force(ForcedOpen)
		forced := time.Now()
		time.Sleep(24 * time.Hour) // no trial comes
		b.Force(ForcedOpen)
		_, err = b.Allow()
		if e := failure.As(err, 0); !errors.Is(err, ErrOpen) || e.Cause != failure.BreakerOpen || e.RetryAfter != 0 || !strings.Contains(e.Detail, "forced open at 2000-01-01T00:00:00Z") {
			t.Errorf("Allow() = %v, want a refusal without a time", err)
		}
		if s := b.State(); s.Phase != Open || s.Forced != ForcedOpen || !s.Since.Equal(forced) || !s.Next.IsZero() || s.Reason != "forced open" {
			t.Errorf("State() = %+v", s)
		}

		b.Force(ForcedClosed)
		for range 100 {
			call1(t, b, errBoom)
		}
		old(errBoom)
		if s := b.State(); s.Phase != Closed || s.Forced != ForcedClosed || s.Failures != 100 || s.Share != 1 {
			t.Errorf("State() = %+v, want closed with 100 failures", s)
		}

		b.Force(Automatic)
		if s := b.State(); s.Phase != Closed || s.Forced != Automatic || s.Requests != 0 || s.Share != 1 {
			t.Errorf("State() = %+v, want closed and empty", s)
		}
		old(errBoom)
		trip1(t, b)
		time.Sleep(7 * time.Second)
		trial, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}

		retired := b.stage.Load().gate
		late, err := retired.Allow()
		if err != nil {
			t.Fatal(err)
		}
		b.Force(ForcedClosed) // in the midst of a trial
		trial(errBoom)
		late(errFailed) // what is retired moves nothing
		wantPhase(t, b, Closed)
		b.Force(Forced(77)) // is Automatic
		trial(errBoom)
		trip1(t, b) // the new one works
		b.Force(ForcedOpen)
		b.Force(Automatic) // nobody asked it meanwhile: it recovers
		if s := b.State(); s.Phase != Closed || s.Share != 0 {
			t.Errorf("State() = %+v, want the beginning of a ramp", s)
		}

		want := []string{
			"closed>open forced_open false",
			"open>closed forced_closed false",
			"closed>closed automatic false",
			"closed>open automatic true",
			"open>half_open automatic false",
			"half_open>closed forced_closed false",
			"closed>closed automatic false",
			"closed>open automatic true",
			"open>open forced_open false",
			"open>closed automatic true",
		}
		if !slices.Equal(changes, want) {
			t.Errorf("changes:\n%s\nwant:\n%s", strings.Join(changes, "\n"), strings.Join(want, "\n"))
		}
	})
}

// Forced in the midst of traffic, for the race detector: the changes still come in
// their order, and the last word holds.
func TestForceStorm(t *testing.T) {
	var mu sync.Mutex
	last, broken := Closed, 0
	b := newBreaker(t, Config{MinVolume: 2, OpenFor: time.Millisecond, Trials: 2, Ramp: time.Millisecond, Observe: func(_ context.Context, ev Event) {
		mu.Lock()
		defer mu.Unlock()
		if ev.Kind == Changed {
			if ev.From != last {
				broken++
			}
			last = ev.To
		}
	}})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				if done, err := b.Allow(); err == nil {
					done([]error{nil, errBoom, failure.ErrUnused}[(g+i)%3])
				}
				b.State()
				b.Explain(nil)
			}
		})
	}
	wg.Go(func() {
		for i := range 1000 {
			b.Force(Forced(i % 3))
		}
	})
	wg.Wait()
	b.Force(ForcedClosed)
	call1(t, b, errBoom)
	call1(t, b, errBoom)
	call1(t, b, nil)
	mu.Lock()
	defer mu.Unlock()
	if broken != 0 || last != Closed {
		t.Errorf("%d changes out of order, last %v", broken, last)
	}
}

// A dry run changes nothing that a client sees, whatever happens and whatever is
// forced, and tells in events what would have been done.
func TestDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type sight struct {
			status int
			body   string
			header string
		}
		status := http.StatusOK
		origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if status != http.StatusOK {
				failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
				return
			}
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "page")
		})
		var events []Event
		cfg := Config{MinVolume: 5, Trials: 2, OpenFor: 2 * time.Second, Ramp: 4 * time.Second, Jitter: -1, DryRun: true}
		cfg.Observe = func(_ context.Context, ev Event) { events = append(events, ev) }
		b := newBreaker(t, cfg)
		h := b.Handler(origin)
		look := func(h http.Handler) sight {
			w := get(h)
			return sight{w.Code, w.Body.String(), fmt.Sprint(w.Result().Header)}
		}
		same := func(n int) {
			t.Helper()
			for range n {
				if got, want := look(h), look(origin); got != want {
					t.Fatalf("a client sees %+v, without the breaker %+v", got, want)
				}
			}
		}
		same(10)
		status = http.StatusBadGateway
		same(30)
		wantPhase(t, b, Open)
		time.Sleep(2*time.Second + 1)
		same(30) // a trial fails
		wantPhase(t, b, Open)
		status = http.StatusOK
		time.Sleep(2*time.Second + 1)
		same(200) // trials succeed, and the ramp begins
		wantPhase(t, b, Closed)
		time.Sleep(time.Second)
		same(200)
		status = http.StatusBadGateway
		before, passed := b.State(), 0
		for range 4 { // whoever would be refused is not counted, either
			n := len(events)
			same(1)
			if len(events) == n {
				passed++
			}
		}
		if s := b.State(); s.Failures-before.Failures != passed || passed == 4 {
			t.Errorf("State() = %+v, want %d failures more", s, passed)
		}
		status = http.StatusOK
		b.Force(ForcedOpen)
		same(10)

		phases, refused := "", map[Phase]int{}
		for _, ev := range events {
			if !ev.DryRun {
				t.Fatalf("event %+v is not marked", ev)
			}
			if ev.Kind == Changed {
				phases += ev.To.String() + " "
			} else {
				refused[ev.From]++
			}
		}
		if phases != "open half_open open half_open closed open " {
			t.Errorf("phases: %s", phases)
		}
		if refused[Open] < 40 || refused[Closed] < 200 {
			t.Errorf("refused: %v, want many while open and while recovering", refused)
		}
		if x := b.Explain(nil); !x.DryRun || x.Action != "refuse" || !x.State.DryRun {
			t.Errorf("Explain() = %+v", x)
		}
		done, err := b.Allow()
		if err != nil {
			t.Fatalf("Allow() = %v, want a permit", err)
		}
		done(errBoom)
		answered, done, err := b.AllowCall()
		if err != nil {
			t.Fatalf("AllowCall() = %v, want a permit", err)
		}
		answered()
		done(nil)
	})
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := 0
		b := newBreaker(t, Config{Name: "shop", MinVolume: 1, Trials: 1, Jitter: -1, Ramp: 10 * time.Second, Observe: func(context.Context, Event) { events++ }})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		want := func(action string, retryAfter int, detail string) {
			t.Helper()
			before := events
			for range 50 { // no effect
				x := b.Explain(r)
				if x.Breaker != "shop" || x.Action != action || x.RetryAfter != retryAfter || !strings.Contains(x.Detail, detail) || (detail == "") != (x.Detail == "") {
					t.Fatalf("Explain() = %+v, want %s, %d, %q", x, action, retryAfter, detail)
				}
			}
			if events != before {
				t.Errorf("Explain caused %d events", events-before)
			}
		}
		want("pass", 0, "")
		trip1(t, b)
		time.Sleep(1500 * time.Millisecond)
		want("refuse", 4, "next trial in 3.5s; last cause boom")
		time.Sleep(3500*time.Millisecond + 1)
		want("trial", 0, "")
		trial, err := b.Allow()
		if err != nil {
			t.Fatal(err)
		}
		want("refuse", 0, "1 trials are under way")
		trial(failure.ErrUnused)
		want("trial", 0, "")
		call1(t, b, nil)
		want("pass", 0, "") // the floor
		for err == nil {
			var done func(error)
			if done, err = b.Allow(); err == nil {
				done(nil)
			}
		}
		want("refuse", 10, "recovering: 0 % admitted, all in 10s")
		time.Sleep(10 * time.Second)
		want("pass", 0, "")
		b.Force(ForcedOpen)
		want("refuse", 0, "forced open")

		j, err := json.Marshal(b.Explain(nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"breaker":"shop"`, `"action":"refuse"`, `"phase":"open"`, `"forced":"forced_open"`, `"reason":"forced open"`, `"share":0`} {
			if !strings.Contains(string(j), want) {
				t.Errorf("JSON %s lacks %s", j, want)
			}
		}
		if strings.Contains(string(j), "0001-01-01") {
			t.Errorf("JSON %s has a time that is none", j)
		}
	})
}

func TestNames(t *testing.T) {
	got := fmt.Sprint(Automatic, ForcedOpen, ForcedClosed, Forced(9), Closed, Open, HalfOpen, Phase(9), Changed, Refused, EventKind(9))
	if want := "automatic forced_open forced_closed forced(?) closed open half_open phase(?) changed refused event(?)"; got != want {
		t.Errorf("names: %s", got)
	}
}
