package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAddresses bounds the addresses of a name; the others are not used.
	maxAddresses = 64
	// lookupLimit is how long one lookup in the background may take. A request
	// waits for it no longer than [Config.Resolve].
	lookupLimit = 10 * time.Second
	// lookupGap and refreshGap are the least time between two lookups that
	// requests ask for: of a name without addresses, and of one with.
	lookupGap  = 100 * time.Millisecond
	refreshGap = time.Second
	// A lookup that failed is repeated after unknownRetry while no address is
	// known, and after knownRetry else, both doubling up to the interval.
	unknownRetry = 250 * time.Millisecond
	knownRetry   = time.Second
	// minInterval bounds what a configuration can ask of the resolver.
	minInterval = 10 * time.Millisecond
)

// answer is what is known of a name. It is replaced, never changed.
type answer struct {
	addrs []netip.Addr // of the last good lookup
	err   error        // of the last lookup; nil: it was good
	since time.Time    // when err was first so; zero if it is nil
	at    time.Time    // of the last lookup
}

// name is a DNS name whose addresses are followed in the background. Where the
// resolver fails, or says that there are none, the last ones are kept.
type name struct {
	b       *Backend
	host    string
	good    *lastGood
	ctx     context.Context
	stop    context.CancelFunc
	started bool          // guarded by the backend's setMu
	poked   chan struct{} // asks for a lookup ahead of time

	answer atomic.Pointer[answer]

	mu    sync.Mutex    // guards round
	round chan struct{} // closed at the end of the next lookup
}

// lastGood are the addresses that a name had when it was last resolved, which
// outlive a change of how it is resolved; nil: none.
type lastGood struct{ atomic.Pointer[[]netip.Addr] }

func (g *lastGood) keep(addrs []netip.Addr) {
	if len(addrs) > 0 {
		g.Store(&addrs)
	}
}

func (g *lastGood) addrs() []netip.Addr {
	if known := g.Load(); known != nil {
		return *known
	}
	return nil
}

func newName(b *Backend, host string, good *lastGood) *name {
	n := &name{b: b, host: host, good: good, poked: make(chan struct{}, 1), round: make(chan struct{})}
	n.ctx, n.stop = context.WithCancel(b.ctx)
	n.answer.Store(&answer{addrs: good.addrs()})
	return n
}

// known are the addresses, as [ordered] has them; none were found so far if
// there are none.
func (n *name) known() []netip.Addr { return n.answer.Load().addrs }

// poke asks for a lookup soon.
func (n *name) poke() {
	select {
	case n.poked <- struct{}{}:
	default:
	}
}

var errNameDropped = errors.New("backend: the name is no longer followed")

// await is for a request that comes before the first good answer: it waits for
// the lookup that is under way or has one made. A failure that is younger than
// lookupGap is told at once.
func (n *name) await(ctx context.Context) ([]netip.Addr, error) {
	n.mu.Lock()
	round, is := n.round, n.answer.Load()
	n.mu.Unlock()
	if len(is.addrs) > 0 {
		return is.addrs, nil
	}
	if is.err != nil && time.Since(is.at) < lookupGap {
		return nil, is.err
	}
	n.poke()
	select {
	case <-round:
	case <-n.ctx.Done():
		return nil, errNameDropped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	is = n.answer.Load()
	if len(is.addrs) > 0 {
		return is.addrs, nil
	}
	return nil, is.err
}

// run looks the name up until it is dropped.
func (n *name) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var begun time.Time
	failed := 0
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-timer.C:
		case <-n.poked:
			if !n.pause(begun) {
				return
			}
		}
		begun = time.Now()
		addrs, err := n.lookup()
		if n.ctx.Err() != nil {
			return
		}
		if failed++; err == nil {
			failed = 0
		}
		n.take(addrs, err)
		timer.Reset(delay(failed, len(n.known()) > 0, n.interval(), rand.Float64()))
	}
}

func (n *name) interval() time.Duration { return n.b.now().cfg.ResolveInterval }

