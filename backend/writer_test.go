package backend

import (
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

func TestWriterInProcess(t *testing.T) {
	writertest.Run(t, func(next http.Handler) http.Handler {
		return newBackend(t, Config{Endpoints: []Endpoint{{Handler: next}}})
	},
		writertest.Without(writertest.Hijack, "the connection belongs to the goroutine of the request; only upgrades get it"),
		writertest.Without(writertest.Assertions, "no Hijacker without an upgrade, no CloseNotifier (deprecated)"),
	)
}

func TestWriterUpgrade(t *testing.T) {
	writertest.Run(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u := &upgradeWriter{hijacked: func() {}}
			u.Init(w, nil)
			next.ServeHTTP(u, r)
		})
	}, writertest.Without(writertest.Assertions, "no CloseNotifier: deprecated"))
}
