//go:build unix

package porttest

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestHeld(t *testing.T) {
	h := Hold(t, "127.0.0.1:0")
	if _, err := net.Dial("tcp", h.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("connecting to a held port: %v, want refused", err)
	}
	if l, err := net.Listen("tcp", h.Addr()); err == nil {
		l.Close()
		t.Fatal("somebody else got the port")
	}
	l := h.Listen(t)
	c, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	l.Close()
	again := Hold(t, h.Addr()) // at once, whatever connections were there
	if again.Addr() != h.Addr() {
		t.Errorf("held %s, want %s", again.Addr(), h.Addr())
	}
}
