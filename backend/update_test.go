package backend

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func TestUpdateRefuses(t *testing.T) {
	f := newFaults(t, say(okHello))
	b := newBackend(t, Config{Name: "shop", Endpoints: []Endpoint{{URL: f.url()}}})
	before := b.now()
	err := b.Update(Config{Connect: -1, Endpoints: []Endpoint{{URL: f.url()}, {URL: "ftp://a"}}})
	if err == nil || !strings.Contains(err.Error(), "Config.Connect is -1ns") || !strings.Contains(err.Error(), "Config.Endpoints[1].URL") {
		t.Errorf("Update = %v, want one with all mistakes", err)
	}
	if b.now() != before {
		t.Error("a refused configuration changed something")
	}
	if err := b.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Update(Config{Endpoints: []Endpoint{{URL: f.url()}}}); !errors.Is(err, errShutdown) {
		t.Errorf("Update after Shutdown = %v", err)
	}
}

// TestUpdateKeeps has what is known of an endpoint outlive a new configuration,
// and its connections, too.
func TestUpdateKeeps(t *testing.T) {
	kept, gone, added := newFaults(t, say(okHello)), newFaults(t, say(okHello)), newFaults(t, say(okHello))
	var made []string
	gates := func(name string) Gate { made = append(made, name); return &countingGate{} }
	cfg := Config{
		Endpoints: []Endpoint{{URL: kept.url(), Name: "kept"}, {URL: gone.url(), Name: "gone"}}, NewGate: gates, IdleConn: time.Hour,
		Balance: RoundRobin, SlowStart: -1,
	}
	b := newBackend(t, cfg)
	srv, client := front(t, b)
	visit := func() {
		get(t, client, srv.URL)
		// The client may have the answer before the pool has the connection.
		await(t, "nothing is in flight", func() bool {
			return !slices.ContainsFunc(b.Endpoints(), func(ep EndpointStatus) bool { return ep.InFlight > 0 })
		})
	}
	for range 8 {
		visit()
	}
	if err := b.Steer("kept", ForceUp); err != nil {
		t.Fatal(err)
	}
	before := b.now().endpoints
	before[0].heldUntil.Store(1 << 60)
	cfg.Endpoints = []Endpoint{{URL: kept.url(), Name: "kept", Weight: 3, Backup: true, MaxInFlight: 7}, {URL: added.url(), Name: "added"}}
	if err := b.Update(cfg); err != nil {
		t.Fatal(err)
	}
	after := b.now().endpoints
	if len(after) != 2 || after[0] != before[0] || after[1] == before[1] {
		t.Fatalf("endpoints %p became %p", before, after)
	}
	if set := after[0].settings.Load(); set.weight != 3 || !set.backup || set.limit != 7 {
		t.Errorf("settings of the kept one = %+v", set)
	}
	if after[0].steered() != ForceUp || !after[0].held(b) {
		t.Error("the state of the kept one is lost")
	}
	after[0].heldUntil.Store(0)
	cfg.Endpoints[0].Backup = false
	if err := b.Update(cfg); err != nil {
		t.Fatal(err)
	}
	conns := kept.count()
	for range 8 {
		visit()
	}
	if n := kept.count(); n != conns {
		t.Errorf("%d new connections to the kept one", n-conns)
	}
	if added.count() == 0 {
		t.Error("the new one is not used")
	}
	if got := fmt.Sprint(made); got != "[kept gone added]" {
		t.Errorf("NewGate was called for %s", got)
	}
	await(t, "the removed one has no connection", func() bool { gone.mu.Lock(); defer gone.mu.Unlock(); return len(gone.open) == 0 })
}

