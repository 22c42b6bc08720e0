package backend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/porttest"
)

// house is an endpoint that is killed and started again on its address.
type house struct {
	t       testing.TB
	addr    string
	handler http.Handler
	srv     *http.Server   // nil: down
	held    *porttest.Held // while it is down
	served  chan struct{}
}

func newHouse(t testing.TB, h http.Handler) *house {
	t.Helper()
	o := &house{t: t, handler: h, held: porttest.Hold(t, "127.0.0.1:0")}
	o.addr = o.held.Addr()
	o.start()
	t.Cleanup(o.kill)
	return o
}

func (o *house) url() string { return "http://" + o.addr }

func (o *house) start() {
	o.t.Helper()
	ln := o.held.Listen(o.t)
	o.srv = &http.Server{Handler: o.handler, ErrorLog: quiet, ReadHeaderTimeout: time.Minute}
	o.served = make(chan struct{})
	go func(srv *http.Server, served chan struct{}) {
		defer close(served)
		_ = srv.Serve(ln)
	}(o.srv, o.served)
}

// kill ends the endpoint at once, with whatever it is doing.
func (o *house) kill() {
	if o.srv != nil {
		o.srv.Close()
		<-o.served
		o.srv, o.held = nil, porttest.Hold(o.t, o.addr)
	}
}

// guest is what became of one request of a crowd.
type guest struct {
	id     string
	method string
	status int
	cause  string // of the failure, "" is none
	unsent bool   // by its cause nothing of the request was sent
	err    error
	took   time.Duration
	at     time.Duration // since the crowd's beginning
}

func (o guest) good() bool { return o.err == nil && o.status == http.StatusOK }

// crowd sends requests at a rate, whatever becomes of those before, until the
// end of d. method decides by number.
func crowd(t testing.TB, client *http.Client, url string, perSecond int, d time.Duration, method func(int) string) []guest {
	t.Helper()
	var (
		mu  sync.Mutex
		all []guest
		wg  sync.WaitGroup
	)
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := 0; time.Since(began) < d; i++ {
		<-tick.C
		wg.Go(func() {
			one := guest{id: fmt.Sprint(i), method: method(i), at: time.Since(began)}
			sendGuest(client, url, &one)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, one)
		})
	}
	wg.Wait()
	return all
}

func sendGuest(client *http.Client, url string, one *guest) {
	start := time.Now()
	defer func() { one.took = time.Since(start) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var body io.Reader
	if one.method == http.MethodPost {
		body = strings.NewReader("order " + one.id)
	}
	req, err := http.NewRequestWithContext(ctx, one.method, url+"/"+one.id, body)
	if err != nil {
		one.err = err
		return
	}
	res, err := client.Do(req)
	if err != nil {
		one.err = err
		return
	}
	defer res.Body.Close()
	_, one.err = io.Copy(io.Discard, res.Body)
	one.status = res.StatusCode
	one.cause, one.unsent = res.Header.Get("X-Cause"), res.Header.Get("X-Unsent") == "true"
}

func gets(int) string { return http.MethodGet }

// tellCause answers a failure with its cause, for the tests.
func tellCause(w http.ResponseWriter, _ *http.Request, err error) {
	e := failure.As(err, failure.Panic)
	w.Header().Set("X-Cause", e.Cause.String())
	w.Header().Set("X-Unsent", fmt.Sprint(e.Cause.Row().Retry.Methods == failure.AnyMethod))
	w.WriteHeader(e.HTTPStatus())
	_, _ = io.WriteString(w, e.Error())
}

// failed counts what went wrong by method, cause and error.
func failed(all []guest) map[string]int {
	count := map[string]int{}
	for _, o := range all {
		if !o.good() {
			count[fmt.Sprintf("%s %d %s %v", o.method, o.status, o.cause, o.err)]++
		}
	}
	return count
}

// quantile of the times that good answers took.
func quantile(all []guest, q float64) time.Duration {
	var times []time.Duration
	for _, o := range all {
		if o.good() {
			times = append(times, o.took)
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, int(q*float64(len(times))))]
}

// ledger counts how often a request's work was begun.
type ledger struct {
	mu    sync.Mutex
	begun map[string]int // by method and path
}

func (l *ledger) add(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun == nil {
		l.begun = map[string]int{}
	}
	l.begun[r.Method+" "+r.URL.Path]++
}

func (l *ledger) total() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.begun {
		n += c
	}
	return n
}

