package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// http2Pings is how long an HTTP/2 connection may be silent before its peer is
// asked for a sign of life, and how long the answer may take.
const (
	http2PingAfter = 10 * time.Second
	http2PingWait  = 5 * time.Second
)

// newTransport makes the HTTP/2 side of net/http. It speaks by prior knowledge
// on connections that it is handed: what TLS negotiated was decided when they
// were dialled.
func newTransport(cfg Config) *http.Transport {
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, ok := ctx.Value(handedKey{}).(net.Conn)
			if !ok {
				return nil, errors.New("backend: no connection was handed over")
			}
			return conn, nil
		},
		DisableCompression:     true,
		ExpectContinueTimeout:  continueWait,
		MaxResponseHeaderBytes: cfg.MaxHeaderBytes,
		Protocols:              new(http.Protocols),
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  http2PingAfter,
			PingTimeout:      http2PingWait,
			WriteByteTimeout: cfg.Write,
		},
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

type handedKey struct{}

// h2conn is one HTTP/2 connection.
type h2conn struct {
	cc    *http.ClientConn
	wire  *frameTap
	addr  string
	since atomic.Int64 // when it last became idle, in ns; it may be busy again
	once  bool         // it is not to be used twice

	mu      sync.Mutex // guards what follows
	streams int
	retired bool

	listed   sync.Mutex // guards attempts; not held while others are called
	attempts []*attempt // under way
}

// enlist has the attempt told when its header section begins.
func (c *h2conn) enlist(a *attempt) {
	c.listed.Lock()
	defer c.listed.Unlock()
	c.attempts = append(c.attempts, a)
}

func (c *h2conn) delist(a *attempt) {
	c.listed.Lock()
	defer c.listed.Unlock()
	if i := slices.Index(c.attempts, a); i >= 0 {
		c.attempts = slices.Delete(c.attempts, i, i+1)
	}
}

// caughtUp looks for a header section that had begun already. The reader tells
// of it before it looks for the attempt, the attempt sets its stream before it
// looks for the section: neither misses the other.
func (c *h2conn) caughtUp(a *attempt) {
	if id := a.streamID.Load(); id != 0 && c.wire.pending.Load() == id {
		a.watch.heard()
	}
}

// headersBegan is called by the connection's reader where a header section
// comes in pieces: whoever waits for its beginning now waits for its end.
func (c *h2conn) headersBegan(stream uint32) {
	c.listed.Lock()
	defer c.listed.Unlock()
	for _, a := range c.attempts {
		if a.streamID.Load() == stream {
			a.watch.heard()
		}
	}
}

func (b *Backend) newH2(ctx context.Context, conn net.Conn, ready func()) (*h2conn, error) {
	t := b.now().http2
	wire := &frameTap{Conn: conn, limit: t.MaxResponseHeaderBytes}
	wire.out.outgoing = true
	c := &h2conn{wire: wire}
	wire.began, wire.ready = c.headersBegan, ready
	cc, err := t.NewClientConn(context.WithValue(ctx, handedKey{}, net.Conn(wire)), "http", "handed:80")
	if err != nil {
		return nil, err
	}
	c.cc, c.once = cc, b.now().cfg.IdleConn <= 0
	c.since.Store(time.Now().UnixNano())
	return c, nil
}

// negotiated is the protocol that the handshake chose; "" without TLS.
func negotiated(conn net.Conn) string {
	if tc, ok := conn.(*tls.Conn); ok {
		return tc.ConnectionState().NegotiatedProtocol
	}
	return ""
}

// reserve takes one of the connection's streams.
func (c *h2conn) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.retired || c.once && c.streams > 0 || c.cc.Reserve() != nil {
		return false
	}
	c.streams++
	return true
}

// release gives the stream back.
func (c *h2conn) release(a *attempt) {
	c.delist(a)
	if a.res != nil {
		a.res.Body.Close()
	}
	c.since.Store(time.Now().UnixNano())
	c.mu.Lock()
	c.streams--
	last := c.streams == 0 && (c.retired || c.once || c.cc.Err() != nil)
	c.mu.Unlock()
	if last {
		c.cc.Close()
	}
}

// retire has the connection closed as soon as no request needs it.
func (c *h2conn) retire() {
	c.mu.Lock()
	c.retired = true
	last := c.streams == 0
	c.mu.Unlock()
	if last {
		c.cc.Close()
	}
}

