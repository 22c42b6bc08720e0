package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func BenchmarkHit(b *testing.B) {
	for name, assemble := range builds {
		b.Run(name, func(b *testing.B) {
			h, stop, err := assemble(&site{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := stop(context.Background()); err != nil {
					b.Error(err)
				}
			}()
			r := httptest.NewRequest(http.MethodGet, "/items/1", nil)
			for hit := false; !hit; {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				hit = strings.Contains(w.Header().Get("Cache-Status"), "; hit;")
			}
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.ServeHTTP(w, r)
			}
		})
	}
}

type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}
