package backend

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stormGate allows and refuses at random, and counts what it is told.
type stormGate struct {
	allowed, done, twice, late atomic.Int64
}

func (g *stormGate) AllowCall() (answered func(), done func(error), err error) {
	if rand.IntN(20) == 0 {
		return nil, nil, errors.New("closed")
	}
	g.allowed.Add(1)
	var ended, told atomic.Bool
	return func() {
			if ended.Load() || !told.CompareAndSwap(false, true) {
				g.late.Add(1)
			}
		}, func(error) {
			if !ended.CompareAndSwap(false, true) {
				g.twice.Add(1)
				return
			}
			g.done.Add(1)
		}, nil
}

func (g *stormGate) Allow() (func(error), error) {
	_, done, err := g.AllowCall()
	return done, err
}

// fickle is a server that does whatever it likes.
func fickle(c net.Conn, br *bufio.Reader) {
	for {
		r, ok := readRequest(br)
		if !ok {
			return
		}
		pause := func() { time.Sleep(rand.N(4 * time.Millisecond)) }
		pause()
		text := okHello
		if r.Method == http.MethodHead {
			text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
		}
		switch rand.IntN(16) {
		case 0:
			return
		case 1:
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		case 2:
			text = text[:rand.IntN(len(text))]
		case 3:
			text = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
		case 4:
			text = "HTTP/1.1 503 Later\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
		case 5:
			text = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + text
		case 6:
			_, _ = io.Copy(io.Discard, br) // it never answers
			return
		case 7:
			text = "garbage\r\n\r\n"
		case 8:
			text = "HTTP/1.1 204 No\r\n\r\n"
		case 9:
			if r.Header.Get("Upgrade") != "" {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switch\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
				pause()
				return
			}
		}
		for half := range strings.SplitAfterSeq(text, "\r\n\r\n") {
			if _, err := io.WriteString(c, half); err != nil {
				return
			}
			if rand.IntN(3) == 0 {
				pause()
			}
		}
		if len(text) < 30 {
			return
		}
	}
}

// fickleHandler is the same in the process.
func fickleHandler(w http.ResponseWriter, r *http.Request) {
	if rand.IntN(2) == 0 {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	switch rand.IntN(10) {
	case 0:
		panic("storm")
	case 1:
		panic(http.ErrAbortHandler)
	case 2:
		<-r.Context().Done()
	case 3:
		w.WriteHeader(http.StatusBadGateway)
	case 4:
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "short")
	case 5:
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
			return
		}
	case 6:
		w.WriteHeader(http.StatusEarlyHints)
	case 7:
		time.Sleep(rand.N(20 * time.Millisecond)) // and does not look at its context
	}
	_, _ = io.WriteString(w, "hello")
}

