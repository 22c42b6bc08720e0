package cache

import (
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// reader is one request's view of a fill. A request first waits, which holds
// nothing back, then streams from a position that a windowed fill respects.
type reader struct {
	f    *fill
	wake chan struct{} // one element when the fill changed

	// What follows is guarded by the fill's mu.

	chunk, off int   // the next byte
	pos        int64 // the same in bytes from the start
	infos      int   // 1xx responses that were passed on
	streaming  bool
	taking     bool          // its client was told that it gets this body
	cut        bool          // it took too little while others waited
	paces      bool          // the fill waits for it
	held       time.Duration // for how long others waited for it, too
	heldFrom   int64         // its position when that began to count
	user       bool          // it counts among the fill's users
	left       bool
}

// newReader is the reader of one more user. mu is held.
func (f *fill) newReader() *reader {
	rd := &reader{f: f, wake: make(chan struct{}, 1), user: true}
	f.users++
	f.followers++
	f.readers = append(f.readers, rd)
	return rd
}

// firstReader is the reader of the request that began the fill, which is counted
// among the users already. It streams from the start, so that nothing is
// dropped before it has it. counted: its leaving is that of the user.
func (f *fill) firstReader(counted bool) *reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	rd := &f.leading
	*rd = reader{f: f, user: counted, streaming: true}
	if len(f.readers) == 0 {
		f.readers = f.only[:0]
	}
	f.readers = append(f.readers, rd)
	return rd
}

// listen makes the first reader hear of changes, before it waits for any.
func (rd *reader) listen() *reader {
	rd.f.mu.Lock()
	defer rd.f.mu.Unlock()
	rd.wake = make(chan struct{}, 1)
	return rd
}

// followed tells whether anybody but the first request waits for the fill.
func (f *fill) followed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.readers, func(rd *reader) bool { return !rd.streaming })
}

// wakeAll tells all readers that something changed. mu is held.
func (f *fill) wakeAll() {
	for _, rd := range f.readers {
		select {
		case rd.wake <- struct{}{}:
		default: // it has been told already
		}
	}
}

// leave ends the reading. It may be called again.
func (rd *reader) leave() {
	f := rd.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if rd.left {
		return
	}
	rd.left = true
	f.readers = slices.DeleteFunc(f.readers, func(o *reader) bool { return o == rd })
	if rd.user {
		f.users--
		f.abandonIfUnwanted()
	}
	if f.windowed {
		f.trim()
		f.room()
	}
	f.release()
}

// room tells the writing side of a windowed fill that there may be some. mu is
// held.
func (f *fill) room() {
	select {
	case f.space <- struct{}{}:
	default:
	}
}

// view is a fill at one moment, as one request sees it.
type view struct {
	phase  phase
	head   head
	err    *failure.Error
	object *object
	suits  bool // the request may have the response
	shares bool // it may have the answer to a failure
	lost   bool // there won't be any
	// spoiled: it failed, and no headers said that the request could not have had
	// the response.
	spoiled bool
}

func (rd *reader) view(h http.Header, q semantics.Request, solo bool) view {
	f := rd.f
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{phase: f.phase, head: f.head, err: f.err, object: f.object, lost: f.lost && f.phase != phaseDone}
	v.suits = f.phase != phaseWaiting && f.suits(h, q, solo)
	v.spoiled = f.phase == phaseDone && f.err != nil &&
		(f.head.status == 0 || f.head.store && sameVariant(f.head.vary, f.reqHeader, h) && usable(q, &f.head.resp))
	v.shares = f.head.failure != nil && f.head.share && sameVariant(f.head.vary, f.reqHeader, h)
	return v
}

// suits tells whether a request may have the response, whose headers are known:
// it is to be stored, of the request's variant, and may be used without
// validation (RFC 9111 section 4). mu is held.
func (f *fill) suits(h http.Header, q semantics.Request, solo bool) bool {
	if !f.head.store || f.phase == phaseDone && (f.err != nil || f.object == nil) {
		return false
	}
	// Its tags were not known when the request joined: it may have come after
	// one of them was purged.
	if f.cache.store.gen.purgedTags(f.head.tags, f.born) {
		return false
	}
	resp, vary := f.head.resp, f.head.vary
	if f.object != nil {
		resp, vary = f.object.resp, f.object.vary
	}
	return (!solo && !f.solo || resp.Shareable) &&
		sameVariant(vary, f.reqHeader, h) &&
		usable(q, &resp)
}

// usable tells whether a response that just came may answer a request that
// waited for it.
func usable(q semantics.Request, resp *semantics.Response) bool {
	switch semantics.Decide(q, resp, time.Now()).Verdict {
	case semantics.Fresh, semantics.StaleWhileRevalidate:
		return true
	default:
		return false
	}
}

// nextInfo returns a 1xx response that was not passed on yet.
func (rd *reader) nextInfo() (info, bool) {
	rd.f.mu.Lock()
	defer rd.f.mu.Unlock()
	if rd.infos == len(rd.f.infos) {
		return info{}, false
	}
	rd.infos++
	return rd.f.infos[rd.infos-1], true
}

// stream makes the fill respect the reader's position. It is false if it is too
// late for that.
func (rd *reader) stream() bool {
	rd.f.mu.Lock()
	defer rd.f.mu.Unlock()
	if rd.streaming {
		return true
	}
	rd.streaming = !rd.f.windowed
	return rd.streaming
}

// readState says what next found.
type readState uint8

const (
	readData   readState = iota
	readDry              // nothing yet
	readEnd              // all was read
	readBroken           // the fill failed
	readCut              // the fill went on without this reader
)

// next returns the bytes that follow, at most a chunk. They stay what they are.
func (rd *reader) next() ([]byte, readState) {
	f := rd.f
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case rd.cut:
		return nil, readCut
	case f.superseded && !rd.taking:
		return nil, readBroken
	}
	rd.taking = rd.taking || !f.lost
	for i := rd.chunk - f.first; i < len(f.chunks); i++ {
		if b := f.chunks[i].buf; rd.off < len(b) {
			return b[rd.off:], readData
		}
		if i == len(f.chunks)-1 {
			break // it may grow
		}
		rd.chunk, rd.off = rd.chunk+1, 0
	}
	switch {
	case f.phase != phaseDone && !f.lost:
		return nil, readDry
	case f.broken:
		return nil, readBroken
	}
	return nil, readEnd
}

// took tells that n bytes are on their way to the client.
func (rd *reader) took(n int) {
	f := rd.f
	f.mu.Lock()
	defer f.mu.Unlock()
	rd.off += n
	rd.pos += int64(n)
	if f.windowed {
		f.trim()
		f.room()
	}
}
