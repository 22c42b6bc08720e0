package errorpage

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

const bypassValue = "0123456789abcdef"

// Whom maintenance concerns, and what they get.
func TestMaintenanceScope(t *testing.T) {
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	path := func(p string) func(*http.Request) { return func(r *http.Request) { r.URL.Path = p } }
	cookie := func(lines ...string) func(*http.Request) { return func(r *http.Request) { r.Header["Cookie"] = lines } }
	hosts := MaintenanceConfig{Hosts: []string{"Shop.example", "*.test", "2001:db8::1"}}
	paths := MaintenanceConfig{Paths: []string{"/shop", "/a/b/"}}
	nets := MaintenanceConfig{Exempt: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fe80::/10")}}
	known := func(s string, ok bool) MaintenanceConfig {
		c := nets
		c.ClientIP = func(*http.Request) (netip.Addr, bool) {
			addr, _ := netip.ParseAddr(s)
			return addr, ok
		}
		return c
	}
	secret := MaintenanceConfig{BypassCookie: "preview=" + bypassValue}
	health := func(status int) MaintenanceConfig {
		return MaintenanceConfig{HealthPaths: []string{"/healthz"}, HealthStatus: status, Hosts: []string{"shop.example"}}
	}
	tests := []struct {
		name string
		cfg  MaintenanceConfig
		r    func(*http.Request)
		want verdict
	}{
		{"whole site", MaintenanceConfig{}, path("/"), hold},
		{"OPTIONS *", MaintenanceConfig{}, path("*"), hold},
		{"host", hosts, host("shop.EXAMPLE"), hold},
		{"host with port and root", hosts, host("shop.example.:8443"), hold},
		{"other host", hosts, host("www.shop.example"), pass},
		{"no host", hosts, host(""), pass},
		{"below a name", hosts, host("a.b.test"), hold},
		{"the name itself", hosts, host("test"), pass},
		{"only its end", hosts, host("attest"), pass},
		{"nothing before it", hosts, host(".test"), pass},
		{"an address", hosts, host("[2001:db8::1]:80"), hold},
		{"path", paths, path("/shop"), hold},
		{"below", paths, path("/shop/cart"), hold},
		{"longer name", paths, path("/shopping"), pass},
		{"with a slash", paths, path("/a/b"), hold},
		{"with a slash, below", paths, path("/a/b/c"), hold},
		{"another", paths, path("/a"), pass},
		{"doubled slashes", paths, path("//shop"), hold},
		{"by detours", paths, path("/x/.././shop/"), hold},
		{"out again", paths, path("/shop/../x"), pass},
		{"relative", paths, path("shop"), hold},
		{"none", paths, path(""), pass},
		{"root is all", MaintenanceConfig{Paths: []string{"/"}}, path("/x"), hold},
		{"match", MaintenanceConfig{Match: func(r *http.Request) bool { return r.URL.Path == "/x" }}, path("/x"), hold},
		{"no match", MaintenanceConfig{Match: func(r *http.Request) bool { return r.URL.Path == "/x" }}, path("/y"), pass},
		{"host but no match", MaintenanceConfig{Hosts: []string{"example.com"}, Match: func(*http.Request) bool { return false }}, path("/x"), pass},
		{"exempt", nets, from("10.9.9.9:1"), pass},
		{"exempt, IPv4 in IPv6", nets, from("[::ffff:10.9.9.9]:1"), pass},
		{"exempt, IPv6", nets, from("[2001:db8::5]:1"), pass},
		{"exempt, with zone", nets, from("[fe80::1%eth0]:1"), pass},
		{"not exempt", nets, from("11.9.9.9:1"), hold},
		{"garbage peer", nets, from("@"), hold},
		{"no peer", nets, from(""), hold},
		{"peer without port", nets, from("10.9.9.9"), hold},
		{"told client", known("10.0.0.1", true), nil, pass},
		{"unknown client with an exempt address", known("10.0.0.1", false), nil, hold},
		{"invalid client", known("", true), nil, hold},
		{"cookie", secret, cookie("preview=" + bypassValue), pass},
		{"quoted", secret, cookie(`preview="` + bypassValue + `"`), pass},
		{"among others", secret, cookie("a=b; preview=" + bypassValue + "; c=d"), pass},
		{"on the second line", secret, cookie("a=b", "preview="+bypassValue), pass},
		{"an old one first", secret, cookie("preview=old; preview=" + bypassValue), pass},
		{"wrong value", secret, cookie("preview=" + bypassValue + "0"), hold},
		{"beginning of the value", secret, cookie("preview=" + bypassValue[:15]), hold},
		{"empty", secret, cookie("preview="), hold},
		{"another name", secret, cookie("Preview=" + bypassValue), hold},
		{"invalid UTF-8", secret, cookie("preview=\xff\xfe" + bypassValue), hold},
		{"no cookie wanted", MaintenanceConfig{}, cookie("=" + bypassValue), hold},
		{"health lets through", health(0), path("/healthz"), pass},
		{"health 200", health(200), path("/healthz"), healthy},
		{"health 503, whatever the host", health(503), path("/healthz"), hold},
		{"below a health path", health(200), func(r *http.Request) { r.Host, r.URL.Path = "shop.example", "/healthz/x" }, hold},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := newScope(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			r := get()
			if tt.r != nil {
				tt.r(r)
			}
			if got := s.verdict(r); got != tt.want {
				t.Errorf("verdict = %v, want %v", got, tt.want)
			}
		})
	}
	s, _ := newScope(paths)
	r := get()
	r.URL = nil
	if got := s.verdict(r); got != pass {
		t.Errorf("without a URL: %v", got)
	}
}

