package cache

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// answerWith makes the next answer of o, age seconds old, with a Vary where it
// is not "".
func answerWith(o *origin, body, vary string, age int, headers ...string) {
	date := semantics.FormatDate(time.Now().Add(-time.Duration(age) * time.Second))
	lines := append([]string{"Cache-Control: max-age=600", "Date: " + date}, headers...)
	if vary != "" {
		lines = append(lines, "Vary: "+vary)
	}
	o.set(page(200, body, lines...))
}

// TestMostRecent is RFC 9111 section 4: of several responses that match, the
// most recent one by its Date is used.
func TestMostRecent(t *testing.T) {
	type step struct {
		vary string
		age  int
		req  string // its fields: A1,B2
	}
	for _, tt := range []struct {
		name  string
		steps []step // answers 0, 1, ...
		want  map[string]string
	}{
		{"no Vary, then Vary", []step{{"", 20, "A1"}, {"A", 10, "A1"}}, map[string]string{"A1": "1", "A2": "0", "": "0"}},
		{"Vary, then none", []step{{"A", 20, "A1"}, {"", 10, "A1"}}, map[string]string{"A1": "1", "A2": "1", "": "1"}},
		{"Vary, then none but older", []step{{"A", 10, "A1"}, {"", 20, "A2"}}, map[string]string{"A1": "0", "A2": "1", "": "1"}},
		{"none, then Vary but older", []step{{"", 10, "A1"}, {"A", 20, "A2,X1"}}, map[string]string{"A1": "0", "A2": "1"}},
		{"A, then B", []step{{"A", 20, "A1,B1"}, {"B", 10, "A1,B1"}}, map[string]string{"A1,B1": "1", "A1,B2": "0", "A2,B1": "1", "A2,B2": "miss"}},
		{"A, then B but older", []step{{"A", 10, "A1,B1"}, {"B", 20, "A2,B1"}}, map[string]string{"A1,B1": "0", "A1,B2": "0", "A2,B1": "1", "A2,B2": "miss"}},
		{"A and B, then A", []step{{"A, B", 20, "A1,B1"}, {"A", 10, "A1,B2"}}, map[string]string{"A1,B1": "1", "A1,B2": "1", "A2,B1": "miss"}},
		{"A, then A and B", []step{{"A", 20, "A1,B1"}, {"A,B", 10, "A1,B1"}}, map[string]string{"A1,B1": "1", "A1,B2": "0"}},
		{"in one second the later request", []step{{"A", 10, "A1,B1"}, {"B", 10, "A2,B1"}, {"", 10, "A3,B3"}}, map[string]string{"A1,B1": "2", "A2,B2": "2"}},
		{"none, A, B, none", []step{{"", 40, ""}, {"A", 30, "A1"}, {"B", 20, "B1"}, {"", 25, "A9"}}, map[string]string{"A1": "3", "B1": "2", "A1,B1": "2", "": "3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(nil)
			h := c.Handler(o)
			for i, s := range tt.steps {
				answerWith(o, fmt.Sprint(i), s.vary, s.age)
				// Past what is there, as it is after an expiry.
				do(h, "GET", "/", append(linesOf(s.req), "Cache-Control: no-cache")...)
				settled(t, c)
			}
			o.set(page(200, "miss", "Cache-Control: no-store"))
			for req, want := range tt.want {
				a := do(h, "GET", "/", linesOf(req)...)
				if a.body != want || want != "miss" && !strings.Contains(a.cacheStatus(), "hit") {
					t.Errorf("%q got %q, %q; want %s", req, a.body, a.cacheStatus(), want)
				}
			}
		})
	}
}

// linesOf makes headers of "A1,B2".
func linesOf(req string) (headers []string) {
	for f := range strings.SplitSeq(req, ",") {
		if f != "" {
			headers = append(headers, f[:1]+": "+f[1:])
		}
	}
	return headers
}

