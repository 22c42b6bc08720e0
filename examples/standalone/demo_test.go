package main

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func startDemo(t *testing.T) *process {
	t.Helper()
	return start(t, "-demo", "-control", "127.0.0.1:0")
}

// Each way to break the origin, as a newcomer would try it: what is stored goes on,
// what is not gets a page that says why, and all heals. There is one demonstration
// for each, since most of the time is spent waiting for what is stored to get old.
func TestDemo(t *testing.T) {
	t.Parallel()
	demos := []struct {
		fault    fault
		uncached func(reply) bool
		*process
	}{
		{fault: refuse, uncached: branded},
		{fault: stall, uncached: branded},
		{fault: fail, uncached: branded},
		{fault: slow, uncached: func(r reply) bool {
			return r.StatusCode == http.StatusOK && strings.Contains(r.body, "for you alone")
		}},
		{fault: truncate, uncached: func(r reply) bool {
			return r.err != nil || branded(r) // broken off as it came, or refused by the breaker
		}},
	}
	c := newClient(t)
	for i := range demos {
		demos[i].process = startDemo(t)
	}
	for _, d := range demos {
		fresh(t, c, d.process, d.fault)
		if r := post(t, c, d.control+"/break/"+string(d.fault)); r.StatusCode != http.StatusOK || !strings.Contains(r.body, string(d.fault)) {
			t.Fatalf("breaking = %s %q", r.Status, r.body)
		}
	}
	for _, d := range demos {
		eventually(t, string(d.fault)+": /uncached shows it", func() bool {
			return d.uncached(get(t, c, d.site+"/uncached", "Accept", "text/html"))
		})
		eventually(t, string(d.fault)+": /time is served stale", func() bool {
			r := get(t, c, d.site+"/time")
			if r.StatusCode != http.StatusOK || r.err != nil || !strings.Contains(r.body, "The origin made this at") {
				t.Fatalf("%s: /time = %s %q %v %q", d.fault, r.Status, r.body, r.err, r.Header)
			}
			status := r.Header.Get("Cache-Status")
			return strings.Contains(status, "ttl=-") || strings.Contains(status, "fwd=stale") && !strings.Contains(status, "stored")
		})
	}
	for _, d := range demos {
		if r := post(t, c, d.control+"/heal"); r.StatusCode != http.StatusOK {
			t.Fatalf("%s: healing = %s %q", d.fault, r.Status, r.body)
		}
	}
	for _, d := range demos {
		fresh(t, c, d.process, d.fault)
		d.drained(t)
	}
}

// fresh waits until all is well.
func fresh(t *testing.T, c *http.Client, p *process, f fault) {
	t.Helper()
	eventually(t, string(f)+": the origin answers through the proxy", func() bool {
		r := get(t, c, p.site+"/uncached")
		return r.StatusCode == http.StatusOK && r.err == nil && r.Header.Get("Proxy-Status") == ""
	})
	eventually(t, string(f)+": /time is fresh", func() bool {
		r := get(t, c, p.site+"/time")
		status := r.Header.Get("Cache-Status")
		return r.StatusCode == http.StatusOK && strings.Contains(status, "; hit; ttl=") && !strings.Contains(status, "ttl=-")
	})
}

// branded tells whether r is the error page, and says why.
func branded(r reply) bool {
	return r.StatusCode >= 500 && r.err == nil && strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") &&
		strings.Contains(r.body, "Holdfast demonstration") && strings.Contains(r.Header.Get("Proxy-Status"), "holdfast; ") &&
		strings.Contains(r.Header.Get("Proxy-Status"), "cause=") && r.Header.Get("Cache-Control") == "no-store"
}

