package semantics

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// notUpdated are the fields that describe the stored body, which a 304 does
// not bring (RFC 9111 section 3.2), and the tag by which it was confirmed.
var notUpdated = map[string]bool{
	"Content-Length": true, "Content-Encoding": true, "Content-Range": true, "Content-Md5": true,
	"Content-Digest": true, "Repr-Digest": true, "Digest": true, "Etag": true,
}

// Update returns the stored fields as a 304, or the answer to a HEAD, with the
// fields fresh updates them (RFC 9111 section 3.2). stored is what [Sanitize]
// returned, and is not changed. The result may have an Age, which is that of the
// fresh fields and has to be known to [Analyze]; [Sanitize] takes it out.
//
// A Set-Cookie is for whoever asked, and does not join what is stored for
// everybody, unless the operator chose so.
func Update(stored, fresh http.Header, received time.Time, o Options) http.Header {
	without := connectionFields(fresh)
	out := make(http.Header, len(stored)+2)
	for name, lines := range stored {
		out[name] = slices.Clip(lines)
	}
	for name, lines := range fresh {
		if notUpdated[name] || name != "Age" && unstored[name] || name == "Set-Cookie" && !o.StoreSetCookie || slices.Contains(without, name) {
			continue
		}
		out[name] = slices.Clip(slices.Clone(lines))
	}
	if !HasDate(fresh) {
		out["Date"] = []string{FormatDate(received)}
	}
	return out
}

// HasDate tells whether there is a Date that is one. Where there is none, the time
// of receipt takes its place (RFC 9110 section 6.6.1).
func HasDate(h http.Header) bool {
	_, ok, _ := singleDate(h["Date"])
	return ok
}

// Confirms tells whether a 304 is about the stored response r that was to be
// validated (RFC 9111 section 4.3.4). Its tag decides if it has one, else its
// Last-Modified; one that has neither answers our conditions, which name nothing
// else.
//
// Tags are compared weakly, as If-None-Match does: a server that weakens the tags
// of what it compresses may send the strong one with its 304.
func Confirms(fresh http.Header, r *Response) bool {
	if tag := fresh["Etag"]; len(tag) > 0 && r.ETag != "" {
		return weak(tag[0], r.ETag)
	}
	modified := fresh["Last-Modified"]
	return len(modified) == 0 || r.LastModified == "" || sameDate(modified[0], r.LastModified)
}

// SameResponse tells whether the answer to a HEAD describes the stored response r
// with a body of size bytes: it has the same validators as far as it has any, and
// the same length if it has one (RFC 9111 section 4.3.5).
func SameResponse(head http.Header, r *Response, size int64) bool {
	if tag := head["Etag"]; len(tag) > 0 && tag[0] != r.ETag {
		return false
	}
	if modified := head["Last-Modified"]; len(modified) > 0 && !sameDate(modified[0], r.LastModified) {
		return false
	}
	length := head["Content-Length"]
	return len(length) == 0 || length[0] == strconv.FormatInt(size, 10)
}

func sameDate(a, b string) bool {
	if a == b {
		return true
	}
	s, ok := ParseDate(a)
	t, ok2 := ParseDate(b)
	return ok && ok2 && s.Equal(t)
}
