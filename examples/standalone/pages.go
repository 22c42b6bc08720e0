package main

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"
)

//go:embed demo
var assets embed.FS

// pageSet renders the demonstration's pages.
type pageSet struct{ templates *template.Template }

func newPageSet() (*pageSet, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"clock": func(t time.Time) string { return t.Format("15:04:05") },
		"ms":    func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + " ms" },
	}).ParseFS(assets, "demo/*.html")
	return &pageSet{t}, err
}

// The cache directives of the demonstration's pages: short enough to watch.
const (
	cacheBriefly = "max-age=5, stale-if-error=86400"
	cacheAsset   = "max-age=60, stale-if-error=86400"
	cacheNever   = "no-store"
)

// site is what the origin serves: pages that are stored, one that is not, and a
// stream, which ends when stop is closed. control is where a visitor can break it.
func (p *pageSet) site(control string, stop <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	html := func(pattern, name, caching string) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, _ *http.Request) {
			p.render(w, name, caching, struct {
				Now     time.Time
				Control string
			}{time.Now(), control})
		})
	}
	html("/{$}", "home.html", cacheBriefly)
	html("/time", "time.html", cacheBriefly)
	html("/uncached", "uncached.html", cacheNever)
	asset(mux, "style.css", "text/css; charset=utf-8", cacheAsset)
	asset(mux, "home.js", "text/javascript; charset=utf-8", cacheAsset)
	asset(mux, "logo.svg", "image/svg+xml", cacheAsset)
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) { stream(w, r, stop) })
	return mux
}

// render answers with a template, whole and with its length.
func (p *pageSet) render(w http.ResponseWriter, name, caching string, data any) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	send(w, "text/html; charset=utf-8", caching, body.Bytes())
}

// asset serves an embedded file.
func asset(mux *http.ServeMux, name, contentType, caching string) {
	mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, _ *http.Request) {
		body, err := assets.ReadFile("demo/" + name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		send(w, contentType, caching, body)
	})
}

func send(w http.ResponseWriter, contentType, caching string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", caching)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(body) // the reader may be gone; there is nobody to tell
}

// maxStream ends a stream that nobody ended; the browser opens another.
const maxStream = 10 * time.Minute

// stream sends the time as server-sent events, one a second.
func stream(w http.ResponseWriter, r *http.Request, stop <-chan struct{}) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", cacheNever)
	rc := http.NewResponseController(w)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n, now := 1, time.Now(); n < int(maxStream/time.Second); n++ {
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", n, now.Format("15:04:05")); err != nil || rc.Flush() != nil {
			return
		}
		select {
		case now = <-tick.C:
		case <-r.Context().Done():
			return
		case <-stop:
			return
		}
	}
}
