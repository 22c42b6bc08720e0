package backend

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func namedHandlers(n int) []Endpoint {
	var eps []Endpoint
	for i := range n {
		eps = append(eps, Endpoint{Name: fmt.Sprintf("e%d", i), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if cc := r.URL.Query().Get("cc"); cc != "" {
				w.Header().Set("Cache-Control", cc)
			}
			switch r.URL.Path {
			case "/error":
				w.WriteHeader(500)
			case "/304":
				w.WriteHeader(304)
			case "/own":
				w.Header().Set("Set-Cookie", "own=1")
			}
			_, _ = io.WriteString(w, fmt.Sprintf("e%d", i))
		})})
	}
	return eps
}

// visitSticky makes one request with the cookies, and returns the answer with
// the one that binds; nil: none was set.
func visitSticky(b *Backend, target, cookies string) (*httptest.ResponseRecorder, *http.Cookie) {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Header.Set("If-None-Match", `"x"`)
	if cookies != "" {
		r.Header.Set("Cookie", cookies)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	for _, one := range w.Result().Cookies() {
		if one.Name == "lb" {
			return w, one
		}
	}
	return w, nil
}

func TestSticky(t *testing.T) {
	b := newBackend(t, Config{Endpoints: namedHandlers(4), Sticky: Sticky{Cookie: "lb"}})
	w, cookie := visitSticky(b, "/", "")
	if cookie == nil {
		t.Fatal("no cookie")
	}
	own := w.Body.String()
	if !cookie.HttpOnly || cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.MaxAge != 0 {
		t.Errorf("cookie = %+v, want HttpOnly, Lax, of the session", cookie)
	}
	if strings.Contains(cookie.Value, own) || len(cookie.Value) != 16 {
		t.Errorf("value = %q, want 16 characters that tell nothing", cookie.Value)
	}
	for _, cookies := range []string{"lb=" + cookie.Value, "a=b; lb=" + cookie.Value, "lb=garbage; lb=" + cookie.Value} {
		for range 20 {
			if w, again := visitSticky(b, "/", cookies); w.Body.String() != own || again != nil || w.Header().Get("Cache-Control") != "" {
				t.Fatalf("%q: answered by %s, cookie %v, %v; want %s and nothing", cookies, w.Body, again, w.Header(), own)
			}
		}
	}
	for _, garbage := range []string{"lb=", "lb=%%%", "lb=" + strings.Repeat("x", 5000), "lb=" + cookie.Value + "x", "LB=" + cookie.Value} {
		if _, again := visitSticky(b, "/", garbage); again == nil {
			t.Errorf("%.40q: no cookie, want a new one", garbage)
		}
	}
}

// Whose endpoint goes is bound to another one; whose is drained stays.
func TestStickyFallsBack(t *testing.T) {
	eps := namedHandlers(3)
	eps[2].Backup = true
	b := newBackend(t, Config{Endpoints: eps, Sticky: Sticky{Cookie: "lb"}})
	w, cookie := visitSticky(b, "/", "")
	own := w.Body.String()
	bound := "lb=" + cookie.Value
	steer := func(name string, s Steering) {
		t.Helper()
		if err := b.Steer(name, s); err != nil {
			t.Fatal(err)
		}
	}
	steer(own, Drain)
	for range 10 {
		if w, again := visitSticky(b, "/", bound); w.Body.String() != own || again != nil {
			t.Fatalf("drained: answered by %s, cookie %v, want %s still", w.Body, again, own)
		}
		if w, _ := visitSticky(b, "/", ""); w.Body.String() == own {
			t.Fatal("a new client is bound to the drained endpoint")
		}
	}
	steer(own, ForceDown)
	w, moved := visitSticky(b, "/", bound)
	if w.Body.String() == own || moved == nil || moved.Value == cookie.Value {
		t.Fatalf("forced down: answered by %s, cookie %v, want another one", w.Body, moved)
	}
	steer("e0", ForceDown)
	steer("e1", ForceDown)
	w, backup := visitSticky(b, "/", bound)
	if w.Body.String() != "e2" || backup == nil {
		t.Fatalf("answered by %s, cookie %v, want the backup's", w.Body, backup)
	}
	steer("e0", Automatic)
	if w, back := visitSticky(b, "/", "lb="+backup.Value); w.Body.String() != "e0" || back == nil {
		t.Errorf("answered by %s, cookie %v, want to leave the backup", w.Body, back)
	}
}

// An answer that sets the cookie is not for shared caches.
func TestStickyCacheControl(t *testing.T) {
	for _, tt := range []struct {
		target, want string
		shared       bool
		cookie       bool
	}{
		{"/", "private", false, true},
		{"/?cc=max-age=60", "max-age=60, private", false, true},
		{"/?cc=public,max-age=60", "max-age=60, private", false, true},
		{"/?cc=no-store", "no-store", false, true},
		{"/?cc=Private,max-age=5", "Private,max-age=5", false, true},
		{"/?cc=public", "public", true, true},
		{"/error", "", false, false},
		{"/304?cc=public", "public", false, false},
		{"/own", "private", false, true},
	} {
		b := newBackend(t, Config{Endpoints: namedHandlers(1), Sticky: Sticky{Cookie: "lb", Shared: tt.shared}})
		w, cookie := visitSticky(b, tt.target, "")
		if got := w.Header().Get("Cache-Control"); got != tt.want || (cookie != nil) != tt.cookie {
			t.Errorf("%s: Cache-Control %q, cookie %v, want %q, %v", tt.target, got, cookie, tt.want, tt.cookie)
		}
		if tt.target == "/own" && len(w.Result().Cookies()) != 2 {
			t.Errorf("cookies = %v, want the backend's own, too", w.Result().Cookies())
		}
	}
}

// With the same key the values are the same in every process; without, in none.
func TestStickyKey(t *testing.T) {
	value := func(key []byte, name string) string {
		b := newBackend(t, Config{Name: name, Endpoints: namedHandlers(1), Sticky: Sticky{Cookie: "lb", Key: key, TTL: time.Hour, Secure: true, Scripts: true}})
		_, cookie := visitSticky(b, "/", "")
		if !cookie.Secure || cookie.HttpOnly || cookie.MaxAge != 3600 {
			t.Errorf("cookie = %+v, want it secure, for scripts, for an hour", cookie)
		}
		if err := b.Update(b.now().cfg); err != nil {
			t.Fatal(err)
		}
		if _, again := visitSticky(b, "/", "lb="+cookie.Value); again != nil {
			t.Error("the cookie is lost with an update")
		}
		return cookie.Value
	}
	key := bytes.Repeat([]byte("k"), 32)
	if a, b := value(key, "a"), value(key, "a"); a != b {
		t.Errorf("%q and %q with the same key", a, b)
	}
	if a, b := value(key, "a"), value(key, "b"); a == b {
		t.Error("two backends have the same values")
	}
	if a, b := value(nil, "a"), value(nil, "a"); a == b {
		t.Error("the same random key twice")
	}
}

func TestStickyConfig(t *testing.T) {
	for _, tt := range []struct {
		s    Sticky
		want string
	}{
		{Sticky{Cookie: "a b"}, "makes no cookie"},
		{Sticky{Cookie: "lb", Path: "/;x"}, "makes no cookie"},
		{Sticky{Cookie: "lb", Domain: "a b"}, "makes no cookie"},
		{Sticky{Cookie: "lb", TTL: -1}, "Sticky.TTL"},
		{Sticky{Cookie: "lb", TTL: 1}, "Sticky.TTL"},
		{Sticky{Cookie: "lb", Key: []byte("short")}, "Sticky.Key has 5 bytes"},
		{Sticky{Cookie: "lb", SameSite: http.SameSiteNoneMode}, "Sticky.SameSite"},
		{Sticky{Cookie: "lb", SameSite: http.SameSiteNoneMode, Secure: true}, ""},
		{Sticky{Path: "/;x"}, ""}, // off
	} {
		_, _, err := resolved(Config{Endpoints: handlers(1), Sticky: tt.s})
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.s, err, tt.want)
		}
	}
}