// TestUpdateDrains has a request of a removed endpoint finish, and its
// connection end with it.
func TestUpdateDrains(t *testing.T) {
	release := make(chan struct{})
	started := make(chan struct{})
	slow := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); ok {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			close(started)
			<-release
			_, _ = io.WriteString(c, "again")
			_, _ = io.Copy(io.Discard, br)
		}
	})
	next := newFaults(t, say(okHello))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: slow.url()}}, BetweenBytes: time.Minute, IdleConn: time.Hour})
	srv, client := front(t, b)
	got := make(chan string)
	go func() {
		_, _, body := get(t, client, srv.URL)
		got <- body
	}()
	<-started
	if err := b.Update(Config{Endpoints: []Endpoint{{URL: next.url()}}, BetweenBytes: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _, _, body := get(t, client, srv.URL); body != "hello" {
		t.Errorf("after Update: %q", body)
	}
	close(release)
	if body := <-got; body != "helloagain" {
		t.Errorf("the request of the removed endpoint: %q", body)
	}
	await(t, "the connection is closed", func() bool { slow.mu.Lock(); defer slow.mu.Unlock(); return len(slow.open) == 0 })
}

// TestUpdateHandler has a handler known by its name: another one takes its
// place, in-flight requests stay with the first.
func TestUpdateHandler(t *testing.T) {
	release := make(chan struct{})
	inside := make(chan struct{})
	one := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-release
		_, _ = io.WriteString(w, "one")
	})
	two := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "two") })
	b := newBackend(t, Config{Endpoints: []Endpoint{{Handler: one}}})
	before := b.now().endpoints[0]
	first := make(chan string)
	go func() { first <- oneGet(b).Body.String() }()
	<-inside
	if err := b.Update(Config{Endpoints: []Endpoint{{Handler: two}}}); err != nil {
		t.Fatal(err)
	}
	if b.now().endpoints[0] != before || b.Endpoints()[0].InFlight != 1 {
		t.Error("the state of the handler is lost")
	}
	if got := oneGet(b).Body.String(); got != "two" {
		t.Errorf("after Update: %q", got)
	}
	close(release)
	if got := <-first; got != "one" {
		t.Errorf("the request before it: %q", got)
	}
}

// TestUpdateChecks has the checks follow the configuration: others, none, some.
func TestUpdateChecks(t *testing.T) {
	var paths sync.Map
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths.Store(r.URL.Path, true)
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(srv.Close)
	cfg := func(path string) Config {
		return Config{Endpoints: []Endpoint{{URL: srv.URL}}, Health: Health{Path: path, Interval: time.Hour, Fall: 1, Rise: 1}}
	}
	b := newBackend(t, cfg("/good"))
	await(t, "the first check", func() bool { _, ok := paths.Load("/good"); return ok })
	if err := b.Update(cfg("/bad")); err != nil {
		t.Fatal(err)
	}
	await(t, "it is down", func() bool { return !b.Endpoints()[0].Healthy })
	if err := b.Update(cfg("")); err != nil {
		t.Fatal(err)
	}
	if !b.Endpoints()[0].Healthy || !b.Available() {
		t.Error("down without a check")
	}
	if err := b.Update(cfg("/bad")); err != nil {
		t.Fatal(err)
	}
	await(t, "it is down again", func() bool { return !b.Endpoints()[0].Healthy })
	if err := b.Update(cfg("/good")); err != nil {
		t.Fatal(err)
	}
	await(t, "it is up again", func() bool { return b.Endpoints()[0].Healthy })
}

func TestUpdateGates(t *testing.T) {
	f := newFaults(t, say(okHello))
	cfg := Config{Endpoints: []Endpoint{{URL: f.url()}}}
	b := newBackend(t, cfg)
	shared, own := &countingGate{}, &countingGate{}
	made := 0
	for _, tt := range []struct {
		what         string
		gate         Gate
		newGate      func(string) Gate
		shared, made int
	}{
		{"none", nil, nil, 0, 0},
		{"shared", shared, nil, 1, 0},
		{"own", nil, func(string) Gate { made++; return own }, 1, 1},
		{"own again", nil, func(string) Gate { made++; return own }, 1, 1},
	} {
		cfg.Gate, cfg.NewGate = tt.gate, tt.newGate
		if err := b.Update(cfg); err != nil {
			t.Fatal(err)
		}
		if w := oneGet(b); w.Code != 200 {
			t.Errorf("%s: answered %d", tt.what, w.Code)
		}
		if n := shared.allowed; n != tt.shared || made != tt.made {
			t.Errorf("%s: the shared gate was asked %d times, %d were made, want %d and %d", tt.what, n, made, tt.shared, tt.made)
		}
	}
	if n := own.allowed; n != 2 {
		t.Errorf("the endpoint's gate was asked %d times, want 2", n)
	}
}

func TestSameTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	base := func() *tls.Config {
		pool := ca.pool.Clone()
		return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	}
	cert := ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))
	verify := func(c *tls.Config) *tls.Config {
		c.VerifyConnection = func(tls.ConnectionState) error { return nil }
		return c
	}
	with := func(f func(*tls.Config)) *tls.Config { c := base(); f(c); return c }
	for _, tt := range []struct {
		name      string
		a, b      *tls.Config
		identical bool
		want      bool
	}{
		{"none", nil, nil, true, true},
		{"one", nil, base(), false, false},
		{"equal", base(), base(), false, true},
		{"clone", base(), base().Clone(), false, true},
		{"authority", base(), with(func(c *tls.Config) { c.RootCAs = other.pool }), false, false},
		{"protocols", base(), with(func(c *tls.Config) { c.NextProtos = nil }), false, false},
		{"name", base(), with(func(c *tls.Config) { c.ServerName = "a" }), false, false},
		{"certificate", base(), with(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }), false, false},
		{"same certificate", with(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }), with(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }), false, true},
		{"session cache", base(), with(func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) }), false, false},
		{"a func, another config", verify(base()), verify(base()), false, false},
		{"a func, the same config", verify(base()), verify(base()), true, true},
		{"a func taken away", verify(base()), base(), true, false},
	} {
		if got := sameTLS(tt.a, tt.b, tt.identical); got != tt.want {
			t.Errorf("%s: sameTLS = %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestUpdateHeaderLimit has a smaller limit hold on connections that were made
// under a larger one.
func TestUpdateHeaderLimit(t *testing.T) {
	auth := newAuthority(t)
	long := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 20_000)) })
	srv := httptest.NewUnstartedServer(long)
	srv.EnableHTTP2 = true
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{auth.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}, NextProtos: []string{"h2", "http/1.1"}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	for _, protos := range [][]string{{"http/1.1"}, {"h2"}} {
		cfg := Config{Endpoints: []Endpoint{{URL: srv.URL}}, TLS: &tls.Config{RootCAs: auth.pool, NextProtos: protos}, IdleConn: time.Hour}
		b := newBackend(t, cfg)
		if w := oneGet(b); w.Code != 200 {
			t.Fatalf("%s: %d", protos, w.Code)
		}
		cfg.MaxHeaderBytes = 8192
		if err := b.Update(cfg); err != nil {
			t.Fatal(err)
		}
		if w := oneGet(b); w.Code != 502 || !strings.Contains(w.Header().Get("Proxy-Status"), "http_response_header_section_size") {
			t.Errorf("%s: after the smaller limit: %d %s", protos, w.Code, w.Header().Get("Proxy-Status"))
		}
	}
}

// TestChurn has the configuration and the addresses change all the time under
// traffic. No GET may fail, and nothing may be left behind.
func TestChurn(t *testing.T) {
	var hits [4]atomic.Int64
	var addrs []netip.Addr
	port := ""
	for i := range hits {
		addr := fmt.Sprintf("127.0.0.%d", i+1)
		ln, err := net.Listen("tcp", net.JoinHostPort(addr, port))
		if err != nil && i == 0 {
			t.Fatal(err)
		} else if err != nil {
			t.Logf("no listener on %s: %v", addr, err)
			continue
		}
		if port == "" {
			_, port, _ = net.SplitHostPort(ln.Addr().String())
		}
		srv := &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			hits[i].Add(1)
			_, _ = io.WriteString(w, "hello")
		})}
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
		addrs = append(addrs, netip.MustParseAddr(addr))
	}
	if len(addrs) < 2 {
		t.Fatal("one loopback address is not enough")
	}
	var turn atomic.Int64
	d := newDialer()
	d.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		n := turn.Add(1)
		if n%5 == 0 {
			return nil, notFound()
		}
		// Windows of one to all addresses, moving.
		var some []netip.Addr
		for i := range 1 + n%int64(len(addrs)) {
			some = append(some, addrs[(n+i)%int64(len(addrs))])
		}
		return some, nil
	}
	fixed := newFaults(t, say(okHello))
	cfg := func(i int) Config {
		c := Config{
			Endpoints:       []Endpoint{{URL: "http://app:" + port, Weight: 1 + i%3}},
			ResolveInterval: 10 * time.Millisecond, Connect: 10 * time.Second, FirstByte: 30 * time.Second,
			Health: Health{Path: []string{"", "/health"}[i%2], Interval: 20 * time.Millisecond, Timeout: 20 * time.Second},
		}
		if i%3 == 0 {
			c.Endpoints = append(c.Endpoints, Endpoint{URL: fixed.url()})
		}
		if i%7 == 0 {
			c.IdleConn = -1
		}
		if i%11 == 0 {
			c.ResolveInterval = -1
		}
		return c
	}
	b := newBackendWith(t, cfg(1), d)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				if err := b.Update(cfg(i)); err != nil {
					t.Errorf("Update = %v", err)
					return
				}
				_ = b.Steer(b.Endpoints()[0].Name, Steering(i%2)) // may have gone by now
				b.Available()
			}
		})
	}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	var asking sync.WaitGroup
	for i := range 600 {
		<-pace.C
		asking.Go(func() {
			if w := oneGet(b); w.Code != 200 || w.Body.String() != "hello" {
				t.Errorf("request %d: %d %q %s", i, w.Code, w.Body, w.Header().Get("Proxy-Status"))
			}
		})
	}
	asking.Wait()
	close(stop)
	wg.Wait()
	used := 0
	for i := range hits {
		if hits[i].Load() > 0 {
			used++
		}
	}
	if used < len(addrs) {
		t.Errorf("%d of %d addresses were used", used, len(addrs))
	}
	if err := b.Update(Config{Endpoints: []Endpoint{{Handler: http.NotFoundHandler()}}}); err != nil {
		t.Fatal(err)
	}
	await(t, "no connection is left", func() bool { fixed.mu.Lock(); defer fixed.mu.Unlock(); return len(fixed.open) == 0 })
}

