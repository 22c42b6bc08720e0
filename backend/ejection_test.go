package backend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// switched is a handler that answers as it is told to.
type switched struct {
	status atomic.Int32 // 0: 200
	panics atomic.Bool
	served atomic.Int32
}

func (s *switched) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.served.Add(1)
	if s.panics.Load() {
		panic("broken")
	}
	if n := s.status.Load(); n != 0 {
		w.WriteHeader(int(n))
	}
	_, _ = io.WriteString(w, "ok")
}

// ask makes one request of the backend, without a network.
func ask(b *Backend, method string) int {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), method, "http://shop.example/", http.NoBody))
	return w.Code
}

func trio(t *testing.T, cfg Config) (*Backend, [3]*switched, *recorder) {
	t.Helper()
	var handlers [3]*switched
	for i, name := range []string{"a", "b", "c"} {
		handlers[i] = new(switched)
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{Handler: handlers[i], Name: name})
	}
	seen := new(recorder)
	cfg.Observe = seen.observe
	return newBackend(t, cfg), handlers, seen
}

// settleAs tells an endpoint the outcome of an attempt that began this moment.
func settleAs(b *Backend, ep *endpoint, e *failure.Error) {
	now := time.Now()
	if e == nil {
		ep.answered(b, now, now, false)
	}
	ep.settled(b, &outcome{failure: e, began: now, headers: now, ended: now})
}

func refused() *failure.Error { return &failure.Error{Cause: failure.ConnectionRefused} }

func erredWith(status int) *failure.Error {
	return &failure.Error{Cause: failure.Upstream5xx, Status: status}
}

func TestEjectionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		ep := b.now().endpoints[0]
		time.Sleep(time.Minute)
		clock := func() int64 { return b.clock(time.Now()) }
		for range 2 {
			settleAs(b, ep, refused())
		}
		if ep.ejected(clock()) {
			t.Fatal("two refusals eject, want three")
		}
		settleAs(b, ep, refused())
		if !ep.ejected(clock()) {
			t.Fatal("three refusals in a row do not eject")
		}
		evs := seen.of(EndpointEjected)
		if want := "ejected for 10s after connection_refused: 3 attempts in a row could not reach it"; len(evs) != 1 || evs[0].Detail != want || evs[0].Endpoint != "a" {
			t.Fatalf("events = %+v, want one of a with %q", evs, want)
		}
		e := ep.ejectedError("shop", clock())
		if e.Cause != failure.EndpointEjected || e.RetryAfter != 10*time.Second || e.Detail != evs[0].Detail {
			t.Errorf("error = %+v, want endpoint_ejected for 10 s", e)
		}

		// Its time is over: one failure, and it is out for twice as long.
		time.Sleep(10 * time.Second)
		if now := clock(); ep.ejected(now) || !ep.probation(now) {
			t.Fatal("after its time it is not on probation")
		}
		settleAs(b, ep, refused())
		if evs = seen.of(EndpointEjected); len(evs) != 2 || !strings.HasPrefix(evs[1].Detail, "ejected for 20s after connection_refused: it failed again") {
			t.Fatalf("events = %+v, want a second ejection for 20 s", evs)
		}
		time.Sleep(20 * time.Second)
		settleAs(b, ep, nil)
		if now := clock(); ep.ejected(now) || ep.probation(now) {
			t.Fatal("an answer on probation does not bring it back")
		}
		if evs = seen.of(EndpointReturned); len(evs) != 1 || evs[0].Endpoint != "a" {
			t.Fatalf("returned = %+v, want one of a", evs)
		}
		// What was ejected twice, and went for a while without a fault, has one
		// ejection forgiven.
		time.Sleep(20 * time.Second)
		for range 3 {
			settleAs(b, ep, refused())
		}
		if evs = seen.of(EndpointEjected); len(evs) != 3 || !strings.HasPrefix(evs[2].Detail, "ejected for 20s ") {
			t.Errorf("events = %+v, want a third ejection for 20 s", evs)
		}
	})
}

