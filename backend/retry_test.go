package backend

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestMayRetry(t *testing.T) {
	base := retryFacts{method: "GET", attempts: 1, limit: 2, replayable: true}
	with := func(change func(*retryFacts)) retryFacts {
		f := base
		change(&f)
		return f
	}
	for _, tt := range []struct {
		name  string
		e     failure.Error
		f     retryFacts
		want  bool
		wants string
	}{
		{"refused, GET", failure.Error{Cause: failure.ConnectionRefused}, base, true, ""},
		{"refused, POST", failure.Error{Cause: failure.ConnectionRefused}, with(func(f *retryFacts) { f.method = "POST" }), true, ""},
		{"closed, PUT", failure.Error{Cause: failure.ClosedBeforeHeaders}, with(func(f *retryFacts) { f.method = "PUT" }), true, ""},
		{"closed, POST", failure.Error{Cause: failure.ClosedBeforeHeaders}, with(func(f *retryFacts) { f.method = "POST" }), false, "method POST"},
		{"closed, PATCH", failure.Error{Cause: failure.ClosedBeforeHeaders}, with(func(f *retryFacts) { f.method = "PATCH" }), false, "method PATCH"},
		{"spent", failure.Error{Cause: failure.ClosedBeforeHeaders}, with(func(f *retryFacts) { f.attempts = 3 }), false, "attempts spent"},
		{"body gone", failure.Error{Cause: failure.ClosedBeforeHeaders}, with(func(f *retryFacts) { f.replayable = false }), false, "body not replayable"},
		{"begun", failure.Error{Cause: failure.Truncated}, with(func(f *retryFacts) { f.begun = true }), false, "response begun"},
		{"once", failure.Error{Cause: failure.KeepaliveRace}, with(func(f *retryFacts) { f.once = []failure.Cause{failure.KeepaliveRace} }), false, "once only"},
		{"once, other cause", failure.Error{Cause: failure.KeepaliveRace}, with(func(f *retryFacts) { f.once = []failure.Cause{failure.FirstByteTimeout} }), true, ""},
		{"no answer, alone", failure.Error{Cause: failure.FirstByteTimeout}, base, false, "no other endpoint"},
		{"no answer, others", failure.Error{Cause: failure.FirstByteTimeout}, with(func(f *retryFacts) { f.others = true }), true, ""},
		{"500, alone", failure.Error{Cause: failure.Upstream5xx, Status: 500}, base, false, "no other endpoint"},
		{"500, others", failure.Error{Cause: failure.Upstream5xx, Status: 500}, with(func(f *retryFacts) { f.others = true }), true, ""},
		{"501", failure.Error{Cause: failure.Upstream5xx, Status: 501}, base, false, ""},
		{"500, PUT", failure.Error{Cause: failure.Upstream5xx, Status: 500}, with(func(f *retryFacts) { f.method = "PUT" }), false, "method PUT"},
		{"refused until, alone", failure.Error{Cause: failure.ConnectionRefused, RetryAfter: time.Second}, base, false, "Retry-After"},
		{"503 until, others", failure.Error{Cause: failure.Upstream5xx, Status: 503, RetryAfter: time.Second}, with(func(f *retryFacts) { f.others = true }), true, ""},
		{"limit, alone", failure.Error{Cause: failure.ConnectionLimit}, base, false, "no other endpoint"},
		{"limit, others", failure.Error{Cause: failure.ConnectionLimit}, with(func(f *retryFacts) { f.others = true }), true, ""},
		{"never", failure.Error{Cause: failure.WriteTimeout}, base, false, ""},
	} {
		ok, why := mayRetry(&tt.e, tt.f)
		if ok != tt.want || why != tt.wants {
			t.Errorf("%s: mayRetry = %v, %q, want %v, %q", tt.name, ok, why, tt.want, tt.wants)
		}
	}
}

// counted answers like s and counts the requests that were read whole.
func counted(n *atomic.Int64, end func(c net.Conn)) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			n.Add(1)
			end(c)
		}
	}
}

