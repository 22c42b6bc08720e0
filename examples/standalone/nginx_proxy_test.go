package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-go/holdfast/backend"
)

// A real web server takes our PROXY headers, of both versions.
func TestNginxTakesProxyProtocol(t *testing.T) {
	n := &nginx{bin: install(t, "nginx", "nginx-light"), prefix: t.TempDir(), addr: freeAddr(t)}
	if err := os.Mkdir(filepath.Join(n.prefix, "temp"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.write(t, "nginx.conf", strings.NewReplacer("ADDR", n.addr, "PREFIX", n.prefix).Replace(`
worker_processes 1;
master_process off;
pid PREFIX/nginx.pid;
error_log stderr crit;
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path PREFIX/temp/body;
	proxy_temp_path PREFIX/temp/proxy;
	fastcgi_temp_path PREFIX/temp/fastcgi;
	uwsgi_temp_path PREFIX/temp/uwsgi;
	scgi_temp_path PREFIX/temp/scgi;
	server {
		listen ADDR proxy_protocol;
		location / { return 200 "$proxy_protocol_addr $proxy_protocol_port $http_x_forwarded_for"; }
	}
}
`))
	t.Cleanup(func() { n.stop(t, syscall.SIGKILL) })
	n.start(t)
	for version := 1; version <= 2; version++ {
		b, err := backend.New(backend.Config{Endpoints: []backend.Endpoint{{URL: "http://" + n.addr, ProxyProtocol: version}}})
		if err != nil {
			t.Fatal(err)
		}
		for remote, want := range map[string]string{
			"192.0.2.7:4711":       "192.0.2.7 4711 192.0.2.7",
			"[2001:db8::7]:4711":   "2001:db8::7 4711 2001:db8::7",
			"[fe80::7%eth0]:65535": "fe80::7 65535 fe80::7",
		} {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = remote
			rec := httptest.NewRecorder()
			b.ServeHTTP(rec, r)
			if body, _ := io.ReadAll(rec.Body); rec.Code != http.StatusOK || string(body) != want {
				t.Errorf("version %d, %s: status %d, %q, want 200 and %q", version, remote, rec.Code, body, want)
			}
		}
		if err := b.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown = %v, want nil", err)
		}
	}
}
