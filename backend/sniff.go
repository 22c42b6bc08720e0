package backend

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// headScan watches the header section of an HTTP/1 response go by (RFC 9112
// sections 2 to 6) and notes what net/http does not tell: how much of it there
// is, which field is the largest, and how the body is framed. It accepts no
// more than the parser behind it does; it only refuses, earlier and by name.
//
// An informational response is followed by another header section, which it
// watches, too. The zero value is ready for a response.
type headScan struct {
	limit int64 // of one header section; 0: none

	first   [40]byte // what came first, for reports
	nFirst  int
	size    int64 // bytes of this section
	done    bool  // the final section is complete
	started bool  // a byte of this section was seen

	status      int // of this section; 0 before its status line
	minor       byte
	interim     int // informational responses seen
	largest     []byte
	largestSize int64

	line     []byte // beginning of a line that came in pieces
	lineSize int64
	name     []byte // of the field whose lines are counted
	nameSize int64

	length   string // the Content-Length, if any
	chunked  bool
	framed   bool // it has a Transfer-Encoding
	conflict bool // it has both, or either where no body may be: the connection ends with the message
	spaced   bool // a field has a space before its colon
}

// maxLine is how much of a line is looked at where it came in pieces. Names and
// framing fields are shorter.
const maxLine = 256

// maxInterim bounds the informational responses to one request.
const maxInterim = 32

var (
	errNotHTTP      = errors.New("not an HTTP/1 response")
	errHeadTooLarge = errors.New("header section too large")
	errTwoLengths   = errors.New("two different lengths")
	errLength       = errors.New("a length that is no number")
	errCoding       = errors.New("unknown transfer coding")
	errObscured     = errors.New("a length or coding with a space before its colon or a folded value")
	errInterim      = errors.New("too many informational responses")
)

// reset makes s ready for the next response.
func (s *headScan) reset() {
	*s = headScan{limit: s.limit, line: s.line[:0], name: s.name[:0], largest: s.largest[:0]}
}

