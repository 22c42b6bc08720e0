package backend

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// http1Faults are answers that are none, and bodies that break.
func http1Faults(*testing.T) []fault {
	var all []fault
	// Answers that HTTP/1.1 forbids. None is worth another attempt: the
	// backend would say the same again.
	wrong := func(cause failure.Cause, detail, name, text string) {
		all = append(all, fault{
			name: "h1: " + name, scripts: []script{sayThenHang(text)}, cause: cause, status: 502, attempts: 1,
			verdict: failure.BackendFailure, written: true, detail: detail,
		})
	}
	malformed := func(name, text string) { wrong(failure.Malformed, "", name, text) }
	framing := func(name, fields string) {
		wrong(failure.BadFraming, "", name, "HTTP/1.1 200 OK\r\n"+fields+"\r\nhello")
	}
	for _, line := range []string{
		"HTTP/2.0 200 OK", "HTTP/0.9 200 OK", "http/1.1 200 OK", "HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 20", "HTTP/1.1 abc OK", "HTTP/1.1  200 OK",
		"HTTP/1.1 099 Low", "HTTP/1.1 000 Nil", "HTTP/1.1 1000 High", "HTTP/1.1 -20 OK", "HTTP/1.1 +20 OK", "HTTP/1.1 2 0 OK", "HTTP/1.1\t200 OK",
		"HTTP/1.x 200 OK", "HTTP/11 200 OK", "ICY 200 OK", "<html>hello", "\x00\x00\x00\x00", "\r\n\r\nHTTP/1.1 200 OK", " HTTP/1.1 200 OK",
	} {
		malformed("status line "+strings.TrimSpace(line), line+"\r\nContent-Length: 0\r\n\r\n")
	}
	malformed("HTTP/0.9", "hello world, no header at all\n")
	malformed("NUL in a value", "HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 5\r\n\r\nhello")
	malformed("NUL in a name", "HTTP/1.1 200 OK\r\nX\x00A: b\r\nContent-Length: 5\r\n\r\nhello")
	malformed("bare CR in a value", "HTTP/1.1 200 OK\r\nX-A: a\rX-B: b\r\nContent-Length: 5\r\n\r\nhello")
	malformed("CR CR LF", "HTTP/1.1 200 OK\r\nX-A: a\r\r\nContent-Length: 5\r\n\r\nhello")
	malformed("empty name", "HTTP/1.1 200 OK\r\n: value\r\nContent-Length: 5\r\n\r\nhello")
	malformed("line without colon", "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 5\r\n\r\nhello")
	malformed("begins with a fold", "HTTP/1.1 200 OK\r\n folded\r\nContent-Length: 5\r\n\r\nhello")
	malformed("103 and then garbage", "HTTP/1.1 103 Early Hints\r\n\r\nnonsense follows here\r\n")
	malformed("100 for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 200))

	for name, fields := range map[string]string{
		"unequal lengths":            "Content-Length: 5\r\nContent-Length: 6\r\n",
		"unequal lengths, one line":  "Content-Length: 5, 6\r\n",
		"equal lengths, one line":    "Content-Length: 5, 5\r\n",
		"negative length":            "Content-Length: -5\r\n",
		"length with a plus sign":    "Content-Length: +5\r\n",
		"hexadecimal length":         "Content-Length: 0x5\r\n",
		"length that overflows":      "Content-Length: 99999999999999999999\r\n",
		"empty length":               "Content-Length:\r\n",
		"length with a space in it":  "Content-Length: 5 5\r\n",
		"length in words":            "Content-Length: five\r\n",
		"folded length":              "Content-Length:\r\n 5\r\n",
		"length continued by a fold": "Content-Length: 5\r\n 6\r\n",
		"space before length colon":  "Content-Length : 5\r\n",
		"space before coding colon":  "Transfer-Encoding : chunked\r\n",
		"tab before length colon":    "Content-Length\t: 5\r\n",
		"chunked twice":              "Transfer-Encoding: chunked, chunked\r\n",
		"chunked in two lines":       "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"identity":                   "Transfer-Encoding: identity\r\n",
		"chunked not last":           "Transfer-Encoding: chunked, gzip\r\n",
		"xchunked":                   "Transfer-Encoding: xchunked\r\n",
		"folded coding":              "Transfer-Encoding:\r\n chunked\r\n",
		"empty coding":               "Transfer-Encoding:\r\n",
		"quoted coding":              "Transfer-Encoding: \"chunked\"\r\n",
	} {
		framing(name, fields)
	}
	wrong(failure.BadFraming, "", "chunked before HTTP/1.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

	// Bodies that break before their first byte, and behind it.
	body := func(name, head, first, rest string, cause failure.Cause, end func(string) script) {
		before, after := 1, 1
		if cause == failure.Truncated {
			before = 3
		}
		status := 502
		all = append(all, fault{
			name: "h1: " + name + ", at once", scripts: []script{end(head + rest)}, cause: cause, status: status, attempts: before,
			verdict: failure.BackendFailure, written: true,
		}, fault{
			name: "h1: " + name + ", later", scripts: []script{end(head + first + rest)}, cause: cause, status: 200, attempts: after,
			verdict: failure.BackendFailure, written: true, broken: true,
		})
	}
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	const length = "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n"
	big := strings.Repeat("x", 0x20000) // more than is read at once
	chunk := "20000\r\n" + big + "\r\n"
	for name, rest := range map[string]string{
		"no chunk size": "\r\nhello\r\n", "chunk size in words": "five\r\nhello\r\n", "negative chunk size": "-5\r\nhello\r\n",
		"chunk size that overflows": "fffffffffffffffff\r\nhello\r\n", "chunk size with 0x": "0x5\r\nhello\r\n", "endless chunk size": strings.Repeat("0", 9000),
		"endless extension": "5;" + strings.Repeat("a", 9000),
	} {
		body(name, chunked, chunk, rest, failure.BadChunking, sayThenHang)
	}
	body("closed in the length", length, big, "", failure.Truncated, sayThenClose)
	body("closed in a chunk size", chunked, chunk, "1", failure.Truncated, sayThenClose)
	body("closed in the chunks", chunked, chunk, "", failure.Truncated, sayThenClose)
	for name, rest := range map[string]string{"a chunk longer than said": "5\r\nhello world\r\n0\r\n\r\n", "a chunk shorter than said": "5\r\nhi\r\n0\r\n\r\n0\r\n"} {
		all = append(all, fault{
			name: "h1: " + name, scripts: []script{sayThenHang(chunked + chunk + rest)}, cause: failure.BadChunking, status: 200, attempts: 1,
			verdict: failure.BackendFailure, written: true, broken: true,
		})
	}
	for name, rest := range map[string]string{"closed in a chunk": "5\r\nhe", "closed before the last chunk": "", "closed in the last chunk": "0\r\n", "closed in the trailers": "0\r\nX-A: b\r\n", "closed in a trailer line": "0\r\nX-A: b"} {
		all = append(all, fault{
			name: "h1: " + name, scripts: []script{sayThenClose(chunked + chunk + rest)}, cause: failure.Truncated, status: 200, attempts: 1,
			verdict: failure.BackendFailure, written: true, broken: true,
		})
	}
	all = append(all,
		fault{
			name: "h1: trailers that are none", scripts: []script{sayThenHang(chunked + chunk + "0\r\nno colon\r\n\r\n")},
			cause: failure.BadChunking, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: reset in the body", scripts: []script{thenReset(length + big)}, method: "POST",
			cause: failure.Truncated, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: reset of a body without length", scripts: []script{thenReset("HTTP/1.1 200 OK\r\n\r\n" + big)}, method: "POST",
			cause: failure.Truncated, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: stall in the body", scripts: []script{sayThenHang(length + big)}, cfg: Config{BetweenBytes: brief},
			cause: failure.BodyStall, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: stall in the chunks", scripts: []script{sayThenHang(chunked + chunk)}, cfg: Config{BetweenBytes: brief},
			cause: failure.BodyStall, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: stall in the trailers", scripts: []script{sayThenHang(chunked + chunk + "0\r\nX-A")}, cfg: Config{BetweenBytes: brief},
			cause: failure.BodyStall, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: stall before the body", scripts: []script{sayThenHang(length)}, cfg: Config{BetweenBytes: lasting},
			cause: failure.BodyStall, status: 200, attempts: 1, verdict: failure.BackendFailure, written: true, broken: true,
		},
		fault{
			name: "h1: stall after the first byte", scripts: []script{sayThenHang("H")}, cfg: Config{HeaderStall: brief},
			cause: failure.HeaderStall, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: stall after the first byte, POST", scripts: []script{sayThenHang("H")}, cfg: Config{HeaderStall: brief}, method: "POST",
			cause: failure.HeaderStall, status: 504, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: reset in the headers", scripts: []script{thenReset("HTTP/1.1 200 OK\r\nX-")},
			cause: failure.ResetBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true, unsure: true,
		},
		fault{
			name: "h1: closed after 103", scripts: []script{sayThenClose("HTTP/1.1 103 Early Hints\r\n\r\n")},
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: reset, POST", scripts: []script{thenReset("")}, method: "POST", body: "hello",
			cause: failure.ResetBeforeHeaders, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: does not read", scripts: []script{deaf}, method: "POST", body: strings.Repeat("x", 32<<20), cfg: Config{Write: brief},
			cause: failure.WriteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure,
		},
		fault{
			name: "h1: does not read, PUT", scripts: []script{deaf}, method: "PUT", body: strings.Repeat("x", 32<<20), cfg: Config{Write: brief},
			cause: failure.WriteTimeout, status: 504, attempts: 1, verdict: failure.BackendFailure,
		},
		fault{
			name: "h1: reset in the upload", scripts: []script{resetInUpload}, method: "PUT", body: strings.Repeat("x", 32<<20),
			cause: failure.ResetBeforeHeaders, status: 502, attempts: 1, verdict: failure.Neutral,
		},
		fault{
			name: "h1: 413 to an upload, then closed", scripts: []script{answerEarly("HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")}, method: "POST", body: strings.Repeat("x", 32<<20),
			cause: failure.Upstream5xx, status: 503, attempts: 1, verdict: failure.BackendFailure,
		},
		fault{
			name: "h1: keep-alive race, then refused on a fresh connection too", warm: true, scripts: []script{raced, sayThenClose("")},
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: keep-alive race by reset", warm: true, scripts: []script{func(c net.Conn, br *bufio.Reader) {
				raced(c, br)
				_ = c.(*net.TCPConn).SetLinger(0)
			}},
			cfg: Config{Retries: -1}, cause: failure.KeepaliveRace, status: 502, attempts: 1, verdict: failure.Neutral, written: true,
		},
		fault{
			name: "h1: 600", scripts: []script{say("HTTP/1.1 600 Beyond\r\nContent-Length: 2\r\n\r\nno")},
			cause: failure.Upstream5xx, status: 600, attempts: 1, verdict: failure.Neutral, written: true,
		},
		fault{
			name: "h1: many headers", cfg: Config{MaxHeaderBytes: 4000},
			scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 900) + "\r\n")},
			cause:   failure.HeadersTooLarge, status: 502, attempts: 1, verdict: failure.Neutral, detail: `"X-A"`, written: true,
		},
		fault{
			name: "h1: an endless fold", cfg: Config{MaxHeaderBytes: 4000},
			scripts: []script{sayThenHang("HTTP/1.1 200 OK\r\nX-Small: a\r\nX-Fold: b\r\n" + strings.Repeat(" more\r\n", 900) + "\r\n")},
			cause:   failure.HeadersTooLarge, status: 502, attempts: 1, verdict: failure.Neutral, detail: `"X-Fold"`, written: true,
		},
		fault{
			name: "h1: large informational responses", cfg: Config{MaxHeaderBytes: 4000},
			scripts: []script{sayThenHang("HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("a", 5000) + "\r\n\r\n")},
			cause:   failure.HeadersTooLarge, status: 502, attempts: 1, verdict: failure.Neutral, detail: `"Link"`, written: true,
		},
		fault{
			name: "h1: 101 to h2c", scripts: []script{sayThenHang("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")}, upgrade: "h2c",
			cause: failure.UpgradeFailed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: closed in place of the upgrade", scripts: []script{sayThenClose("")}, upgrade: "websocket",
			cause: failure.ClosedBeforeHeaders, status: 502, attempts: 3, verdict: failure.BackendFailure, written: true,
		},
		fault{
			name: "h1: 101 without a protocol", scripts: []script{sayThenHang("HTTP/1.1 101 Switching Protocols\r\n\r\n")}, upgrade: "websocket",
			cause: failure.UpgradeFailed, status: 502, attempts: 1, verdict: failure.BackendFailure, written: true,
		},
	)
	return all
}

// deaf reads the header section of a request and nothing more.
func deaf(c net.Conn, br *bufio.Reader) {
	_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	if _, err := http.ReadRequest(br); err != nil {
		return
	}
	// Woken by whatever comes, it goes on waiting, until the test closes c.
	if raw, err := c.(*net.TCPConn).SyscallConn(); err == nil {
		_ = raw.Read(func(uintptr) bool { return false })
	}
}

// resetInUpload resets in the middle of the request's body.
func resetInUpload(c net.Conn, br *bufio.Reader) {
	if _, err := http.ReadRequest(br); err == nil {
		_, _ = io.CopyN(io.Discard, br, 200<<10)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

// answerEarly answers after the header section and takes what follows.
func answerEarly(text string) script {
	return func(c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	}
}

// raced answers one request, takes the next and is gone.
func raced(c net.Conn, br *bufio.Reader) {
	_, _ = readRequest(br)
	_, _ = io.WriteString(c, okHello)
	_, _ = readRequest(br)
}
