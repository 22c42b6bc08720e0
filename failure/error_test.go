package failure

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHTTPStatus(t *testing.T) {
	forbidden := []Note{{Kind: StaleForbidden, Detail: "must-revalidate"}}
	tests := []struct {
		name string
		e    Error
		want int
		own  bool
	}{
		{"row", Error{Cause: ConnectionRefused}, 502, true},
		{"a received status is no answer of ours", Error{Cause: Upstream5xx, Status: 503}, 503, false},
		{"received, stale forbidden", Error{Cause: Upstream5xx, Status: 503, Notes: forbidden}, 503, false},
		{"received 429", Error{Cause: Upstream429, Status: 429}, 429, false},
		{"received nothing known", Error{Cause: Upstream5xx}, 502, false},
		{"client gone", Error{Cause: ClientGone}, StatusClientGone, false},
		{"client body", Error{Cause: ClientBodyError}, 400, true},
		{"client body too large", Error{Cause: ClientBodyError, Status: 413}, 413, true},
		{"a status beside another cause", Error{Cause: Truncated, Status: 200}, 502, true},
		{"RFC 9111 5.2.2.2", Error{Cause: ConnectionRefused, Notes: forbidden}, 504, true},
		{"another status is more applicable", Error{Cause: Maintenance, Notes: forbidden}, 503, true},
	}
	for _, tt := range tests {
		if got := tt.e.HTTPStatus(); got != tt.want {
			t.Errorf("%s: HTTPStatus() = %d, want %d", tt.name, got, tt.want)
		}
		if got := tt.e.Own(); got != tt.own {
			t.Errorf("%s: Own() = %v, want %v", tt.name, got, tt.own)
		}
	}
}

func TestVerdict(t *testing.T) {
	tests := []struct {
		e    Error
		want Verdict
	}{
		{Error{Cause: ConnectionRefused}, LocalFailure},
		{Error{Cause: FirstByteTimeout}, BackendFailure},
		{Error{Cause: ClientGone}, Neutral},
		{Error{Cause: BreakerOpen}, Neutral},
		{Error{Cause: KeepaliveRace, Attempts: 1}, Neutral},
		{Error{Cause: KeepaliveRace, Attempts: 2}, BackendFailure},
		{Error{Cause: ResetBeforeHeaders}, Neutral},
		{Error{Cause: ResetBeforeHeaders, RequestWritten: true}, BackendFailure},
		{Error{Cause: Upstream5xx, Status: 500}, BackendFailure},
		{Error{Cause: Upstream5xx, Status: 501}, Neutral},
		{Error{Cause: Upstream5xx, Status: 505}, Neutral},
		{Error{Cause: Upstream429, Status: 429}, Neutral},
		{Error{Cause: Panic}, Neutral},
		{Error{Cause: Panic, Backend: "app"}, BackendFailure},
		{Error{Cause: HandlerAbort, Backend: "app"}, Neutral},
	}
	for _, tt := range tests {
		if got := tt.e.Verdict(); got != tt.want {
			t.Errorf("%+v: Verdict() = %v, want %v", tt.e, got, tt.want)
		}
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Cause: Truncated, Backend: "shop", Endpoint: "10.0.0.1:80", Status: 200, Detail: "got 3 of 5 bytes", Err: io.ErrUnexpectedEOF}
	want := `holdfast: backend "shop" endpoint 10.0.0.1:80: truncated (status 200): got 3 of 5 bytes: unexpected EOF`
	if got := e.Error(); got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the wrapped error is not found by errors.Is")
	}
}

func TestRetryAfterSeconds(t *testing.T) {
	for d, want := range map[time.Duration]int{
		0: 0, -time.Second: 0, time.Nanosecond: 1, time.Second: 1, 1001 * time.Millisecond: 2, time.Hour: 3600, math.MaxInt64: 9_223_372_037,
	} {
		if got := (&Error{RetryAfter: d}).RetryAfterSeconds(); got != want {
			t.Errorf("RetryAfter %v: %d, want %d", d, got, want)
		}
	}
}