// feed takes the next bytes as they came. It ignores what follows the final
// section. An error is one of the errors above and final.
func (s *headScan) feed(p []byte) error {
	for len(p) > 0 && !s.done {
		s.started = true
		if s.nFirst < len(s.first) {
			s.nFirst += copy(s.first[s.nFirst:], p)
			if !plausible(s.first[:s.nFirst]) {
				return errNotHTTP
			}
		}
		i := bytes.IndexByte(p, '\n')
		part := p
		if i >= 0 {
			part = p[:i+1]
		}
		p = p[len(part):]
		s.size += int64(len(part))
		s.lineSize += int64(len(part))
		if s.limit > 0 && s.size > s.limit {
			s.account(part)
			return errHeadTooLarge
		}
		if i < 0 {
			s.keep(part)
			return nil
		}
		line := part
		if len(s.line) > 0 {
			s.keep(part)
			line = s.line
		}
		err := s.endLine(bytes.TrimRight(line, "\r\n"))
		s.line, s.lineSize = s.line[:0], 0
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *headScan) keep(part []byte) {
	if room := maxLine - len(s.line); room > 0 {
		s.line = append(s.line, part[:min(room, len(part))]...)
	}
}

// account counts the line that crossed the limit for the report.
func (s *headScan) account(part []byte) {
	s.keep(part)
	if name, _, ok := bytes.Cut(s.line, []byte{':'}); ok && s.status != 0 {
		s.field(bytes.TrimSpace(name))
	}
}

// plausible tells whether p can begin a response.
func plausible(p []byte) bool {
	const version = "HTTP/1."
	n := min(len(p), len(version))
	return string(p[:n]) == version[:n]
}

func (s *headScan) endLine(line []byte) error {
	switch {
	case s.status == 0:
		return s.statusLine(line)
	case len(line) == 0 && s.lineSize <= 2:
		return s.endSection()
	case len(line) > 0 && (line[0] == ' ' || line[0] == '\t'): // obs-fold
		if s.nameSize += s.lineSize; s.nameSize > s.largestSize {
			s.largest, s.largestSize = append(s.largest[:0], s.name...), s.nameSize
		}
		if framingField(s.name) {
			return errObscured
		}
		return nil
	}
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok {
		return nil // the parser refuses it
	}
	s.field(name)
	if n := len(name); n > 0 && (name[n-1] == ' ' || name[n-1] == '\t') {
		if s.spaced = true; framingField(bytes.TrimRight(name, " \t")) {
			return errObscured
		}
	}
	switch {
	case len(name) == len("Content-Length") && strings.EqualFold(string(name), "Content-Length"):
		return s.contentLength(string(bytes.TrimSpace(value)))
	case len(name) == len("Transfer-Encoding") && strings.EqualFold(string(name), "Transfer-Encoding"):
		return s.transferEncoding(string(bytes.TrimSpace(value)))
	}
	return nil
}

func (s *headScan) field(name []byte) {
	s.name, s.nameSize = append(s.name[:0], name...), s.lineSize
	if s.lineSize > s.largestSize {
		s.largest, s.largestSize = append(s.largest[:0], name...), s.lineSize
	}
}

func (s *headScan) statusLine(line []byte) error {
	// HTTP/1.x SP 3DIGIT
	if len(line) < len("HTTP/1.1 200") || line[8] != ' ' || !plausible(line) {
		return errNotHTTP
	}
	n, err := strconv.Atoi(string(line[9:12]))
	if err != nil || n < 100 || len(line) > 12 && line[12] != ' ' {
		return errNotHTTP
	}
	s.status, s.minor = n, line[7]
	return nil
}

func (s *headScan) endSection() error {
	// RFC 9110 section 8.6, RFC 9112 section 6.1: no length and no coding there.
	none := s.status < 200 || s.status == 204
	if s.framed && s.length != "" || none && (s.framed || s.length != "" && s.length != "0") {
		s.conflict = true
	}
	if s.status < 200 && s.status != 101 {
		n, conflict := s.interim+1, s.conflict
		if n > maxInterim {
			return errInterim
		}
		s.reset()
		s.interim, s.conflict = n, conflict
		return nil
	}
	s.done = true
	return nil
}

// contentLength holds one value against another (RFC 9112 section 6.3 item 5).
func (s *headScan) contentLength(v string) error {
	for one := range strings.SplitSeq(v, ",") {
		one = strings.TrimSpace(one)
		switch {
		case s.length != "" && one != s.length:
			return errTwoLengths
		case !decimal(one):
			return errLength
		}
		s.length = one
	}
	if strings.Contains(v, ",") {
		return errLength // the same one several times: the parser refuses it
	}
	return nil
}

// decimal tells whether s is a length: digits alone (RFC 9110 section 8.6), and
// not more than fit.
func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	_, err := strconv.ParseInt(s, 10, 64)
	return err == nil
}

// framingField tells whether a field says where the body ends.
func framingField(name []byte) bool {
	return len(name) == len("Content-Length") && strings.EqualFold(string(name), "Content-Length") ||
		len(name) == len("Transfer-Encoding") && strings.EqualFold(string(name), "Transfer-Encoding")
}

// transferEncoding permits chunked, once and alone, and not before HTTP/1.1
// (RFC 9112 section 6.1).
func (s *headScan) transferEncoding(v string) error {
	if s.framed || s.minor == '0' || !strings.EqualFold(v, "chunked") {
		return errCoding
	}
	s.framed, s.chunked = true, true
	return nil
}

// excerpt is what came first, escaped.
func (s *headScan) excerpt() string { return strconv.QuoteToASCII(string(s.first[:s.nFirst])) }

// tlsRecord tells whether what came first is a TLS record: an alert or a
// handshake message.
func (s *headScan) tlsRecord() bool {
	return s.nFirst >= 2 && (s.first[0] == 0x15 || s.first[0] == 0x16) && s.first[1] == 0x03
}

// sizes says how large the section was and what made it so.
func (s *headScan) sizes() string {
	if len(s.largest) == 0 {
		return fmt.Sprintf("more than %d bytes", s.limit)
	}
	return fmt.Sprintf("more than %d bytes; the largest field is %.64q with %d bytes or more", s.limit, s.largest, s.largestSize)
}
