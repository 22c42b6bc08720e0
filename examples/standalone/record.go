package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/writer"
)

// answer is one answer of the proxy, as its client saw it.
type answer struct {
	At          time.Time
	Visitor     bool // asked for by the demonstration itself
	Method      string
	Path        string
	Status      int
	CacheStatus string
	ProxyStatus string
	Took        time.Duration
	Cut         bool // the connection was aborted in the middle
	Left        bool // by its client
}

// record keeps the last answers, and of the demonstration's pages the last one
// each.
type record struct {
	mu     sync.Mutex // guards what follows
	last   []answer   // newest first, at most maxAnswers
	latest map[string]answer
}

const (
	maxAnswers  = 24
	maxPathSeen = 60 // of a path that is shown
)

// shownPages are the pages whose latest answer is always on the control page.
var shownPages = []string{"/", "/time", "/uncached"}

// visitorAgent marks the demonstration's own visitors.
const visitorAgent = "holdfast-demo-visitor"

// Handler records what next answers.
func (rec *record) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		c := &recorder{}
		c.Init(w, c)
		finished := false
		defer func() {
			rec.add(answer{
				At:          start,
				Visitor:     r.UserAgent() == visitorAgent,
				Method:      r.Method,
				Path:        shorten(r.URL.Path, maxPathSeen),
				Status:      c.Status(),
				CacheStatus: c.cacheStatus,
				ProxyStatus: c.proxyStatus,
				Took:        time.Since(start),
				Cut:         !finished,
				Left:        !finished && r.Context().Err() != nil,
			})
		}()
		next.ServeHTTP(c, r)
		finished = true
	})
}

// recorder notes the two fields when the header passes outward.
type recorder struct {
	writer.Base
	cacheStatus, proxyStatus string
}

// Begin notes the fields that explain the answer.
func (c *recorder) Begin(int) bool {
	c.cacheStatus = strings.Join(c.Header().Values("Cache-Status"), ", ")
	c.proxyStatus = strings.Join(c.Header().Values("Proxy-Status"), ", ")
	return true
}

func (rec *record) add(a answer) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.last) == maxAnswers {
		rec.last = rec.last[:maxAnswers-1]
	}
	rec.last = slices.Insert(rec.last, 0, a)
	if slices.Contains(shownPages, a.Path) {
		if rec.latest == nil {
			rec.latest = make(map[string]answer)
		}
		rec.latest[a.Path] = a
	}
}

// answers returns the last answers, newest first, and the latest of each page
// that is always shown.
func (rec *record) answers() (last, latest []answer) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, path := range shownPages {
		if a, ok := rec.latest[path]; ok {
			latest = append(latest, a)
		}
	}
	return slices.Clone(rec.last), latest
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// Kind sorts an answer for its colour: fresh, stale, origin, page or cut.
func (a answer) Kind() string {
	switch {
	case a.Left:
		return "origin"
	case a.Cut:
		return "cut"
	case strings.Contains(a.ProxyStatus, "cause="):
		return "page"
	case strings.Contains(a.CacheStatus, "; hit") && !strings.Contains(a.CacheStatus, "ttl=-"):
		return "fresh"
	case strings.Contains(a.CacheStatus, "; hit"), strings.Contains(a.CacheStatus, "ttl=-"):
		return "stale"
	}
	return "origin"
}

// Label stands in place of the status where an answer did not end.
func (a answer) Label() string {
	switch {
	case a.Left:
		return "left"
	case a.Cut:
		return "cut"
	}
	return strconv.Itoa(a.Status)
}

// Words says what an answer was.
func (a answer) Words() string {
	if a.Left {
		return "its client left"
	}
	switch a.Kind() {
	case "cut":
		return "broken off: never passed off as whole"
	case "page":
		return "the error page"
	case "fresh":
		return "from the store"
	case "stale":
		return "stale, from the store: better than an error"
	}
	return "from the origin"
}
