package cache

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/failure"
)

// newsroom answers with the path, a count of its calls, and tags.
func newsroom() *origin {
	var o *origin
	o = newOrigin(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Etag", fmt.Sprintf(`"%d"`, o.calls.Load()))
		switch {
		case strings.HasPrefix(r.URL.Path, "/news"):
			w.Header().Set("Surrogate-Key", "news all")
		case strings.HasPrefix(r.URL.Path, "/sports"):
			w.Header().Set("Cache-Tag", "sports, all")
		case r.URL.Path == "/vary":
			w.Header().Set("Vary", "Accept-Language")
		case r.URL.Path == "/many":
			for i := range 200 {
				w.Header().Add("Cache-Tag", fmt.Sprint("tag", i))
			}
		}
		_, _ = io.WriteString(w, fmt.Sprint(r.URL, " ", o.calls.Load()))
	})
	return o
}

// TestPurge: of what is stored goes what is named, and no more.
func TestPurge(t *testing.T) {
	urls := []string{
		"http://example.com/news/a?utm_source=x&q=1", "http://example.com/newsletter", "http://example.com/sports", "http://example.com/vary",
		"http://example.com/many", "http://example.com/%7Euser/%2f", "https://example.com/sports", "http://example.com:8080/sports", "http://other.example./sports",
	}
	const newsA, newsletter, sports, vary, many, user, secure, port, dot = "0", "1", "2", "3", "4", "5", "6", "7", "8"
	for _, tt := range []struct {
		name  string
		purge Purge
		want  string
	}{
		{"URL", Purge{URL: "http://example.com/sports"}, sports},
		{"URL, in upper case and with the port", Purge{URL: "HTTP://EXAMPLE.com:80/sports"}, sports},
		{"URL, its query as in keys", Purge{URL: "http://example.com/news/a?q=1&utm_medium=y"}, newsA},
		{"URL, another query", Purge{URL: "http://example.com/news/a"}, ""},
		{"URL, all variants", Purge{URL: "http://example.com/vary"}, vary},
		{"URL, another spelling of its escapes", Purge{URL: "http://example.com/~user/%2F"}, user},
		{"URL, not stored", Purge{URL: "http://example.com/"}, ""},
		{"prefix", Purge{Prefix: "http://example.com/news"}, newsA + newsletter},
		{"prefix with a slash", Purge{Prefix: "http://example.com/news/"}, newsA},
		{"prefix, another spelling", Purge{Prefix: "http://example.com/~user/"}, user},
		{"prefix without a path", Purge{Prefix: "https://example.com"}, secure},
		{"host", Purge{Host: "example.com"}, newsA + newsletter + sports + vary + many + user + secure},
		{"host with a port", Purge{Host: "EXAMPLE.com:8080"}, port},
		{"host, default port", Purge{Host: "example.com:443"}, newsA + newsletter + sports + vary + many + user + secure},
		{"host with a dot or without", Purge{Host: "other.example"}, dot},
		{"tag of Surrogate-Key", Purge{Tag: "news"}, newsA + newsletter + many},
		{"tag of Cache-Tag", Purge{Tag: "sports"}, sports + many + secure + port + dot},
		{"tag of both", Purge{Tag: "all"}, newsA + newsletter + sports + many + secure + port + dot},
		{"tag, case counts", Purge{Tag: "News"}, many},
		{"a tag beyond the bound", Purge{Tag: "tag199"}, many},
		{"all", Purge{All: true}, "012345678"},
	} {
		for _, soft := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, ", soft ", soft), func(t *testing.T) {
				rec := &recorder{}
				c := newCache(t, Config{
					Key:     Key{QueryIgnore: []string{"utm_*"}, SortQuery: true},
					Scheme:  func(r *http.Request) string { return r.URL.Scheme },
					Observe: rec.observe,
				})
				o := newsroom()
				h := c.Handler(o)
				before := make([]string, len(urls))
				for i, url := range urls {
					before[i] = do(h, "GET", url, "Accept-Language: en").body
				}
				settled(t, c)
				tt.purge.Soft = soft
				if err := c.Purge(tt.purge); err != nil {
					t.Fatal(err)
				}
				if ev := rec.last(Purged); ev.Detail == "" || ev.Soft != soft {
					t.Errorf("event = %+v", ev)
				}
				got := ""
				for i, url := range urls {
					if a := do(h, "GET", url, "Accept-Language: en"); a.body != before[i] {
						got += fmt.Sprint(i)
						if fwd := map[bool]string{false: "-miss", true: "stale"}[soft]; !strings.Contains(a.cacheStatus(), fwd) {
							t.Errorf("%s: Cache-Status = %s, want %s", url, a.cacheStatus(), fwd)
						}
					}
				}
				if got != tt.want {
					t.Errorf("purged %q, want %q", got, tt.want)
				}
				settled(t, c)
				for _, url := range urls {
					if a := do(h, "GET", url, "Accept-Language: en"); !strings.Contains(a.cacheStatus(), "hit") {
						t.Errorf("%s again: Cache-Status = %s, want a hit", url, a.cacheStatus())
					}
				}
			})
		}
	}
}