// A visitor's own look at the demonstration, without scripts and with them.
func TestDemoPages(t *testing.T) {
	t.Parallel()
	p := startDemo(t)
	c := newClient(t)
	home := get(t, c, p.site+"/")
	if home.StatusCode != http.StatusOK || !strings.Contains(home.body, p.control+"/") {
		t.Errorf("the home page is %s and does not lead to %s", home.Status, p.control)
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="(/[^"]*)"`).FindAllStringSubmatch(home.body, -1) {
		if m[1] == "/stream" {
			continue // does not end
		}
		if r := get(t, c, p.site+m[1]); r.StatusCode != http.StatusOK || r.err != nil {
			t.Errorf("%s, which the home page names, is %s", m[1], r.Status)
		}
	}

	var page reply
	eventually(t, "the control page shows all pages and the breaker", func() bool {
		page = get(t, c, p.control+"/")
		return strings.Count(page.body, "Cache-Status: holdfast") >= 2 && strings.Contains(page.body, "closed")
	})
	for _, want := range append([]string{"Break the origin", p.site}, "/break/refuse", "/break/stall", "/break/500", "/break/slow", "/break/truncate", "/heal") {
		if !strings.Contains(page.body, want) {
			t.Errorf("the control page lacks %q", want)
		}
	}
	for _, m := range regexp.MustCompile(`(?:href|src)="(/[^"]*)"`).FindAllStringSubmatch(page.body, -1) {
		if r := get(t, c, p.control+m[1]); r.StatusCode != http.StatusOK {
			t.Errorf("%s, which the control page names, is %s", m[1], r.Status)
		}
	}

	// A browser without scripts goes back to the page.
	r := post(t, c, p.control+"/break/refuse", "Accept", "text/html,*/*;q=0.8", "Origin", p.control, "Sec-Fetch-Site", "same-origin")
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/" {
		t.Errorf("a browser's POST = %s, Location %q", r.Status, r.Header.Get("Location"))
	}
	eventually(t, "the control page shows the error page and the open breaker", func() bool {
		body := get(t, c, p.control+"/state").body
		return strings.Contains(body, "Proxy-Status: holdfast; error=") && strings.Contains(body, "next trial in")
	})
	p.drained(t)
}

// Maintenance is switched on and off on the control page, and everybody gets its
// page, in the demonstration's own colour and name or those that flags say.
func TestDemoMaintenance(t *testing.T) {
	t.Parallel()
	p := start(t, "-demo", "-control", "127.0.0.1:0", "-brand", "Tide & Co", "-brand-color", "07f", "-locales", "de,en")
	c := newClient(t)
	order := func(what string) {
		t.Helper()
		if r := post(t, c, p.control+"/maintenance/"+what); r.StatusCode != http.StatusOK || r.body != "maintenance: "+what+"\n" {
			t.Fatalf("maintenance %s = %s %q", what, r.Status, r.body)
		}
	}
	if r := get(t, c, p.site+"/time"); r.StatusCode != http.StatusOK {
		t.Fatalf("/time = %s", r.Status)
	}
	order("on")
	for language, want := range map[string]string{"": "de", "en-GB,en": "en", "fr": "de"} {
		r := get(t, c, p.site+"/time", "Accept", "text/html", "Accept-Language", language)
		if r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Content-Language") != want || r.Header.Get("Retry-After") != "" ||
			!strings.Contains(r.Header.Get("Proxy-Status"), "cause=maintenance") || !strings.Contains(r.body, "Tide &amp; Co") {
			t.Errorf("%q: %s %q\n%s", language, r.Status, r.Header, r.body)
		}
		if own := strings.Contains(r.body, "This demonstration is closed"); own != (want == "en") {
			t.Errorf("%q: the demonstration's own words are there: %v", language, own)
		}
	}
	if body := get(t, c, p.control+"/").body; !strings.Contains(body, `action="/maintenance/off"`) || !strings.Contains(body, `data-closed="true"`) {
		t.Errorf("the control page does not show maintenance:\n%s", body)
	}
	order("off")
	if r := get(t, c, p.site+"/time"); r.StatusCode != http.StatusOK {
		t.Errorf("/time after maintenance = %s", r.Status)
	}
	if body := get(t, c, p.control+"/").body; !strings.Contains(body, `action="/maintenance/on"`) || !strings.Contains(body, `data-closed="false"`) {
		t.Errorf("the control page still shows maintenance:\n%s", body)
	}
	if r := post(t, c, p.control+"/maintenance/on", "Origin", p.site, "Sec-Fetch-Site", "same-site"); r.StatusCode != http.StatusForbidden {
		t.Errorf("an order of the proxied site = %s", r.Status)
	}
	p.drained(t)
}

