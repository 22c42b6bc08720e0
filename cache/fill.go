package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// The sizes of a fill.
const (
	minChunk = 4 << 10
	maxChunk = 64 << 10
	// window is how far a response that is not stored may be ahead of its
	// slowest reader.
	window = 256 << 10
	// readerStall is how long a reader may take nothing while others wait for
	// it.
	readerStall = 10 * time.Second
	// returnGrace is how long next may take to return after its context ended.
	// Then nobody waits for it any more.
	returnGrace = time.Second
	// maxInfos bounds the 1xx responses that are kept for followers.
	maxInfos = 8
)

// The causes for which a fill's context ends (context.Cause). To a part inside
// that only asks whether its client left, the first and the last say that it
// did.
var (
	errAbandoned = fmt.Errorf("cache: nobody waits for this fetch any more: %w", context.Canceled)
	errDeadline  = failure.New(failure.TotalDeadline, fmt.Errorf("cache: the fetch took longer than Config.FillTimeout: %w", context.DeadlineExceeded))
	// errSuperseded is for a refresh that hung while a newer one was to begin, or
	// has ended. To a breaker it says nothing.
	errSuperseded = failure.New(failure.TotalDeadline, fmt.Errorf("cache: this refresh hung, and a newer one took its place: %w", context.Canceled))
	errSlow       = failure.New(failure.TotalDeadline, errors.New("cache: a refresh for one visitor took longer than Config.StaleIfSlow"))
	errShutdown   = failure.New(failure.Draining, fmt.Errorf("cache: shut down: %w", context.Canceled))
)

// The reasons of our own for which a response is not stored, beside those of
// the RFC.
const (
	reasonTooLarge    = "too_large"
	reasonMemory      = "fill_memory"
	reasonFailure     = "failure"
	reasonInvalidated = "invalidated"
	reasonPolicy      = "policy"
)

type phase uint8

const (
	phaseWaiting phase = iota // no final headers yet
	phaseOpen                 // headers known, body growing
	phaseDone
)

// fill is one fetch and what it brings, which any number of readers share while
// it comes in. The body is a list of chunks that only grows; what is in them
// never changes and is never reused.
type fill struct {
	cache     *Cache
	id        string
	primary   string
	reqHeader http.Header // of the request that it answers: for Vary and Authorization
	base      *object     // what is being validated, and not replaced by an error; nil = nothing
	solo      bool
	detached  bool
	ranged    bool    // it is for the Range of its request, and for nobody else
	partial   *object // parts of which the rest is asked for; nil = none
	behind    bool    // a whole fetch that ranges gave rise to: see whole.go
	born      uint64
	version   uint64
	marks     marks // but those of tags
	begun     time.Time
	site      *site
	elected   bool // it asks for all pages of its site
	anonymous bool // see query

	mark   mark
	ctx    context.Context //nolint:containedctx // the fill is the context's owner: it outlives any one request
	cancel context.CancelCauseFunc

	mu sync.Mutex // guards what follows; flights.mu is never taken under it

	phase      phase
	closed     bool // no new readers
	lost       bool // next has not returned although its context ended: see giveUp
	superseded bool // see supersede
	users      int  // requests that want it and whose clients are there
	followers  int  // requests that ever joined it
	timer      *time.Timer
	infos      []info
	head       head

	chunks   []chunk
	first    int   // the number of chunks[0]
	size     int64 // bytes received
	reserved int64 // bytes taken from the budget
	shelved  bool  // nothing of it will be stored any more, or it has been
	limit    int64 // above it, what comes is windowed
	windowed bool  // chunks that all readers have are dropped; the slowest one paces

	readers []*reader
	only    [1]*reader    // the room of readers where there is one, as in most fills
	leading reader        // the first one
	space   chan struct{} // one element when a windowed fill may have room again; nil = nobody has waited for it

	trailer http.Header
	err     *failure.Error // why it failed; nil in phaseDone = it did not
	broken  bool           // in phaseDone: the body is not whole
	object  *object        // in phaseDone: what it brought, if that may be shared
}

// chunk is a piece of the body. buf grows within its capacity.
type chunk struct {
	buf      []byte
	reserved bool
}

// info is a 1xx response.
type info struct {
	status int
	header http.Header
}

// head is a final header section and what follows from it.
type head struct {
	status int
	header http.Header // as next sent it: for the request that it was made for
	shared http.Header // what others may see of it
	length int64       // announced; -1 = not
	vary   []string
	varies bool // what is stored may be sent under other codings
	resp   semantics.Response
	store  bool
	share  bool   // those of its variant who wait may have it, stored or not
	reason string // why it is not stored
	tags   *tags  // nil = none
	// failure is the failure that was reported, or that a 5xx of an origin that
	// reports nothing stands for; foreign tells the latter.
	failure *failure.Error
	foreign bool
	// part is what a 206 that is stored has; its status is that of the whole for
	// others.
	part bool
	// rest: the origin sent what was missing, with a 206.
	rest bool
}

