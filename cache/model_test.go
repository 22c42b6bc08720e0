package cache

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// model is the naive idea of what a cache in front of versioned pages may do. A
// page is at a version; a write advances it and, since it goes through the
// cache, invalidates the page; a change behind the cache's back is seen when the
// cache looks, and never unseen.
type model struct {
	current [modelPages]atomic.Int64 // what the origin has
	written [modelPages]atomic.Int64 // at least what a request that begins now gets
}

const modelPages = 6

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Path[1:])
	if r.Method == http.MethodPost {
		w.Header().Set("X-Version", strconv.FormatInt(m.current[n].Add(1), 10))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	version := m.current[n].Load()
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h.Set("X-Version", strconv.FormatInt(version, 10))
	h.Set("Cache-Control", "max-age=600")
	switch n {
	case 0, 1:
		h.Set("Vary", "X-Lang")
	case 2:
		h.Set("Cache-Control", "max-age=0, stale-while-revalidate=600")
	case 3:
		if version%2 == 1 { // with and without
			h.Set("Vary", "X-Lang")
		}
	}
	_, _ = io.WriteString(w, modelPage(n, r.Header.Get("X-Lang"), version))
}

// modelPage is a page at a version.
func modelPage(n int, lang string, version int64) string {
	if n > 1 {
		lang = ""
	}
	return strings.Repeat(fmt.Sprintf("%s/%d at %d;", lang, n, version), 10+int(version%7)*200)
}

// raise makes v at least n.
func raise(v *atomic.Int64, n int64) {
	for old := v.Load(); old < n && !v.CompareAndSwap(old, n); old = v.Load() {
	}
}

// modelStep is what one client does.
type modelStep struct {
	kind string
	page int
	lang string
}

func (a modelStep) String() string { return fmt.Sprint(a.kind, " ", a.page, a.lang) }

// TestModel lets clients do what rapid makes up, all at once, and compares what
// they get with what the model permits: whole pages of the right URL and
// language, nothing from before a write or a purge that had returned, nothing
// from before a reload, and, unless something was evicted, nothing older than
// what was seen. In the end nothing is left behind.
func TestModel(t *testing.T) {
	kinds := []string{"get", "get", "get", "get", "get", "reload", "write", "change", "purge", "wait", "snapshot"}
	evicting := slices.Concat(kinds, []string{"evict", "evict"})
	clients := func(kinds []string) *rapid.Generator[[][]modelStep] {
		step := rapid.Custom(func(t *rapid.T) modelStep {
			return modelStep{
				rapid.SampledFrom(kinds).Draw(t, "kind"),
				rapid.IntRange(0, modelPages-1).Draw(t, "page"),
				rapid.SampledFrom([]string{"de", "fr"}).Draw(t, "lang"),
			}
		})
		return rapid.SliceOfN(rapid.SliceOfN(step, 1, 25), 1, 4)
	}
	rapid.Check(t, func(rt *rapid.T) {
		run := &modelRun{evicts: rapid.Bool().Draw(rt, "evicts")}
		from := kinds
		if run.evicts {
			from = evicting
		}
		plan := clients(from).Draw(rt, "clients")
		compress := rapid.Bool().Draw(rt, "compress")
		synctest.Test(t, func(t *testing.T) { run.run(t, plan, compress) })
		for _, w := range run.found {
			rt.Error(w)
		}
	})
}

// modelRun is one run of the model.
type modelRun struct {
	model
	evicts bool
	c      *Cache
	h      http.Handler
	seen   [modelPages][2]atomic.Int64 // by language

	mu    sync.Mutex // guards found
	found []string
}

// run lets the clients do what they are to do.
func (run *modelRun) run(t *testing.T, plan [][]modelStep, compress bool) {
	c, err := New(Config{MemoryBytes: 1 << 20, Compress: compress})
	if err != nil {
		t.Fatal(err)
	}
	run.c, run.h = c, c.Handler(&run.model)
	var wg sync.WaitGroup
	for i, client := range plan {
		wg.Go(func() {
			for _, step := range client {
				run.do(step, i)
			}
		})
	}
	wg.Wait()
	synctest.Wait()
	st := c.store.Stats()
	if st.Fills != 0 || st.FillBytes != 0 || st.EntryBytes > st.EntryLimit || st.Entries != objects(c) {
		run.wrong("in the end: %+v, %d entries", st, objects(c))
	}
	if err := c.Shutdown(context.Background()); err != nil {
		run.wrong("Shutdown() = %v", err)
	}
}

func (run *modelRun) wrong(format string, args ...any) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.found = append(run.found, fmt.Sprintf(format, args...))
}

func (run *modelRun) do(a modelStep, client int) {
	url := fmt.Sprint("http://example.com/", a.page)
	switch a.kind {
	case "get":
		run.get(a, url, run.written[a.page].Load())
	case "reload":
		run.get(a, url, run.current[a.page].Load(), "Cache-Control: no-cache")
	case "write":
		version, _ := strconv.ParseInt(do(run.h, "POST", url).header.Get("X-Version"), 10, 64)
		raise(&run.written[a.page], version)
	case "change":
		run.current[a.page].Add(1)
	case "purge":
		version := run.current[a.page].Load()
		if err := run.c.Purge(Purge{URL: url}); err != nil {
			run.wrong("Purge() = %v", err)
		}
		raise(&run.written[a.page], version)
	case "wait":
		time.Sleep(time.Duration(1+client) * 11 * time.Minute)
	case "evict":
		at, _ := run.c.store.find([]byte(modelKey(a.page)), http.Header{"X-Lang": {a.lang}})
		if at.object != nil {
			run.c.store.publisher.submit(job{del: at.object})
		}
	case "snapshot":
		if err := run.c.Snapshot(io.Discard); err != nil {
			run.wrong("Snapshot() = %v", err)
		}
	}
}

// get compares what a GET brings. atLeast is the version that it has to have.
func (run *modelRun) get(a modelStep, url string, atLeast int64, headers ...string) {
	seen := &run.seen[a.page][strings.Index("de fr", a.lang)/3]
	if !run.evicts && (a.page != 2 || len(headers) > 0) { // of page 2 a stale copy may answer beside a fetch
		atLeast = max(atLeast, seen.Load())
	}
	got := do(run.h, "GET", url, append(headers, "X-Lang: "+a.lang, "Accept-Encoding: gzip")...)
	body, err := plainBody(got)
	version, _ := strconv.ParseInt(got.header.Get("X-Version"), 10, 64)
	want := modelPage(a.page, a.lang, version)
	if got.status != 200 || got.err != nil || err != nil || body != want {
		run.wrong("%v: %d %v %v, %d bytes %.30q, want %d of %.30q", a, got.status, got.err, err, len(body), body, len(want), want)
	}
	if version < atLeast {
		run.wrong("%v: version %d, want at least %d; %s", a, version, atLeast, got.cacheStatus())
	}
	if !strings.Contains(got.cacheStatus(), "; hit") {
		// What came is answered before the store shows it; till then an older fresh
		// one may be found there.
		for run.c.store.flights.countOf(modelKey(a.page)) > 0 {
			time.Sleep(time.Millisecond)
		}
	}
	raise(seen, version)
}

func modelKey(page int) string { return "\x00/http\x00/example.com\x00//" + strconv.Itoa(page) }

func plainBody(a answer) (string, error) {
	if a.header.Get("Content-Encoding") == "" {
		return a.body, nil
	}
	r, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), err
}
