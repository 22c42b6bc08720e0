package backend

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// errAbandoned ends the reads of an attempt that was given up.
var errAbandoned = errors.New("backend: attempt given up")

// upload is the body of a request, read by one attempt after the other. What
// was read is kept up to a limit, so that a later attempt gets it again.
//
// An attempt may be given up while its Read waits for the client. That Read
// goes on, and what it brings is for the next attempt: it never asks for more
// than still fits what is kept, or else there is no next attempt.
type upload struct {
	limit  int64
	length int64 // announced; -1: unknown

	mu      sync.Mutex // guards what follows; not held during reads of src
	changed sync.Cond
	src     io.Reader
	turn    int // the attempt whose reads count
	reading bool
	kept    bool   // buf has everything that was read
	buf     []byte // what was read
	read    int64
	err     error // what src ended with
}

func newUpload(src io.Reader, length, limit int64) *upload {
	u := &upload{src: src, length: length, limit: limit, kept: limit > 0 && length <= limit}
	u.changed.L = &u.mu
	return u
}

// replayable tells whether another attempt can have the body from its
// beginning.
func (u *upload) replayable() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.kept || u.read == 0 && !u.reading
}

// claim takes the body from the attempt that has it, for another one that was
// decided on. It fails if that attempt began to read meanwhile what is not
// kept.
func (u *upload) claim() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.kept && (u.read > 0 || u.reading) {
		return false
	}
	u.turn++
	u.changed.Broadcast()
	return true
}

// late tells whether the body ended since the client was too slow for a read
// deadline. net/http then cancels the request's context, as if the client had
// left, although it waits for an answer: the read that brings the news may be
// about to return, and is waited for.
func (u *upload) late() bool {
	if u == nil {
		return false
	}
	const moment = 20 * time.Millisecond
	began := time.Now()
	wake := time.AfterFunc(moment, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.changed.Broadcast()
	})
	defer wake.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	for u.reading && time.Since(began) < moment {
		u.changed.Wait()
	}
	return errors.Is(u.err, os.ErrDeadlineExceeded)
}

// finished tells whether the body was read to its end.
func (u *upload) finished() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return ended(u.err) || u.length >= 0 && u.read == u.length
}

// begun tells whether a byte of the body was asked for.
func (u *upload) begun() bool {
	if u == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.reading || u.read > 0 || u.err != nil
}

// reader gives the body from its beginning to a new attempt and takes it from
// the one before.
func (u *upload) reader() *uploadReader {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn++
	u.changed.Broadcast()
	return &uploadReader{u: u, turn: u.turn}
}

// close takes the body from whoever has it. If a Read of the client is under
// way, interrupt must end it; close waits for it unless interrupt fails.
func (u *upload) close(interrupt func() error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn++
	u.changed.Broadcast()
	if !u.reading {
		return
	}
	u.mu.Unlock()
	err := interrupt()
	u.mu.Lock()
	for err == nil && u.reading {
		u.changed.Wait()
	}
}

// uploadReader is one attempt's view of an upload.
type uploadReader struct {
	u    *upload
	turn int
	pos  int64
}

// Read returns what was kept, then what the client sends. It fails with
// errAbandoned once another attempt took over.
func (r *uploadReader) Read(p []byte) (int, error) {
	u := r.u
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		switch {
		case r.turn != u.turn:
			return 0, errAbandoned
		case u.kept && r.pos < int64(len(u.buf)):
			n := copy(p, u.buf[r.pos:])
			r.pos += int64(n)
			return n, nil
		case r.pos != u.read:
			return 0, errAbandoned // what came before is no longer there
		case u.err != nil:
			return 0, u.err
		case len(p) == 0:
			return 0, nil
		case u.reading:
			u.changed.Wait()
			continue
		}
		break
	}
	if u.kept {
		if room := u.limit - u.read; room > 0 {
			p = p[:min(int64(len(p)), room)]
		} else {
			u.kept, u.buf = false, nil
		}
	}
	u.reading = true
	u.mu.Unlock()
	n, err := u.src.Read(p)
	u.mu.Lock()
	u.reading = false
	u.changed.Broadcast()
	u.read += int64(n)
	if u.kept {
		u.buf = append(u.buf, p[:n]...)
	}
	if err != nil {
		u.err = err
	}
	if r.turn != u.turn {
		return 0, errAbandoned
	}
	r.pos += int64(n)
	return n, err
}

// Close gives the body up. The client's is left alone: another attempt may
// want it.
func (r *uploadReader) Close() error {
	r.u.mu.Lock()
	defer r.u.mu.Unlock()
	if r.turn == r.u.turn {
		r.u.turn++
		r.u.changed.Broadcast()
	}
	return nil
}
