package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
)

// site is what both routers serve.
type site struct {
	// cacheControl is sent with every item; "" is max-age=60.
	cacheControl string
	// hold, if not nil, is called in the middle of an item.
	hold func(id string)

	calls atomic.Int64
}

func (s *site) chiRoutes(r chi.Router) {
	id := func(r *http.Request) string { return chi.URLParam(r, "id") }
	r.Get("/items/{id}", func(w http.ResponseWriter, r *http.Request) { s.item(w, func() string { return id(r) }) })
	r.Get("/files/{id}", func(w http.ResponseWriter, r *http.Request) { s.file(w, r, func() string { return id(r) }) })
	r.Get("/hints", func(w http.ResponseWriter, r *http.Request) { s.hints(w, w) })
	r.Get("/crash/{when}", func(w http.ResponseWriter, r *http.Request) { s.crash(w, chi.URLParam(r, "when")) })
	r.Get("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", n)
			_ = http.NewResponseController(w).Flush()
			s.pause("event")
		}
	})
}

func (s *site) ginRoutes(g gin.IRoutes) {
	g.GET("/items/:id", func(c *gin.Context) { s.item(c.Writer, func() string { return c.Param("id") }) })
	g.GET("/files/:id", func(c *gin.Context) { s.file(c.Writer, c.Request, func() string { return c.Param("id") }) })
	g.GET("/hints", func(c *gin.Context) { s.hints(c.Writer, beneath(c.Writer)) })
	g.GET("/crash/:when", func(c *gin.Context) { s.crash(c.Writer, c.Param("when")) })
	g.GET("/events", func(c *gin.Context) {
		n := 0
		c.Stream(func(w io.Writer) bool {
			if n > 0 {
				s.pause("event")
			}
			c.SSEvent("", fmt.Sprint(n))
			n++
			return n < 3
		})
	})
}

func (s *site) pause(id string) {
	if s.hold != nil {
		s.hold(id)
	}
}

// item asks the router for its parameter before and after the pause.
func (s *site) item(w http.ResponseWriter, id func() string) {
	n := s.calls.Add(1)
	cc := s.cacheControl
	if cc == "" {
		cc = "max-age=60"
	}
	w.Header().Set("Cache-Control", cc)
	w.Header().Set("X-Call", fmt.Sprint(n))
	_, _ = fmt.Fprintf(w, "item %s, ", id())
	if s.hold != nil {
		_ = http.NewResponseController(w).Flush()
		s.hold(id())
	}
	_, _ = fmt.Fprintf(w, "still %s", id())
}

// file is long, and can be had in parts. It asks the router for its parameter
// after the pause.
func (s *site) file(w http.ResponseWriter, r *http.Request, id func() string) {
	s.calls.Add(1)
	s.pause(r.Header.Get("Range"))
	w.Header().Set("Cache-Control", "max-age=60")
	w.Header().Set("Etag", strconv.Quote(id()))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat(id(), 1000)))
}

// hints sends a 103 on raw: gin's own writer would take it for the final status.
func (s *site) hints(w, raw http.ResponseWriter) {
	w.Header().Set("Link", "</style.css>; rel=preload; as=style")
	raw.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	s.pause("hints")
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, "page")
}

// crash panics before it writes, in the middle, or aborts on purpose. What it
// breaks off would be stored if it were whole.
func (s *site) crash(w http.ResponseWriter, when string) {
	s.calls.Add(1)
	if when != "early" {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "the first half")
		_ = http.NewResponseController(w).Flush()
	}
	if when == "abort" {
		panic(http.ErrAbortHandler)
	}
	panic("the handler crashed: " + when)
}
