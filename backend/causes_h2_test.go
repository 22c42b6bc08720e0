package backend

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// field is a header field, not indexed and not compressed (RFC 7541 section
// 6.2.2).
func field(name, value string) []byte {
	b := append([]byte{0x00}, hpackLength(len(name))...)
	b = append(b, name...)
	b = append(b, hpackLength(len(value))...)
	return append(b, value...)
}

func hpackLength(n int) []byte {
	if n < 127 {
		return []byte{byte(n)}
	}
	b := []byte{127}
	for n -= 127; n >= 128; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

const (
	endStream  = 0x1
	endHeaders = flagEndHeaders
	frameData  = 0x0
)

// ok200 is ":status: 200" from the static table.
var ok200 = []byte{0x88}

// sends writes frames that are made for the stream, and goes on.
func sends(frames ...func(stream uint32) []byte) http2Fault {
	return func(c net.Conn, stream uint32) bool {
		for _, f := range frames {
			if _, err := c.Write(f(stream)); err != nil {
				return false
			}
		}
		return true
	}
}

// thenEnds is sends, and the connection is closed.
func thenEnds(frames ...func(stream uint32) []byte) http2Fault {
	return func(c net.Conn, stream uint32) bool {
		sends(frames...)(c, stream)
		return false
	}
}

func headers(flags byte, block ...[]byte) func(uint32) []byte {
	return func(stream uint32) []byte { return frame(frameHeaders, flags, stream, slices.Concat(block...)) }
}

func continuation(flags byte, block ...[]byte) func(uint32) []byte {
	return func(stream uint32) []byte { return frame(frameContinuation, flags, stream, slices.Concat(block...)) }
}

func data(flags byte, n int) func(uint32) []byte {
	return func(stream uint32) []byte { return frame(frameData, flags, stream, make([]byte, n)) }
}

func resetWith(code uint32) func(uint32) []byte {
	return func(stream uint32) []byte {
		return frame(frameReset, 0, stream, binary.BigEndian.AppendUint32(nil, code))
	}
}

// goesAway says that streams up to the last one are answered.
func goesAway(last func(stream uint32) uint32, code uint32) func(uint32) []byte {
	return func(stream uint32) []byte {
		return frame(frameGoAway, 0, 0, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, last(stream)), code))
	}
}

func raw(kind, flags byte, stream uint32, payload ...byte) func(uint32) []byte {
	return func(uint32) []byte { return frame(kind, flags, stream, payload) }
}

// much is more of a body than is read at once.
func much() []func(uint32) []byte {
	return slices.Repeat([]func(uint32) []byte{data(0, 16000)}, 8)
}