// TestSoftPurgeLadder: softly purged content answers only where a refresh
// fails, and not where the origin forbids stale answers.
func TestSoftPurgeLadder(t *testing.T) {
	for _, tt := range []struct {
		name, control string
		wantStale     bool
	}{
		{"fresh", "max-age=60", true},
		{"no stale-while-revalidate", "max-age=60, stale-while-revalidate=600", true},
		{"must-revalidate", "max-age=60, must-revalidate", false},
		{"s-maxage", "s-maxage=60", false},
		{"a window of its own", "s-maxage=60, stale-if-error=10", true},
		{"no window", "max-age=60, stale-if-error=0", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(page(200, "one", "Cache-Control: "+tt.control))
			h := c.Handler(o)
			do(h, "GET", "http://example.com/")
			settled(t, c)
			if err := c.Purge(Purge{URL: "http://example.com/", Soft: true}); err != nil {
				t.Fatal(err)
			}
			o.set(failing(failure.New(failure.ConnectionRefused, nil)))
			calls := o.calls.Load()
			a := do(h, "GET", "http://example.com/")
			if (a.body == "one") != tt.wantStale || o.calls.Load() == calls {
				t.Errorf("with the origin down: %d %q, want stale %t after an attempt", a.status, a.body, tt.wantStale)
			}
			if tt.wantStale && !strings.Contains(a.cacheStatus(), "ttl=0") {
				t.Errorf("Cache-Status = %s, want ttl=0", a.cacheStatus())
			}
			if a := do(h, "GET", "http://example.com/", "Cache-Control: only-if-cached"); a.status != http.StatusGatewayTimeout {
				t.Errorf("only-if-cached: %d, want 504", a.status)
			}
		})
	}
}

// TestPurgeNamespace: of two caches on one store one does not purge the other's.
func TestPurgeNamespace(t *testing.T) {
	store, err := NewStore(StoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	one, two := newCache(t, Config{Store: store, Namespace: "one"}), newCache(t, Config{Store: store, Namespace: "two"})
	o := newsroom()
	h1, h2 := one.Handler(o), two.Handler(o)
	for _, p := range []Purge{{URL: "http://example.com/news"}, {Prefix: "http://example.com/"}, {Host: "example.com"}, {Tag: "news"}, {All: true}} {
		do(h1, "GET", "/news")
		do(h2, "GET", "/news")
		settled(t, one)
		if err := one.Purge(p); err != nil {
			t.Fatal(err)
		}
		if a := do(h2, "GET", "/news"); !strings.Contains(a.cacheStatus(), "; hit") {
			t.Errorf("%+v of one: two answers %s", p, a.cacheStatus())
		}
		if a := do(h1, "GET", "/news"); strings.Contains(a.cacheStatus(), "; hit") {
			t.Errorf("%+v of one: it answers %s", p, a.cacheStatus())
		}
	}
}

func TestPurgeErrors(t *testing.T) {
	c := newCache(t, Config{})
	for _, tt := range []struct {
		purge Purge
		want  string
	}{
		{Purge{}, "Purge has none of"},
		{Purge{Soft: true}, "Purge has none of"},
		{Purge{URL: "http://a/", All: true}, "Purge has URL and All"},
		{Purge{URL: "/path"}, `Purge.URL is "/path": must be an absolute`},
		{Purge{URL: "ftp://a/"}, "Purge.URL"},
		{Purge{URL: "http:a"}, "Purge.URL"},
		{Purge{URL: "http://a/%zz"}, "Purge.URL"},
		{Purge{URL: "http://u@a/"}, "Purge.URL"},
		{Purge{URL: "http://a/" + strings.Repeat("x", maxPurge)}, "at most 8192 bytes"},
		{Purge{Prefix: "http://a/?q"}, "Purge.Prefix"},
		{Purge{Prefix: "a/"}, "Purge.Prefix"},
		{Purge{Host: "a/b"}, "Purge.Host"},
		{Purge{Host: "http://a"}, "Purge.Host"},
		{Purge{Tag: " a"}, "Purge.Tag"},
		{Purge{Tag: strings.Repeat("x", 257)}, "at most 256 bytes"},
	} {
		if err := c.Purge(tt.purge); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Purge(%.100v) = %v, want %q in it", tt.purge, err, tt.want)
		}
	}
	if n := c.store.gen.seq.Load(); n != 0 {
		t.Errorf("%d purges were made", n)
	}
}

// TestPurgeRecordsNothingForNothing also where keys have fields.
func TestPurgeRecordsNothingForNothing(t *testing.T) {
	c := newCache(t, Config{Key: Key{Headers: []string{"X-Tenant"}}})
	h := c.Handler(page(200, "", "Cache-Control: max-age=60"))
	do(h, "GET", "http://example.com/there", "X-Tenant: a")
	settled(t, c)
	for range 10 {
		_ = c.Purge(Purge{URL: "http://example.com/unknown"})
		do(h, "POST", "/unknown")
	}
	if n := c.store.gen.seq.Load(); n != 0 {
		t.Errorf("%d purges were noted, want 0", n)
	}
	_ = c.Purge(Purge{URL: "http://example.com/there"})
	if n := c.store.gen.seq.Load(); n != 1 {
		t.Errorf("%d purges were noted, want 1", n)
	}
}
