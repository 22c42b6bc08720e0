package cache

import (
	"strings"
	"sync"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// The bounds of what an origin that does not answer is asked, beside those that
// follow from RetryStale.
const (
	// maxSites bounds the origins that are told apart; those beyond share one
	// place, which makes probes for them rarer.
	maxSites = 1024
	// crowd is how many refreshes of one origin may be in flight while none is
	// answered. Then a page's first attempt is subject to election, too.
	crowd = 64
	// maxLost is how many refreshes of one origin may have been given up without
	// having returned. Then hung ones are waited for.
	maxLost = 16
	// maxPatience bounds what the time that a page took before makes of the time
	// after which its refresh is hung.
	maxPatience = 10 * time.Second
	// slowFor is for how long a fetch that was slow is held against the next one.
	slowFor = 30 * time.Second
)

// site is what is known of one origin as a whole: a namespace, scheme and host.
type site struct {
	mu       sync.Mutex // guards what follows; no other lock is taken under it
	sent     time.Time  // when the latest fetch that was answered had been sent
	answered time.Time  // when the latest answer came
	probed   time.Time  // when a page was last elected
	running  int        // refreshes whose next has not returned
	lost     int        // those of them that were given up
}

// answer notes a fetch that succeeded.
func (s *site) answer(sent, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent.Before(sent) {
		s.sent = sent
	}
	s.answered = now
}

// elect gives one page per interval the right to ask for all. take it once only.
func (s *site) elect(now time.Time, every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost >= maxLost || now.Sub(s.probed) < every {
		return false
	}
	s.probed = now
	return true
}

// electable tells whether elect would.
func (s *site) electable(now time.Time, every time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost < maxLost && now.Sub(s.probed) >= every
}

// again gives the right back that an attempt did not use: it was refused on the
// way.
func (s *site) again() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.probed = time.Time{}
}

func (s *site) began() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running++
}

func (s *site) ended(lost bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if lost {
		s.lost--
	}
}

func (s *site) gaveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost++
}

// sites are the origins that were asked for something.
type sites struct {
	mu     sync.Mutex // guards what follows; a site's mu is taken under it
	items  map[string]*site
	shared site
}

// of returns the site of a URL's key.
func (s *sites) of(primary string) *site {
	name := siteOf(primary)
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.items[name]; it != nil {
		return it
	}
	if len(s.items) >= maxSites && !s.makeRoom() {
		return &s.shared
	}
	it := &site{}
	s.items[strings.Clone(name)] = it
	return it
}

// makeRoom drops an eighth of the sites without a refresh in flight, whichever;
// what is lost is that their pages heal one by one. mu is held.
func (s *sites) makeRoom() bool {
	for name, it := range s.items {
		if len(s.items) < maxSites*7/8 {
			break
		}
		it.mu.Lock()
		idle := it.running == 0
		it.mu.Unlock()
		if idle {
			delete(s.items, name)
		}
	}
	return len(s.items) < maxSites
}

// siteOf is the part of a URL's key that names its origin.
func siteOf(primary string) string {
	end := 0
	for range 3 { // namespace, scheme, host
		i := strings.Index(primary[end:], "\x00/")
		if i < 0 {
			return primary
		}
		end += i + 2
	}
	return primary[:end]
}

// ruling is what is to be done about a stale page.
type ruling uint8

const (
	attempt ruling = iota
	// elect: attempt if elected, else answer from the copy.
	elect
	// join: a refresh is in flight that may be waited for.
	join
	// hold: answer from the copy at once.
	hold
)

// trouble is what is known when a request finds a stale page. Zero times are
// things that did not happen.
type trouble struct {
	now   time.Time
	every time.Duration // between two attempts

	failed time.Time // when the page's last refresh failed
	begun  time.Time // when that had begun
	until  time.Time // from then on it may be tried again, elected or not
	told   bool      // the failure itself said until when

	oldest, newest time.Time     // when the refreshes in flight began
	slow           time.Duration // from when on one is not waited for; 0 = never
	hung           time.Duration // from when on another one may begin

	answered time.Time // when the latest fetch that the origin answered was sent
	crowded  bool      // many are in flight and none is answered
}