func http2Faults(t *testing.T) []fault {
	ca := newAuthority(t)
	cert := ca.issue(t, "127.0.0.1", farFuture())
	plain := func(_ *testing.T, f *faults) string { return "h2c://" + f.addr }
	secure := func(_ *testing.T, f *faults) string { return "https://" + f.addr }
	var all []fault
	both := func(f fault, h http2Fault) {
		if f.status == 0 {
			f.status = 502
		}
		if f.attempts == 0 {
			f.attempts = 1
		}
		f.name, f.url, f.scripts, f.written = "h2c: "+f.name, plain, []script{serveHTTP2(h)}, f.body == ""
		all = append(all, f)
		f.name, f.url, f.scripts = "h2: "+strings.TrimPrefix(f.name, "h2c: "), secure, []script{tlsOn(http2TLS(cert), serveHTTP2(h))}
		f.cfg.TLS = trusting(ca)
		f.arrived = -2 // one connection carries all attempts, or each has its own
		all = append(all, f)
	}
	bad := func(cause failure.Cause, name string, h http2Fault) {
		both(fault{name: name, cause: cause, verdict: failure.BackendFailure}, h)
	}
	malformed := func(name string, h http2Fault) { bad(failure.Malformed, name, h) }
	self := func(stream uint32) uint32 { return stream }
	none := func(uint32) uint32 { return 0 }

	// Streams that are reset.
	for code := range uint32(len(codeNames) + 1) {
		if code == codeHTTP11 { // over TLS see TestHTTP11Required
			all = append(all, fault{
				name: "h2c: POST refused by HTTP_1_1_REQUIRED", url: plain, scripts: []script{serveHTTP2(sends(resetWith(code)))}, method: "POST",
				cause: failure.StreamRefused, status: 502, attempts: 3, verdict: failure.Neutral, written: true,
			})
			continue
		}
		if code == codeRefusedStream {
			both(fault{name: "POST refused by " + codeName(code), method: "POST", cause: failure.StreamRefused, attempts: 3, verdict: failure.Neutral, detail: codeName(code)}, sends(resetWith(code)))
			continue
		}
		both(fault{name: "POST reset with " + codeName(code), method: "POST", cause: failure.ResetBeforeHeaders, verdict: failure.BackendFailure, detail: codeName(code)}, sends(resetWith(code)))
		both(fault{name: "GET reset with " + codeName(code), cause: failure.ResetBeforeHeaders, attempts: 3, verdict: failure.BackendFailure, detail: codeName(code)}, sends(resetWith(code)))
		both(fault{name: "body reset at once with " + codeName(code), cause: failure.Truncated, attempts: 3, verdict: failure.BackendFailure, detail: codeName(code)},
			sends(headers(endHeaders, ok200), resetWith(code)))
		both(fault{name: "body reset with " + codeName(code), cause: failure.Truncated, status: 200, broken: true, verdict: failure.BackendFailure, detail: codeName(code)},
			sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...), resetWith(code))...))
	}
	both(fault{name: "reset after 103", method: "POST", cause: failure.ResetBeforeHeaders, verdict: failure.BackendFailure},
		sends(headers(endHeaders, field(":status", "103")), resetWith(0x2)))

	// Connections that end.
	both(fault{name: "GOAWAY before the stream", method: "POST", cause: failure.StreamRefused, attempts: 3, verdict: failure.Neutral}, sends(goesAway(none, 0)))
	both(fault{name: "GOAWAY with an error before the stream", method: "POST", cause: failure.StreamRefused, attempts: 3, verdict: failure.Neutral}, sends(goesAway(none, 0xb)))
	both(fault{name: "GOAWAY after the stream, then closed", method: "POST", cause: failure.ClosedBeforeHeaders, verdict: failure.BackendFailure}, thenEnds(goesAway(self, 0)))
	both(fault{name: "GOAWAY with an error after the stream, then closed", method: "POST", cause: failure.ClosedBeforeHeaders, verdict: failure.BackendFailure}, thenEnds(goesAway(self, 0x2)))
	both(fault{name: "closed, POST", method: "POST", cause: failure.ClosedBeforeHeaders, verdict: failure.BackendFailure}, hangUp)
	both(fault{name: "closed, GET", cause: failure.ClosedBeforeHeaders, attempts: 3, verdict: failure.BackendFailure}, hangUp)
	both(fault{name: "closed in the headers", method: "POST", cause: failure.ClosedBeforeHeaders, verdict: failure.BackendFailure}, thenEnds(headers(0, ok200)))
	both(fault{name: "closed in the body", cause: failure.Truncated, status: 200, broken: true, verdict: failure.BackendFailure},
		thenEnds(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...)...))
	both(fault{name: "closed in the body after GOAWAY", cause: failure.Truncated, status: 200, broken: true, verdict: failure.BackendFailure},
		thenEnds(append([]func(uint32) []byte{goesAway(self, 0), headers(endHeaders, ok200)}, much()...)...))

	// Lengths.
	long := field("content-length", "200000")
	short := field("content-length", "120000")
	both(fault{name: "shorter than announced", cause: failure.Truncated, status: 200, broken: true, verdict: failure.BackendFailure},
		sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200, long)}, much()...), data(endStream, 0))...))
	both(fault{name: "longer than announced", cause: failure.BadFraming, status: 200, broken: true, verdict: failure.BackendFailure},
		sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200, short)}, much()...), data(endStream, 1))...))
	both(fault{name: "shorter at once", cause: failure.Truncated, attempts: 3, verdict: failure.BackendFailure}, sends(headers(endHeaders, ok200, long), data(endStream, 0)))
	both(fault{name: "nothing of what was announced", cause: failure.Truncated, attempts: 3, verdict: failure.BackendFailure}, sends(headers(endHeaders|endStream, ok200, long)))
	bad(failure.BadFraming, "longer at once", sends(headers(endHeaders, ok200, field("content-length", "3")), data(endStream, 5)))
	for name, fields := range map[string][]byte{
		"two lengths":         slices.Concat(field("content-length", "3"), field("content-length", "4")),
		"length in words":     field("content-length", "three"),
		"signed length":       field("content-length", "+3"),
		"two lengths in one":  field("content-length", "3, 4"),
		"length with a space": field("content-length", "3 "),
	} {
		bad(failure.BadFraming, name, sends(headers(endHeaders, ok200, fields), data(endStream, 3)))
	}

	// Stalls.
	stall := func(cause failure.Cause, name string, status int, cfg Config, h http2Fault) {
		both(fault{name: name, cause: cause, status: status, broken: status == 200, cfg: cfg, verdict: failure.BackendFailure}, h)
	}
	all = append(all, fault{
		name: "h2c: no SETTINGS", url: plain, scripts: []script{func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }}, cfg: Config{FirstByte: brief},
		cause: failure.FirstByteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
	})
	stall(failure.FirstByteTimeout, "silence", 504, Config{FirstByte: brief}, nil)
	stall(failure.FirstByteTimeout, "silence after 103", 504, Config{FirstByte: brief}, sends(headers(endHeaders, field(":status", "103"))))
	stall(failure.HeaderStall, "CONTINUATION withheld", 504, Config{HeaderStall: brief}, sends(headers(0, ok200)))
	stall(failure.HeaderStall, "CONTINUATION withheld after one", 504, Config{HeaderStall: brief}, sends(headers(0, ok200), continuation(0, field("x", "y"))))
	stall(failure.HeaderStall, "half a HEADERS frame", 504, Config{HeaderStall: brief}, sends(func(stream uint32) []byte {
		f := frame(frameHeaders, endHeaders, stream, slices.Concat(ok200, field("x", "y")))
		return f[:len(f)-2]
	}))
	stall(failure.HeaderStall, "CONTINUATION withheld after 103", 504, Config{HeaderStall: brief}, sends(headers(endHeaders, field(":status", "103")), headers(0, ok200)))
	stall(failure.BodyStall, "stall before the body", 200, Config{BetweenBytes: lasting}, sends(headers(endHeaders, ok200)))
	stall(failure.BodyStall, "stall in the body", 200, Config{BetweenBytes: brief}, sends(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...)...))
	stall(failure.BodyStall, "stall in the trailers", 200, Config{BetweenBytes: brief},
		sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...), headers(endStream, field("x", "y")))...))
	both(fault{
		name: "window never opened", method: "POST", body: strings.Repeat("x", 1<<20), cfg: Config{Write: lasting},
		cause: failure.WriteTimeout, status: 504, verdict: failure.BackendFailure,
	}, nil)
	both(fault{
		name: "window never opened, PUT", method: "PUT", body: strings.Repeat("x", 1<<20), cfg: Config{Write: lasting},
		cause: failure.WriteTimeout, status: 504, verdict: failure.BackendFailure,
	}, nil)

	// Header sections over the limit.
	for name, h := range map[string]http2Fault{
		"a field over the limit":      sends(headers(endHeaders|endStream, ok200, field("x-huge", strings.Repeat("a", 5000)))),
		"far over the limit":          sends(headers(endHeaders|endStream, ok200, field("x-huge", strings.Repeat("a", 15000)))),
		"CONTINUATION over the limit": sends(headers(0, ok200, field("x-huge", strings.Repeat("a", 3000))), continuation(endHeaders, field("x-more", strings.Repeat("b", 3000)))),
		"CONTINUATION flood": func(c net.Conn, stream uint32) bool {
			sends(headers(0, ok200))(c, stream)
			for range 64 {
				if !sends(continuation(0, field("x-huge", strings.Repeat("a", 1000))))(c, stream) {
					return true
				}
			}
			return true
		},
		"small while compressed": sends(headers(endHeaders|endStream, ok200, bomb(5000))),
	} {
		both(fault{name: name, cfg: Config{MaxHeaderBytes: 4000}, cause: failure.HeadersTooLarge, verdict: failure.Neutral}, h)
	}

	// What is no HTTP/2.
	for name, h := range map[string]http2Fault{
		"compression garbage":           sends(headers(endHeaders|endStream, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})),
		"index out of the table":        sends(headers(endHeaders|endStream, ok200, []byte{0xfe})),
		"no status":                     sends(headers(endHeaders|endStream, field("x", "y"))),
		"status in words":               sends(headers(endHeaders|endStream, field(":status", "abc"))),
		"status 99":                     sends(headers(endHeaders|endStream, field(":status", "099"))),
		"status 1000":                   sends(headers(endHeaders|endStream, field(":status", "1000"))),
		"status +200":                   sends(headers(endHeaders|endStream, field(":status", "+200"))),
		"two statuses":                  sends(headers(endHeaders|endStream, ok200, ok200)),
		"status behind fields":          sends(headers(endHeaders|endStream, field("x", "y"), ok200)),
		"unknown pseudo-field":          sends(headers(endHeaders|endStream, ok200, field(":x", "y"))),
		"a request's pseudo-field":      sends(headers(endHeaders|endStream, ok200, field(":path", "/"))),
		"capitals in a name":            sends(headers(endHeaders|endStream, ok200, field("X-Name", "y"))),
		"space in a name":               sends(headers(endHeaders|endStream, ok200, field("x y", "y"))),
		"empty name":                    sends(headers(endHeaders|endStream, ok200, field("", "y"))),
		"NUL in a value":                sends(headers(endHeaders|endStream, ok200, field("x", "a\x00b"))),
		"line break in a value":         sends(headers(endHeaders|endStream, ok200, field("x", "a\r\nb: c"))),
		"field connection":              sends(headers(endHeaders|endStream, ok200, field("connection", "close"))),
		"field transfer-encoding":       sends(headers(endHeaders|endStream, ok200, field("transfer-encoding", "chunked"))),
		"field keep-alive":              sends(headers(endHeaders|endStream, ok200, field("keep-alive", "5"))),
		"field upgrade":                 sends(headers(endHeaders|endStream, ok200, field("upgrade", "chat"))),
		"101":                           sends(headers(endHeaders, field(":status", "101"))),
		"103 that ends the stream":      sends(headers(endHeaders|endStream, field(":status", "103"))),
		"body before its headers":       sends(data(0, 5), headers(endHeaders|endStream, ok200)),
		"HEADERS of stream 0":           sends(raw(frameHeaders, endHeaders, 0, 0x88)),
		"DATA of stream 0":              sends(raw(frameData, 0, 0, 1, 2)),
		"DATA of a stream never opened": sends(raw(frameData, 0, 99, 1, 2)),
		"CONTINUATION alone":            sends(raw(frameContinuation, endHeaders, 1, 0x88)),
		"DATA inside the headers":       sends(headers(0, ok200), data(0, 5)),
		"SETTINGS of 5 bytes":           sends(raw(frameSettings, 0, 0, 1, 2, 3, 4, 5)),
		"SETTINGS of a stream":          sends(raw(frameSettings, 0, 1)),
		"SETTINGS with a huge window":   sends(raw(frameSettings, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff)),
		"RST_STREAM of 3 bytes":         sends(raw(frameReset, 0, 1, 1, 2, 3)),
		"RST_STREAM of stream 0":        sends(raw(frameReset, 0, 0, 0, 0, 0, 1)),
		"PING of 3 bytes":               sends(raw(0x6, 0, 0, 1, 2, 3)),
		"WINDOW_UPDATE by nothing":      sends(raw(0x8, 0, 0, 0, 0, 0, 0)),
		"WINDOW_UPDATE that overflows":  sends(raw(0x8, 0, 0, 0x7f, 0xff, 0xff, 0xff)),
		"PUSH_PROMISE":                  sends(raw(0x5, endHeaders, 1, 0, 0, 0, 2, 0x88)),
		"a frame over the limit":        sends(raw(frameData, 0, 1, make([]byte, 1<<21)...)),
		"too much padding":              sends(raw(frameData, 0x8, 1, 200, 1)),
		"endless 102":                   endless102,
	} {
		malformed(name, h)
	}
	both(fault{name: "garbage in the body", cause: failure.Malformed, status: 200, broken: true, verdict: failure.BackendFailure},
		sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...), raw(frameSettings, 0, 0, 1))...))
	both(fault{name: "a frame over the limit in the body", cause: failure.Malformed, status: 200, broken: true, verdict: failure.BackendFailure},
		sends(append(append([]func(uint32) []byte{headers(endHeaders, ok200)}, much()...), data(0, 1<<21))...))
	return all
}