// TestErrorBesideVariants: an error of the server's without Vary is no answer to
// those who have one of their own.
func TestErrorBesideVariants(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(tongue)
	h := c.Handler(o)
	do(h, "GET", "/", "Accept-Language: de")
	settled(t, c)
	o.set(page(503, "down", "Cache-Control: max-age=10"))
	do(h, "GET", "/", "Accept-Language: fr")
	settled(t, c)
	if a := do(h, "GET", "/", "Accept-Language: de"); a.status != 200 || a.body != "in de" {
		t.Errorf("got %d %q, want the variant", a.status, a.body)
	}
	if a := do(h, "GET", "/", "Accept-Language: it"); a.status != 503 || o.calls.Load() != 2 {
		t.Errorf("got %d after %d fetches, want the stored error", a.status, o.calls.Load())
	}
	o.set(tongue)
	do(h, "GET", "/", "Accept-Language: it", "Cache-Control: no-cache")
	settled(t, c)
	if a := do(h, "GET", "/", "Accept-Language: it"); a.body != "in it" || !strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("got %d %q %q, want a hit", a.status, a.body, a.cacheStatus())
	}
}

// TestClockSetBack: an answer that took another's place is the more recent one,
// whatever its Date says.
func TestClockSetBack(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(nil)
	h := c.Handler(o)
	answerWith(o, "old", "A", 0, `Etag: "a"`)
	do(h, "GET", "/", "A: 1", "B: 1")
	settled(t, c)
	answerWith(o, "new", "B", 3600, `Etag: "b"`, "Cdn-Cache-Control: max-age=9000")
	do(h, "GET", "/", "A: 1", "B: 1", "Cache-Control: no-cache")
	settled(t, c)
	for range 3 {
		if a := do(h, "GET", "/", "A: 1", "B: 1"); a.body != "new" || !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("got %q %q, want a hit on the new one", a.body, a.cacheStatus())
		}
	}
}

// TestRemovedBesideVariants: what the origin took away goes, from wherever it
// stands.
func TestRemovedBesideVariants(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(nil)
	h := c.Handler(o)
	answerWith(o, "plain", "", 20)
	do(h, "GET", "/")
	settled(t, c)
	answerWith(o, "varied", "A", 10)
	do(h, "GET", "/", "A: 1", "Cache-Control: no-cache")
	settled(t, c)
	o.set(page(404, "gone"))
	do(h, "GET", "/", "A: 2", "Cache-Control: no-cache")
	settled(t, c)
	if a := do(h, "GET", "/", "A: 2"); a.status != 404 {
		t.Errorf("got %d %q, want what the origin says", a.status, a.body)
	}
	if a := do(h, "GET", "/", "A: 1"); a.body != "varied" {
		t.Errorf("got %q, want the other variant", a.body)
	}
}

// TestSelectionModel compares with a search through all that was stored, whatever
// came in one batch.
func TestSelectionModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := NewStore(StoreConfig{MemoryBytes: 4 << 20})
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		c := &Cache{store: s, cfg: Config{MaxVariants: defaultVariants}}
		base := time.Now().Truncate(time.Second)
		var all []*object
		header := func(a, b int) http.Header {
			h := http.Header{}
			if a > 0 {
				h["A"] = []string{fmt.Sprint(a)}
			}
			if b > 0 {
				h["B"] = []string{fmt.Sprint(b)}
			}
			return h
		}
		reqs := map[*object]http.Header{}
		small := rapid.IntRange(0, 2)
		n := rapid.IntRange(1, 12).Draw(rt, "n")
		var wg sync.WaitGroup
		for i := range n {
			h := http.Header{"Date": {semantics.FormatDate(base.Add(-time.Duration(rapid.IntRange(0, 4).Draw(rt, "age")) * time.Second))}}
			if v := rapid.SampledFrom([]string{"", "A", "B", "A, B"}).Draw(rt, "vary"); v != "" {
				h["Vary"] = []string{v}
			}
			req := header(small.Draw(rt, "a"), small.Draw(rt, "b"))
			f := &fill{cache: c, primary: "p", reqHeader: req, version: uint64(i + 1)}
			o := newObject(f, 200, h, nil, 0, nil, semantics.Response{Received: base, Lifetime: time.Hour}, nil)
			all, reqs[o] = append(all, o), req
		}
		for len(all) > 0 { // handed over in batches
			k := min(rapid.IntRange(1, n).Draw(rt, "batch"), len(all))
			jobs := make([]job, 0, k)
			for _, o := range all[:k] {
				wg.Add(1)
				jobs = append(jobs, job{put: o, keep: time.Hour, done: func(putResult) { wg.Done() }})
			}
			s.publisher.mu.Lock()
			s.publisher.queue = append(s.publisher.queue, jobs...)
			s.publisher.mu.Unlock()
			s.publisher.nudge()
			wg.Wait()
			all = all[k:]
		}
		for a := range 3 {
			for b := range 3 {
				h := header(a, b)
				var want *object
				latest := map[string]*object{} // of one key the later one is there
				for o, req := range reqs {
					key := fmt.Sprint(o.vary, string(semantics.AppendVariant(nil, o.vary, req)))
					if old := latest[key]; old == nil || o.version > old.version {
						latest[key] = o
					}
				}
				for _, o := range latest {
					if sameVariant(o.vary, reqs[o], h) && (want == nil || orderOf(o).after(orderOf(want))) {
						want = o
					}
				}
				got, _ := s.find([]byte("p"), h)
				if got.object != want && !excused(want, reqs) {
					rt.Fatalf("%v: got %+v, want %+v", h, describe(got.object), describe(want))
				}
				if got.object != nil && !sameVariant(got.object.vary, reqs[got.object], h) {
					rt.Fatalf("%v: got %+v, which does not match", h, describe(got.object))
				}
			}
		}
	})
}

