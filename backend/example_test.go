package backend_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/holdfast-go/holdfast/backend"
)

// A service on two addresses, one of which is down: visitors do not notice.
func Example() {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello from %s", r.URL.Path)
	}))
	defer app.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	origin, err := backend.New(backend.Config{
		Name:      "app",
		Endpoints: []backend.Endpoint{{URL: app.URL}, {URL: gone.URL}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = origin.Shutdown(context.Background()) }()

	front := httptest.NewServer(origin)
	defer front.Close()
	for range 2 {
		res, err := http.Get(front.URL + "/page")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(res.StatusCode, string(body))
	}
	// Output:
	// 200 hello from /page
	// 200 hello from /page
}

// An application in the same process gets timeouts, a breaker's gate and typed
// failures like a remote one.
func Example_handler() {
	app := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("bug") })
	origin, err := backend.New(backend.Config{Endpoints: []backend.Endpoint{{Handler: app}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = origin.Shutdown(context.Background()) }()

	rec := httptest.NewRecorder()
	origin.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(rec.Code, rec.Header().Get("Proxy-Status"))
	// Output:
	// 500 holdfast; error=proxy_internal_error; cause=panic
}

// Mistakes in a configuration are all told at once.
func ExampleNew() {
	_, err := backend.New(backend.Config{
		Connect:   -3,
		Endpoints: []backend.Endpoint{{URL: "ftp://files.example"}},
	})
	fmt.Println(err)
	// Output:
	// backend: Config.Connect is -3ns: must be positive, or 0 for 3s
	// backend: Config.Endpoints[0].URL is "ftp://files.example": the scheme must be http, https, h2, h2c or unix
}