// TestUpdateAndShutdown has both at once: whichever comes first, nothing runs on
// afterwards (the package's tests look for goroutines at the end).
func TestUpdateAndShutdown(t *testing.T) {
	f := newFaults(t, say(okHello))
	d := newDialer()
	d.lookup = func(context.Context, string, string) ([]netip.Addr, error) { return nil, notFound() }
	for i := range 30 {
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: f.url()}}}, d)
		var wg sync.WaitGroup
		for n := range 3 {
			wg.Go(func() {
				for k := range 5 {
					_ = b.Update(Config{Endpoints: []Endpoint{{URL: "http://nowhere" + fmt.Sprint(n, k) + ".invalid"}, {URL: f.url()}}, Health: Health{Path: "/", Interval: time.Millisecond}})
				}
			})
			wg.Go(func() { oneGet(b) })
		}
		if i%2 == 0 {
			wg.Wait()
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if w := oneGet(b); w.Code != failure.Draining.Row().Status {
			t.Errorf("after Shutdown: %d", w.Code)
		}
	}
}

// An endpoint that is to be told of its clients from now on is another one: what
// was said on its connections so far did not tell it.
func TestUpdateProxyProtocol(t *testing.T) {
	dir := t.TempDir()
	for _, url := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1", "unix://" + dir + "/s"} {
		cfg := Config{Endpoints: []Endpoint{{URL: url, Name: "a"}}}
		b := newBackend(t, cfg)
		was := b.now().endpoints[0]
		for _, step := range []struct {
			version int
			same    bool
		}{{0, true}, {1, false}, {1, true}, {2, false}, {0, false}} {
			cfg.Endpoints[0].ProxyProtocol = step.version
			if err := b.Update(cfg); err != nil {
				t.Fatal(err)
			}
			is := b.now().endpoints[0]
			if (is == was) != step.same || is.proxy != step.version {
				t.Errorf("%s, version %d: the same endpoint: %t, want %t; it speaks version %d", url, step.version, is == was, step.same, is.proxy)
			}
			was = is
		}
	}
}

// What thousands of endpoints cost does not grow with their square.
func TestUpdateThousands(t *testing.T) {
	const few, many = 1_000, 10_000
	var cfg Config
	for i := range many {
		cfg.Endpoints = append(cfg.Endpoints, Endpoint{URL: fmt.Sprintf("http://127.%d.%d.1:9", i>>8, i&0xff), Name: fmt.Sprintf("endpoint %d", i)})
	}
	fastest := func(n int) time.Duration {
		cfg := cfg
		cfg.Endpoints = cfg.Endpoints[:n]
		b := newBackend(t, cfg)
		last := b.now().endpoints[n-1]
		best := time.Hour
		for range 4 {
			began := time.Now()
			if err := b.Update(cfg); err != nil {
				t.Fatal(err)
			}
			best = min(best, time.Since(began))
		}
		if b.now().endpoints[n-1] != last {
			t.Error("the last endpoint is another one")
		}
		for _, ep := range b.now().endpoints {
			ep.steering.Store(uint32(ForceDown))
		}
		e := b.now().none(query{}, nil)
		if len(e.Detail) > few*10 || !strings.HasPrefix(e.Detail, fmt.Sprintf("0 of %d endpoints may be used: endpoint 0: endpoint_down", n)) {
			t.Errorf("the refusal has %d bytes: %.100s", len(e.Detail), e.Detail)
		}
		return best
	}
	a, b := fastest(few), fastest(many)
	if b > 30*a {
		t.Errorf("an update of %d endpoints takes %v, of %d it takes %v", few, a, many, b)
	}
	t.Logf("%d: %v, %d: %v", few, a, many, b)
}
