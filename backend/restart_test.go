package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/porttest"
)

// town is a set of addresses where somebody answers or nobody does, without
// sockets.
type town struct {
	mu     sync.Mutex // guards what follows
	up     map[string]bool
	dials  int
	served []string
}

func (n *town) set(addr string, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up[addr] = up
}

func (n *town) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (n *town) connect(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	up := n.up[addr]
	n.mu.Unlock()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !up {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	ours, theirs := net.Pipe()
	go func() {
		defer theirs.Close()
		br := bufio.NewReader(theirs)
		for {
			r, ok := readRequest(br)
			if !ok {
				return
			}
			n.mu.Lock()
			n.served = append(n.served, r.URL.Path)
			n.mu.Unlock()
			if _, err := io.WriteString(theirs, okHello); err != nil {
				return
			}
		}
	}()
	return ours, nil
}

// inTown makes a backend whose endpoints a, b, ... are in a town.
func inTown(t *testing.T, n *town, cfg Config, addrs ...string) *Backend {
	t.Helper()
	n.up = make(map[string]bool)
	for _, addr := range addrs {
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{URL: "http://" + addr})
	}
	d := newDialer()
	d.connect = n.connect
	return newBackendWith(t, cfg, d)
}

const (
	townA = "10.0.0.1:80"
	townB = "10.0.0.2:80"
)

// A backend that is down for good: who comes soon waits until the time is over
// that began with the first refusal, who comes later is answered at once, and
// all are told the true cause.
func TestRestartWaitEnds(t *testing.T) {
	for _, addrs := range [][]string{{townA}, {townA, townB}} {
		t.Run(fmt.Sprint(len(addrs)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n town
				b := inTown(t, &n, Config{RestartWait: 2 * time.Second, RestartQueue: 4}, addrs...)
				var took [7]time.Duration
				var visits [7]*visit
				come := func(i int) {
					began := time.Now()
					visits[i] = visitTo(t, b)
					go func(v *visit) {
						<-v.done
						took[i] = time.Since(began)
					}(visits[i])
					synctest.Wait()
				}
				come(0)
				time.Sleep(500 * time.Millisecond)
				come(1)
				come(2)
				come(3)
				come(4) // one too many
				time.Sleep(2 * time.Second)
				come(5)
				time.Sleep(time.Minute)
				come(6)
				time.Sleep(time.Minute)
				synctest.Wait()
				for i, want := range []time.Duration{2000, 1500, 1500, 1500, 0, 0, 0} {
					// A first attempt takes a back-off at the most.
					if want *= time.Millisecond; took[i] < want || took[i] > want+time.Millisecond {
						t.Errorf("visit %d took %v, want %v", i, took[i], want)
					}
					e := visits[i].err
					if e == nil || e.Cause != failure.ConnectionRefused || visits[i].rec.Code != http.StatusBadGateway {
						t.Errorf("visit %d failed with %v, want connection_refused", i, e)
						continue
					}
					if got := e.Phases[failure.PhaseQueue].Round(time.Millisecond); got != want {
						t.Errorf("visit %d: %v in the queue, want %v", i, got, want)
					}
					if !errors.Is(e, syscall.ECONNREFUSED) {
						t.Errorf("visit %d: %v does not have the error of the connection", i, e)
					}
					if want > 0 && !strings.Contains(e.Detail, "waited ") {
						t.Errorf("visit %d: detail %q does not tell of the wait", i, e.Detail)
					}
				}
				if e := visits[4].err; e == nil || !e.Noted(failure.NotRetried) {
					t.Errorf("one too many: %v, want a note", e)
				}
				if d := n.count(); d > 400 { // 2 s at 25 to 50 ms, then every second or two
					t.Errorf("connected %d times, want few", d)
				}
			})
		})
	}
}

