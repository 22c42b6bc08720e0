package writer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/internal/writertest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// owner is told of the final status, adds a field, and may withhold the answer.
type owner struct {
	Base
	begun    []int
	withhold bool
}

func (o *owner) Begin(status int) bool {
	o.begun = append(o.begun, status)
	o.Header().Set("X-Owner", "yes")
	return !o.withhold
}

func newOwner(outer http.ResponseWriter, withhold bool) *owner {
	o := &owner{withhold: withhold}
	o.Init(outer, o)
	return o
}

func TestConformance(t *testing.T) {
	t.Run("owner", func(t *testing.T) {
		writertest.Run(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(newOwner(w, false), r) })
		})
	})
	t.Run("three deep, no owner", func(t *testing.T) {
		writertest.Run(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var layers [3]Base
				for n := range layers {
					layers[n].Init(w, nil)
					w = &layers[n]
				}
				next.ServeHTTP(w, r)
			})
		})
	})
}

func TestStatus(t *testing.T) {
	tests := []struct {
		name      string
		h         func(*owner)
		status    int
		begun     []int
		bytes     int64
		sent      bool
		wantOuter []int
		wantBody  string
	}{
		{"nothing", func(*owner) {}, 0, nil, 0, false, nil, ""},
		{"status", func(o *owner) { o.WriteHeader(404) }, 404, []int{404}, 0, true, []int{404}, ""},
		{"first status wins", func(o *owner) { o.WriteHeader(201); o.WriteHeader(500) }, 201, []int{201}, 0, true, []int{201}, ""},
		{"write", func(o *owner) { _, _ = o.Write([]byte("abc")) }, 200, []int{200}, 3, true, []int{200}, "abc"},
		{"write nothing", func(o *owner) { _, _ = o.Write(nil) }, 200, []int{200}, 0, true, []int{200}, ""},
		{"write string", func(o *owner) { _, _ = o.WriteString("abc") }, 200, []int{200}, 3, true, []int{200}, "abc"},
		{"flush", func(o *owner) { o.Flush() }, 200, []int{200}, 0, true, []int{200}, ""},
		{"read from", func(o *owner) { _, _ = o.ReadFrom(strings.NewReader("abc")) }, 200, []int{200}, 3, true, []int{200}, "abc"},
		{"read from an empty source", func(o *owner) { _, _ = o.ReadFrom(strings.NewReader("")) }, 0, nil, 0, false, nil, ""},
		{"read from a failing source, then an error", func(o *owner) {
			if _, err := o.ReadFrom(failing{}); err != nil {
				o.WriteHeader(502)
			}
		}, 502, []int{502}, 0, true, []int{502}, ""},
		{"status, then a long source", func(o *owner) {
			o.WriteHeader(203)
			_, _ = o.ReadFrom(strings.NewReader(strings.Repeat("a", 1000)))
		}, 203, []int{203}, 1000, true, []int{203}, strings.Repeat("a", 1000)},
		{"a long source", func(o *owner) {
			_, _ = o.ReadFrom(strings.NewReader(strings.Repeat("a", 1000)))
		}, 200, []int{200}, 1000, true, []int{200}, strings.Repeat("a", 1000)},
		{"1xx is not final", func(o *owner) { o.WriteHeader(103); o.WriteHeader(100) }, 0, nil, 0, false, []int{103, 100}, ""},
		{"1xx, then final", func(o *owner) { o.WriteHeader(103); o.WriteHeader(204) }, 204, []int{204}, 0, true, []int{103, 204}, ""},
		{"101 is final", func(o *owner) { o.WriteHeader(101); o.WriteHeader(200) }, 101, []int{101}, 0, true, []int{101}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := &wire{header: http.Header{}}
			o := newOwner(rec, false)
			tt.h(o)
			if o.Status() != tt.status || o.Bytes() != tt.bytes || o.Begun() != tt.sent || !slices.Equal(o.begun, tt.begun) {
				t.Errorf("Status = %d, Bytes = %d, Begun = %t, Begin %v; want %d, %d, %t, %v",
					o.Status(), o.Bytes(), o.Begun(), o.begun, tt.status, tt.bytes, tt.sent, tt.begun)
			}
			if !slices.Equal(rec.statuses, tt.wantOuter) || rec.body.String() != tt.wantBody {
				t.Errorf("outer got %d %.20q, want %d %.20q", rec.statuses, rec.body.String(), tt.wantOuter, tt.wantBody)
			}
			if added := rec.Header().Get("X-Owner") != ""; added != (len(tt.begun) > 0) {
				t.Errorf("owner's field sent: %t", added)
			}
		})
	}
}

