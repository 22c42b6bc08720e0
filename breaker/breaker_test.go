package breaker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

var errBoom = errors.New("boom")

func TestNewValidates(t *testing.T) {
	good := []Config{
		{},
		{SlowCall: -1},
		{Window: 10 * time.Second, SlowCall: 4999 * time.Millisecond},
		{Window: minWindow},
		{Consecutive: -1, LocalConsecutive: -1, Jitter: -1, Ramp: -1, OpenMax: 5 * time.Second},
		{Jitter: 0.99, Ramp: math.MaxInt64, OpenFor: math.MaxInt64, OpenMax: math.MaxInt64, Trials: 1, TrialsNeeded: math.MaxInt32},
		{SlowCall: time.Second, SlowRatio: 1, DryRun: true},
		{Window: maxWindow, OpenFor: math.MaxInt64, TrialTimeout: math.MaxInt64, FailureRatio: 1, MinVolume: 1, Trials: 1},
		{Window: 10*time.Second + 7}, // no multiple of ten
	}
	for _, cfg := range good {
		b, err := New(cfg)
		if err != nil {
			t.Errorf("New(%+v) = %v, want no error", cfg, err)
			continue
		}
		if done, err := b.Allow(); err != nil {
			t.Errorf("New(%+v).Allow() = %v, want a permit", cfg, err)
		} else {
			done(nil)
		}
	}
	bad := []struct {
		cfg  Config
		want []string
	}{
		{Config{Window: -1}, []string{"Config.Window is -1ns"}},
		{Config{Window: time.Millisecond}, []string{"Config.Window is 1ms"}},
		{Config{Window: math.MaxInt64}, []string{"Config.Window"}},
		{Config{MinVolume: -1}, []string{"Config.MinVolume is -1"}},
		{Config{MinVolume: math.MaxInt}, []string{"Config.MinVolume"}},
		{Config{Trials: -1}, []string{"Config.Trials is -1"}},
		{Config{FailureRatio: -0.1}, []string{"Config.FailureRatio is -0.1"}},
		{Config{FailureRatio: 1.1}, []string{"Config.FailureRatio is 1.1"}},
		{Config{FailureRatio: math.NaN()}, []string{"Config.FailureRatio is NaN"}},
		{Config{FailureRatio: math.Inf(1)}, []string{"Config.FailureRatio is +Inf"}},
		{Config{OpenFor: -time.Second}, []string{"Config.OpenFor is -1s"}},
		{Config{TrialTimeout: -time.Second}, []string{"Config.TrialTimeout is -1s"}},
		{Config{TrialRelease: -time.Second}, []string{"Config.TrialRelease is -1s"}},
		{Config{SlowCall: 5 * time.Second}, []string{"Config.SlowCall is 5s", "half of Window (10s)"}},
		{Config{SlowCall: math.MaxInt64}, []string{"Config.SlowCall"}},
		{Config{SlowRatio: 0.5}, []string{"Config.SlowRatio is 0.5", "SlowCall must be set"}},
		{Config{SlowRatio: 0.5, SlowCall: -1}, []string{"SlowCall must be set"}},
		{Config{SlowRatio: 1.5, SlowCall: time.Second}, []string{"Config.SlowRatio is 1.5"}},
		{Config{SlowRatio: math.NaN(), SlowCall: time.Second}, []string{"Config.SlowRatio is NaN"}},
		{Config{Jitter: 1}, []string{"Config.Jitter is 1"}},
		{Config{Jitter: math.NaN()}, []string{"Config.Jitter is NaN"}},
		{Config{OpenMax: 4 * time.Second}, []string{"Config.OpenMax is 4s", "at least OpenFor (5s)"}},
		{Config{OpenMax: -1}, []string{"Config.OpenMax"}},
		{Config{TrialsNeeded: -1}, []string{"Config.TrialsNeeded is -1"}},
		{
			Config{Window: -1, MinVolume: -1, Trials: -1, FailureRatio: 2, OpenFor: -1, TrialTimeout: -1, SlowCall: 1},
			[]string{"Window", "MinVolume", "Trials", "FailureRatio", "OpenFor", "TrialTimeout", "SlowCall"},
		},
	}
	for _, tt := range bad {
		_, err := New(tt.cfg)
		if err == nil {
			t.Errorf("New(%+v) = nil, want an error with %q", tt.cfg, tt.want)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("New(%+v) = %q, want it to contain %q", tt.cfg, err, want)
			}
		}
	}
}

// call1 makes a call that ends at once.
func call1(t *testing.T, b *Breaker, result error) {
	t.Helper()
	done, err := b.Allow()
	if err != nil {
		t.Fatalf("Allow() = %v, want a permit", err)
	}
	done(result)
}

func wantPhase(t *testing.T, b *Breaker, want Phase) {
	t.Helper()
	if s := b.State(); s.Phase != want {
		t.Fatalf("State() = %+v, want %v", s, want)
	}
}

func trip1(t *testing.T, b *Breaker) {
	t.Helper()
	for range b.cfg.MinVolume {
		call1(t, b, errBoom)
	}
	wantPhase(t, b, Open)
}

