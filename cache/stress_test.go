package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// ledger is an origin whose pages have versions. A page is "path version" over
// and over, so that a mix of two, or a part of one, shows.
type ledger struct {
	versions [12]atomic.Int64
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
	if r.Method == http.MethodPost {
		w.Header().Set("X-Version", strconv.FormatInt(l.versions[n].Add(1), 10))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	version := l.versions[n].Load()
	word := fmt.Sprintf("%s %d;", r.URL.Path, version)
	h := w.Header()
	h.Set("X-Version", strconv.FormatInt(version, 10))
	h.Set("Cache-Control", [...]string{"max-age=60", "max-age=0, stale-if-error=60", "private", "max-age=1, stale-while-revalidate=60", "no-cache"}[rand.IntN(5)])
	if n%3 == 0 {
		h.Set("Vary", "X-Lang")
		word = fmt.Sprintf("%s%s %d;", r.URL.Path, r.Header.Get("X-Lang"), version)
	}
	tag := fmt.Sprintf(`"%s"`, strings.ReplaceAll(strings.TrimSuffix(word, ";"), " ", "-"))
	h.Set("Etag", tag)
	switch rand.IntN(12) {
	case 0:
		failure.Serve(w, r, failure.New(failure.ConnectionRefused, nil), nil)
		return
	case 1:
		http.Error(w, "own", http.StatusInternalServerError)
		return
	case 2:
		panic(http.ErrAbortHandler)
	}
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := strings.Repeat(word, 1+rand.IntN(4000))
	h.Set("X-Length", strconv.Itoa(len(body)))
	if rand.IntN(2) == 0 {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	half := rand.IntN(len(body))
	_, _ = io.WriteString(w, body[:half])
	if rand.IntN(3) == 0 {
		_ = http.NewResponseController(w).Flush()
	}
	if rand.IntN(10) == 0 {
		panic(http.ErrAbortHandler)
	}
	_, _ = io.WriteString(w, body[half:])
}

// check tells what is wrong with an answer.
func (l *ledger) check(a answer, path, lang string, vary bool, atLeast int64) error {
	if a.err != nil || a.status >= 500 {
		return nil // broken, and said so
	}
	if a.status != 200 {
		return fmt.Errorf("status %d", a.status)
	}
	version, _ := strconv.ParseInt(a.header.Get("X-Version"), 10, 64)
	word := fmt.Sprintf("%s %d;", path, version)
	if vary {
		word = fmt.Sprintf("%s%s %d;", path, lang, version)
	}
	length, _ := strconv.Atoi(a.header.Get("X-Length"))
	if len(a.body) != length || strings.Repeat(word, length/len(word)) != a.body {
		return fmt.Errorf("%s: %d bytes, want %d of %q; begins with %.40q", a.cacheStatus(), len(a.body), length, word, a.body)
	}
	// A stored copy may be old, but not older than what was changed through us.
	if version < atLeast {
		return fmt.Errorf("%s: version %d after one of %d had been written", a.cacheStatus(), version, atLeast)
	}
	return nil
}

// TestStress compares everything that clients get with what the origin made,
// while content is filled, refreshed, expired, evicted and invalidated, fetches
// break, and clients leave.
func TestStress(t *testing.T) {
	var served atomic.Int64
	c := newCache(t, Config{
		MemoryBytes: 256 << 10, // too small for all of it
		RetryStale:  -1,
		StaleIfSlow: 2 * time.Millisecond,
		Observe:     func(context.Context, Event) { served.Add(1) },
	})
	l := &ledger{}
	s := serve(t, c.Handler(l))
	s.Config.ErrorLog = nil
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	send := func(ctx context.Context, method, path, lang string) answer {
		r, err := http.NewRequestWithContext(ctx, method, s.URL+path, nil)
		if err != nil {
			return answer{err: err}
		}
		r.Header.Set("X-Lang", lang)
		res, err := client.Do(r)
		if err != nil {
			return answer{err: err}
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return answer{res.StatusCode, res.Header, string(body), res.Trailer, err}
	}
	var written [len(l.versions)]atomic.Int64
	deadline := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	var whole atomic.Int64
	for range 24 {
		wg.Go(func() {
			for time.Now().Before(deadline) {
				n := rand.IntN(len(l.versions))
				path, lang := fmt.Sprint("/", n), fmt.Sprint("l", rand.IntN(3))
				if rand.IntN(20) == 0 {
					if a := send(t.Context(), "POST", path, lang); a.err == nil {
						v, _ := strconv.ParseInt(a.header.Get("X-Version"), 10, 64)
						for old := written[n].Load(); old < v && !written[n].CompareAndSwap(old, v); old = written[n].Load() {
						}
					}
					continue
				}
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if rand.IntN(10) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
				}
				atLeast := written[n].Load()
				a := send(ctx, "GET", path, lang)
				cancel()
				if err := l.check(a, path, lang, n%3 == 0, atLeast); err != nil {
					t.Error(path, err)
					return
				}
				if a.err == nil && a.status == 200 {
					whole.Add(1)
				} else if a.err != nil && !errors.Is(a.err, context.DeadlineExceeded) && !isBroken(a.err) {
					t.Error(path, a.err)
				}
			}
		})
	}
	wg.Wait()
	settled(t, c)
	until(t, "the fill budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
	st := c.store.Stats()
	t.Logf("%d whole answers, %d events, %+v", whole.Load(), served.Load(), st)
	if whole.Load() < 100 || st.EntryBytes > st.EntryLimit {
		t.Errorf("%d whole answers, %+v", whole.Load(), st)
	}
}

// isBroken tells the error of a connection that was cut in the middle.
func isBroken(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "connection reset")
}
