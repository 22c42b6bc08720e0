package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// install returns the path of a program, from Debian's package where it is not
// there. The package's service is not started: at runlevel 1 none is.
var installMu sync.Mutex

func install(t *testing.T, name, pkg string) string {
	t.Helper()
	installMu.Lock()
	defer installMu.Unlock()
	find := func() string {
		for _, dir := range []string{"", "/usr/sbin", "/usr/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path
			}
		}
		return ""
	}
	if path := find(); path != "" {
		return path
	}
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-y", "-qq", "--no-install-recommends", pkg}} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s is needed: apt-get %s: %v\n%s", name, strings.Join(args, " "), err, tail(string(out), 2000))
		}
	}
	path := find()
	if path == "" {
		t.Fatalf("%s is not there, although %s is installed", name, pkg)
	}
	return path
}

// nginx is a real web server on a port of its own.
type nginx struct {
	bin, prefix, addr string
	process           *exec.Cmd
	stderr            output
}

func newNginx(t *testing.T) *nginx {
	t.Helper()
	n := &nginx{bin: install(t, "nginx", "nginx-light"), prefix: t.TempDir(), addr: freeAddr(t)}
	if err := os.Mkdir(filepath.Join(n.prefix, "temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("ADDR", n.addr, "PREFIX", n.prefix).Replace(`
worker_processes 1;
master_process off;
pid PREFIX/nginx.pid;
error_log stderr warn;
events { worker_connections 64; }
http {
	access_log off;
	default_type text/html;
	client_body_temp_path PREFIX/temp/body;
	proxy_temp_path PREFIX/temp/proxy;
	fastcgi_temp_path PREFIX/temp/fastcgi;
	uwsgi_temp_path PREFIX/temp/uwsgi;
	scgi_temp_path PREFIX/temp/scgi;
	server {
		listen ADDR;
		root PREFIX;
		location /brief/ { add_header Cache-Control "max-age=1"; }
		location /long/ { add_header Cache-Control "max-age=3600"; }
		location /private/ { add_header Cache-Control "no-store"; }
	}
}
`)
	n.write(t, "nginx.conf", config)
	t.Cleanup(func() { n.stop(t, syscall.SIGKILL) })
	n.start(t)
	return n
}

func (n *nginx) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(n.prefix, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (n *nginx) start(t *testing.T) {
	t.Helper()
	n.process = exec.Command(n.bin, "-p", n.prefix, "-c", filepath.Join(n.prefix, "nginx.conf"), "-e", "stderr", "-g", "daemon off;")
	n.process.Stderr = &n.stderr
	if err := n.process.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nginx listens", func() bool {
		conn, err := net.Dial("tcp", n.addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// stop ends this nginx, and only this one.
func (n *nginx) stop(t *testing.T, s syscall.Signal) {
	t.Helper()
	if n.process == nil {
		return
	}
	_ = n.process.Process.Signal(s)
	done := make(chan struct{})
	go func() {
		_ = n.process.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		_ = n.process.Process.Kill()
		<-done
		t.Errorf("nginx did not end by signal %v", s)
	}
	n.process = nil
	if t.Failed() {
		t.Logf("stderr of nginx:\n%s", n.stderr.String())
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// curl is what an operator would type.
func curl(t *testing.T, args ...string) (header http.Header, status, body string) {
	t.Helper()
	cmd := exec.Command(install(t, "curl", "curl"), append([]string{"--noproxy", "*", "-sS", "-i", "--max-time", "20"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, stderr.String())
	}
	head, body, _ := strings.Cut(string(out), "\r\n\r\n")
	header = make(http.Header)
	lines := strings.Split(head, "\r\n")
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	return header, lines[0], body
}

// In front of a server that nobody here wrote, with the client that everybody has.
func TestNginx(t *testing.T) {
	t.Parallel()
	n := newNginx(t)
	for _, dir := range []string{"brief", "long", "private"} {
		n.write(t, dir+"/page.html", "<p>first edition of "+dir+"</p>")
	}
	p := start(t, "-backend", "http://"+n.addr)
	hit := regexp.MustCompile(`^holdfast; hit; ttl=\d+$`)
	const refused = "holdfast; error=connection_refused; cause=connection_refused"
	brief, long, private := p.site+"/brief/page.html", p.site+"/long/page.html", p.site+"/private/page.html"

	for _, page := range []string{brief, long} {
		h, status, body := curl(t, page)
		if status != "HTTP/1.1 200 OK" || !strings.Contains(body, "first edition") || !strings.Contains(h.Get("Cache-Status"), "stored") {
			t.Fatalf("curl %s: %s %q\n%q", page, status, body, h)
		}
	}
	h, status, body := curl(t, long)
	if status != "HTTP/1.1 200 OK" || !strings.Contains(body, "first edition of long") || !hit.MatchString(h.Get("Cache-Status")) {
		t.Errorf("a hit: %s %q, Cache-Status %q", status, body, h.Get("Cache-Status"))
	}
	if h, status, body = curl(t, private); status != "HTTP/1.1 200 OK" || !strings.Contains(body, "first edition of private") || h.Get("Proxy-Status") != "" {
		t.Errorf("uncached: %s %q %q", status, body, h)
	}

	n.stop(t, syscall.SIGQUIT)

	// Cached pages keep coming, fresh and stale.
	eventually(t, "the brief page is stale, and served", func() bool {
		h, status, body := curl(t, brief)
		if status != "HTTP/1.1 200 OK" || !strings.Contains(body, "first edition of brief") || h.Get("Proxy-Status") != "" {
			t.Fatalf("with nginx stopped: %s %q %q", status, body, h)
		}
		return !hit.MatchString(h.Get("Cache-Status"))
	})
	if h, _, body := curl(t, long); !strings.Contains(body, "first edition of long") || !hit.MatchString(h.Get("Cache-Status")) {
		t.Errorf("the long page: %q, Cache-Status %q", body, h.Get("Cache-Status"))
	}
	// An uncached one is answered in the format of who asks, and says why.
	for _, tt := range []struct{ accept, contentType, inBody string }{
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8", "<html"},
		{"application/json", "application/json", `"status":50`},
		{"application/problem+json", "application/problem+json", `"status":50`},
		{"*/*", "text/plain; charset=utf-8", "50"},
	} {
		eventually(t, "connection_refused on an uncached page for "+tt.accept, func() bool {
			h, status, body := curl(t, "-H", "Accept: "+tt.accept, private)
			if !strings.HasPrefix(status, "HTTP/1.1 50") || !strings.HasPrefix(h.Get("Content-Type"), tt.contentType) || !strings.Contains(body, tt.inBody) ||
				h.Get("Cache-Control") != "no-store" || strings.Contains(body, n.addr) || !strings.Contains(body, h.Get("X-Request-Id")) {
				t.Fatalf("with nginx stopped, for %s: %s\n%q\n%s", tt.accept, status, h, body)
			}
			return h.Get("Proxy-Status") == refused && status == "HTTP/1.1 502 Bad Gateway"
		})
	}

	// Everything heals.
	for _, dir := range []string{"brief", "private"} {
		n.write(t, dir+"/page.html", "<p>second edition of "+dir+"</p>")
	}
	n.start(t)
	for _, page := range []string{brief, private} {
		eventually(t, page+" comes anew", func() bool {
			h, status, body := curl(t, page)
			return status == "HTTP/1.1 200 OK" && strings.Contains(body, "second edition") && h.Get("Proxy-Status") == ""
		})
	}
	p.drained(t)
	if !strings.Contains(p.stderr.String(), "connection_refused") {
		t.Error("the log does not tell why requests failed")
	}
	n.stop(t, syscall.SIGTERM)
}

// A restart of the origin in the middle of traffic costs no stored page anything.
func TestNginxRestartUnderLoad(t *testing.T) {
	t.Parallel()
	n := newNginx(t)
	n.write(t, "brief/page.html", "<p>page</p>")
	p := start(t, "-backend", "http://"+n.addr)
	c := newClient(t)
	page := p.site + "/brief/page.html"
	get(t, c, page)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var stale, fresh atomic.Int64
	var mu sync.Mutex
	wrong := make(map[string]int)
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := c.Get(page)
				if err != nil {
					mu.Lock()
					wrong[err.Error()]++
					mu.Unlock()
					continue
				}
				var b bytes.Buffer
				_, err = b.ReadFrom(resp.Body)
				resp.Body.Close()
				status := resp.Header.Get("Cache-Status")
				switch {
				case err != nil || resp.StatusCode != http.StatusOK || b.String() != "<p>page</p>":
					mu.Lock()
					wrong[fmt.Sprintf("%s %v %s", resp.Status, err, resp.Header.Get("Proxy-Status"))]++
					mu.Unlock()
				case strings.Contains(status, "ttl=-") || strings.Contains(status, "fwd=stale") && !strings.Contains(status, "stored"):
					stale.Add(1)
				default:
					fresh.Add(1)
				}
			}
		})
	}
	const some = 100
	for range 2 {
		n.stop(t, syscall.SIGKILL)
		at := stale.Load()
		eventually(t, "stale pages come with nginx killed", func() bool { return stale.Load() >= at+some })
		n.start(t)
		at = fresh.Load()
		eventually(t, "fresh pages come with nginx back", func() bool { return fresh.Load() >= at+some })
	}
	close(stop)
	wg.Wait()
	if len(wrong) > 0 {
		t.Errorf("answers that should not be: %v", wrong)
	}
	p.drained(t)
}
