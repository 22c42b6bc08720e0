package cache

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// Explanation is what a [Cache] has for a request, and what it would do with it
// now. It is for operators: fields in the key are shown as the request has them,
// but for Authorization and cookies.
type Explanation struct {
	Method string `json:"method"`
	// Key is what of the request is part of the primary key; nil if it has none,
	// since it bypasses the cache.
	Key *ExplainedKey `json:"key,omitempty"`
	// Vary is what selects among the variants of the URL, by what the request
	// has; nil if they don't vary, as far as is known.
	Vary []ExplainedField `json:"vary,omitempty"`
	// Stored is the stored response that is selected; nil = there is none.
	Stored *ExplainedResponse `json:"stored,omitempty"`
	// Fills is how many fetches for the key are in flight.
	Fills int `json:"fills"`
	// Marker says why requests for the key don't wait for one another: what came
	// last was of no use to others. nil = they do.
	Marker *ExplainedMarker `json:"marker,omitempty"`
	// Failure is what a refresh failed with, while stale content answers without
	// another attempt; nil = nothing.
	Failure *ExplainedFailure `json:"failure,omitempty"`

	// Action is what is done with the request first: hit,
	// stale-while-revalidate (the stale response answers while a refresh runs),
	// stale (it answers without an attempt), refresh (it answers if a refresh
	// fails or is slow), fetch, bypass (the request passes the cache by), or
	// refuse (only-if-cached, and nothing may answer).
	Action string `json:"action"`
	// Fwd is why the origin is asked (RFC 9211 section 2.2), and Detail what
	// the detail parameter of Cache-Status says; "" = it is not, or says nothing.
	Fwd    string `json:"fwd,omitempty"`
	Detail string `json:"detail,omitempty"`
	// StaleForbidden is the directive that keeps the stored response from
	// answering stale; "" if none does.
	StaleForbidden string `json:"staleForbidden,omitempty"`
	// Alone: a fetch is not shared with other requests.
	Alone bool `json:"alone,omitempty"`
}

// ExplainedKey has the parts of a primary key.
type ExplainedKey struct {
	Namespace string `json:"namespace,omitempty"`
	Scheme    string `json:"scheme"`
	Host      string `json:"host"`
	// Path is the escaped path, with what of the query counts.
	Path string `json:"path"`
	// Fields are the fields and cookies that are part of the key.
	Fields []ExplainedField `json:"fields,omitempty"`
}

// ExplainedField is a field, or as "Cookie:name" a cookie, as a request has it.
// Absent: it has none.
type ExplainedField struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Absent bool   `json:"absent,omitempty"`
}

// ExplainedResponse is a stored response. Times are in seconds, rounded down.
type ExplainedResponse struct {
	Status int   `json:"status"`
	Size   int64 `json:"size"` // of the body, in bytes
	Age    int64 `json:"age"`
	// InitialAge is the age that it came with (RFC 9111 section 4.2.3).
	InitialAge int64 `json:"initialAge"`
	// TTL is the freshness left, negative when it is stale.
	TTL int64 `json:"ttl"`
	// Lifetime is the freshness lifetime and Source where it is from: s-maxage,
	// max-age, expires, heuristic, policy, status (Config.StatusTTL), or none. Of a
	// targeted field (RFC 9213) that is before it: "Cdn-Cache-Control: max-age".
	Lifetime int64  `json:"lifetime"`
	Source   string `json:"source"`
	// StaleWhileRevalidate and StaleIfError are the windows after the lifetime.
	StaleWhileRevalidate int64 `json:"staleWhileRevalidate"`
	StaleIfError         int64 `json:"staleIfError"`
	// MustRevalidate: it is not used stale, but within these windows; NoCache: nor
	// unvalidated at all.
	MustRevalidate bool      `json:"mustRevalidate"`
	NoCache        bool      `json:"noCache"`
	ETag           string    `json:"etag,omitempty"`
	LastModified   string    `json:"lastModified,omitempty"`
	Received       time.Time `json:"received"`
	Tags           []string  `json:"tags,omitempty"`
	Groups         []string  `json:"groups,omitempty"`
	// AllTags: it had more tags or groups than are kept, so that any purge by
	// tag reaches it.
	AllTags bool `json:"allTags,omitempty"`
	// SoftPurged: it counts as stale, however much of its lifetime is left.
	SoftPurged bool `json:"softPurged,omitempty"`
}

// ExplainedMarker is why requests for a key are not collapsed, in the tokens of
// [Event].NotStored, and until when.
type ExplainedMarker struct {
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
}

// ExplainedFailure is what the last refresh failed with, in the tokens of
// package failure, and until when no other one is attempted, unless the request
// is let out to try for all pages of its origin or one of these was answered.
type ExplainedFailure struct {
	Cause string    `json:"cause"`
	Until time.Time `json:"until"`
}