func TestPostIsNeverExecutedTwice(t *testing.T) {
	ends := map[string]func(net.Conn){
		"closed":        func(net.Conn) {},
		"reset":         func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
		"half a head":   func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200") },
		"stalled":       func(net.Conn) { time.Sleep(2 * brief) },
		"half a body":   func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") },
		"500":           func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n") },
		"not validated": func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 304 X\r\n\r\n") },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			first, second := newFaults(t, counted(&n, end)), newFaults(t, counted(&n, end))
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: first.url()}, {URL: second.url()}}, FirstByte: brief})
			srv, client := front(t, b)
			res := post(t, client, srv.URL, "order")
			if res.StatusCode < 500 {
				t.Errorf("status = %d, want an error", res.StatusCode)
			}
			if got := n.Load(); got != 1 {
				t.Errorf("executed %d times, want once", got)
			}
		})
	}
}

// A POST takes no connection that has been idle for a while: its backend may be
// closing it just now.
func TestPostAvoidsOldConnections(t *testing.T) {
	server := newFaults(t, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	srv, client := front(t, b)
	get(t, client, srv.URL)
	post(t, client, srv.URL, "x") // just used: the same
	if n := server.count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	p := b.now().endpoints[0].pool
	await(t, "the connection is idle", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 1
	})
	p.mu.Lock()
	p.idle[0].idleSince = time.Now().Add(-2 * justUsed)
	p.mu.Unlock()
	post(t, client, srv.URL, "x")
	if n := server.count(); n != 2 {
		t.Errorf("%d connections, want 2: the POST gets a fresh one", n)
	}
}

// Where the endpoint closes even those that were just used, a POST takes none.
func TestPostAvoidsHastyEndpoint(t *testing.T) {
	server := newFaults(t, sayThenClose(okHello), say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	srv, client := front(t, b)
	get(t, client, srv.URL)
	p := b.now().endpoints[0].pool
	await(t, "the idle connection is closed by its peer", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 1 && !p.idle[0].pulse.alive()
	})
	p.mu.Lock()
	p.idle[0].idleSince = time.Now().Add(time.Minute) // however long that took
	p.mu.Unlock()
	get(t, client, srv.URL)
	await(t, "the second connection is idle", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 1
	})
	post(t, client, srv.URL, "x")
	if n := server.count(); n != 3 {
		t.Errorf("%d connections, want 3: the POST gets a fresh one", n)
	}
	get(t, client, srv.URL)
	if n := server.count(); n != 3 {
		t.Errorf("%d connections, want 3: a GET can be repeated", n)
	}
}

func TestRetriedSuccess(t *testing.T) {
	dies := func(_ net.Conn, br *bufio.Reader) { _, _ = readRequest(br) }
	for _, tt := range []struct {
		name, method, body string
		scripts            []script
		status             int
	}{
		{"GET", "GET", "", []script{dies, say(okHello)}, 200},
		{"PUT with a body", "PUT", strings.Repeat("b", 3000), []script{dies, dies, echoBody}, 200},
		{"PUT beyond the replay limit", "PUT", strings.Repeat("b", 5000), []script{dies, echoBody}, 502},
		{"truncated, then fine", "GET", "", []script{sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), say(okHello)}, 200},
	} {
		for _, length := range []int64{int64(len(tt.body)), -1} {
			if tt.body == "" && length < 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s, length %d", tt.name, length), func(t *testing.T) {
				t.Parallel()
				server := newFaults(t, tt.scripts...)
				b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}, ReplayBody: 4096})
				var rung failure.Rung
				var got *failure.Error
				srv, client := front(t, tracked(b, func(e *failure.Error, r failure.Rung) { got, rung = e, r }))
				req, err := http.NewRequestWithContext(t.Context(), tt.method, srv.URL, strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if req.ContentLength = length; length == 0 {
					req.Body = nil
				}
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				srv.Close()
				if res.StatusCode != tt.status {
					t.Fatalf("status = %d, want %d", res.StatusCode, tt.status)
				}
				if tt.status == 200 && tt.body != "" && string(body) != tt.body {
					t.Errorf("the body came out as %d bytes, want %d", len(body), len(tt.body))
				}
				if tt.status == 200 && (got == nil || rung != failure.Retried) {
					t.Errorf("outcome %v, %v, want a failure mended by a retry", got, rung)
				}
				if tt.status != 200 && (got == nil || !got.Noted(failure.NotRetried)) {
					t.Errorf("outcome %v, want the note not_retried", got)
				}
			})
		}
	}
}

