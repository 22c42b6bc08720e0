package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// polyglot is an origin with few texts for many languages: it answers with the
// text of a language, or a 304 if the client has it, and notes what it was asked.
type polyglot struct {
	texts map[string]string // by language; "" is the others'
	weak  bool

	mu    sync.Mutex
	asked []string // If-None-Match of each request
	sent  []int
}

func (p *polyglot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	text, ok := p.texts[r.Header.Get("Accept-Language")]
	if !ok {
		text = p.texts[""]
	}
	tag := `"` + text + `"`
	if p.weak {
		tag = "W/" + tag
	}
	h := w.Header()
	h.Set("Etag", tag)
	h.Set("Vary", "Accept-Language")
	h.Set("Cache-Control", "max-age=60")
	h.Set("X-Serial", fmt.Sprint(len(p.asked)))
	match := r.Header.Get("If-None-Match")
	p.asked = append(p.asked, match)
	if strings.Contains(match, tag) {
		p.sent = append(p.sent, 304)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	p.sent = append(p.sent, 200)
	_, _ = w.Write([]byte(text))
}

func (p *polyglot) last() (asked string, sent int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1], p.sent[len(p.sent)-1]
}

// TestValidateVaryMiss is RFC 9111 sections 4.3.1, 4.3.3 and 4.3.4.
func TestValidateVaryMiss(t *testing.T) {
	for _, weak := range []bool{false, true} {
		t.Run(fmt.Sprint("weak ", weak), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{Observe: rec.observe})
				p := &polyglot{weak: weak, texts: map[string]string{"de": "Hallo", "en": "Hello", "": "Hello"}}
				h := c.Handler(p)
				do(h, "GET", "/", "Accept-Language: de")
				time.Sleep(2 * time.Second)
				do(h, "GET", "/", "Accept-Language: en")
				time.Sleep(30 * time.Second)
				a := do(h, "GET", "/", "Accept-Language: fr")
				if want := "holdfast; fwd=vary-miss; fwd-status=304; ttl=60; stored"; a.status != 200 || a.body != "Hello" || a.cacheStatus() != want {
					t.Errorf("got %d %q %q, want %q", a.status, a.body, a.cacheStatus(), want)
				}
				want := `"Hello", "Hallo"`
				if weak {
					want = `W/"Hello", W/"Hallo"`
				}
				if asked, sent := p.last(); asked != want || sent != 304 {
					t.Errorf("the origin was asked for %q and sent %d, want %s and 304", asked, sent, want)
				}
				if ev := rec.last(Served); ev.Outcome != Revalidated || !ev.Stored {
					t.Errorf("event %+v", ev)
				}
				synctest.Wait()
				if a := do(h, "GET", "/", "Accept-Language: fr"); a.body != "Hello" || a.cacheStatus() != "holdfast; hit; ttl=60" || a.header.Get("X-Serial") != "2" {
					t.Errorf("got %q %q %v, want a hit with the fields of the 304", a.body, a.cacheStatus(), a.header)
				}
				// What the tag names is updated, too.
				if a := do(h, "GET", "/", "Accept-Language: en"); a.body != "Hello" || a.cacheStatus() != "holdfast; hit; ttl=60" {
					t.Errorf("got %q %q, want it confirmed", a.body, a.cacheStatus())
				}
				if a := do(h, "GET", "/", "Accept-Language: de"); a.body != "Hallo" || a.cacheStatus() != "holdfast; hit; ttl=28" {
					t.Errorf("got %q %q, want the other text untouched", a.body, a.cacheStatus())
				}
				// Stale variants can be validated, too; their own is asked for alone.
				time.Sleep(2 * time.Minute)
				if a := do(h, "GET", "/", "Accept-Language: it"); a.body != "Hello" || !strings.Contains(a.cacheStatus(), "fwd-status=304") {
					t.Errorf("got %q %q", a.body, a.cacheStatus())
				}
				p.texts["it"] = "Ciao"
				time.Sleep(2 * time.Minute)
				if a := do(h, "GET", "/", "Accept-Language: it"); a.body != "Ciao" {
					t.Errorf("got %q", a.body)
				}
				if asked, sent := p.last(); strings.Contains(asked, "Hallo") || sent != 200 {
					t.Errorf("asked for %q, sent %d", asked, sent)
				}
			})
		})
	}
}