// received is the status that came from the origin; 0 if none did.
func (h head) received() int {
	if h.rest {
		return http.StatusPartialContent
	}
	return received(h.failure, h.status)
}

// sharesFailure tells whether the failure, if not its page, is that of all who
// wait.
func (h head) sharesFailure() bool {
	return h.failure != nil && (h.foreign || h.failure.Cause.Row().Share)
}

// received tells the origin's status from that of our own answer to e, a
// failure that was reported before any status came.
func received(e *failure.Error, status int) int {
	if e != nil && e.Own() {
		return e.Received()
	}
	return status
}

// newFill makes a fill with a context of its own: the values of the request's,
// without its end, with a failure slot and the fill's mark. In it is always
// http.ServerContextKey, without which httputil.ReverseProxy returns normally
// on a broken body.
func newFill(q *query) *fill {
	f := &fill{
		cache:     q.cache,
		id:        q.cache.newFillID(),
		primary:   q.primary,
		reqHeader: q.header.Clone(),
		base:      q.base,
		solo:      q.solo,
		anonymous: q.anonymous,
		detached:  q.detached,
		ranged:    q.ranged,
		partial:   q.partial,
		begun:     time.Now(),
		site:      q.cache.sites.of(q.primary),
		marks:     q.cache.store.gen.marksOf(q.primary),
		users:     1, // whoever begins it
		head:      head{length: -1},
		limit:     q.cache.maxObject,
	}
	if q.behind {
		f.users = 0
	}
	f.mark.f = f
	ctx := context.WithoutCancel(q.ctx)
	if ctx.Value(http.ServerContextKey) == nil {
		ctx = context.WithValue(ctx, http.ServerContextKey, &http.Server{}) //nolint:gosec // nobody serves with it
	}
	ctx = failure.Isolate(ctx)
	if q.detached {
		failure.Reserve(ctx)
	}
	f.ctx, f.cancel = context.WithCancelCause(context.WithValue(ctx, markKey{}, &f.mark))
	return f
}

// --- the writing side: one goroutine, that of next ---

