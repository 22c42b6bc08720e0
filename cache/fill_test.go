package cache

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTooLarge(t *testing.T) {
	const size = 1 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprint("length known ", known), func(t *testing.T) {
			rec := &recorder{}
			c := newCache(t, Config{MaxObjectBytes: size - 1, Observe: rec.observe})
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "max-age=60")
				if known {
					w.Header().Set("Content-Length", strconv.Itoa(size))
				}
				_, _ = io.WriteString(w, body)
			})
			s := serve(t, c.Handler(o))
			for _, a := range herd(4, func(int) answer { return get(t, s.URL) }) {
				if a.body != body || a.err != nil {
					t.Errorf("got %d bytes, %v; want %d", len(a.body), a.err, size)
				}
			}
			settled(t, c)
			if got := rec.last(FillDone).NotStored; got != reasonTooLarge {
				t.Errorf("not stored because of %q, want %q", got, reasonTooLarge)
			}
			if a := get(t, s.URL); strings.Contains(a.cacheStatus(), "hit") {
				t.Error("it was stored")
			}
			until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
		})
	}
}

// TestBudgetExhausted: without memory for fills a response streams unstored.
func TestBudgetExhausted(t *testing.T) {
	c := newCache(t, Config{})
	if !c.store.budget.take(c.store.budget.limit - 100<<10) {
		t.Fatal("the budget is not empty")
	}
	body := strings.Repeat("0123456789abcdef", 1<<20/16)
	s := serve(t, c.Handler(page(200, body, "Cache-Control: max-age=60")))
	for range 2 {
		if a := get(t, s.URL); a.body != body || a.err != nil || strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("got %d bytes, %v, %q; want all of it, unstored", len(a.body), a.err, a.cacheStatus())
		}
	}
	settled(t, c)
	c.store.budget.give(c.store.budget.limit - 100<<10)
	if got := c.store.Stats().FillBytes; got != 0 {
		t.Errorf("%d bytes of the budget are lost", got)
	}
}

// TestSlowReader: within the object limit a client that reads nothing slows
// nobody; and what a windowed fill keeps for it is bounded.
func TestSlowReader(t *testing.T) {
	c := newCache(t, Config{})
	const size = 3 << 20
	body := strings.Repeat("0123456789abcdef", size/16)
	begun := make(chan struct{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, body[:size/2])
		close(begun)
		_, _ = io.WriteString(w, body[size/2:])
	})
	s := serve(t, c.Handler(o))
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+s.Listener.Addr().String()+"\r\n\r\n")
	<-begun // although its client has read nothing
	if a := get(t, s.URL); a.body != body {
		t.Errorf("another client got %d bytes, want %d", len(a.body), size)
	}
	if n := o.calls.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(res.Body); err != nil || string(got) != body {
		t.Errorf("the slow client got %d bytes, %v; want %d", len(got), err, size)
	}
	res.Body.Close()
	conn.Close()
}

// TestWindow: a fill that is not stored is never further ahead of its slowest
// reader than the window, and a reader that takes next to nothing is cut while
// others wait.
func TestWindow(t *testing.T) {
	t.Run("nothing", func(t *testing.T) { testWindow(t, 0, true) })
	t.Run("a trickle", func(t *testing.T) { testWindow(t, 1<<10, true) })
	t.Run("slowly", func(t *testing.T) { testWindow(t, 100<<10, false) })
}

// testWindow has a slow reader that takes so many bytes a second.
func testWindow(t *testing.T, rate int, cut bool) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{MaxObjectBytes: 100 << 10})
		f := newFill(&query{cache: c, primary: "k", header: http.Header{}, ctx: context.Background()})
		slow := f.firstReader(false).listen()
		f.mu.Lock()
		quick := f.newReader()
		f.mu.Unlock()
		quick.stream()
		f.open(head{status: 200, store: true, length: -1})
		const size = 4 << 20
		go func() {
			for range size / 1000 {
				if err := f.append(make([]byte, 1000)); err != nil {
					t.Error(err)
					return
				}
			}
			f.end(verdict{}, f.headNow(), nil, nil)
			f.published()
		}()
		start, total := time.Now(), 0
		slowEnd := make(chan readState, 1)
		go func() {
			for {
				b, state := slow.next()
				switch state {
				case readData:
					if rate == 0 {
						<-quick.f.ctx.Done()
						_, state = slow.next()
						slowEnd <- state
						return
					}
					time.Sleep(100 * time.Millisecond)
					slow.took(min(len(b), rate/10))
				case readDry:
					<-slow.wake
				default:
					slowEnd <- state
					return
				}
			}
		}()
		for state := readData; state != readEnd; {
			var b []byte
			b, state = quick.next()
			switch state {
			case readDry:
				f.mu.Lock()
				held := 0
				for _, ch := range f.chunks {
					held += cap(ch.buf)
				}
				f.mu.Unlock()
				if held > window+2*maxChunk {
					t.Fatalf("%d bytes held, want at most the window", held)
				}
				<-quick.wake
			case readData:
				quick.took(len(b))
				total += len(b)
			case readEnd:
			default:
				t.Fatalf("state = %v", state)
			}
		}
		if total != size/1000*1000 {
			t.Errorf("the quick reader got %d bytes", total)
		}
		if took := time.Since(start); cut && (took < readerStall || took > 2*readerStall) {
			t.Errorf("the slow reader held the others up for %v, want about %v", took, readerStall)
		}
		if rate == 0 {
			f.cancel(nil)
		}
		want := readCut
		if !cut {
			want = readEnd
		}
		if state := <-slowEnd; state != want {
			t.Errorf("the slow reader's state = %v, want %v", state, want)
		}
		slow.leave()
		quick.leave()
		if got := c.store.Stats().FillBytes; got != 0 {
			t.Errorf("%d bytes of the budget are lost", got)
		}
		f.cancel(nil)
	})
}
