package errorpage

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/http"
	"time"
)

// maxRequestID bounds an id that was made elsewhere.
const maxRequestID = 128

// ValidRequestID tells whether s can be repeated anywhere as a request id: 1 to
// 128 letters, digits and characters of -._~:=@/+, of which the first is a
// letter or digit. None of them means anything in HTML, JSON, a header field, a
// URN or a log line.
func ValidRequestID(s string) bool {
	if s == "" || len(s) > maxRequestID || !isAlphanumeric(s[0]) {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case isAlphanumeric(c):
		case c == '-', c == '.', c == '_', c == '~', c == ':', c == '=', c == '@', c == '/', c == '+':
		default:
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// NewRequestID returns a new id: a UUID of version 7 (RFC 9562 section 5.7),
// which sorts by time, with 74 bits of crypto/rand.
func NewRequestID() string {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(u[6:]) // never fails
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[:8], u[:4])
	hex.Encode(s[9:13], u[4:6])
	hex.Encode(s[14:18], u[6:8])
	hex.Encode(s[19:23], u[8:10])
	hex.Encode(s[24:], u[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}

// instance is the id as a URN: a UUID in its own namespace.
func appendInstance(b []byte, id string) []byte {
	if isUUID(id) {
		b = append(b, "urn:uuid:"...)
	} else {
		b = append(b, "urn:request:"...)
	}
	return append(b, id...)
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}

// requestID returns the id in h, or a new one where h has none that is safe.
func (p *Page) requestID(h http.Header) (id string, made bool) {
	if v := h[p.idHeader]; len(v) == 1 && ValidRequestID(v[0]) {
		return v[0], false
	}
	return NewRequestID(), true
}

// withRequestID returns h with the id. h belongs to the caller, who may use it
// elsewhere at the same time: it is not changed.
func (p *Page) withRequestID(h http.Header, id string) http.Header {
	c := maps.Clone(h)
	if c == nil {
		c = make(http.Header, 1)
	}
	c[p.idHeader] = []string{id}
	return c
}