func TestMaintenanceConfigErrors(t *testing.T) {
	for want, cfg := range map[string]MaintenanceConfig{
		"Maintenance.File":         {File: "a\x00b"},
		"Maintenance.Hosts[1]":     {Hosts: []string{"a.example", "a.example:80"}},
		"Maintenance.Hosts[0]":     {Hosts: []string{"*.*.example"}},
		"Maintenance.Hosts[2]":     {Hosts: []string{"xn--mller-kva.example", "::1", "müller.example"}},
		"Maintenance.Hosts[3]":     {Hosts: []string{"a.b.example", "localhost", "10.0.0.1", "shop..example"}},
		`Hosts[0] is ".example"`:   {Hosts: []string{".example"}},
		"Maintenance.Paths[0]":     {Paths: []string{"shop"}},
		"Maintenance.Paths[1]":     {Paths: []string{"/", "/a/../b"}},
		"Maintenance.Exempt[0]":    {Exempt: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		"Maintenance.Exempt[1]":    {Exempt: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), {}}},
		"Maintenance.BypassCookie": {BypassCookie: "preview=short"},
		"name=value":               {BypassCookie: strings.Repeat("x", 40)},
		"unquoted":                 {BypassCookie: `preview="0123456789abcdef"`},
		"RFC 6265":                 {BypassCookie: "pre view=0123456789abcdef"},
		"HealthPaths[0]":           {HealthPaths: []string{"healthz"}},
		"HealthStatus is 204":      {HealthPaths: []string{"/healthz"}, HealthStatus: 204},
		"needs HealthPaths":        {HealthStatus: 200},
		"RetryAfter is -1s":        {RetryAfter: -time.Second},
	} {
		_, err := New(Config{Maintenance: cfg})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want it to name %s", cfg, err, want)
		}
		if name, value, ok := strings.Cut(cfg.BypassCookie, "="); ok && strings.Contains(err.Error(), value) {
			t.Errorf("the error shows the secret of %s: %v", name, err)
		}
	}
}

func TestMaintenanceByAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, rec := newPage(t, Config{})
		var asked int
		h := p.Maintenance(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked++
			_, _ = io.WriteString(w, "site")
		}))
		status := func() (int, string) {
			resp := serve(h, get("Accept", browser))
			body, _ := io.ReadAll(resp.Body)
			if held := resp.StatusCode == http.StatusServiceUnavailable; isPage(string(body)) != held || held && resp.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v %q", resp.StatusCode, resp.Header, body)
			}
			return resp.StatusCode, resp.Header.Get("Retry-After")
		}
		want := func(when string, code int, retryAfter string) {
			t.Helper()
			if c, r := status(); c != code || r != retryAfter {
				t.Errorf("%s: %d, Retry-After %q; want %d, %q", when, c, r, code, retryAfter)
			}
		}
		want("at first", 200, "")
		began := time.Now().Round(0)
		p.StartMaintenance(time.Time{})
		want("without an end", 503, "")
		if s := p.MaintenanceState(); !s.On || s.By != "api" || !s.Since.Equal(began) || !s.Until.IsZero() {
			t.Errorf("state = %+v", s)
		}
		time.Sleep(time.Second)
		p.StartMaintenance(time.Now().Add(90*time.Second + 1))
		want("with an end, rounded up", 503, "91")
		if s := p.MaintenanceState(); !s.Since.Equal(began) {
			t.Errorf("since = %v, want %v: only the end changed", s.Since, began)
		}
		time.Sleep(90 * time.Second)
		want("in the last nanosecond", 503, "1")
		time.Sleep(time.Nanosecond)
		want("when the time has come", 200, "")
		if s := p.MaintenanceState(); s != (MaintenanceState{}) {
			t.Errorf("state = %+v, want off", s)
		}
		p.EndMaintenance()
		p.StartMaintenance(time.Now())
		want("until now", 200, "")
		p.StartMaintenance(time.Time{})
		p.StartMaintenance(time.Now().Add(-time.Hour))
		want("a time that has passed ends it", 200, "")
		p.StartMaintenance(time.Time{})
		p.EndMaintenance()
		p.EndMaintenance()
		want("ended", 200, "")
		p.StartMaintenance(time.Unix(1<<40, 0))
		if c, r := status(); c != 503 || r == "" || strings.HasPrefix(r, "-") {
			t.Errorf("an end far away: %d %q", c, r)
		}
		p.EndMaintenance()
		if asked != 5 {
			t.Errorf("next was asked %d times, want 5", asked)
		}
		var changes []string
		for _, ev := range rec.events {
			if ev.Kind != Served {
				changes = append(changes, strings.TrimPrefix(ev.Kind.String(), "maintenance_"))
			}
			if ev.Kind == Served && (ev.Failure.Cause != failure.Maintenance || ev.Status != 503) {
				t.Errorf("%+v", ev)
			}
		}
		if got := strings.Join(changes, " "); got != "on on off on off on off on off" {
			t.Errorf("events: %s", got)
		}
	})
}

// Inside of Handler the page is written once, told once, and is that visitor's.
func TestMaintenanceInsideHandler(t *testing.T) {
	p, rec := newPage(t, Config{Intercept5xx: true, Maintenance: MaintenanceConfig{RetryAfter: 1500 * time.Millisecond}})
	p.StartMaintenance(time.Time{})
	h := p.Handler(p.Maintenance(http.HandlerFunc(ok)))
	servers(t, h, func(t *testing.T, c *http.Client, url string) {
		rec.events = rec.events[:0]
		resp := fetch(t, c, url, "Accept", browser, "X-Request-Id", "abc")
		if resp.status != 503 || !isPage(resp.body) || resp.header.Get("Retry-After") != "2" || !strings.Contains(resp.body, "abc") ||
			resp.header.Get("Proxy-Status") != "holdfast; error=proxy_internal_response; cause=maintenance" {
			t.Errorf("%+v", resp)
		}
		if resp := fetch(t, c, url, "Content-Type", "application/grpc"); resp.status != 200 || resp.header.Get("Grpc-Status") != "14" || resp.body != "" {
			t.Errorf("gRPC: %+v", resp)
		}
		if resp := fetch(t, c, url, "Connection", "Upgrade", "Upgrade", "websocket"); resp.status != 503 {
			t.Errorf("upgrade: %+v", resp)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, url, http.NoBody)
		req.Header.Set("Accept", browser)
		head, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		head.Body.Close()
		if head.StatusCode != 503 || head.ContentLength < 500 {
			t.Errorf("HEAD: %d, %d bytes", head.StatusCode, head.ContentLength)
		}
		if n := len(rec.kinds()); n != 4 {
			t.Errorf("%d events, want one for each of 4 pages", n)
		}
	})
}

// Somebody who uploads is told at once, and the connection does not carry on with
// the rest of the upload.
func TestMaintenanceDuringUpload(t *testing.T) {
	p, _ := newPage(t, Config{})
	p.StartMaintenance(time.Time{})
	servers(t, p.Handler(p.Maintenance(http.HandlerFunc(ok))), func(t *testing.T, c *http.Client, url string) {
		c.Transport.(*http.Transport).ExpectContinueTimeout = 30 * time.Second
		for range 3 {
			sent := &counting{left: 64 << 20}
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, url, sent)
			req.Header.Set("Expect", "100-continue")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 503 || err != nil || len(body) == 0 || sent.read.Load() > 32<<20 {
				t.Errorf("%d %q %v after %d bytes", resp.StatusCode, body, err, sent.read.Load())
			}
		}
	})
}

type counting struct {
	left int
	read atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n := min(len(p), c.left)
	if n == 0 {
		return 0, io.EOF
	}
	c.left -= n
	c.read.Add(int64(n))
	return n, nil
}

