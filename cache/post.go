package cache

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// post forwards a POST. Its answer is stored for later GETs if it says that it is
// what these would get (RFC 9110 section 9.3.3). Nobody waits for it, and it
// invalidates what is stored like any other.
func (h *handler) post(w http.ResponseWriter, r *http.Request, how forwarding) {
	c := h.c
	sel := c.normal.Select(r.Header)
	key, ok := c.keyer.append(nil, r, sel)
	if !ok || c.closing.Load() {
		h.forward(r.Context(), w, r, how)
		return
	}
	r = r.WithContext(failure.Track(r.Context()))
	p := &posted{c: c, r: r, before: w.Header().Clone(), sent: time.Now()}
	p.f = c.store.hold(c, string(key), nil, normalised(r, sel).Header)
	defer p.end()
	how.post = p
	h.forward(r.Context(), w, r, how) //nolint:contextcheck // it is the request's, with a slot
	p.commit()                        //nolint:contextcheck // it has the request
}

// posted keeps the answer to a POST while it passes, as far as it is to be
// stored.
type posted struct {
	c      *Cache
	r      *http.Request // with a slot
	before http.Header   // the client's header map before next saw it
	sent   time.Time
	f      *fill // holds the URL's row

	keeping    bool
	publishing bool
	left       bool
	status     int
	header     http.Header
	resp       semantics.Response
	tags       *tags
	length     int64 // announced; -1 = not
	body       []byte
	reserved   int64 // of the fill budget
}

// begin is called with the final status, and tells whether the answer is kept. If
// so, what was stored for the URL is invalid now.
func (p *posted) begin(status int, h http.Header) bool {
	if !p.keeps(status, h) {
		p.keeping = false
		p.leave() // before its row makes anybody believe that there is something
		return false
	}
	return true
}

func (p *posted) keeps(status int, h http.Header) bool {
	own := added(h, p.before)
	_, failed := failure.From(p.r.Context())
	received := time.Now()
	if failed || !semantics.Posted(p.r, p.c.cfg.Scheme(p.r), status, own, received, p.c.options) || len(announced(own)) > 0 {
		return false
	}
	p.length = contentLength(own)
	if p.length > p.c.maxObject {
		return false
	}
	d, bad := p.c.ask(p.r, status, own)
	if bad != nil || d.Store == StoreNever {
		return false
	}
	opts := p.c.grants(&d)
	p.resp = semantics.Analyze(own, status, p.sent, received, opts)
	p.tags = p.c.store.gen.newTags(p.f.primary, own, d.Tags)
	p.status, p.header = status, semantics.Sanitize(own, opts)
	if !semantics.HasDate(own) {
		p.header["Date"] = []string{semantics.FormatDate(received)}
	}
	m := p.f.marks
	if p.tags != nil {
		m.tags = p.tags.ids
	}
	// Where there is nothing else, nothing is recorded: see Store.purgeURL.
	s := p.c.store
	if s.mayHave(p.f.marks.url, m.ids[0], p.f) {
		p.f.born, p.keeping = s.gen.renew(&m, p.f.born)
	} else {
		p.keeping = s.gen.standing(&m, p.f.born) == sound
	}
	return p.keeping
}

// keep adds a part of the body that the client took.
func (p *posted) keep(b []byte) {
	if !p.keeping || len(b) == 0 {
		return
	}
	n := int64(len(p.body) + len(b))
	if n > p.c.maxObject || p.length >= 0 && n > p.length {
		p.drop()
		return
	}
	if n > int64(cap(p.body)) {
		room := max(n, min(2*int64(cap(p.body)), p.c.maxObject), p.length)
		if !p.c.store.budget.take(room - p.reserved) {
			p.drop()
			return
		}
		p.reserved = room
		body := make([]byte, len(p.body), room)
		copy(body, p.body)
		p.body = body
	}
	p.body = append(p.body, b...)
}

func (p *posted) drop() { p.keeping, p.body = false, nil }

// commit stores what was kept if it came whole.
func (p *posted) commit() {
	_, failed := failure.From(p.r.Context())
	if !p.keeping || failed || p.r.Context().Err() != nil || p.length >= 0 && p.length != int64(len(p.body)) {
		return
	}
	body := slices.Clip(p.body)
	if cap(p.body)-len(p.body) > len(p.body)/8 {
		body = slices.Clone(body)
	}
	o := newObject(p.f, p.status, p.header, [][]byte{body}, int64(len(body)), nil, p.resp, p.tags)
	p.publishing = true
	p.c.store.publisher.submit(job{put: o, keep: o.keep(time.Now()), done: func(putResult) { p.leave() }})
}

// end is called when the request ends, also by a panic.
func (p *posted) end() {
	if !p.publishing {
		p.leave()
	}
}

func (p *posted) leave() {
	if !p.left {
		p.left = true
		p.c.store.flights.leave(p.f)
		p.c.store.budget.give(p.reserved)
	}
}

// added is what h has that before had not: what next set, apart from what stands
// around the cache.
func added(h, before http.Header) http.Header {
	own := make(http.Header, len(h))
	for name, values := range h {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			own["Trailer"] = []string{name} // it has trailers
			continue
		}
		if old := before[name]; len(old) <= len(values) && slices.Equal(values[:len(old)], old) {
			values = values[len(old):]
		}
		if len(values) > 0 {
			own[name] = values
		}
	}
	return own
}

// keeper is a forwarder that keeps the body for a posted.
type keeper struct {
	forwarder
	post *posted
}

func (k *keeper) Write(b []byte) (int, error) {
	n, err := k.forwarder.Write(b)
	k.took(b[:n], err)
	return n, err
}

func (k *keeper) WriteString(s string) (int, error) {
	n, err := k.forwarder.WriteString(s)
	if k.post.keeping {
		k.took([]byte(s[:n]), err)
	}
	return n, err
}

func (k *keeper) took(b []byte, err error) {
	if err != nil {
		k.post.drop()
	}
	k.post.keep(b)
}

// ReadFrom lets what is not kept go by sendfile.
func (k *keeper) ReadFrom(src io.Reader) (int64, error) {
	if k.Status() != 0 && !k.post.keeping {
		return k.forwarder.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{k}, src)
}
