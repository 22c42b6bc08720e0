package backend

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

func TestWriterInProcess(t *testing.T) {
	writertest.Run(t, func(next http.Handler) http.Handler {
		return newBackend(t, Config{Endpoints: []Endpoint{{Handler: next}}})
	},
		writertest.Without(writertest.Hijack, "the connection belongs to the goroutine of the request; only upgrades get it"),
		writertest.Without(writertest.Assertions, "no Hijacker without an upgrade"),
	)
}

func TestWriterUpgrade(t *testing.T) {
	writertest.Run(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u := &upgradeWriter{hijacked: func() {}}
			u.Init(w, nil)
			next.ServeHTTP(u, r)
		})
	})
}

// TestWriterRemote has the handlers behind a socket: what net/http can do must
// come through the proxy, too.
func TestWriterRemote(t *testing.T) {
	writertest.Run(t, func(next http.Handler) http.Handler {
		origin := httptest.NewUnstartedServer(next)
		origin.Config.ErrorLog = quiet
		origin.Start()
		t.Cleanup(origin.Close)
		return newBackend(t, Config{Endpoints: []Endpoint{{URL: origin.URL}}})
	},
		writertest.Without(writertest.Hijack, "an origin that hijacks a plain request speaks no HTTP any more"),
		writertest.Without(writertest.WriteDeadline, "an origin that can't write before its headers is answered for with a 502"),
		writertest.Without(writertest.Continue, "over HTTP/2 net/http hides the Expect field; see TestExpectContinue"),
	)
}