func TestMaintenanceHealthy(t *testing.T) {
	p, rec := newPage(t, Config{Maintenance: MaintenanceConfig{HealthPaths: []string{"/healthz"}, HealthStatus: 200}})
	site := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h := p.Maintenance(site)
	check := func(method string) *http.Response {
		return serve(h, httptest.NewRequest(method, "/healthz", http.NoBody))
	}
	if resp := check(http.MethodGet); resp.StatusCode != http.StatusTeapot {
		t.Errorf("off: %d, want the site's own answer", resp.StatusCode)
	}
	p.StartMaintenance(time.Time{})
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		resp := check(method)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 200 || (len(body) == 0) != (method == http.MethodHead) || resp.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q", method, resp.StatusCode, body)
		}
	}
	if got := rec.kinds(); len(got) != 1 || got[0] != MaintenanceOn {
		t.Errorf("events = %v, want no page", got)
	}
}

// fileSite is a page that watches a file, in front of a site.
type fileSite struct {
	*Page
	rec  *recorder
	h    http.Handler
	path string
}

func newFileSite(t *testing.T) *fileSite {
	s := &fileSite{path: filepath.Join(t.TempDir(), "maintenance")}
	s.Page, s.rec = newPage(t, Config{Maintenance: MaintenanceConfig{File: s.path}})
	s.h = s.Maintenance(http.HandlerFunc(ok))
	return s
}

func (s *fileSite) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *fileSite) want(t *testing.T, when string, code int, retryAfter string) {
	t.Helper()
	resp := serve(s.h, get())
	if r := resp.Header.Get("Retry-After"); resp.StatusCode != code || r != retryAfter {
		t.Errorf("%s: %d, Retry-After %q; want %d, %q", when, resp.StatusCode, r, code, retryAfter)
	}
}

func TestMaintenanceByFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFileSite(t)
		s.want(t, "no file", 200, "")
		s.write(t, "")
		s.want(t, "within a second of the last look", 200, "")
		time.Sleep(time.Second)
		s.want(t, "a file", 503, "")
		if st := s.MaintenanceState(); st.By != "file" || st.Since.After(time.Now()) {
			t.Errorf("state = %+v", st)
		}
		end := time.Now().Add(30 * time.Second)
		s.write(t, end.Format(time.RFC3339Nano)+"\nfor the new release\n")
		time.Sleep(time.Second)
		s.want(t, "with a time", 503, "29")
		time.Sleep(29*time.Second - 1)
		s.want(t, "at the end", 503, "1")
		time.Sleep(time.Nanosecond)
		s.want(t, "off by itself", 200, "")
		time.Sleep(time.Hour)
		s.want(t, "and stays off", 200, "")
		s.write(t, "back soon")
		time.Sleep(time.Second)
		s.want(t, "text is no time", 503, "")
		s.EndMaintenance()
		s.want(t, "the API does not end what a file began", 503, "")
		s.StartMaintenance(time.Now().Add(time.Minute))
		s.want(t, "both: the later end, which is not known", 503, "")
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.want(t, "what the API began goes on", 503, "59")
		s.EndMaintenance()
		s.want(t, "off", 200, "")
		var kinds []string
		for _, ev := range s.rec.events {
			switch {
			case ev.Kind == Served:
				continue
			case ev.Err != nil:
				kinds = append(kinds, "complaint")
			}
			kinds = append(kinds, strings.TrimPrefix(ev.Kind.String(), "maintenance_")+ev.Maintenance.By)
		}
		if got, want := strings.Join(kinds, " "), "onfile onfile off complaint onfile onapi and file onapi off"; got != want {
			t.Errorf("events: %s, want %s", got, want)
		}
	})
}

// A file that comes and goes is looked at once a second, by however many.
func TestMaintenanceFileFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFileSite(t)
		for range 200 {
			s.write(t, "")
			serve(s.h, get())
			if err := os.Remove(s.path); err != nil {
				t.Fatal(err)
			}
			serve(s.h, get())
			time.Sleep(50 * time.Millisecond)
		}
		changes := 0
		for _, k := range s.rec.kinds() {
			if k == MaintenanceOn || k == MaintenanceOff {
				changes++
			}
		}
		if changes > 11 {
			t.Errorf("%d changes in 10 s, want at most one for each look", changes)
		}
	})
}

