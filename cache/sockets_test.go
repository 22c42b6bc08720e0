package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// wire starts servers of both protocols in front of one handler.
func wire(t *testing.T, h http.Handler, test func(t *testing.T, client *http.Client, url string)) {
	for _, proto := range []string{"h1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			s := httptest.NewUnstartedServer(h)
			s.EnableHTTP2 = proto == "h2"
			s.StartTLS()
			t.Cleanup(s.Close)
			test(t, s.Client(), s.URL)
		})
	}
}

func send(ctx context.Context, t *testing.T, client *http.Client, method, url string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	res, err := client.Transport.RoundTrip(r)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body), res.Trailer, err}
}

// TestWireBrokenLeader: whatever becomes of the one who fetches, those who wait
// are answered whole, or cut off so that they see it.
func TestWireBrokenLeader(t *testing.T) {
	const declared = 200_000
	big := bytes.Repeat([]byte("x"), declared)
	for _, tt := range []struct {
		name  string
		leave bool // the leader's client leaves while next waits
		first func(w http.ResponseWriter)
		whole bool // followers get 200 and everything
	}{
		{"aborts before headers", false, func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, true},
		{"aborts in the body", false, func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = w.Write(big[:declared/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, false},
		{"too short", false, func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", fmt.Sprint(declared))
			_, _ = w.Write(big[:declared/2])
		}, false},
		{"too long", false, func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Content-Length", fmt.Sprint(declared))
			_, _ = w.Write(big)
			_, _ = w.Write(big)
		}, true},
		{"client leaves before headers", true, func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = w.Write(big)
		}, true},
		{"writes nothing", false, func(w http.ResponseWriter) { w.Header().Set("Cache-Control", "max-age=60") }, true},
		{"becomes private", false, func(w http.ResponseWriter) {
			w.Header().Set("Cache-Control", "private")
			_, _ = io.WriteString(w, "leader's")
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, proto := range []string{"h1", "h2"} {
				t.Run(proto, func(t *testing.T) {
					c := newCache(t, Config{})
					begun, release := make(chan struct{}), make(chan struct{})
					var once sync.Once
					h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						leads := false
						once.Do(func() { leads = true })
						if leads {
							close(begun)
							<-release
							tt.first(w)
							return
						}
						w.Header().Set("Cache-Control", "max-age=60")
						_, _ = w.Write(big)
					}))
					s := httptest.NewUnstartedServer(h)
					s.EnableHTTP2 = proto == "h2"
					s.StartTLS()
					t.Cleanup(s.Close)
					var wg sync.WaitGroup
					ctx, leave := context.WithCancel(t.Context())
					wg.Go(func() { send(ctx, t, s.Client(), "GET", s.URL) })
					<-begun
					got := make([]answer, 8)
					for i := range got {
						wg.Go(func() { got[i] = send(t.Context(), t, s.Client(), "GET", s.URL) })
					}
					followers(t, c, len(got))
					if tt.leave {
						leave()
					}
					close(release)
					wg.Wait()
					leave()
					for _, a := range got {
						whole := a.err == nil && a.status == 200 && (len(a.body) == declared || tt.name == "writes nothing" && a.body == "")
						broken := a.err != nil || a.status == 502
						if tt.whole && !whole || !tt.whole && !whole && !broken || strings.Contains(a.body, "leader") {
							t.Errorf("got %d, %d bytes, %v (%s)", a.status, len(a.body), a.err, a.cacheStatus())
						}
					}
					settled(t, c)
					until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
				})
			}
		})
	}
}

