package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
)

func itemBody(id string) string { return "item " + id + ", still " + id }

func TestHits(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		s := &site{}
		url := start(s)
		for _, id := range []string{"7", "8"} {
			first := fetch(t, url+"/items/"+id)
			if first.status != 200 || first.body != itemBody(id) || !strings.Contains(first.cacheStatus, "fwd=uri-miss") {
				t.Errorf("first %s = %+v", id, first)
			}
			eventually(t, "a hit", func() bool {
				again := fetch(t, url+"/items/"+id)
				if again.body != itemBody(id) {
					t.Fatalf("again %s = %+v", id, again)
				}
				return strings.Contains(again.cacheStatus, "; hit; ttl=")
			})
			calls := s.calls.Load()
			if again := fetch(t, url+"/items/"+id); s.calls.Load() != calls || again.body != itemBody(id) {
				t.Errorf("a hit called the handler, or was %+v", again)
			}
		}
		if got := fetch(t, url+"/nowhere"); got.status != 404 || got.body == "" {
			t.Errorf("a route that doesn't exist = %+v, want a 404 with text", got)
		}
	})
}

// TestParametersUnderLoad: routers pool what holds the parameters, and many
// requests for many items, with leaders and followers, come at once.
func TestParametersUnderLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		s := &site{cacheControl: "max-age=0, stale-while-revalidate=60"}
		url := start(s)
		var wg sync.WaitGroup
		for worker := range 16 {
			wg.Go(func() {
				for n := range 40 {
					id := fmt.Sprint((worker + n) % 10)
					got, err := tryFetch(t.Context(), url+"/items/"+id)
					if err != nil || got.status != 200 || got.body != itemBody(id) {
						t.Errorf("item %s = %+v, %v", id, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestLeaderLeaves: the client whose request made the fetch goes away in the
// middle, and so does one of those who follow; the others get the whole, and the
// handler still knows whom it works for.
func TestLeaderLeaves(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		gate := make(chan struct{})
		s := &site{hold: func(id string) {
			if id == "7" {
				<-gate
			}
		}}
		open := sync.OnceFunc(func() { close(gate) })
		t.Cleanup(open) // before the server's own clean-up, which waits for handlers
		url := start(s)
		t.Cleanup(open)

		begin := func(ctx context.Context) (*http.Response, *bufio.Reader) {
			resp, err := request(ctx, url+"/items/7")
			if err != nil {
				t.Fatal(err)
			}
			body := bufio.NewReader(resp.Body)
			if part, err := body.ReadString(','); err != nil || part != "item 7," {
				t.Fatalf("first part = %q, %v", part, err)
			}
			return resp, body
		}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		leader, _ := begin(ctx)
		defer leader.Body.Close()
		leaver, _ := begin(ctx)
		defer leaver.Body.Close()
		var followers []*bufio.Reader
		for range 5 {
			resp, body := begin(t.Context())
			defer resp.Body.Close()
			if !strings.Contains(resp.Header.Get("Cache-Status"), "collapsed") {
				t.Errorf("Cache-Status = %q, want a follower's", resp.Header.Get("Cache-Status"))
			}
			followers = append(followers, body)
		}
		leave()
		// Other requests take up what the router may have put back.
		for n := range 20 {
			if got := fetch(t, fmt.Sprintf("%s/items/other-%d", url, n)); got.body != itemBody(fmt.Sprintf("other-%d", n)) {
				t.Errorf("other %d = %+v", n, got)
			}
		}
		open()
		for _, body := range followers {
			if rest, err := io.ReadAll(body); err != nil || string(rest) != " still 7" {
				t.Errorf("follower's rest = %q, %v", rest, err)
			}
		}
		eventually(t, "a hit", func() bool {
			got := fetch(t, url+"/items/7")
			return got.body == itemBody("7") && strings.Contains(got.cacheStatus, "; hit; ttl=") && got.call == "1"
		})
	})
}

// TestRefreshOutlivesItsRequest: the request that started a refresh has long
// been answered, and its router's context is in use by others, when the handler
// asks for its parameter again.
func TestRefreshOutlivesItsRequest(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		gate, held := make(chan struct{}), make(chan struct{}, 1)
		s := &site{cacheControl: "max-age=0, stale-while-revalidate=60"}
		s.hold = func(id string) {
			if id == "7" && s.calls.Load() > 1 {
				select {
				case held <- struct{}{}:
				default:
				}
				<-gate
			}
		}
		open := sync.OnceFunc(func() { close(gate) })
		url := start(s)
		t.Cleanup(open)

		if got := fetch(t, url+"/items/7"); got.body != itemBody("7") || got.call != "1" {
			t.Fatalf("first = %+v", got)
		}
		var stale answer
		eventually(t, "a stale answer at once", func() bool {
			stale = fetch(t, url+"/items/7")
			return strings.Contains(stale.cacheStatus, "; hit; ttl=-")
		})
		if stale.body != itemBody("7") || stale.call != "1" {
			t.Errorf("stale = %+v", stale)
		}
		select {
		case <-held:
		case <-time.After(patience):
			t.Fatal("no refresh came to the handler")
		}
		for n := range 20 {
			if got := fetch(t, fmt.Sprintf("%s/items/other-%d", url, n)); got.body != itemBody(fmt.Sprintf("other-%d", n)) {
				t.Errorf("other %d = %+v", n, got)
			}
		}
		open()
		eventually(t, "the refreshed answer", func() bool {
			got := fetch(t, url+"/items/7")
			if got.body != itemBody("7") {
				t.Fatalf("after the refresh: %+v", got)
			}
			return got.call != "1"
		})
	})
}

// TestPanics: a handler that crashes is answered with a page as long as nothing
// was sent, else its message is broken; nothing of it is stored.
func TestPanics(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		for _, when := range []string{"early", "late", "abort"} {
			t.Run(when, func(t *testing.T) {
				s := &site{}
				url := start(s)
				for n := range int64(3) {
					got, err := tryFetch(t.Context(), url+"/crash/"+when)
					switch {
					case when == "early" && (err != nil || got.status != 500 || !strings.Contains(got.body, "Example Shop")):
						t.Errorf("answer = %+v, %v; want the page", got, err)
					case when != "early" && err == nil:
						t.Errorf("a response that broke off looks whole: %+v", got)
					}
					if calls := s.calls.Load(); calls != n+1 {
						t.Fatalf("the handler was called %d times in %d requests: something was stored", calls, n+1)
					}
				}
				if got := fetch(t, url+"/items/1"); got.status != 200 {
					t.Errorf("after it: %+v", got)
				}
			})
		}
	})
}

