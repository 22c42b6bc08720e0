package backend

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/porttest"
)

// DNS response codes (RFC 1035 section 4.1.1).
const (
	rcodeOK       = 0
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeRefused  = 5
	silence       = -1
	garbage       = -2
)

// nameserver answers every question over UDP and TCP on a loopback port with
// the response code, or with 127.0.0.1.
func nameserver(t testing.TB, rcode int, found bool) string {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := dnsAnswer(buf[:n], rcode, found); answer != nil {
				_, _ = udp.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		<-done
	})
	return tcp.Addr().String()
}

func dnsAnswer(q []byte, rcode int, found bool) []byte {
	end := 12 // of the question
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	if rcode == silence || end > len(q) {
		return nil
	}
	if rcode == garbage {
		return []byte("not DNS at all")
	}
	a := append([]byte(nil), q[:end]...)
	a[2], a[3] = 0x81, 0x80|byte(rcode)
	clear(a[6:12])
	if found && binary.BigEndian.Uint16(q[end-4:]) == 1 { // an A record
		a[7] = 1
		a = append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
	}
	return a
}

// asking resolves by the server at addr. Lookups that nobody waits for any more
// end with the test.
func asking(t testing.TB, addr string) func(*dialer) {
	var mu sync.Mutex
	over := false
	var conns []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		for _, c := range conns {
			c.Close()
		}
	})
	return func(d *dialer) {
		var nd net.Dialer
		d.lookup = lookupBy(func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := nd.DialContext(ctx, network, addr)
			mu.Lock()
			defer mu.Unlock()
			if err == nil && over {
				c.Close()
				return nil, net.ErrClosed
			}
			if err == nil {
				conns = append(conns, c)
			}
			return c, err
		})
	}
}

func netFaults(t *testing.T) []fault {
	nowhere := func(*testing.T, *faults) string { return "http://nowhere.test." }
	silent := []script{func(_ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) }}
	all := []fault{
		{
			name: "net: listen queue full", url: fullQueue, scripts: silent, cfg: Config{Connect: brief},
			cause: failure.ConnectTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "net: listen queue full, POST", url: fullQueue, scripts: silent, cfg: Config{Connect: brief}, method: "POST", body: "hello",
			cause: failure.ConnectTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
		},
		{
			name: "net: no socket in the file system", scripts: silent,
			url:   func(t *testing.T, _ *faults) string { return "unix://" + t.TempDir() + "/none" },
			cause: failure.ConnectionRefused, status: 502, attempts: 3, verdict: failure.LocalFailure,
		},
	}
	for name, addr := range map[string]string{"IPv4": "255.255.255.255:80", "IPv6": "[ff02::1]:80"} {
		all = append(all, fault{
			name: "net: an address that can't be connected to, " + name, url: func(*testing.T, *faults) string { return "http://" + addr }, scripts: silent,
			cause: failure.Unroutable, status: 502, attempts: 3, verdict: failure.LocalFailure,
		})
	}
	for _, dns := range []struct {
		name   string
		rcode  int
		cause  failure.Cause
		status int
		limit  time.Duration
	}{
		{"no such name", rcodeNXDomain, failure.DNSNotFound, 502, time.Minute},
		{"a name without address", rcodeOK, failure.DNSNotFound, 502, time.Minute},
		{"the server fails", rcodeServFail, failure.DNSTimeout, 504, time.Minute},
		{"the server refuses", rcodeRefused, failure.DNSNotFound, 502, time.Minute},
		{"the server is silent", silence, failure.DNSTimeout, 504, brief},
		{"the server talks rubbish", garbage, failure.DNSTimeout, 504, brief},
	} {
		all = append(all, fault{
			name: "net: DNS: " + dns.name, url: nowhere, scripts: silent, dialer: asking(t, nameserver(t, dns.rcode, false)), cfg: Config{Resolve: dns.limit},
			cause: dns.cause, status: dns.status, attempts: 3, verdict: failure.LocalFailure,
		})
	}
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := nobody.LocalAddr().String()
	nobody.Close()
	return append(all, fault{
		name: "net: DNS: no server there", url: nowhere, scripts: silent, dialer: asking(t, addr),
		cause: failure.DNSTimeout, status: 504, attempts: 3, verdict: failure.LocalFailure,
	})
}

// fullQueue is the address of a listener that accepts nothing, and whose queue
// is full: the kernel drops further SYNs.
func fullQueue(t *testing.T, _ *faults) string {
	t.Helper()
	held := porttest.Hold(t, "127.0.0.1:0")
	addr := held.Addr()
	ln := held.ListenQueue(t, 0)
	t.Cleanup(func() { ln.Close() })
	for range 64 {
		c, err := net.DialTimeout("tcp", addr, 300*time.Millisecond)
		if err != nil {
			return "http://" + addr // it is full now
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue is never full")
	return ""
}

// The control: by the same means a name is found.
func TestNameserverAnswers(t *testing.T) {
	server := newFaults(t, say(okHello))
	d := newDialer()
	asking(t, nameserver(t, rcodeOK, true))(&d)
	_, port, _ := net.SplitHostPort(server.addr)
	b := newBackendWith(t, Config{Endpoints: []Endpoint{{URL: "http://somewhere.test.:" + port}}}, d)
	srv, client := front(t, b)
	if status, _, body := get(t, client, srv.URL); status != 200 || body != "hello" {
		t.Errorf("status %d, %q, want 200 hello", status, body)
	}
}

const outOfFilesEnv = "HOLDFAST_TEST_OUT_OF_FILES"

// outOfFiles is another process's: without a descriptor left it sends a request
// to url and prints what came of it.
func outOfFiles(url string) {
	b, err := newWith(Config{Endpoints: []Endpoint{{URL: url}}, ResolveInterval: -1}, newDialer())
	if err == nil {
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 0, Max: 0})
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	rec := httptest.NewRecorder()
	b.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	fmt.Println(rec.Code, rec.Header().Get("Proxy-Status"))
}

func TestOutOfFiles(t *testing.T) {
	server := newFaults(t, say(okHello))
	_, port, _ := net.SplitHostPort(server.addr)
	for _, url := range []string{server.url(), "http://somewhere.test.:" + port} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), outOfFilesEnv+"="+url, "GODEBUG=netdns=go")
		out, err := cmd.Output()
		want := "503 holdfast; error=proxy_internal_error; cause=local_limit"
		if got := strings.TrimSpace(string(out)); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, %v, want %q", url, got, err, want)
		}
	}
	if n := server.count(); n != 0 {
		t.Errorf("%d connections, want 0", n)
	}
}
