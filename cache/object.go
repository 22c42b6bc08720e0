package cache

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// object is one stored response. All but the atomics is never changed: readers
// hold on to it for as long as they like, whatever becomes of the entry.
type object struct {
	primary string // the URL's key
	key     string // primary, or the variant's
	version uint64 // which send it came from
	born    uint64 // the purge sequence when its request was sent
	// checked is the sequence when it was last looked up what was purged, times
	// two, plus one if it was softly. Once that, it stays so.
	checked atomic.Uint64
	tags    *tags // nil = none

	status  int
	fields  []field // without Age and our Cache-Status; Cache-Status is the last
	size    int64   // of the body, or of the segments together
	body    [][]byte
	trailer http.Header   // nil = none
	took    time.Duration // the fetch that brought it
	resp    semantics.Response
	// segments are the parts that are there of a representation of total bytes,
	// -1 = not known; nil = the object is whole. See partial.go.
	segments []segment
	total    int64
	// codedWhole: the whole of which there are segments is sent under codings.
	codedWhole bool

	vary    []string // names of the Vary field
	variant []byte   // what the request had under these names, as in its key
	date    int64    // its Date in Unix seconds; that of what it took the place of, if that is later

	maxVariants int // of the URL, by the Config of the cache that stored it

	codings *codings // what else it may be sent as; nil = nothing

	used *atomic.Int64 // Unix second of its last use, for the recency of variants
	memo atomic.Pointer[memo]
}

type field struct {
	name   string
	values []string
}

// memo has what changes with an object's age, for one second of it.
type memo struct {
	age       int64
	name      string // of the cache
	ageField  []string
	hitStatus []string // Cache-Status of a plain hit, with the members that were stored
}

// newObject makes the object of a complete response. header's values must not
// be changed any more.
func newObject(f *fill, status int, header http.Header, body [][]byte, size int64, trailer http.Header, resp semantics.Response, tags *tags) *object {
	o := &object{
		primary: f.primary,
		version: f.version,
		born:    f.born,
		status:  status,
		body:    body,
		size:    size,
		trailer: trailer,
		took:    time.Since(f.begun),
		resp:    resp,
		tags:    tags,
	}
	o.maxVariants = f.cache.cfg.MaxVariants
	o.date = semantics.Dated(header, resp.Received).Unix()
	if f.base != nil {
		o.date = max(o.date, f.base.date) // or an origin whose clock was set back would be asked each time
	}
	o.vary, _ = semantics.VaryNames(header)
	if len(o.vary) > 0 {
		o.variant = appendVariant(nil, o.vary, semantics.Selecting{Header: f.reqHeader})
	}
	o.used = new(atomic.Int64)
	o.used.Store(time.Now().Unix())
	o.checked.Store(f.born << 1)
	o.describe(header)
	o.offer(f.cache, header)
	return o
}

// describe lists the fields of a whole response. Its length is known now. With
// trailers it must go out chunked.
func (o *object) describe(header http.Header) {
	var length []string
	if bodyAllowed(o.status) && len(o.trailer) == 0 {
		length = []string{strconv.FormatInt(o.size, 10)}
	}
	o.fields = fieldsOf(header, length)
}

// offer offers codings of the whole response, if it is to have any.
func (o *object) offer(c *Cache, header http.Header) {
	if len(o.trailer) == 0 && c.compresses(o.status, header, o.size) {
		o.offerCodings(header)
	}
}

// copied is an object like o, to be changed before anybody has it.
func (o *object) copied() *object {
	c := &object{
		primary: o.primary, key: o.key, version: o.version, born: o.born,
		status: o.status, fields: o.fields, size: o.size, body: o.body, trailer: o.trailer, took: o.took, resp: o.resp,
		segments: o.segments, total: o.total, codedWhole: o.codedWhole, vary: o.vary, variant: o.variant, date: o.date,
		maxVariants: o.maxVariants, used: o.used, tags: o.tags,
	}
	c.checked.Store(o.born << 1)
	return c
}

