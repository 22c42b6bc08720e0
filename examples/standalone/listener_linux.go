package main

import (
	"errors"
	"net"
	"os"
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

// queued takes the connections that are in the queue now, without a wait: a
// deadline, however short, may be over before the first look into the queue.
func queued(l *net.TCPListener) (conns []net.Conn) {
	conn, err := l.SyscallConn()
	if err != nil {
		return nil // it is closed already
	}
	_ = conn.Control(func(fd uintptr) {
		for {
			nfd, _, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			switch {
			case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ECONNABORTED):
				continue
			case err != nil: // EAGAIN: there are no more
				return
			}
			file := os.NewFile(uintptr(nfd), "accepted")
			c, err := net.FileConn(file) // has a descriptor of its own
			file.Close()
			if err == nil {
				conns = append(conns, c)
			}
		}
	})
	return conns
}