// TestValidateVaryMissRefused: a 304 that names none of ours is asked again,
// without conditions.
func TestValidateVaryMissRefused(t *testing.T) {
	for _, tag := range []string{"", `"other"`, `W/"a"`, `a`, `"a", "b"`, "*"} {
		t.Run(tag, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(page(200, "a", "Cache-Control: max-age=60", "Vary: Accept-Language", `Etag: "a"`))
			h := c.Handler(o)
			do(h, "GET", "/", "Accept-Language: de")
			settled(t, c)
			var asked []string
			o.set(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.Header.Get("If-None-Match"))
				w.Header().Set("Vary", "Accept-Language")
				w.Header().Set("Cache-Control", "max-age=60")
				if r.Header.Get("If-None-Match") != "" {
					if tag != "" {
						w.Header().Set("Etag", tag)
					}
					w.WriteHeader(http.StatusNotModified)
					return
				}
				_, _ = w.Write([]byte("fetched"))
			})
			a := do(h, "GET", "/", "Accept-Language: fr")
			want, body := []string{`"a"`, ""}, "fetched"
			if tag == `W/"a"` {
				want, body = want[:1], "a" // by weak comparison it is ours
			}
			if a.status != 200 || a.body != body || !slices.Equal(asked, want) {
				t.Errorf("got %d %q, the origin was asked %q; want %q, %q", a.status, a.body, asked, body, want)
			}
			settled(t, c)
			if a := do(h, "GET", "/", "Accept-Language: fr"); a.body != body || !strings.Contains(a.cacheStatus(), "hit") {
				t.Errorf("got %q %q, want a hit", a.body, a.cacheStatus())
			}
			if a := do(h, "GET", "/", "Accept-Language: de"); a.body != "a" {
				t.Errorf("de got %q, want a", a.body)
			}
		})
	}
}

// TestValidateVaryMissFails: another variant is no stale copy of this one.
func TestValidateVaryMissFails(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"own":     failing(failure.New(failure.ConnectionRefused, nil)),
		"foreign": page(503, "down"),
		"aborts":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t, Config{})
			p := &polyglot{texts: map[string]string{"": "Hello"}}
			o := newOrigin(p.ServeHTTP)
			h := c.Handler(o)
			do(h, "GET", "/", "Accept-Language: de")
			settled(t, c)
			o.set(answer)
			if a := do(h, "GET", "/", "Accept-Language: fr"); a.err == nil && a.status < 500 || a.body == "Hello" {
				t.Errorf("got %d %q, want the failure", a.status, a.body)
			}
			settled(t, c)
			if a := do(h, "GET", "/", "Accept-Language: de"); a.body != "Hello" || !strings.Contains(a.cacheStatus(), "hit") {
				t.Errorf("got %q %q, want its own variant", a.body, a.cacheStatus())
			}
		})
	}
}

// TestValidateVaryMissInvalidated: what was invalidated is not asked about.
func TestValidateVaryMissInvalidated(t *testing.T) {
	c := newCache(t, Config{})
	p := &polyglot{texts: map[string]string{"": "Hello"}}
	h := c.Handler(p)
	do(h, "GET", "/", "Accept-Language: de")
	settled(t, c)
	do(h, "POST", "/")
	do(h, "GET", "/", "Accept-Language: fr")
	if asked, sent := p.last(); asked != "" || sent != 200 {
		t.Errorf("asked for %q, sent %d; want a plain fetch", asked, sent)
	}
}

// TestValidateVaryMissPurgedMeanwhile: what a validation in flight brings is not
// stored any more.
func TestValidateVaryMissPurgedMeanwhile(t *testing.T) {
	c := newCache(t, Config{})
	p := &polyglot{texts: map[string]string{"": "Hello"}}
	o := newOrigin(p.ServeHTTP)
	h := c.Handler(o)
	do(h, "GET", "/", "Accept-Language: de")
	settled(t, c)
	o.set(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			do(h, "POST", "/")
		}
		p.ServeHTTP(w, r)
	})
	do(h, "GET", "/", "Accept-Language: fr")
	settled(t, c)
	o.set(p.ServeHTTP)
	for _, lang := range []string{"fr", "de"} {
		if a := do(h, "GET", "/", "Accept-Language: "+lang); a.body != "Hello" || strings.Contains(a.cacheStatus(), "hit") {
			t.Errorf("%s got %q %q, want a fetch", lang, a.body, a.cacheStatus())
		}
	}
}

