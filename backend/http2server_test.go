package backend

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
)

// http2Fault is what an HTTP/2 server does on the first header section of a
// stream; nil is nothing.
type http2Fault func(c net.Conn, stream uint32) (goOn bool)

func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := make([]byte, 9, 9+len(payload))
	b[0], b[1], b[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	b[3], b[4] = kind, flags
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

// serveHTTP2 speaks as much HTTP/2 as it takes to fail in it.
func serveHTTP2(f http2Fault) script {
	return func(c net.Conn, br *bufio.Reader) {
		preface := make([]byte, 24)
		if _, err := io.ReadFull(br, preface); err != nil {
			return
		}
		if _, err := c.Write(frame(frameSettings, 0, 0, nil)); err != nil {
			return
		}
		handleFrames(c, br, f)
	}
}

// handleFrames does what has to be done about the peer's frames; f is for
// header sections.
func handleFrames(c net.Conn, br *bufio.Reader, f http2Fault) {
	for {
		var h [9]byte
		if _, err := io.ReadFull(br, h[:]); err != nil {
			return
		}
		n := int64(h[0])<<16 | int64(h[1])<<8 | int64(h[2])
		if _, err := io.CopyN(io.Discard, br, n); err != nil {
			return
		}
		switch {
		case h[3] == frameSettings && h[4] == 0:
			_, _ = c.Write(frame(frameSettings, 1, 0, nil))
		case h[3] == 0x6 && h[4] == 0: // PING
			_, _ = c.Write(frame(0x6, 1, 0, make([]byte, 8)))
		case h[3] == frameHeaders && f != nil:
			if !f(c, binary.BigEndian.Uint32(h[5:])) {
				if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
					_, _ = io.Copy(io.Discard, br) // what is not read would make it a reset
				}
				return
			}
		}
	}
}

func rst(code uint32) http2Fault {
	return func(c net.Conn, stream uint32) bool {
		_, err := c.Write(frame(0x3, 0, stream, binary.BigEndian.AppendUint32(nil, code)))
		return err == nil
	}
}

var (
	refuseStream = rst(codeRefusedStream)
	resetStream  = rst(0x2) // INTERNAL_ERROR
)

// goAway says that no stream was taken.
func goAway(c net.Conn, _ uint32) bool {
	_, err := c.Write(frame(frameGoAway, 0, 0, make([]byte, 8)))
	return err == nil
}

func hangUp(net.Conn, uint32) bool { return false }
