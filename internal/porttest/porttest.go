//go:build unix

// Package porttest keeps TCP ports for tests. A port that is merely closed may
// be anybody's a moment later.
package porttest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
)

// Held is a port of 127.0.0.1 on which nobody listens: who connects is refused,
// and nobody else gets it.
type Held struct {
	addr string
	file *os.File
}

// Hold takes a port, "127.0.0.1:0" for any, until the end of the test.
func Hold(t testing.TB, addr string) *Held {
	t.Helper()
	at, err := netip.ParseAddrPort(addr)
	if err != nil || !at.Addr().Is4() {
		t.Fatalf("porttest: %q is no IPv4 address with a port: %v", addr, err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	h := &Held{file: os.NewFile(uintptr(fd), "held port")}
	t.Cleanup(func() { h.file.Close() })
	// What is left of connections is no hindrance, but nobody else may join.
	if err := errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0),
	); err != nil {
		t.Fatalf("porttest: %s: %v", addr, err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := 0
	if in, ok := name.(*syscall.SockaddrInet4); ok {
		port = in.Port
	}
	h.addr = net.JoinHostPort(at.Addr().String(), strconv.Itoa(port))
	return h
}

// Addr is the address with the port.
func (h *Held) Addr() string { return h.addr }

// Listen ends the refusing. It is called once.
func (h *Held) Listen(t testing.TB) net.Listener { return h.ListenQueue(t, 1024) }

// ListenQueue is Listen with a length of the queue of connections that wait to
// be accepted.
func (h *Held) ListenQueue(t testing.TB, length int) net.Listener {
	t.Helper()
	fd := int(h.file.Fd())
	if err := errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Listen(fd, length),
	); err != nil {
		t.Fatal(err)
	}
	l, err := net.FileListener(h.file)
	if err != nil {
		t.Fatal(err)
	}
	h.file.Close()
	return l
}
