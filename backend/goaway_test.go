package backend

import (
	"bufio"
	"context"
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

// One of two HTTP/2 endpoints is shut down under load. It tells that it is going
// away: what it took it finishes, the rest goes to the other one. No request
// fails, and no POST is executed twice.
func TestGoAwayUnderLoad(t *testing.T) {
	var executed sync.Map // ID: *atomic.Int32
	house := func() *httptest.Server {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			n, _ := executed.LoadOrStore(r.URL.RawQuery, new(atomic.Int32))
			n.(*atomic.Int32).Add(1)
			time.Sleep(time.Millisecond) // requests are under way all the time
			_, _ = io.WriteString(w, "ok")
		}))
		srv.Config.Protocols = new(http.Protocols)
		srv.Config.Protocols.SetUnencryptedHTTP2(true)
		srv.Config.ErrorLog = quiet
		srv.Start()
		t.Cleanup(srv.Close)
		return srv
	}
	for round := range 3 {
		going, staying := house(), house()
		b := newBackend(t, Config{Endpoints: []Endpoint{
			{URL: "h2c://" + going.Listener.Addr().String()}, {URL: "h2c://" + staying.Listener.Addr().String()},
		}, Balance: RoundRobin, RetryBudget: -1, SlowStart: -1})
		var served atomic.Int64
		var over atomic.Bool
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() {
				for i := 0; !over.Load(); i++ {
					method, body := "GET", ""
					if i%2 == 1 {
						method, body = "POST", "order"
					}
					w := httptest.NewRecorder()
					id := strings.Join([]string{method, string(rune('a' + round)), string(rune('a' + worker)), time.Duration(i).String()}, "-")
					b.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/?"+id, strings.NewReader(body)))
					served.Add(1)
					if w.Code != 200 || w.Body.String() != "ok" {
						t.Errorf("%s: %d %q %s", id, w.Code, w.Body, w.Header().Get("Proxy-Status"))
					}
				}
			})
		}
		await(t, "requests are under way", func() bool { return served.Load() > 100 })
		if err := going.Config.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		n := served.Load()
		await(t, "more are", func() bool { return served.Load() > n+100 })
		over.Store(true)
		wg.Wait()
	}
	executed.Range(func(id, n any) bool {
		if times := n.(*atomic.Int32).Load(); times != 1 && strings.HasPrefix(id.(string), "POST") {
			t.Errorf("%s was executed %d times", id, times)
		}
		return true
	})
}

// mute speaks HTTP/2 until it was told to be silent: it reads, but says nothing,
// not even to a PING.
type mute struct {
	pings  atomic.Int32
	silent atomic.Bool
}

func (d *mute) serve(c net.Conn, answer func(stream uint32) []byte) {
	defer c.Close()
	br := bufio.NewReader(c)
	if _, err := io.CopyN(io.Discard, br, 24); err != nil {
		return
	}
	out := make(chan []byte, 16) // a pipe has no buffer: what is written while both write would wait for itself
	defer close(out)
	go func() {
		for p := range out {
			_, _ = c.Write(p)
		}
	}()
	out <- frame(frameSettings, 0, 0, nil)
	for {
		var h [9]byte
		if _, err := io.ReadFull(br, h[:]); err != nil {
			return
		}
		payload := make([]byte, int(h[0])<<16|int(h[1])<<8|int(h[2]))
		if _, err := io.ReadFull(br, payload); err != nil {
			return
		}
		if h[3] == 0x6 && h[4] == 0 {
			d.pings.Add(1)
		}
		if d.silent.Load() {
			continue
		}
		stream := uint32(h[5])<<24 | uint32(h[6])<<16 | uint32(h[7])<<8 | uint32(h[8])
		switch {
		case h[3] == frameSettings && h[4] == 0:
			out <- frame(frameSettings, 1, 0, nil)
		case h[3] == 0x6 && h[4] == 0:
			out <- frame(0x6, 1, 0, payload)
		case h[3] == frameHeaders:
			out <- answer(stream)
		}
	}
}

