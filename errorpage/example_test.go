package errorpage_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/holdfast-go/holdfast/errorpage"
	"github.com/holdfast-go/holdfast/failure"
)

// One page around everything: what fails inside is told in the form that the
// visitor asked for.
func Example() {
	page, err := errorpage.New(errorpage.Config{Brand: "Acme"})
	if err != nil {
		fmt.Println(err)
		return
	}
	origin := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failure.Serve(w, r, failure.New(failure.ConnectionRefused, errors.New("dial tcp 10.0.0.7:8080: connection refused")), nil)
	})
	h := page.Handler(origin)

	for _, accept := range []string{"*/*", "application/problem+json"} {
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Accept", accept)
		r.Header.Set("X-Request-Id", "7f3a")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body, _ := io.ReadAll(w.Result().Body)
		fmt.Printf("%s\n%s\n", w.Result().Header.Get("Proxy-Status"), body)
	}
	// Output:
	// holdfast; error=connection_refused; cause=connection_refused
	// Acme: 502 Bad Gateway
	// The service cannot answer right now. Nothing is wrong on your side; please try again later.
	// Request: 7f3a
	//
	// holdfast; error=connection_refused; cause=connection_refused
	// {"type":"about:blank","title":"Bad Gateway","status":502,"detail":"The service cannot answer right now. Nothing is wrong on your side; please try again later.","instance":"urn:request:7f3a","requestId":"7f3a"}
}

// ServeError is the ErrorHandler of anything that has one.
func ExamplePage_ServeError() {
	page, err := errorpage.New(errorpage.Config{Message: "We are on it: status.example.com"})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header.Set("X-Request-Id", "7f3a")
	w := httptest.NewRecorder()
	page.ServeError(w, r, errors.New("no route to host"))
	fmt.Print(w.Body)
	// Output:
	// 502 Bad Gateway
	// We are on it: status.example.com
	// Request: 7f3a
}

// A language more: what is not given in it is in English.
func ExampleConfig_texts() {
	page, err := errorpage.New(errorpage.Config{Texts: map[string]errorpage.Texts{
		"pl": {
			Groups: map[errorpage.Group]errorpage.Text{
				errorpage.Unavailable: {Heading: "Chwilowo niedostępne", Message: "Usługa w tej chwili nie odpowiada. Prosimy spróbować za moment."},
			},
			Wait: errorpage.Wait{
				Seconds: errorpage.Forms{
					One: "Prosimy spróbować za {n} sekundę.", Few: "Prosimy spróbować za {n} sekundy.", Many: "Prosimy spróbować za {n} sekund.",
				},
			},
			Request: "Zapytanie",
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	r.Header.Set("Accept-Language", "pl-PL,pl;q=0.9,en;q=0.8")
	r.Header.Set("X-Request-Id", "7f3a")
	w := httptest.NewRecorder()
	page.ServeError(w, r, &failure.Error{Cause: failure.BreakerOpen, RetryAfter: 23 * time.Second})
	fmt.Printf("Content-Language: %s\n%s", w.Result().Header.Get("Content-Language"), w.Body)
	// Output:
	// Content-Language: pl
	// 503 Service Unavailable
	// Usługa w tej chwili nie odpowiada. Prosimy spróbować za moment.
	// Prosimy spróbować za 23 sekundy.
	// Zapytanie: 7f3a
}
