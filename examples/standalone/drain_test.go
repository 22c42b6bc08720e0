package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

// A thousand requests are in flight, before and in the middle of their answers,
// when the signal comes.
func TestDrainLosesNothing(t *testing.T) {
	t.Parallel()
	const inFlight, idle = 1000, 20
	half := strings.Repeat("x", 2000)
	release := make(chan struct{})
	var arrived atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/slow/"))
		if err != nil {
			_, _ = io.WriteString(w, "quick")
			return
		}
		got, _ := io.Copy(io.Discard, r.Body)
		if n%2 == 1 { // these have their header and half of their body already
			w.Header().Set("Content-Length", strconv.Itoa(2*len(half)))
			_, _ = io.WriteString(w, half)
			_ = http.NewResponseController(w).Flush()
		}
		arrived.Add(1)
		<-release
		if n%2 == 0 {
			_, _ = fmt.Fprintf(w, "%s%d", half, got)
		}
		_, _ = io.WriteString(w, half)
	}))
	defer origin.Close()
	releaseAll := sync.OnceFunc(func() { close(release) })
	defer releaseAll()

	p := start(t, "-backend", origin.URL, "-shed", "adaptive", "-first-byte", "60s", "-between-bytes", "60s", "-lame-duck", "5s", "-drain-timeout", "60s")
	idlers := make([]*http.Client, idle)
	for i := range idlers {
		idlers[i] = newClient(t)
		if r := get(t, idlers[i], p.site+"/quick"); r.body != "quick" || r.Close {
			t.Fatalf("before the drain: %s %q, close %v", r.Status, r.body, r.Close)
		}
	}

	tr := &http.Transport{DisableKeepAlives: false, MaxIdleConnsPerHost: inFlight}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: 2 * patience}
	var lost, closed atomic.Int64
	var wg sync.WaitGroup
	for n := range inFlight {
		wg.Go(func() {
			var body io.Reader
			method, want := http.MethodGet, half+"0"+half
			if n%4 == 0 {
				method, body, want = http.MethodPost, strings.NewReader("upload"), half+"6"+half
			}
			if n%2 == 1 {
				want = half + half
			}
			req, err := http.NewRequest(method, fmt.Sprintf("%s/slow/%d", p.site, n), body)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(req)
			if err == nil {
				defer resp.Body.Close()
				var b []byte
				b, err = io.ReadAll(resp.Body)
				if err == nil && string(b) != want {
					err = fmt.Errorf("%s, %d bytes", resp.Status, len(b))
				}
				if resp.Close {
					closed.Add(1)
				}
			}
			if err != nil && lost.Add(1) <= 5 {
				t.Errorf("request %d was lost: %v", n, err)
			}
		})
	}
	eventually(t, "all requests are at the origin", func() bool { return arrived.Load() == inFlight })

	p.signal(t, syscall.SIGTERM)
	admin := newClient(t)
	eventually(t, "/readyz says that it drains", func() bool {
		r := get(t, admin, p.admin+"/readyz")
		return r.StatusCode == http.StatusServiceUnavailable && strings.HasPrefix(r.body, "draining")
	})
	if r := get(t, admin, p.admin+"/healthz"); r.StatusCode != http.StatusOK {
		t.Errorf("/healthz = %s: whoever restarts by it would cut the drain", r.Status)
	}
	// The lame duck: idle connections and new ones are answered, and told to go.
	for i, c := range append(idlers, newClient(t), newClient(t)) {
		if r := get(t, c, p.site+"/quick"); r.body != "quick" || !r.Close {
			t.Errorf("in the lame duck, client %d: %s %q, close %v; want an answer that closes", i, r.Status, r.body, r.Close)
		}
	}
	eventually(t, "the listener is closed", func() bool {
		conn, err := net.Dial("tcp", hostOf(t, p.site))
		if err != nil {
			return true
		}
		conn.Close()
		return false
	})
	if n := arrived.Load(); n != inFlight {
		t.Errorf("%d requests at the origin, want %d: some came twice", n, inFlight)
	}
	releaseAll()
	wg.Wait()
	if n := lost.Load(); n != 0 {
		t.Errorf("%d of %d requests were lost", n, inFlight)
	}
	// Half of them had begun to answer when the signal came; the others are told.
	if n := closed.Load(); n < inFlight/2 {
		t.Errorf("%d answers close their connection, want at least %d", n, inFlight/2)
	}
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code = %d\n%s", code, tail(p.stderr.String(), 2000))
	}
}

// Clients that take no hint and come until the door is shut: each is answered, or
// finds nobody listening. Only a connection that the kernel accepts in the very moment
// in which the listener closes can be lost; with http.Server.Shutdown alone it is
// about half of them.
func TestDrainUnderLoad(t *testing.T) {
	const clients, unlucky = 50, 3
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, "page")
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL, "-lame-duck", "300ms")
	var answered, lost atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		c := newClient(t)
		wg.Go(func() {
			for !errors.Is(visit(c, p.site, &answered, &lost), syscall.ECONNREFUSED) {
			}
		})
	}
	eventually(t, "there is load", func() bool { return answered.Load() > 5*clients })
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code = %d", code)
	}
	wg.Wait()
	t.Logf("%d answered, %d lost", answered.Load(), lost.Load())
	if n := lost.Load(); n > unlucky {
		t.Errorf("%d of %d clients were lost", n, clients)
	}
}

