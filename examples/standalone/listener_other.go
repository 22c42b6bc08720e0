//go:build !linux

package main

import (
	"net"
	"time"
)

// shrinkQueue does nothing: the queue is merely emptied.
func shrinkQueue(*net.TCPListener) {}

// queueSilence without a new connection means that the queue is empty.
const queueSilence = 20 * time.Millisecond

// queued takes one connection that is in the queue.
func queued(l *net.TCPListener) []net.Conn {
	_ = l.SetDeadline(time.Now().Add(queueSilence))
	defer func() { _ = l.SetDeadline(time.Now()) }()
	c, err := l.Accept()
	if err != nil {
		return nil
	}
	return []net.Conn{c}
}
