package cache

import (
	"maps"
	"net/http"
	"strconv"
	"sync/atomic"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
)

// minCompressed is the smallest body that is compressed: below, header and
// packets are all that counts.
const minCompressed = 512

// codings is what an object may be sent as beside what it is. It goes with the
// object: both are evicted as one.
type codings struct {
	vary  []string // the field as the origin sent it; nil = it did not
	state atomic.Uint32
	made  atomic.Pointer[coded]
}

// The states of codings.
const (
	codingsEarly  = iota // the object is not in the store yet
	codingsNone          // not made
	codingsQueued        // going to be, or being made
	codingsDone          // made, or not worth it
)

// coded are the bodies of an object under each coding. It is never changed.
type coded struct {
	sizes [semantics.Codings]int64
	reps  [semantics.Codings]*representation // nil = none; Identity's always is
}

// representation is an object under a coding.
type representation struct {
	fields []field
	body   []byte
}

// compresses tells whether a response's type and fields let it be compressed.
// length is -1 where it is not known.
func (c *Cache) compresses(status int, h http.Header, length int64) bool {
	return c.compressor != nil && (length < 0 || length >= minCompressed) && semantics.Compressible(status, h, c.options.Targets)
}

// compressesWhole is compresses for the whole of which a 206 with the fields has
// a part.
func (c *Cache) compressesWhole(h http.Header, total int64) bool {
	if c.compressor == nil {
		return false
	}
	whole := maps.Clone(h)
	for _, name := range [...]string{"Content-Range", "Content-Md5", "Content-Digest"} {
		delete(whole, name)
	}
	return c.compresses(http.StatusOK, whole, total)
}

// coded tells whether the whole response is sent under codings, too.
func (o *object) coded() bool { return o.codings != nil || o.codedWhole }

// addVary says in a response that there are other codings of it.
func addVary(h http.Header) {
	h["Vary"], _ = semantics.VaryWith(h["Vary"], "Accept-Encoding")
}

// offerCodings makes o one that has codings.
func (o *object) offerCodings(header http.Header) {
	o.codings = &codings{vary: header["Vary"]}
	with, added := semantics.VaryWith(header["Vary"], "Accept-Encoding")
	if !added {
		return
	}
	for i := range o.fields {
		if o.fields[i].name == "Vary" {
			o.fields[i].values = with
			return
		}
	}
	o.fields = append([]field{{"Vary", with}}, o.fields...)
}

// choose is the representation that a request gets; nil = the object itself.
func (k *codings) choose(r *http.Request) *representation {
	lines := r.Header["Accept-Encoding"]
	if len(lines) == 0 {
		return nil
	}
	made := k.made.Load()
	if made == nil {
		return nil
	}
	part := r.Method == http.MethodGet && len(r.Header["Range"]) > 0
	rep := made.reps[semantics.ChooseCoding(lines, &made.sizes, part)]
	if rep != nil && semantics.NoTransform(r.Header) {
		return nil
	}
	return rep
}

// withBodies makes what is served of o under the codings with a body.
func (o *object) withBodies(bodies *[semantics.Codings][]byte) *coded {
	made := &coded{}
	made.sizes[semantics.Identity] = o.size
	for c, body := range bodies {
		if body != nil {
			made.sizes[c] = int64(len(body))
			made.reps[c] = o.represent(semantics.Coding(c), body) //nolint:gosec // one of few
		}
	}
	return made
}

// represent makes the fields that o has under a coding.
func (o *object) represent(c semantics.Coding, body []byte) *representation {
	rep := &representation{body: body, fields: make([]field, 0, len(o.fields)+1)}
	for _, f := range o.plain() {
		switch f.name {
		case "Content-Length":
			f.values = []string{strconv.Itoa(len(body))}
		case "Etag":
			if weak := semantics.WeakTag(f.values[0]); weak != f.values[0] {
				f.values = []string{weak}
			}
		}
		rep.fields = append(rep.fields, f)
	}
	rep.fields = append(rep.fields, field{"Content-Encoding", contentEncoding[c]})
	return rep
}

var contentEncoding = [semantics.Codings][]string{
	semantics.Gzip: {semantics.Gzip.String()},
	semantics.Zstd: {semantics.Zstd.String()},
}

// keepCodings takes over what was made of base, whose body o has.
func (o *object) keepCodings(base *object) {
	if o.codings == nil || base.codings == nil || base.codings.state.Load() != codingsDone {
		return
	}
	if made := base.codings.made.Load(); made != nil {
		var bodies [semantics.Codings][]byte
		for c, rep := range made.reps {
			if rep != nil {
				bodies[c] = rep.body
			}
		}
		o.codings.made.Store(o.withBodies(&bodies))
	}
	o.codings.state.Store(codingsDone)
}

// representationOverhead is what a representation takes beside its body and
// fields.
const representationOverhead = 200

// codingsOverhead is what an object takes that may be compressed, and coded
// beside its representations.
const codingsOverhead = 128

// cost is what the codings are charged.
func (m *coded) cost() (n int64) {
	for _, rep := range m.reps {
		if rep != nil {
			n += int64(len(rep.body)) + int64(len(rep.fields))*fieldOverhead + representationOverhead
		}
	}
	return n
}
