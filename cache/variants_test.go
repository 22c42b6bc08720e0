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