// rule decides whether the page's refresh may begin. While nothing says that
// the origin answers again, one page per interval is elected to ask, and nobody
// waits. An answer to any later fetch is evidence for all pages.
func (t *trouble) rule() ruling {
	troubled, due := false, false
	if !t.failed.IsZero() {
		due = !t.now.Before(t.until)
		// What was answered since the failed one was sent is news: that may have hung
		// for long.
		troubled = !t.answered.After(t.begun)
		since := t.begun
		if troubled {
			since = t.failed
		}
		if !due && (t.told || t.now.Sub(since) < t.every) {
			return hold
		}
	}
	if !t.newest.IsZero() {
		if t.slow > 0 && t.now.Sub(t.oldest) >= t.slow && !t.answered.After(t.oldest) {
			troubled = true
		}
		if age := t.now.Sub(t.newest); age < t.hung {
			if troubled || t.slow > 0 && age >= t.slow {
				return hold
			}
			return join
		}
		if !t.answered.After(t.newest) {
			troubled, due = true, false
		}
	}
	if troubled && !due || t.crowded {
		return elect
	}
	return attempt
}

// flying are the refreshes of a page in flight.
type flying struct {
	n              int
	oldest, newest time.Time
	last           *fill // the newest
}

// verdictOn is what a request for the stale object gets.
type verdictOn struct {
	ruling ruling
	// behind: what is attempted is not to be waited for.
	behind  bool
	elected bool
	// err is the failure for which the copy answers; nil = slowness.
	err *failure.Error
}

// consider decides about a refresh of o. It takes the election's one vote, so it
// is asked where the refresh begins if it may.
func (c *Cache) consider(o *object, in flying, now time.Time) verdictOn {
	return c.weigh(o, in, now, (*site).elect)
}

// weigh is consider with another way to vote.
func (c *Cache) weigh(o *object, in flying, now time.Time, vote func(*site, time.Time, time.Duration) bool) verdictOn {
	last, _ := c.failures.get(o.primary, now)
	if last.err != nil && now.Sub(last.until) >= maxRetryStale {
		last = lastFailure{} // too old to say anything
	}
	s := c.sites.of(o.primary)
	t := trouble{
		now: now, every: c.cfg.RetryStale,
		failed: last.at, begun: last.begun, until: last.until, told: last.told,
		oldest: in.oldest, newest: in.newest, slow: c.cfg.StaleIfSlow, hung: c.hungAfter(o),
	}
	s.mu.Lock()
	t.answered = s.sent
	t.crowded = s.running >= crowd && now.Sub(s.answered) >= c.pace()
	s.mu.Unlock()

	v := verdictOn{ruling: t.rule(), err: last.err}
	if v.ruling == elect {
		switch {
		case vote(s, now, c.cfg.RetryStale):
			v.ruling, v.elected = attempt, true
		case c.cfg.StaleIfSlow == 0 && in.n > 0 && last.err == nil:
			v.ruling = join // the operator wants them to wait
		default:
			v.ruling = hold
		}
	}
	if c.cfg.StaleIfSlow > 0 {
		v.behind = in.n > 0 && v.ruling == attempt || last.slow || t.crowded || o.took >= c.cfg.StaleIfSlow && now.Sub(o.resp.Received) < slowFor
	}
	return v
}

// pace is the least time between two refreshes of one page that hang.
func (c *Cache) pace() time.Duration { return max(c.cfg.RetryStale, defaultRetryStale) }

// hungAfter is from when on a refresh of o is taken for hung. What took long
// before is given more time.
func (c *Cache) hungAfter(o *object) time.Duration {
	return max(c.pace(), c.cfg.StaleIfSlow, min(o.took+o.took/2, maxPatience))
}
