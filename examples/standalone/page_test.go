package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	browser   = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	pageMark  = "<!doctype html>"
	causeMark = "; cause="
)

// isPage tells whether r is a page of ours.
func isPage(r reply) bool {
	return r.err == nil && strings.HasPrefix(strings.ToLower(r.body), pageMark) && strings.Contains(r.Header.Get("Proxy-Status"), causeMark)
}

// seconds is the Retry-After of r, and -1 where it has none.
func seconds(t testing.TB, h http.Header) int {
	t.Helper()
	s := h.Get("Retry-After")
	if s == "" {
		return -1
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("Retry-After = %q", s)
	}
	return n
}

// What a page says of the time to wait is what the breaker does: it is the time left
// until somebody is let through, with every second less, and who waits for that long
// is not refused.
func TestRetryAfterOfBreaker(t *testing.T) {
	t.Parallel()
	const openFor = 8 * time.Second
	o := newIll(t)
	o.fail(t, "500")
	p := start(t, "-backend", "http://"+o.addr, "-breaker-min", "3", "-breaker-open", openFor.String(), "-retries", "0", "-shed", "off")
	c := newClient(t)
	opens := time.Now()
	eventually(t, "the breaker opens", func() bool {
		return strings.Contains(get(t, c, p.site+"/a", "Accept", browser).Header.Get("Proxy-Status"), "cause=breaker_open")
	})
	type page struct {
		asked, answered time.Time
		told            int
	}
	var pages []page
	for range 3 {
		asked := time.Now()
		r := get(t, c, p.site+"/b", "Accept", browser)
		if !isPage(r) || r.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%s %q", r.Status, r.Header)
		}
		pages = append(pages, page{asked, time.Now(), seconds(t, r.Header)})
		<-time.After(1100 * time.Millisecond) // the time that is told of
	}
	o.mu.Lock()
	o.mode = ""
	o.mu.Unlock()
	// It is open until the first who is let through: between two requests, since its
	// time has jitter.
	var refused, passed time.Time
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for passed.IsZero() {
		<-tick.C
		asked := time.Now()
		switch r := get(t, c, p.site+"/c"); {
		case r.StatusCode == http.StatusOK:
			passed = time.Now()
		case asked.Sub(opens) > patience:
			t.Fatalf("still %s after %v", r.Status, asked.Sub(opens))
		default:
			refused = asked
		}
	}
	if open := passed.Sub(opens); open < openFor/2 {
		t.Errorf("it was open for %v, want about %v", open, openFor)
	}
	for _, g := range pages {
		most, least := passed.Sub(g.asked).Seconds()+1, refused.Sub(g.answered).Seconds()-1
		if got := float64(g.told); got > most || got < least {
			t.Errorf("Retry-After = %v, want %.1f to %.1f: the time left", got, least, most)
		}
		if until := g.answered.Add(time.Duration(g.told) * time.Second); refused.After(until) {
			t.Errorf("refused %v after the %d s that were told", refused.Sub(until), g.told)
		}
	}
	p.drained(t)
}

// Who is limited is told when the next token is there; the same in every format.
func TestRetryAfterOfRate(t *testing.T) {
	t.Parallel()
	const every = 6 // seconds
	site, _ := planned(t)
	p := start(t, "-backend", site, "-rate", fmt.Sprint(60/every, "/m"), "-burst", "1")
	c := newClient(t)
	before := time.Now()
	if r := get(t, c, p.site+"/"); r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	after := time.Now()
	for _, accept := range []string{browser, "application/problem+json", "*/*"} {
		asked := time.Now()
		r := get(t, c, p.site+"/", "Accept", accept)
		answered := time.Now()
		if r.StatusCode != http.StatusTooManyRequests || !strings.Contains(r.Header.Get("Proxy-Status"), "cause=rate_limited") {
			t.Fatalf("%s %q", r.Status, r.Header)
		}
		n := seconds(t, r.Header)
		most := after.Add(every*time.Second).Sub(asked).Seconds() + 1
		least := before.Add(every*time.Second).Sub(answered).Seconds() - 1
		if float64(n) > most || float64(n) < least {
			t.Errorf("Retry-After = %d, want %.1f to %.1f", n, least, most)
		}
		if accept == "application/problem+json" && !strings.Contains(r.body, fmt.Sprintf(`"retryAfter":%d`, n)) {
			t.Errorf("the document says something else than %d: %s", n, r.body)
		}
	}
	n := seconds(t, get(t, c, p.site+"/").Header)
	<-time.After(time.Duration(n) * time.Second)
	if r := get(t, c, p.site+"/"); r.StatusCode != http.StatusOK {
		t.Errorf("after the %d s that were told: %s", n, r.Status)
	}
	p.drained(t)
}