// TestRollingRestart kills and restarts one endpoint of three after the other
// under 300 requests per second, a quarter of them orders.
func TestRollingRestart(t *testing.T) {
	var book ledger
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		book.add(r)
		select {
		case <-time.After(rand.N(20 * time.Millisecond)):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "done "+r.URL.Path)
	})
	var houses []*house
	cfg := Config{ErrorHandler: tellCause, FirstByte: 20 * time.Second}
	for range 3 {
		o := newHouse(t, shop)
		houses = append(houses, o)
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{URL: o.url()})
	}
	srv, client := front(t, newBackend(t, cfg))
	restarts := make(chan struct{})
	go func() {
		defer close(restarts)
		pause := time.NewTicker(400 * time.Millisecond)
		defer pause.Stop()
		for range 2 {
			for _, o := range houses {
				<-pause.C
				o.kill()
				<-pause.C
				o.start()
			}
		}
	}()
	all := crowd(t, client, srv.URL, 300, 5*time.Second, func(i int) string {
		if i%4 == 0 {
			return http.MethodPost
		}
		return http.MethodGet
	})
	<-restarts
	lost := 0
	for _, o := range all {
		switch {
		case o.good():
		case o.method == http.MethodGet:
			t.Errorf("GET %s at %v: status %d, cause %q, error %v", o.id, o.at, o.status, o.cause, o.err)
		case o.unsent || o.err != nil:
			t.Errorf("POST %s at %v failed although nothing of it had been sent: status %d, cause %q, error %v", o.id, o.at, o.status, o.cause, o.err)
		default:
			lost++
		}
	}
	for what, n := range book.begun {
		if strings.HasPrefix(what, http.MethodPost) && n > 1 {
			t.Errorf("%s was executed %d times", what, n)
		}
	}
	t.Logf("%d requests, 6 restarts: no GET failed, %d orders were lost with the endpoint that had them; %d executions, p99 %v",
		len(all), lost, book.total(), quantile(all, 0.99))
}

// TestOneBadEndpoint has one endpoint of three in trouble of every kind: no
// request fails, nobody waits for more than one first-byte timeout beside the
// healthy ones, and once the endpoint is known few are sent there and nobody
// waits.
func TestOneBadEndpoint(t *testing.T) {
	const firstByte = 3 * time.Second // far from what a busy machine takes
	for _, tt := range []struct {
		name string
		bad  func(*testing.T) string // its URL
		most float64                 // of the attempts in the second half
	}{
		{"refusing", func(t *testing.T) string { return refusedURL(t, nil) }, 0.05},
		{"stalling", func(t *testing.T) string {
			return newFaults(t, func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }).url()
		}, 0.05},
		{"500s", func(t *testing.T) string {
			return newFaults(t, say("HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\noh\n")).url()
		}, 0.05},
		{"slow", func(t *testing.T) string {
			return newHouse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(firstByte * 3 / 5):
				case <-r.Context().Done():
				}
				_, _ = io.WriteString(w, "late")
			})).url()
		}, 1.0 / 6},
		{"closing", func(t *testing.T) string { return newFaults(t, sayThenClose("")).url() }, 0.05},
		{"breaking bodies", func(t *testing.T) string {
			return newFaults(t, sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")).url()
		}, 0.05},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			good := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
			var rec recorder
			b := newBackend(t, Config{
				Endpoints:    []Endpoint{{URL: newHouse(t, good).url()}, {URL: tt.bad(t), Name: "bad"}, {URL: newHouse(t, good).url()}},
				ErrorHandler: tellCause, Observe: rec.observe, FirstByte: firstByte,
			})
			b.hold = time.Minute // a body that breaks does so before its header section is sent, on a busy machine, too
			srv, client := front(t, b)
			// What a busy machine adds shows in a backend without a bad endpoint.
			control, controlClient := front(t, newBackend(t, Config{Endpoints: []Endpoint{{URL: newHouse(t, good).url()}}}))
			normal := make(chan []guest, 1)
			go func() { normal <- crowd(t, controlClient, control.URL, 20, 4*firstByte, gets) }()
			all := crowd(t, client, srv.URL, 80, 4*firstByte, gets)
			noise := 2 * quantile(<-normal, 1)
			if f := failed(all); len(f) > 0 {
				t.Errorf("failed: %v", f)
			}
			events := rec.of(AttemptDone)
			events = events[len(events)/2:]
			bad := 0
			for _, ev := range events {
				if ev.Endpoint == "bad" {
					bad++
				}
			}
			var early, late []guest
			for _, o := range all {
				if o.at < 2*firstByte {
					early = append(early, o)
				} else {
					late = append(late, o)
				}
			}
			t.Logf("p99 %v in the first half, %v in the second; there %d of %d attempts at the bad one; twice the worst without one is %v",
				quantile(early, 0.99), quantile(late, 0.99), bad, len(events), noise)
			if p99 := quantile(early, 0.99); p99 > firstByte*5/4+noise {
				t.Errorf("p99 of the first half is %v, want at most one timeout of %v beside the healthy ones", p99, firstByte)
			}
			if p99 := quantile(late, 0.99); p99 > firstByte/4+noise {
				t.Errorf("p99 of the second half is %v, want that of the healthy ones", p99)
			}
			if float64(bad) > tt.most*float64(len(events)) {
				t.Errorf("%d of %d attempts at the bad one in the second half, want at most %v", bad, len(events), tt.most)
			}
		})
	}
}

