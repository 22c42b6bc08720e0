package main

import (
	"fmt"
	"net/http"
	"strings"
)

// adminHandler serves what an operator's machines ask for, on a listener of its
// own that is not meant for visitors:
//
//	/healthz  200 as long as the process answers: restart it where it doesn't.
//	/readyz   200 while it may be sent traffic, 503 while it drains.
//	/metrics  Prometheus.
//
// Readiness says nothing about the origin. A proxy that called itself unready
// while the origin is down would be taken out of rotation together with all the
// stored pages that it could have answered with. What the origin's state is
// stands in the text, for people.
func (p *proxy) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, lines := p.readiness() //nolint:contextcheck // a breaker's state belongs to no request
		plain(w, status, lines...)
	})
	mux.Handle("GET /metrics", p.stack.metrics)
	return mux
}

// readiness is the status of /readyz and the lines that explain it.
func (p *proxy) readiness() (int, []string) {
	status, lines := http.StatusOK, []string{"ready"}
	if p.gate.draining.Load() {
		status = http.StatusServiceUnavailable
		lines = []string{fmt.Sprintf("draining: %d requests in flight", p.gate.inFlight.Load())}
	}
	for _, e := range p.stack.backend.Endpoints() {
		state := "healthy"
		if !e.Healthy {
			state = strings.TrimSuffix(fmt.Sprintf("not used, %s: %s", e.Reason, e.Detail), ": ")
		}
		lines = append(lines, fmt.Sprintf("endpoint %s: %s, %d in flight", e.Name, state, e.InFlight))
	}
	if !p.stack.backend.Available() {
		lines = append(lines, "no endpoint may be used: stored pages answer where there are any")
	}
	for _, b := range p.stack.breakers {
		lines = append(lines, fmt.Sprintf("breaker %s: %s", b.name, b.State().Phase))
	}
	return status, lines
}

func plain(w http.ResponseWriter, status int, lines ...string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, strings.Join(lines, "\n"))
}
