package main

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultErrorWriter = io.Discard // its recovery prints the panics that are meant here
	goleak.VerifyTestMain(m)
}

// patience bounds every wait; it passes only in a test that fails.
const patience = 10 * time.Second

// client makes a connection per request: on one that was used before, it would
// repeat what a handler aborted.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// eachWay runs a test for every way of putting Holdfast and a router together.
func eachWay(t *testing.T, test func(t *testing.T, start func(*site) string)) {
	for name, assemble := range builds {
		t.Run(name, func(t *testing.T) {
			test(t, func(s *site) string { return serve(t, s, assemble) })
		})
	}
}

// serve starts a server and returns its URL. At the end all that the parts have
// running must end, too.
func serve(t *testing.T, s *site, assemble build) string {
	t.Helper()
	h, stop, err := assemble(s)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Start()
	t.Cleanup(func() {
		srv.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := stop(ctx); err != nil {
			t.Errorf("stop = %v", err)
		}
	})
	return srv.URL
}

type answer struct {
	status      int
	body        string
	cacheStatus string
	call        string
}

func request(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

func fetch(t *testing.T, url string) answer {
	t.Helper()
	a, err := tryFetch(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func tryFetch(ctx context.Context, url string) (answer, error) {
	resp, err := request(ctx, url)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header.Get("Cache-Status"), resp.Header.Get("X-Call")}, err
}

// eventually polls until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
