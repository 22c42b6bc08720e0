package backend

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"
)

// h1conn is one HTTP/1 connection. It carries one exchange at a time and is
// driven by the goroutine of the request; only a request's body is written by
// another one.
type h1conn struct {
	raw  net.Conn // TCP
	conn net.Conn // raw, or TLS on it
	br   *bufio.Reader
	bw   *bufio.Writer
	head headScan
	end  *endTap // under TLS; nil without

	pulse     *pulse // of raw
	interrupt func() // ends blocked reads and writes
	// clock is for the watches of its attempts from the second on: the first
	// began before there was a connection. nil: it was not used again.
	clock *clock

	used      int // exchanges begun
	addr      string
	epoch     int // of the pool, when the connection was known to be of use
	idleSince time.Time

	// Of the exchange that is under way:
	a       *attempt
	stop    func() bool // ends the watching of the attempt's context
	writer  *bodyWriter // nil where the request has no body
	readErr error       // what reading the connection ended with
}

func newH1(raw, conn net.Conn, maxHeader int64) *h1conn {
	c := &h1conn{raw: raw, conn: conn, pulse: newPulse(raw)}
	c.interrupt = func() { _ = conn.SetDeadline(longAgo) }
	c.br = bufio.NewReaderSize(readTap{c}, 4096)
	c.bw = bufio.NewWriterSize(conn, 4096)
	c.head.limit = maxHeader
	c.end = endTapOf(conn)
	return c
}

// longAgo as a deadline ends blocked reads and writes at once.
var longAgo = time.Unix(1, 0)

// readTap is where the bytes of a connection come in: it watches header
// sections on their way to the parser and moves the attempt's timer along.
type readTap struct{ c *h1conn }

func (t readTap) Read(p []byte) (int, error) {
	c := t.c
	n, err := c.conn.Read(p)
	if err != nil {
		if ended(err) && c.end != nil && c.end.ended {
			err = errNoCloseNotify
		}
		c.readErr = err
	}
	if n == 0 || c.head.done {
		return n, err
	}
	began, interim := c.head.started, c.head.interim
	if scanErr := c.head.feed(p[:n]); scanErr != nil {
		c.readErr = scanErr
		return 0, scanErr
	}
	first := c.head.started && (!began || c.head.interim != interim)
	switch {
	case c.head.done:
		c.a.headersCame(first)
	case first:
		c.a.headersBegan()
	case !c.head.started: // an informational response came whole
		c.a.awaitFirstByte()
	}
	return n, err
}

// roundTrip sends the request and reads up to the end of the final header
// section. What came in between is given to interim.
func (c *h1conn) roundTrip(a *attempt, out *request, interim func(*http.Response)) (*http.Response, error) {
	c.a, c.writer, c.readErr = a, nil, nil
	c.used++
	c.head.reset()
	c.stop = context.AfterFunc(a.ctx, c.interrupt)

	a.stage = phaseWrite
	if !a.watch.enter(phaseWrite) {
		return nil, a.ctx.Err()
	}
	writeErr := out.writeHead(c.bw)
	if writeErr == nil {
		writeErr = c.bw.Flush()
	}
	switch {
	case writeErr != nil:
		// The answer may have come before the connection was closed.
		a.awaitFirstByte()
	case out.body == nil:
		a.requestWritten()
		if a.ep.inFlight.Load() == 1 {
			// The answer is not there yet, and nothing else keeps the runtime's
			// threads awake: the yield wakes another one before the answer does.
			// Without it the answer wakes one that sleeps in the poller while this
			// one falls asleep, and exchanges with an endpoint near by are passed
			// to and fro between two threads, a third slower.
			runtime.Gosched()
		}
	default:
		c.writer = newBodyWriter(a, out, c.conn)
		go c.writer.run()
	}

	a.stage = phaseFirstByte
	for {
		res, err := http.ReadResponse(c.br, out.http)
		if err != nil {
			if writeErr != nil && !c.head.started {
				err = errors.Join(writeErr, err)
			}
			return nil, err
		}
		if c.head.spaced {
			closeUp(res.Header)
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			c.endOfHead()
			return res, nil
		}
		if res.StatusCode == http.StatusContinue {
			if c.writer != nil {
				c.writer.proceed(true)
			}
			continue
		}
		interim(res)
	}
}

// endOfHead is reached with the final header section.
func (c *h1conn) endOfHead() {
	c.head.done = true
	c.a.headersEnded()
	if c.writer != nil {
		// Who answers without asking for the body does not want it.
		c.writer.proceed(false)
	}
}

// dry tells whether more of the response has to be waited for.
func (c *h1conn) dry() bool { return c.br.Buffered() == 0 }

// release ends the exchange and tells whether the connection may carry another
// one: the response was read whole and nothing follows it, the request was sent
// whole, and nobody interrupted.
func (c *h1conn) release(whole bool, res *http.Response) bool {
	reusable := whole && res != nil && !res.Close && !c.head.conflict && c.readErr == nil && c.br.Buffered() == 0
	if c.writer != nil && !c.writer.sent() {
		reusable = false
	}
	if !c.stop() {
		reusable = false
	}
	if !reusable || !c.drained() {
		reusable = false
		c.close()
	}
	c.a, c.writer = nil, nil
	return reusable
}

// drained tells whether nothing lies between the socket and our buffer. TLS
// reads ahead: what follows a response may wait there, where [alive] does not
// see it.
func (c *h1conn) drained() bool {
	if c.conn == c.raw {
		return true
	}
	// Past the deadline a Read brings what was read ahead, and no more.
	if c.conn.SetReadDeadline(longAgo) != nil {
		return false
	}
	var one [1]byte
	n, err := c.conn.Read(one[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.conn.SetReadDeadline(time.Time{}) == nil
}

// detach gives the connection away for a tunnel. What was read ahead comes
// first from the reader.
func (c *h1conn) detach() (net.Conn, io.Reader, bool) {
	if !c.stop() {
		return nil, nil, false
	}
	c.a = nil
	c.stopClock()
	if n := c.br.Buffered(); n > 0 {
		ahead, _ := c.br.Peek(n)
		return c.conn, io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), c.conn), true
	}
	return c.conn, c.conn, true
}

func (c *h1conn) close() {
	// A TLS close would wait for a peer that does not read; the end of the
	// message was told by the protocol.
	c.raw.Close()
	c.stopClock()
}

func (c *h1conn) stopClock() {
	if c.clock != nil {
		c.clock.timer.Stop()
	}
}