// Nobody knows when a site is back that refuses connections: the page does not say.
// Whatever the request asks for beside, the page comes whole, and a stored copy
// always comes before it.
func TestPageOfDeadSite(t *testing.T) {
	t.Parallel()
	o := newIll(t)
	p := start(t, "-backend", "http://"+o.addr, "-restart-wait", "0", "-breaker-min", "1000", "-compress",
		"-brand", "Tide & Co", "-brand-color", "#07f")
	c := newClient(t)
	if r := get(t, c, p.site+"/stored", "Accept", browser); r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	cure := o.refuse(t)
	ask := func(method string, headers ...string) reply {
		t.Helper()
		req, err := http.NewRequest(method, p.site+"/dead?secret=1", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		return do(t, c, req, headers...)
	}
	t.Run("GET", func(t *testing.T) {
		var r reply
		// Between two attempts it may be held down; that one refuses is what is to be told.
		eventually(t, "a connection is refused", func() bool {
			r = ask(http.MethodGet, "Accept", browser)
			if !isPage(r) || r.StatusCode < 502 {
				t.Fatalf("%s %q %v", r.Status, r.Header, r.err)
			}
			return strings.Contains(r.Header.Get("Proxy-Status"), "cause=connection_refused")
		})
		if n := seconds(t, r.Header); n != -1 || r.StatusCode != http.StatusBadGateway {
			t.Errorf("%s with Retry-After %d, want 502 without", r.Status, n)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Vary") == "" || r.Header.Get("Content-Language") != "en" {
			t.Errorf("header = %q", r.Header)
		}
		if !strings.Contains(r.body, "Tide &amp; Co") || !strings.Contains(r.body, "<script") {
			t.Errorf("the page lacks the brand or its script:\n%s", r.body)
		}
		for _, secret := range []string{o.addr, "127.0.0.1", "connection_refused", "secret", "refused"} {
			if strings.Contains(r.body, secret) {
				t.Errorf("the page tells %q:\n%s", secret, r.body)
			}
		}
	})
	t.Run("request id", func(t *testing.T) {
		for _, accept := range []string{browser, "application/json", "text/plain"} {
			r := ask(http.MethodGet, "Accept", accept, "X-Request-Id", "<script>chosen by the visitor</script>")
			id := r.Header.Get("X-Request-Id")
			if strings.Count(r.body, id) < 1 || !regexp.MustCompile(`^[0-9a-f-]{36}$`).MatchString(id) || strings.Contains(r.body, "chosen") {
				t.Errorf("%s: the id %q is not in the body %q", accept, id, r.body)
			}
			eventually(t, "the log has the id "+id, func() bool { return strings.Contains(p.stderr.String(), id) })
		}
	})
	t.Run("POST", func(t *testing.T) {
		r := ask(http.MethodPost, "Accept", browser)
		if !isPage(r) || strings.Contains(r.body, "<script") || strings.Contains(r.Header.Get("Content-Security-Policy"), "script-src") {
			t.Errorf("%s %q\n%s", r.Status, r.Header, r.body)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		// Two requests may meet the breaker in two phases, of which the pages tell.
		var g, h reply
		eventually(t, "GET and HEAD meet the same", func() bool {
			g, h = ask(http.MethodGet, "Accept", browser), ask(http.MethodHead, "Accept", browser)
			return g.Header.Get("Proxy-Status") == h.Header.Get("Proxy-Status") && g.Header.Get("Retry-After") == h.Header.Get("Retry-After")
		})
		if h.body != "" || h.StatusCode < 502 {
			t.Errorf("HEAD = %s %q", h.Status, h.body)
		}
		if h.StatusCode != g.StatusCode || h.ContentLength != g.ContentLength {
			t.Errorf("HEAD has Content-Length %d, GET %d", h.ContentLength, g.ContentLength)
		}
		for name := range g.Header {
			if _, ok := h.Header[name]; !ok {
				t.Errorf("HEAD has no %s, GET has", name)
			}
		}
	})
	for name, headers := range map[string][]string{
		"If-None-Match":     {"If-None-Match", `"a", *`},
		"If-Modified-Since": {"If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"},
		"Range":             {"Range", "bytes=0-9"},
		"If-Range":          {"Range", "bytes=0-9", "If-Range", `"a"`},
		"Accept-Encoding":   {"Accept-Encoding", "gzip, zstd, br"},
		"identity refused":  {"Accept-Encoding", "identity;q=0, gzip"},
		"only-if-cached":    {"Cache-Control", "max-stale=60"},
		"several":           {"Range", "bytes=-1", "If-Match", `"b"`, "Accept-Encoding", "zstd"},
	} {
		t.Run(name, func(t *testing.T) {
			r := ask(http.MethodGet, append(headers, "Accept", browser)...)
			if !isPage(r) || r.StatusCode < 502 || r.ContentLength != int64(len(r.body)) || !strings.HasSuffix(strings.TrimSpace(r.body), "</html>") {
				t.Errorf("%s %q with %d bytes, want the whole page", r.Status, r.Header, len(r.body))
			}
			for _, not := range []string{"Content-Range", "Content-Encoding", "Etag", "Last-Modified", "Accept-Ranges"} {
				if v := r.Header.Get(not); v != "" {
					t.Errorf("%s: %s", not, v)
				}
			}
		})
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		for _, line := range []string{"GET /dead HTTP/1.0\r\n", "GET /dead HTTP/1.0\r\nHost: a.example\r\n", "HEAD /dead HTTP/1.0\r\n"} {
			conn, err := net.Dial("tcp", hostOf(t, p.site))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "%sAccept: %s\r\n\r\n", line, browser)
			all, err := io.ReadAll(conn)
			conn.Close()
			head, body, _ := strings.Cut(string(all), "\r\n\r\n")
			wantBody := strings.HasPrefix(line, "GET")
			if err != nil || !regexp.MustCompile(`^HTTP/1\.[01] 50[23] `).MatchString(head) || strings.Contains(head, "chunked") ||
				(body != "") != wantBody || wantBody && !strings.Contains(head, fmt.Sprint("Content-Length: ", len(body))) {
				t.Errorf("%q: %v\n%s\n\n%.60s", line, err, head, body)
			}
		}
	})
	t.Run("stored", func(t *testing.T) {
		for range 20 {
			for _, accept := range []string{browser, "application/json", "*/*"} {
				if r := get(t, c, p.site+"/stored", "Accept", accept); r.StatusCode != http.StatusOK || strings.Contains(r.body, pageMark) {
					t.Fatalf("%s %q", r.Status, r.Header)
				}
			}
		}
		eventually(t, "it is stale, and still better than the page", func() bool {
			r := get(t, c, p.site+"/stored", "Accept", browser)
			if r.StatusCode != http.StatusOK {
				t.Fatalf("%s %q", r.Status, r.Header)
			}
			return strings.Contains(r.Header.Get("Cache-Status"), "ttl=-")
		})
	})
	cure()
	eventually(t, "no page is stored", func() bool { return ask(http.MethodGet, "Accept", browser).StatusCode == http.StatusOK })
	p.drained(t)
}