// TestValidateVaryMissCoding: an origin that gives a page and its compressed form
// one tag does not make us send what a client can't read.
func TestValidateVaryMissCoding(t *testing.T) {
	for _, tag := range []string{`W/"a"`, `"a"`} {
		c := newCache(t, Config{})
		o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", tag)
			w.Header().Set("Vary", "Accept-Encoding")
			w.Header().Set("Cache-Control", "max-age=60")
			if strings.Contains(r.Header.Get("If-None-Match"), tag) {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			body := "plain"
			if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
				w.Header().Set("Content-Encoding", "gzip")
				body = "squeezed"
			}
			_, _ = w.Write([]byte(body))
		})
		h := c.Handler(o)
		do(h, "GET", "/", "Accept-Encoding: gzip")
		settled(t, c)
		for _, tt := range []struct{ field, want string }{
			{"br", "plain"}, {"", "plain"}, {"gzip;q=0", "plain"}, {"identity, gzip;q=0.1", "plain"}, {"gzip, br", "plain"}, {"x-gzip, identity;q=0", "squeezed"},
		} {
			var headers []string
			if tt.field != "" {
				headers = []string{"Accept-Encoding: " + tt.field}
			}
			a := do(h, "GET", "/", headers...)
			settled(t, c)
			readable := strings.Contains(tt.field, "gzip") && !strings.Contains(tt.field, "gzip;q=0,") && tt.field != "gzip;q=0"
			if a.body == "squeezed" && (!readable || a.header.Get("Content-Encoding") != "gzip") || a.body != "squeezed" && a.body != "plain" {
				t.Errorf("%q got %q, coded %q", tt.field, a.body, a.header.Get("Content-Encoding"))
			}
		}
	}
}

// TestValidateVaryMissBounds: at most 16 tags and 1 kB, those used last first,
// each once, and no others than entity tags.
func TestValidateVaryMissBounds(t *testing.T) {
	for _, tt := range []struct {
		size, want int
	}{{3, 16}, {100, 9}, {2000, 0}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCache(t, Config{})
			asked := ""
			o := newOrigin(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Header.Get("If-None-Match")
				lang := r.Header.Get("Accept-Language")
				page(200, lang, "Cache-Control: max-age=6000", "Vary: Accept-Language", "Etag: "+lang)(w, r)
			})
			h := c.Handler(o)
			tag := func(i int) string { return fmt.Sprintf(`"%0*d"`, tt.size, i) }
			for i := range 30 {
				do(h, "GET", "/", "Accept-Language: "+tag(i))
				time.Sleep(2 * time.Second)
			}
			do(h, "GET", "/", "Accept-Language: unquoted")
			do(h, "GET", "/", "Accept-Language: "+tag(5)) // a hit
			synctest.Wait()
			do(h, "GET", "/", "Accept-Language: xx")
			tags := strings.Split(asked, ", ")
			if asked == "" {
				tags = nil
			}
			if len(tags) != tt.want || len(asked) > maxOthersTags || len(tags) > 0 && tags[0] != tag(5) || len(tags) > 1 && tags[1] != tag(29) {
				t.Errorf("size %d: asked with %d tags, %d bytes: %q", tt.size, len(tags), len(asked), asked)
			}
		})
	}
}

// TestValidateVaryMissHerd: those who wait for a validation of their variant get
// what it confirms.
func TestValidateVaryMissHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{})
		p := &polyglot{texts: map[string]string{"": "Hello", "de": "Hallo"}}
		o := newOrigin(p.ServeHTTP)
		h := c.Handler(o)
		do(h, "GET", "/", "Accept-Language: en")
		synctest.Wait()
		o.calls.Store(0)
		o.set(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			p.ServeHTTP(w, r)
		})
		langs := []string{"fr", "it", "de"}
		for i, a := range herd(30, func(i int) answer { return do(h, "GET", "/", "Accept-Language: "+langs[i%3]) }) {
			if want := []string{"Hello", "Hello", "Hallo"}[i%3]; a.status != 200 || a.body != want {
				t.Errorf("%s got %d %q, want %q", langs[i%3], a.status, a.body, want)
			}
		}
		if n := o.calls.Load(); n != 3 {
			t.Errorf("%d fetches, want 3", n)
		}
	})
}

// TestValidateVaryMissPrivate: a 304 that makes the response one client's own
// stores nothing.
func TestValidateVaryMissPrivate(t *testing.T) {
	c := newCache(t, Config{})
	p := &polyglot{texts: map[string]string{"": "Hello"}}
	o := newOrigin(p.ServeHTTP)
	h := c.Handler(o)
	do(h, "GET", "/", "Accept-Language: de")
	settled(t, c)
	o.set(page(304, "", `Etag: "Hello"`, "Cache-Control: private", "Vary: Accept-Language"))
	if a := do(h, "GET", "/", "Accept-Language: fr"); a.status != 200 || a.body != "Hello" || strings.Contains(a.cacheStatus(), "stored") {
		t.Errorf("got %d %q %q", a.status, a.body, a.cacheStatus())
	}
	settled(t, c)
	o.set(p.ServeHTTP)
	if a := do(h, "GET", "/", "Accept-Language: fr"); strings.Contains(a.cacheStatus(), "hit") {
		t.Errorf("got %q, want no hit", a.cacheStatus())
	}
}
