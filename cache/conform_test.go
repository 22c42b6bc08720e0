package cache

import (
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/internal/writer"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

// TestConformance runs over requests that occur only once, so that all of them
// reach next: with answers that are not stored, and with answers that are.
func TestConformance(t *testing.T) {
	t.Run("unstored", func(t *testing.T) {
		t.Parallel()
		writertest.Run(t, func(next http.Handler) http.Handler {
			return newCache(t, Config{}).Handler(next)
		})
	})
	t.Run("stored", func(t *testing.T) {
		t.Parallel()
		writertest.Run(t, func(next http.Handler) http.Handler {
			return newCache(t, Config{}).Handler(fresh{next})
		}, writertest.Without(writertest.CancelGET, "a fetch that will be stored goes on for those who come later"))
	})
}

// fresh makes next's answers storable.
type fresh struct{ next http.Handler }

func (f fresh) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fw := &freshWriter{}
	fw.Init(w, fw)
	f.next.ServeHTTP(fw, r)
}

type freshWriter struct{ writer.Base }

func (w *freshWriter) Begin(int) bool {
	w.Header().Set("Cache-Control", "max-age=60")
	return true
}
