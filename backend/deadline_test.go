package backend

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestParseDeadline(t *testing.T) {
	for _, tt := range []struct {
		name, v string
		want    time.Duration
		ok      bool
	}{
		{"X-T", "1500", 1500 * time.Millisecond, true},
		{"X-T", "0", 0, true},
		{"X-T", "", 0, false},
		{"X-T", "-1", 0, false},
		{"X-T", "+1", 0, false},
		{"X-T", "1.5", 0, false},
		{"X-T", "1s", 0, false},
		{"X-T", " 1", 0, false},
		{"X-T", "999999999999", maxTimeout, true},
		{"X-T", "9999999999999", 0, false},
		{grpcTimeout, "100m", 100 * time.Millisecond, true},
		{grpcTimeout, "2S", 2 * time.Second, true},
		{grpcTimeout, "3M", 3 * time.Minute, true},
		{grpcTimeout, "1H", time.Hour, true},
		{grpcTimeout, "7u", 7 * time.Microsecond, true},
		{grpcTimeout, "8n", 8 * time.Nanosecond, true},
		{grpcTimeout, "99999999H", maxTimeout, true},
		{grpcTimeout, "999999999m", 0, false},
		{grpcTimeout, "100", 0, false},
		{grpcTimeout, "m", 0, false},
		{grpcTimeout, "1h", 0, false},
	} {
		if got, ok := parseDeadline(tt.name, tt.v); got != tt.want || ok != tt.ok {
			t.Errorf("parseDeadline(%q, %q) = %v, %v, want %v, %v", tt.name, tt.v, got, ok, tt.want, tt.ok)
		}
	}
}

func FuzzParseDeadline(f *testing.F) {
	f.Add("X-T", "1500")
	f.Add(grpcTimeout, "100m")
	f.Fuzz(func(t *testing.T, name, v string) {
		d, ok := parseDeadline(name, v)
		if d < 0 || d > maxTimeout || !ok && d != 0 {
			t.Fatalf("parseDeadline(%q, %q) = %v, %v", name, v, d, ok)
		}
		if back, ok := parseDeadline(name, formatDeadline(name, d)); !ok || back > d {
			t.Fatalf("%v is told as %v, %v", d, back, ok)
		}
	})
}

// What is left is sent on; who is not trusted has no say in it.
func TestDeadlineIsSentOn(t *testing.T) {
	for _, tt := range []struct {
		name          string
		field, sent   string
		trust         bool
		until         time.Duration
		atLeast, most int64 // in ms; most 0: no field at all
	}{
		{"ours", "X-Timeout-Ms", "", false, 20 * time.Second, 10_000, 20_000},
		{"the caller's", "X-Timeout-Ms", "15000", true, 20 * time.Second, 5_000, 15_000},
		{"more than ours", "X-Timeout-Ms", "90000", true, 20 * time.Second, 10_000, 20_000},
		{"of a stranger", "X-Timeout-Ms", "15", false, 20 * time.Second, 10_000, 20_000},
		{"of a stranger without a limit of ours", "X-Timeout-Ms", "15", false, -1, 0, 0},
		{"the caller's without a limit of ours", "X-Timeout-Ms", "15000", true, -1, 5_000, 15_000},
		{"no number", "X-Timeout-Ms", "soon", true, 20 * time.Second, 10_000, 20_000},
		{"gRPC", "grpc-timeout", "15S", true, 20 * time.Second, 5_000, 15_000},
	} {
		for _, way := range []string{"remote", "in process"} {
			t.Run(way+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				got := make(chan []string, 1)
				h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Values(tt.field) })
				one := Endpoint{Handler: h}
				if way == "remote" {
					srv := httptest.NewServer(h)
					t.Cleanup(srv.Close)
					one = Endpoint{URL: srv.URL}
				}
				b := newBackend(t, Config{
					Endpoints: []Endpoint{one}, UntilHeaders: tt.until, DeadlineHeader: tt.field,
					TrustDeadline: func(*http.Request) bool { return tt.trust },
				})
				r := httptest.NewRequestWithContext(failure.Track(t.Context()), http.MethodGet, "/", nil)
				if tt.sent != "" {
					r.Header.Set(tt.field, tt.sent)
				}
				b.ServeHTTP(httptest.NewRecorder(), r)
				if r.Header.Get(tt.field) != tt.sent {
					t.Errorf("the client's request was changed: %q", r.Header.Get(tt.field))
				}
				values := <-got
				if tt.most == 0 {
					if len(values) != 0 {
						t.Errorf("sent %q, want nothing", values)
					}
					return
				}
				if len(values) != 1 {
					t.Fatalf("sent %q, want one value", values)
				}
				d, ok := parseDeadline(http.CanonicalHeaderKey(tt.field), values[0])
				if ms := d.Milliseconds(); !ok || ms < tt.atLeast || ms > tt.most {
					t.Errorf("sent %q, want %d to %d ms", values[0], tt.atLeast, tt.most)
				}
			})
		}
	}
}

