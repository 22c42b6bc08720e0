package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/holdfast-go/holdfast/backend"
	"github.com/holdfast-go/holdfast/breaker"
	"github.com/holdfast-go/holdfast/cache"
	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/ratelimit"
)

// parts are the middlewares, outside in.
type parts struct {
	page  *errorpage.Page
	limit *ratelimit.Limiter
	store *cache.Cache
	trip  *breaker.Breaker
}

// newParts makes them. refresh is the router that the cache sits in, nil where
// it stands around one.
func newParts(refresh http.Handler) (parts, error) {
	page, err1 := errorpage.New(errorpage.Config{Brand: "Example Shop"})
	limit, err2 := ratelimit.New(ratelimit.Config{Rate: 10_000})
	store, err3 := cache.New(cache.Config{Refresh: refresh})
	trip, err4 := breaker.New(breaker.Config{})
	return parts{page, limit, store, trip}, errors.Join(err1, err2, err3, err4)
}

// around puts the parts around a whole router.
func (p parts) around(router http.Handler) http.Handler {
	return p.page.Handler(p.limit.Handler(p.store.Handler(p.trip.Handler(router))))
}

// build makes a site behind the parts. stop ends what they have running.
type build func(*site) (h http.Handler, stop func(context.Context) error, err error)

var builds = map[string]build{
	"around-chi": aroundChi,
	"inside-chi": insideChi,
	"around-gin": aroundGin,
	"inside-gin": insideGin,
	"behind-gin": behindGin,
}

// aroundChi is the simplest: chi doesn't know. What recovers from panics is the
// error page: chi's Recoverer, further inside, would turn a page that broke off
// in the middle into one that looks whole.
func aroundChi(s *site) (http.Handler, func(context.Context) error, error) {
	p, err := newParts(nil)
	if err != nil {
		return nil, nil, err
	}
	r := chi.NewRouter()
	s.chiRoutes(r)
	return p.around(r), p.store.Shutdown, nil
}

// insideChi uses the parts as chi middlewares, for all routes or for some. chi
// takes a request's context back when the request ends, but a refresh goes on:
// it enters at the router anew.
func insideChi(s *site) (http.Handler, func(context.Context) error, error) {
	r := chi.NewRouter()
	p, err := newParts(r)
	if err != nil {
		return nil, nil, err
	}
	r.Use(middleware.Recoverer, p.page.Handler, p.limit.Handler)
	r.Group(func(r chi.Router) {
		r.Use(p.store.Handler, p.trip.Handler)
		s.chiRoutes(r)
	})
	return r, p.store.Shutdown, nil
}

// aroundGin is as simple, without gin.Recovery for the reason that chi's
// Recoverer is missing above.
func aroundGin(s *site) (http.Handler, func(context.Context) error, error) {
	p, err := newParts(nil)
	if err != nil {
		return nil, nil, err
	}
	e := gin.New()
	s.ginRoutes(e)
	return p.around(e), p.store.Shutdown, nil
}

// insideGin uses the parts as gin middlewares.
func insideGin(s *site) (http.Handler, func(context.Context) error, error) {
	e := gin.New()
	p, err := newParts(e)
	if err != nil {
		return nil, nil, err
	}
	e.Use(keepAborts, gin.Recovery(), adapt(p.page.Handler), adapt(p.limit.Handler))
	s.ginRoutes(e.Group("", adapt(p.store.Handler), adapt(p.trip.Handler)))
	return e, p.store.Shutdown, nil
}

// behindGin makes the whole engine a backend in the same process: it gets the
// timeouts and the causes that a remote one has.
func behindGin(s *site) (http.Handler, func(context.Context) error, error) {
	p, err := newParts(nil)
	if err != nil {
		return nil, nil, err
	}
	e := gin.New()
	s.ginRoutes(e)
	origin, err := backend.New(backend.Config{Name: "gin", Endpoints: []backend.Endpoint{{Handler: e}}})
	if err != nil {
		return nil, nil, errors.Join(err, p.store.Shutdown(context.Background()))
	}
	stop := func(ctx context.Context) error { return errors.Join(p.store.Shutdown(ctx), origin.Shutdown(ctx)) }
	return p.around(origin), stop, nil
}
