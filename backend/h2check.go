package backend

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/holdfast-go/holdfast/failure"
)

// heard moves from waiting for the first byte to the header section: it began,
// but did not come whole.
func (w *watch) heard() {
	word := w.wordFor(phaseHeaders)
	for {
		old := w.word.Load()
		if from := phase(old & phaseMask); from != phaseUpload && from != phaseWrite && from != phaseFirstByte {
			return
		}
		if w.word.CompareAndSwap(old, word) {
			w.schedule(int64(word >> 8))
			return
		}
	}
}

var errNotHTTP2 = errors.New("not an HTTP/2 response")

// checkHTTP2 refuses what net/http lets pass although an intermediary must not
// (RFC 9113 sections 8.1.1, 8.2.2 and 8.6): fields of one connection, a switch
// of protocols, and lengths that are none or contradict each other.
func checkHTTP2(res *http.Response) error {
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		if len(res.Header[name]) > 0 {
			return &failure.Error{Cause: failure.Malformed, Detail: "the field " + name + " in HTTP/2", Err: errNotHTTP2}
		}
	}
	if status, _, _ := strings.Cut(res.Status, " "); len(status) != 3 || !decimal(status) || res.StatusCode < 200 {
		return &failure.Error{Cause: failure.Malformed, Detail: fmt.Sprintf("status %.20q", status), Err: errNotHTTP2}
	}
	lengths := res.Header["Content-Length"]
	for _, one := range lengths {
		switch {
		case !decimal(one):
			return &failure.Error{Cause: failure.BadFraming, Detail: fmt.Sprintf("Content-Length %.64q", one), Err: errLength}
		case one != lengths[0]:
			return &failure.Error{Cause: failure.BadFraming, Detail: fmt.Sprintf("Content-Length %.20q and %.20q", lengths[0], one), Err: errTwoLengths}
		}
	}
	if len(lengths) > 1 {
		delete(res.Header, "Content-Length") // net/http does not hold the body against it
	}
	return nil
}

// codeNames are those of RFC 9113 section 7.
var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func codeName(code uint32) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return fmt.Sprintf("code %d", code)
}

// connError recognizes the error of a connection on which the peer broke the
// rules, by its shape: its type is not exported, but it is a number.
func connError(err error) (code uint32, ok bool) {
	for ; err != nil; err = errors.Unwrap(err) {
		if v := reflect.ValueOf(err); v.Kind() == reflect.Uint32 {
			return uint32(v.Uint()), true
		}
	}
	return 0, false
}
