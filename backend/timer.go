package backend

import (
	"fmt"
	"sync/atomic"
	"time"
)

// phase is what an attempt waits for. It decides which limit applies and what
// it means when that is exceeded.
type phase uint8

const (
	phaseOff       phase = iota // nothing is waited for
	phaseResolve                // name resolution
	phaseConnect                // TCP connect
	phaseTLS                    // TLS handshake
	phaseUpload                 // the request is under way, its next bytes awaited from the client
	phaseWrite                  // the request is under way, the backend has to take it
	phaseFirstByte              // the request was sent, an answer is awaited
	phaseHeaders                // the header section has begun
	phaseBody                   // a Read of the body is blocked
	phaseFired                  // a limit was exceeded; the last phase there is
)

var phaseNames = [...]string{"off", "resolve", "connect", "tls", "upload", "write", "first byte", "headers", "body", "fired"}

func (p phase) String() string { return phaseNames[p] }

// timeoutError is the cause that an attempt's context is cancelled with when
// its timer fires.
type timeoutError struct {
	phase phase         // what was waited for
	limit time.Duration // how long
	total bool          // it was the budget until the final headers
	body  bool          // it was the limit of the whole body
}

func (e *timeoutError) Error() string {
	if e.body {
		return fmt.Sprintf("backend: the body was not whole within %v", e.limit)
	}
	if e.total {
		return fmt.Sprintf("backend: no final headers within %v", e.limit)
	}
	return fmt.Sprintf("backend: %v: nothing within %v", e.phase, e.limit)
}

// Timeout makes it a net.Error's kind of timeout.
func (e *timeoutError) Timeout() bool { return true }

// watch is the limits of an attempt. Its word holds the phase and its deadline;
// moving from phase to phase is a store. Firing is a compare-and-swap from
// exactly the word that is due, so a late timer never kills a phase that was
// left in time.
//
// The timer, its clock, is only touched where it would fire too late: a deadline
// that moves further away is found out when it fires.
//
//	arm                         timer goroutine
//	1 store word                a store next = 0
//	2 load next                 b load word
//
// Whatever the interleaving, either 2 sees the 0 of a and sets the timer, or b
// sees the word of 1 and does.
type watch struct {
	word   atomic.Uint64 // deadline in µs since base << 8 | budgetBit | phase
	total  atomic.Int64  // deadline of everything until the final headers; 0: none
	added  atomic.Int64  // what the budget was extended by, in µs
	paused atomic.Int64  // since when the budget stands still; 0: it runs
	out    atomic.Uint32 // the phase of whoever writes the request
	base   time.Time
	budget time.Duration // what total was computed from
	of     watched
	clock  *clock // set before anybody else can move the watch
	ahead  int64  // of the clock's base, in µs
	own    clock  // where no other is used
}

// watched is what a watch is for.
type watched interface {
	limit(p phase) time.Duration // 0: none
	timedOut(e *timeoutError)    // on a goroutine of its own, at most once
}

// clock is a runtime timer. A connection's serves one watch after the other and
// is left as it is set between them: on a busy connection it is touched every
// few seconds, not with every exchange. What that saves is less the work than
// the threads that the runtime wakes for a timer that becomes the first.
type clock struct {
	next  atomic.Int64          // when the timer fires, in µs since base; 0: it is not set
	watch atomic.Pointer[watch] // whom it fires for; nil: nobody
	base  time.Time
	timer *time.Timer
}

func (c *clock) start(now time.Time) {
	c.base = now.Add(-time.Millisecond)
	c.timer = time.AfterFunc(time.Hour, c.tick)
}

func (c *clock) now() int64 { return int64(time.Since(c.base) / time.Microsecond) }

func newClock() *clock {
	c := new(clock)
	c.start(time.Now())
	return c
}

// attach has the watch use a connection's clock. It comes before the first
// phase.
func (w *watch) attach(c *clock) {
	w.clock, w.ahead = c, int64(w.base.Sub(c.base)/time.Microsecond)
	c.watch.Store(w)
}

const (
	phaseMask = 0x7f
	budgetBit = 0x80      // the deadline is the budget's
	maxTick   = 1<<55 - 1 // deadlines fit the bits that a word has for them
)

func (w *watch) now() int64 { return int64(time.Since(w.base) / time.Microsecond) }

// begin starts the watch with nothing to wait for.
func (w *watch) begin(now time.Time, of watched) {
	// The base lies in the past, so that no deadline is 0.
	w.base, w.of = now.Add(-time.Millisecond), of
	w.out.Store(uint32(phaseWrite))
}