// What a site answers itself is its own, to the last byte: 404, 500, 503.
func TestOwnErrorsPass(t *testing.T) {
	t.Parallel()
	var header atomic.Pointer[http.Header]
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		if err != nil {
			status = http.StatusTeapot
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'self'")
		h.Set("Set-Cookie", "own=1")
		h.Set("X-Own", "yes")
		c := h.Clone()
		header.Store(&c)
		w.WriteHeader(status)
		fmt.Fprintf(w, "<p>the site's own %d", status)
	}))
	defer origin.Close()
	p := start(t, "-backend", origin.URL, "-breaker-min", "1000", "-retries", "0", "-brand", "Tide")
	c := newClient(t)
	for _, status := range []int{400, 401, 403, 404, 405, 410, 418, 429, 451, 500, 501, 502, 503, 504, 505, 507, 599} {
		for _, accept := range []string{browser, "application/json", "*/*"} {
			r := get(t, c, fmt.Sprint(p.site, "/", status), "Accept", accept)
			if r.StatusCode != status || r.body != fmt.Sprintf("<p>the site's own %d", status) {
				t.Errorf("%d: %s %q", status, r.Status, r.body)
			}
			for name := range *header.Load() {
				if got, want := r.Header.Get(name), header.Load().Get(name); got != want {
					t.Errorf("%d: %s = %q, want %q", status, name, got, want)
				}
			}
			if n := seconds(t, r.Header); n != -1 {
				t.Errorf("%d: Retry-After = %d: the site sent none", status, n)
			}
		}
	}
	p.drained(t)
}