// bomb is a section of fields that are small while compressed: one that is
// kept in the table, and many references to it.
func bomb(n int) []byte {
	b := append([]byte{0x40}, hpackLength(6)...)
	b = append(b, "x-bomb"...)
	b = append(b, hpackLength(100)...)
	b = append(b, strings.Repeat("a", 100)...)
	for range n / 100 {
		b = append(b, 0xbe) // index 62: the newest entry
	}
	return b
}

func endless102(c net.Conn, stream uint32) bool {
	for range 500 {
		if !sends(headers(endHeaders, field(":status", "102")))(c, stream) {
			break
		}
	}
	return true
}

// What surrounds a good answer must not matter.
func TestHTTP2Noise(t *testing.T) {
	answer := sends(headers(endHeaders, ok200), data(endStream, 5))
	ping := raw(0x6, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	for name, noise := range map[string]http2Fault{
		"PING flood":          sends(slices.Repeat([]func(uint32) []byte{ping}, 500)...),
		"unknown frame types": sends(raw(0x77, 0xff, 0, 1, 2, 3), raw(0xfa, 0, 1)),
		"SETTINGS flood":      sends(slices.Repeat([]func(uint32) []byte{raw(frameSettings, 0, 0)}, 100)...),
		"PRIORITY":            sends(raw(0x2, 0, 1, 0, 0, 0, 0, 10)),
		"early hints":         sends(slices.Repeat([]func(uint32) []byte{headers(endHeaders, field(":status", "103"), field("link", "</a>"))}, 5)...),
		"GOAWAY that has us":  sends(goesAway(func(s uint32) uint32 { return s }, 0)),
		"reset behind it":     nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newFaults(t, serveHTTP2(func(c net.Conn, stream uint32) bool {
				if noise == nil {
					return answer(c, stream) && sends(resetWith(0))(c, stream)
				}
				return noise(c, stream) && answer(c, stream)
			}))
			b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "h2c://" + server.addr}}, Retries: -1})
			srv, client := front(t, b)
			for range 3 {
				if status, h, body := get(t, client, srv.URL); status != 200 || len(body) != 5 {
					t.Fatalf("status %d, %d bytes, %v, want 200 and 5", status, len(body), h)
				}
			}
		})
	}
}