// After a calm hour nobody of a crowd goes by what was known before it.
func TestMaintenanceCrowdAfterCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFileSite(t)
		s.want(t, "no file", 200, "")
		s.write(t, "")
		time.Sleep(time.Hour)
		var through atomic.Int64
		h := s.Maintenance(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { through.Add(1) }))
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { serve(h, get()) })
		}
		wg.Wait()
		if n := through.Load(); n != 0 {
			t.Errorf("%d of 100 came through", n)
		}
	})
}

// A file system that hangs holds visitors up for a second, once.
func TestMaintenanceFileHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFileSite(t)
		s.want(t, "no file", 200, "")
		m := s.maintenance
		hung := &look{begun: time.Since(m.file.start), done: make(chan struct{})}
		time.Sleep(time.Second)
		hung.begun += time.Second
		m.file.current = hung
		began := time.Now()
		s.want(t, "the first", 200, "")
		if d := time.Since(began); d != lookPatience {
			t.Errorf("the first waited %v, want %v", d, lookPatience)
		}
		began = time.Now()
		for range 100 {
			s.want(t, "the others", 200, "")
			time.Sleep(10 * time.Millisecond)
		}
		if d := time.Since(began); d != time.Second {
			t.Errorf("the others waited %v", d-time.Second)
		}
		hung.found = sighting{present: true}
		close(hung.done)
		time.Sleep(lookAgain)
		s.want(t, "when it has ended", 503, "")
	})
}

// fileTrouble makes what is neither a file nor absence, as this system can.
var fileTrouble = map[string]func(path string) error{
	"directory": func(path string) error { return os.Mkdir(path, 0o700) },
	"links":     func(path string) error { return os.Symlink(path, path) },
}

func TestMaintenanceFileTrouble(t *testing.T) {
	replace := func(t *testing.T, path string, with func() error) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := with(); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		s := newFileSite(t)
		for name, bring := range fileTrouble {
			with := func() error { return bring(s.path) }
			for _, on := range []bool{false, true} {
				want := 200
				replace(t, s.path, func() error { return nil })
				if on {
					want = 503
					s.write(t, "")
				}
				time.Sleep(time.Second)
				s.want(t, name+", before", want, "")
				s.rec.events = nil
				replace(t, s.path, with)
				for range 3 {
					time.Sleep(time.Second)
					s.want(t, name+": what was known", want, "")
				}
				unknown := 0
				for _, ev := range s.rec.events {
					if ev.Kind == MaintenanceUnknown && ev.Err != nil {
						unknown++
					}
				}
				if unknown != 1 {
					t.Errorf("%s: told %d times, want once", name, unknown)
				}
				s.rec.events = nil
				replace(t, s.path, func() error { return nil })
				time.Sleep(time.Second)
				s.want(t, name+": gone", 200, "")
				if got := s.rec.kinds(); len(got) != 1 || got[0] != MaintenanceOff {
					t.Errorf("%s: then %v, want to be told once what is known again", name, got)
				}
			}
		}
		// What can't be there is not there; a link leads to what is.
		target := filepath.Join(t.TempDir(), "target")
		replace(t, s.path, func() error { return os.Symlink(target, s.path) })
		time.Sleep(time.Second)
		s.want(t, "a link to nothing", 200, "")
		if err := os.WriteFile(target, []byte(strings.Repeat("x", 1<<20)), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		s.want(t, "a link to a large file without a line", 503, "")
	})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lookAt(filepath.Join(file, "below")); got != (sighting{}) {
		t.Errorf("below a file: %+v, want absence", got)
	}
}