// breaking is a site whose answers break off behind their first part: once release
// is sent to.
func breaking(t *testing.T, part string, h2 bool) (addr string, release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html")
		if strings.Contains(r.URL.Path, "length") {
			h.Set("Content-Length", "100000")
		}
		if strings.Contains(r.URL.Path, "stored") {
			h.Set("Cache-Control", "max-age=60")
		}
		if strings.Contains(r.URL.Path, "500") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, part)
		_ = http.NewResponseController(w).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}))
	origin.Config.Protocols = new(http.Protocols)
	origin.Config.Protocols.SetHTTP1(!h2)
	origin.Config.Protocols.SetUnencryptedHTTP2(h2)
	origin.Start()
	t.Cleanup(origin.Close)
	return origin.Listener.Addr().String(), release
}

// An answer that breaks midway ends as what it is, over h1 and h2: no page behind
// it, and no clean end.
func TestBrokenStreamGetsNoPage(t *testing.T) {
	t.Parallel()
	const part = "<p>the first half"
	for _, scheme := range []string{"http", "h2c"} {
		addr, release := breaking(t, part, scheme == "h2c")
		p := start(t, "-backend", scheme+"://"+addr, "-breaker-min", "1000", "-retries", "0", "-brand", "Tide")
		for _, h2 := range []bool{false, true} {
			for _, path := range []string{"/chunked", "/length", "/chunked/stored", "/length/stored", "/chunked/500", "/length/500"} {
				t.Run(fmt.Sprint(scheme, " h2=", h2, " ", path), func(t *testing.T) {
					tr := &http.Transport{DisableCompression: true, ResponseHeaderTimeout: patience, Protocols: new(http.Protocols)}
					tr.Protocols.SetHTTP1(!h2)
					tr.Protocols.SetUnencryptedHTTP2(h2)
					defer tr.CloseIdleConnections()
					req, err := http.NewRequest(http.MethodGet, fmt.Sprint(p.site, path, "?", h2), http.NoBody)
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Accept", browser)
					resp, err := tr.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					got := make([]byte, len(part))
					if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != part {
						t.Fatalf("the first part = %q, %v", got, err)
					}
					select {
					case release <- struct{}{}:
					case <-time.After(patience):
						t.Fatal("the site is not asked")
					}
					rest, err := io.ReadAll(resp.Body)
					if err == nil || len(rest) > 0 {
						t.Errorf("behind the first part: %q, %v; want a broken end", rest, err)
					}
					if want := map[bool]int{true: 500, false: 200}[strings.Contains(path, "500")]; resp.StatusCode != want {
						t.Errorf("status %d, want %d", resp.StatusCode, want)
					}
				})
			}
		}
		p.drained(t)
	}
}
