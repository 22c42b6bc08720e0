package semantics

import (
	"net/http"
	"slices"
	"time"
)

// notUpdated are the fields that describe the stored body, which a 304 does
// not bring (RFC 9111 section 3.2), and the tag by which it was confirmed.
var notUpdated = map[string]bool{
	"Content-Length": true, "Content-Encoding": true, "Content-Range": true, "Content-Md5": true,
	"Content-Digest": true, "Repr-Digest": true, "Digest": true, "Etag": true,
}

// Update returns the stored fields as a 304 with the fields fresh updates them
// (RFC 9111 section 3.2). stored is what [Sanitize] returned, and is not
// changed. The result may have an Age, which is that of the 304 and has to
// be known to [Analyze]; [Sanitize] takes it out.
func Update(stored, fresh http.Header, received time.Time) http.Header {
	without := connectionFields(fresh)
	out := make(http.Header, len(stored)+2)
	for name, lines := range stored {
		out[name] = slices.Clip(lines)
	}
	for name, lines := range fresh {
		if notUpdated[name] || name != "Age" && unstored[name] || slices.Contains(without, name) {
			continue
		}
		out[name] = slices.Clip(slices.Clone(lines))
	}
	if len(fresh["Date"]) == 0 {
		out["Date"] = []string{FormatDate(received)} // RFC 9110 section 6.6.1
	}
	return out
}
