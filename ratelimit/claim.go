package ratelimit

import (
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// maxKey bounds what a key costs.
const maxKey = 64

// source tells which bucket answers for a claim.
type source uint8

const (
	ownBucket          source = iota // the key's, in the table
	overflowBucket                   // for keys that find no room in the table
	unidentifiedBucket               // for clients without a key
)

// claim is what one request wants of one limit.
type claim struct {
	limit *limit
	key   [maxKey]byte
	len   uint8
	addr  bool // the key is made of the client's address
	from  source
	cost  int // 1 to burst

	// As of the last look: what the bucket holds, and the time until it holds
	// what the claim wants, 0 if it does.
	tokens float64
	wait   time.Duration

	held held
}

// held is a claim's bucket while the lock over it is held.
type held struct {
	mu    *sync.Mutex
	now   time.Time
	shard *shard
	own   *bucket // nil: a shared one
	fresh bool    // own was made for this claim
}

// claimsOnStack is for how many limits a request needs no memory of its own.
const claimsOnStack = 4

func (c *claim) setKey(key string) {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		c.len = uint8(copy(c.key[:], sum[:]))
		return
	}
	c.len = uint8(copy(c.key[:], key))
}

func (c *claim) setAddr(addr netip.Addr, bits4, bits6 int) {
	c.len = uint8(len(appendAddrKey(c.key[:0], addr, bits4, bits6)))
	c.addr = true
}

func (c *claim) keyBytes() []byte { return c.key[:c.len] }

// lock finds the claim's bucket, makes one if there is none, and locks it.
//
// A request locks its claims in the order of the limits, and within a limit lets
// go of the table before it locks a shared bucket, so no two wait for each
// other.
func (c *claim) lock() {
	if c.from != unidentifiedBucket {
		t := c.limit.table
		s := t.shard(c.keyBytes())
		s.mu.Lock()
		now := s.clock.nowLocked()
		b := s.buckets[string(c.keyBytes())]
		fresh := b == nil
		if fresh {
			b = t.addLocked(s, c.keyBytes(), now, c.cost)
		}
		if b != nil {
			c.from = ownBucket
			c.held = held{mu: &s.mu, now: now, shard: s, own: b, fresh: fresh}
			return
		}
		s.mu.Unlock()
		c.from = overflowBucket
	}
	c.lockShared()
}

func (c *claim) lockShared() {
	s := c.limit.shared(c.from)
	s.mu.Lock()
	c.held = held{mu: &s.mu, now: s.clock.nowLocked()}
}

func (c *claim) unlock() {
	c.held.mu.Unlock()
	c.held = held{}
}

func (c *claim) lookLocked() {
	if c.held.own != nil {
		c.sees(c.held.own.lim.TokensAt(c.held.now))
		return
	}
	c.sees(c.limit.shared(c.from).lim.TokensAt(c.held.now))
}

// sees notes what the bucket holds. A wait that is not 0 is above 0.
func (c *claim) sees(tokens float64) {
	c.tokens = tokens
	c.wait = wait(float64(c.cost)-tokens, c.limit.Rate)
}

// takeLocked takes n permits; what lookLocked saw must be enough. A negative n
// gives back: the bucket never holds more than a burst all the same, since that
// is what the next look makes of it.
func (c *claim) takeLocked(n int) {
	if c.held.own != nil {
		c.held.own.lim.AllowN(c.held.now, n)
	} else {
		c.limit.shared(c.from).lim.AllowN(c.held.now, n)
	}
	c.tokens -= float64(n)
}

// take takes what all claims want, or nothing at all. Each claim then knows what
// its bucket holds.
func take(cs []claim) (ok bool) {
	if len(cs) == 1 {
		return cs[0].take()
	}
	for i := range cs {
		cs[i].lock()
	}
	ok = true
	for i := range cs {
		cs[i].lookLocked()
		ok = ok && cs[i].wait == 0
	}
	for i := range cs {
		c := &cs[i]
		if ok {
			c.takeLocked(c.cost)
		} else if c.held.fresh {
			c.limit.table.refilledLocked(c.held.shard, c.held.own, c.held.now)
		}
		c.unlock()
	}
	return ok
}

// take is for one that need not wait for others.
func (c *claim) take() (ok bool) {
	c.lock()
	lim := c.limit.shared(c.from).lim
	if c.held.own != nil {
		lim = c.held.own.lim
	}
	ok = lim.AllowN(c.held.now, c.cost)
	c.tokens, c.wait = lim.TokensAt(c.held.now), 0
	if !ok {
		c.wait = max(wait(float64(c.cost)-c.tokens, c.limit.Rate), 1)
	}
	c.unlock()
	return ok
}

// look is take without taking. It changes nothing, the table included.
func look(cs []claim) {
	for i := range cs {
		cs[i].look()
	}
}

func (c *claim) look() {
	if c.from != unidentifiedBucket {
		t := c.limit.table
		s := t.shard(c.keyBytes())
		s.mu.Lock()
		now := s.clock.nowLocked()
		b, room := s.buckets[string(c.keyBytes())], false
		if b != nil {
			c.sees(b.lim.TokensAt(now))
		} else if room = t.roomLocked(s, now); room {
			c.sees(float64(c.limit.Burst))
		}
		s.mu.Unlock()
		if b != nil || room {
			c.from = ownBucket
			return
		}
		c.from = overflowBucket
	}
	c.lockShared()
	c.lookLocked()
	c.unlock()
}

// giveBack undoes what take did for the claim. A bucket that was replaced
// meanwhile was full, and needs nothing.
func (c *claim) giveBack() {
	if c.from != ownBucket {
		c.lockShared()
		c.takeLocked(-c.cost)
		c.unlock()
		return
	}
	t := c.limit.table
	s := t.shard(c.keyBytes())
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[string(c.keyBytes())]; b != nil {
		now := s.clock.nowLocked()
		b.lim.AllowN(now, -c.cost)
		t.refilledLocked(s, b, now)
	}
}
