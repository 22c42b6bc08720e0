package main

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	p, c := start(t, "-backend", storing(t).URL), newClient(t)
	hit := func(path string) bool {
		return strings.Contains(get(t, c, p.site+path).Header.Get("Cache-Status"), "; hit")
	}
	purge := func(form string) reply { return post(t, c, p.admin+"/purge?"+form) }
	escaped := url.QueryEscape
	for _, tt := range []struct {
		form       string
		gone, kept []string
	}{
		{"url=" + escaped(p.site+"/a/1"), []string{"/a/1"}, []string{"/a/2", "/b"}},
		{"prefix=" + escaped(p.site+"/a/"), []string{"/a/1", "/a/2"}, []string{"/b"}},
		{"host=" + escaped(strings.TrimPrefix(p.site, "http://")), []string{"/a/1", "/a/2", "/b"}, nil},
		{"host=other.example", nil, []string{"/a/1", "/a/2", "/b"}},
		{"all=true", []string{"/a/1", "/a/2", "/b"}, nil},
	} {
		for _, path := range []string{"/a/1", "/a/2", "/b"} {
			get(t, c, p.site+path)
			eventually(t, path+" is stored", func() bool { return hit(path) })
		}
		if r := purge(tt.form); r.StatusCode != http.StatusOK {
			t.Fatalf("purge %s = %s %q", tt.form, r.Status, r.body)
		}
		for _, path := range tt.gone {
			if hit(path) {
				t.Errorf("purge %s: %s is still there", tt.form, path)
			}
		}
		for _, path := range tt.kept {
			if !hit(path) {
				t.Errorf("purge %s: %s is gone", tt.form, path)
			}
		}
	}
	for _, form := range []string{"", "url=/a", "url=", "colour=blue", "all=perhaps"} {
		if r := purge(form); r.StatusCode != http.StatusBadRequest || len(r.body) < 10 {
			t.Errorf("purge %q = %s %q, want 400 and why", form, r.Status, r.body)
		}
	}
	if r := get(t, c, p.admin+"/purge?all=true"); r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") == "" {
		t.Errorf("GET /purge = %s, Allow %q", r.Status, r.Header.Get("Allow"))
	}
	// A page that an operator happens to look at.
	if r := post(t, c, p.admin+"/purge?all=true", "Sec-Fetch-Site", "cross-site"); r.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %s", r.Status)
	}
	// One whose name leads here.
	for host, want := range map[string]int{"evil.example": http.StatusForbidden, strings.TrimPrefix(p.admin, "http://"): http.StatusOK} {
		req, err := http.NewRequest(http.MethodPost, p.admin+"/purge?all=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if r := do(t, c, req, "Origin", "http://"+host); r.StatusCode != want {
			t.Errorf("from a page of http://%s: %s, want %d", host, r.Status, want)
		}
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	p, c := start(t, "-backend", storing(t).URL, "-key-ignore-query", "utm_*"), newClient(t)
	get(t, c, p.site+"/a")
	explain := func(form string) reply { return get(t, c, p.admin+"/explain?"+form) }
	eventually(t, "what is stored is explained", func() bool {
		r := explain("url=" + url.QueryEscape(p.site+"/a?utm_source=x"))
		return r.StatusCode == http.StatusOK && json.Valid([]byte(r.body)) && strings.Contains(r.body, `"hit"`) && strings.Contains(r.body, "3600")
	})
	if r := explain("url=" + url.QueryEscape(p.site+"/b")); !strings.Contains(r.body, "uri-miss") {
		t.Errorf("what is not stored: %s %q", r.Status, r.body)
	}
	if r := explain("method=POST&url=" + url.QueryEscape(p.site+"/a")); !strings.Contains(r.body, "method") || strings.Contains(r.body, `"would": "hit"`) {
		t.Errorf("POST: %s %q", r.Status, r.body)
	}
	for _, form := range []string{"", "url=/a", "url=ftp://a/", "method=G+T&url=" + url.QueryEscape(p.site), "header=x&url=" + url.QueryEscape(p.site)} {
		if r := explain(form); r.StatusCode != http.StatusBadRequest || len(r.body) < 10 {
			t.Errorf("explain %q = %s %q, want 400 and why", form, r.Status, r.body)
		}
	}
	if get(t, c, p.site+"/b").Header.Get("Cache-Status") == "" || !strings.Contains(get(t, c, p.site+"/a").Header.Get("Cache-Status"), "; hit") {
		t.Error("explaining changed something")
	}
}

// With -compress text goes out as the client takes it, from one fetch.
func TestCompress(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("the same line again and again\n", 200)
	var fetches atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Etag", `"1"`)
		_, _ = io.WriteString(w, text)
	}))
	defer origin.Close()
	p, c := start(t, "-backend", origin.URL, "-compress"), newClient(t)
	if r := get(t, c, p.site+"/"); r.body != text {
		t.Fatalf("%s, %d bytes", r.Status, len(r.body))
	}
	var r reply
	eventually(t, "gzip is there", func() bool {
		r = get(t, c, p.site+"/", "Accept-Encoding", "gzip")
		return r.Header.Get("Content-Encoding") == "gzip"
	})
	z, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(z); string(plain) != text || err != nil {
		t.Errorf("gzip has %d bytes, %v", len(plain), err)
	}
	if r.Header.Get("Etag") != `W/"1"` || !strings.Contains(r.Header.Get("Vary"), "Accept-Encoding") || len(r.body) > len(text)/4 {
		t.Errorf("Etag %s, Vary %q, %d bytes", r.Header.Get("Etag"), r.Header.Get("Vary"), len(r.body))
	}
	if r := get(t, c, p.site+"/", "Accept-Encoding", "identity"); r.body != text || r.Header.Get("Content-Encoding") != "" {
		t.Errorf("identity: %q, %d bytes", r.Header.Get("Content-Encoding"), len(r.body))
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}
