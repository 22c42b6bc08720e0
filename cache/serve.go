package cache

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// hit answers from a fresh object.
func (h *handler) hit(w http.ResponseWriter, r *http.Request, o *object, now time.Time) {
	c := h.c
	o.touch(now)
	m := o.memoAt(c, now)
	status := m.hitStatus
	if c.cfg.ShowKey {
		status = c.statusOf(o, semantics.CacheStatus{Hit: true, TTL: o.left(now), HasTTL: true, Key: readable(o.primary)})
	}
	sent := c.serveObject(w, r, o, m.ageField, status)
	if c.cfg.Observe != nil {
		outcome := Hit
		if sent.condition != semantics.Proceed {
			outcome = NotModified
		}
		c.cfg.Observe(r.Context(), Event{
			Kind: Served, Outcome: outcome, Status: sent.status, Bytes: sent.bytes,
			TTL: o.resp.TTL(now), Duration: time.Since(now),
		})
	}
}

// memoAt is the memo of o's age now. Several may make the same one; that is
// fine.
func (o *object) memoAt(c *Cache, now time.Time) *memo {
	age := semantics.Seconds(o.resp.Age(now))
	if m := o.memo.Load(); m != nil && m.age == age && m.name == c.cfg.Name {
		return m
	}
	m := &memo{
		age:       age,
		name:      c.cfg.Name,
		ageField:  []string{strconv.FormatInt(age, 10)},
		hitStatus: c.statusOf(o, semantics.CacheStatus{Hit: true, TTL: o.left(now), HasTTL: true}),
	}
	o.memo.Store(m)
	return m
}

// statusOf is Cache-Status with the members that were stored and then ours.
func (c *Cache) statusOf(o *object, s semantics.CacheStatus) []string {
	s.Name = c.cfg.Name
	stored := o.values("Cache-Status")
	return append(slices.Clip(stored), string(s.Append(nil)))
}

// readable is a key as Cache-Status shows it: its parts, set apart by blanks. Of
// fields it has the names only, since what they say may be a secret; "!" stands
// before one that the request had not.
func readable(key string) string {
	parts := semantics.SplitKey(key)
	out := []string{strings.ReplaceAll(parts.URL, "\x00/", " ")}
	for _, f := range parts.Fields {
		name, _, present := strings.Cut(f, ": ")
		if !present {
			name = "!" + name
		}
		out = append(out, name)
	}
	return strings.Join(out, " ")
}

// addStatus appends our member to what is there.
func (c *Cache) addStatus(h http.Header, s semantics.CacheStatus) {
	s.Name = c.cfg.Name
	h["Cache-Status"] = append(slices.Clip(h["Cache-Status"]), string(s.Append(nil)))
}

// sent is what went to the client.
type sent struct {
	status    int
	bytes     int64
	condition semantics.Condition
}

// serveObject answers from o, with its trailers and as the request's conditions
// and range will have it. Age and Cache-Status come from outside; the rest is
// assigned as it is stored.
func (c *Cache) serveObject(w http.ResponseWriter, r *http.Request, o *object, age, status []string) sent {
	out := w.Header()
	fields := o.plain()
	var rep *representation
	if o.codings != nil && c.compressor != nil {
		if rep = o.codings.choose(r); rep != nil {
			fields = rep.fields
		} else {
			c.compressor.offer(o)
		}
	}
	for _, f := range fields {
		set(out, f.name, f.values)
	}
	set(out, "Cache-Status", status)
	out["Age"] = age

	s := sent{status: o.status}
	var part selection
	var header http.Header
	if semantics.HasConditions(r.Header) {
		header = o.selecting()
		s.condition = semantics.Conditional(r.Method, r.Header, o.status, header, o.resp.Received)
	}
	switch s.condition {
	case semantics.NotModified:
		s.status = http.StatusNotModified
		withoutBody(out)
	default:
		if len(r.Header["Range"]) > 0 && len(o.trailer) == 0 && rep == nil {
			part = selectRanges(r, o.status, header, o.length(), o.coded())
			part.fields(out)
			s.status = part.status(o.status)
		}
	}
	if len(o.trailer) > 0 && s.condition == semantics.Proceed {
		announce(out, o.trailer)
	}
	w.WriteHeader(s.status)
	if r.Method == http.MethodHead || s.condition != semantics.Proceed || part.unsatisfiable {
		return s
	}
	if !part.whole() {
		s.bytes, _ = part.write(w, o) // an error: the client is gone
		return s
	}
	if rep != nil {
		n, _ := w.Write(rep.body)
		s.bytes = int64(n)
		return s
	}
	for _, chunk := range o.body {
		if len(chunk) == 0 {
			break
		}
		n, err := w.Write(chunk)
		s.bytes += int64(n)
		if err != nil {
			return s // the client is gone
		}
	}
	maps.Copy(out, o.trailer)
	return s
}

var zeroLength = []string{"0"}

// withoutBody removes the fields that describe a body that is not sent (RFC
// 9110 section 15.4.5).
func withoutBody(h http.Header) {
	delete(h, "Content-Length")
	delete(h, "Content-Encoding")
	delete(h, "Content-Type")
	delete(h, "Content-Range")
	delete(h, "Trailer")
}

// refused leaves nothing of the stored response that would let a cache, ours to
// the client or the client's own, keep the refusal in its place.
func refused(h http.Header) {
	withoutBody(h)
	for _, name := range [...]string{"Cache-Control", "Expires", "Age", "Etag", "Last-Modified"} {
		delete(h, name)
	}
	for name := range h { // also the targeted ones
		if strings.HasSuffix(name, "-Control") {
			delete(h, name)
		}
	}
	h["Content-Length"] = zeroLength
}

// announce lists the trailers that will follow.
func announce(h, trailer http.Header) {
	names := make([]string, 0, len(trailer))
	for name := range trailer {
		names = append(names, name)
	}
	h["Trailer"] = names
	delete(h, "Content-Length")
}
