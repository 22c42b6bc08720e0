package main

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/internal/writer"
)

// clientStall is how long a client may take no data, or send none of its
// announced body. Each such wait is limited, not their sum: slow is fine.
const clientStall = 60 * time.Second

// stallGuard ends what a client holds up by doing nothing: a page that is not
// taken, an upload that stopped. net/http has limits for whole requests and
// responses only, which would cut long uploads and streams.
//
// Every deadline is taken back when its wait is over, since on HTTP/2 it would
// end a stream that is merely silent. Deadlines that a handler sets are kept.
type stallGuard time.Duration

// Handler guards next.
func (g stallGuard) Handler(next http.Handler) http.Handler {
	limit := time.Duration(g)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		gw := &guardedWriter{
			read:  deadline{limit: limit, rc: rc, set: (*http.ResponseController).SetReadDeadline},
			write: deadline{limit: limit, rc: rc, set: (*http.ResponseController).SetWriteDeadline},
		}
		gw.Init(w, nil)
		if r.Body != nil && r.Body != http.NoBody {
			guarded := *r // the caller's request keeps the body that is its own
			guarded.Body = &guardedBody{ReadCloser: r.Body, deadline: &gw.read}
			r = &guarded
		}
		next.ServeHTTP(gw, r)
		if !gw.Hijacked() {
			gw.write.arm() // for what net/http still holds; it takes it back
		}
	})
}

// deadline is one direction's: the handler's own, where it set one, and around
// each wait ours, where that comes first.
type deadline struct {
	limit time.Duration
	rc    *http.ResponseController
	set   func(*http.ResponseController, time.Time) error

	mu  sync.Mutex // guards own, and that set is called in the same order; a handler may end a wait from another goroutine
	own time.Time
}

// setOwn is the handler's.
func (d *deadline) setOwn(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.own = t
	return d.set(d.rc, t)
}

// arm begins a wait.
func (d *deadline) arm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := time.Now().Add(d.limit)
	if !d.own.IsZero() && d.own.Before(t) {
		t = d.own
	}
	_ = d.set(d.rc, t) // a writer without deadlines is no connection
}

// disarm ends a wait.
func (d *deadline) disarm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.set(d.rc, d.own)
}

// guardedBody limits each wait for more of an upload.
type guardedBody struct {
	io.ReadCloser
	deadline *deadline
}

func (b *guardedBody) Read(p []byte) (int, error) {
	b.deadline.arm()
	n, err := b.ReadCloser.Read(p)
	// After a failure the deadline stays: the rest of the body is not worth a wait.
	if err == nil || errors.Is(err, io.EOF) {
		b.deadline.disarm()
	}
	return n, err
}

// guardedWriter limits each wait for a client to take some more.
type guardedWriter struct {
	writer.Base
	read, write deadline
}

// SetReadDeadline is for http.ResponseController.
func (w *guardedWriter) SetReadDeadline(t time.Time) error { return w.read.setOwn(t) }

// SetWriteDeadline is for http.ResponseController.
func (w *guardedWriter) SetWriteDeadline(t time.Time) error { return w.write.setOwn(t) }

// maxPiece is how much is written under one deadline.
const maxPiece = 64 << 10

func (w *guardedWriter) Write(p []byte) (n int, err error) {
	defer w.write.disarm()
	for {
		w.write.arm()
		m, err := w.Base.Write(p[n:min(len(p), n+maxPiece)])
		n += m
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

func (w *guardedWriter) WriteString(s string) (n int, err error) {
	if len(s) > maxPiece {
		return w.Write([]byte(s))
	}
	w.write.arm()
	defer w.write.disarm()
	return w.Base.WriteString(s)
}

// ReadFrom copies in pieces: what comes from src may never end.
func (w *guardedWriter) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(writeOnly{w}, src)
}

type writeOnly struct{ io.Writer }

// FlushError is a wait for the client, too.
func (w *guardedWriter) FlushError() error {
	w.write.arm()
	defer w.write.disarm()
	return w.Base.FlushError()
}

// Flush is FlushError for those who can't use an error.
func (w *guardedWriter) Flush() { _ = w.FlushError() }
