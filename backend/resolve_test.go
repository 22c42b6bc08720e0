package backend

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// zone is a resolver and a network of its own: every address that is up answers
// with its own text.
type zone struct {
	mu      sync.Mutex
	addrs   []netip.Addr
	err     error
	lookups []time.Duration // since start
	start   time.Time
	hang    bool             // lookups wait for their end
	dials   map[string]int   // by address
	down    map[string]error // addresses that can't be connected to
	conns   map[string][]net.Conn
}

func newZone(addrs string) *zone {
	return &zone{addrs: ips(addrs), start: time.Now(), dials: map[string]int{}, down: map[string]error{}, conns: map[string][]net.Conn{}}
}

func (z *zone) set(addrs string, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs, z.err = ips(addrs), err
}

func (z *zone) refuse(addr string, err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.down[addr] = err
}

func (z *zone) asked() []time.Duration {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.lookups)
}

func (z *zone) dialled(addr string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.dials[addr]
}

// open is how many connections to addr this side has not closed.
func (z *zone) open(addr string) int {
	z.mu.Lock()
	conns := z.conns[addr]
	z.mu.Unlock()
	n := 0
	for _, c := range conns {
		// A write of nothing tells whether a pipe is closed.
		if _, err := c.Write(nil); err == nil {
			n++
		}
	}
	return n
}

func (z *zone) dialer() dialer {
	return dialer{
		lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			z.mu.Lock()
			z.lookups = append(z.lookups, time.Since(z.start))
			hang, addrs, err := z.hang, slices.Clone(z.addrs), z.err
			z.mu.Unlock()
			if hang {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return addrs, err
		},
		connect: func(_ context.Context, _, addr string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(addr)
			z.mu.Lock()
			defer z.mu.Unlock()
			z.dials[host]++
			if err := z.down[host]; err != nil {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
			}
			ours, theirs := net.Pipe()
			z.conns[host] = append(z.conns[host], ours)
			go func() {
				defer theirs.Close()
				br := bufio.NewReader(theirs)
				for {
					if _, ok := readRequest(br); !ok {
						return
					}
					res := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(host)), Body: io.NopCloser(strings.NewReader(host))}
					if res.Write(theirs) != nil {
						return
					}
				}
			}()
			return ours, nil
		},
	}
}

// oneGet has the backend answer one request, without a socket.
func oneGet(b *Backend) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}

func endpointNames(b *Backend) string {
	var all []string
	for _, s := range b.Endpoints() {
		all = append(all, s.Name)
	}
	return strings.Join(all, " ")
}

func notFound() error { return &net.DNSError{Err: "no such host", Name: "app", IsNotFound: true} }

func TestNamesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1")
		var seen recorder
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}, Balance: RoundRobin, SlowStart: -1, Observe: seen.observe, IdleConn: time.Hour}, z.dialer())
		synctest.Wait()
		if got := oneGet(b).Body.String(); got != "10.0.0.1" {
			t.Errorf("answered by %q", got)
		}
		first := b.now().endpoints[0]

		// A second address, and none of the first is lost.
		z.set("10.0.0.2 10.0.0.1", nil)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got := endpointNames(b); got != "app:80 app:80@10.0.0.2" {
			t.Errorf("endpoints = %s", got)
		}
		if b.now().endpoints[0] != first {
			t.Error("the endpoint of an address that stayed is another one")
		}
		for range 10 {
			oneGet(b)
		}
		if n := z.dialled("10.0.0.1"); n != 1 {
			t.Errorf("10.0.0.1 was dialled %d times, want once", n)
		}
		if z.dialled("10.0.0.2") == 0 {
			t.Error("10.0.0.2 was not used")
		}

		// The first goes: its idle connection is closed, its name is free.
		z.set("10.0.0.2", nil)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got := endpointNames(b); got != "app:80@10.0.0.2" {
			t.Errorf("endpoints = %s", got)
		}
		if n := z.open("10.0.0.1"); n != 0 {
			t.Errorf("%d connections to an address that went", n)
		}

		// Another place altogether.
		z.set("10.0.0.9", nil)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got := oneGet(b).Body.String(); got != "10.0.0.9" || endpointNames(b) != "app:80" {
			t.Errorf("answered by %q of %s", got, endpointNames(b))
		}

		// The resolver fails, then it says that there is nothing: the last good
		// addresses stay.
		for _, err := range []error{&net.DNSError{Err: "server misbehaving", IsTemporary: true}, notFound()} {
			z.set("", err)
			time.Sleep(time.Minute)
			if got := oneGet(b); got.Code != 200 || got.Body.String() != "10.0.0.9" {
				t.Errorf("with %v: %d %q", err, got.Code, got.Body)
			}
		}
		if evs := seen.of(ResolveFailed); len(evs) != 1 || !strings.Contains(evs[0].Detail, "misbehaving; kept: 10.0.0.9") {
			t.Errorf("ResolveFailed events: %+v", evs)
		}
		z.set("10.0.0.9", nil)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		var details []string
		for _, ev := range seen.of(AddressesChanged) {
			details = append(details, ev.Detail)
		}
		want := []string{
			"app has 10.0.0.1", "app has 10.0.0.1, 10.0.0.2, new: 10.0.0.2", "app has 10.0.0.2, gone: 10.0.0.1",
			"app has 10.0.0.9, new: 10.0.0.9, gone: 10.0.0.2", "app has 10.0.0.9, as before the resolver failed",
		}
		if !slices.Equal(details, want) {
			t.Errorf("AddressesChanged: %q, want %q", details, want)
		}
	})
}