// TestWireRequestsBesideAFetch: what arrives while a fetch is in flight and is
// not a plain GET.
func TestWireRequestsBesideAFetch(t *testing.T) {
	c := newCache(t, Config{})
	const body = "0123456789"
	begun, release := make(chan struct{}, 1), make(chan struct{})
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Etag", `"a"`)
		if r.Method == "GET" && r.Header.Get("Range") == "" {
			begun <- struct{}{}
			<-release
		}
		http.ServeContent(w, r, "a.txt", time.Time{}, strings.NewReader(body))
	}))
	s := serve(t, h)
	client := s.Client()
	var wg sync.WaitGroup
	wg.Go(func() { send(t.Context(), t, client, "GET", s.URL) })
	<-begun
	if a := send(t.Context(), t, client, "HEAD", s.URL); a.status != 200 || a.body != "" || a.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD = %d %q %v", a.status, a.body, a.header)
	}
	if a := send(t.Context(), t, client, "GET", s.URL, "Range: bytes=2-4"); a.status != 206 || a.body != "234" {
		t.Errorf("Range = %d %q", a.status, a.body)
	}
	var conditional, plain answer
	wg.Go(func() { conditional = send(t.Context(), t, client, "GET", s.URL, `If-None-Match: W/"a"`) })
	wg.Go(func() { plain = send(t.Context(), t, client, "GET", s.URL) })
	followers(t, c, 2)
	close(release)
	wg.Wait()
	if conditional.status != 304 || conditional.body != "" || plain.body != body {
		t.Errorf("conditional %d %q, plain %d %q", conditional.status, conditional.body, plain.status, plain.body)
	}
	settled(t, c)
	for header, want := range map[string]string{
		"Range: bytes=-3":                     "206 789 bytes 7-9/10",
		"Range: bytes=-0":                     "416  bytes */10",
		"Range: bytes=-99999999999999999999":  "206 0123456789 bytes 0-9/10",
		"Range: bytes=8-99999999999999999999": "206 89 bytes 8-9/10",
		"Range: bytes=99999999999999999999-":  "416  bytes */10",
		"Range: bytes=4-2":                    "200 0123456789 ",
		"Range: bytes=--1":                    "200 0123456789 ",
		"Range: bytes=+1-2":                   "200 0123456789 ",
		"Range: lines=1-2":                    "200 0123456789 ",
	} {
		a := send(t.Context(), t, client, "GET", s.URL, header)
		if got := fmt.Sprint(a.status, " ", a.body, " ", a.header.Get("Content-Range")); got != want {
			t.Errorf("%s: %q, want %q (%s)", header, got, want, a.cacheStatus())
		}
	}
	if a := send(t.Context(), t, client, "GET", s.URL, "Range: bytes=0-1", `If-Range: W/"a"`); a.status != 200 {
		t.Errorf("weak If-Range: %d, want 200", a.status)
	}
}

// TestWireHTTP10: a chunked page with trailers, to a client that knows neither.
func TestWireHTTP10(t *testing.T) {
	c := newCache(t, Config{})
	s := serve(t, c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "page")
		w.Header().Set("X-Sum", "1")
	})))
	for _, want := range []string{"uri-miss", "hit"} {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", s.Listener.Addr())
		all, err := io.ReadAll(bufio.NewReader(conn))
		conn.Close()
		if got := string(all); err != nil || !strings.HasSuffix(got, "\r\n\r\npage") || strings.Contains(got, "chunked") || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, %v", want, got, err)
		}
		settled(t, c)
	}
}

// TestWireShutdown: Shutdown in the middle of a fetch with followers, with and
// without time to wait, and a store that is closed under it.
func TestWireShutdown(t *testing.T) {
	for _, patient := range []bool{true, false} {
		t.Run(fmt.Sprint("patient ", patient), func(t *testing.T) {
			store, err := NewStore(StoreConfig{})
			if err != nil {
				t.Fatal(err)
			}
			c, err := New(Config{Store: store})
			if err != nil {
				t.Fatal(err)
			}
			begun, release := make(chan struct{}, 100), make(chan struct{})
			s := serve(t, c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				begun <- struct{}{}
				select {
				case <-release:
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
				w.Header().Set("Cache-Control", "max-age=60")
				_, _ = io.WriteString(w, "page")
			})))
			var wg sync.WaitGroup
			got := make([]answer, 9)
			for i := range got {
				wg.Go(func() { got[i] = get(t, s.URL) })
			}
			<-begun
			followers(t, c, len(got)-1)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- c.Shutdown(ctx) }()
			until(t, "Shutdown to begin", c.closing.Load)
			if patient {
				store.Close()
				close(release)
			} else {
				cancel()
			}
			if err := <-ended; patient && err != nil || !patient && !errors.Is(err, context.Canceled) {
				t.Errorf("Shutdown() = %v", err)
			}
			cancel()
			if !patient {
				close(release)
			}
			wg.Wait()
			whole := 0
			for _, a := range got {
				if a.err == nil && a.status == 200 && a.body == "page" {
					whole++
				}
			}
			if patient && whole != len(got) {
				t.Errorf("%d of %d were answered: %v", whole, len(got), got)
			}
			if a := get(t, s.URL); a.body != "page" {
				t.Errorf("afterwards: %d %q", a.status, a.body)
			}
			store.Close()
			if n := store.Stats().FillBytes; n != 0 {
				t.Errorf("%d bytes of the fill budget were not given back", n)
			}
		})
	}
}