// What stat and the text say, where no file system can be made to say so here.
func TestSighting(t *testing.T) {
	info, err := fs.Stat(fstest.MapFS{"f": {}}, "f")
	if err != nil {
		t.Fatal(err)
	}
	if _, done := present("f", info, nil); done {
		t.Error("a file is not read")
	}
	denied := &fs.PathError{Op: "stat", Path: "f", Err: syscall.EACCES}
	if got, done := present("f", nil, denied); !done || got.present || !errors.Is(got.err, syscall.EACCES) {
		t.Errorf("its directory is closed to us: %+v", got)
	}
	now := time.Date(2027, 1, 31, 4, 0, 0, 0, time.UTC)
	if got := read("f", now.Add(-time.Hour), now, "", denied); !got.present || got.err != nil || got.complaint == nil || !got.until.IsZero() {
		t.Errorf("there, but not for our eyes: %+v, want present", got)
	}
	if got := read("f", now.Add(time.Hour), now, "", nil); !got.since.Equal(now) {
		t.Errorf("since = %v, want now for a file of the future", got.since)
	}
	for line, want := range map[string]string{
		"2027-01-31T05:00:00Z":              "2027-01-31T05:00:00Z",
		" 2027-01-31t05:00:00.25z \r":       "2027-01-31T05:00:00.25Z",
		"2027-01-31 06:00:00+01:00":         "2027-01-31T05:00:00Z",
		"\ufeff2027-01-31T05:00:00Z":        "2027-01-31T05:00:00Z",
		"":                                  "none",
		"  ":                                "none",
		"2027-01-31":                        "bad",
		"2027-01-31 05:00":                  "bad",
		"2027-02-30T05:00:00Z":              "bad",
		"tomorrow":                          "bad",
		"0001-01-01T00:00:00Z":              "bad",
		"2027-01-31T05:00:00Z back then":    "bad",
		"\xff\xfe2\x000\x00":                "bad",
		strings.Repeat("9", maxFirstLine):   "bad",
		"2027-01-31 ":                       "bad",
		"2027-01-31T05:00:00+99:99":         "bad",
		"2027-01-31T05:00:00Z\x00":          "bad",
		"20270131T050000Z":                  "bad",
		"2027-01-31T05:00:00.123456789012Z": "2027-01-31T05:00:00.123456789Z",
	} {
		got := "none"
		switch s := read("f", now, now, line, nil); {
		case !s.present || s.err != nil:
			t.Errorf("%q: %+v", line, s)
		case s.complaint != nil:
			got = "bad"
		case !s.until.IsZero():
			got = s.until.UTC().Format(time.RFC3339Nano)
		}
		if got != want {
			t.Errorf("%q means %s, want %s", line, got, want)
		}
	}
}

func FuzzMaintenanceTime(f *testing.F) {
	for _, s := range []string{"", "2027-01-31T05:00:00Z", "2027-01-31 05:00:00+01:00", "tomorrow", "\ufeff"} {
		f.Add(s)
	}
	now := time.Date(2027, 1, 31, 4, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line string) {
		s := read("f", now, now, line, nil)
		if m := merge(now, nil, &spell{s.since, s.until}); m != nil && m.failure(now, 0).RetryAfterSeconds() < 0 || !s.present {
			t.Errorf("%q: %+v", line, s)
		}
	})
}

// On and off under traffic: nobody gets anything but the site or the page.
func TestMaintenanceUnderTraffic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "maintenance")
	p, err := New(Config{Observe: func(context.Context, Event) {}, Maintenance: MaintenanceConfig{File: path}})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Handler(p.Maintenance(http.HandlerFunc(ok)))
	var visitors, switches sync.WaitGroup
	for range 8 {
		visitors.Go(func() {
			for range 500 {
				resp := serve(h, get("Accept", browser))
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode == 200 && string(body) != "hello" || resp.StatusCode != 200 && (resp.StatusCode != 503 || !isPage(string(body))) {
					t.Errorf("%d %q", resp.StatusCode, body)
				}
			}
		})
	}
	for i := range 2 {
		switches.Go(func() {
			for range 500 {
				p.StartMaintenance(time.Now().Add(time.Duration(i) * 50 * time.Microsecond))
				p.MaintenanceState()
				p.EndMaintenance()
			}
		})
	}
	switches.Wait()
	visitors.Wait()
	p.EndMaintenance()
	if s := p.MaintenanceState(); s.On {
		t.Errorf("state = %+v", s)
	}
}

func TestMaintenanceAllocs(t *testing.T) {
	p, err := New(Config{Maintenance: MaintenanceConfig{File: filepath.Join(t.TempDir(), "maintenance")}})
	if err != nil {
		t.Fatal(err)
	}
	h := p.Maintenance(http.HandlerFunc(ok))
	w, r := &discard{http.Header{}}, get()
	h.ServeHTTP(w, r)
	p.maintenance.file.next.Store(int64(time.Hour))
	if n := testing.AllocsPerRun(100, func() { h.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("maintenance that is off allocates %v times", n)
	}
}

func BenchmarkMaintenanceOff(b *testing.B) {
	for name, cfg := range map[string]MaintenanceConfig{"api": {}, "file": {File: filepath.Join(b.TempDir(), "maintenance")}} {
		b.Run(name, func(b *testing.B) {
			p, err := New(Config{Maintenance: cfg})
			if err != nil {
				b.Fatal(err)
			}
			h := p.Maintenance(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			w, r := &discard{http.Header{}}, get()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
		})
	}
}
