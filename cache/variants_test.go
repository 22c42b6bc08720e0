package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tongue answers in the language asked for.
func tongue(w http.ResponseWriter, r *http.Request) {
	page(200, "in "+r.Header.Get("Accept-Language"), "Cache-Control: max-age=60", "Vary: Accept-Language")(w, r)
}

func TestVary(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(tongue)
	h := c.Handler(o)
	for round, want := range []string{"fwd=", "hit"} {
		for _, lang := range []string{"de", "en", ""} {
			var headers []string
			if lang != "" {
				headers = []string{"Accept-Language: " + lang}
			}
			a := do(h, "GET", "/", headers...)
			if a.body != "in "+lang || !strings.Contains(a.cacheStatus(), want) {
				t.Errorf("round %d, %q: %q %q, want %s", round, lang, a.body, a.cacheStatus(), want)
			}
			settled(t, c)
		}
	}
	if a := do(h, "GET", "/", "Accept-Language: fr"); !strings.Contains(a.cacheStatus(), "fwd=vary-miss") {
		t.Errorf("Cache-Status = %q, want a vary-miss", a.cacheStatus())
	}
	settled(t, c)
	do(h, "POST", "/")
	if a := do(h, "GET", "/", "Accept-Language: de"); strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("a variant survived an invalidation: %q", a.cacheStatus())
	}
}

// TestVaryCap: the variants used least recently go.
func TestVaryCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		h := c.Handler(newOrigin(tongue))
		for i := range defaultVariants * 2 {
			do(h, "GET", "/", fmt.Sprint("Accept-Language: l", i))
			do(h, "GET", "/", "Accept-Language: l0")
			time.Sleep(time.Second / 4)
		}
		if a := do(h, "GET", "/", "Accept-Language: l0"); !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("the variant in use was dropped: %q", a.cacheStatus())
		}
		ix := c.store.shelf.get([]byte(keyOf(c, "/"))).index
		if len(ix.variants) != defaultVariants {
			t.Errorf("%d variants, want %d", len(ix.variants), defaultVariants)
		}
		if a := do(h, "GET", "/", "Accept-Language: l1"); strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("the oldest variant is there: %q", a.cacheStatus())
		}
	})
}

// TestVaryHerd: followers of other variants do not wait for each other.
func TestVaryHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			tongue(w, r)
		})
		h := c.Handler(o)
		start := time.Now()
		for i, a := range herd(30, func(i int) answer { return do(h, "GET", "/", fmt.Sprint("Accept-Language: l", i%10)) }) {
			if want := fmt.Sprint("in l", i%10); a.body != want {
				t.Errorf("got %q, want %q", a.body, want)
			}
		}
		if n, took := o.calls.Load(), time.Since(start); n != 10 || took > 2*time.Second {
			t.Errorf("%d fetches in %v, want 10 in 2s", n, took)
		}
	})
}

// TestVaryChanges: an origin that sends other Vary fields with other answers.
func TestVaryChanges(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(nil)
	h := c.Handler(o)
	for i := range 6 {
		o.set(page(200, fmt.Sprint("v", i), "Cache-Control: max-age=60", fmt.Sprint("Vary: X-", i)))
		do(h, "GET", "/", "Cache-Control: no-cache", fmt.Sprintf("X-%d: a", i))
		settled(t, c)
	}
	ix := c.store.shelf.get([]byte(keyOf(c, "/"))).index
	if len(ix.sets) != maxVarySets || len(ix.variants) != maxVarySets {
		t.Errorf("%d sets, %d variants; want %d", len(ix.sets), len(ix.variants), maxVarySets)
	}
	if a := do(h, "GET", "/", "X-5: a"); a.body != "v5" || !strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("got %q %q, want a hit on v5", a.body, a.cacheStatus())
	}
	o.set(page(200, "plain", "Cache-Control: max-age=60"))
	do(h, "GET", "/", "Cache-Control: no-cache", "X-5: a")
	settled(t, c)
	if a := do(h, "GET", "/", "X-9: a"); a.body != "plain" || !strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("got %q %q, want a hit on what no longer varies", a.body, a.cacheStatus())
	}
}

// TestVaryStar is never stored.
func TestVaryStar(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(page(200, "x", "Cache-Control: max-age=60", "Vary: *"))
	h := c.Handler(o)
	do(h, "GET", "/")
	settled(t, c)
	if a := do(h, "GET", "/"); o.calls.Load() != 2 || !strings.Contains(a.cacheStatus(), "detail=vary_star") {
		t.Errorf("%d fetches, %q", o.calls.Load(), a.cacheStatus())
	}
}