// gone tells that no further request can use the connection. Who was told to go
// away finishes its requests: it is to be retired.
func (c *h2conn) gone() bool {
	if c.cc.Err() != nil {
		return true
	}
	return c.wire.goAway.Load()
}

func (c *h2conn) idleFor(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams > 0 {
		return 0
	}
	return now.Sub(time.Unix(0, c.since.Load()))
}

// roundTrip sends the request and reads up to the final header section.
func (c *h2conn) roundTrip(a *attempt, out *request, interim func(*http.Response)) (*http.Response, error) {
	a.stage = phaseWrite
	if !a.watch.enter(phaseWrite) {
		c.cc.Release()
		return nil, a.ctx.Err()
	}
	informed := make(chan *http.Response) // on the connection's goroutine; handed to ours
	over := make(chan struct{})
	trace := &httptrace.ClientTrace{
		WroteHeaders: func() { // nobody else can open a stream meanwhile
			a.streamID.Store(c.wire.opened.Load())
			a.sent.Store(true)
			if out.body == nil && !a.written.Load() {
				a.requestWritten()
			}
			c.caughtUp(a)
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				a.requestWritten()
			}
		},
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			res := &http.Response{StatusCode: code, Header: http.Header(header)}
			select {
			case informed <- res:
			case <-over:
			}
			return nil
		},
	}
	if a.once {
		// The news that it was sent comes after the fact: too late where the
		// connection ends in between.
		trace.WroteHeaderField = func(string, []string) { a.sent.Store(true) }
	}
	req := out.http.WithContext(httptrace.WithClientTrace(a.ctx, trace))
	req.Body, req.ContentLength = nil, 0
	if out.body != nil {
		req.ContentLength, req.Trailer = out.length, announced(out.trailer)
		req.Body = &meteredBody{a: a, src: out.body, eof: func() { req.Trailer = joinTrailer(req.Trailer, out.trailers()) }}
	}
	if out.te {
		req.Header = req.Header.Clone()
		req.Header.Set("Te", "trailers")
	}
	if out.expect && out.body != nil {
		req.Header = req.Header.Clone()
		req.Header.Set("Expect", "100-continue")
	}

	c.enlist(a)
	type answer struct {
		res *http.Response
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := c.cc.RoundTrip(req) //nolint:bodyclose // release does
		answers <- answer{res, err}
	}()
	defer close(over)
	answered := func() { // which may be faster than the news that the request was sent
		if out.body == nil && !a.written.Load() {
			a.requestWritten()
		}
	}
	seen := 0
	for {
		select {
		case res := <-informed:
			answered()
			a.headersCame(true)
			if seen++; seen > maxInterim {
				a.cancel(errInterim)
			}
			switch res.StatusCode {
			case http.StatusContinue:
			case http.StatusSwitchingProtocols: // RFC 9113 section 8.6
				a.cancel(&failure.Error{Cause: failure.Malformed, Detail: "101 in HTTP/2", Err: errNotHTTP2})
			default:
				interim(res)
			}
			a.awaitFirstByte()
			c.caughtUp(a)
		case ans := <-answers:
			if ans.err == nil {
				answered()
				a.headersEnded()
				ans.err = checkHTTP2(ans.res)
			}
			return ans.res, ans.err
		}
	}
}

// streamError has the shape of net/http's HTTP/2 stream error, which copies
// itself into it (errors.As).
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "HTTP/2 stream error" }

// HTTP/2 error codes (RFC 9113 section 7).
const (
	codeRefusedStream = 0x7
	codeHTTP11        = 0xd
)

// isGoAwayError recognizes the error of a stream that a departing peer had
// accepted, by its shape: the type is not exported.
func isGoAwayError(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if v := reflect.ValueOf(err); v.Kind() == reflect.Struct && v.FieldByName("LastStreamID").IsValid() {
			return true
		}
	}
	return false
}

// onlyHTTP1 is reached where the peer demands HTTP/1.1 of a stream (RFC 9113
// section 7, HTTP_1_1_REQUIRED): from now on it gets it, where that is
// negotiated.
func (ep *endpoint) onlyHTTP1(c *h2conn) {
	if ep.tls != nil && !ep.h2 {
		ep.http1.Store(true)
		c.retire()
	}
}
