//go:build load && unix

package backend

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What the backend costs beside httputil.ReverseProxy on a tuned Transport, in
// front of an origin in a process of its own: pairs of runs in turn, so that
// whatever else the machine does meets both, and the median of their ratios.
// Absolute figures are of this machine.

const (
	loadPairs  = 10
	loadAllocs = 10 // how many more allocations a request may make
)

// TestLoad prints all figures: make load. Times are told only, for they are the
// machine's; allocations are held to the limit.
func TestLoad(t *testing.T) {
	far := loadOrigin(t)
	near := httptest.NewServer(loadHandler())
	defer near.Close()
	for _, size := range []struct {
		name     string
		path     string
		requests int
	}{
		{"1 kB", "/1024", 1600},
		{"10 kB", "/10240", 1600},
		{"100 kB", "/102400", 800},
		{"100 kB chunked", "/102400/chunked", 800},
		{"100 kB header first", "/102400/flushed", 800},
		{"1 MB", "/1048576", 192},
		{"POST of 1 kB", "/1024/post/1024", 1600},
		{"POST of 100 kB", "/1024/post/102400", 800},
	} {
		for _, conns := range []int{1, 16, 64} {
			for _, from := range []struct {
				name, origin string
				load         func(t *testing.T, h http.Handler, path string, conns, requests int) func() usage
			}{
				{"handler, origin in this process", near.URL, calls},
				{"handler, origin in another process", far, calls},
				{"server, origin in another process", far, connections},
			} {
				t.Run(fmt.Sprintf("%s/%d at once/%s", size.name, conns, from.name), func(t *testing.T) {
					proxy, backend := tuned(t, from.origin), benchBackend(t, Endpoint{URL: from.origin})
					comparePairs(t, [2]func() usage{
						from.load(t, proxy, size.path, conns, size.requests),
						from.load(t, backend, size.path, conns, size.requests),
					})
				})
			}
		}
	}
}

// usage is what one request took.
type usage struct {
	took   time.Duration
	cpu    time.Duration // of this process
	allocs float64
}

