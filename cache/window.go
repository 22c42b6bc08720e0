package cache

import (
	"slices"
	"time"
)

// A fill that is not to be stored, or no longer, is windowed: chunks that all
// readers have are dropped, and the slowest reader paces.

// toWindow gives storing up in the middle of the body: from now on no more is
// kept than readers need. mu is held.
func (f *fill) toWindow(reason string) {
	f.windowed, f.closed = true, true
	f.head.store, f.head.share, f.head.reason = false, false, reason
	if reason == reasonTooLarge && !f.solo {
		f.cache.putMarker(f.primary, reason)
	}
	f.trim()
	f.wakeAll()
	f.abandonIfUnwanted()
}

// slowest is the position of the reader that is furthest behind. mu is held.
func (f *fill) slowest() int64 {
	pos := f.size
	for _, rd := range f.readers {
		if rd.streaming && !rd.cut {
			pos = min(pos, rd.pos)
		}
	}
	return pos
}

// trim drops the chunks that all readers of a windowed fill have. mu is held.
func (f *fill) trim() {
	first := f.first + len(f.chunks)
	for _, rd := range f.readers {
		if rd.streaming && !rd.cut {
			first = min(first, rd.chunk)
		}
	}
	for f.first < first && len(f.chunks) > 1 { // the last one may still have room
		if c := f.chunks[0]; c.reserved {
			f.giveBack(int64(cap(c.buf)))
		}
		f.chunks[0] = chunk{}
		f.chunks = f.chunks[1:]
		f.first++
	}
}

func (f *fill) giveBack(n int64) {
	f.reserved -= n
	f.cache.store.budget.give(n)
}

// awaitSpace waits until a reader has made room, and cuts those that keep the
// others waiting: who takes less than a window in readerStall of their waiting,
// be it nothing or a trickle.
func (f *fill) awaitSpace() {
	f.mu.Lock()
	if f.space == nil {
		f.space = make(chan struct{}, 1)
		f.mu.Unlock()
		return // somebody may have made room before it was there
	}
	at := f.slowest()
	patience := readerStall
	for _, rd := range f.readers {
		if rd.paces = rd.streaming && !rd.cut && rd.pos <= at; rd.paces {
			patience = min(patience, readerStall-rd.held)
		}
	}
	f.mu.Unlock()
	begun := time.Now()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-f.space:
	case <-f.ctx.Done():
	case <-timer.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.charge(time.Since(begun))
}

// charge holds the time for which nothing could be added against the readers that
// paced then, if others have all that there is. One that is alone
// keeps nobody waiting: its own server decides how long it is borne with. mu is
// held.
func (f *fill) charge(waited time.Duration) {
	if !slices.ContainsFunc(f.readers, func(rd *reader) bool { return rd.streaming && !rd.cut && rd.pos == f.size }) {
		return
	}
	for _, rd := range f.readers {
		if !rd.paces {
			continue
		}
		if rd.pos-rd.heldFrom >= window {
			rd.held, rd.heldFrom = 0, rd.pos
		}
		if rd.held += waited; rd.held >= readerStall {
			rd.cut = true
		}
	}
	f.trim()
}
