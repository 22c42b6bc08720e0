package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// listener can be closed without resetting the connections that the kernel has
// accepted on its behalf, and that carry a request already.
type listener struct {
	*net.TCPListener
	stopping atomic.Bool
	deadline time.Time  // of stopping; set before stopping is
	waiting  []net.Conn // taken from the queue; of the goroutine that calls Accept
}

// queuePatience bounds the emptying of the queue: with one connection after the
// other there will always be some.
const queuePatience = 250 * time.Millisecond

// stop makes Accept empty the queue and close the listener then.
func (l *listener) stop() {
	l.deadline = time.Now().Add(queuePatience)
	l.stopping.Store(true)
	shrinkQueue(l.TCPListener)
	_ = l.SetDeadline(time.Now()) // wakes Accept
}

// Accept is net.Listener's. It is called by one goroutine. While stopping, the
// listener's own deadline is over, so that every call gets past it.
func (l *listener) Accept() (net.Conn, error) {
	if len(l.waiting) == 0 {
		c, err := l.TCPListener.Accept()
		if err == nil || !l.stopping.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return c, err
		}
		if time.Now().Before(l.deadline) {
			l.waiting = queued(l.TCPListener)
		}
	}
	if len(l.waiting) == 0 {
		l.Close()
		return nil, net.ErrClosed
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// newcomers counts the connections that were accepted and of whose first request
// nothing was seen yet.
type newcomers struct {
	conns sync.Map // net.Conn; an entry lives until the connection is no longer new
	count atomic.Int64
}

// connState is for http.Server.
func (n *newcomers) connState(c net.Conn, state http.ConnState) {
	if state == http.StateNew {
		n.conns.Store(c, nil)
		n.count.Add(1)
	} else if _, ok := n.conns.LoadAndDelete(c); ok {
		n.count.Add(-1)
	}
}

// newcomerPatience is how long a new connection may keep its request to itself.
// Some never send one: browsers open connections ahead of need.
const newcomerPatience = time.Second

// shutdown is http.Server.Shutdown for a server whose clients were not told to
// go. That one drops requests which it has read, or which wait in the queue, when
// it is called. Here everything that reached this machine before the listener
// closed is answered; idle connections are closed last.
func (s *site) shutdown(ctx context.Context) error {
	s.listener.stop()
	select {
	case <-s.deaf:
	case <-ctx.Done():
	}
	ctx2, cancel := context.WithTimeout(ctx, newcomerPatience)
	defer cancel()
	for s.newcomers.count.Load() > 0 && ctx2.Err() == nil {
		pause(ctx2, 2*time.Millisecond)
	}
	return s.server.Shutdown(ctx)
}
