package main

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestWholeBehindRanges: the fetch of the rest that two ranges give rise to goes
// on when their requests have ended and the router has their contexts back, and
// knows its own parameters.
func TestWholeBehindRanges(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		gate, held := make(chan struct{}), make(chan string, 8)
		s := &site{hold: func(field string) {
			if field != "bytes=0-9" && field != "bytes=10-19" {
				held <- field
				<-gate
			}
		}}
		open := sync.OnceFunc(func() { close(gate) })
		url := start(s)
		t.Cleanup(open)

		part := func(path, field string) string {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Range", field)
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusPartialContent {
				t.Fatalf("%s of %s: %d %v", field, path, res.StatusCode, err)
			}
			return string(b)
		}
		for field, want := range map[string]string{"bytes=0-9": "abcabcabca", "bytes=10-19": "bcabcabcab"} {
			if got := part("/files/abc", field); got != want {
				t.Errorf("%s is %q, want %q", field, got, want)
			}
		}
		select {
		case field := <-held:
			if field != "" && field != "bytes=20-" {
				t.Errorf("asked for %q behind the answers, want the rest or, if the first part can't be seen yet, all", field)
			}
		case <-time.After(patience):
			t.Fatal("nothing was fetched behind the answers")
		}
		for _, id := range []string{"x", "y", "z"} { // they get what the router took back
			if got := part("/files/"+id, "bytes=0-9"); got != strings.Repeat(id, 10) {
				t.Errorf("/files/%s is %q", id, got)
			}
		}
		open()
		eventually(t, "the whole", func() bool {
			got := fetch(t, url+"/files/abc")
			if got.body != strings.Repeat("abc", 1000) {
				t.Fatalf("the whole has %d bytes", len(got.body))
			}
			return strings.Contains(got.cacheStatus, "; hit")
		})
		if n := s.calls.Load(); n != 6 {
			t.Errorf("%d calls, want 6: two parts, the rest, three others", n)
		}
	})
}