// TestRoutersOwnRecovery: with the router's own recovery inside, and no page of
// ours, a crash before the first byte is the router's own 500, never stored.
func TestRoutersOwnRecovery(t *testing.T) {
	quiet := middleware.RequestLogger(silent{})
	for name, assemble := range map[string]build{
		"chi": func(s *site) (http.Handler, func(context.Context) error, error) {
			p, err := newParts(nil)
			r := chi.NewRouter()
			r.Use(quiet, middleware.Recoverer)
			s.chiRoutes(r)
			return p.around(r), p.store.Shutdown, err
		},
		"gin": func(s *site) (http.Handler, func(context.Context) error, error) {
			p, err := newParts(nil)
			e := gin.New()
			e.Use(keepAborts, gin.Recovery())
			s.ginRoutes(e)
			return p.around(e), p.store.Shutdown, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &site{}
			url := serve(t, s, assemble)
			for n := range int64(2) {
				if got := fetch(t, url+"/crash/early"); got.status != 500 {
					t.Errorf("answer = %+v, want 500", got)
				}
				if got, err := tryFetch(t.Context(), url+"/crash/abort"); err == nil {
					t.Errorf("an aborted response looks whole: %+v", got)
				}
				if calls := s.calls.Load(); calls != 2*n+2 {
					t.Fatalf("the handler was called %d times in %d requests: something was stored", calls, 2*n+2)
				}
			}
		})
	}
}

// silent keeps chi's Recoverer from printing the panics that are meant here.
type silent struct{}

func (silent) NewLogEntry(*http.Request) middleware.LogEntry   { return silent{} }
func (silent) Write(int, int, http.Header, time.Duration, any) {}
func (silent) Panic(any, []byte)                               {}

func TestEarlyHints(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		seen := make(chan struct{})
		url := start(&site{hold: func(string) {
			select {
			case <-seen:
			case <-time.After(patience):
				t.Error("the 103 did not arrive before the final header")
			}
		}})
		var link string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				if code == http.StatusEarlyHints {
					link = h.Get("Link")
					close(seen)
				}
				return nil
			},
		})
		got, err := tryFetch(ctx, url+"/hints")
		if err != nil || got.status != 200 || got.body != "page" || !strings.Contains(link, "/style.css") {
			t.Errorf("answer = %+v, %v, Link of the 103 = %q", got, err, link)
		}
		if got.cacheStatus == "" {
			t.Error("Cache-Status is lost after a 103")
		}
	})
}

// TestEvents: each event arrives before the next is made; gin's come from
// Context.Stream.
func TestEvents(t *testing.T) {
	eachWay(t, func(t *testing.T, start func(*site) string) {
		next := make(chan struct{})
		s := &site{hold: func(string) {
			select {
			case <-next:
			case <-time.After(patience):
				t.Error("the event did not arrive before the next was made")
			}
		}}
		url := start(s)
		resp, err := request(t.Context(), url+"/events")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body := bufio.NewScanner(resp.Body)
		n := 0
		for body.Scan() {
			data, ok := strings.CutPrefix(body.Text(), "data:")
			if !ok {
				continue
			}
			if strings.TrimSpace(data) != fmt.Sprint(n) {
				t.Fatalf("event %d = %q", n, body.Text())
			}
			n++
			select {
			case next <- struct{}{}:
			case <-time.After(50 * time.Millisecond): // nobody waits after the last one
			}
		}
		if n != 3 || body.Err() != nil {
			t.Errorf("%d events, %v; want 3", n, body.Err())
		}
	})
}
