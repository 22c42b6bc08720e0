package cache

import (
	"hash/maphash"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// The bounds of what is remembered of purges.
const (
	maxInvalidations = 1 << 16 // of URLs, hosts, tags and groups together
	maxPrefixes      = 64
)

// standing is what purges have made of content.
type standing uint8

const (
	sound    standing = iota
	softened          // stale from the purge on
	purged            // not there any more
)

// generations tells which content is older than its invalidation. There is one
// sequence; every purge advances it and notes the new value beside what it is
// about. Content that was asked for at a smaller value is purged or, by the
// other table, stale.
//
// What a purge is about is there as a seeded hash, since a key is as long as a
// client makes it. Of two that collide both are purged: too much, never too
// little.
type generations struct {
	seq  atomic.Uint64 // the value of the last purge; written under mu
	seed maphash.Seed

	// epoch tells this store from those of other processes. watched: a snapshot
	// was taken, so that purges which are not noted are missed.
	epoch   uint64
	watched atomic.Bool

	mu         sync.RWMutex // guards what follows
	hard, soft purges
	// missed are the purges of URLs of which there was nothing, that a snapshot
	// may bring back. They have a sequence of their own.
	missed    purges
	missedSeq uint64
}

func (g *generations) init(size int) {
	g.seed = maphash.MakeSeed()
	g.hard.init(size)
	g.soft.init(size)
	g.missed.init(size)
	g.epoch = rand.Uint64()
}

// purgePoint is a place in the purges of one store.
type purgePoint struct{ epoch, seq, missed uint64 }

// point is where the purges are now. From here on none of a URL is forgotten.
func (g *generations) point() purgePoint {
	g.watched.Store(true)
	g.mu.RLock()
	defer g.mu.RUnlock()
	return purgePoint{g.epoch, g.seq.Load(), g.missedSeq}
}

// miss notes the purge of a URL of which there is nothing.
func (g *generations) miss(url uint64) {
	if !g.watched.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.missedSeq++
	g.missed.put(url, g.missedSeq)
}

// bornAt is what content counts as born at that is restored from a snapshot
// which was taken at a point; ok is false if it was purged since. Of another
// process no more is known than that it is older than all purges of this one.
func (g *generations) bornAt(primary string, at purgePoint) (born uint64, ok bool) {
	if at.epoch != g.epoch {
		return 0, true
	}
	m := g.marksOf(primary)
	g.mu.RLock()
	defer g.mu.RUnlock()
	return min(at.seq, g.seq.Load()), !g.missed.since(&m, at.missed)
}

// purge makes all content that has the mark, and was asked for until now,
// purged or stale.
//
// The value is in the table before the sequence has it, so a reader that saw
// the sequence sees the table. Content is born with the value of the sequence:
// what begins while this runs is born with the smaller one and is invalid.
func (g *generations) purge(soft bool, ids ...uint64) {
	g.advance(soft, func(p *purges, n uint64) {
		for _, id := range ids {
			p.put(id, n)
		}
	})
}

// purgePrefix is purge for all URLs whose key begins with prefix. host is the
// mark of its host, which is purged in its place when the list is full.
func (g *generations) purgePrefix(soft bool, prefix string, host uint64) {
	g.advance(soft, func(p *purges, n uint64) { p.putPrefix(prefix, host, n) })
}

func (g *generations) advance(soft bool, note func(p *purges, n uint64)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &g.hard
	if soft {
		p = &g.soft
	}
	n := g.seq.Load() + 1
	note(p, n)
	g.seq.Store(n)
}

// renew purges what has the mark of the URL, and returns the value at which the
// content is born that takes its place. ok is false if anything of the marks was
// purged after since: that content was asked for before.
func (g *generations) renew(m *marks, since uint64) (born uint64, ok bool) {
	g.advance(false, func(p *purges, n uint64) {
		born, ok = n, !g.hard.since(m, since) && !g.soft.since(m, since)
		p.put(m.ids[0], n)
	})
	return born, ok
}

// standing tells what purges have made of content with the marks that was born
// at the given value.
func (g *generations) standing(m *marks, born uint64) standing {
	if g.seq.Load() == born {
		return sound
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch {
	case g.hard.since(m, born):
		return purged
	case g.soft.since(m, born):
		return softened
	}
	return sound
}

// purgedTags tells whether any of the tags was purged, softly or not, since
// content was born.
func (g *generations) purgedTags(t *tags, born uint64) bool {
	if t == nil || g.seq.Load() == born {
		return false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, id := range t.ids {
		if max(g.hard.at(id), g.soft.at(id)) > born {
			return true
		}
	}
	return max(g.hard.floor, g.soft.floor) > born
}

// purges has the values of one kind of purge. The table is two maps: when the
// newer one is full it becomes the older one, and what that had is forgotten by
// raising the floor to the highest value in it: all content from before is
// invalid then. The short list of prefixes overflows into the table.
type purges struct {
	size     int // of both maps together
	newer    map[uint64]uint64
	older    map[uint64]uint64
	olderTop uint64 // the highest value in older
	newerTop uint64
	floor    uint64
	prefixes []prefixPurge // the latest last
}

type prefixPurge struct {
	prefix string
	host   uint64
	n      uint64
}

func (p *purges) init(size int) {
	p.size = max(size, 2)
	p.newer = make(map[uint64]uint64)
}

func (p *purges) put(id, n uint64) {
	if _, ok := p.newer[id]; !ok && len(p.newer) >= p.size/2 {
		p.floor = max(p.floor, p.olderTop)
		p.older, p.olderTop = p.newer, p.newerTop
		p.newer, p.newerTop = make(map[uint64]uint64), 0
	}
	p.newer[id] = max(p.newer[id], n)
	p.newerTop = max(p.newerTop, n)
}

func (p *purges) putPrefix(prefix string, host, n uint64) {
	// What it covers needs no entry of its own.
	p.prefixes = slices.DeleteFunc(p.prefixes, func(old prefixPurge) bool { return strings.HasPrefix(old.prefix, prefix) })
	if len(p.prefixes) >= maxPrefixes {
		p.put(p.prefixes[0].host, p.prefixes[0].n)
		p.prefixes = slices.Delete(p.prefixes, 0, 1)
	}
	p.prefixes = append(p.prefixes, prefixPurge{prefix, host, n})
}

// at is the value of the last purge of the mark, as far as the maps have it.
func (p *purges) at(id uint64) uint64 { return max(p.newer[id], p.older[id]) }

// since tells whether anything of the marks was purged at a value above born.
func (p *purges) since(m *marks, born uint64) bool {
	if p.floor > born {
		return true
	}
	if max(p.newerTop, p.olderTop) > born {
		for _, id := range m.ids {
			if p.at(id) > born {
				return true
			}
		}
		for _, id := range m.tags {
			if p.at(id) > born {
				return true
			}
		}
	}
	for _, one := range slices.Backward(p.prefixes) {
		if one.n <= born {
			break
		}
		if strings.HasPrefix(m.url, one.prefix) {
			return true
		}
	}
	return false
}

// marks are what a purge can reach content by.
type marks struct {
	url  string    // the URL's part of the key, as semantics.PurgeForm has it
	ids  [3]uint64 // of the URL, the host, and the whole namespace
	tags []uint64  // of tags and groups
}

// The kinds of marks.
const (
	markAll    = 'a'
	markHost   = 'h'
	markURL    = 'u'
	markTag    = 't'
	markAnyTag = 'T' // content with more tags than are kept
	markGroup  = 'g'
	markAnyGrp = 'G'
	markGroups = 'o' // content with any groups
)

// id is the hash of a mark. Its parts are set apart by what none of them
// contains other than as semantics escapes it.
func (g *generations) id(kind byte, parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(g.seed)
	_ = h.WriteByte(kind)
	for _, s := range parts {
		_, _ = h.WriteString(s)
		_, _ = h.WriteString("\x00/")
	}
	return h.Sum64()
}

// marksOf are the marks of content with a primary key, but for its tags.
func (g *generations) marksOf(primary string) marks {
	at := semantics.SplitKey(primary)
	m := marks{url: semantics.PurgeForm(at.URL)}
	m.ids = [3]uint64{
		g.id(markURL, m.url),
		g.id(markHost, at.Namespace, trimDot(at.Host)),
		g.id(markAll, at.Namespace),
	}
	return m
}

// trimDot makes one host of the two ways to write it. They are two in the key,
// since origins tell them apart.
func trimDot(host string) string {
	name, port, ok := strings.Cut(host, ":")
	if !ok {
		return strings.TrimSuffix(host, ".")
	}
	return strings.TrimSuffix(name, ".") + ":" + port
}
