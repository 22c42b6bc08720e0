package observe_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/observe"
)

// Outermost, and the Observe func of what stands inside.
func Example() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "duration", "request_id", "hint":
				return slog.Attr{} // differs from run to run, or is long
			}
			return a
		},
	}))
	obs, err := observe.New(observe.Config{Logger: logger})
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := errorpage.New(errorpage.Config{Observe: obs.ErrorPage})
	if err != nil {
		fmt.Println(err)
		return
	}
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Serve(w, r, &failure.Error{Cause: failure.ConnectionRefused, Backend: "shop", Endpoint: "10.0.0.7:8080"}, nil)
	})
	h := obs.Handler(page.Handler(origin))

	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://shop.example/cart?token=x", http.NoBody)
	r.Header.Set("Sec-Fetch-Dest", "image")
	h.ServeHTTP(httptest.NewRecorder(), r)
	// Output:
	// level=INFO msg=request method=GET host=shop.example path=/cart proto=HTTP/1.1 peer=192.0.2.1:1234 status=502 bytes=0
	// level=ERROR msg="request failed" cause=connection_refused rung=unmended status=502 backend=shop endpoint=10.0.0.7:8080
}
