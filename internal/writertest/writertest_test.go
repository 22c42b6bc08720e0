package writertest

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBareServerPasses(t *testing.T) {
	Run(t, func(next http.Handler) http.Handler { return next })
}