func TestWithCopies(t *testing.T) {
	e := &Error{Cause: Truncated, Notes: make([]Note, 1, 8)}
	a, b := e.With(Note{Kind: SharedFill, Detail: "1"}), e.With(Note{Kind: NotRetried})
	if again := a.With(Note{Kind: SharedFill, Detail: "1"}); len(again.Notes) != 2 {
		t.Errorf("a note twice: %v", again.Notes)
	}
	if len(e.Notes) != 1 || len(a.Notes) != 2 || a.Notes[1].Kind != SharedFill || b.Notes[1].Kind != NotRetried {
		t.Errorf("notes: original %v, copies %v and %v", e.Notes, a.Notes, b.Notes)
	}
}

func TestRecovered(t *testing.T) {
	if e := Recovered(http.ErrAbortHandler, nil); e.Cause != HandlerAbort {
		t.Errorf("Recovered(ErrAbortHandler).Cause = %v", e.Cause)
	}
	for _, v := range []any{"boom", errors.New("boom"), 7} {
		if e := Recovered(v, []byte("stack")); e.Cause != Panic || e.Err == nil || e.Detail != "stack" {
			t.Errorf("Recovered(%v) = %+v", v, e)
		}
	}
}

func TestTimings(t *testing.T) {
	var a Timings
	a[PhaseConnect], a[PhaseWait] = 1200*time.Microsecond, 15*time.Second
	b := a
	b.Add(a)
	if got, want := a.String(), "connect=1.2ms wait=15s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := b.Total(), 2*a.Total(); got != want {
		t.Errorf("Total() = %v, want %v", got, want)
	}
	var text strings.Builder
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "phases", a)
	if !strings.Contains(text.String(), "phases.connect=1.2ms phases.wait=15s") {
		t.Errorf("logged as %q", text.String())
	}
}

func TestSlot(t *testing.T) {
	bare := context.Background()
	Report(bare, New(Truncated, nil)) // no slot: nothing happens
	Mend(bare, Retried)
	if _, ok := From(bare); ok {
		t.Error("a context without a slot holds a failure")
	}

	ctx := Track(bare)
	if Track(ctx) != ctx {
		t.Error("Track made a second slot")
	}
	Mend(ctx, Retried)
	if e, r := Outcome(ctx); e != nil || r != Unmended {
		t.Errorf("after Mend without a failure: %v, %v", e, r)
	}
	Reserve(bare)
	if Reserved(bare) || Reserved(ctx) {
		t.Error("an answer in reserve of which nobody told")
	}
	if Reserve(ctx); !Reserved(ctx) || Reserved(Isolate(ctx)) {
		t.Error("Reserve is for this slot, and for no other")
	}
	first := New(ConnectionRefused, nil)
	Report(ctx, first)
	Report(ctx, nil)
	if e, ok := From(ctx); !ok || e != first {
		t.Errorf("From = %v, %v", e, ok)
	}
	inner := Isolate(ctx)
	Report(inner, New(Truncated, nil))
	if e, _ := From(ctx); e != first {
		t.Errorf("a report inside an isolated context reached the outer slot: %v", e)
	}
	Mend(ctx, StaleIfError)
	if _, ok := From(ctx); ok {
		t.Error("a mended failure is still there")
	}
	if e, r := Outcome(ctx); e != first || r != StaleIfError {
		t.Errorf("Outcome = %v, %v", e, r)
	}
	Report(ctx, New(BodyStall, nil)) // a later failure is a new one
	if e, ok := From(ctx); !ok || e.Cause != BodyStall {
		t.Errorf("From = %v, %v", e, ok)
	}
}

func TestSlotIsSafeForConcurrentUse(t *testing.T) {
	ctx := Track(t.Context())
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				Report(ctx, New(Truncated, nil))
				Mend(ctx, Retried)
				_, _ = From(ctx)
			}
		})
	}
	wg.Wait()
	if e, r := Outcome(ctx); e == nil || r != Retried {
		t.Errorf("Outcome = %v, %v", e, r)
	}
}