// What began before an ejection says nothing new about the endpoint.
func TestEjectionIgnoresTheLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		ep := b.now().endpoints[0]
		time.Sleep(time.Minute)
		early := time.Now()
		time.Sleep(time.Second)
		for range 3 {
			settleAs(b, ep, refused())
		}
		time.Sleep(15 * time.Second) // on probation
		for range 10 {
			ep.settled(b, &outcome{failure: &failure.Error{Cause: failure.FirstByteTimeout}, began: early, ended: time.Now()})
		}
		if evs := seen.of(EndpointEjected); len(evs) != 1 {
			t.Errorf("%d ejections, want 1: failures of before are not a relapse", len(evs))
		}
		settleAs(b, ep, nil)
		for range 10 {
			ep.settled(b, &outcome{failure: &failure.Error{Cause: failure.FirstByteTimeout}, began: early, ended: time.Now()})
		}
		if evs := seen.of(EndpointEjected); len(evs) != 1 {
			t.Errorf("%d ejections after its return, want 1", len(evs))
		}
	})
}

// An ejected endpoint that is used in spite of it, and answers, is back at once:
// but not one whose success rate was the reason.
func TestEjectionAnsweredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{Ejection: Ejection{MaxShare: 1}})
		eps := b.now().endpoints
		time.Sleep(time.Minute)
		for range 3 {
			settleAs(b, eps[0], refused())
		}
		time.Sleep(time.Second)
		settleAs(b, eps[0], nil)
		if len(seen.of(EndpointReturned)) != 1 {
			t.Error("an answer does not bring back what was unreachable")
		}
		for range 20 {
			settleAs(b, eps[1], nil)
			settleAs(b, eps[2], erredWith(500))
		}
		if !eps[2].ejected(b.clock(time.Now())) {
			t.Fatal("the endpoint that answers 500 is not ejected")
		}
		time.Sleep(time.Second)
		settleAs(b, eps[2], nil)
		if !eps[2].ejected(b.clock(time.Now())) {
			t.Error("one answer brings back what answers errors")
		}
	})
}

func TestEjectionNeverTheLastUsable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, _ := trio(t, Config{Ejection: Ejection{MaxShare: 1}})
		eps := b.now().endpoints
		for range 50 {
			time.Sleep(time.Second)
			for _, ep := range eps {
				settleAs(b, ep, refused())
			}
		}
		out := 0
		for _, ep := range eps {
			if now := b.clock(time.Now()); ep.ejected(now) || ep.probation(now) {
				out++
			}
		}
		if out == 0 || out == len(eps) {
			t.Errorf("%d of 3 endpoints are ejected, want 1 or 2", out)
		}
	})
}

func TestEjectionShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		eps := b.now().endpoints
		time.Sleep(time.Minute)
		for range 10 {
			settleAs(b, eps[0], refused())
			settleAs(b, eps[1], refused())
			settleAs(b, eps[2], nil)
			time.Sleep(300 * time.Millisecond)
		}
		if evs := seen.of(EndpointEjected); len(evs) != 1 {
			t.Errorf("%d of 3 endpoints were ejected, want 1", len(evs))
		}
	})
}

func TestEjectionAlone(t *testing.T) {
	seen := new(recorder)
	h := new(switched)
	h.panics.Store(true)
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: h}}, Observe: seen.observe})
	for range 50 {
		ask(b, http.MethodGet)
	}
	if n := h.served.Load(); n != 50 || len(seen.of(EndpointEjected)) != 0 {
		t.Errorf("a lone endpoint was asked %d times and ejected %d times, want 50 and 0", n, len(seen.of(EndpointEjected)))
	}
}