// excused: what a later response to all requests hid when it came, or from then
// on, is not kept for the case that an older one takes that one's place.
func excused(want *object, reqs map[*object]http.Header) bool {
	for o := range reqs {
		if want != nil && len(o.vary) == 0 && orderOf(o).after(orderOf(want)) {
			return true
		}
	}
	return false
}

func describe(o *object) string {
	if o == nil {
		return "nothing"
	}
	return fmt.Sprintf("vary %q date %d version %d", o.vary, o.date, o.version)
}

// TestVaryUnderTraffic: while Vary changes with every answer, variants come and
// go and the URL is purged, nobody gets what does not match.
func TestVaryUnderTraffic(t *testing.T) {
	c := newCache(t, Config{MaxVariants: 3, MemoryBytes: 1 << 20})
	var calls atomic.Int64
	h := c.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := calls.Add(1)
		vary := []string{"A", "B", "A, B", "", "B, C"}[n%5]
		body := ""
		for name := range strings.SplitSeq(vary, ", ") {
			if name != "" {
				body += name + r.Header.Get(name) + ","
			}
		}
		// A tag says what the body does; half of the answers confirm it.
		tag := fmt.Sprintf("%q", body)
		w.Header().Set("Etag", tag)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", vary)
		if vary == "" {
			w.Header().Del("Vary")
		}
		if n%2 == 0 && strings.Contains(r.Header.Get("If-None-Match"), tag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				req := map[string]string{"A": fmt.Sprint((i + g) % 3), "B": fmt.Sprint(i % 4), "C": fmt.Sprint(i % 2)}
				method, url := "GET", fmt.Sprint("/", i%2)
				if i%50 == g {
					method = "POST"
				}
				headers := []string{"A: " + req["A"], "B: " + req["B"], "C: " + req["C"]}
				if i%7 == 0 {
					headers = append(headers, "Cache-Control: no-cache")
				}
				a := do(h, method, url, headers...)
				if a.status != 200 {
					t.Errorf("%s %v got %d", method, req, a.status)
				}
				for part := range strings.SplitSeq(a.body, ",") {
					if part != "" && req[part[:1]] != part[1:] {
						t.Errorf("%v got %q, %q", req, a.body, a.cacheStatus())
					}
				}
			}
		})
	}
	wg.Wait()
	settled(t, c)
	for _, path := range []string{"/0", "/1"} {
		if rec := c.store.shelf.get([]byte(keyOf(c, path))); rec != nil && rec.index != nil && len(rec.index.variants) > 3 {
			t.Errorf("%s has %d variants, want at most 3", path, len(rec.index.variants))
		}
	}
}