// pause waits until another lookup is due at the earliest. false: the name was
// dropped.
func (n *name) pause(begun time.Time) bool {
	gap := min(refreshGap, max(n.interval(), minInterval))
	if len(n.known()) == 0 {
		gap = lookupGap
	}
	wait := gap - time.Since(begun)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// delay is the time until the next lookup, after a number of failures in a row.
// dice is from 0 to 1: a quarter of jitter on either side, so that many
// processes do not ask at once.
func delay(failed int, known bool, interval time.Duration, dice float64) time.Duration {
	d := max(interval, minInterval)
	if failed > 0 {
		first := unknownRetry
		if known {
			first = knownRetry
		}
		d = min(d, first<<min(failed-1, 8))
	}
	return d*3/4 + time.Duration(dice*float64(d)/2)
}

func (n *name) lookup() ([]netip.Addr, error) {
	limit := max(lookupLimit, n.b.now().cfg.Resolve)
	ctx, cancel := context.WithTimeout(n.ctx, limit)
	defer cancel()
	addrs, err := n.b.dialer.lookup(ctx, "ip", n.host)
	switch {
	case err == nil && len(addrs) == 0:
		err = &net.DNSError{Err: "no address", Name: n.host, IsNotFound: true}
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = &net.DNSError{UnwrapErr: err, Err: fmt.Sprintf("no answer within %v", limit), Name: n.host, IsTimeout: true}
	}
	return ordered(addrs), err
}

// take makes the outcome of a lookup known: first to the endpoints, then to
// those that wait for it.
func (n *name) take(addrs []netip.Addr, err error) {
	select {
	case <-n.poked: // it has been done
	default:
	}
	before := n.answer.Load()
	is := &answer{addrs: addrs, err: err, at: time.Now()}
	if err != nil {
		is.addrs = before.addrs
		if is.since = before.since; before.err == nil {
			is.since = is.at
		}
	}
	n.answer.Store(is)
	n.good.keep(is.addrs)
	if !slices.Equal(before.addrs, is.addrs) {
		n.b.change(func(old *state, w *workshop) *state {
			return n.b.plan(old, old.cfg, old.targets(), true, w)
		})
	}
	n.mu.Lock()
	round := n.round
	n.round = make(chan struct{})
	n.mu.Unlock()
	close(round)
	n.tell(before, is)
}

// tell observes what changed.
func (n *name) tell(before, is *answer) {
	switch added, gone := without(is.addrs, before.addrs), without(before.addrs, is.addrs); {
	case is.err != nil && before.err == nil:
		n.b.observe(n.ctx, Event{Kind: ResolveFailed, Detail: fmt.Sprintf("%s: %v; %s", n.host, is.err, keeping(is.addrs))})
	case is.err == nil && len(added)+len(gone) > 0:
		detail := fmt.Sprintf("%s has %s", n.host, list(is.addrs))
		if len(before.addrs) > 0 && len(added) > 0 {
			detail += ", new: " + list(added)
		}
		if len(gone) > 0 {
			detail += ", gone: " + list(gone)
		}
		n.b.observe(n.ctx, Event{Kind: AddressesChanged, Detail: detail})
	case is.err == nil && before.err != nil:
		n.b.observe(n.ctx, Event{Kind: AddressesChanged, Detail: fmt.Sprintf("%s has %s, as before the resolver failed", n.host, list(is.addrs))})
	}
}

func keeping(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "no address is known"
	}
	return "kept: " + list(addrs)
}

func list(addrs []netip.Addr) string {
	text := make([]string, len(addrs))
	for i, a := range addrs {
		text[i] = a.String()
	}
	return strings.Join(text, ", ")
}

// without are the members of a that b has not.
func without(a, b []netip.Addr) []netip.Addr {
	var only []netip.Addr
	for _, one := range a {
		if !slices.Contains(b, one) {
			only = append(only, one)
		}
	}
	return only
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// ordered has each address once, those of the first one's family first, as the
// resolver prefers it (RFC 6724), within a family sorted, and no more than
// maxAddresses of both together.
func ordered(addrs []netip.Addr) []netip.Addr {
	if len(addrs) == 0 {
		return nil
	}
	first := familyOf(addrs[0].Unmap())
	all := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		all[i] = a.Unmap()
	}
	slices.SortFunc(all, func(a, b netip.Addr) int {
		if fa, fb := familyOf(a), familyOf(b); fa != fb {
			if fa == first {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Compare(b), 0)
	})
	all = slices.Compact(all)
	return slices.Clip(all[:min(len(all), maxAddresses)])
}

// place is where an endpoint is.
type place struct {
	addrs []netip.Addr // its own; several are of both families, the preferred one first
	spare []netip.Addr // of the other family, for when there is no route to its own
}

// spread divides the addresses of a name, which are [ordered], among endpoints.
// One of each family is one endpoint. With several of a family each of them is
// an endpoint: of the family that has more, of two that have as many of the one
// in use (4, 6; 0: none), else of the first. The others are spare: every
// endpoint may use them, beginning at a different one, where its own can't be
// routed to.
func spread(addrs []netip.Addr, inUse int) []place {
	cut := slices.IndexFunc(addrs, func(a netip.Addr) bool { return familyOf(a) != familyOf(addrs[0]) })
	if cut < 0 {
		cut = len(addrs)
	}
	own, other := addrs[:cut], addrs[cut:]
	if len(own) == 1 && len(other) <= 1 {
		return []place{{addrs: addrs}}
	}
	if len(other) > len(own) || len(other) == len(own) && inUse == familyOf(other[0]) {
		own, other = other, own
	}
	places := make([]place, len(own))
	for i, a := range own {
		places[i].addrs = []netip.Addr{a}
		if len(other) > 0 {
			k := i % len(other)
			places[i].spare = slices.Concat(other[k:], other[:k])
		}
	}
	return places
}
