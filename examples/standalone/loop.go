package main

import (
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// loopGuard ends requests that this proxy sent and that came back to it. The
// backend does so, too, but a cache in front of it never lets them get there: what
// comes back asks for what is just being fetched, and would wait for itself.
type loopGuard struct {
	id string // random: no other part of a field contains it by chance
}

func newLoopGuard() *loopGuard {
	return &loopGuard{id: failure.DefaultName + "-" + strings.ToLower(rand.Text())}
}

const cdnLoop = "Cdn-Loop" // RFC 8586

// Handler stands outside of the cache and refuses what was here before.
func (g *loopGuard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.ContainsFunc(r.Header[cdnLoop], func(v string) bool { return strings.Contains(v, g.id) }) {
			failure.Serve(w, r, &failure.Error{Cause: failure.Loop, Detail: "CDN-Loop names this proxy"}, nil)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Mark stands in front of the backend and signs what goes there.
func (g *loopGuard) Mark(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		signed := *r
		signed.Header = r.Header.Clone()
		signed.Header.Add(cdnLoop, g.id)
		next.ServeHTTP(w, &signed)
	})
}
