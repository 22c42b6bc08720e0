package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
)

// adapt makes a gin middleware of a net/http one. While the handlers that follow
// run, c.Writer and c.Request are those that the middleware passes on; if it
// answers by itself, the handlers that follow do not run.
//
// Panics pass through. What runs on after the request, a cache's refresh, say,
// must enter at the engine: gin takes c back.
func adapt(mw func(http.Handler) http.Handler) gin.HandlerFunc {
	h := mw(http.HandlerFunc(proceed))
	return func(c *gin.Context) {
		call := &call{c: c, writer: c.Writer, request: c.Request}
		ctx := context.WithValue(c.Request.Context(), callKey{}, call)
		defer call.restore()
		h.ServeHTTP(&outward{c.Writer, c.Request.ProtoMajor}, c.Request.WithContext(ctx))
		if !call.proceeded {
			c.Abort()
		}
	}
}

type callKey struct{}

// call is one passage through an adapted middleware.
type call struct {
	c         *gin.Context
	writer    gin.ResponseWriter
	request   *http.Request
	proceeded bool
}

func (c *call) restore() { c.c.Writer, c.c.Request = c.writer, c.request }

// proceed is the next of an adapted middleware: the rest of gin's chain, which
// can run once only. A middleware that calls it again gets no answer, rather
// than one that is empty.
func proceed(w http.ResponseWriter, r *http.Request) {
	call, ok := r.Context().Value(callKey{}).(*call)
	if !ok || call.proceeded {
		panic(http.ErrAbortHandler)
	}
	call.proceeded = true
	c := call.c
	inner := &inward{ResponseWriter: w, status: call.writer.Status(), size: notWritten}
	c.Writer, c.Request = inner, r
	defer call.restore()
	c.Next()
	inner.finish(c.FullPath() != "")
}

// keepAborts goes before gin.Recovery, which takes http.ErrAbortHandler for a
// broken connection and ends the response as if it were whole.
func keepAborts(c *gin.Context) {
	c.Next()
	for _, err := range c.Errors {
		if errors.Is(err.Err, http.ErrAbortHandler) {
			panic(http.ErrAbortHandler)
		}
	}
}