// Who waits is served when it comes back: without an attempt in between, in
// order, without a cost to the budget.
func TestRestartWaitServes(t *testing.T) {
	for _, addrs := range [][]string{{townA}, {townA, townB}} {
		t.Run(fmt.Sprint(len(addrs)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n town
				var rec recorder
				gate := &countingDoor{}
				b := inTown(t, &n, Config{RestartWait: 2 * time.Second, RetryBudgetMin: -1, Observe: rec.observe, Gate: gate}, addrs...)
				var all []*visit
				for i := range 100 {
					v := &visit{rec: httptest.NewRecorder(), done: make(chan struct{})}
					method, path := http.MethodGet, fmt.Sprintf("/%02d", i)
					var body io.Reader
					if i%3 == 0 {
						method, body = http.MethodPost, strings.NewReader("order")
					}
					go func() {
						defer close(v.done)
						b.ServeHTTP(v.rec, httptest.NewRequestWithContext(t.Context(), method, path, body))
					}()
					synctest.Wait()
					all = append(all, v)
					time.Sleep(15 * time.Millisecond)
				}
				refused := gate.count()
				n.set(addrs[len(addrs)-1], true)
				time.Sleep(time.Second)
				synctest.Wait()
				for i, v := range all {
					select {
					case <-v.done:
						if v.rec.Code != 200 {
							t.Errorf("visit %d: status %d", i, v.rec.Code)
						}
					default:
						t.Errorf("visit %d still waits", i)
					}
				}
				if want := len(addrs); refused > want {
					t.Errorf("%d attempts while it was down, want at most %d", refused, want)
				}
				if len(n.served) != 100 {
					t.Errorf("served %d requests, want 100", len(n.served))
				}
				waited := 0
				for _, ev := range rec.of(AttemptDone) {
					if ev.Phases[failure.PhaseQueue] > 0 {
						waited++
					}
				}
				if waited != 100 {
					t.Errorf("%d events tell of the wait, want 100", waited)
				}
				// The next outage has its own time.
				for _, addr := range addrs {
					n.set(addr, false)
				}
				time.Sleep(time.Hour)
				began := time.Now()
				v := visitTo(t, b).wait(t)
				if d := time.Since(began); d < 2*time.Second || v.err == nil || v.err.Cause != failure.ConnectionRefused {
					t.Errorf("in the next outage after %v: %v, want 2 s and connection_refused", d, v.err)
				}
			})
		})
	}
}

// countingDoor permits everything.
type countingDoor struct{ n atomic.Int64 }

func (g *countingDoor) count() int { return int(g.n.Load()) }

func (g *countingDoor) Allow() (func(error), error) {
	g.n.Add(1)
	return func(error) {}, nil
}

// tripGate opens at the first failure for a while.
type tripGate struct {
	mu    sync.Mutex // guards what follows
	until time.Time
	open  time.Duration
}

func (g *tripGate) Allow() (func(error), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if d := time.Until(g.until); d > 0 {
		return nil, &failure.Error{Cause: failure.BreakerOpen, RetryAfter: d}
	}
	return func(err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if err != nil {
			g.until = time.Now().Add(g.open)
		}
	}, nil
}

// A breaker that opened for the refusals is waited for as well, within the time.
func TestRestartWaitAndGates(t *testing.T) {
	for _, tt := range []struct {
		name   string
		open   time.Duration
		served bool
		after  time.Duration
	}{
		{"opens in time", 1500 * time.Millisecond, true, 1500 * time.Millisecond},
		{"opens too late", 10 * time.Second, false, 0},
	} {
		for _, addrs := range [][]string{{townA}, {townA, townB}} {
			t.Run(fmt.Sprint(tt.name, len(addrs)), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var n town
					b := inTown(t, &n, Config{RestartWait: 2 * time.Second, NewGate: func(string) Gate {
						return &tripGate{open: tt.open}
					}}, addrs...)
					first := visitTo(t, b)
					synctest.Wait()
					second := visitTo(t, b) // had no attempt
					synctest.Wait()
					n.set(addrs[0], true)
					time.Sleep(time.Second)
					third := visitTo(t, b) // the outage is over, the gate is not
					time.Sleep(time.Minute)
					for i, v := range []*visit{first, second, third} {
						v.wait(t)
						switch {
						case tt.served && v.err != nil:
							t.Errorf("visit %d failed with %v", i, v.err)
						case !tt.served && (v.err == nil || v.err.Cause != failure.ConnectionRefused && v.err.Cause != failure.BreakerOpen && v.err.Cause != failure.NoEndpoint):
							t.Errorf("visit %d failed with %v", i, v.err)
						}
					}
				})
			})
		}
	}
}

