package cache

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/holdfast-go/holdfast/failure"
)

// TestExplainAgrees: what Explain says beforehand is what Cache-Status says
// afterwards.
func TestExplainAgrees(t *testing.T) {
	for _, tt := range []struct {
		name    string
		control string // of what is stored; "" = nothing is
		purge   bool   // softly
		method  string
		headers []string
		action  string
		status  string
	}{
		{"nothing stored", "", false, "GET", nil, "fetch", "fwd=uri-miss"},
		{"fresh", "max-age=60", false, "GET", nil, "hit", "hit"},
		{"fresh, HEAD", "max-age=60", false, "HEAD", nil, "hit", "hit"},
		{"reload", "max-age=60", false, "GET", []string{"Cache-Control: no-cache"}, "refresh", "fwd=request"},
		{"stale", "max-age=0, stale-if-error=60", false, "GET", nil, "refresh", "fwd=stale"},
		{"stale while revalidate", "max-age=0, stale-while-revalidate=60", false, "GET", nil, "stale-while-revalidate", "detail=refreshing"},
		{"stale, forbidden", "max-age=0, must-revalidate", false, "GET", nil, "fetch", "fwd=stale"},
		{"softly purged", "max-age=60", true, "GET", nil, "refresh", "fwd=stale"},
		{"only-if-cached", "", false, "GET", []string{"Cache-Control: only-if-cached"}, "refuse", "detail=only_if_cached"},
		{"unsafe", "max-age=60", false, "POST", nil, "bypass", "fwd=method"},
		{"another resource asked for", "max-age=60", false, "GET", []string{"X-Original-Url: /admin"}, "bypass", "fwd=bypass"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{StaleIfError: 3600e9})
			o := newOrigin(page(200, "", "Cache-Control: "+tt.control, "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT"))
			h := c.Handler(o)
			if tt.control != "" {
				do(h, "GET", "http://example.com/")
				settled(t, c)
			}
			if tt.purge {
				_ = c.Purge(Purge{All: true, Soft: true})
			}
			r := httptest.NewRequest(tt.method, "http://example.com/", nil)
			for _, line := range tt.headers {
				name, value, _ := strings.Cut(line, ": ")
				r.Header.Add(name, value)
			}
			calls := o.calls.Load()
			e := c.Explain(r)
			if e.Action != tt.action || o.calls.Load() != calls {
				t.Errorf("Explain() = %+v, want action %s and no call of the origin", e, tt.action)
			}
			if (e.Stored != nil) != (tt.control != "" && tt.name != "another resource asked for") {
				t.Errorf("Explain().Stored = %+v", e.Stored)
			}
			if e.Stored != nil && (e.Stored.SoftPurged != tt.purge || e.Stored.Source != "max-age") {
				t.Errorf("Explain().Stored = %+v", e.Stored)
			}
			a := doRequest(h, r)
			settled(t, c)
			if got := a.cacheStatus(); !strings.Contains(got, tt.status) || !strings.Contains(got, e.Detail) || e.Fwd != "" && !strings.Contains(got, "fwd="+e.Fwd) {
				t.Errorf("Cache-Status = %s, want %s as in %+v", got, tt.status, e)
			}
		})
	}
}

// TestExplain: what there is, as an operator reads it.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, Config{Namespace: "ns", Key: Key{Headers: []string{"x-tenant"}, Cookies: []string{"plan"}}})
		o := newOrigin(page(200, "12345", "Cache-Control: max-age=60", "Age: 10", "Vary: Accept-Language", `Etag: "e"`, "Surrogate-Key: a b", `Cache-Groups: "g"`))
		h := c.Handler(o)
		headers := []string{"X-Tenant: acme", "Cookie: plan=gold; other=1", "Accept-Language: en"}
		do(h, "GET", "http://example.com/a?b", headers...)
		settled(t, c)
		r := httptest.NewRequest("GET", "http://example.com/a?b", nil)
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Add(name, value)
		}
		got := c.Explain(r)
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"key":{"namespace":"ns","scheme":"http","host":"example.com","path":"/a?b","fields":[{"name":"X-Tenant","value":"acme"},{"name":"Cookie:plan","value":"(not shown)"}]}`,
			`"vary":[{"name":"Accept-Language","value":"en"}]`,
			`"status":200,"size":5,"age":10,"initialAge":10,"ttl":50,"lifetime":60,"source":"max-age"`,
			`"etag":"\"e\""`, `"tags":["a","b"],"groups":["g"]`, `"fills":0,"action":"hit"`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("Explain() = %s, want %s in it", text, want)
			}
		}
		// A failure that is remembered, and where it leads.
		_ = c.Purge(Purge{Tag: "a", Soft: true})
		o.set(failing(failure.New(failure.ConnectionRefused, nil)))
		do(h, "GET", "http://example.com/a?b", headers...)
		settled(t, c) // who waits is answered before the fetch has left
		if e := c.Explain(r); e.Failure == nil || e.Failure.Cause != "connection_refused" || e.Action != "stale" || e.Detail != "connection_refused" {
			t.Errorf("Explain() = %+v", e)
		}
		// A marker.
		o.set(page(200, "", "Cache-Control: no-store"))
		do(h, "GET", "http://example.com/private")
		if e := c.Explain(httptest.NewRequest("GET", "http://example.com/private", nil)); e.Marker == nil || e.Marker.Reason != "no_store" || !e.Alone {
			t.Errorf("Explain() = %+v", e)
		}
	})
}
