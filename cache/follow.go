package cache

import (
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-go/holdfast/cache/internal/semantics"
	"github.com/holdfast-go/holdfast/failure"
)

// follow waits behind another request's fetch. It is false if that was of no
// use: another variant, not for sharing, a failure that was the leader's own.
func (t *task) follow(rd *reader, p plan) bool {
	defer rd.leave()
	limit := timer(t.c.cfg.FollowerWait)
	defer limit.Stop()
	solo := t.solo(time.Now())
	for {
		t.passInfos(rd)
		v := rd.view(t.r.Header, t.q, solo)
		switch {
		case v.lost, v.err == errSuperseded:
			return false
		case v.suits && v.phase == phaseDone:
			t.shared(rd, v, p.fwd)
			return true
		case v.suits:
			if rd.stream() {
				return t.stream(rd, v.head, p.fwd, true)
			}
			t.alone = true
			return false
		case v.phase != phaseWaiting && v.shares && rd.stream():
			return t.stream(rd, v.head, p.fwd, true) // the answer that the leader gets
		case v.phase != phaseWaiting && v.head.sharesFailure():
			t.event.FillID, t.event.Fwd, t.event.Collapsed = rd.f.id, p.fwd, true
			t.event.FwdStatus = v.head.received()
			t.fail(p.colour(sharedFailure(v.head.failure, rd.f))) // not its page
			return true
		case v.spoiled && v.err.Cause.Row().Share:
			t.event.FillID, t.event.Fwd, t.event.Collapsed = rd.f.id, p.fwd, true
			t.event.FwdStatus = v.head.received()
			t.fail(p.colour(sharedFailure(v.err, rd.f)))
			return true
		case v.phase != phaseWaiting:
			t.alone = !v.head.store && v.head.failure == nil && v.err == nil // nobody's but the leader's: the next one's would be, too
			return false
		}
		select {
		case <-rd.wake:
		case <-t.r.Context().Done():
			t.gone()
			return true
		case <-limit.C:
			return t.overdue(rd)
		}
	}
}

// overdue is reached when the limit is. One request per limit is let out to
// fetch for itself; the others wait on, for that one, but not for ever.
func (t *task) overdue(rd *reader) bool {
	t.event.Detail = failure.FillTimeout.String()
	t.waited++
	waited := time.Duration(t.waited) * t.c.cfg.FollowerWait
	if t.waited < 2 || waited < t.c.cfg.FillTimeout {
		return false
	}
	t.fail(&failure.Error{
		Cause:  failure.FillTimeout,
		Detail: "waited " + waited.String() + " behind fill " + rd.f.id,
	})
	return true
}

// shared answers from a fill that is complete but can't be found in the store
// yet.
func (t *task) shared(rd *reader, v view, fwd string) {
	t.event.FillID, t.event.Fwd, t.event.FwdStatus, t.event.Collapsed = rd.f.id, fwd, v.head.status, true
	now := time.Now()
	t.object(v.object, semantics.CacheStatus{
		Fwd: fwd, FwdStatus: v.head.status, Collapsed: true, TTL: v.object.left(now), HasTTL: true,
	}, Miss, now)
}

// sharedFailure is a fill's failure as it is another request's.
func sharedFailure(e *failure.Error, f *fill) *failure.Error {
	return e.With(failure.Note{Kind: failure.SharedFill, Detail: f.id})
}

// passInfos passes the 1xx responses on that have come by now.
func (t *task) passInfos(rd *reader) {
	for {
		i, ok := rd.nextInfo()
		if !ok {
			return
		}
		if t.r.ProtoAtLeast(1, 1) { // RFC 9110 section 15.2
			sendInfo(t.w, i)
		}
	}
}

// stream copies a fill to the client while it comes in, and aborts if it breaks
// after the headers went out. Before that the client gets the failure. It is false
// if another fill has taken this one's place: nothing was sent.
func (t *task) stream(rd *reader, h head, fwd string, collapsed bool) bool {
	t.event.FillID = rd.f.id
	if collapsed && h.failure != nil && !h.foreign {
		failure.Report(t.r.Context(), sharedFailure(h.failure, rd.f))
	}
	d := t.deliver(rd, h, fwd, collapsed)
	switch {
	case d.state == readEnd:
	case d.gone:
		t.gone()
	case d.begun:
		t.abort(d.failure(rd))
	case rd.f.wasSuperseded():
		return false
	default:
		t.fail(d.failure(rd))
	}
	return true
}

// delivered is how the copying of a fill to a client ended.
type delivered struct {
	state readState
	gone  bool // the client left
	begun bool // headers went out
}

// failure is why the fill could not be delivered whole.
func (d delivered) failure(rd *reader) *failure.Error {
	if d.state == readCut {
		return &failure.Error{Cause: failure.ClientGone, Detail: "took nothing for " + readerStall.String() + " while others waited for the same response"}
	}
	rd.f.mu.Lock()
	defer rd.f.mu.Unlock()
	return rd.f.err
}

