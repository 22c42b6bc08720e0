package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/internal/porttest"
)

// storing is an origin whose pages may be stored for an hour.
func storing(t *testing.T) *httptest.Server {
	t.Helper()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		_, _ = w.Write([]byte("page " + r.URL.Path))
	}))
	t.Cleanup(origin.Close)
	return origin
}

// A restart begins with what was stored, although the origin is gone by then.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	origin := storing(t)
	file := filepath.Join(t.TempDir(), "pages")
	args := []string{"-listen", freeAddr(t), "-backend", origin.URL, "-snapshot", file}
	p, c := start(t, args...), newClient(t)
	for _, path := range []string{"/a", "/b"} {
		if r := get(t, c, p.site+path); r.body != "page "+path {
			t.Fatalf("%s = %s %q", path, r.Status, r.body)
		}
	}
	p.drained(t)
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the snapshot: %v, %v; want a file that only its owner may read", info, err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	origin.Close()
	porttest.Hold(t, hostOf(t, origin.URL))

	p = start(t, args...)
	for _, path := range []string{"/a", "/b"} {
		r := get(t, c, p.site+path)
		if r.body != "page "+path || !strings.Contains(r.Header.Get("Cache-Status"), "; hit; ttl=3") || r.Header.Get("Age") == "" {
			t.Errorf("after the restart %s = %s %q, Cache-Status %q, Age %q", path, r.Status, r.body, r.Header.Get("Cache-Status"), r.Header.Get("Age"))
		}
	}
	// What is purged now must not come back, whatever ends the process.
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the snapshot that was read is still there: %v", err)
	}
	p.signal(t, syscall.SIGKILL)
	p.wait(t)

	for name, content := range map[string][]byte{
		"cut short":     whole[:len(whole)-3],
		"a changed bit": append(append([]byte(nil), whole[:len(whole)/2]...), append([]byte{whole[len(whole)/2] ^ 1}, whole[len(whole)/2+1:]...)...),
		"empty":         {},
		"another file":  []byte("<html>no snapshot</html>"),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p = start(t, args...)
		if r := get(t, c, p.site+"/a"); r.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: /a = %s, want an empty cache in front of an origin that is gone", name, r.Status)
		}
		if log := p.stderr.String(); !strings.Contains(log, "the snapshot was not read: the cache begins empty") || !strings.Contains(log, file) {
			t.Errorf("%s: the log does not say that the snapshot was refused:\n%s", name, log)
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != string(content) {
			t.Errorf("%s: the file was changed (%v)", name, err)
		}
		p.signal(t, syscall.SIGKILL)
		p.wait(t)
	}
}

// Processes that end with the same -snapshot, and what stands beside it, do no
// harm to each other: the last one's pages are in it.
func TestSnapshotShared(t *testing.T) {
	t.Parallel()
	origin, dir := storing(t), t.TempDir()
	file, foreign, old := filepath.Join(dir, "pages"), filepath.Join(dir, "foreign"), filepath.Join(dir, "pages"+partInfix+"1")
	for _, name := range []string{foreign, old} {
		if err := os.WriteFile(name, []byte("not ours"), 0o644); err != nil { //nolint:gosec // others may read it
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * abandoned)
	if err := errors.Join(os.Symlink(foreign, file+".part"), os.Chtimes(old, long, long)); err != nil {
		t.Fatal(err)
	}
	const several = 3
	c := newClient(t)
	var running []*process
	for range several {
		p := start(t, "-backend", origin.URL, "-snapshot", file)
		for page := range 200 {
			get(t, c, p.site+"/"+strconv.Itoa(page))
		}
		running = append(running, p)
	}
	for _, p := range running {
		p.signal(t, syscall.SIGTERM)
	}
	for _, p := range running {
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d, want %d:\n%s", code, exitOK, p.stderr.String())
		}
	}
	if got, err := os.ReadFile(foreign); err != nil || string(got) != "not ours" {
		t.Errorf("another file was written to: %d bytes, %v", len(got), err)
	}
	left, err := filepath.Glob(file + partInfix + "*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	p := start(t, "-backend", origin.URL, "-snapshot", file)
	if log := p.stderr.String(); strings.Contains(log, "was not read") {
		t.Errorf("the snapshot is damaged:\n%s", log)
	}
}

// A snapshot that can't be written is said, and the exit code tells.
func TestSnapshotNotWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	p := start(t, "-backend", storing(t).URL, "-snapshot", filepath.Join(dir, "pages"))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitFailed || !strings.Contains(p.stderr.String(), "-snapshot "+filepath.Join(dir, "pages")+" was not written") {
		t.Errorf("exit code %d, want %d and a line that says so", code, exitFailed)
	}
}

// What processes left that were killed while they wrote goes at the next start,
// or they would fill the disk. What one may be writing just now stays.
func TestSnapshotLeftovers(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pages")
	left, current := file+partInfix+"1", file+partInfix+"2"
	for _, name := range []string{left, current} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(left, long, long); err != nil {
		t.Fatal(err)
	}
	start(t, "-backend", storing(t).URL, "-snapshot", file)
	if names, err := filepath.Glob(file + "*"); err != nil || !slices.Equal(names, []string{current}) {
		t.Errorf("there are %q, %v; want only %q", names, err, current)
	}
}
