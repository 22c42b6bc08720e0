package errorpage

import (
	"net/http"
	"testing"

	"github.com/holdfast-go/holdfast/internal/writertest"
)

func TestConformance(t *testing.T) {
	p, _ := newPage(t, Config{})
	writertest.Run(t, p.Handler)
}

// A handler that is asked to intercept lets everything else pass, too.
func TestConformanceIntercept(t *testing.T) {
	p, _ := newPage(t, Config{Intercept5xx: true})
	writertest.Run(t, func(next http.Handler) http.Handler { return p.Handler(next) })
}