// TestStorm has everything happen at once: endpoints that fail in all ways, that
// come and go, limits, queues, gates, hedges, retries, waiting for restarts,
// clients that leave or panic, and in the end a Shutdown in the middle. Whatever
// happened, nothing is held afterwards.
func TestStorm(t *testing.T) {
	const length = 1500 * time.Millisecond
	for _, policy := range []Balance{PowerOfTwo, RoundRobin, ConsistentHash} {
		t.Run(policy.String(), func(t *testing.T) {
			a, z := newFaults(t, fickle), newFaults(t, fickle)
			gate := new(stormGate)
			var limited lessons
			limited.limit.Store(12)
			var met sync.Map // every endpoint that there ever was
			handler := http.HandlerFunc(fickleHandler)
			pool := []Endpoint{
				{URL: a.url(), Name: "a", MaxInFlight: 5},
				{URL: z.url(), Name: "z"},
				{URL: newH2C(t), Name: "h2"},
				{Handler: handler, Name: "in"},
				{URL: refusedURL(t, nil), Name: "closed"},
				{URL: "http://localhost:" + strings.Split(a.addr, ":")[1], Name: "name", Backup: true},
			}
			config := func() Config {
				cfg := Config{
					FirstByte: 40 * time.Millisecond, BetweenBytes: 60 * time.Millisecond, HeaderStall: 60 * time.Millisecond,
					Queue: 6, QueueWait: 10 * time.Millisecond, MaxInFlight: 8 + rand.IntN(8), Limit: &limited, RestartWait: 30 * time.Millisecond,
					Balance: policy, HashKey: func(r *http.Request) string { return r.URL.RawQuery }, RetryBudget: -1,
					Hedge: Hedge{On: true, MinAnswers: 5, MinDelay: time.Millisecond}, StreamIdle: 50 * time.Millisecond,
					Ejection: Ejection{BaseTime: 20 * time.Millisecond, Interval: 50 * time.Millisecond}, Gate: gate, SlowStart: -1,
					ResolveInterval: 30 * time.Millisecond, DeadlineHeader: "X-Left", TrustDeadline: func(*http.Request) bool { return true },
					Health: Health{Path: "/", Interval: 20 * time.Millisecond, Timeout: 20 * time.Millisecond, Fall: 2},
				}
				for _, i := range rand.Perm(len(pool))[:1+rand.IntN(len(pool))] {
					cfg.Endpoints = append(cfg.Endpoints, pool[i])
				}
				return cfg
			}
			b := newBackend(t, config())
			srv, client := front(t, b)
			ctx, stop := context.WithTimeout(t.Context(), length)
			defer stop()
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						stormVisit(srv.URL, client, n)
					}
				})
				wg.Go(func() {
					for ctx.Err() == nil {
						stormCall(b)
					}
				})
			}
			wg.Go(func() {
				for ctx.Err() == nil {
					for _, ep := range b.now().endpoints {
						met.Store(ep, true)
					}
					switch rand.IntN(4) {
					case 0:
						if err := b.Update(config()); err != nil && !errors.Is(err, errShutdown) {
							t.Error(err)
						}
					case 1:
						_ = b.Steer(pool[rand.IntN(len(pool))].Name, Steering(rand.IntN(4)))
					case 2:
						limited.limit.Store(int64(rand.IntN(14)))
					case 3:
						b.Status()
					}
					for _, ep := range b.now().endpoints {
						met.Store(ep, true)
					}
					time.Sleep(rand.N(10 * time.Millisecond))
				}
			})
			time.Sleep(length * 2 / 3)
			shut, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := b.Shutdown(shut); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			wg.Wait()
			b.handlers.Wait()
			await(t, "all came back", func() bool {
				held := b.entrance.slots.Stats().InFlight + int(b.entrance.waiting.Load()) + int(b.outage.resuming.Load()) + b.calls.count()
				met.Range(func(key, _ any) bool {
					ep, _ := key.(*endpoint)
					ep.load.mu.Lock()
					defer ep.load.mu.Unlock()
					if n := ep.inFlight.Load(); n < 0 || ep.load.waiting < 0 {
						t.Errorf("%s: %d in flight, %d wait", ep.name, n, ep.load.waiting)
					}
					held += int(ep.inFlight.Load()) + ep.load.waiting
					return true
				})
				return held == 0
			})
			if gate.allowed.Load() != gate.done.Load() || gate.twice.Load() != 0 || gate.late.Load() != 0 {
				t.Errorf("the gate allowed %d and was told of %d, of %d twice, of %d answers too late", gate.allowed.Load(), gate.done.Load(), gate.twice.Load(), gate.late.Load())
			}
			if gate.allowed.Load() < 10 {
				t.Errorf("only %d attempts", gate.allowed.Load())
			}
			t.Logf("%d attempts", gate.allowed.Load())
		})
	}
}

// stormVisit is a request over a socket, whose client may leave.
func stormVisit(url string, client *http.Client, n int) {
	// A handler that is given an upgrade has no limits but its client's patience.
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if rand.IntN(4) == 0 {
		time.AfterFunc(rand.N(30*time.Millisecond), cancel)
	}
	method := []string{"GET", "HEAD", "POST", "PUT", "GET"}[rand.IntN(5)]
	var body io.Reader
	if method == "POST" || method == "PUT" {
		body = strings.NewReader(strings.Repeat("x", rand.IntN(100_000)))
	}
	req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("%s/?%d", url, n%10), body)
	if err != nil {
		panic(err)
	}
	switch rand.IntN(8) {
	case 0:
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "x")
	case 1:
		req.Header.Set("Expect", "100-continue")
	case 2:
		req.Header.Set("X-Left", fmt.Sprint(rand.IntN(20)))
	}
	res, err := client.Do(req)
	if err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1000)) // of a tunnel as well
		res.Body.Close()
	}
}

// moody is a client's writer that panics at times.
type moody struct{ *httptest.ResponseRecorder }

func (m moody) WriteHeader(status int) {
	if rand.IntN(10) == 0 {
		panic("the writer's")
	}
	m.ResponseRecorder.WriteHeader(status)
}

func (m moody) Write(p []byte) (int, error) {
	switch rand.IntN(10) {
	case 0:
		panic("the writer's")
	case 1:
		return 0, errors.New("the writer's")
	}
	return m.ResponseRecorder.Write(p)
}

// stormCall is one without a socket.
func stormCall(b *Backend) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if rand.IntN(4) == 0 {
		time.AfterFunc(rand.N(30*time.Millisecond), cancel)
	}
	defer func() { _ = recover() }()
	b.ServeHTTP(moody{httptest.NewRecorder()}, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
}
