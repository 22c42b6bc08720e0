package backend

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// tlsFaults are failures of the handshake, and some of HTTP/1 inside of TLS.
func tlsFaults(t *testing.T) []fault {
	ca := newAuthority(t)
	good := ca.issue(t, "127.0.0.1", farFuture())
	https := func(_ *testing.T, f *faults) string { return "https://" + f.addr }
	only1 := &tls.Config{Certificates: []tls.Certificate{good}}
	var all []fault
	add := func(f fault, scripts ...script) {
		f.name, f.url, f.scripts = "TLS: "+f.name, https, scripts
		f.cfg.TLS = trusting(ca)
		all = append(all, f)
	}
	handshake := func(cause failure.Cause, name, detail string, scripts ...script) {
		add(fault{name: name, cause: cause, detail: detail, status: 502, attempts: 3, verdict: failure.LocalFailure}, scripts...)
		add(fault{name: name + ", POST", method: "POST", body: "hello", cause: cause, detail: detail, status: 502, attempts: 3, verdict: failure.LocalFailure}, scripts...)
	}
	// Alerts instead of a handshake (RFC 8446 section 6).
	for id, name := range map[byte]string{
		10: "unexpected_message", 20: "bad_record_mac", 40: "handshake_failure", 42: "bad_certificate", 47: "illegal_parameter", 48: "unknown_ca",
		49: "access_denied", 50: "decode_error", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
		109: "missing_extension", 110: "unsupported_extension", 112: "unrecognized_name", 116: "certificate_required", 255: "unknown",
	} {
		handshake(failure.TLSAlert, "alert "+name, "", afterHello([]byte{0x15, 3, 3, 0, 2, 2, id}))
	}
	handshake(failure.TLSProtocol, "alert protocol_version", "no common TLS version", afterHello([]byte{0x15, 3, 3, 0, 2, 2, 70}))
	handshake(failure.TLSProtocol, "alert no_application_protocol", "no common application protocol", afterHello([]byte{0x15, 3, 3, 0, 2, 2, 120}))
	handshake(failure.TLSProtocol, "close_notify in place of the handshake", "", afterHello([]byte{0x15, 3, 3, 0, 2, 1, 0}))
	handshake(failure.TLSProtocol, "closed in the handshake", "in the middle of the handshake", afterHello(nil))
	handshake(failure.TLSProtocol, "half a record", "in the middle of the handshake", afterHello([]byte{0x16, 3, 3, 0, 100, 2}))
	handshake(failure.TLSProtocol, "a hello that is none", "", afterHello(append([]byte{0x16, 3, 3, 0, 8, 2, 0, 0, 4}, "none"...)))
	handshake(failure.TLSProtocol, "a record over the limit", "", afterHello(append([]byte{0x16, 3, 3, 0xff, 0xff}, make([]byte, 1<<16)...)))
	handshake(failure.TLSProtocol, "a banner", "speaks no TLS", afterHello([]byte("220 mail.example ESMTP ready\r\n")))
	handshake(failure.TLSProtocol, "reset in the handshake", "in the middle of the handshake", func(c net.Conn, br *bufio.Reader) {
		afterHello(nil)(c, br)
		_ = c.(*net.TCPConn).SetLinger(0)
	})

	// Certificates.
	serving := func(cert tls.Certificate, change func(*tls.Config)) script {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}}
		if change != nil {
			change(cfg)
		}
		return tlsOn(cfg, say(okHello))
	}
	handshake(failure.TLSCertificate, "not valid yet", "valid from", serving(ca.issueFrom(t, "127.0.0.1", time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)), nil))
	handshake(failure.TLSCertificate, "another address", "valid for 127.0.0.9", serving(ca.issue(t, "127.0.0.9", farFuture()), nil))
	for version, name := range map[uint16]string{tls.VersionTLS12: "TLS 1.2", tls.VersionTLS13: "TLS 1.3"} {
		add(fault{name: "client certificate demanded, " + name, cause: failure.TLSAlert, status: 502, attempts: 3, verdict: failure.LocalFailure, unsure: true},
			serving(good, func(c *tls.Config) {
				c.MinVersion, c.MaxVersion, c.ClientAuth = version, version, tls.RequireAnyClientCert
			}))
	}

	// HTTP/1 inside.
	inside := func(f fault, s script) {
		if f.status == 0 {
			f.status = 502
		}
		if f.attempts == 0 {
			f.attempts = 1
		}
		f.verdict, f.written = failure.BackendFailure, true
		add(f, tlsOn(only1, s))
	}
	part := strings.Repeat("x", 100_000)
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"
	inside(fault{name: "closed before headers", cause: failure.ClosedBeforeHeaders, attempts: 3}, closing1("", true))
	inside(fault{name: "closed before headers without close_notify", cause: failure.ClosedBeforeHeaders, attempts: 3}, closing1("", false))
	inside(fault{name: "closed before headers, POST", method: "POST", cause: failure.ClosedBeforeHeaders}, closing1("", false))
	inside(fault{name: "closed in headers", cause: failure.ClosedBeforeHeaders, attempts: 3}, closing1("HTTP/1.1 200 OK\r\nX-", false))
	inside(fault{name: "truncated", cause: failure.Truncated, status: 200, broken: true}, closing1(head+part, true))
	inside(fault{name: "truncated without close_notify", cause: failure.Truncated, status: 200, broken: true}, closing1(head+part, false))
	inside(fault{name: "without length and without close_notify", cause: failure.Truncated, status: 200, broken: true}, closing1("HTTP/1.1 200 OK\r\n\r\n"+part, false))
	inside(fault{name: "chunked without its end", cause: failure.Truncated, status: 200, broken: true}, closing1("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"+part+"\r\n", true))
	inside(fault{name: "bad chunk", cause: failure.BadChunking, status: 200, broken: true}, sayThenHang("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n"+part+"\r\nzz\r\n"))
	inside(fault{name: "alert in the body", cause: failure.Truncated, status: 200, broken: true, cfg: Config{BetweenBytes: 20 * time.Second}}, func(c net.Conn, br *bufio.Reader) {
		sayThenClose(head+part)(c, br)
		_, _ = c.(*tls.Conn).NetConn().Write([]byte{0x17, 3, 3, 0, 3, 1, 2, 3}) // a record that can't be decrypted
	})
	inside(fault{name: "no answer", cause: failure.FirstByteTimeout, status: 504, cfg: Config{FirstByte: brief}}, sayThenHang(""))
	inside(fault{name: "stall in headers", cause: failure.HeaderStall, status: 504, cfg: Config{HeaderStall: brief}}, sayThenHang("HTTP/1.1 200 OK\r\nX"))
	inside(fault{name: "stall in the body", cause: failure.BodyStall, status: 200, broken: true, cfg: Config{BetweenBytes: brief}}, sayThenHang(head+part))
	inside(fault{name: "not HTTP", cause: failure.Malformed, detail: "hello"}, sayThenHang("hello there\r\n"))
	inside(fault{name: "two lengths", cause: failure.BadFraming}, sayThenHang("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"))
	inside(fault{name: "500", cause: failure.Upstream5xx, status: 500}, say("HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno"))
	add(fault{name: "does not read", method: "POST", body: strings.Repeat("x", 32<<20), cfg: Config{Write: brief}, cause: failure.WriteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure},
		tlsOn(only1, func(c net.Conn, br *bufio.Reader) {
			if _, err := br.ReadSlice('\n'); err == nil {
				if raw, err := c.(*tls.Conn).NetConn().(*net.TCPConn).SyscallConn(); err == nil {
					_ = raw.Read(func(uintptr) bool { return false })
				}
			}
		}))
	return all
}

// afterHello reads the beginning of a ClientHello, sends text and closes when
// the peer has.
func afterHello(text []byte) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, err := br.Peek(5); err != nil {
			return
		}
		_, _ = br.Discard(br.Buffered())
		if len(text) == 0 {
			return
		}
		_, _ = c.Write(text)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	}
}

// closing1 answers one request with text and closes, with or without telling TLS.
func closing1(text string, notify bool) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, ok := readRequest(br); !ok {
			return
		}
		_, _ = fmt.Fprint(c, text)
		if notify {
			_ = c.(*tls.Conn).CloseWrite()
		}
		_ = c.(*tls.Conn).NetConn().(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	}
}

// The end of a connection is that of the message only where TLS says so.
func TestCloseNotifyEndsBody(t *testing.T) {
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", farFuture())}}
	server := newFaults(t, tlsOn(cfg, closing1("HTTP/1.1 200 OK\r\n\r\nhello", true)))
	b := newBackend(t, Config{Endpoints: []Endpoint{{URL: "https://" + server.addr}}, TLS: trusting(ca)})
	srv, client := front(t, b)
	if status, _, body := get(t, client, srv.URL); status != 200 || body != "hello" {
		t.Errorf("status %d, %q, want 200 hello", status, body)
	}
}
