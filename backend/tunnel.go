package backend

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// tunnel is an upgraded connection. It ends when both sides have, when it was
// silent for too long, or with the backend.
type tunnel struct {
	client, origin net.Conn
	idle           time.Duration // 0: no limit
	last           atomic.Int64  // of the last byte in either direction, in ns since began
	began          time.Time
	up, down       atomic.Int64 // bytes to the origin, to the client

	mu  sync.Mutex // guards why
	why string
}

// end closes both sides. The first reason counts.
func (t *tunnel) end(why string) {
	t.mu.Lock()
	if t.why == "" {
		t.why = why
	}
	t.mu.Unlock()
	t.client.Close()
	t.origin.Close()
}

// run copies in both directions until both have ended.
func (t *tunnel) run(fromClient, fromOrigin io.Reader) {
	t.began = time.Now()
	var wg sync.WaitGroup
	wg.Go(func() { t.copy(t.origin, t.client, fromClient, &t.up, "client closed") })
	t.copy(t.client, t.origin, fromOrigin, &t.down, "backend closed")
	wg.Wait()
	t.end("closed")
}

// copy moves one direction. At the end of src the other side is told, and may
// go on sending.
func (t *tunnel) copy(dst, src net.Conn, from io.Reader, n *atomic.Int64, closed string) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		t.deadline(src.SetReadDeadline)
		got, err := from.Read(*buf)
		if got > 0 {
			t.last.Store(int64(time.Since(t.began)))
			t.deadline(dst.SetWriteDeadline)
			if _, werr := dst.Write((*buf)[:got]); werr != nil {
				t.end("write: " + werr.Error())
				return
			}
			n.Add(int64(got))
		}
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The other direction may have been busy.
			if time.Since(t.began)-time.Duration(t.last.Load()) >= t.idle {
				t.end("idle for " + t.idle.String())
				return
			}
		case ended(err):
			t.note(closed)
			if half, ok := dst.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
				return
			}
			t.end(closed)
			return
		default:
			t.end(closed + ": " + err.Error())
			return
		}
	}
}

func (t *tunnel) note(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why == "" {
		t.why = why
	}
}

func (t *tunnel) deadline(set func(time.Time) error) {
	if t.idle > 0 {
		_ = set(time.Now().Add(t.idle)) // a closed connection says so at once
	}
}

// summary is the detail of the event.
func (t *tunnel) summary() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%s; %d bytes up, %d bytes down", t.why, t.up.Load(), t.down.Load())
}

// tunnel answers with 101 and joins the two connections. A failure before that
// is returned.
func (c *call) tunnel(a *attempt, res *http.Response) *failure.Error {
	fail := func(err error) *failure.Error { return &failure.Error{Cause: failure.UpgradeFailed, Err: err} }
	origin, fromOrigin, ok := a.conn.detach()
	if !ok || !a.watch.end() {
		return a.explain(errGivenUp)
	}
	client, rw, err := c.rc.Hijack()
	if err != nil {
		return fail(err)
	}
	// The server may have left deadlines of its own.
	_ = client.SetDeadline(time.Time{})
	_ = origin.SetDeadline(time.Time{})
	t := &tunnel{client: client, origin: origin, idle: c.limits.StreamIdle}
	if !c.b.tunnels.add(t) {
		client.Close()
		return fail(errShutdown)
	}
	defer c.b.tunnels.remove(t)
	c.status = res.StatusCode
	c.report(nil)
	a.gate.done(nil)
	if err := writeSwitch(rw.Writer, res); err != nil {
		t.end("client closed: " + err.Error())
	} else {
		t.run(rw.Reader, fromOrigin)
	}
	c.b.observe(c.r.Context(), Event{
		Kind: TunnelClosed, Endpoint: a.ep.name, Attempt: a.number, Status: res.StatusCode, Detail: t.summary(), Reused: a.reused,
	})
	return nil
}

// writeSwitch sends the 101 (RFC 9110 section 7.8).
func writeSwitch(w *bufio.Writer, res *http.Response) error {
	h := make(http.Header, len(res.Header))
	endToEnd(h, res.Header)
	delete(h, "Content-Length")
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
	writeField(w, "Upgrade", res.Header.Get("Upgrade"))
	for name, values := range h {
		for _, v := range values {
			writeField(w, name, v)
		}
	}
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// tunnels is the set of those that are open.
type tunnels struct {
	mu     sync.Mutex // guards what follows
	open   map[*tunnel]struct{}
	closed bool
}

func (s *tunnels) add(t *tunnel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[*tunnel]struct{})
	}
	s.open[t] = struct{}{}
	return true
}

func (s *tunnels) remove(t *tunnel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, t)
}

func (s *tunnels) close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*tunnel, 0, len(s.open))
	for t := range s.open {
		open = append(open, t)
	}
	s.mu.Unlock()
	for _, t := range open {
		t.end("shutdown")
	}
}

// upgradeInProcess gives an upgrade to a handler together with the client's
// writer: only that one can be taken over. The handler runs on the goroutine of
// the request, its panics pass, and no timer runs.
func (c *call) upgradeInProcess(ep *endpoint, gate *pass) {
	began := time.Now()
	w := &upgradeWriter{hijacked: func() {
		gate.done(nil)
		ep.answered(c.b, began, time.Now(), true)
	}}
	w.Init(c.w, nil)
	defer func() {
		c.b.vacate(ep)
		ev := Event{Kind: AttemptDone, Endpoint: ep.name, Attempt: 1, Status: w.Status()}
		v := recover()
		if v != nil {
			ev.Failure = recovered(v)
			ev.Failure.Backend, ev.Failure.Endpoint, ev.Failure.Attempts = c.cfg().Name, ep.name, 1
		}
		ep.settled(c.b, &outcome{failure: ev.Failure, began: began, ended: time.Now()})
		gate.done(ev.Failure)
		ev.Phases[failure.PhaseBody] = time.Since(began)
		c.b.observe(c.r.Context(), ev)
		if v != nil {
			panic(v)
		}
	}()
	r := c.r
	if c.cfg().DeadlineHeader != "" {
		same := *r
		same.Header = c.withDeadline(r.Header)
		r = &same
	}
	ep.settings.Load().handler.ServeHTTP(w, r)
}

// upgradeWriter tells when the connection was taken over.
type upgradeWriter struct {
	writer.Base
	hijacked func()
}

// Hijack hands the connection over.
func (w *upgradeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := w.Base.Hijack()
	if err == nil {
		w.hijacked()
	}
	return conn, rw, err
}
