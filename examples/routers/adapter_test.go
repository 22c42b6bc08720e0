package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

// TestAdapterConformance: what gin's writers hide of net/http, the adapter's do
// not, but for what is gin's design.
func TestAdapterConformance(t *testing.T) {
	p, err := newParts(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.store.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	}()
	late := "gin sends the status with the first byte of the body"
	for name, mws := range map[string][]gin.HandlerFunc{
		"one":        {adapt(p.page.Handler)},
		"two":        {adapt(p.page.Handler), adapt(p.limit.Handler)},
		"with abort": {keepAborts, gin.Recovery(), adapt(p.page.Handler)},
	} {
		t.Run(name, func(t *testing.T) {
			writertest.Run(t, func(next http.Handler) http.Handler {
				e := gin.New()
				e.Use(mws...)
				e.Any("/*path", gin.WrapH(next))
				return e
			}, writertest.Without(writertest.HeaderSnapshot, late), writertest.Without(writertest.FirstStatus, late+": the last one wins"))
		})
	}
}

// TestAdapterRestores: handlers outside of a middleware see their own writer and
// request again, and those after one that answers by itself do not run.
func TestAdapterRestores(t *testing.T) {
	seen := make(chan string, 4) // a broken connection is known before the handler has ended
	refuse := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/refused" {
				http.Error(w, "refused", http.StatusForbidden)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
	again := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/twice" {
				next.ServeHTTP(httptest.NewRecorder(), r)
			}
			next.ServeHTTP(w, r)
		})
	}
	e := gin.New()
	e.Use(func(c *gin.Context) {
		w, r := c.Writer, c.Request
		defer func() {
			if c.Writer != w || c.Request != r {
				t.Error("writer or request were not restored")
			}
			seen <- fmt.Sprintf("%s %d %t %d", r.URL.Path, c.Writer.Status(), c.IsAborted(), c.Writer.Size())
		}()
		c.Next()
	}, keepAborts, gin.Recovery(), adapt(refuse), adapt(again))
	var ran atomic.Int32
	for _, path := range []string{"/ok", "/refused", "/panic", "/twice"} {
		e.GET(path, func(c *gin.Context) {
			ran.Add(1)
			if path == "/panic" {
				panic("crash")
			}
			c.String(http.StatusAccepted, "fine")
		})
	}
	srv := httptest.NewUnstartedServer(e)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	defer srv.Close()
	for path, want := range map[string]int{"/ok": 202, "/refused": 403, "/panic": 500} {
		if got := fetch(t, srv.URL+path); got.status != want {
			t.Errorf("%s = %+v, want %d", path, got, want)
		}
	}
	if got, err := tryFetch(t.Context(), srv.URL+"/twice"); err == nil {
		t.Errorf("a middleware that calls next twice got %+v, want a broken connection", got)
	}
	got := []string{<-seen, <-seen, <-seen, <-seen}
	slices.Sort(got)
	if want := []string{"/ok 202 false 4", "/panic 500 true 0", "/refused 403 true 8", "/twice 200 true -1"}; !slices.Equal(got, want) {
		t.Errorf("outer handler saw %q, want %q", got, want)
	}
	if ran.Load() != 3 {
		t.Errorf("handlers ran %d times, want 3", ran.Load())
	}
}