// deliver copies the response as it comes in. It flushes whenever there is
// nothing more yet. collapsed: the fetch was made for another request.
func (t *task) deliver(rd *reader, h head, fwd string, collapsed bool) (d delivered) {
	part, state := rd.next()
	if state == readBroken || state == readCut {
		return delivered{state: state}
	}
	d.begun = true
	if !t.begin(h, fwd, collapsed) || t.r.Method == http.MethodHead {
		return delivered{state: readEnd, begun: true}
	}
	flush := http.NewResponseController(t.w).Flush
	pos := int64(0)
	for {
		switch state {
		case readData:
			wanted := part
			if t.span != (semantics.Span{}) {
				wanted = t.span.Cut(part, pos)
			}
			n, err := t.w.Write(wanted)
			t.event.Bytes += int64(n)
			pos += int64(len(part))
			rd.took(len(part))
			if err != nil {
				d.gone, d.state = true, readDry
				return d
			}
			if t.span.End > 0 && pos >= t.span.End {
				_ = flush() // the rest of the fetch may take long
				d.state = readEnd
				return d
			}
		case readDry:
			if err := flush(); err != nil && t.r.Context().Err() != nil {
				d.gone, d.state = true, state
				return d
			}
			select {
			case <-rd.wake:
			case <-t.r.Context().Done():
				d.gone, d.state = true, state
				return d
			}
		case readEnd:
			t.trailers(rd, h, collapsed)
			d.state = state
			return d
		default:
			d.state = state
			return d
		}
		part, state = rd.next()
	}
}

// begin sends the headers. It is false if no body follows.
func (t *task) begin(h head, fwd string, collapsed bool) bool {
	now := time.Now()
	out := t.w.Header()
	s := semantics.CacheStatus{Fwd: fwd, FwdStatus: h.received(), Stored: h.store, Collapsed: collapsed, Detail: t.event.Detail}
	if h.store {
		s.TTL, s.HasTTL = wholeTTL(&h.resp, now), true
	} else if s.Detail == "" {
		s.Detail = h.detail()
	}
	if t.c.cfg.ShowKey {
		s.Key = readable(t.primary)
	}
	if collapsed {
		merge(out, h.shared)
		if names := h.header["Trailer"]; len(names) > 0 {
			out["Trailer"] = names
		}
		if age := semantics.Seconds(h.resp.Age(now)); age > 0 {
			out["Age"] = []string{strconv.FormatInt(age, 10)}
		}
	} else {
		merge(out, h.header)
	}
	if h.varies {
		addVary(out)
	}
	t.c.addStatus(out, s)
	t.event.Outcome, t.event.Fwd, t.event.FwdStatus, t.event.Detail = Miss, fwd, h.received(), s.Detail
	t.event.Collapsed, t.event.Stored, t.event.NotStored = collapsed, h.store && !collapsed, h.reason
	t.event.Status, t.event.Failure = h.status, h.failure
	if h.store && !h.part { // to a part the origin has judged
		switch semantics.Conditional(t.r.Method, t.r.Header, h.status, h.shared, h.resp.Received) {
		case semantics.NotModified:
			t.event.Outcome, t.event.Status = NotModified, http.StatusNotModified
			withoutBody(out)
			t.w.WriteHeader(http.StatusNotModified)
			return false
		default: // If-Match and If-Unmodified-Since never come here
		}
		if len(t.r.Header["Range"]) > 0 && h.length >= 0 && len(h.header["Trailer"]) == 0 {
			sel := selectRanges(t.r, h.status, h.shared, h.length, h.varies)
			if len(sel.spans) <= 1 { // several are cut from what is whole only
				return t.beginPart(&sel, h.status)
			}
		}
	}
	t.w.WriteHeader(h.status)
	return bodyAllowed(h.status)
}

// beginPart sends the headers of the selected part of what is coming in.
func (t *task) beginPart(sel *selection, status int) bool {
	sel.fields(t.w.Header())
	if len(sel.spans) == 1 {
		t.span = sel.spans[0]
	}
	t.event.Status = sel.status(status)
	t.w.WriteHeader(t.event.Status)
	return !sel.unsatisfiable && bodyAllowed(t.event.Status)
}

// detail is the token that says why the response is not stored.
func (h *head) detail() string {
	if h.failure != nil {
		return h.failure.Cause.String()
	}
	return h.reason
}

// trailers sends the trailers: announced ones under their names.
func (t *task) trailers(rd *reader, h head, collapsed bool) {
	rd.f.mu.Lock()
	trailer := rd.f.trailer
	rd.f.mu.Unlock()
	if collapsed {
		trailer = t.c.sharedTrailer(trailer)
	}
	if len(trailer) > 0 {
		setTrailers(t.w.Header(), h.header, trailer)
	}
}

// sharedTrailer is what others may see of a trailer section: what they may see of
// a header.
func (c *Cache) sharedTrailer(trailer http.Header) http.Header {
	if len(trailer) == 0 {
		return nil
	}
	shared := semantics.Sanitize(trailer, c.options)
	if !c.cfg.StoreSetCookie {
		delete(shared, "Set-Cookie")
	}
	return shared
}

func setTrailers(out, header, trailer http.Header) {
	names := make(map[string]bool)
	for _, name := range announced(header) {
		names[name] = true
	}
	for name, values := range trailer {
		if !names[name] {
			name = http.TrailerPrefix + name
		}
		out[name] = values
	}
}

// timer is a timer that never fires if d is 0.
func timer(d time.Duration) *time.Timer {
	if d > 0 {
		return time.NewTimer(d)
	}
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