// TestOutsideMayChangeHeaders: what a layer around the cache does to the header
// map of one answer is not seen in the next.
func TestOutsideMayChangeHeaders(t *testing.T) {
	c := newCache(t, Config{})
	inner := c.Handler(newOrigin(page(200, "page", "Cache-Control: max-age=60", "Vary: X", "Link: </a>", "X-List: a")))
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Outer")
		inner.ServeHTTP(w, r)
		for name := range w.Header() {
			w.Header().Add(name, "after")
		}
	})
	wire(t, h, func(t *testing.T, client *http.Client, url string) {
		for range 3 {
			a := send(t.Context(), t, client, "GET", url)
			settled(t, c)
			if got := fmt.Sprint(a.header["Vary"], a.header["Link"], a.header["X-List"], len(a.header["Age"]) > 1); got != "[Outer X] [</a>] [a] false" {
				t.Errorf("got %s", got)
			}
		}
	})
}

// TestManyTinyObjects: the store's limit holds for what costs more to keep than
// to send, and for heads larger than their bodies.
func TestManyTinyObjects(t *testing.T) {
	const limit = 4 << 20
	c := newCache(t, Config{MemoryBytes: limit})
	huge := strings.Repeat("h", 20<<10)
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if strings.HasSuffix(r.URL.RawQuery, "00") {
			w.Header().Set("X-Huge", huge)
		}
		_, _ = io.WriteString(w, "x")
	}))
	for i := range 30_000 {
		r, _ := http.NewRequest("GET", fmt.Sprintf("http://a.example/?%05d", i), nil)
		serveSink(h, r)
	}
	settled(t, c)
	st := c.store.Stats()
	if st.EntryBytes > st.EntryLimit || st.EntryBytes < st.EntryLimit/2 || st.FillBytes != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWrappedTwice: one cache around itself, as when a router and one of its
// groups both use it, makes nobody wait for itself.
func TestWrappedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(page(200, "page", "Cache-Control: max-age=1, stale-if-error=60", `Etag: "a"`))
		h := c.Handler(c.Handler(o))
		for i := range 3 {
			start := time.Now()
			a := do(h, "GET", "/")
			if took := time.Since(start); a.body != "page" || took != 0 || len(a.header["Cache-Status"]) != 1 {
				t.Errorf("got %d %q after %v (%s)", a.status, a.body, took, a.cacheStatus())
			}
			time.Sleep(time.Duration(i) * 2 * time.Second)
		}
		if n := o.calls.Load(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// TestTrailersOfOneVisitor: trailers are shared like headers.
func TestTrailersOfOneVisitor(t *testing.T) {
	c := newCache(t, Config{})
	h := c.Handler(newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "page")
		_ = http.NewResponseController(w).Flush()
		for _, name := range []string{"Set-Cookie", "X-Request-Id", "Server-Timing", "X-Sum"} {
			w.Header().Set(http.TrailerPrefix+name, "mine")
		}
	}))
	wire(t, h, func(t *testing.T, client *http.Client, url string) {
		send(t.Context(), t, client, "GET", url)
		settled(t, c)
		a := send(t.Context(), t, client, "GET", url)
		if got := fmt.Sprint(a.body, a.trailer); got != "pagemap[X-Sum:[mine]]" || !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("got %s (%s)", got, a.cacheStatus())
		}
	})
}
