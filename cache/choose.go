package cache

import (
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// action is what is done about a request first. What a fetch brings may lead
// elsewhere.
type action uint8

const (
	doFetch           action = iota // ask the origin, and show what it says
	doHit                           // answer from the store
	doStaleRefreshing               // answer from the store, refresh behind that
	doRefresh                       // refresh, and if that fails, is slow or not to be attempted answer from the store
	doRefuse                        // only-if-cached, and nothing may answer
)

var actionNames = [...]string{"fetch", "hit", "stale-while-revalidate", "refresh", "refuse"}

func (a action) String() string { return actionNames[a] }

// fwdVaryMiss is why the origin is asked where there are variants, and none that
// matches (RFC 9211 section 2.2).
const fwdVaryMiss = "vary-miss"

// detailRefreshing is the token of a stale answer given while a refresh runs.
const detailRefreshing = "refreshing"

// choice is an action and its reasons.
type choice struct {
	do        action
	fwd       string // RFC 9211 section 2.2; "" = the origin is not asked first
	forbidden string // the directive that keeps what is stored from answering
}

// choose decides about a request by what the store has for it. It changes
// nothing.
func (t *task) choose(at found, now time.Time) choice {
	if at.object == nil {
		switch {
		case t.q.OnlyIfCached:
			return choice{do: doRefuse}
		case at.varies:
			return choice{do: doFetch, fwd: fwdVaryMiss}
		}
		return choice{do: doFetch, fwd: "uri-miss"}
	}
	d := at.judge(t.q, now)
	fwd := d.Fwd
	origins := semantics.HasOriginConditions(t.r.Header) && !t.q.OnlyIfCached
	switch {
	case fwd != "":
	case origins && d.Verdict == semantics.Fresh:
		fwd = "request"
	default:
		fwd = "stale"
	}
	switch {
	case origins: // RFC 9111 section 4.3.2
	case d.Verdict == semantics.Fresh:
		return choice{do: doHit}
	case d.Verdict == semantics.StaleWhileRevalidate:
		return choice{do: doStaleRefreshing}
	case t.q.OnlyIfCached:
		return choice{do: doRefuse, forbidden: d.StaleForbidden}
	case d.StaleAllowed:
		return choice{do: doRefresh, fwd: fwd}
	}
	return choice{do: doFetch, fwd: fwd, forbidden: d.StaleForbidden}
}