func fieldsOf(header http.Header, length []string) []field {
	n := len(header)
	for _, name := range [...]string{"Age", "Content-Length"} {
		if _, ok := header[name]; ok {
			n--
		}
	}
	if length != nil {
		n++
	}
	fields := make([]field, 0, n)
	for name, values := range header {
		switch name {
		case "Age", "Content-Length", "Cache-Status":
		default:
			fields = append(fields, field{name, slices.Clip(values)})
		}
	}
	if length != nil {
		fields = append(fields, field{"Content-Length", length})
	}
	if values, ok := header["Cache-Status"]; ok {
		fields = append(fields, field{"Cache-Status", slices.Clip(values)})
	}
	return fields
}

// plain are the fields that are sent as they are stored.
func (o *object) plain() []field {
	if n := len(o.fields) - 1; n >= 0 && o.fields[n].name == "Cache-Status" {
		return o.fields[:n]
	}
	return o.fields
}

// values are those of one field. A map of the fields would take as much memory
// as the whole rest of a small object.
func (o *object) values(name string) []string {
	for _, f := range o.fields {
		if f.name == name {
			return f.values
		}
	}
	return nil
}

// header makes a map of the fields as the origin sent them.
func (o *object) header() http.Header {
	h := make(http.Header, len(o.fields)+2)
	for _, f := range o.fields {
		h[f.name] = f.values
	}
	if o.codings != nil {
		delete(h, "Vary")
		if o.codings.vary != nil {
			h["Vary"] = o.codings.vary
		}
	}
	return h
}

// selecting makes a map of the fields by which conditions and ranges are
// evaluated.
func (o *object) selecting() http.Header {
	h := make(http.Header, 4)
	for _, name := range [...]string{"Etag", "Last-Modified", "Date", "Content-Encoding"} {
		if values := o.values(name); values != nil {
			h[name] = values
		}
	}
	return h
}

// What a field and a value take beside their bytes.
const (
	fieldOverhead = 40
	valueOverhead = 20
	// variantOverhead is for the names of Vary and the note of the last use.
	variantOverhead = 64
)

// cost is what the object is charged in the store.
func (o *object) cost() int64 {
	n := o.size + int64(len(o.primary)+len(o.variant)) + o.tags.cost() + recordOverhead + objectOverhead
	if len(o.vary) > 0 {
		n += int64(len(o.key)) + variantOverhead
	}
	if o.codings != nil {
		n += codingsOverhead
		if made := o.codings.made.Load(); made != nil {
			n += made.cost()
		}
	}
	for _, f := range o.fields {
		n += int64(len(f.name)) + fieldOverhead
		for _, v := range f.values {
			n += int64(len(v)) + valueOverhead
		}
	}
	return n
}

// touch notes a use.
func (o *object) touch(now time.Time) {
	if sec := now.Unix(); o.used.Load() != sec {
		o.used.Store(sec)
	}
}

// left is the freshness left, for Cache-Status.
func (o *object) left(now time.Time) time.Duration { return wholeTTL(&o.resp, now) }

// wholeTTL is the freshness left in whole seconds: rounded up while fresh, so
// that it is what Age, which is rounded down, leaves of the lifetime; below 0
// when stale.
func wholeTTL(r *semantics.Response, now time.Time) time.Duration {
	ttl := r.TTL(now)
	if ttl > 0 {
		return (ttl + time.Second - 1).Truncate(time.Second)
	}
	return time.Duration(semantics.Seconds(ttl)) * time.Second
}

// keepUnusable is for how long a response is kept after it may not be used any
// more, so that a failure can be told from one where there was nothing.
const keepUnusable = 10 * time.Minute

// keep is for how long from now on the object is stored.
func (o *object) keep(now time.Time) time.Duration {
	return o.resp.KeepFor(now) + keepUnusable
}

// bodyAllowed tells whether a response with the status has a body (RFC 9110
// section 6.4.1).
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}