// comparePairs runs both in turn and reports the medians.
func comparePairs(t *testing.T, runs [2]func() usage) {
	for i := range 2 {
		runs[i]() // connections are made, pools filled
	}
	var ratios, cpu, more []float64
	var times, allocs [2][]float64
	for i := range loadPairs {
		var u [2]usage
		for j := range 2 { // the order changes, too
			u[(i+j)%2] = runs[(i+j)%2]()
		}
		ratios = append(ratios, float64(u[1].took)/float64(u[0].took))
		cpu = append(cpu, float64(u[1].cpu)/float64(u[0].cpu))
		more = append(more, u[1].allocs-u[0].allocs)
		for j := range 2 {
			times[j], allocs[j] = append(times[j], float64(u[j].took)/1e3), append(allocs[j], u[j].allocs)
		}
	}
	t.Logf("%-54s ReverseProxy %7.1f µs %5.1f allocs, holdfast %7.1f µs %5.1f allocs; median ratios of %d pairs: time %.3f (%.3f to %.3f), CPU %.3f",
		strings.TrimPrefix(t.Name(), "TestLoad/"), median(times[0]), median(allocs[0]), median(times[1]), median(allocs[1]), loadPairs,
		median(ratios), slices.Min(ratios), slices.Max(ratios), median(cpu))
	if d := median(more); d > loadAllocs {
		t.Errorf("%.1f allocations more per request, want at most %d", d, loadAllocs)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// measured runs one per connection at once, requests in all.
func measured(conns, requests int, one func(n int)) usage {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	began, spent := time.Now(), processTime()
	for range conns {
		wg.Go(func() { one(requests / conns) })
	}
	wg.Wait()
	took, cpu := time.Since(began), processTime()-spent
	runtime.ReadMemStats(&after)
	n := requests / conns * conns
	return usage{took / time.Duration(n), cpu / time.Duration(n), float64(after.Mallocs-before.Mallocs) / float64(n)}
}

// processTime is the CPU time that this process took so far.
func processTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// calls is a run of the handler alone.
func calls(t *testing.T, h http.Handler, path string, conns, requests int) func() usage {
	upload := uploadOf(path)
	return func() usage {
		return measured(conns, requests, func(n int) {
			for range n {
				r := benchRequest(nil)
				if len(upload) > 0 {
					r = benchRequest(bytes.NewReader(upload))
					r.Method = http.MethodPost
				}
				r.URL.Path = path
				w := &countingSink{sink: sink{h: make(http.Header)}}
				h.ServeHTTP(w, r)
				if want := sizeOf(path); w.n != want {
					t.Errorf("%d bytes, want %d", w.n, want)
					return
				}
			}
		})
	}
}

type countingSink struct {
	sink
	n int
}

func (s *countingSink) Write(p []byte) (int, error) { s.n += len(p); return len(p), nil }

// connections is a run through a real server, on keep-alive connections whose
// clients do as little as possible.
func connections(t *testing.T, h http.Handler, path string, conns, requests int) func() usage {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().String()
	upload := uploadOf(path)
	line := []byte("GET " + path + " HTTP/1.1\r\nHost: load.example\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html\r\n" +
		"Accept-Encoding: gzip, br\r\nAccept-Language: en\r\nCookie: session=0123456789abcdef\r\n\r\n")
	if len(upload) > 0 {
		head := strings.TrimSuffix("POST"+strings.TrimPrefix(string(line), "GET"), "\r\n")
		line = append([]byte(head+"Content-Length: "+strconv.Itoa(len(upload))+"\r\n\r\n"), upload...)
	}
	return func() usage {
		return measured(conns, requests, func(n int) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			br := bufio.NewReaderSize(conn, transferSize)
			for range n {
				if _, err := conn.Write(line); err != nil {
					t.Error(err)
					return
				}
				res, err := http.ReadResponse(br, nil)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.Copy(io.Discard, res.Body)
				if want := sizeOf(path); err != nil || int(got) != want {
					t.Errorf("%d bytes and %v, want %d and nil", got, err, want)
					return
				}
			}
		})
	}
}

func sizeOf(path string) int {
	size, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	n, _ := strconv.Atoi(size) // the tests' own paths
	return n
}

// uploadOf is the body of a request for path.
func uploadOf(path string) []byte {
	_, size, _ := strings.Cut(path, "/post/")
	n, _ := strconv.Atoi(size) // 0: none
	return bytes.Repeat([]byte("x"), n)
}

const originEnv = "HOLDFAST_LOAD_ORIGIN"

// loadOrigin starts an origin in a process of its own and returns its URL.
func loadOrigin(t *testing.T) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestLoadOrigin$")
	cmd.Env = append(os.Environ(), originEnv+"=1")
	stdin, err := cmd.StdinPipe() // its end ends the process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(url)
}

// TestLoadOrigin is the process that loadOrigin starts.
func TestLoadOrigin(t *testing.T) {
	if os.Getenv(originEnv) == "" {
		return
	}
	srv := httptest.NewServer(loadHandler())
	defer srv.Close()
	fmt.Println(srv.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test ends
}

// loadHandler answers with bodies of the sizes that the path names.
func loadHandler() http.Handler {
	body := []byte(strings.Repeat("x", 1<<20))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := sizeOf(r.URL.Path)
		_, _ = io.Copy(io.Discard, r.Body) // of a client that left
		w.Header().Set("Content-Type", "text/html")
		if !strings.HasSuffix(r.URL.Path, "/chunked") {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		}
		if strings.HasSuffix(r.URL.Path, "/flushed") {
			w.(http.Flusher).Flush() // as servers do that send files
		}
		_, _ = w.Write(body[:n]) // to a client that left
	})
}
