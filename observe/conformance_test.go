package observe

import (
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/internal/writertest"
)

func TestConformance(t *testing.T) {
	o, _ := newObserver(t, Config{})
	writertest.Run(t, o.Handler)
}

// The two outermost layers together.
func TestConformanceWithPage(t *testing.T) {
	o, _ := newObserver(t, Config{})
	page, err := errorpage.New(errorpage.Config{Observe: o.ErrorPage})
	if err != nil {
		t.Fatal(err)
	}
	writertest.Run(t, func(next http.Handler) http.Handler { return o.Handler(page.Handler(next)) })
}