func TestTrips(t *testing.T) {
	tests := []struct {
		name                string
		successes, failures int
		min                 int
		ratio               float64
		open                bool
	}{
		{"too few", 0, 19, 20, 0.5, false},
		{"enough", 0, 20, 20, 0.5, true},
		{"half", 10, 10, 20, 0.5, true},
		{"less than half", 11, 10, 20, 0.5, false},
		{"a third", 2, 1, 3, 1.0 / 3, true},
		{"three tenths", 7, 3, 10, 0.3, true},
		{"all", 0, 5, 5, 1, true},
		{"almost all", 1, 100, 5, 1, false},
		{"one", 0, 1, 1, 1, true},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			b := newBreaker(t, Config{MinVolume: tt.min, FailureRatio: tt.ratio})
			for range tt.successes {
				call1(t, b, nil)
			}
			for range tt.failures {
				call1(t, b, errBoom)
			}
			want := Closed
			if tt.open {
				want = Open
			}
			if s := b.State(); s.Phase != want || s.Requests != tt.successes+tt.failures || s.Failures != tt.failures {
				t.Errorf("%s: State() = %+v, want %v with %d of %d", tt.name, s, want, tt.failures, tt.successes+tt.failures)
			}
		})
	}
}

func TestWindowRolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{Window: 10 * time.Second, MinVolume: 10, Consecutive: -1})
		for range 9 {
			call1(t, b, errBoom)
		}
		time.Sleep(9 * time.Second) // still in the window
		if s := b.State(); s.Failures != 9 {
			t.Errorf("after 9s: State() = %+v, want 9 failures", s)
		}
		time.Sleep(2 * time.Second)
		if s := b.State(); s.Failures != 0 || s.Requests != 0 {
			t.Errorf("after 11s: State() = %+v, want an empty window", s)
		}
		call1(t, b, errBoom)
		wantPhase(t, b, Closed)
		for range 8 {
			call1(t, b, errBoom)
			time.Sleep(time.Second)
		}
		call1(t, b, errBoom)
		wantPhase(t, b, Open) // ten failures within 8 s
	})
}

