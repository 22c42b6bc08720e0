package backend

import (
	"bufio"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// TestChaos has endpoints that fail in every way at random and clients that
// leave at random. Nothing may hang, leak, be answered twice or be answered
// with something that nobody sent.
func TestChaos(t *testing.T) {
	moods := []script{
		say(okHello), say(okHello), say(okHello), sayThenClose(""), sayThenClose("HTTP/1.1 200 OK\r\nContent-Le"), thenReset(""),
		sayThenClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), sayThenHang(""), sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"),
		sayThenClose("SSH-2.0\r\n"), say("HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\nno"), say("HTTP/1.1 103 X\r\n\r\n" + okHello),
		sayThenClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"), func(net.Conn, *bufio.Reader) {},
	}
	random := func(c net.Conn, br *bufio.Reader) { moods[rand.N(len(moods))](c, br) }
	one, two := newFaults(t, random), newFaults(t, random)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch rand.N(6) {
		case 0:
			panic("chaos")
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			<-r.Context().Done()
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "hello")
		}
	})
	var permits, returned atomic.Int64
	b := newBackend(t, Config{
		Endpoints: []Endpoint{{URL: one.url()}, {URL: two.url()}, {Handler: handler}, {URL: refusedURL(t, nil)}},
		FirstByte: 30 * time.Millisecond, BetweenBytes: 30 * time.Millisecond, UntilHeaders: 200 * time.Millisecond,
		Gate: gateFunc(func() (func(error), error) {
			permits.Add(1)
			return func(error) { returned.Add(1) }, nil
		}),
	})
	var odd atomic.Int64
	srv, client := front(t, tracked(b, func(e *failure.Error, _ failure.Rung) {
		if e != nil && e.Cause == failure.Loop {
			odd.Add(1)
		}
	}))
	var wg sync.WaitGroup
	limit := make(chan struct{}, 40)
	for range 1500 {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if rand.N(5) == 0 {
				time.AfterFunc(rand.N(20*time.Millisecond), cancel)
			}
			method, body := "GET", ""
			if rand.N(3) == 0 {
				method, body = "POST", strings.Repeat("x", rand.N(100_000))
			}
			req, err := http.NewRequestWithContext(ctx, method, srv.URL, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			res, err := client.Do(req)
			if err != nil {
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if res.StatusCode == 200 && err == nil && string(got) != "hello" {
				t.Errorf("200 with %q", got)
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Error("a request took 5 s")
			}
		})
	}
	wg.Wait()
	srv.Close()
	await(t, "nothing is in flight", func() bool {
		for _, s := range b.Endpoints() {
			if s.InFlight != 0 {
				return false
			}
		}
		return true
	})
	if p, r := permits.Load(), returned.Load(); p != r || p == 0 {
		t.Errorf("%d permits, %d returned", p, r)
	}
	if n := odd.Load(); n != 0 {
		t.Errorf("%d requests taken for loops", n)
	}
}

type gateFunc func() (func(error), error)

func (f gateFunc) Allow() (func(error), error) { return f() }
