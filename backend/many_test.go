package backend

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// footprint is what this process holds.
type footprint struct {
	goroutines int
	heap       int64
}

func foot() footprint {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools keep what they have over one
	runtime.ReadMemStats(&m)
	return footprint{runtime.NumGoroutine(), int64(m.HeapAlloc)}
}

// eventually tells whether ok comes true, which depends on what goes on in the
// background.
func eventually(ok func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			return false
		}
	}
	return true
}

// checkFootprint has n requests wait for an answer from ep at once, and tells
// what they take per request and that nothing of it stays. goroutines and heap
// are the most for one request; they include the test's own share.
func checkFootprint(t *testing.T, b *Backend, n int, arrived *atomic.Int64, release func(), goroutines float64, heap int64) {
	t.Helper()
	var wg sync.WaitGroup
	runs := make(chan struct{})
	for range 2 * n {
		wg.Go(func() { <-runs })
	}
	close(runs)
	wg.Wait() // the runtime keeps what it made for goroutines
	b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/warm", nil))
	before := foot()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var answered atomic.Int64
	var otherwise sync.Map // how many others, by what they were told
	for range n {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
			w := &statusSink{sink: sink{h: make(http.Header)}}
			b.ServeHTTP(w, r)
			if w.status == http.StatusOK {
				answered.Add(1)
			} else {
				otherwise.Store(fmt.Sprint(w.status, w.h["Proxy-Status"]), true)
			}
		})
	}
	if !eventually(func() bool { return arrived.Load() == int64(n) }) {
		t.Fatalf("%d of %d requests reached the endpoint", arrived.Load(), n)
	}
	during := foot()
	if got := b.Endpoints()[0].InFlight; got != n {
		t.Errorf("%d requests in flight, want %d", got, n)
	}
	if got := float64(during.goroutines-before.goroutines) / float64(n); got > goroutines {
		t.Errorf("%.2f goroutines per request, want at most %.2f", got, goroutines)
	}
	if got := (during.heap - before.heap) / int64(n); got > heap {
		t.Errorf("%d bytes of heap per request, want at most %d", got, heap)
	}
	t.Logf("%d in flight: %.2f goroutines and %d bytes of heap each", n,
		float64(during.goroutines-before.goroutines)/float64(n), (during.heap-before.heap)/int64(n))
	release()
	wg.Wait()
	if got := answered.Load(); got != int64(n) {
		t.Errorf("%d of %d requests were answered", got, n)
		otherwise.Range(func(k, _ any) bool { t.Log(k); return true })
	}
	if got := b.Endpoints()[0].InFlight; got != 0 {
		t.Errorf("%d requests in flight afterwards, want 0", got)
	}
	for _, ep := range b.now().endpoints {
		if ep.pool != nil {
			ep.pool.close() // what is idle ends with it
		}
	}
	var after footprint
	if !eventually(func() bool {
		after = foot()
		return after.goroutines <= before.goroutines+10 && after.heap-before.heap < 4<<20
	}) {
		t.Errorf("before %+v, after %+v: want the same but for 10 goroutines and 4 MB", before, after)
	}
	t.Logf("before %+v, after %+v", before, after)
}

type statusSink struct {
	sink
	status int
}

func (s *statusSink) WriteHeader(status int) { s.status = status }

func TestTenThousandInHandler(t *testing.T) {
	var arrived atomic.Int64
	go100 := make(chan struct{})
	b := newBackend(t, Config{
		FirstByte: 5 * time.Minute, UntilHeaders: 10 * time.Minute,
		Endpoints: []Endpoint{{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/warm" {
				arrived.Add(1)
				<-go100
			}
			_, _ = io.WriteString(w, "done")
		})}},
	})
	// A goroutine for the request, which is the test's, and one for the handler.
	checkFootprint(t, b, 10_000, &arrived, func() { close(go100) }, 2.01, 12<<10)
}

// Connections in memory: so many sockets are more than a process may have in
// many places.
func TestTenThousandRemote(t *testing.T) {
	var arrived atomic.Int64
	answer := make(chan struct{})
	b := newBackend(t, Config{
		Connect: 5 * time.Minute, Write: 5 * time.Minute, FirstByte: 5 * time.Minute, UntilHeaders: 10 * time.Minute,
		Endpoints: []Endpoint{{URL: "http://127.0.0.1:9"}},
	})
	b.dialer.connect = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			br := bufio.NewReaderSize(there, 512)
			for {
				r, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				if r.URL.Path != "/warm" {
					arrived.Add(1)
					<-answer
				}
				if _, err := io.WriteString(there, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"); err != nil {
					return
				}
			}
		}()
		return here, nil
	}
	// A goroutine for the request and one for its connection's other end, both
	// the test's.
	checkFootprint(t, b, 10_000, &arrived, func() { close(answer) }, 2.01, 32<<10)
}