// The demonstration has a look of its own where no flag says another.
func TestPageConfig(t *testing.T) {
	demo := pageConfig(config{}, demoTuning())
	if demo.Brand != "Holdfast demonstration" || demo.Color != "#0f766e" || !demo.Intercept5xx || demo.Locales != nil {
		t.Errorf("the demonstration's pages = %+v", demo)
	}
	given := pageConfig(config{brand: "A", brandColor: "#123", locales: []string{"de"}, maintenanceFile: "m"}, demoTuning())
	if given.Brand != "A" || given.Color != "#123" || given.Logo != "" || given.Maintenance.File != "m" || len(given.Locales) != 1 {
		t.Errorf("with flags = %+v", given)
	}
	site := pageConfig(config{}, siteTuning(defaults(false)))
	if site.Brand != "" || site.Color != "" || site.Messages != nil || site.Intercept5xx {
		t.Errorf("a site's pages = %+v, want them neutral", site)
	}
}

// Orders are taken neither from pages of other sites nor under foreign names, and
// nothing of it is reachable through the proxy.
func TestControlIsGuarded(t *testing.T) {
	t.Parallel()
	p := startDemo(t)
	c := newClient(t)
	for _, tt := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"another site (new browsers)", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, http.StatusForbidden},
		{"another site (old browsers)", []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"the proxied site", []string{"Origin", p.site, "Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"a name that was pointed here", []string{"Host", "evil.example:80", "Origin", "http://evil.example:80", "Sec-Fetch-Site", "same-origin"}, http.StatusMisdirectedRequest},
	} {
		if r := post(t, c, p.control+"/break/refuse", tt.headers...); r.StatusCode != tt.want {
			t.Errorf("%s: %s, want %d", tt.name, r.Status, tt.want)
		}
	}
	for target, want := range map[string]int{
		p.control + "/break/refuse": http.StatusMethodNotAllowed, // by GET
		p.control + "/nothing":      http.StatusNotFound,
		p.site + "/readyz":          http.StatusNotFound,
		p.site + "/metrics":         http.StatusNotFound,
		p.site + "/state":           http.StatusNotFound,
		p.admin + "/state":          http.StatusNotFound,
		p.admin + "/":               http.StatusNotFound,
	} {
		if r := get(t, c, target); r.StatusCode != want {
			t.Errorf("GET %s = %s, want %d", target, r.Status, want)
		}
	}
	if r := post(t, c, p.control+"/break/everything"); r.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown fault = %s", r.Status)
	}
	if r := get(t, c, p.site+"/uncached"); r.StatusCode != http.StatusOK {
		t.Errorf("the origin was broken by one of these: %s", r.Status)
	}
	p.drained(t)
}

func TestAnswerWords(t *testing.T) {
	for _, tt := range []struct {
		answer
		want string
	}{
		{answer{Status: 200, CacheStatus: "holdfast; hit; ttl=3"}, "fresh"},
		{answer{Status: 200, CacheStatus: "holdfast; hit; ttl=-3; detail=breaker_open"}, "stale"},
		{answer{Status: 200, CacheStatus: "holdfast; fwd=stale; fwd-status=500; ttl=-1; detail=upstream_5xx"}, "stale"},
		{answer{Status: 200, CacheStatus: "holdfast; fwd=uri-miss; fwd-status=200; stored"}, "origin"},
		{answer{Status: 200, CacheStatus: "holdfast; fwd=stale; fwd-status=304; stored; ttl=5"}, "origin"},
		{answer{Status: 502, ProxyStatus: "holdfast; error=connection_refused; cause=connection_refused"}, "page"},
		{answer{Status: 200, Cut: true}, "cut"},
		{answer{Status: 200, Cut: true, Left: true}, "origin"},
		{answer{Status: 204}, "origin"},
	} {
		if got := tt.Kind(); got != tt.want || tt.Words() == "" || tt.Label() == "" {
			t.Errorf("%+v is %q, want %q", tt.answer, got, tt.want)
		}
	}
}