// TestMaxVariants: of a URL that varies by what is different each time no more
// is kept, it is told, and what is in use stays.
func TestMaxVariants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newCache(t, Config{MaxVariants: 4, Observe: rec.observe})
		o := newOrigin(page(200, "x", "Cache-Control: max-age=6000", "Vary: Cookie"))
		h := c.Handler(o)
		do(h, "GET", "/other", "Cookie: a")
		for i := range 20 {
			do(h, "GET", "/", fmt.Sprint("Cookie: ", i, strings.Repeat("x", 100_000)))
			synctest.Wait()
			want := ""
			if i > 6 { // the fourth that had to go went for 6, whose own event may come before
				want = detailVariantLimit
			}
			if ev := rec.last(FillDone); i != 6 && ev.Detail != want || !ev.Stored {
				t.Errorf("%d: %+v, want detail %q", i, ev, want)
			}
			time.Sleep(2 * time.Second)
			if a := do(h, "GET", "/", "Cookie: "+"keep"); i > 0 && !strings.Contains(a.cacheStatus(), "hit") {
				t.Errorf("%d: what is in use is not a hit: %q", i, a.cacheStatus())
			}
			synctest.Wait()
		}
		at := c.store.shelf.get([]byte(keyOf(c, "/")))
		if n, cost := len(at.index.variants), at.cost; n != 4 || cost > 4096 {
			t.Errorf("%d variants, a cost of %d; want 4 and little", n, cost)
		}
		if st := c.store.Stats(); st.EntryBytes > 16<<10 {
			t.Errorf("%+v: what had to go is still there", st)
		}
		if a := do(h, "GET", "/other", "Cookie: a"); !strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("another URL's variant is gone: %q", a.cacheStatus())
		}
	})
}

// TestLongVariants: what is too long for a key still is told apart to the last
// byte.
func TestLongVariants(t *testing.T) {
	c := newCache(t, Config{})
	o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
		c := r.Header.Get("Cookie")
		page(200, c[max(len(c)-1, 0):], "Cache-Control: max-age=60", "Vary: Cookie")(w, r)
	})
	h := c.Handler(o)
	for _, size := range []int{1, maxVariantKey - 10, maxVariantKey, 4000} {
		long := strings.Repeat("a", size)
		for range 2 {
			for _, last := range []string{"b", "c"} {
				if a := do(h, "GET", "/", "Cookie: "+long+last); a.body != last {
					t.Errorf("%d bytes: got %q, want %q", size, a.body, last)
				}
				settled(t, c)
			}
		}
	}
	if n := o.calls.Load(); n != 8 {
		t.Errorf("%d fetches, want 8", n)
	}
}

// TestVaryNamesBound: an origin that varies by everything under the sun.
func TestVaryNamesBound(t *testing.T) {
	c := newCache(t, Config{})
	names := make([]string, 33)
	for i := range names {
		names[i] = fmt.Sprint("X-", i)
	}
	o := newOrigin(page(200, "x", "Cache-Control: max-age=60", "Vary: "+strings.Join(names, ", ")))
	h := c.Handler(o)
	for range 2 {
		do(h, "GET", "/")
		settled(t, c)
	}
	if n := o.calls.Load(); n != 2 {
		t.Errorf("%d fetches, want 2", n)
	}
}

// TestVaryForms: lines, empty members, case, and what is no name (RFC 9110
// section 12.5.5).
func TestVaryForms(t *testing.T) {
	for _, tt := range []struct {
		vary   []string
		stored bool
	}{
		{[]string{"A, B"}, true},
		{[]string{"A", "B"}, true},
		{[]string{"a,,b,"}, true},
		{[]string{" b ,\tA", ""}, true},
		{[]string{"A, B, a"}, true},
		{[]string{"A, *"}, false},
		{[]string{"A", "*"}, false},
		{[]string{"", ", *,"}, false},
		{[]string{"A B"}, false},
		{[]string{"A;B"}, false},
		{[]string{`"A"`}, false},
		{[]string{"A, B\u00e9"}, false},
	} {
		c := newCache(t, Config{})
		o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Vary"] = tt.vary
			w.Header().Set("Cache-Control", "max-age=60")
			_, _ = fmt.Fprint(w, r.Header.Get("A"), r.Header.Get("B"))
		})
		h := c.Handler(o)
		for _, req := range []string{"A1,B1", "A1,B2", "A2,B1"} {
			for round := range 2 {
				a := do(h, "GET", "/", linesOf(req)...)
				settled(t, c)
				if want := strings.NewReplacer("A", "", "B", "", ",", "").Replace(req); a.body != want {
					t.Errorf("Vary %q: %s got %q, want %q", tt.vary, req, a.body, want)
				}
				if hit := strings.Contains(a.cacheStatus(), "hit"); hit != (tt.stored && round == 1) {
					t.Errorf("Vary %q: %s, round %d: %q", tt.vary, req, round, a.cacheStatus())
				}
			}
		}
	}
}
