package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/breaker"
)

// controlHandler is the page on which the origin is broken and healed. It is on
// an address of its own, never behind the proxy, and takes orders neither from
// the pages of other sites nor under a name that somebody else's resolver gave to
// this address.
func (d *demo) controlHandler(p *proxy) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		d.pages.render(w, "control.html", cacheNever, d.view(p)) //nolint:contextcheck // a look at maintenance is nobody's request, here and below
	})
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		d.pages.render(w, "state", cacheNever, d.view(p)) //nolint:contextcheck // as above
	})
	mux.HandleFunc("POST /break/{fault}", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseFault(r.PathValue("fault"))
		if err != nil {
			http.Error(w, "there is no such fault: refuse, stall, 500, slow, truncate", http.StatusNotFound)
			return
		}
		d.order(w, r, f)
	})
	mux.HandleFunc("POST /maintenance/on", func(w http.ResponseWriter, r *http.Request) {
		p.stack.page.StartMaintenance(time.Time{}) //nolint:contextcheck // as above
		done(w, r, "maintenance: on")
	})
	mux.HandleFunc("POST /maintenance/off", func(w http.ResponseWriter, r *http.Request) {
		p.stack.page.EndMaintenance() //nolint:contextcheck // as above
		done(w, r, "maintenance: off")
	})
	mux.HandleFunc("POST /heal", func(w http.ResponseWriter, r *http.Request) { d.order(w, r, healthy) })
	for name, contentType := range map[string]string{
		"style.css":  "text/css; charset=utf-8",
		"control.js": "text/javascript; charset=utf-8",
		"logo.svg":   "image/svg+xml",
	} {
		asset(mux, name, contentType, "no-cache")
	}
	return localOnly(http.NewCrossOriginProtection().Handler(mux))
}

// order puts a fault in force.
func (d *demo) order(w http.ResponseWriter, r *http.Request, f fault) {
	if err := d.origin.set(r.Context(), f); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	done(w, r, "the origin: "+string(f))
}

// done answers an order. A browser goes back to the page; curl gets a line.
func done(w http.ResponseWriter, r *http.Request, what string) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, what)
}

// localOnly refuses requests under a host name: a page of another site can point
// a name of its own at 127.0.0.1, and would then be taken for this page.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = strings.Trim(r.Host, "[]")
		}
		if _, err := netip.ParseAddr(host); err != nil && !strings.EqualFold(host, "localhost") {
			http.Error(w, "this page is asked for by address or as localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// view is what the control page shows.
type view struct {
	Site    string
	Fault   fault
	Since   time.Time
	Faults  any
	Closed  bool // for maintenance
	Breaker breaker.State
	NextIn  time.Duration // until the breaker tries again; 0 if it is not waiting
	Latest  []answer
	Last    []answer
}

// PhaseKind is the colour of the breaker's phase.
func (v view) PhaseKind() string {
	switch v.Breaker.Phase {
	case breaker.Open:
		return "page"
	case breaker.HalfOpen:
		return "stale"
	default:
		return "fresh"
	}
}

func (d *demo) view(p *proxy) view {
	f, since, _ := d.origin.state()
	v := view{Site: d.target, Fault: f, Since: since, Faults: faults, Closed: p.stack.page.MaintenanceState().On, Breaker: p.stack.breakers.list()[0].State()}
	if v.Breaker.Phase == breaker.Open {
		v.NextIn = max(0, time.Until(v.Breaker.Next)).Round(100 * time.Millisecond)
	}
	v.Last, v.Latest = d.record.answers()
	return v
}
