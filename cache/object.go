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
	born    uint64 // the invalidation sequence when its request was sent
	checked atomic.Uint64

	status  int
	header  http.Header // without Age and our Cache-Status; values clipped
	fields  []field     // header once more, quick to walk
	size    int64
	body    [][]byte
	trailer http.Header   // nil = none
	took    time.Duration // the fetch that brought it
	resp    semantics.Response
	vary    []string // names of the Vary field
	variant []byte   // what the request had under these names

	used *atomic.Int64 // Unix second of its last use, for the recency of variants; nil = no variant
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

// newObject makes the object of a complete response. header must be the
// object's to keep.
func newObject(f *fill, status int, header http.Header, body [][]byte, size int64, trailer http.Header, resp semantics.Response) *object {
	o := &object{
		primary: f.primary,
		version: f.version,
		born:    f.born,
		status:  status,
		header:  header,
		body:    body,
		size:    size,
		trailer: trailer,
		took:    time.Since(f.begun),
		resp:    resp,
	}
	o.vary, _ = semantics.VaryNames(header)
	if len(o.vary) > 0 {
		o.variant = semantics.AppendVariant(nil, o.vary, f.reqHeader)
		o.used = new(atomic.Int64)
		o.used.Store(time.Now().Unix())
	}
	o.checked.Store(f.born)
	// The length is known now. With trailers the body must go out chunked.
	if bodyAllowed(status) && len(trailer) == 0 {
		header["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	} else {
		delete(header, "Content-Length")
	}
	o.fields = make([]field, 0, len(header))
	for name, values := range header {
		if name != "Cache-Status" && name != "Age" {
			o.fields = append(o.fields, field{name, slices.Clip(values)})
		}
	}
	return o
}

// cost is what the object is charged in the store.
func (o *object) cost() int64 {
	n := o.size + int64(len(o.primary)+len(o.key)+len(o.variant)) + recordOverhead
	for name, values := range o.header {
		n += int64(len(name)) + 40
		for _, v := range values {
			n += int64(len(v)) + 16
		}
	}
	return n
}

// touch notes a use.
func (o *object) touch(now time.Time) {
	if sec := now.Unix(); o.used != nil && o.used.Load() != sec {
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