// TestRandomIdleClose has a backend that closes idle connections whenever it
// likes.
func TestRandomIdleClose(t *testing.T) {
	f := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		for served := 0; ; served++ {
			if served > 0 { // one that was not used yet may be slow to be
				_ = c.SetReadDeadline(time.Now().Add(rand.N(12 * time.Millisecond)))
			}
			if _, err := br.Peek(1); err != nil {
				return // idle for too long
			}
			_ = c.SetReadDeadline(time.Time{})
			if _, ok := readRequest(br); !ok {
				return
			}
			if _, err := io.WriteString(c, okHello); err != nil {
				return
			}
		}
	})
	rec := &recorder{}
	srv, client := front(t, newBackend(t, Config{
		Endpoints: []Endpoint{{URL: f.url()}}, ErrorHandler: tellCause, Observe: rec.observe,
	}))
	all := crowd(t, client, srv.URL, 400, 4*time.Second, gets)
	if f := failed(all); len(f) > 0 {
		t.Errorf("failed: %v", f)
	}
	races := 0
	for _, ev := range rec.of(AttemptDone) {
		if ev.Failure != nil {
			races++
		}
	}
	t.Logf("%d requests over %d connections, %d races mended", len(all), f.count(), races)
}

// TestAllAnswer503 has endpoints whose checks are good although every answer is
// 503: retries must not add to their trouble.
func TestAllAnswer503(t *testing.T) {
	var book ledger
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			return
		}
		book.add(r)
		http.Error(w, "busy", http.StatusServiceUnavailable)
	})
	cfg := Config{Health: Health{Path: "/healthz"}}
	for range 3 {
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{URL: newHouse(t, busy).url()})
	}
	srv, client := front(t, newBackend(t, cfg))
	all := crowd(t, client, srv.URL, 200, 3*time.Second, gets)
	for _, o := range all {
		if o.err != nil || o.status != http.StatusServiceUnavailable {
			t.Fatalf("got status %d, error %v, want the origin's 503", o.status, o.err)
		}
	}
	ratio := float64(book.total()) / float64(len(all))
	t.Logf("%d requests, %d upstream: %.2f each", len(all), book.total(), ratio)
	if ratio > 1.3 {
		t.Errorf("%.2f requests upstream per request, want at most 1.3", ratio)
	}
}

// TestClientGoneIsTold has clients that leave while the backend works for them:
// it learns of it at once.
func TestClientGoneIsTold(t *testing.T) {
	for _, kind := range []string{"http", "h2c", "handler"} {
		t.Run(kind, func(t *testing.T) {
			begun, told := make(chan struct{}), make(chan time.Time)
			wait := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				begun <- struct{}{}
				<-r.Context().Done()
				told <- time.Now()
			})
			ep := Endpoint{Handler: wait}
			switch kind {
			case "http":
				ep = Endpoint{URL: newHouse(t, wait).url()}
			case "h2c":
				ep = Endpoint{URL: h2cServer(t, wait)}
			}
			srv, client := front(t, newBackend(t, Config{Endpoints: []Endpoint{ep}, Retries: -1}))
			var took []time.Duration
			for i := range 30 {
				ctx, leave := context.WithCancel(t.Context())
				method, body := http.MethodGet, io.Reader(http.NoBody)
				if i%2 == 1 {
					method, body = http.MethodPost, strings.NewReader("order")
				}
				req, err := http.NewRequestWithContext(ctx, method, srv.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					if res, err := client.Do(req); err == nil {
						res.Body.Close()
					}
				}()
				<-begun
				left := time.Now()
				leave()
				took = append(took, (<-told).Sub(left))
				<-gone
			}
			slices.Sort(took)
			t.Logf("told after %v in the median, %v at most", took[len(took)/2], took[len(took)-1])
			if took[len(took)/2] > 100*time.Millisecond {
				t.Errorf("half of the clients were gone for more than 100 ms before the backend was told: %v", took)
			}
		})
	}
}