// A peer that answers PINGs may be silent for as long as the limits are; one that
// does not is gone, and what waits for it is told so.
func TestSilentHTTP2(t *testing.T) {
	for _, test := range []struct {
		name   string
		silent bool
		cause  failure.Cause
		at     time.Duration
		pinged bool
		body   bool // it begins its answer
	}{
		{"answers pings", false, failure.FirstByteTimeout, time.Minute, true, false},
		{"answers nothing", true, failure.ClosedBeforeHeaders, http2PingAfter + http2PingWait, true, false},
		{"answers nothing any more", true, failure.Truncated, http2PingAfter + http2PingWait, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var peer mute
				d := newDialer()
				d.connect = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go peer.serve(theirs, func(stream uint32) []byte {
						peer.silent.Store(test.silent)
						if test.body {
							return frame(frameHeaders, flagEndHeaders, stream, []byte{0x88}) // :status 200
						}
						return nil
					})
					return ours, nil
				}
				var seen recorder
				b := newBackendWith(t, Config{
					Endpoints: []Endpoint{{URL: "h2c://10.0.0.1:80"}}, FirstByte: time.Minute, BetweenBytes: time.Hour, UntilHeaders: time.Hour, Retries: -1, Observe: seen.observe,
				}, d)
				began := time.Now()
				code := 0
				func() {
					defer func() { _ = recover() }() // what aborts an answer that had begun
					code = oneGet(b).Code
				}()
				took := time.Since(began)
				evs := seen.of(AttemptDone)
				if len(evs) != 1 || evs[0].Failure == nil || evs[0].Failure.Cause != test.cause {
					t.Fatalf("answered %d, %+v, want %v", code, evs, test.cause)
				}
				if took < test.at || took > test.at+time.Second {
					t.Errorf("after %v, want %v", took, test.at)
				}
				if (peer.pings.Load() > 0) != test.pinged {
					t.Errorf("%d pings", peer.pings.Load())
				}
				if n := b.now().endpoints[0].inFlight.Load(); n != 0 {
					t.Errorf("%d in flight", n)
				}
				b.now().endpoints[0].pool.close()
				synctest.Wait()
			})
		})
	}
}

// An HTTP/2 connection whose peer permits no stream at all is closed after the
// request that waited for one in vain, and does not count below none.
func TestNoStreams(t *testing.T) {
	gone := make(chan struct{})
	var once sync.Once
	f := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		defer once.Do(func() { close(gone) })
		if _, err := io.CopyN(io.Discard, br, 24); err != nil {
			return
		}
		_, _ = c.Write(frame(frameSettings, 0, 0, []byte{0, 3, 0, 0, 0, 0})) // MAX_CONCURRENT_STREAMS 0
		handleFrames(c, br, nil)
	})
	var seen recorder
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: "h2c://" + f.addr}}, Write: brief, FirstByte: brief, UntilHeaders: 4 * brief, Retries: -1, Observe: seen.observe,
		IdleConn: 5 * brief,
	})
	for range 3 {
		oneGet(b)
	}
	for _, ev := range seen.of(AttemptDone) {
		// A request may be faster than the news that none is permitted.
		if e := ev.Failure; e == nil || e.Cause != failure.StreamRefused && e.Cause != failure.FirstByteTimeout {
			t.Errorf("ended with %v, want stream_refused", ev.Failure)
		}
	}
	ep := b.now().endpoints[0]
	ep.pool.mu.Lock()
	for _, c := range ep.pool.multi {
		c.mu.Lock()
		if c.streams != 0 {
			t.Errorf("%d streams", c.streams)
		}
		c.mu.Unlock()
	}
	ep.pool.mu.Unlock()
	ep.pool.close()
	select {
	case <-gone:
	case <-time.After(10 * time.Second):
		t.Error("the connection was not closed")
	}
}
