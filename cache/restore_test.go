package cache

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// Whatever was done to a file: it is refused, and nothing of it is kept.
func TestRestoreRefusesTheDamaged(t *testing.T) {
	one, c := newCache(t, Config{}), newCache(t, Config{})
	h := one.Handler(museum())
	do(h, "GET", "/plain")
	do(h, "GET", "/vary", "X-Lang: de")
	b := snapshot(t, one)
	refused := func(what string, b []byte) {
		t.Helper()
		n, err := c.Restore(bytes.NewReader(b))
		if n != 0 || !errors.Is(err, ErrSnapshot) || entries(c) != 0 {
			t.Fatalf("%s: Restore() = %d, %v with %d entries, want 0, ErrSnapshot with none", what, n, err, entries(c))
		}
	}
	for i := range b {
		refused(fmt.Sprint("cut at ", i), b[:i])
		for _, flip := range []byte{1, 0x80, 0xff} {
			damaged := bytes.Clone(b)
			damaged[i] ^= flip
			refused(fmt.Sprint("byte ", i, " changed"), damaged)
		}
	}
	refused("something behind it", append(bytes.Clone(b), 0))
	refused("twice", append(bytes.Clone(b), b...))
	refused("another file", []byte(strings.Repeat("<html>", 100)))

	newer := bytes.Clone(b)
	newer[len(snapshotMagic)+1]++
	refused("a newer version", newer)
	if _, err := c.Restore(bytes.NewReader(newer)); !strings.Contains(err.Error(), "version 2") {
		t.Errorf("error %q does not say that it is another version", err)
	}
	restore(t, c, b, 2)
}

func TestRestoreErrors(t *testing.T) {
	c := newCache(t, Config{})
	b := snapshot(t, c)
	mine := errors.New("disk on fire")
	if _, err := c.Restore(io.MultiReader(bytes.NewReader(b[:20]), iotest.ErrReader(mine))); !errors.Is(err, mine) || errors.Is(err, ErrSnapshot) {
		t.Errorf("Restore() = %v, want the reader's error", err)
	}
	if err := c.Snapshot(failingWriter{mine}); !errors.Is(err, mine) {
		t.Errorf("Snapshot() = %v, want the writer's error", err)
	}
	other := newCache(t, Config{Namespace: "other"})
	if _, err := other.Restore(bytes.NewReader(b)); !errors.Is(err, ErrSnapshot) || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("Restore() = %v, want a word about the namespace", err)
	}
	if err := other.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := other.Snapshot(io.Discard); err == nil {
		t.Error("Snapshot() of a closed store = nil")
	}
	if _, err := other.Restore(bytes.NewReader(b)); err == nil {
		t.Error("Restore() into a closed store = nil")
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// A length in a file is a claim: memory goes by what really comes.
func TestRestoreBelievesNoLength(t *testing.T) {
	c := newCache(t, Config{})
	for _, claim := range []int64{1 << 20, 10 << 20, 1 << 40, 1<<63 - 1} {
		var b bytes.Buffer
		w := frameWriter{w: &b}
		w.preamble()
		h := snapshotHeader{taken: time.Now(), keys: c.keyForm()}
		w.frame(frameHeader, h.append(nil), nil, 0)
		w.frame(frameEntry, nil, nil, claim)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := c.Restore(&b)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 512<<10 || !errors.Is(err, ErrSnapshot) {
			t.Errorf("a claim of %d bytes: %v, %d bytes allocated", claim, err, got)
		}
	}
}

// Restore replaces nothing, however often it is called.
func TestRestoreReplacesNothing(t *testing.T) {
	one, two := newCache(t, Config{}), newCache(t, Config{})
	old := one.Handler(museum())
	for _, v := range tour {
		v.make(old)
	}
	b := snapshot(t, one)
	h := two.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/vary" {
			w.Header().Set("Vary", "X-Lang")
		}
		page(200, "new "+r.Header.Get("X-Lang"), "Cache-Control: max-age=60")(w, r)
	}))
	do(h, "GET", "http://example.com/plain?q=1")
	do(h, "GET", "http://example.com/vary", "X-Lang: de")
	settled(t, two)
	restore(t, two, b, len(tour)-2)
	restore(t, two, b, 0)
	if got := do(h, "GET", "http://example.com/plain?q=1").body; got != "new " {
		t.Errorf("body %q, want the newer one", got)
	}
	for lang, want := range map[string]string{"de": "new de", "fr": "in fr"} {
		if got := do(h, "GET", "http://example.com/vary", "X-Lang: "+lang).body; got != want {
			t.Errorf("%s: body %q, want %q", lang, got, want)
		}
	}
	// What is fetched later replaces what was restored.
	do(h, "GET", "http://example.com/big", "Cache-Control: no-cache")
	settled(t, two)
	if got := do(h, "GET", "http://example.com/big").body; got != "new " {
		t.Errorf("body %.20q, want the newer one", got)
	}
}

// An invalidation while Restore runs counts, although nothing is there yet.
func TestRestoreInvalidatedMeanwhile(t *testing.T) {
	one, two := newCache(t, Config{}), newCache(t, Config{})
	old := one.Handler(museum())
	do(old, "GET", "http://example.com/plain")
	do(old, "GET", "http://example.com/vary", "X-Lang: de")
	do(old, "GET", "http://example.com/big")
	b := snapshot(t, one)
	r, w := io.Pipe()
	done := make(chan int)
	go func() {
		n, _ := two.Restore(r)
		done <- n
	}()
	_, _ = w.Write(b[:len(b)-1]) // returns when all but the last byte was taken
	h := two.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }))
	do(h, "POST", "http://example.com/plain")
	do(h, "POST", "http://example.com/vary")
	_, _ = w.Write(b[len(b)-1:])
	w.Close()
	if n := <-done; n != 1 {
		t.Errorf("Restore() = %d, want 1", n)
	}
	if a := do(h, "GET", "http://example.com/plain"); a.body != "" {
		t.Errorf("what was invalidated was restored: %q", a.body)
	}
}