// The way round: closed, open, half-open, open, half-open, closed; with what
// callers and the observer are told.
func TestCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		b := newBreaker(t, Config{
			Name: "shop", MinVolume: 2, OpenFor: 5 * time.Second, Trials: 2, Jitter: -1, Ramp: -1,
			Observe: func(_ context.Context, ev Event) { events = append(events, ev) },
		})
		refused := &failure.Error{Cause: failure.ConnectionRefused, Backend: "shop"}
		call1(t, b, nil)
		call1(t, b, refused)
		wantPhase(t, b, Open)
		opened := time.Now()

		time.Sleep(3800 * time.Millisecond)
		_, err := b.Allow()
		e, ok := errors.AsType[*failure.Error](err)
		if !ok || !errors.Is(err, ErrOpen) || e.Cause != failure.BreakerOpen || e.RetryAfter != 1200*time.Millisecond || e.RetryAfterSeconds() != 2 {
			t.Fatalf("Allow() = %v, want breaker_open with 1.2s left", err)
		}
		for _, want := range []string{`"shop"`, "1 of 2 calls within 10s", "0.5 opens", opened.UTC().Format(time.RFC3339), "next trial in 1.2s", "connection_refused"} {
			if !strings.Contains(e.Detail, want) {
				t.Errorf("Detail = %q, want it to contain %q", e.Detail, want)
			}
		}
		if s := b.State(); !s.Since.Equal(opened) || !s.Next.Equal(opened.Add(5*time.Second)) || s.LastCause != failure.ConnectionRefused || s.Failures != 1 || s.Requests != 2 {
			t.Errorf("State() = %+v", s)
		}

		time.Sleep(1200*time.Millisecond + 1)
		if s := b.State(); s.Phase != HalfOpen || len(events) != 2 {
			t.Fatalf("when a trial is due: State() = %+v with %d events, want half_open and no change", s, len(events))
		}
		first, err := b.Allow()
		if err != nil {
			t.Fatalf("first trial: %v", err)
		}
		second, err := b.Allow()
		if err != nil {
			t.Fatalf("second trial: %v", err)
		}
		_, err = b.Allow()
		if e, _ := errors.AsType[*failure.Error](err); !errors.Is(err, ErrOpen) || e.RetryAfter != 0 || !strings.Contains(e.Detail, "2 trials are under way") {
			t.Fatalf("third call while half-open = %v, want a refusal without a time", err)
		}
		first(nil)
		second(&failure.Error{Cause: failure.FirstByteTimeout})
		wantPhase(t, b, Open)
		if s := b.State(); s.Reason != "trial failed" || !s.Next.Equal(time.Now().Add(5*time.Second)) {
			t.Errorf("after a failed trial: State() = %+v", s)
		}

		time.Sleep(5*time.Second + 1)
		call1(t, b, nil)
		wantPhase(t, b, HalfOpen)
		call1(t, b, nil)
		wantPhase(t, b, Closed)
		if s := b.State(); s.Requests != 0 || s.Reason != "2 of 2 trials succeeded" {
			t.Errorf("closed again: State() = %+v, want an empty window", s)
		}

		var got []string
		for _, ev := range events {
			got = append(got, fmt.Sprintf("%v %v>%v %d/%d %v %v", ev.Kind, ev.From, ev.To, ev.Failures, ev.Requests, ev.LastCause, ev.RetryAfter))
			if ev.Name != "shop" || ev.Reason == "" {
				t.Errorf("event %+v lacks name or reason", ev)
			}
		}
		want := []string{
			"changed closed>open 1/2 connection_refused 5s",
			"refused open>open 1/2 connection_refused 1.2s",
			"changed open>half_open 0/0 connection_refused 0s",
			"refused half_open>half_open 1/2 connection_refused 0s",
			"changed half_open>open 0/0 first_byte_timeout 5s",
			"changed open>half_open 0/0 first_byte_timeout 0s",
			"changed half_open>closed 0/0 first_byte_timeout 0s",
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestJudgeError(t *testing.T) {
	tests := []struct {
		err  error
		want outcome
	}{
		{nil, succeeded},
		{errBoom, failed},
		{context.DeadlineExceeded, failed},
		{context.Canceled, neutral},
		{fmt.Errorf("wrapped: %w", context.Canceled), neutral},
		{http.ErrAbortHandler, neutral},
		{failure.ErrUnused, neutral},
		{fmt.Errorf("wrapped: %w", failure.ErrUnused), neutral},
		{failure.New(failure.ClientGone, context.Canceled), neutral},
		{failure.New(failure.HandlerAbort, http.ErrAbortHandler), neutral},
		{failure.New(failure.FirstByteTimeout, context.Canceled), failed}, // our own timer cancelled it
		{fmt.Errorf("wrapped: %w", failure.New(failure.ConnectionRefused, nil)), failed},
		{&failure.Error{Cause: failure.Upstream5xx, Status: 500}, failed},
		{&failure.Error{Cause: failure.Upstream5xx, Status: 501}, neutral},
		{&failure.Error{Cause: failure.Upstream429, Status: 429}, neutral},
		{&failure.Error{Cause: failure.KeepaliveRace, Attempts: 1}, neutral},
		{&failure.Error{Cause: failure.KeepaliveRace, Attempts: 2}, failed},
		{failure.New(failure.RateLimited, nil), neutral},
		{failure.New(failure.ClientBodyError, nil), neutral},
		{failure.New(failure.BreakerOpen, nil), neutral},
		{failure.New(failure.HeadersTooLarge, nil), neutral},
	}
	b := newBreaker(t, Config{})
	for _, tt := range tests {
		if got := b.judgeError(tt.err).outcome; got != tt.want {
			t.Errorf("judgeError(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}

	own := newBreaker(t, Config{IsFailure: func(e *failure.Error, status int) bool {
		return e != nil && (e.Cause == failure.HeadersTooLarge || errors.Is(e, errBoom)) || status == 404
	}})
	for _, tt := range []struct {
		err  error
		want outcome
	}{
		{nil, succeeded},
		{errBoom, failed},
		{context.DeadlineExceeded, succeeded},
		{failure.New(failure.ClientGone, nil), neutral},
		{failure.New(failure.HeadersTooLarge, nil), failed},
		{failure.New(failure.ConnectionRefused, nil), succeeded},
		{failure.New(failure.RateLimited, nil), neutral},
	} {
		if got := own.judgeError(tt.err).outcome; got != tt.want {
			t.Errorf("with IsFailure: judgeError(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
	for status, want := range map[int]outcome{200: succeeded, 404: failed, 500: succeeded} {
		if got := own.judge(nil, status, false).outcome; got != want {
			t.Errorf("with IsFailure: judge(nil, %d) = %v, want %v", status, got, want)
		}
	}
}

func TestLastCauseIsBounded(t *testing.T) {
	b := newBreaker(t, Config{MinVolume: 1})
	call1(t, b, errors.New(strings.Repeat("x", 10_000)))
	_, err := b.Allow()
	if e := failure.As(err, 0); len(e.Detail) > 500 || !strings.Contains(e.Detail, "xxx...") {
		t.Errorf("Detail has %d bytes: %.300q", len(e.Detail), e.Detail)
	}
}

// Neutral results count neither way, and give a trial's place back.
func TestNeutral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(t, Config{MinVolume: 2, Trials: 1})
		for _, err := range []error{failure.ErrUnused, context.Canceled, failure.New(failure.ClientGone, nil)} {
			for range 10 {
				call1(t, b, err)
			}
		}
		if s := b.State(); s.Phase != Closed || s.Requests != 0 {
			t.Fatalf("State() = %+v, want nothing counted", s)
		}
		trip1(t, b)
		time.Sleep(6 * time.Second)
		for range 10 { // one place, ten times given back
			call1(t, b, failure.ErrUnused)
			wantPhase(t, b, HalfOpen)
		}
		call1(t, b, nil)
		wantPhase(t, b, Closed)
	})
}