// visit counts what became of one request.
func visit(c *http.Client, site string, answered, lost *atomic.Int64) error {
	resp, err := c.Get(site + "/page")
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	switch {
	case err == nil:
		answered.Add(1)
	case !errors.Is(err, syscall.ECONNREFUSED):
		lost.Add(1)
	}
	return err
}

// A stream and a tunnel don't end by themselves: the drain has an end.
func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	p := start(t, "-backend", endless(t), "-lame-duck", "0", "-drain-timeout", "1s")
	stream := openStream(t, p.site)
	p.signal(t, syscall.SIGINT)
	if code := p.wait(t); code != exitFailed {
		t.Errorf("exit code = %d, want %d", code, exitFailed)
	}
	if got := lastLine(p.stderr.String()); !strings.Contains(got, "-drain-timeout 1s is over") || !strings.Contains(got, "in flight: 1") {
		t.Errorf("the last line is %q, want what was cut and why", got)
	}
	if _, err := io.ReadAll(stream); err == nil {
		t.Error("the stream ended as if it were whole")
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := start(t, "-backend", endless(t), "-lame-duck", "20s", "-drain-timeout", "25s")
	openStream(t, p.site)
	p.signal(t, syscall.SIGTERM)
	admin := newClient(t)
	eventually(t, "/readyz says that it drains", func() bool {
		return get(t, admin, p.admin+"/readyz").StatusCode == http.StatusServiceUnavailable
	})
	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitFailed {
		t.Errorf("exit code = %d, want %d", code, exitFailed)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("a second signal took %v", d)
	}
	if got := lastLine(p.stderr.String()); !strings.Contains(got, "a second signal") {
		t.Errorf("the last line is %q", got)
	}
}

// An upgraded connection is told to end once all requests are answered, and is no
// reason to wait.
func TestDrainEndsTunnels(t *testing.T) {
	p := start(t, "-backend", endless(t), "-lame-duck", "0", "-drain-timeout", "20s")
	conn, br := upgrade(t, p.site)
	fmt.Fprint(conn, "ping\n")
	if got, err := br.ReadString('\n'); got != "ping\n" {
		t.Fatalf("the echo = %q, %v", got, err)
	}
	began := time.Now()
	p.drained(t)
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("the drain waited %v for a tunnel", d)
	}
	if b, _ := io.ReadAll(br); len(b) > 0 {
		t.Errorf("the tunnel said %q at its end", b)
	}
}

// Over HTTP/2 the lame duck answers what comes, and GOAWAY takes the place of
// Connection: close.
func TestLameDuckHTTP2(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "page")
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL, "-lame-duck", "2s", "-drain-timeout", "20s")
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: patience}
	ask := func() (reused bool) {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused },
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.site, nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := do(t, c, req); r.StatusCode != http.StatusOK || r.body != "page" || r.ProtoMajor != 2 {
			t.Errorf("the answer = %s %s %q", r.Proto, r.Status, r.body)
		}
		return reused
	}
	ask()
	if !ask() {
		t.Error("before the drain the connection is not kept")
	}
	p.signal(t, syscall.SIGTERM)
	admin := newClient(t)
	eventually(t, "/readyz says that it drains", func() bool {
		return get(t, admin, p.admin+"/readyz").StatusCode == http.StatusServiceUnavailable
	})
	if !ask() {
		t.Error("the idle connection was closed at the signal: a request on its way would be lost")
	}
	eventually(t, "a request goes to a connection of its own", func() bool { return !ask() })
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code = %d", code)
	}
}

// endless is an origin whose answers do not end: an event stream, and an echo for
// whoever upgrades.
func endless(t *testing.T) string {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			echoUpgrade(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(origin.Close)
	return origin.URL
}

// openStream returns an event stream that has begun.
func openStream(t *testing.T, site string) io.Reader {
	t.Helper()
	resp, err := newClient(t).Get(site + "/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	br := bufio.NewReader(resp.Body)
	if line, err := br.ReadString('\n'); line != "data: first\n" {
		t.Fatalf("the stream began with %q, %v", line, err)
	}
	return br
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

func TestGateConforms(t *testing.T) {
	t.Parallel()
	writertest.Run(t, new(gate).Handler)
	draining := new(gate)
	draining.draining.Store(true)
	t.Run("draining", func(t *testing.T) {
		srv := httptest.NewServer(draining.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		defer srv.Close()
		if r := get(t, newClient(t), srv.URL); !r.Close || r.StatusCode != http.StatusOK {
			t.Errorf("a handler that writes nothing: %s, close %v", r.Status, r.Close)
		}
		if n := draining.inFlight.Load(); n != 0 {
			t.Errorf("%d in flight after the only request", n)
		}
	})
}

func TestRecordConforms(t *testing.T) {
	t.Parallel()
	writertest.Run(t, new(record).Handler)
}
