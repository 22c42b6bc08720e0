package ratelimit

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/failure"
	"github.com/holdfast-go/holdfast/internal/writer"
)

// shedAnswer is a request with a slot, seen through its response writer.
type shedAnswer struct {
	writer.Base

	shedder  *Shedder
	mark     uint64 // of the limit
	ctx      context.Context
	before   *failure.Error // what the failure slot held when the request came
	start    time.Time
	body     upload
	connect  bool
	priority Priority // in a dry run
	freed    bool     // the slot was given back
	told     bool     // the limit knows, or need not
	returned bool
}

// serve calls next. The slot is given back whatever becomes of it.
func (x *shedAnswer) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	x.start, x.connect = time.Now(), r.Method == http.MethodConnect
	awaited := r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody
	ctx := failure.Track(r.Context())
	if awaited || ctx != r.Context() {
		r = r.WithContext(ctx)
	}
	x.ctx = ctx
	if awaited {
		x.body.ReadCloser, x.body.epoch = r.Body, x.start
		r.Body = &x.body
	}
	x.before, _ = failure.Outcome(ctx)
	x.mark = x.shedder.limit.began(ctx)
	x.Init(w, x)
	if x.critical() {
		x.shedder.criticals.Add(1)
	}
	defer x.end()
	if x.shedder.cfg.DryRun {
		x.shedder.rehearse(ctx, x.priority)
	}
	next.ServeHTTP(x, r)
	x.returned = true
}

// Begin implements [writer.Owner].
func (x *shedAnswer) Begin(status int) bool {
	if x.lasts(status) {
		x.detach()
	} else {
		x.tell(status)
	}
	return true
}

// Hijack hands the connection over.
func (x *shedAnswer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := x.Base.Hijack()
	if err == nil {
		x.detach()
	}
	return conn, rw, err
}

// lasts tells whether what begins with the header may last for hours, and says
// nothing about the backend's load.
func (x *shedAnswer) lasts(status int) bool {
	switch {
	case status == http.StatusSwitchingProtocols:
		return true
	case status < 200 || status > 299:
		return false
	}
	if x.connect {
		return true
	}
	kind, _, _ := strings.Cut(x.Header().Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "text/event-stream")
}

// critical tells whether the request is counted as such.
func (x *shedAnswer) critical() bool { return x.shedder.cfg.DryRun && x.priority == Critical }

// detach gives the slot back, and has nothing told.
func (x *shedAnswer) detach() {
	x.say(false, false)
	x.free()
}

// say tells the limit, once.
func (x *shedAnswer) say(says, ok bool) {
	if x.told {
		return
	}
	x.told = true
	took := time.Since(x.start)
	x.shedder.limit.ended(x.ctx, x.mark, max(0, took-x.body.waited(took)), says, ok)
}

func (x *shedAnswer) free() {
	if x.freed {
		return
	}
	x.freed = true
	if x.critical() {
		x.shedder.criticals.Add(-1)
	}
	x.shedder.slots.Release()
}

// tell tells the limit, once. 0 is no status.
func (x *shedAnswer) tell(status int) {
	if x.told {
		return
	}
	e, rung := failure.Outcome(x.ctx)
	if e == x.before {
		e = nil
	}
	ok, says := judgeAnswer(status, e, rung, clientGone(x.ctx))
	x.say(says, ok)
}

// judgeAnswer tells whether a request says something about the backend, and what. e
// is what was reported beneath, and rung how it was mended.
func judgeAnswer(status int, e *failure.Error, rung failure.Rung, gone bool) (ok, says bool) {
	switch {
	case e != nil:
		return false, rung == failure.Unmended && e.Verdict() != failure.Neutral
	case gone || status == 0:
		return false, false
	case status < 500:
		return true, true
	}
	return false, failure.CountsStatus(status)
}

// end runs when next returned, panicked or ended its goroutine.
func (x *shedAnswer) end() {
	if x.returned {
		x.free()
		if x.Status() == 0 {
			x.tell(http.StatusOK) // net/http's answer to a handler that wrote nothing
		}
		return
	}
	p := recover()
	x.free()
	if err, ok := p.(error); p == nil || ok && errors.Is(err, http.ErrAbortHandler) {
		x.tell(0)
	} else {
		x.tell(http.StatusInternalServerError)
	}
	if p != nil {
		panic(p)
	}
}

// upload is a client's body. The time in which it is awaited is the client's, who
// could have the limit lowered by sending slowly.
type upload struct {
	io.ReadCloser

	epoch time.Time
	since atomic.Int64 // when the Read under way began, after epoch; 0: there is none
	spent atomic.Int64 // in those before
}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	began := max(1, time.Since(u.epoch))
	u.since.Store(int64(began))
	n, err := u.ReadCloser.Read(p)
	u.since.Store(0)
	u.spent.Add(int64(time.Since(u.epoch) - began))
	return n, err
}

// waited is how long the body was awaited until now, a time after epoch.
func (u *upload) waited(now time.Duration) time.Duration {
	d := time.Duration(u.spent.Load())
	if since := time.Duration(u.since.Load()); since > 0 {
		d += max(0, now-since)
	}
	return d
}
