package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echoUpgrade switches to a protocol that says what it is told.
func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", r.Header.Get("Upgrade"))
	if rw.Flush() == nil {
		_, _ = io.Copy(conn, rw)
	}
}

// upgrade opens a WebSocket connection through the proxy; what follows the
// handshake is up to the two ends.
func upgrade(t *testing.T, site string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", hostOf(t, site))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", hostOf(t, site))
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("the upgrade = %s %q", resp.Status, resp.Header)
	}
	return conn, br
}

func TestWebSocket(t *testing.T) {
	t.Parallel()
	p := start(t, "-backend", endless(t))
	conn, br := upgrade(t, p.site)
	for _, line := range []string{"one\n", "two\n", strings.Repeat("z", 100_000) + "\n"} {
		fmt.Fprint(conn, line)
		if got, err := br.ReadString('\n'); got != line {
			t.Fatalf("the echo of %d bytes = %d bytes, %v", len(line), len(got), err)
		}
	}
	// One end stops to send: the other learns of it.
	_ = conn.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("after the end: %q, %v", rest, err)
	}
	p.drained(t)
}

// Every event arrives before the next one is made.
func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL)
	resp, err := newClient(t).Get(p.site + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	br := bufio.NewReader(resp.Body)
	for n := range 5 {
		want := fmt.Sprintf("data: %d\n", n)
		if line, err := br.ReadString('\n'); line != want {
			t.Fatalf("event %d = %q, %v", n, line, err)
		}
		if _, err := br.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		next <- struct{}{}
	}
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		t.Errorf("the end of the stream: %q, %v", rest, err)
	}
	p.drained(t)
}

// Early hints come early, more than once, and leave no trace in the final header.
func TestEarlyHints(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{})
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, link := range []string{"</a.css>; rel=preload", "</b.css>; rel=preload"} {
			w.Header().Set("Link", link)
			w.WriteHeader(http.StatusEarlyHints)
			<-proceed
		}
		w.Header().Del("Link")
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "page")
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL)
	var links []string
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints {
				links = append(links, h.Get("Link"))
				proceed <- struct{}{}
			}
			return nil
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.site+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := do(t, newClient(t), req)
	if r.StatusCode != http.StatusOK || r.body != "page" || r.Header.Get("Link") != "" {
		t.Errorf("the final answer = %s %q %q", r.Status, r.body, r.Header)
	}
	if got := strings.Join(links, ", "); got != "</a.css>; rel=preload, </b.css>; rel=preload" {
		t.Errorf("hints = %q", got)
	}
	if got := r.Header.Get("Cache-Status"); !strings.HasPrefix(got, "holdfast; fwd=uri-miss") || !strings.Contains(got, "stored") {
		t.Errorf("Cache-Status = %q: lost among the hints", got)
	}
	p.drained(t)
}

// Trailers pass in both directions.
func TestTrailers(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "got "+string(body))
		_ = http.NewResponseController(w).Flush()
		w.Header().Set("X-Sum", "saw "+r.Trailer.Get("X-Up"))
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL)
	pr, pw := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, p.site+"/", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"X-Up": nil}
	go func() {
		_, _ = io.WriteString(pw, "body")
		req.Trailer.Set("X-Up", "uploaded")
		pw.Close()
	}()
	r := do(t, newClient(t), req)
	if r.body != "got body" || r.Trailer.Get("X-Sum") != "saw uploaded" {
		t.Errorf("the answer = %s %q, trailer %q", r.Status, r.body, r.Trailer)
	}
	p.drained(t)
}

// An upload of 200 MB reaches the origin as it comes, and is nowhere collected.
func TestUpload(t *testing.T) {
	const size, first = 200 << 20, 1 << 20
	var received atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 256<<10)
		for {
			n, err := r.Body.Read(buf)
			received.Add(int64(n))
			if err != nil {
				break
			}
		}
		fmt.Fprint(w, received.Load())
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL)
	warm(t, p)
	before := p.peak(t)

	pr, pw := io.Pipe()
	go func() {
		chunk := make([]byte, first)
		_, _ = pw.Write(chunk)
		deadline := time.Now().Add(patience)
		for received.Load() < first/2 { // all but what buffers on the way may hold
			if time.Now().After(deadline) {
				pw.CloseWithError(fmt.Errorf("the origin got %d bytes of the first %d: the upload is buffered", received.Load(), first))
				return
			}
			time.Sleep(time.Millisecond) // the interval of polling
		}
		for range size/first - 1 {
			if _, err := pw.Write(chunk); err != nil {
				return
			}
		}
		pw.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.site+"/big", pr)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t)
	c.Timeout = 0
	if r := do(t, c, req); r.body != fmt.Sprint(size) {
		t.Errorf("the origin got %s bytes (%s), want %d", r.body, r.Status, size)
	}
	grown := p.peak(t) - before
	t.Logf("memory of the proxy: %d MB before, grown by %d MB (race detector on)", before>>20, grown>>20)
	if grown > 64<<20 { // with the race detector, which multiplies what is used
		t.Errorf("the proxy grew by %d MB during an upload of %d MB", grown>>20, size>>20)
	}
	p.drained(t)
}

// warm lets the proxy make what it makes once.
func warm(t *testing.T, p *process) {
	t.Helper()
	c := newClient(t)
	for range 50 {
		get(t, c, p.site+"/warm")
	}
}

// HTTP/2 by prior knowledge, as from a load balancer: answered, stored content
// shared with HTTP/1.1, drained by GOAWAY.
func TestUnencryptedHTTP2(t *testing.T) {
	t.Parallel()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "page")
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL)
	get(t, newClient(t), p.site+"/")

	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: patience}
	for _, path := range []string{"/", "/other"} {
		if r := get(t, c, p.site+path); r.ProtoMajor != 2 || r.body != "page" || r.StatusCode != http.StatusOK {
			t.Errorf("%s over HTTP/2 = %s %s %q", path, r.Proto, r.Status, r.body)
		}
	}
	if r := get(t, c, p.site+"/"); !strings.Contains(r.Header.Get("Cache-Status"), "; hit") {
		t.Errorf("Cache-Status = %q", r.Header.Get("Cache-Status"))
	}
	p.drained(t)
}