// What a backend is working on, or has answered with an error, is asked of
// another endpoint, once, and never of the same one again.
func TestRetriedElsewhere(t *testing.T) {
	for name, bad := range map[string]script{
		"no answer":        sayThenHang(""),
		"stall in headers": sayThenHang("HTTP/1.1 200 OK\r\nServer: x\r\n"),
		"500":              say("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"),
		"503":              say("HTTP/1.1 503 X\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, healthy := range []bool{true, false} {
				other := bad
				if healthy {
					other = say(okHello)
				}
				first, second := newFaults(t, bad), newFaults(t, other)
				var seen recorder
				b := newBackend(t, Config{
					Endpoints: []Endpoint{{URL: first.url()}, {URL: second.url()}},
					FirstByte: time.Second, HeaderStall: time.Second, Balance: RoundRobin, Observe: seen.observe, // what a healthy one has on the busiest machine
				})
				srv, client := front(t, b)
				status, _, _ := get(t, client, srv.URL)
				if ok := status == http.StatusOK; ok != healthy {
					t.Errorf("other endpoint healthy %v: status = %d", healthy, status)
				}
				if a, b := first.count(), second.count(); a != 1 || b != 1 {
					t.Errorf("other endpoint healthy %v: %d and %d attempts, want one each", healthy, a, b)
				}
				if n := len(seen.of(AttemptDone)); n != 2 {
					t.Errorf("other endpoint healthy %v: %d attempts in events, want 2", healthy, n)
				}
			}
		})
	}
}

func echoBody(c net.Conn, br *bufio.Reader) {
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	res := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(string(body)))}
	_ = res.Write(c)
}

// The keep-alive race is lost once, on a fresh connection won.
func TestKeepaliveRaceIsRetriedOnAFreshConnection(t *testing.T) {
	once := func(c net.Conn, br *bufio.Reader) {
		_, _ = readRequest(br)
		_, _ = io.WriteString(c, okHello)
		_, _ = readRequest(br)
	}
	server := newFaults(t, once, once, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: server.url()}}})
	var rungs []failure.Rung
	srv, client := front(t, tracked(b, func(_ *failure.Error, r failure.Rung) { rungs = append(rungs, r) }))
	for range 2 {
		if status, _, body := get(t, client, srv.URL); status != 200 || body != "hello" {
			t.Errorf("%d %q, want 200 hello", status, body)
		}
	}
	srv.Close()
	if len(rungs) != 2 || rungs[1] != failure.Retried {
		t.Errorf("rungs = %v, want the second retried", rungs)
	}
}

func TestRoundRobinAndFailover(t *testing.T) {
	var hits [3]atomic.Int64
	var eps []Endpoint
	for i := range hits {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			hits[i].Add(1)
			_, _ = io.WriteString(w, "ok")
		}))
		t.Cleanup(srv.Close)
		eps = append(eps, Endpoint{URL: srv.URL})
	}
	eps = append(eps, Endpoint{URL: refusedURL(t, nil)})
	var seen recorder
	b := newBackend(t, Config{Endpoints: eps, Balance: RoundRobin, Observe: seen.observe})
	srv, client := front(t, b)
	const n = 300
	for range n {
		if status, _, _ := get(t, client, srv.URL); status != 200 {
			t.Fatalf("status = %d, want 200", status)
		}
	}
	for i := range hits {
		if got := hits[i].Load(); got < n/5 || got > n/2 {
			t.Errorf("endpoint %d had %d of %d requests", i, got, n)
		}
	}
	refused := 0
	for _, ev := range seen.of(AttemptDone) {
		if ev.Failure != nil {
			refused++
		}
	}
	// Held down, it is tried a few times in all this, not every fourth time.
	if refused == 0 || refused > n/8 {
		t.Errorf("the endpoint that refuses was tried %d times in %d requests", refused, n)
	}
}

// refusingGate refuses until opened.
type refusingGate struct {
	mu      sync.Mutex
	refuse  bool
	after   time.Duration
	results []error
}

func (g *refusingGate) Allow() (func(error), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuse {
		return nil, &failure.Error{Cause: failure.BreakerOpen, RetryAfter: g.after, Detail: "test"}
	}
	return func(err error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.results = append(g.results, err)
	}, nil
}

