package backend

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
)

// endTap notes that the transport under a TLS connection ended. crypto/tls takes
// such an end, at the edge of a record, for the peer's close_notify; but only
// that one ends a message whose end is the connection's (RFC 9112 section 9.8).
// It is used by the goroutine that reads.
type endTap struct {
	net.Conn
	ended bool
}

func (t *endTap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if err == io.EOF { //nolint:errorlint // the end itself
		t.ended = true
	}
	return n, err
}

var errNoCloseNotify = fmt.Errorf("backend: the connection was closed without close_notify: %w", io.ErrUnexpectedEOF)

// endTapOf is that of a TLS connection of ours; nil: there is none.
func endTapOf(conn net.Conn) *endTap {
	if tc, ok := conn.(*tls.Conn); ok {
		t, _ := tc.NetConn().(*endTap)
		return t
	}
	return nil
}
