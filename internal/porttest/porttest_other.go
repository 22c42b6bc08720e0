//go:build !unix

// Package porttest keeps TCP ports for tests. A port that is merely closed may
// be anybody's a moment later.
package porttest

import (
	"net"
	"testing"
)

// Held is a port of 127.0.0.1 on which nobody listens. On this system it can't
// be kept from others: it is one that was free when it was asked for.
type Held struct{ addr string }

// Hold takes a port, "127.0.0.1:0" for any.
func Hold(t testing.TB, addr string) *Held {
	t.Helper()
	l, err := net.Listen("tcp4", addr) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatalf("porttest: %s: %v", addr, err)
	}
	defer l.Close()
	return &Held{l.Addr().String()}
}

// Addr is the address with the port.
func (h *Held) Addr() string { return h.addr }

// Listen ends the refusing. It is called once.
func (h *Held) Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", h.addr) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ListenQueue is Listen: the length of the queue is the system's.
func (h *Held) ListenQueue(t testing.TB, _ int) net.Listener {
	t.Helper()
	return h.Listen(t)
}
