package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/holdfast-go/holdfast/backend"
)

// adminHandler serves what an operator's machines ask for, on a listener of its
// own that is not meant for visitors:
//
//	/healthz  200 as long as the process answers: restart it where it doesn't.
//	/readyz   200 while it may be sent traffic, 503 while it drains.
//	/metrics  Prometheus.
//	/backends what is known of the endpoints; POST: takes one out, or back.
//	/purge    POST: takes pages out of the cache.
//	/explain  what the cache has for a URL and would do with a request for it.
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
		status, lines := p.readiness()
		plain(w, status, lines...)
	})
	mux.Handle("GET /metrics", p.stack.metrics)
	mux.HandleFunc("GET /backends", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, p.stack.backend.Status())
	})
	mux.HandleFunc("POST /backends", p.steer)
	mux.Handle("/purge", p.purgeHandler())
	mux.HandleFunc("GET /explain", p.explain)
	// A page in an operator's browser must not purge.
	return unbound(http.NewCrossOriginProtection().Handler(mux))
}

// unbound refuses what a page sends to a name that its own site has led to this
// listener (DNS rebinding): to a browser that is the same origin. Scripts and
// tools send no Origin; who opens the listener in a browser does so by address.
func unbound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Origin"]) > 0 && !byAddress(r.Host) {
			plain(w, http.StatusForbidden, "from a browser this listener is to be opened by its address, not by a name")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// byAddress tells whether a Host field names an IP address, or this machine.
func byAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost")
}

// purgeHandler refuses while the snapshot is being written: what it has already
// would come back at the next start.
func (p *proxy) purgeHandler() http.Handler {
	purge := p.stack.cache.PurgeHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.saving.RLock()
		defer p.saving.RUnlock()
		if p.saved {
			plain(w, http.StatusServiceUnavailable, "shutting down, and the snapshot is being written: purge again after the start")
			return
		}
		purge.ServeHTTP(w, r)
	})
}

// explain says what the cache would do with a request for ?url=, of the method
// ?method= and with the fields ?header=Name:+value, without doing it.
func (p *proxy) explain(w http.ResponseWriter, r *http.Request) {
	q, err := imagine(r.Context(), r.URL.Query())
	if err != nil {
		plain(w, http.StatusBadRequest, err.Error())
		return
	}
	writeJSON(w, p.stack.cache.Explain(q))
}

func writeJSON(w http.ResponseWriter, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(v) // an error is an operator who is gone
}

// steer does with the endpoint of the form what its steering says: drain,
// force-down, force-up, automatic.
func (p *proxy) steer(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	if err := r.ParseForm(); err != nil {
		plain(w, http.StatusBadRequest, "the form can't be read: "+err.Error())
		return
	}
	how, err := backend.ParseSteering(r.Form.Get("steering"))
	if err == nil {
		err = p.stack.backend.Steer(r.Form.Get("endpoint"), how)
	}
	if err != nil {
		plain(w, http.StatusBadRequest, err.Error())
		return
	}
	p.log.InfoContext(r.Context(), "endpoint steered", "endpoint", r.Form.Get("endpoint"), "steering", how.String())
	plain(w, http.StatusOK, r.Form.Get("endpoint")+": "+how.String())
}

// imagine makes the request that a visitor would send.
func imagine(ctx context.Context, form url.Values) (*http.Request, error) {
	u, err := url.Parse(form.Get("url"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("url must be the whole URL that a visitor would use, such as http://shop.example/page, escaped (curl -G --data-urlencode url=URL does that)")
	}
	method := cmp.Or(form.Get("method"), http.MethodGet)
	q, err := http.NewRequestWithContext(ctx, method, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("method must be the name of a method, such as GET")
	}
	q.RequestURI, q.Host = u.RequestURI(), u.Host
	if u.Scheme == "https" {
		q.TLS = &tls.ConnectionState{}
	}
	for _, line := range form["header"] {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, errors.New("header must be NAME:VALUE, such as Accept-Encoding:gzip")
		}
		q.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return q, nil
}

// readiness is the status of /readyz and the lines that explain it.
func (p *proxy) readiness() (int, []string) {
	status, lines := http.StatusOK, []string{"ready"}
	if p.gate.draining.Load() {
		status = http.StatusServiceUnavailable
		lines = []string{fmt.Sprintf("draining: %d requests in flight", p.gate.inFlight.Load())}
	}
	for _, e := range p.stack.backend.Endpoints() {
		state := e.State
		if e.State == "up" {
			state = "healthy"
		}
		if e.Reason != 0 {
			state = strings.TrimSuffix(fmt.Sprintf("%s, %s: %s", state, e.Reason, e.Detail), ": ")
		}
		lines = append(lines, fmt.Sprintf("endpoint %s: %s, %d in flight", e.Name, state, e.InFlight))
	}
	if !p.stack.backend.Available() {
		lines = append(lines, "no endpoint is up: they are asked only as long as they answer, and stored pages answer where there are any")
	}
	for _, b := range p.stack.breakers.list() {
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