// until sets the budget until the final headers, of which left remains; a zero
// budget is none.
func (w *watch) until(budget, left time.Duration) {
	w.budget = budget
	if budget > 0 {
		w.total.Store(max(1, w.now()+int64(left/time.Microsecond)))
	}
}

// pause has the budget stand still until resume: the client's body is under
// way.
func (w *watch) pause() { w.paused.Store(w.now()) }

// resume moves the end of the budget by the time since pause.
func (w *watch) resume() {
	d := w.now() - w.paused.Load()
	w.added.Add(d)
	if w.budget > 0 {
		w.total.Add(d)
	}
	w.paused.Store(0)
}

// stood is how long the budget has stood still.
func (w *watch) stood() time.Duration {
	d := w.added.Load()
	if since := w.paused.Load(); since != 0 {
		d += w.now() - since
	}
	return time.Duration(d) * time.Microsecond
}

// wordFor is the word for p, entered now. The budget does not run while the
// body of the request or of the response is under way.
func (w *watch) wordFor(p phase) uint64 {
	if p == phaseOff {
		return uint64(phaseOff)
	}
	now := w.now()
	var at int64
	word := uint64(p)
	if d := w.of.limit(p); d > 0 {
		at = now + max(1, int64(d/time.Microsecond))
	}
	if p != phaseUpload && p != phaseWrite && p != phaseBody {
		total := w.total.Load()
		if since := w.paused.Load(); since != 0 && total != 0 {
			total += now - since
		}
		if total != 0 && (at == 0 || total < at) {
			at = total
			word |= budgetBit
		}
	}
	return uint64(min(at, maxTick))<<8 | word
}

// enter moves to p, whatever the phase is, and reports whether it could: it
// can't once the timer has fired.
func (w *watch) enter(p phase) bool {
	if w.clock == nil && p != phaseOff {
		w.own.start(w.base)
		w.attach(&w.own)
	}
	word := w.wordFor(p)
	for {
		old := w.word.Load()
		if phase(old&phaseMask) == phaseFired {
			return false
		}
		if w.word.CompareAndSwap(old, word) {
			w.schedule(int64(word >> 8))
			return true
		}
	}
}

// shift moves to p only from the phases of the request's way out: they belong
// to whoever writes the request, the others to whoever reads the response.
func (w *watch) shift(p phase) {
	w.out.Store(uint32(p))
	word := w.wordFor(p)
	for {
		old := w.word.Load()
		if from := phase(old & phaseMask); from != phaseUpload && from != phaseWrite {
			return
		}
		if w.word.CompareAndSwap(old, word) {
			w.schedule(int64(word >> 8))
			return
		}
	}
}

// back returns from a header section to what the writer of the request waits
// for. The writer tells its phase before it looks at the word, and the reader
// looks at it again after it set the word, so that neither misses the other.
func (w *watch) back() {
	for {
		p := w.out.Load()
		if !w.enter(phase(p)) || w.out.Load() == p {
			return
		}
	}
}

// schedule makes sure that the clock fires at the latest at the deadline.
func (w *watch) schedule(at int64) {
	if at != 0 {
		w.clock.schedule(at + w.ahead)
	}
}

func (c *clock) schedule(at int64) {
	for {
		next := c.next.Load()
		if next != 0 && next <= at {
			return
		}
		if c.next.CompareAndSwap(next, at) {
			break
		}
	}
	// Of two at once the later one may be the second to set the timer: it sets
	// it again to what counts.
	for at != 0 {
		c.timer.Reset(time.Duration(max(0, at-c.now())) * time.Microsecond)
		next := c.next.Load()
		if next == at {
			return
		}
		at = next
	}
}

// tick runs when the runtime timer fires.
func (c *clock) tick() {
	c.next.Store(0)
	if w := c.watch.Load(); w != nil {
		w.tick()
	}
}

func (w *watch) tick() {
	for {
		old := w.word.Load()
		p, at := phase(old&phaseMask), int64(old>>8)
		if p == phaseFired || at == 0 {
			return
		}
		if at > w.now() {
			w.schedule(at)
			return
		}
		if w.word.CompareAndSwap(old, uint64(phaseFired)) {
			e := &timeoutError{phase: p, limit: w.of.limit(p)}
			if old&budgetBit != 0 {
				e.total, e.limit = true, w.budget
			}
			w.of.timedOut(e)
			return
		}
	}
}

// end stops the watch for good, unless it has fired. The clock of a connection
// goes on without it.
func (w *watch) end() bool {
	ok := w.enter(phaseOff)
	if w.clock != nil {
		w.clock.watch.Store(nil)
	}
	if w.clock == &w.own {
		w.own.timer.Stop()
	}
	return ok
}
