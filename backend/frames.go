package backend

import (
	"encoding/binary"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Frame types and flags (RFC 9113 section 6).
const (
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameContinuation = 0x9

	flagEndHeaders = 0x4
)

// frameScan follows the frames of one direction of an HTTP/2 connection (RFC
// 9113 section 4.1) by their headers alone.
type frameScan struct {
	header [9]byte
	have   int    // bytes of header
	skip   uint32 // of the payload left

	first   [32]byte // what came first, for reports
	nFirst  int
	frames  int
	pinged  bool // a PING was among the frames of the last feed
	goAway  bool // the peer accepts no more streams
	garbage bool // what came is no HTTP/2

	stream    uint32   // of the header section that was seen last
	open      bool     // it is not complete
	size      int64    // its bytes, compressed
	wasReset  []uint32 // streams that the frames of the last feed reset
	outgoing  bool     // ours: it begins with the preface
	prefaceAt int
}

func (s *frameScan) feed(p []byte) {
	s.wasReset = s.wasReset[:0]
	if s.outgoing && s.prefaceAt < prefaceSize {
		n := min(len(p), prefaceSize-s.prefaceAt)
		s.prefaceAt += n
		p = p[n:]
	}
	if s.nFirst < len(s.first) {
		s.nFirst += copy(s.first[s.nFirst:], p)
	}
	for len(p) > 0 && !s.garbage {
		if s.skip > 0 {
			n := min(uint32(len(p)), s.skip)
			s.skip -= n
			p = p[n:]
			continue
		}
		n := copy(s.header[s.have:], p)
		s.have += n
		p = p[n:]
		if s.have < len(s.header) {
			return
		}
		s.have = 0
		s.begin()
	}
}

// prefaceSize is the length of a client's connection preface (RFC 9113 section
// 3.4).
const prefaceSize = 24

// begin looks at a frame's header.
func (s *frameScan) begin() {
	length := uint32(s.header[0])<<16 | uint32(s.header[1])<<8 | uint32(s.header[2])
	kind, flags := s.header[3], s.header[4]
	stream := binary.BigEndian.Uint32(s.header[5:]) &^ (1 << 31)
	s.skip = length
	switch {
	case s.frames == 0 && kind != frameSettings: // RFC 9113 section 3.4
		s.garbage = true
	case kind == frameHeaders:
		s.stream, s.size, s.open = stream, int64(length), flags&flagEndHeaders == 0
	case kind == frameContinuation && s.open:
		s.size += int64(length)
		s.open = flags&flagEndHeaders == 0
	case kind == frameReset:
		s.wasReset = append(s.wasReset, stream)
	case kind == framePing:
		s.pinged = true
	case kind == frameGoAway:
		s.goAway = true
	}
	s.frames++
}

// inSection tells whether a header section has begun and not ended: between
// its frames or inside of its last one.
func (s *frameScan) inSection() bool {
	return s.open || s.skip > 0 && (s.header[3] == frameHeaders || s.header[3] == frameContinuation)
}

func (s *frameScan) excerpt() string { return strconv.QuoteToASCII(string(s.first[:s.nFirst])) }

// frameTap watches the frames of a connection for what the HTTP/2
// implementation does not tell by type: that the peer is going away, which
// streams it reset, that a header section began and how large it is, and that
// the peer does not speak HTTP/2 at all.
type frameTap struct {
	net.Conn
	ready func()              // see [wish]; nil once it was called. Of the reader, as is heard
	heard bool                // something was read
	limit int64               // of a header section; 0: none
	began func(stream uint32) // a header section began and is not complete

	in      frameScan     // of the connection's reader
	out     frameScan     // of whoever writes, one at a time
	opened  atomic.Uint32 // the stream that was opened last
	pending atomic.Uint32 // the stream whose header section began and is not complete; 0: none

	writing  atomic.Bool // a Write is under way
	goAway   atomic.Bool
	asked    atomic.Int64  // when the first PING was sent since something came, in ns; 0: none
	broken   atomic.Bool   // the connection ended
	tooLarge atomic.Uint32 // the stream whose header section is over the limit
	notH2    atomic.Pointer[string]

	mu     sync.Mutex // guards what follows
	resets []uint32   // the last streams that the peer reset
}

// maxResets is how many resets are remembered: those of streams that nobody has
// looked at yet.
const maxResets = 256

// unheard tells that the peer let the time for the answer to a PING pass: the
// HTTP/2 implementation, which sent it, has closed the connection then.
func (t *frameTap) unheard() bool {
	asked := t.asked.Load()
	return asked != 0 && time.Since(time.Unix(0, asked)) >= http2PingWait*9/10
}

// tell has ready called once.
func (t *frameTap) tell() {
	if t.ready != nil {
		t.ready()
		t.ready = nil
	}
}

func (t *frameTap) Read(p []byte) (int, error) {
	if t.heard { // and taken in
		t.tell()
	}
	n, err := t.Conn.Read(p)
	t.heard = true
	if n > 0 {
		t.asked.Store(0)
		t.look(p[:n])
	}
	if err != nil {
		t.broken.Store(true)
		t.tell()
	}
	return n, err
}

func (t *frameTap) look(p []byte) {
	t.in.feed(p)
	if t.in.goAway {
		t.goAway.Store(true)
	}
	if t.in.garbage && t.notH2.Load() == nil {
		s := t.in.excerpt()
		t.notH2.Store(&s)
	}
	if len(t.in.wasReset) > 0 {
		t.mu.Lock()
		t.resets = append(t.resets, t.in.wasReset...)
		t.resets = t.resets[max(0, len(t.resets)-maxResets):]
		t.mu.Unlock()
	}
	if t.limit > 0 && t.in.size > t.limit {
		t.tooLarge.Store(t.in.stream)
	}
	if t.in.inSection() {
		t.pending.Store(t.in.stream)
		t.began(t.in.stream)
	} else if t.pending.Load() != 0 {
		t.pending.Store(0)
	}
}

// wasReset tells whether the peer reset the stream.
func (t *frameTap) wasReset(stream uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Contains(t.resets, stream)
}

// Write notes the stream that is opened: net/http does not tell its number.
func (t *frameTap) Write(p []byte) (int, error) {
	t.out.pinged = false
	if t.out.feed(p); t.out.pinged {
		t.asked.CompareAndSwap(0, time.Now().UnixNano())
	}
	t.opened.Store(t.out.stream)
	t.writing.Store(true)
	defer t.writing.Store(false)
	return t.Conn.Write(p)
}
