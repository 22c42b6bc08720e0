//go:build unix

package backend

import (
	"net"
	"syscall"
)

// pulse looks at an idle connection.
type pulse struct {
	rc    syscall.RawConn // nil: it can't be looked at
	look  func(fd uintptr) bool
	quiet bool
	one   [1]byte
}

func newPulse(conn net.Conn) *pulse {
	p := new(pulse)
	if sc, ok := conn.(syscall.Conn); ok {
		p.rc, _ = sc.SyscallConn() // TCP and unix sockets have one
	}
	p.look = func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), p.one[:], syscall.MSG_PEEK)
		p.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	}
	return p
}

// alive tells whether the connection may carry another request: its peer
// neither closed it nor sent anything unasked, which would be taken for the
// answer.
func (p *pulse) alive() bool {
	if p.rc == nil {
		return true
	}
	p.quiet = false
	return p.rc.Read(p.look) == nil && p.quiet
}