// Whoever comes when an outage has lasted for longer than anybody waits is not tried
// and does not wait: what keeps it out are the gates, and they know until when.
func TestLongOutageNamesItsGates(t *testing.T) {
	for _, addrs := range [][]string{{townA}, {townA, townB}} {
		synctest.Test(t, func(t *testing.T) {
			var n town
			b := inTown(t, &n, Config{RestartWait: 2 * time.Second, NewGate: func(string) Gate {
				return &tripGate{open: 10 * time.Second}
			}}, addrs...)
			first := visitTo(t, b)
			first.wait(t)
			time.Sleep(time.Second)
			later := visitTo(t, b)
			later.wait(t)
			want := failure.BreakerOpen
			if len(addrs) > 1 {
				want = failure.NoEndpoint
			}
			if e := later.err; e == nil || e.Cause != want || e.RetryAfter <= 0 || e.RetryAfter > 10*time.Second {
				t.Errorf("%d endpoints: failed with %v, want %v and the gates' time", len(addrs), e, want)
			}
		})
	}
}

// Clients that leave and a shutdown empty the queue at once.
func TestRestartQueueIsEmptied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n town
		b := inTown(t, &n, Config{RestartWait: time.Hour, UntilHeaders: -1}, townA)
		first, second, third := visitTo(t, b), visitTo(t, b), visitTo(t, b)
		synctest.Wait()
		began := time.Now()
		first.cancel()
		first.wait(t)
		if first.err == nil || first.err.Cause != failure.ClientGone {
			t.Errorf("failed with %v, want client_gone", first.err)
		}
		b.outage.mu.Lock()
		left := len(b.outage.line)
		b.outage.mu.Unlock()
		if left != 2 {
			t.Errorf("%d wait, want 2", left)
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		for _, v := range []*visit{second, third} {
			if v.wait(t); v.err == nil || v.err.Cause != failure.Draining {
				t.Errorf("failed with %v, want draining", v.err)
			}
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("took %v, want no time", d)
		}
		if r := b.outage.resuming.Load(); r != 0 {
			t.Errorf("%d are still resuming", r)
		}
	})
}

// The time until the headers holds for those who wait, too.
func TestRestartWaitWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n town
		b := inTown(t, &n, Config{RestartWait: time.Hour, UntilHeaders: time.Second}, townA)
		began := time.Now()
		v := visitTo(t, b).wait(t)
		if d := time.Since(began); d > 2*time.Second || v.err == nil {
			t.Errorf("after %v: %v", d, v.err)
		}
	})
}

// All who were woken get through a narrow limit.
func TestRestartWaitAndLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{{MaxInFlight: 1, Queue: 1}, {MaxInFlight: 1, Queue: -1}} {
			var n town
			cfg.RestartWait = 2 * time.Second
			b := inTown(t, &n, cfg, townA)
			var all []*visit
			for range 50 {
				all = append(all, visitTo(t, b))
				synctest.Wait()
			}
			n.set(townA, true)
			time.Sleep(time.Second)
			for i, v := range all {
				if v.wait(t); v.err != nil {
					t.Errorf("visit %d failed with %v", i, v.err)
				}
			}
			if r := b.outage.resuming.Load(); r != 0 {
				t.Errorf("%d are still resuming", r)
			}
		}
	})
}

// The only backend goes away in the middle of its work and comes back: no GET
// fails, and no POST is executed twice.
func TestRestartUnderLoad(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	var mu sync.Mutex
	executed := make(map[string]int)
	serve := func(ln net.Listener) *http.Server {
		srv := &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				mu.Lock()
				executed[r.Header.Get("Order")]++
				mu.Unlock()
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "served")
		})}
		go func() { _ = srv.Serve(ln) }()
		return srv
	}
	srv := serve(ln)
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "http://" + addr}}, RestartWait: restartPatience})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var gets, posts, lost atomic.Int64
	for g := range 12 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				ctx := failure.Track(t.Context())
				method, body := http.MethodGet, io.Reader(nil)
				if g%4 == 0 {
					method, body = http.MethodPost, strings.NewReader("order")
				}
				r := httptest.NewRequestWithContext(ctx, method, "/", body)
				r.Header.Set("Order", fmt.Sprint(g, "-", i))
				rec := httptest.NewRecorder()
				b.ServeHTTP(rec, r)
				e, _ := failure.Outcome(ctx)
				switch {
				case method == http.MethodGet:
					gets.Add(1)
					if rec.Code != 200 || rec.Body.String() != "served" {
						t.Errorf("GET: %d %q, %v", rec.Code, rec.Body, e)
					}
				case rec.Code == 200:
					posts.Add(1)
				default:
					lost.Add(1)
					if e == nil || !e.RequestWritten && e.Cause == failure.ConnectionRefused {
						t.Errorf("POST: %d, %v: it was not sent", rec.Code, e)
					}
				}
			}
		})
	}
	await(t, "traffic", func() bool { return gets.Load() > 50 })
	srv.Close()
	held := porttest.Hold(t, addr)
	down := time.NewTimer(1500 * time.Millisecond)
	<-down.C
	before := gets.Load()
	srv = serve(held.Listen(t))
	defer srv.Close()
	await(t, "traffic again", func() bool { return gets.Load() > before+100 })
	close(stop)
	wg.Wait()
	for order, n := range executed {
		if n != 1 {
			t.Errorf("order %s was executed %d times", order, n)
		}
	}
	if posts.Load() == 0 {
		t.Error("no POST was answered")
	}
	t.Logf("%d GETs, %d POSTs answered, %d POSTs lost in the middle", gets.Load(), posts.Load(), lost.Load())
}