// All answer errors: nobody is to blame. One does: it goes.
func TestEjectionErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		bad  int
		want int
	}{{"all", 3, 0}, {"one", 1, 1}} {
		t.Run(test.name, func(t *testing.T) {
			b, handlers, seen := trio(t, Config{Retries: -1, Balance: RoundRobin})
			for _, h := range handlers[:test.bad] {
				h.status.Store(503)
			}
			for range 90 {
				ask(b, http.MethodGet)
			}
			if evs := seen.of(EndpointEjected); len(evs) != test.want {
				t.Errorf("%d ejections, want %d: %+v", len(evs), test.want, evs)
			}
		})
	}
}

// On probation an error that the others give as well is no relapse.
func TestEjectionErrorOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		eps := b.now().endpoints
		time.Sleep(time.Minute)
		for range 3 {
			settleAs(b, eps[0], refused())
		}
		time.Sleep(11 * time.Second)
		for range 10 {
			settleAs(b, eps[1], erredWith(500))
			settleAs(b, eps[2], erredWith(500))
		}
		settleAs(b, eps[0], erredWith(500))
		if len(seen.of(EndpointEjected)) != 1 || len(seen.of(EndpointReturned)) != 1 {
			t.Errorf("%d ejections, %d returns, want one of each", len(seen.of(EndpointEjected)), len(seen.of(EndpointReturned)))
		}
	})
}

// One of three is bad, each in its way. Nobody who asked by GET notices, and after
// its ejection it is left alone.
func TestEjectionOneOfThree(t *testing.T) {
	for _, test := range []struct {
		name string
		bad  script // nil: nothing listens
	}{
		{"refusing", nil},
		{"stalling", silentServer},
		{"500s", say("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")},
		{"closing", sayThenClose("")},
	} {
		for _, policy := range []Balance{PowerOfTwo, RoundRobin, LeastInFlight} {
			t.Run(test.name+"/"+policy.String(), func(t *testing.T) {
				bad := "http://" + refusing(t)
				if test.bad != nil {
					bad = newFaults(t, test.bad).url()
				}
				seen := new(recorder)
				b := newBackend(t, Config{
					Endpoints: []Endpoint{
						{URL: newFaults(t, say(okHello)).url(), Name: "a"}, {URL: bad, Name: "bad"}, {URL: newFaults(t, say(okHello)).url(), Name: "c"},
					},
					Observe: seen.observe, Balance: policy, FirstByte: 150 * time.Millisecond, Ejection: Ejection{BaseTime: time.Hour},
					RetryBudget: -1,
				})
				srv, client := front(t, b)
				ejected := func() int { return len(seen.of(EndpointEjected)) }
				var failed atomic.Int32
				var wg sync.WaitGroup
				deadline := time.Now().Add(20 * time.Second)
				for range 4 {
					wg.Go(func() {
						for ejected() == 0 && time.Now().Before(deadline) {
							res, err := client.Get(srv.URL)
							if err != nil {
								failed.Add(1)
								continue
							}
							_, _ = io.Copy(io.Discard, res.Body)
							res.Body.Close()
							if res.StatusCode != 200 {
								failed.Add(1)
							}
						}
					})
				}
				wg.Wait()
				if n := failed.Load(); n != 0 {
					t.Errorf("%d requests failed, want none", n)
				}
				if evs := seen.of(EndpointEjected); len(evs) != 1 || evs[0].Endpoint != "bad" {
					t.Fatalf("ejections = %+v, want one of the bad one", evs)
				}
				before := b.now().endpoints[1].live.attempts.Load()
				for range 60 {
					if status, _, _ := get(t, client, srv.URL); status != 200 {
						t.Errorf("status %d after the ejection, want 200", status)
					}
				}
				if after := b.now().endpoints[1].live.attempts.Load(); after != before {
					t.Errorf("%d attempts at an ejected endpoint, want none", after-before)
				}
			})
		}
	}
}

func TestEjectionByRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{})
		eps := b.now().endpoints
		settleAs(b, eps[0], nil)
		for range 15 {
			time.Sleep(time.Second)
			for i := range 20 { // two of three attempts at the first succeed
				for _, ep := range eps {
					if ep == eps[0] && i%3 == 0 {
						settleAs(b, ep, erredWith(502))
					} else {
						settleAs(b, ep, nil)
					}
				}
			}
		}
		evs := seen.of(EndpointEjected)
		if len(evs) != 1 || evs[0].Endpoint != "a" || !strings.Contains(evs[0].Detail, "after upstream_5xx: 6") || !strings.Contains(evs[0].Detail, "100 % of those of the others") {
			t.Errorf("ejections = %+v, want one of a by its success rate", evs)
		}
	})
}

func TestEjectionDryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, seen := trio(t, Config{Ejection: Ejection{DryRun: true}})
		ep := b.now().endpoints[0]
		time.Sleep(time.Minute)
		for range 30 {
			settleAs(b, ep, refused())
			time.Sleep(100 * time.Millisecond)
		}
		if now := b.clock(time.Now()); ep.ejected(now) || ep.probation(now) {
			t.Error("a dry run ejects")
		}
		if evs := seen.of(EndpointEjected); len(evs) != 1 || !evs[0].DryRun {
			t.Errorf("events = %+v, want one of a dry run", evs)
		}
	})
}

func TestEjectionOff(t *testing.T) {
	b, _, seen := trio(t, Config{Ejection: Ejection{Off: true}})
	for range 50 {
		settleAs(b, b.now().endpoints[0], refused())
	}
	if len(seen.of(EndpointEjected)) != 0 {
		t.Error("ejection is off, and ejects")
	}
}

// A client that leaves says nothing about the endpoint.
func TestEjectionClientGone(t *testing.T) {
	const clients = 1000
	arrived := make(chan struct{})
	hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // to return is to answer
	})
	seen := new(recorder)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: hang, Name: "a"}, {Handler: hang, Name: "b"}}, Balance: RoundRobin, Observe: seen.observe,
	})
	for range clients {
		ctx, leave := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }() // http.ErrAbortHandler
			b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
		}()
		<-arrived
		leave()
		<-done
	}
	for _, ep := range b.now().endpoints {
		if ep.ejection.known.Load() || ep.live.bad.Load() != 0 || ep.live.window(b.clock(time.Now()), windowSeconds) != (tally{}) {
			t.Errorf("%s: clients that left are held against it", ep.name)
		}
		if n := ep.live.causes[failure.ClientGone].Load() + ep.live.causes[failure.HandlerAbort].Load(); n != clients/2 {
			t.Errorf("%s: %d attempts ended by the client, want %d", ep.name, n, clients/2)
		}
	}
	if len(seen.of(EndpointEjected)) != 0 {
		t.Error("clients that left eject an endpoint")
	}
}

// A stream that began well is an answer, long before it ends.
func TestEjectionReturnsByStream(t *testing.T) {
	began := make(chan struct{})
	stream := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
			close(began)
			_, _ = io.Copy(io.Discard, br)
		}
	})
	seen := new(recorder)
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: stream.url(), Name: "a"}, {Handler: new(switched), Name: "b"}},
		Observe:   seen.observe, Ejection: Ejection{BaseTime: time.Nanosecond},
	})
	a := b.now().endpoints[0]
	for range 3 {
		settleAs(b, a, refused())
	}
	if !a.probation(b.clock(time.Now())) {
		t.Fatal("it is not on probation")
	}
	a.heldUntil.Store(0)
	_, client := front(t, b)
	srv, _ := front(t, b)
	ctx, leave := context.WithCancel(context.Background())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for { // whichever is picked first
			res, err := client.Do(r)
			if err != nil {
				return
			}
			if res.Header.Get("Content-Type") == "text/event-stream" {
				_, _ = io.Copy(io.Discard, res.Body)
			}
			res.Body.Close()
		}
	}()
	<-began
	await(t, "the endpoint is back", func() bool { return len(seen.of(EndpointReturned)) == 1 })
	leave()
	<-done
}

