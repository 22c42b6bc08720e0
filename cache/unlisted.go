package cache

import (
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// maxUnlisted bounds what is known of URLs with content under other keys.
const maxUnlisted = 1 << 16

// unlisted are the URLs whose content is stored under keys that are not their
// own, since fields are part of these or since there is another spelling, and
// until when. It is known so that a purge of a URL of which there is nothing
// need not be noted. What there was no room for is known to be missing until it
// has expired: till then any URL may have some.
type unlisted struct {
	mu    sync.Mutex // guards what follows
	until map[uint64]time.Time
	full  time.Time
}

func (u *unlisted) has(url uint64, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return now.Before(u.full) || now.Before(u.until[url])
}

func (u *unlisted) add(url uint64, now, until time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.until == nil {
		u.until = make(map[uint64]time.Time)
	}
	old, ok := u.until[url]
	if !ok && len(u.until) >= maxUnlisted {
		u.makeRoom(now)
	}
	if until.After(old) {
		u.until[url] = until
	}
}

// makeRoom drops what expired or, if that is little, any eighth. u.mu is held.
func (u *unlisted) makeRoom(now time.Time) {
	for url, until := range u.until {
		if !now.Before(until) {
			delete(u.until, url)
		}
	}
	for url, until := range u.until {
		if len(u.until) < maxUnlisted*7/8 {
			break
		}
		if until.After(u.full) {
			u.full = until
		}
		delete(u.until, url)
	}
}

// note is called before o can be found in the shelf.
func (s *Store) note(o *object, keep time.Duration) {
	if form := semantics.PurgeForm(semantics.URLPart(o.primary)); o.primary != form {
		now := time.Now()
		s.unlisted.add(s.gen.id(markURL, form), now, now.Add(min(keep, maxTTL)))
	}
}
