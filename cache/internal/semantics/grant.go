package semantics

import "time"

// Grant is what the operator says about one response, beside its origin. 0 is
// nothing said.
type Grant struct {
	// Anyway: it is stored where the origin's directives, or their lack, are all
	// that is against it.
	Anyway bool
	// TTL is the freshness from its receipt on; negative is none.
	TTL time.Duration
	// SWR and SIE replace the windows; negative is none.
	SWR, SIE time.Duration
}

// anyway tells whether the origin's own word against storing is overruled.
func (o *Options) anyway() bool { return o.Grant != nil && o.Grant.Anyway }

// fresh tells whether the operator gives freshness to what has none.
func (o *Options) fresh(status int) bool {
	if o.Grant != nil && o.Grant.TTL != 0 {
		return o.Grant.TTL > 0
	}
	return o.StatusTTL[status] > 0
}

// granted gives a response the lifetime that the operator gives it, instead of
// the origin's or where that said nothing.
func (r *Response) granted(explicit bool, o *Options) {
	r.Grant = o.Grant
	ttl, name := time.Duration(0), "policy"
	if o.Grant != nil {
		ttl = o.Grant.TTL
	}
	if ttl == 0 && !explicit {
		ttl, name = o.StatusTTL[r.Status], "status"
	}
	if ttl == 0 {
		return
	}
	r.Source, r.Heuristic = name, false
	r.Lifetime = max(0, r.InitialAge+min(ttl, longest))
	if ttl < 0 {
		r.Lifetime = 0
	}
	if ttl > 0 && o.anyway() {
		r.NoCache = false
	}
}

// grantedWindows replaces the windows by what the operator says.
func (r *Response) grantedWindows(o *Options) {
	g := o.Grant
	if g == nil || r.Status >= 500 || r.MustRevalidate && !g.Anyway && (g.SWR > 0 || g.SIE > 0) {
		return
	}
	set := func(window *time.Duration, to time.Duration) {
		if to != 0 {
			*window = min(max(to, 0), longest)
		}
	}
	set(&r.SWR, g.SWR)
	set(&r.SIE, g.SIE)
	if g.SWR > 0 || g.SIE > 0 {
		r.NoCache = false // Anyway
	}
}
