//go:build !unix

package main

import "net"

// shrinkQueue does nothing: the queue is merely emptied.
func shrinkQueue(*net.TCPListener) {}
