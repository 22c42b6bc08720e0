package errorpage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// lookEvery is the least time between two looks at the file.
	lookEvery = time.Second
	// lookPatience is how long requests wait for a look. Later ones don't wait for
	// one that took longer; they ask lookAgain after each other whether it ended.
	lookPatience = time.Second
	lookAgain    = 100 * time.Millisecond
	// maxFirstLine is more than a time takes; the rest of a file is not read.
	maxFirstLine = 256
)

// watch says when the file is looked at. The look itself is a goroutine's, of
// which there is one at most, so that nobody hangs where a file system does.
type watch struct {
	path    string
	start   time.Time
	next    atomic.Int64  // due, for those without the lock
	due     time.Duration // after start: when it is looked at again; guarded by maintenance.mu
	current *look         // the one that goes on; guarded by maintenance.mu
}

// look is one look at the file.
type look struct {
	begun time.Duration // after watch.start
	done  chan struct{} // closed once found is there
	found sighting
}

// sighting is what a look found.
type sighting struct {
	present      bool
	since, until time.Time
	// complaint is about a file that is there: no end could be made of its text.
	complaint error
	// err is why it is not known whether it is there.
	err error
}

// newWatch begins with a look by the first request.
func newWatch(path string) *watch { return &watch{path: path, start: time.Now()} }

// look brings what is known of the file up to date. All requests that come while
// somebody looks wait for what that one sees: what was known may be old.
func (m *maintenance) look(ctx context.Context) {
	w := m.file
	now := time.Since(w.start)
	if now < time.Duration(w.next.Load()) {
		return
	}
	m.mu.Lock()
	if now < w.due {
		m.mu.Unlock()
		return
	}
	l := w.current
	if l == nil {
		l = &look{begun: now, done: make(chan struct{})}
		w.current = l
		go func() {
			l.found = lookAt(w.path)
			close(l.done)
		}()
	}
	m.mu.Unlock()
	if !l.wait(l.begun + lookPatience - now) {
		m.settle(ctx, func(time.Time) (restate bool, note error) {
			if w.current == l {
				w.due = time.Since(w.start) + lookAgain
			}
			return false, nil
		})
		return
	}
	m.saw(ctx, l)
}

// wait waits for the end of the look, and tells whether it came.
func (l *look) wait(patience time.Duration) bool {
	if patience <= 0 {
		select {
		case <-l.done:
			return true
		default:
			return false
		}
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-l.done:
		return true
	case <-t.C:
		return false
	}
}

// saw acts on what a look found, once: whoever comes first does it for all who
// waited.
func (m *maintenance) saw(ctx context.Context, l *look) {
	unknown := error(nil)
	m.settle(ctx, func(now time.Time) (restate bool, note error) {
		if m.file.current != l {
			return false, nil
		}
		m.file.current = nil
		m.file.due = l.begun + lookEvery
		found := l.found
		if found.err != nil {
			if text := found.err.Error(); text != m.fileTrouble {
				m.fileTrouble, unknown = text, found.err
			}
			return false, nil
		}
		restate = m.fileTrouble != ""
		m.fileTrouble = ""
		before := m.byFile
		m.byFile = nil
		if found.present {
			m.byFile = &spell{since: found.since, until: found.until}
			if m.byFile.over(now) && (before == nil || !before.until.Equal(found.until)) {
				return true, fmt.Errorf("errorpage: %s: its time has passed: %s", m.file.path, found.until.UTC().Format(time.RFC3339))
			}
		}
		complaint := ""
		if found.complaint != nil {
			complaint = found.complaint.Error()
		}
		restate = restate || complaint != "" && complaint != m.fileComplain
		m.fileComplain = complaint
		return restate, found.complaint
	})
	if unknown != nil {
		m.observe(ctx, Event{Kind: MaintenanceUnknown, Err: unknown})
	}
}

// lookAt looks at the file.
func lookAt(path string) sighting {
	info, err := os.Stat(path)
	if s, done := present(path, info, err); done {
		return s
	}
	line, err := firstLine(path)
	if errors.Is(err, fs.ErrNotExist) {
		return sighting{} // it went between the two
	}
	return read(path, info.ModTime(), time.Now(), line, err)
}

// present is what the answer of stat alone says; done is false where a file is
// there that can be read. That a part of the path is no directory is a way of
// not being there, too.
func present(path string, info fs.FileInfo, err error) (s sighting, done bool) {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return sighting{}, true
	case err != nil:
		return sighting{err: fmt.Errorf("errorpage: whether there is maintenance can't be told: %w", err)}, true
	case !info.Mode().IsRegular():
		return sighting{err: fmt.Errorf("errorpage: whether there is maintenance can't be told: %s is no file but %s", path, kindOf(info.Mode()))}, true
	}
	return sighting{}, false
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// firstLine returns the beginning of the file. It does not wait for the writer
// of a pipe that took the file's place.
func firstLine(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("it is no file any more"))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFirstLine))
	line, _, _ := bytes.Cut(b, []byte{'\n'})
	return string(line), err
}

// read is what the text of a file that is there, changed at mod, says.
func read(path string, mod, now time.Time, line string, err error) sighting {
	s := sighting{present: true, since: mod}
	if mod.After(now) {
		s.since = now.Round(0)
	}
	if err != nil {
		s.complaint = fmt.Errorf("errorpage: %s can't be read, so no end is known: %w", path, err)
		return s
	}
	line = strings.TrimSpace(strings.TrimPrefix(line, "\ufeff"))
	if line == "" {
		return s
	}
	until, ok := parseTime(line)
	if !ok {
		s.complaint = fmt.Errorf("errorpage: the first line of %s is no time (RFC 3339), so no end is known", path)
		return s
	}
	s.until = until
	return s
}

// parseTime reads a date-time of RFC 3339 section 5.6, which may have a space
// for its T, as date(1) writes it, and small letters.
func parseTime(s string) (time.Time, bool) {
	s = strings.ToUpper(s)
	if len(s) > len("2006-01-02") && s[len("2006-01-02")] == ' ' {
		s = s[:len("2006-01-02")] + "T" + s[len("2006-01-02 "):]
	}
	t, err := time.Parse(time.RFC3339, s)
	return t, err == nil && !t.IsZero()
}