func TestEjectionPardon(t *testing.T) {
	b, _, _ := trio(t, Config{})
	st := b.now()
	ep := st.endpoints[0]
	for range 3 {
		settleAs(b, ep, refused())
	}
	if !ep.ejected(b.clock(time.Now())) {
		t.Fatal("it is not ejected")
	}
	(&state{cfg: st.cfg, endpoints: []*endpoint{ep}}).pardon()
	if ep.ejected(b.clock(time.Now())) {
		t.Error("a lone endpoint is ejected")
	}
}

func TestEjectionConfig(t *testing.T) {
	ok := []Endpoint{{Handler: new(switched)}}
	_, err := New(Config{Endpoints: ok, Ejection: Ejection{
		Consecutive: -1, Local: -2, BaseTime: -3, Interval: -4, MinVolume: -5, MinPeers: 1, MaxShare: 1.5,
	}})
	if err == nil {
		t.Fatal("New = nil, want an error")
	}
	for _, want := range []string{"Consecutive", "Local", "BaseTime", "Interval", "MinVolume", "MinPeers is 1", "MaxShare is 1.5"} {
		if !strings.Contains(err.Error(), "Config.Ejection."+want) {
			t.Errorf("New = %v, want %q in it", err, want)
		}
	}
	if _, err := New(Config{Endpoints: ok, Ejection: Ejection{BaseTime: time.Minute, MaxTime: time.Second}}); err == nil || !strings.Contains(err.Error(), "MaxTime is 1s") {
		t.Errorf("New = %v, want Ejection.MaxTime in it", err)
	}
	b := newBackend(t, Config{Endpoints: ok, Ejection: Ejection{BaseTime: time.Hour}})
	if got := b.now().cfg.Ejection.MaxTime; got != time.Hour {
		t.Errorf("MaxTime = %v, want 1h", got)
	}
}

// What took a whole time limit counts twice; a caller's own limit, or the rest
// of one that others used up, does not.
func TestEjectionStalling(t *testing.T) {
	total := func(limit time.Duration, body bool) *failure.Error {
		return &failure.Error{Cause: failure.TotalDeadline, Err: &timeoutError{limit: limit, total: !body, body: body}}
	}
	for _, test := range []struct {
		name    string
		failure *failure.Error
		hurried bool
		eject   int // how many it takes
	}{
		{"no answer", &failure.Error{Cause: failure.FirstByteTimeout}, false, 3},
		{"half a header section", &failure.Error{Cause: failure.HeaderStall}, false, 3},
		{"reads nothing", &failure.Error{Cause: failure.WriteTimeout}, false, 3},
		{"half a body", &failure.Error{Cause: failure.BodyStall}, false, 3},
		{"no connection", &failure.Error{Cause: failure.ConnectTimeout}, false, 2},
		{"no handshake", &failure.Error{Cause: failure.TLSTimeout}, false, 2},
		{"all of the time until the headers", total(time.Second, false), false, 3},
		{"the rest of it", total(time.Minute, false), false, 5},
		{"all that a caller gave it", total(time.Second, false), true, 5},
		{"all of the time for the body", total(time.Minute, true), true, 3},
		{"closed", &failure.Error{Cause: failure.ClosedBeforeHeaders}, false, 5},
		{"refused", refused(), false, 3},
	} {
		synctest.Test(t, func(t *testing.T) {
			b, _, _ := trio(t, Config{})
			ep := b.now().endpoints[0]
			n := 0
			for ; n < 9 && !ep.ejected(b.clock(time.Now())); n++ {
				began := time.Now()
				time.Sleep(time.Second)
				ep.settled(b, &outcome{failure: test.failure, began: began, ended: time.Now(), hurried: test.hurried})
			}
			if n != test.eject {
				t.Errorf("%s: ejected after %d, want %d", test.name, n, test.eject)
			}
			if detail := ep.ejection.sentence.why; !strings.HasPrefix(detail, fmt.Sprintf("%d attempts in a row", test.eject)) {
				t.Errorf("%s: %q, want the number of attempts", test.name, detail)
			}
		})
	}
}