// TestInvalidStatus: the handler's mistake panics as it does with net/http, and
// nothing counts as sent: an error page can still be written.
func TestInvalidStatus(t *testing.T) {
	for _, status := range []int{-1, 0, 99, 1000} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			rec := httptest.NewRecorder()
			o := newOwner(rec, false)
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("WriteHeader(%d) did not panic", status)
					}
				}()
				o.WriteHeader(status)
			}()
			if o.Begun() || o.Status() != 0 || len(o.begun) != 0 {
				t.Errorf("after WriteHeader(%d): Begun = %t, Status = %d, Begin %v", status, o.Begun(), o.Status(), o.begun)
			}
			if o.WriteHeader(500); rec.Code != 500 {
				t.Errorf("the page was sent with %d, want 500", rec.Code)
			}
			o.WriteHeader(status) // after the final status it is superfluous, nothing more
		})
	}
}

func TestWithheld(t *testing.T) {
	rec := httptest.NewRecorder()
	o := newOwner(rec, true)
	o.Header().Set("X-Handler", "before")
	o.WriteHeader(502)
	o.Header().Set("X-Handler", "after")
	o.Header().Set(http.TrailerPrefix+"X-Late", "yes")
	o.WriteHeader(103)
	o.WriteHeader(200)
	if n, err := o.Write([]byte("abc")); n != 3 || err != nil {
		t.Errorf("Write = %d, %v; want 3, nil", n, err)
	}
	if n, err := o.WriteString("abc"); n != 3 || err != nil {
		t.Errorf("WriteString = %d, %v; want 3, nil", n, err)
	}
	if n, err := o.ReadFrom(strings.NewReader(strings.Repeat("a", 1000))); n != 1000 || err != nil {
		t.Errorf("ReadFrom = %d, %v; want 1000, nil", n, err)
	}
	if err := o.FlushError(); err != nil {
		t.Errorf("FlushError = %v", err)
	}
	if _, _, err := o.Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Hijack = %v, want %v", err, http.ErrNotSupported)
	}
	if !o.Swallowed() || o.Begun() || o.Status() != 502 || o.Bytes() != 0 || !slices.Equal(o.begun, []int{502}) {
		t.Errorf("Swallowed = %t, Begun = %t, Status = %d, Bytes = %d, Begin %v; want true, false, 502, 0, [502]",
			o.Swallowed(), o.Begun(), o.Status(), o.Bytes(), o.begun)
	}
	if rec.Flushed || rec.Body.Len() != 0 {
		t.Errorf("outer: flushed = %t, body = %q; want nothing", rec.Flushed, rec.Body)
	}
	outer := o.Unwrap().Header()
	if outer.Get("X-Handler") != "before" || len(outer[http.TrailerPrefix+"X-Late"]) != 0 {
		t.Errorf("outer header = %v, want it as it was when the answer was withheld", outer)
	}
	o.Unwrap().WriteHeader(http.StatusServiceUnavailable)
	if rec.Code != http.StatusServiceUnavailable {
		t.Errorf("owner's answer = %d, want 503", rec.Code)
	}
}

// TestWithheldByReadFrom: the first bytes of a source choose the status, and the
// owner refuses it in the middle of the copy.
func TestWithheldByReadFrom(t *testing.T) {
	rec := httptest.NewRecorder()
	o := newOwner(rec, true)
	if n, err := o.ReadFrom(strings.NewReader(strings.Repeat("a", 1000))); n != 1000 || err != nil {
		t.Errorf("ReadFrom = %d, %v; want 1000, nil", n, err)
	}
	if !o.Swallowed() || o.Bytes() != 0 || rec.Body.Len() != 0 {
		t.Errorf("Swallowed = %t, Bytes = %d, body = %.20q; want all of it withheld", o.Swallowed(), o.Bytes(), rec.Body)
	}
}