func TestGates(t *testing.T) {
	server := newFaults(t, say(okHello))
	serve := func(eps []Endpoint, gates map[string]*refusingGate) (int, http.Header, *failure.Error) {
		b := newBackend(t, Config{Endpoints: eps, NewGate: func(name string) Gate { return gates[name] }})
		var got *failure.Error
		srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got = e }))
		status, h, _ := get(t, client, srv.URL)
		srv.Close()
		return status, h, got
	}
	one := []Endpoint{{URL: server.url(), Name: "a"}}
	two := []Endpoint{{URL: server.url(), Name: "a"}, {URL: server.url(), Name: "b"}}

	status, h, e := serve(one, map[string]*refusingGate{"a": {refuse: true, after: 2500 * time.Millisecond}})
	if e == nil || e.Cause != failure.BreakerOpen || status != 503 || h.Get("Retry-After") != "3" || e.Endpoint != "a" {
		t.Errorf("lone gate: %d, Retry-After %q, %v, want 503, 3, breaker_open", status, h.Get("Retry-After"), e)
	}
	status, h, e = serve(two, map[string]*refusingGate{"a": {refuse: true, after: 9 * time.Second}, "b": {refuse: true, after: 4 * time.Second}})
	if e == nil || e.Cause != failure.NoEndpoint || status != 503 || h.Get("Retry-After") != "4" ||
		!strings.Contains(e.Detail, "a: breaker_open (test)") || !strings.Contains(e.Detail, "b: breaker_open") {
		t.Errorf("two gates: %d, Retry-After %q, %v, want 503, 4, no_endpoint with both reasons", status, h.Get("Retry-After"), e)
	}
	open := &refusingGate{}
	for range 4 {
		if status, _, e = serve(two, map[string]*refusingGate{"a": {refuse: true}, "b": open}); status != 200 || e != nil {
			t.Errorf("one gate open: %d, %v, want 200", status, e)
		}
	}
	if len(open.results) != 4 || errors.Join(open.results...) != nil {
		t.Errorf("the open gate was told %v, want four times nil", open.results)
	}
}

// An upgrade takes one permit, that of the endpoint which the balance picked.
func TestUpgradeTakesOnePermit(t *testing.T) {
	gate := &refusingGate{}
	server := newFaults(t, sayThenClose("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: server.url()}, {URL: server.url(), Name: "twin"}}, Gate: gate,
	})
	srv, client := front(t, b)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	srv.Close()
	if res.StatusCode != 404 || len(gate.results) != 1 || gate.results[0] != nil {
		t.Errorf("status %d, gate told %v, want 404, [nil]", res.StatusCode, gate.results)
	}
}

func TestHealth(t *testing.T) {
	var sick atomic.Bool
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" && sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(origin.Close)
	var seen recorder
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: origin.URL, Name: "a"}, {Handler: origin.Config.Handler, Name: "h"}},
		Health:    Health{Path: "/health", Interval: 5 * time.Millisecond, Rise: 2, Fall: 2}, PanicThreshold: -1, Observe: seen.observe,
	})
	var got *failure.Error
	srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) { got = e }))
	if !b.Available() {
		t.Error("not available before the first check, want optimism")
	}
	sick.Store(true)
	await(t, "both endpoints are down", func() bool { return !b.Available() })
	if status, _, _ := get(t, client, srv.URL); status != 503 {
		t.Errorf("status = %d, want 503", status)
	}
	for _, s := range b.Endpoints() {
		if s.Healthy || s.Reason != failure.EndpointDown || !strings.Contains(s.Detail, "GET /health: 503") {
			t.Errorf("status of %s = %+v", s.Name, s)
		}
	}
	sick.Store(false)
	await(t, "both endpoints are up", func() bool { s := b.Endpoints(); return s[0].Healthy && s[1].Healthy })
	if status, _, _ := get(t, client, srv.URL); status != 200 {
		t.Errorf("status = %d, want 200", status)
	}
	srv.Close()
	if got != nil {
		t.Errorf("reported %v at the end, want nothing", got)
	}
	if evs := seen.of(HealthChanged); len(evs) < 4 || evs[0].Healthy || !strings.Contains(evs[0].Detail, "503") {
		t.Errorf("events = %+v, want two down, two up", evs)
	}
}

func TestHealthNext(t *testing.T) {
	now := time.Unix(100, 0)
	h := health{up: true}
	for i, step := range []struct{ good, up bool }{
		{false, true}, {true, true}, {false, true}, {false, false}, {true, false}, {false, false}, {true, false}, {true, false}, {true, true},
	} {
		h = h.next(step.good, "x", now, 3, 2)
		if h.up != step.up {
			t.Errorf("step %d: up = %v, want %v", i, h.up, step.up)
		}
	}
}
