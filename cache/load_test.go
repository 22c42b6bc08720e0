//go:build load

package cache

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What a request costs through a real server, beside a bare handler that writes
// the same: pairs of runs in turn, so that whatever else the machine does meets
// both, and the median of their ratios. Absolute figures are of this machine.

const (
	loadPairs = 10
	loadConns = 4
)

// TestLoad prints all figures: make load.
func TestLoad(t *testing.T) {
	body := []byte(strings.Repeat("x", 1024))
	newHit := func(t *testing.T) http.Handler {
		c := newCache(t, Config{})
		h := c.Handler(bare(body))
		r := httptest.NewRequest("GET", "http://load.example/page", nil)
		warm(t, c, h, r)
		return h
	}
	uncacheable := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(body)
	})
	for _, tt := range []struct {
		name         string
		bare, cached http.Handler
		path         func(int64) string
		requests     int
		most         float64 // of the ratio
	}{
		{"hit, 1 kB", bare(body), newHit(t), nil, 40_000, 1.15},
		{"miss, 1 kB, stored", bare(body), newCache(t, Config{}).Handler(bare(body)), func(i int64) string { return fmt.Sprint("/page/", i) }, 10_000, 0},
		{"miss, 1 kB, not stored", uncacheable, newCache(t, Config{}).Handler(uncacheable), nil, 20_000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, two := httptest.NewServer(tt.bare), httptest.NewServer(tt.cached)
			defer one.Close()
			defer two.Close()
			var n atomic.Int64
			run := func(s *httptest.Server) time.Duration { return storm(t, s, tt.requests, tt.path, &n) }
			run(one)
			run(two)
			var ratios []float64
			var times [2][]time.Duration
			for i := range loadPairs {
				var took [2]time.Duration
				for j := range 2 { // the order changes, too
					if (i+j)%2 == 0 {
						took[0] = run(one)
					} else {
						took[1] = run(two)
					}
				}
				ratios = append(ratios, float64(took[1])/float64(took[0]))
				times[0], times[1] = append(times[0], took[0]), append(times[1], took[1])
			}
			slices.Sort(ratios)
			each := func(d []time.Duration) time.Duration { slices.Sort(d); return d[len(d)/2] / time.Duration(tt.requests) }
			median := (ratios[loadPairs/2-1] + ratios[loadPairs/2]) / 2
			t.Logf("%-24s bare %8v, cache %8v per request; median ratio of %d pairs %.3f (%.3f to %.3f)",
				tt.name, each(times[0]), each(times[1]), loadPairs, median, ratios[0], ratios[loadPairs-1])
			if tt.most > 0 && median > tt.most {
				t.Errorf("%s: %.3f times the bare handler's time, want at most %.2f", tt.name, median, tt.most)
			}
		})
	}

	t.Run("herd", func(t *testing.T) {
		const clients, latency = 400, 300 * time.Millisecond
		for _, cc := range []string{"max-age=60", "no-store"} {
			var calls atomic.Int64
			s := httptest.NewServer(newCache(t, Config{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				time.Sleep(latency)
				w.Header().Set("Cache-Control", cc)
				_, _ = w.Write(body)
			})))
			for _, when := range []string{"cold", "again"} {
				calls.Store(0)
				path := "/"
				start := time.Now()
				herd(clients, func(int) answer { return get(t, s.URL+path) })
				t.Logf("herd of %d on %-10s %-5s %4d fetches, all answered after %v (the origin takes %v)",
					clients, cc, when, calls.Load(), time.Since(start).Round(time.Millisecond), latency)
			}
			s.Close()
		}
	})

	t.Run("memory", func(t *testing.T) {
		m := measure(t, 50_000, len(body), "")
		t.Logf("memory: a response of 1 kB takes %d bytes beside its body, and is charged %d", m.heap-int64(len(body)), m.charged-int64(len(body)))
	})
}

// storm makes requests on a few keep-alive connections and returns how long all
// of it took. Its clients do as little as possible.
func storm(t *testing.T, s *httptest.Server, requests int, path func(int64) string, n *atomic.Int64) time.Duration {
	var wg sync.WaitGroup
	start := time.Now()
	for range loadConns {
		wg.Go(func() {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			br := bufio.NewReader(conn)
			at := "/page"
			var line []byte
			for range requests / loadConns {
				if path != nil {
					at = path(n.Add(1))
				}
				line = append(append(append(line[:0], "GET "...), at...), " HTTP/1.1\r\nHost: load.example\r\n\r\n"...)
				if _, err := conn.Write(line); err != nil {
					t.Error(err)
					return
				}
				if err := skipResponse(br); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// skipResponse reads a 200 with a Content-Length.
func skipResponse(br *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && !strings.HasPrefix(string(line), "HTTP/1.1 200 ") {
			return fmt.Errorf("got %q", line)
		}
		if len(line) == 2 {
			break
		}
		const name = "Content-Length: "
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			length = 0
			for _, c := range line[len(name) : len(line)-2] {
				length = 10*length + int(c-'0')
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("no Content-Length")
	}
	_, err := io.CopyN(io.Discard, br, int64(length))
	return err
}
