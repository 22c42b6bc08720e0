//go:build unix

package main

import (
	"net"
	"syscall"
)

// shrinkQueue leaves room for a single connection in the queue of those that wait to
// be accepted. Whoever comes while it is taken tries again a little later, and
// finds that nobody listens.
func shrinkQueue(l *net.TCPListener) {
	conn, err := l.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = conn.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), 0) }) // without it the queue is merely emptied
}