// Who demands HTTP/1.1 of a stream gets it, at once and from then on.
func TestHTTP11Required(t *testing.T) {
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", farFuture())}, NextProtos: []string{"h2", "http/1.1"}}
	var offers atomic.Int64
	demand, answer := serveHTTP2(sends(resetWith(codeHTTP11))), say(okHello)
	server := newFaults(t, tlsOn(cfg, func(c net.Conn, br *bufio.Reader) {
		if c.(*tls.Conn).ConnectionState().NegotiatedProtocol == "h2" {
			offers.Add(1)
			demand(c, br)
		} else {
			answer(c, br)
		}
	}))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "https://" + server.addr}}, TLS: trusting(ca)})
	srv, client := front(t, b)
	for range 3 {
		if res := post(t, client, srv.URL, "hello"); res.StatusCode != 200 {
			t.Errorf("status %d, want 200", res.StatusCode)
		}
	}
	if n := offers.Load(); n != 1 {
		t.Errorf("%d connections of HTTP/2, want 1", n)
	}
}

// A server that takes no streams refuses them, whenever it says so.
func TestHTTP2NoStreams(t *testing.T) {
	zero := frame(frameSettings, 0, 0, []byte{0, 3, 0, 0, 0, 0})
	server := newFaults(t, func(c net.Conn, br *bufio.Reader) {
		preface := make([]byte, prefaceSize)
		if _, err := io.ReadFull(br, preface); err != nil {
			return
		}
		_, _ = c.Write(zero)
		handleFrames(c, br, sends(resetWith(codeRefusedStream)))
	})
	var seen recorder
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "h2c://" + server.addr}}, Observe: seen.observe, Write: brief, FirstByte: brief})
	srv, client := front(t, b)
	for i := range 3 {
		status, h, _ := get(t, client, srv.URL)
		if ps := h.Get("Proxy-Status"); status != 502 || !strings.Contains(ps, "cause=stream_refused") {
			t.Errorf("request %d: status %d, Proxy-Status %q, want 502 stream_refused", i+1, status, ps)
		}
	}
	for _, ev := range seen.of(AttemptDone) {
		if ev.Failure == nil || ev.Failure.Cause != failure.StreamRefused {
			t.Errorf("event %+v, want stream_refused", ev)
		}
	}
}