func TestHijacked(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	hj := &hijackable{ResponseRecorder: httptest.NewRecorder(), conn: server}
	o := newOwner(hj, false)
	conn, _, err := o.Hijack()
	if err != nil || conn != server {
		t.Fatalf("Hijack = %v, %v", conn, err)
	}
	defer conn.Close()
	if !o.Hijacked() || !o.Begun() || o.Status() != http.StatusSwitchingProtocols || len(o.begun) != 0 {
		t.Errorf("Hijacked = %t, Begun = %t, Status = %d, Begin %v; want true, true, 101, none", o.Hijacked(), o.Begun(), o.Status(), o.begun)
	}
	o.WriteHeader(200)
	if hj.Code != 200 || hj.wrote || o.Status() != http.StatusSwitchingProtocols {
		t.Error("a status passed after the hijack")
	}
	if _, err := o.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
		t.Errorf("Write = %v, want %v", err, http.ErrHijacked)
	}
	if _, _, err := o.Hijack(); !errors.Is(err, http.ErrHijacked) {
		t.Errorf("second Hijack = %v, want %v", err, http.ErrHijacked)
	}

	refusing := newOwner(httptest.NewRecorder(), false)
	if _, _, err := refusing.Hijack(); !errors.Is(err, http.ErrNotSupported) || refusing.Hijacked() || refusing.Begun() {
		t.Errorf("Hijack = %v, Hijacked = %t; want %v, false", err, refusing.Hijacked(), http.ErrNotSupported)
	}
	if refusing.WriteHeader(426); refusing.Status() != 426 {
		t.Errorf("status after a refused hijack = %d, want 426", refusing.Status())
	}

	after := newOwner(&hijackable{ResponseRecorder: httptest.NewRecorder(), conn: server}, false)
	after.WriteHeader(200)
	if _, _, err := after.Hijack(); err != nil || after.Status() != 200 {
		t.Errorf("Hijack after a 200 = %v, Status = %d; want nil, 200", err, after.Status())
	}
}

func TestNoFlusher(t *testing.T) {
	o := newOwner(struct{ http.ResponseWriter }{httptest.NewRecorder()}, false)
	if err := o.FlushError(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("FlushError = %v, want %v", err, http.ErrNotSupported)
	}
	o.Flush()
	select {
	case <-o.CloseNotify():
		t.Error("CloseNotify fired")
	default:
	}
}

func TestInitForgets(t *testing.T) {
	var b Base
	o := newOwner(httptest.NewRecorder(), true)
	b.Init(httptest.NewRecorder(), o)
	b.WriteHeader(500)
	b.Header().Set("X-Void", "yes")
	rec := httptest.NewRecorder()
	b.Init(rec, nil)
	if b.Swallowed() || b.Status() != 0 || b.Header().Get("X-Void") != "" {
		t.Errorf("after Init: Swallowed = %t, Status = %d, header %v", b.Swallowed(), b.Status(), b.Header())
	}
	if b.WriteHeader(418); rec.Code != 418 {
		t.Errorf("outer got %d, want 418", rec.Code)
	}
}

// TestReadFromReachesOuter: what is behind the first bytes is left to the outer
// writer's ReadFrom, with the source as it is, so that it can use sendfile.
func TestReadFromReachesOuter(t *testing.T) {
	src := struct{ io.Reader }{bytes.NewReader(make([]byte, 4096))}
	outer := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
	var b Base
	b.Init(outer, nil)
	if n, err := io.Copy(&b, src); n != 4096 || err != nil {
		t.Fatalf("io.Copy = %d, %v", n, err)
	}
	if outer.src != src || outer.n != 4096-sniff {
		t.Errorf("outer read %d bytes of %T, want %d of the source itself", outer.n, outer.src, 4096-sniff)
	}
	if b.Bytes() != 4096 {
		t.Errorf("Bytes = %d, want 4096", b.Bytes())
	}
}

// wire keeps what reaches the outer writer; unlike httptest's recorder it takes
// no 1xx for the end.
type wire struct {
	header   http.Header
	statuses []int
	body     strings.Builder
}

func (w *wire) Header() http.Header         { return w.header }
func (w *wire) WriteHeader(status int)      { w.statuses = append(w.statuses, status) }
func (w *wire) Write(p []byte) (int, error) { return w.body.Write(p) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the source is broken") }

type readerFrom struct {
	*httptest.ResponseRecorder
	src io.Reader
	n   int64
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.src = src
	n, err := io.Copy(io.Discard, src)
	r.n = n
	return n, err
}

type hijackable struct {
	*httptest.ResponseRecorder
	conn  net.Conn
	wrote bool
}

func (h *hijackable) WriteHeader(status int) {
	h.wrote = true
	h.ResponseRecorder.WriteHeader(status)
}

func (h *hijackable) Write(p []byte) (int, error) {
	if h.conn == nil {
		return 0, http.ErrHijacked
	}
	return h.ResponseRecorder.Write(p)
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if h.conn == nil {
		return nil, nil, http.ErrHijacked
	}
	conn := h.conn
	h.conn = nil
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn)), nil
}
