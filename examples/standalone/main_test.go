package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var tempDir string

func TestMain(m *testing.M) {
	// The tests mostly wait for other processes, not for a processor. -parallel overrides this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "holdfast")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	tempDir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// raced is how the real binary is built, but for measurements.
var raced = []string{"-race"}

// program is the real binary, built once with the race detector.
var program = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(tempDir, "standalone")
	out, err := exec.Command("go", slices.Concat([]string{"build"}, raced, []string{"-o", bin, "."})...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// process is a running proxy.
type process struct {
	*exec.Cmd
	stdout, stderr       output
	site, admin, control string // URLs
	ended                chan struct{}
}

// output is a buffer that is read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs the program on free ports, and waits until it says where it is.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(args, "-lame-duck") {
		args = append([]string{"-lame-duck", "0"}, args...)
	}
	if !slices.Contains(args, "-listen") {
		args = append([]string{"-listen", "127.0.0.1:0"}, args...)
	}
	p := &process{ended: make(chan struct{})}
	p.Cmd = exec.Command(bin, append([]string{"-admin", "127.0.0.1:0"}, args...)...)
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.Env = append(os.Environ(), "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		select {
		case <-p.ended:
		default:
			_ = p.Process.Kill()
			<-p.ended
		}
		if strings.Contains(p.stderr.String(), "DATA RACE") {
			t.Errorf("the proxy has a data race:\n%s", p.stderr.String())
		}
		if t.Failed() {
			t.Logf("stderr of the proxy (its end):\n%s", tail(p.stderr.String(), 4000))
		}
	})
	eventually(t, "the proxy says where it is", func() bool {
		select {
		case <-p.ended:
			t.Fatalf("the proxy ended: %s\n%s", p.ProcessState, p.stderr.String())
		default:
		}
		return p.listens(p.stdout.String())
	})
	return p
}

// listens reads the addresses from what the program said, once it said them all.
func (p *process) listens(said string) bool {
	find := func(expr string) string {
		if m := regexp.MustCompile(expr).FindStringSubmatch(said); m != nil {
			return m[1]
		}
		return ""
	}
	switch {
	case strings.HasPrefix(said, "holdfast: "):
		p.site = find(`holdfast: (http://\S+) stands`)
		p.admin = find(`holdfast: (http://\S+) has /healthz.*\n`)
	case strings.Contains(said, "Ctrl-C"):
		p.site = find(`through the proxy +(http://\S+)/\n`)
		p.control = find(`heal its origin +(http://\S+)/\n`)
		p.admin = find(`metrics +(http://\S+)/readyz\n`)
	}
	return p.site != "" && p.admin != ""
}

// signal sends the process a signal.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatal("the proxy does not end")
		return -1
	}
}

// drained ends the process as an operator would, and expects that nothing was lost.
func (p *process) drained(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code = %d, want %d\n%s", code, exitOK, tail(p.stderr.String(), 2000))
	}
}

// peak is the most memory that the process ever had resident, in bytes.
func (p *process) peak(t testing.TB) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmHWM in\n%s", b)
	}
	var kB int64
	if _, err := fmt.Sscan(string(m[1]), &kB); err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// patience is what anything may take on a busy machine before it counts as
// never.
const patience = 30 * time.Second

// eventually polls until ok, and fails the test where it never is.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		time.Sleep(10 * time.Millisecond) // the interval of polling
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// newClient returns a client that follows no redirect and keeps what
// connections it has until the test ends.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, Proxy: nil, MaxIdleConnsPerHost: 16}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reply is a response with its body.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

// get asks for a page; headers are name and value in turn.
func get(t testing.TB, c *http.Client, target string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, req, headers...)
}

func post(t testing.TB, c *http.Client, target string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, req, headers...)
}

func do(t testing.TB, c *http.Client, req *http.Request, headers ...string) reply {
	t.Helper()
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return reply{resp, b.String(), err}
}

func hostOf(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