// One stream that goes wrong says nothing of the others on its connection.
func TestHTTP2Neighbours(t *testing.T) {
	streams := make(chan uint32, 8)
	release := make(chan struct{})
	server := newFaults(t, serveHTTP2(func(c net.Conn, stream uint32) bool {
		if stream == 1 {
			return sends(headers(endHeaders|endStream, ok200))(c, stream) // makes the connection
		}
		streams <- stream
		if len(streams) < 4 {
			return true
		}
		a, b, d, e := <-streams, <-streams, <-streams, <-streams
		ok := sends(resetWith(0x2))(c, a) && sends(resetWith(codeRefusedStream))(c, b) &&
			sends(headers(endHeaders|endStream, field("no", "status")))(c, d) && sends(headers(endHeaders, ok200), data(endStream, 3))(c, e)
		close(release)
		return ok
	}))
	var seen recorder
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "h2c://" + server.addr}}, Observe: seen.observe, Retries: -1})
	srv, client := front(t, b)
	get(t, client, srv.URL)
	statuses := make(chan int)
	for range 4 {
		go func() {
			res, err := client.Get(srv.URL)
			if err != nil {
				statuses <- 0
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			statuses <- res.StatusCode
		}()
	}
	got := map[int]int{}
	for range 4 {
		got[<-statuses]++
	}
	<-release
	if want := map[int]int{200: 1, 502: 3}; !maps.Equal(got, want) {
		t.Errorf("statuses = %v, want %v", got, want)
	}
	causes := map[string]int{}
	for _, ev := range seen.of(AttemptDone) {
		causes[fmt.Sprint(ev.Failure != nil)]++
		if ev.Failure != nil {
			causes[ev.Failure.Cause.String()]++
		}
	}
	want := map[string]int{"false": 2, "true": 3, "reset_before_headers": 1, "stream_refused": 1, "malformed": 1}
	if !maps.Equal(causes, want) {
		t.Errorf("causes = %v, want %v", causes, want)
	}
}

// A stream that was not free in time may become free at that very moment: what
// must not be executed twice is not tried again.
func TestNoStreamInTime(t *testing.T) {
	for _, tt := range []struct {
		f    facts
		want failure.Cause
	}{
		{facts{}, failure.StreamRefused},
		{facts{once: true}, failure.WriteTimeout},
		{facts{sent: true}, failure.WriteTimeout},
		{facts{writing: true}, failure.WriteTimeout},
	} {
		tt.f.http2 = true
		if e := timedOut(&timeoutError{phase: phaseWrite, limit: time.Second}, tt.f); e.Cause != tt.want {
			t.Errorf("with %+v: %v, want %v", tt.f, e, tt.want)
		}
	}
}
