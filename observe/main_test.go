package observe

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines collects a log, one JSON object per line.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// all returns the lines with the given message, of any if it is "".
func (l *lines) all(t testing.TB, message string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.buf.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if message == "" || m["msg"] == message {
			found = append(found, m)
		}
	}
	return found
}

// one returns the only line with the message.
func (l *lines) one(t testing.TB, message string) map[string]any {
	t.Helper()
	all := l.all(t, message)
	if len(all) != 1 {
		t.Fatalf("%d lines %q, want 1: %v", len(all), message, l.all(t, ""))
	}
	return all[0]
}

func newObserver(t testing.TB, cfg Config) (*Observer, *lines) {
	t.Helper()
	log := new(lines)
	cfg.Logger = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o, log
}

func get(target string, fields ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, http.NoBody)
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

func serve(h http.Handler, r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

// scrape returns what Metrics serves.
func scrape(t testing.TB, o *Observer) string {
	t.Helper()
	body, err := io.ReadAll(serve(o.Metrics(), get("/metrics")).Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// wantSamples fails for each sample that text lacks.
func wantSamples(t testing.TB, text string, samples ...string) {
	t.Helper()
	for _, s := range samples {
		if !strings.Contains("\n"+text, "\n"+s+"\n") {
			name, _, _ := strings.Cut(s, "{")
			var near []string
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, name) {
					near = append(near, line)
				}
			}
			t.Errorf("no sample %s; there are\n%s", s, strings.Join(near, ""))
		}
	}
}