// The caller's deadline ends the request.
func TestCallersDeadlineEndsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(t, Config{
			Endpoints:      []Endpoint{{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })}},
			DeadlineHeader: "X-Timeout-Ms", TrustDeadline: func(*http.Request) bool { return true },
		})
		began := time.Now()
		v := visitTo(t, b, "X-Timeout-Ms", "250").wait(t)
		if d := time.Since(began); d != 250*time.Millisecond || v.err == nil || v.err.Cause != failure.TotalDeadline || v.rec.Code != 504 {
			t.Errorf("after %v: %v, want total_deadline after 250 ms", d, v.err)
		}
		v = visitTo(t, b, "X-Timeout-Ms", "0").wait(t)
		if v.err == nil || v.err.Cause != failure.TotalDeadline || v.err.Attempts != 0 {
			t.Errorf("with nothing left: %v, want total_deadline without an attempt", v.err)
		}
	})
}

// An attempt that can't end in time is not made, but once in a while.
func TestHopelessAttemptIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		var takes atomic.Int64
		takes.Store(int64(300 * time.Millisecond))
		gate := &openGate{}
		b := newBackend(t, Config{
			Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n.Add(1)
				time.Sleep(time.Duration(takes.Load()))
				_, _ = io.WriteString(w, "x")
			})}},
			DeadlineHeader: "X-Timeout-Ms", TrustDeadline: func(*http.Request) bool { return true },
			Gate: gate, MaxInFlight: 1,
		})
		for range enoughAnswers {
			visitTo(t, b).wait(t)
		}
		n.Store(0)
		for range 8 {
			v := visitTo(t, b, "X-Timeout-Ms", "100").wait(t)
			if v.err == nil || v.err.Cause != failure.TotalDeadline {
				t.Fatalf("failed with %v, want total_deadline", v.err)
			}
			if v.err.Attempts == 0 && !strings.Contains(v.err.Detail, "100ms of 100ms left, the fastest answer lately took 300ms") {
				t.Errorf("failed with %v, want what was left and what it takes", v.err)
			}
			synctest.Wait()
			time.Sleep(200 * time.Millisecond) // the first is still at work
		}
		if got := n.Load(); got < 1 || got > 3 {
			t.Errorf("%d attempts, want one per second", got)
		}
		time.Sleep(time.Second)
		takes.Store(0) // it became faster
		if v := visitTo(t, b, "X-Timeout-Ms", "100").wait(t); v.err != nil {
			t.Errorf("the trial failed with %v", v.err)
		}
		if v := visitTo(t, b, "X-Timeout-Ms", "100").wait(t); v.err != nil {
			t.Errorf("after it: %v", v.err)
		}
		if gate.open.Load() != 0 || b.entrance.slots.Stats().InFlight != 0 || b.Endpoints()[0].InFlight != 0 {
			t.Errorf("not all permits and slots came back")
		}
	})
}

// No retry begins behind the deadline, and where the time went is told.
func TestNoRetryBehindTheDeadline(t *testing.T) {
	var n atomic.Int64
	server := newFaults(t, counted(&n, func(net.Conn) {}))
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: server.url()}}, Retries: 9, RetryBudget: -1, UntilHeaders: 400 * time.Millisecond,
	})
	v := visitTo(t, b).wait(t)
	if v.err == nil || v.err.Cause != failure.TotalDeadline || v.err.Phases[failure.PhaseBackoff] == 0 ||
		!strings.Contains(v.err.Detail, "backoff=") || v.err.Attempts != int(n.Load()) || n.Load() > 6 {
		t.Errorf("after %d attempts: %v (%v), want total_deadline with its phases", n.Load(), v.err, v.err.Phases)
	}
}

func TestDeadlineConfig(t *testing.T) {
	for _, tt := range []struct {
		name  string
		trust bool
		want  string
	}{
		{"Host", false, `Config.DeadlineHeader is "Host"`},
		{"connection", false, `Config.DeadlineHeader is "connection"`},
		{"a b", false, `Config.DeadlineHeader is "a b"`},
		{"", true, "Config.TrustDeadline is set"},
	} {
		cfg := Config{Endpoints: []Endpoint{{URL: "http://a"}}, DeadlineHeader: tt.name}
		if tt.trust {
			cfg.TrustDeadline = func(*http.Request) bool { return true }
		}
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("New with %q = %v, want %q in it", tt.name, err, tt.want)
		}
	}
}
