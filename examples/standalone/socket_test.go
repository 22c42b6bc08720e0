package main

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// The site may be behind a Unix socket.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "host "+r.Host)
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-served
	})
	p := start(t, "-backend", "unix://"+path)
	if r := get(t, http.DefaultClient, p.site+"/"); r.StatusCode != http.StatusOK || r.body != "host "+hostOf(t, p.site) {
		t.Errorf("GET / = %s %q", r.Status, r.body)
	}
	p.drained(t)
}