// restartPatience is far from the 1.5 s for which the backend is down, on the
// busiest machine.
var restartPatience = 12 * time.Second

func TestRestartConfig(t *testing.T) {
	_, err := New(Config{Endpoints: []Endpoint{{URL: "http://a"}}, RestartWait: -1, RestartQueue: -1})
	for _, want := range []string{"Config.RestartWait is -1ns", "Config.RestartQueue is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want %q in it", err, want)
		}
	}
}

// Somebody further out has an answer already: who asks in its place does not
// wait.
func TestRestartWaitIsForThoseWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n town
		b := inTown(t, &n, Config{RestartWait: 2 * time.Second}, townA)
		reserved := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			failure.Reserve(r.Context())
			b.ServeHTTP(w, r)
		})
		began := time.Now()
		for i, h := range []http.Handler{reserved, b, reserved} {
			v := visitTo(t, h)
			<-v.done
			took := time.Since(began).Round(100 * time.Millisecond)
			if want := []time.Duration{0, 2 * time.Second, 2 * time.Second}[i]; took != want {
				t.Errorf("visit %d was answered after %v, want %v", i, took, want)
			}
			if v.err == nil || v.err.Cause != failure.ConnectionRefused {
				t.Errorf("visit %d failed with %v, want connection_refused", i, v.err)
			}
		}
	})
}

// Active checks and ejection took the endpoints down meanwhile: who waits is
// served all the same, as soon as a connection can be made.
func TestRestartWaitBesideChecks(t *testing.T) {
	for _, addrs := range [][]string{{townA}, {townA, townB}} {
		t.Run(fmt.Sprint(len(addrs)), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var n town
				b := inTown(t, &n, Config{
					RestartWait: 2 * time.Second, Ejection: Ejection{Local: 1},
					Health: Health{Path: "/check", Interval: 200 * time.Millisecond, Rise: 3},
				}, addrs...)
				for _, addr := range addrs {
					n.set(addr, true)
				}
				time.Sleep(time.Second)
				for _, addr := range addrs {
					n.set(addr, false)
				}
				var all []*visit
				for range 100 {
					all = append(all, visitTo(t, b))
					time.Sleep(15 * time.Millisecond)
				}
				down := 0
				for _, s := range b.Endpoints() {
					if s.Reason != 0 {
						down++
					}
				}
				if down != len(addrs) {
					t.Errorf("%d of %d endpoints are out", down, len(addrs))
				}
				for _, addr := range addrs {
					n.set(addr, true)
				}
				for range 20 {
					all = append(all, visitTo(t, b))
					time.Sleep(15 * time.Millisecond)
				}
				time.Sleep(time.Second)
				for i, v := range all {
					if v.wait(t); v.err != nil {
						t.Errorf("visit %d failed with %v", i, v.err)
					}
				}
			})
		})
	}
}

// Who waits is served where the endpoint came back, if that is elsewhere.
func TestRestartWaitFollowsUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n town
		b := inTown(t, &n, Config{RestartWait: 2 * time.Second}, townA)
		v := visitTo(t, b)
		time.Sleep(time.Second)
		n.set(townB, true)
		if err := b.Update(Config{RestartWait: 2 * time.Second, Endpoints: []Endpoint{{URL: "http://" + townB}}}); err != nil {
			t.Fatal(err)
		}
		if v.wait(t); v.err != nil {
			t.Errorf("failed with %v", v.err)
		}
	})
}
