package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// snapshotReserve is the part of the drain that is kept for the snapshot, however
// long requests take to end.
const snapshotReserve = 5 * time.Second

// reserve is the part of a drain that takes timeout in all.
func reserve(timeout time.Duration) time.Duration { return min(snapshotReserve, timeout/4) }

// restore begins with the pages of the last run, where -snapshot names a file. A
// file that is of no use is said to be, and the cache begins empty.
//
// The file goes once it was read: what is purged from now on must not come back
// after a crash.
func (p *proxy) restore() {
	path := p.cfg.snapshot
	if path == "" {
		return
	}
	sweep(path)
	began := time.Now()
	n, err := p.readSnapshot(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.log.Info("no snapshot yet: the cache begins empty", slog.String("snapshot", path))
		return
	case err != nil:
		p.log.Error("the snapshot was not read: the cache begins empty", slog.String("snapshot", path), slog.Any("error", err))
		return
	}
	p.log.Info("the snapshot was read", slog.String("snapshot", path), slog.Int("pages", n), slog.Duration("took", time.Since(began)))
	if err := os.Remove(path); err != nil {
		p.log.Warn("the snapshot that was read could not be removed: what is purged now comes back if this process does not end by a drain",
			slog.String("snapshot", path), slog.Any("error", err))
	}
}

func (p *proxy) readSnapshot(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return p.stack.cache.Restore(bufio.NewReaderSize(f, 1<<20))
}

// save writes the snapshot: beside the file first, so that what stands under its
// name is always whole. Only the owner may read it, since it has what visitors saw.
func (p *proxy) save(ctx context.Context) (err error) {
	path := p.cfg.snapshot
	if path == "" {
		return nil
	}
	p.saving.Lock() // purges under way are in it
	p.saved = true
	p.saving.Unlock()
	began := time.Now()
	defer func() {
		if err != nil {
			err = fmt.Errorf("-snapshot %s was not written: %w", path, err)
		}
	}()
	part, err := p.writeSnapshot(ctx, path)
	if err == nil {
		err = os.Rename(part, path)
	}
	if err != nil {
		if part != "" {
			err = errors.Join(err, os.Remove(part))
		}
		return err
	}
	syncDir(filepath.Dir(path))
	p.log.Info("the snapshot was written", slog.String("snapshot", path), slog.Duration("took", time.Since(began)))
	return nil
}

// writeSnapshot writes to a new file of its own, since another process may be
// ending with the same -snapshot. It is named also if it was not written whole.
func (p *proxy) writeSnapshot(ctx context.Context, path string) (part string, err error) {
	sweep(path)
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+partInfix+"*") // with mode 0600
	if err != nil {
		return "", err
	}
	out := bufio.NewWriterSize(until{ctx, f}, 1<<20)
	err = p.stack.cache.Snapshot(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

const (
	partInfix = ".part-"
	// abandoned is for how long a part was not written to that nobody writes any
	// more: a process that is ending writes without a pause.
	abandoned = 10 * time.Minute
)

// sweep removes what processes that were killed while they wrote left behind.
func sweep(path string) {
	entries, _ := os.ReadDir(filepath.Dir(path)) // what can't be read is not swept
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(path)+partInfix) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// syncDir makes a rename last through a power cut, where the system can.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // not all file systems can; the file itself is whole either way
		d.Close()
	}
}

// until is a writer that takes nothing more once ctx has ended.
type until struct {
	ctx context.Context //nolint:containedctx // an io.Writer has no other way to be told
	w   io.Writer
}

func (u until) Write(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.w.Write(p)
}
