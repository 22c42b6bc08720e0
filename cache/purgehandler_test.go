package cache

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPurgeHandler(t *testing.T) {
	const form, jsn = "application/x-www-form-urlencoded", "application/json"
	many := strings.Repeat("tag=t&", maxPurges) + "tag=t"
	for _, tt := range []struct {
		name         string
		method       string
		query        string
		kind, body   string
		status       int
		want         string // in the answer
		gone, soften bool   // what became of the page
	}{
		{"a URL in the query", "POST", "url=http://example.com/news", "", "", 200, `{"purged":1,"kind":"url","soft":false}`, true, false},
		{"a form", "POST", "", form, "tag=news", 200, `{"purged":1,"kind":"tag","soft":false}`, true, false},
		{"several", "POST", "", form, "tag=a&tag=news&soft=true", 200, `{"purged":2,"kind":"tag","soft":true}`, false, true},
		{"several in both", "POST", "tag=a&soft", form, "tag=news", 200, `{"purged":2,"kind":"tag","soft":true}`, false, true},
		{"JSON", "POST", "", jsn + "; charset=utf-8", `{"prefix": "http://example.com/n"}`, 200, `"kind":"prefix"`, true, false},
		{"JSON, a list", "POST", "", jsn, `{"host": ["a", "example.com"], "soft": false}`, 200, `{"purged":2,"kind":"host"`, true, false},
		{"all", "POST", "all", "", "", 200, `{"purged":1,"kind":"all","soft":false}`, true, false},
		{"all in JSON", "POST", "", jsn, `{"all": true, "soft": true}`, 200, `"kind":"all","soft":true`, false, true},

		{"GET", "GET", "all", "", "", 405, "must be POST", false, false},
		{"PURGE", "PURGE", "all", "", "", 405, "must be POST", false, false},
		{"nothing", "POST", "", "", "", 400, "no parameter", false, false},
		{"soft alone", "POST", "soft", "", "", 400, "no parameter", false, false},
		{"all, but not", "POST", "all=false", "", "", 400, "no parameter", false, false},
		{"all of what", "POST", "all=x", "", "", 400, "the parameter all is", false, false},
		{"soft or what", "POST", "all&soft=maybe", "", "", 400, "the parameter soft is", false, false},
		{"two kinds", "POST", "tag=news&all", "", "", 400, "all and tag", false, false},
		{"a misspelt one", "POST", "tags=news", "", "", 400, "is not known", false, false},
		{"an empty one", "POST", "tag=", "", "", 400, "the parameter tag is empty", false, false},
		{"a path", "POST", "url=/news", "", "", 400, "the parameter url: cache: Purge.URL", false, false},
		{"one of two is wrong", "POST", "url=http://example.com/news&url=x", "", "", 400, "the parameter url", false, false},
		{"too many", "POST", "", form, many, 400, "has 257 values", false, false},
		{"a bad query", "POST", "tag=%zz", "", "", 400, "the query", false, false},
		{"a bad form", "POST", "", form, "tag=%zz", 400, "the form", false, false},
		{"bad JSON", "POST", "", jsn, `{"tag": `, 400, "JSON", false, false},
		{"a list in JSON", "POST", "", jsn, `["tag"]`, 400, "JSON", false, false},
		{"null in JSON", "POST", "", jsn, `null`, 400, "JSON", false, false},
		{"a number in JSON", "POST", "", jsn, `{"tag": 1}`, 400, "must be a string", false, false},
		{"another type", "POST", "", "text/plain", "tag=news", 415, "Content-Type", false, false},
		{"no type", "POST", "", "", "tag=news", 415, "Content-Type", false, false},
		{"a huge body", "POST", "", form, strings.Repeat("x", maxPurgeBody+1), 413, "bytes", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, Config{})
			o := newOrigin(page(200, "before", "Cache-Control: max-age=60", "Surrogate-Key: news"))
			h := c.Handler(o)
			do(h, "GET", "http://example.com/news")
			settled(t, c)
			r := httptest.NewRequest(tt.method, "/purge?"+tt.query, strings.NewReader(tt.body))
			if tt.kind != "" {
				r.Header.Set("Content-Type", tt.kind)
			}
			a := doRequest(c.PurgeHandler(), r)
			if a.status != tt.status || !strings.Contains(a.body, tt.want) || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %q, want %d %q", a.status, a.body, tt.status, tt.want)
			}
			if (a.header.Get("Allow") == "POST") != (tt.status == 405) {
				t.Errorf("Allow = %q", a.header.Get("Allow"))
			}
			e := c.Explain(httptest.NewRequest("GET", "http://example.com/news", nil))
			if gone, soft := e.Stored == nil, e.Stored != nil && e.Stored.SoftPurged; gone != tt.gone || soft != tt.soften {
				t.Errorf("gone %t, soft %t, want %t, %t", gone, soft, tt.gone, tt.soften)
			}
		})
	}
}

// TestPurgeHandlerCrossSite: a page of another site can't make an operator's
// browser purge.
func TestPurgeHandlerCrossSite(t *testing.T) {
	c := newCache(t, Config{})
	for _, tt := range []struct {
		header string
		status int
	}{
		{"Sec-Fetch-Site: cross-site", 403},
		{"Origin: https://evil.example", 403},
		{"Sec-Fetch-Site: same-origin", 200},
	} {
		if a := do(c.PurgeHandler(), http.MethodPost, "/purge?all", tt.header); a.status != tt.status {
			t.Errorf("%s: %d %s, want %d", tt.header, a.status, a.body, tt.status)
		}
	}
}
