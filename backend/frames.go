package backend

import "strconv"

// frameScan follows the frames of an HTTP/2 connection (RFC 9113 section 4.1)
// by their headers alone.
type frameScan struct {
	header [9]byte
	have   int    // bytes of header
	skip   uint32 // of the payload left

	first   [32]byte // what came first, for reports
	nFirst  int
	frames  int
	goAway  bool // the peer accepts no more streams
	garbage bool // what came is no HTTP/2
}

const (
	frameHeaders  = 0x1
	frameSettings = 0x4
	frameGoAway   = 0x7
)

func (s *frameScan) feed(p []byte) {
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
		s.skip = uint32(s.header[0])<<16 | uint32(s.header[1])<<8 | uint32(s.header[2])
		switch kind := s.header[3]; {
		case s.frames == 0 && kind != frameSettings: // RFC 9113 section 3.4
			s.garbage = true
		case kind == frameGoAway:
			s.goAway = true
		}
		s.frames++
	}
}

func (s *frameScan) excerpt() string { return strconv.QuoteToASCII(string(s.first[:s.nFirst])) }

const flagEndHeaders = 0x4