// A smaller store takes what was used last.
func TestRestoreIntoLess(t *testing.T) {
	one, two := newCache(t, Config{}), newCache(t, Config{MemoryBytes: 256 << 10})
	h := one.Handler(page(200, strings.Repeat("x", 10_000), "Cache-Control: max-age=60"))
	const n = 60
	for i := range n {
		do(h, "GET", fmt.Sprint("/", i))
	}
	settled(t, one)
	recs, _ := one.store.shelf.records()
	for _, rec := range recs { // as if /0 had been used last
		i := 0
		_, _ = fmt.Sscanf(rec.key[strings.LastIndexByte(rec.key, '/'):], "/%d", &i)
		rec.object.resp.Received = rec.object.resp.Received.Add(-time.Duration(i) * time.Second)
		rec.object.resp.InitialAge = 0
		rec.object.used.Add(-int64(i))
	}
	got, err := two.Restore(bytes.NewReader(snapshot(t, one)))
	if err != nil || got < 10 || got > n/2 {
		t.Fatalf("Restore() = %d, %v", got, err)
	}
	st := two.store.Stats()
	if st.EntryBytes > st.EntryLimit || st.Evicted+st.Rejected != 0 {
		t.Errorf("stats = %+v", st)
	}
	warm := two.Handler(dead(t))
	for i := range got {
		do(warm, "GET", fmt.Sprint("/", i))
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(madeSnapshot(time.Unix(1e9, 0)))
	f.Add(madeSnapshot(time.Now(), snapshotEntry{
		primary: "\x00/http\x00/example.com\x00//", status: 200, initialAge: 30, held: 10, idle: 5,
		vary: []string{"X-Lang"}, variant: []byte("X-Lang\x00a"),
		header: http.Header{"Cache-Control": {"max-age=60"}, "Vary": {"X-Lang"}}, trailer: http.Header{"X-A": {"b"}},
		body: [][]byte{[]byte("body")}, size: 4,
	}))
	s, err := NewStore(StoreConfig{MemoryBytes: minMemory})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	c := newCache(f, Config{Store: s})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, resealed(b)} {
			if n, err := c.Restore(bytes.NewReader(b)); err != nil && n != 0 {
				t.Errorf("Restore() = %d, %v", n, err)
			}
		}
		recs, _ := c.store.shelf.records()
		for _, rec := range recs {
			if o := rec.object; o != nil {
				r, _ := http.NewRequest(http.MethodGet, "/", nil)
				c.serveObject(&sink{make(http.Header)}, r, o, nil, nil)
				c.store.shelf.del(rec)
			}
		}
	})
}

// resealed is b with checksums that match, as far as its frames can be made out.
func resealed(b []byte) []byte {
	b = bytes.Clone(b)
	const preamble = len(snapshotMagic) + 2
	if len(b) < preamble {
		return b
	}
	var out bytes.Buffer
	w := frameWriter{w: &out}
	w.preamble()
	for b = b[preamble:]; len(b) >= frameHeadSize+4; {
		fields := int64(b[1])<<24 | int64(b[2])<<16 | int64(b[3])<<8 | int64(b[4])
		size := int64(b[9])<<24 | int64(b[10])<<16 | int64(b[11])<<8 | int64(b[12])
		rest := b[frameHeadSize+4:]
		if fields+size+4 > int64(len(rest)) {
			break
		}
		w.frame(b[0], rest[:fields], [][]byte{rest[fields : fields+size]}, size)
		b = rest[fields+size+4:]
	}
	return out.Bytes()
}

// What a Config of another mind let in is looked at anew: fields and trailers that
// are not for everybody, and answers to credentials.
func TestRestoreUnderStricterConfig(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Set-Cookie, X-Sum")
		page(200, "body", "Cache-Control: max-age=60")(w, r)
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("X-Sum", "4")
	})
	mux.Handle("/field", page(200, "x", "Cache-Control: max-age=60", `Other-Cache-Control: max-age=60, private="X-User"`, "X-User: me"))
	mux.Handle("/credentials", page(200, "mine", "Cache-Control: max-age=60", "Other-Cache-Control: public, max-age=60"))
	one := newCache(t, Config{StoreSetCookie: true, Targets: []string{}})
	for _, path := range []string{"/trailer", "/field"} {
		do(one.Handler(mux), "GET", path)
	}
	two := newCache(t, Config{Targets: []string{"Other-Cache-Control"}})
	restore(t, two, snapshot(t, one), 2)
	if a := do(two.Handler(dead(t)), "GET", "/trailer"); a.body != "body" || a.trailer.Get("X-Sum") != "4" || a.trailer.Get("Set-Cookie") != "" {
		t.Errorf("trailer: %q %v", a.body, a.trailer)
	}
	if a := do(two.Handler(dead(t)), "GET", "/field"); a.body != "x" || a.header.Get("X-User") != "" {
		t.Errorf("field: %q %v", a.body, a.header)
	}
	do(two.Handler(mux), "GET", "/credentials", "Authorization: x")
	b := snapshot(t, two)
	restore(t, newCache(t, Config{Targets: []string{"Other-Cache-Control"}}), b, 3)
	three := newCache(t, Config{Targets: []string{}})
	restore(t, three, b, 2)
	o := newOrigin(page(200, "anybody's"))
	if a := do(three.Handler(o), "GET", "/credentials"); a.body != "anybody's" {
		t.Errorf("what was fetched with credentials is %q", a.body)
	}
}
