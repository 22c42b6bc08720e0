// Command embed is a site that protects itself: its own handler, in the same
// process, behind the whole of Holdfast.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/ratelimit"
)

func main() {
	h, _, err := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=5")
		_, _ = fmt.Fprintf(w, "made at %v\n", time.Now().Format(time.TimeOnly))
	}))
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: "127.0.0.1:8080", Handler: h, ReadHeaderTimeout: 5 * time.Second}
	log.Printf("listening on http://%s", srv.Addr)
	log.Fatal(srv.ListenAndServe())
}

// protect puts the five parts around site. stop ends what they have running,
// after the server has shut down.
func protect(site http.Handler) (h http.Handler, stop func(context.Context) error, err error) {
	page, err1 := errorpage.New(errorpage.Config{Brand: "Example Shop"})
	limit, err2 := ratelimit.New(ratelimit.Config{Rate: 50})
	store, err3 := cache.New(cache.Config{})
	trip, err4 := breaker.New(breaker.Config{})
	origin, err5 := backend.New(backend.Config{Endpoints: []backend.Endpoint{{Handler: site}}, FirstByte: 5 * time.Second})
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, nil, err
	}
	stop = func(ctx context.Context) error { return errors.Join(store.Shutdown(ctx), origin.Shutdown(ctx)) }
	return page.Handler(limit.Handler(store.Handler(trip.Handler(origin)))), stop, nil
}