// TestLookupsAreSpaced has lookups by the interval, with jitter, whatever the
// traffic is.
func TestLookupsAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1")
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}, {URL: "http://app:81"}}, ResolveInterval: 4 * time.Second}, z.dialer())
		for range 400 {
			time.Sleep(time.Second)
			oneGet(b)
		}
		at := z.asked()
		if len(at) < 80 || len(at) > 135 {
			t.Errorf("%d lookups of a name in 400 s, want about 100", len(at))
		}
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(at); i++ {
			gap := at[i] - at[i-1]
			gaps[gap] = true
			if gap < 3*time.Second || gap > 5*time.Second {
				t.Errorf("%v between two lookups", gap)
			}
		}
		if len(gaps) < 20 {
			t.Errorf("%d different gaps: no jitter", len(gaps))
		}
	})
}

// TestFirstAnswer has requests wait for the first answer alone.
func TestFirstAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("")
		z.err = notFound()
		var last *failure.Error
		b := newBackendWith(t, Config{
			Endpoints: []Endpoint{{URL: "http://app"}}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				last = failure.As(err, failure.Panic)
				w.WriteHeader(last.Cause.Row().Status)
			},
		}, z.dialer())
		if w := oneGet(b); w.Code != 502 || last.Cause != failure.DNSNotFound || last.Attempts != 3 {
			t.Errorf("answered %d, %v", w.Code, last)
		}
		if n := len(z.asked()); n > 3 {
			t.Errorf("one request cost %d lookups", n)
		}
		z.set("10.0.0.1", nil)
		time.Sleep(5 * time.Second) // without any request
		synctest.Wait()
		n := len(z.asked())
		if w := oneGet(b); w.Code != 200 {
			t.Errorf("answered %d, %v", w.Code, last)
		}
		z.mu.Lock()
		z.hang = true
		z.mu.Unlock()
		time.Sleep(time.Hour) // the resolver hangs: nobody waits for it
		began := time.Now()
		if w := oneGet(b); w.Code != 200 || time.Since(began) != 0 {
			t.Errorf("answered %d after %v", w.Code, time.Since(began))
		}
		if more := len(z.asked()) - n; more < 100 || more > 700 {
			t.Errorf("%d lookups in an hour of a resolver that hangs", more)
		}
	})
}

func TestResolveTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, interval := range []time.Duration{0, -1} {
			z := newZone("10.0.0.1")
			z.hang = true
			var last *failure.Error
			b := newBackendWith(t, Config{
				Endpoints: []Endpoint{{URL: "http://app"}}, Resolve: 700 * time.Millisecond, ResolveInterval: interval, Retries: -1,
				ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
					last = failure.As(err, failure.Panic)
					w.WriteHeader(last.Cause.Row().Status)
				},
			}, z.dialer())
			began := time.Now()
			if w := oneGet(b); w.Code != 504 || last.Cause != failure.DNSTimeout || time.Since(began) != 700*time.Millisecond {
				t.Errorf("interval %v: answered %d after %v, %v", interval, w.Code, time.Since(began), last)
			}
			z.mu.Lock()
			z.hang = false
			z.mu.Unlock()
			time.Sleep(20 * time.Second)
			if w := oneGet(b); w.Code != 200 {
				t.Errorf("interval %v: answered %d, %v", interval, w.Code, last)
			}
		}
	})
}