// inform passes a 1xx on to those who wait. Whether they may have the response
// is not known yet, and h has whatever next has set for its own client. So of a
// 103 they get what it is for (RFC 8297), of others the status.
func (f *fill) inform(status int, h http.Header) {
	hints := make(http.Header)
	if status == http.StatusEarlyHints {
		if len(h["Link"]) == 0 {
			return
		}
		hints["Link"] = slices.Clone(h["Link"])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == phaseWaiting && len(f.infos) < maxInfos {
		f.infos = append(f.infos, info{status, hints})
		f.wakeAll()
	}
}

// open makes the headers known.
func (f *fill) open(h head) {
	if len(h.vary) > 0 {
		f.cache.store.flights.named(f.primary, h.vary)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head, f.phase = h, phaseOpen
	if !h.store {
		f.closed = true
		f.limit = min(f.limit, window)
	}
	if !h.store && !h.share {
		f.windowed = true // nobody but the first reader may have it
	}
	f.wakeAll()
	f.abandonIfUnwanted()
}

// append adds to the body. It blocks while a windowed fill's slowest reader is
// too far behind. Its error is why the fill was given up.
func (f *fill) append(p []byte) error {
	for len(p) > 0 {
		if f.ctx.Err() != nil {
			return context.Cause(f.ctx)
		}
		n := f.grow(p)
		p = p[n:]
		if n == 0 {
			f.awaitSpace()
		}
	}
	return nil
}

// grow copies a part of p; 0 bytes if the window is full.
func (f *fill) grow(p []byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.windowed && f.size+int64(len(p)) > f.limit {
		f.toWindow(reasonTooLarge)
	}
	var room []byte
	if last := len(f.chunks) - 1; last >= 0 {
		b := f.chunks[last].buf
		room = b[len(b):cap(b)]
	}
	if len(room) == 0 {
		if room = f.addChunk(len(p)); room == nil {
			return 0
		}
	}
	n := copy(room[:cap(room)], p)
	last := &f.chunks[len(f.chunks)-1]
	last.buf = last.buf[:len(last.buf)+n]
	f.size += int64(n)
	f.wakeAll()
	return n
}

// addChunk returns the room of a new chunk, nil if the window is full. mu is
// held.
func (f *fill) addChunk(want int) []byte {
	size := min(max(minChunk, want, int(min(f.size, maxChunk))), maxChunk)
	if left := f.head.length - f.size; f.head.length >= 0 && left > 0 {
		size = int(min(left, maxChunk))
	}
	reserved := false
	if !f.windowed {
		if reserved = f.cache.store.budget.take(int64(size)); reserved {
			f.reserved += int64(size)
		} else {
			f.toWindow(reasonMemory)
		}
	}
	if f.windowed && f.size-f.slowest() >= window {
		return nil
	}
	f.chunks = append(f.chunks, chunk{buf: make([]byte, 0, size), reserved: reserved})
	return f.chunks[len(f.chunks)-1].buf
}

// end is called once, when next has returned. h is the head, which for a 304
// was not known before; object is what the fetch brought, nil if that is for
// nobody else.
func (f *fill) end(v verdict, h head, trailer http.Header, object *object) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.head = h
	f.phase, f.err, f.broken, f.trailer, f.object = phaseDone, v.err, v.broken, trailer, object
	if object == nil {
		f.closed = true
	}
	if f.timer != nil {
		f.timer.Stop()
	}
	f.wakeAll()
	f.release()
}

// refuse ends a fill that is not to begin, since the cache is being shut down.
func (f *fill) refuse() {
	f.behindEnded()
	f.end(verdict{failure.New(failure.Draining, nil), true}, head{length: -1}, nil, nil)
	f.published()
	f.cancel(errShutdown)
}

// release gives the budget back when nothing of it is held any more: stored
// content is the shelf's once it is published, the rest belongs to its readers.
// mu is held.
func (f *fill) release() {
	if f.shelved && f.reserved > 0 && (f.object != nil || len(f.readers) == 0) {
		f.giveBack(f.reserved)
	}
}

// published is called when the object can be found, or was refused.
func (f *fill) published() {
	f.cache.store.flights.leave(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed, f.shelved = true, true
	f.release()
}

// whole is the complete body as it is to be stored: the last chunk without the
// room it has left.
func (f *fill) whole() [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	body := make([][]byte, len(f.chunks))
	for i, c := range f.chunks {
		body[i] = slices.Clip(c.buf)
		if waste := cap(c.buf) - len(c.buf); waste > len(c.buf)/8 {
			body[i] = slices.Clone(c.buf)
		}
	}
	return body
}

// abandonIfUnwanted gives a fetch up that nobody waits for, unless it is going
// to be stored, or is a refresh for all of which that is not known yet. mu is
// held.
//
//  1. The last client leaves a fetch without headers.
//  2. Another request for the URL finds it in its row.
//
// Both are under mu: either the request joined before and the fetch goes on, or
// it finds it closed and makes a fetch of its own. None follows a cancelled one.
func (f *fill) abandonIfUnwanted() {
	switch {
	case f.users > 0 || f.phase == phaseDone:
	case f.phase == phaseWaiting && f.detached && !f.solo:
	case f.phase == phaseOpen && f.head.store:
	default:
		f.closed = true
		f.cancel(errAbandoned)
	}
}

// userLeft is called when a client that wanted the fill is gone or was answered
// from elsewhere. What goes on without any has a deadline.
func (f *fill) userLeft() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	f.abandonIfUnwanted()
}

// leaderLeft is userLeft for the client on whose goroutine next runs.
func (f *fill) leaderLeft() {
	f.userLeft()
	f.limitTime()
}

// limitTime gives the fill its deadline.
func (f *fill) limitTime() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase != phaseDone && f.timer == nil {
		f.timer = time.AfterFunc(f.cache.cfg.FillTimeout, func() { f.expire(errDeadline) })
	}
}

// expire ends the fill's context.
func (f *fill) expire(why *failure.Error) {
	f.cancel(why)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase != phaseDone {
		f.timer = time.AfterFunc(returnGrace, func() { f.giveUp(why) })
	}
}

// giveUp releases those who wait for a next that does not look at its context:
// to them the fill has failed, whatever comes of it, and another may be made.
func (f *fill) giveUp(why *failure.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.phase == phaseDone || f.lost {
		return
	}
	f.lost, f.closed, f.broken, f.err = true, true, true, why
	f.wakeAll()
	if f.base != nil && why != errSuperseded {
		f.cache.noteFailure(f, why, time.Now())
	}
}

// supersede ends a refresh whose place a newer one takes. Those who wait for it
// look again. One that a client is being sent goes on for that client.
func (f *fill) supersede() {
	f.mu.Lock()
	if f.phase == phaseDone || f.lost || slices.ContainsFunc(f.readers, func(rd *reader) bool { return rd.taking }) {
		f.mu.Unlock()
		return
	}
	f.superseded, f.closed = true, true
	f.mu.Unlock()
	f.site.gaveUp()
	f.cancel(errSuperseded)
	f.giveUp(errSuperseded)
}

func (f *fill) wasSuperseded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.superseded
}

func (f *fill) isLost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

func (f *fill) followersNow() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followers
}

func (f *fill) headNow() head {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}
