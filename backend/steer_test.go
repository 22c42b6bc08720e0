package backend

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSteeringNames(t *testing.T) {
	for _, s := range []Steering{Automatic, ForceUp, ForceDown, Drain} {
		if got, err := ParseSteering(s.String()); err != nil || got != s {
			t.Errorf("ParseSteering(%q) = %v, %v", s, got, err)
		}
	}
	if _, err := ParseSteering("Drain"); err == nil || !strings.Contains(err.Error(), "automatic, force-up, force-down, drain") {
		t.Errorf("ParseSteering of an unknown name = %v", err)
	}
	if got := Steering(9).String(); got != "steering(9)" {
		t.Errorf("String = %q", got)
	}
}

func TestSteerErrors(t *testing.T) {
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "http://127.0.0.1:1", Name: "one"}, {URL: "http://127.0.0.1:2", Name: "two"}}})
	for _, tt := range []struct {
		name string
		s    Steering
		want string
	}{
		{"three", Drain, `no endpoint "three": there are one, two`},
		{"one", Steering(4), "steering(4): must be one of automatic"},
	} {
		if err := b.Steer(tt.name, tt.s); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Steer(%q, %v) = %v, want %q", tt.name, tt.s, err, tt.want)
		}
	}
}

// TestSteerDrains has an endpoint drained while a request is in it: that one
// finishes, no other comes, and the status says when nothing is left.
func TestSteerDrains(t *testing.T) {
	for _, s := range []Steering{Drain, ForceDown} {
		inside, release := make(chan struct{}), make(chan struct{})
		calls := 0
		one := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls++
			close(inside)
			<-release
			_, _ = io.WriteString(w, "one")
		})
		two := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "two") })
		cfg := Config{Endpoints: []Endpoint{{Handler: one, Name: "one"}, {Handler: two, Name: "two"}}}
		b := newBackend(t, cfg)
		if err := b.Steer("two", s); err != nil {
			t.Fatal(err)
		}
		first := make(chan string)
		go func() { first <- oneGet(b).Body.String() }()
		<-inside
		if err := b.Steer("two", Automatic); err != nil {
			t.Fatal(err)
		}
		if err := b.Steer("one", s); err != nil {
			t.Fatal(err)
		}
		if err := b.Update(cfg); err != nil { // which keeps it
			t.Fatal(err)
		}
		for range 10 {
			if got := oneGet(b).Body.String(); got != "two" {
				t.Errorf("%v: answered by %q", s, got)
			}
		}
		if is := b.Endpoints()[0]; is.Steering != s || is.Drained || is.InFlight != 1 {
			t.Errorf("%v: status with a request in flight = %+v", s, is)
		}
		close(release)
		if got := <-first; got != "one" {
			t.Errorf("%v: the request in flight ended with %q", s, got)
		}
		await(t, "it is drained", func() bool { return b.Endpoints()[0].Drained })
		if err := b.Steer("two", s); err != nil {
			t.Fatal(err)
		}
		if w := oneGet(b); w.Code != 503 {
			t.Errorf("%v: with all endpoints steered away: %d", s, w.Code)
		}
		if calls != 1 {
			t.Errorf("%v: the drained endpoint had %d requests", s, calls)
		}
	}
}

// TestSteerForcesUp has an endpoint used although its check says no.
func TestSteerForcesUp(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			w.WriteHeader(500)
		}
	})
	other := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	var seen recorder
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{Handler: h, Name: "one"}, {Handler: other, Name: "two"}, {Handler: other, Name: "three"}},
		Health:    Health{Path: "/health", Fall: 1}, Observe: seen.observe,
	})
	await(t, "it is down", func() bool { return !b.Endpoints()[0].Healthy })
	used := func() (n int) {
		for _, ev := range seen.of(AttemptDone) {
			if ev.Endpoint == "one" {
				n++
			}
		}
		return n
	}
	for range 20 {
		oneGet(b)
	}
	if n := used(); n != 0 {
		t.Errorf("%d requests to one that is down", n)
	}
	if err := b.Steer("one", ForceUp); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		oneGet(b)
	}
	if used() == 0 {
		t.Error("no request to one that is forced up")
	}
}

// TestSteerName has a name steered with all its addresses, those that come
// later included, and one address by itself.
func TestSteerName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		z := newZone("10.0.0.1 10.0.0.2")
		b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://app"}}}, z.dialer())
		synctest.Wait()
		steer := func(name string, s Steering) {
			t.Helper()
			if err := b.Steer(name, s); err != nil {
				t.Fatal(err)
			}
		}
		steered := func() string {
			var all []string
			for _, is := range b.Endpoints() {
				all = append(all, is.Address+"="+is.Steering.String())
			}
			return strings.Join(all, " ")
		}
		steer("app:80@10.0.0.1", ForceUp)
		if got, want := steered(), "10.0.0.1:80=force-up 10.0.0.2:80=automatic"; got != want {
			t.Errorf("steered: %s, want %s", got, want)
		}
		steer("app:80", Drain)
		z.set("10.0.0.1 10.0.0.2 10.0.0.3", nil)
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if got, want := steered(), "10.0.0.1:80=drain 10.0.0.2:80=drain 10.0.0.3:80=drain"; got != want {
			t.Errorf("steered: %s, want %s", got, want)
		}
		steer("app:80", Automatic)
		steer("app:80@10.0.0.3", ForceDown)
		for range 60 {
			oneGet(b)
		}
		if z.dialled("10.0.0.3") != 0 || z.dialled("10.0.0.1") == 0 {
			t.Error("an address that is forced down is used, or another one is not")
		}
	})
}