// Explain tells what would become of a request if it came now. It answers
// nothing, asks the origin nothing and changes nothing, but that what is looked
// up counts as asked for once more when room has to be made. Only the request's
// method, URL, Host, fields, ContentLength and what Config.Scheme looks at
// matter.
func (c *Cache) Explain(r *http.Request) Explanation {
	e := Explanation{Method: r.Method}
	if r.URL == nil {
		e.Action = bypassed
		return e
	}
	how := c.passes(r)
	sel := c.normal.Select(r.Header)
	key, ok := c.keyer.append(nil, r, sel)
	if how.fwd == "" && !ok {
		how = keyless
	}
	primary := string(key)
	if ok {
		e.Key = explainKey(primary)
	}
	if how.fwd != "" {
		e.Action, e.Fwd, e.Detail = bypassed, how.fwd, how.detail
		if how.fwd == fwdUntouched {
			e.Fwd = bypassed
		}
	}
	if !ok {
		return e
	}
	r = normalised(r, sel)
	now := time.Now()
	t := &task{handler: &handler{c: c}, r: r, primary: primary, q: semantics.ParseRequest(r.Header), start: now}
	at, _ := c.store.find(key, r.Header)
	for _, name := range at.names {
		e.Vary = append(e.Vary, explainField(name, r.Header[name]))
	}
	if at.object != nil {
		e.Stored = explainObject(at, now)
	}
	e.Fills = c.store.flights.countOf(primary)
	if reason, until := c.markers.look(primary); now.Before(until) {
		e.Marker = &ExplainedMarker{reason, until}
	}
	if last, current := c.failures.get(primary, now); current && now.Before(last.until) {
		e.Failure = &ExplainedFailure{last.err.Cause.String(), last.until}
	}
	if e.Action != "" {
		return e
	}
	choice := t.choose(at, now)
	if at.object == nil {
		if parts := t.findParts(); parts.object != nil {
			at, choice = parts, t.chooseParts(parts, now)
		}
	}
	e.Action, e.Fwd, e.StaleForbidden = choice.do.String(), choice.fwd, choice.forbidden
	switch choice.do {
	case doStaleRefreshing:
		e.Detail = detailRefreshing
		if why, held := t.foresee(at, now); held && why != "" {
			e.Action, e.Detail = staleAction, why
		}
	case doRefresh:
		if why, held := t.foresee(at, now); held {
			e.Action, e.Fwd, e.Detail = staleAction, "", why
		}
		e.Alone = t.solo(now)
	case doFetch:
		e.Alone = t.solo(now) || t.passesOn(at, now)
	default:
	}
	return e
}

// foresee tells whether a refresh would not be attempted, and for what failure;
// "" if it is slowness.
func (t *task) foresee(at found, now time.Time) (why string, held bool) {
	q := t.query(at, now)
	q.base = at.object
	s := t.c.store
	s.flights.mu.Lock()
	in := s.refreshing(s.flights.rows[t.primary], &q)
	s.flights.mu.Unlock()
	v := t.c.weigh(at.object, in, now, (*site).electable)
	if v.err != nil {
		why = v.err.Cause.String()
	}
	return why, v.ruling == hold
}

// staleAction is when a stale response answers without an attempt.
const staleAction = "stale"

// bypassed is the action, and the reason, of a request that passes the cache by.
const bypassed = "bypass"

func explainKey(primary string) *ExplainedKey {
	parts := semantics.SplitKey(primary)
	k := &ExplainedKey{Namespace: parts.Namespace, Scheme: parts.Scheme, Host: parts.Host, Path: parts.Path}
	for _, one := range parts.Fields {
		name, value, present := strings.Cut(one, ": ")
		if !present {
			k.Fields = append(k.Fields, ExplainedField{Name: name, Absent: true})
			continue
		}
		k.Fields = append(k.Fields, explainField(name, []string{value}))
	}
	return k
}

func explainField(name string, lines []string) ExplainedField {
	f := ExplainedField{Name: name, Value: strings.Join(lines, ", "), Absent: len(lines) == 0}
	if !f.Absent && (strings.HasPrefix(name, "Cookie") || strings.HasSuffix(name, "Authorization")) {
		f.Value = "(not shown)"
	}
	return f
}

func explainObject(at found, now time.Time) *ExplainedResponse {
	o := at.object
	s := &ExplainedResponse{
		Status: o.status, Size: o.size,
		Age: semantics.Seconds(o.resp.Age(now)), InitialAge: semantics.Seconds(o.resp.InitialAge),
		TTL: semantics.Seconds(o.left(now)), Lifetime: semantics.Seconds(o.resp.Lifetime), Source: o.resp.Source,
		StaleWhileRevalidate: semantics.Seconds(o.resp.SWR), StaleIfError: semantics.Seconds(o.resp.SIE),
		MustRevalidate: o.resp.MustRevalidate, NoCache: o.resp.NoCache,
		ETag: o.resp.ETag, LastModified: o.resp.LastModified, Received: o.resp.Received,
		SoftPurged: at.softened,
	}
	if t := o.tags; t != nil {
		s.Tags, s.Groups, s.AllTags = slices.Clone(t.names), slices.Clone(t.groups), t.moreNames || t.moreGroups
	}
	if at.softened {
		s.TTL = min(s.TTL, 0)
	}
	return s
}