// TestResolveByConnection is a negative ResolveInterval: nothing happens in the
// background, every connection asks.
func TestResolveByConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1")
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}, ResolveInterval: -1, IdleConn: -1}, z.dialer())
		time.Sleep(time.Hour)
		if n := len(z.asked()); n != 0 {
			t.Errorf("%d lookups without a request", n)
		}
		oneGet(b)
		z.set("10.0.0.2", nil)
		if got := oneGet(b).Body.String(); got != "10.0.0.2" || len(z.asked()) != 2 {
			t.Errorf("answered by %q after %d lookups", got, len(z.asked()))
		}
	})
}

// TestRefusedAsksAgain has an address that refuses looked up ahead of time, but
// not by every request.
func TestRefusedAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1")
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}, ResolveInterval: time.Hour, IdleConn: -1}, z.dialer())
		synctest.Wait()
		time.Sleep(5 * time.Second)
		z.refuse("10.0.0.1", syscall.ECONNREFUSED)
		z.set("10.0.0.2", nil)
		oneGet(b)
		synctest.Wait()
		if w := oneGet(b); w.Code != 200 || w.Body.String() != "10.0.0.2" {
			t.Errorf("answered %d %q: the name was not looked up again", w.Code, w.Body)
		}
		n := len(z.asked())
		z.refuse("10.0.0.2", syscall.ECONNREFUSED)
		for range 100 {
			oneGet(b)
			time.Sleep(100 * time.Millisecond)
		}
		if more := len(z.asked()) - n; more < 5 || more > 60 {
			t.Errorf("%d lookups while every connection is refused, want about one per second", more)
		}
	})
}

// TestOtherFamily has the addresses of the other family used where there is no
// way to the endpoints' own, and only there.
func TestOtherFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("fd00::1 fd00::2 10.0.0.1")
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}, IdleConn: -1, Retries: -1}, z.dialer())
		synctest.Wait()
		if got := endpointNames(b); got != "app:80 app:80@fd00::2" {
			t.Fatalf("endpoints = %s", got)
		}
		z.refuse("fd00::1", syscall.ENETUNREACH)
		z.refuse("fd00::2", syscall.ENETUNREACH)
		for range 4 {
			if w := oneGet(b); w.Body.String() != "10.0.0.1" {
				t.Errorf("answered %d %q", w.Code, w.Body)
			}
		}
		n := z.dialled("10.0.0.1")
		z.refuse("fd00::1", syscall.ECONNREFUSED)
		z.refuse("fd00::2", syscall.ECONNREFUSED)
		if w := oneGet(b); w.Code != 502 || z.dialled("10.0.0.1") != n {
			t.Errorf("answered %d %q: a host that refuses is no reason for another one", w.Code, w.Body)
		}
	})
}

// TestNewDoesNotWait has a resolver that never answers, and a shutdown with it.
func TestNewDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("")
		z.hang = true
		began := time.Now()
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}}, z.dialer())
		waiting := make(chan int)
		go func() { waiting <- oneGet(b).Code }()
		synctest.Wait()
		if err := b.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := <-waiting; got < 500 || time.Since(began) > 10*time.Second {
			t.Errorf("answered %d after %v", got, time.Since(began))
		}
	})
}

// TestLastAddressesOutliveTheInterval has the resolver fail while names are
// resolved by every connection, and while that changes: the last addresses are
// kept either way.
func TestLastAddressesOutliveTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1")
		cfg := func(interval time.Duration) Config {
			return Config{Endpoints: []Endpoint{{URL: "http://app"}}, ResolveInterval: interval, IdleConn: -1}
		}
		b := newBackendWith(t, cfg(-1), z.dialer())
		if got := oneGet(b).Body.String(); got != "10.0.0.1" {
			t.Fatalf("answered by %q", got)
		}
		for i, interval := range []time.Duration{-1, time.Minute, -1, time.Hour} {
			if err := b.Update(cfg(interval)); err != nil {
				t.Fatal(err)
			}
			z.set("", notFound())
			for range 3 {
				if w := oneGet(b); w.Code != 200 || w.Body.String() != "10.0.0.1" {
					t.Errorf("step %d, interval %v: %d %q %s", i, interval, w.Code, w.Body, w.Header().Get("Proxy-Status"))
				}
			}
		}
		// A good lookup is what counts afterwards.
		z.set("10.0.0.2", nil)
		if err := b.Update(cfg(-1)); err != nil {
			t.Fatal(err)
		}
		if got := oneGet(b).Body.String(); got != "10.0.0.2" {
			t.Errorf("answered by %q, want 10.0.0.2", got)
		}
	})
}
