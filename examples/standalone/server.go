package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"syscall"
	"time"
)

// The limits of the listeners towards clients. What a request may take in all
// is not limited here: uploads and streams are paced by the backend's timers.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 75 * time.Second // longer than the 60 s of common load balancers, so that they close first
	maxHeaderBytes    = 64 << 10
)

// newServer is an HTTP/1.1 and HTTP/2 (prior knowledge, RFC 9113 section 3.3)
// server with every limit set.
func newServer(h http.Handler, errorLog *log.Logger) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: 128,
			SendPingTimeout:      30 * time.Second,
			PingTimeout:          15 * time.Second,
			WriteByteTimeout:     60 * time.Second,
		},
		ErrorLog: errorLog,
	}
}

// site is one listener with what it serves. The address is taken when the site
// is opened; nothing is answered before start.
type site struct {
	flag      string // what sets its address
	listener  *listener
	server    *http.Server
	newcomers newcomers
	deaf      chan struct{} // closed when nothing more is accepted
}

// open takes the address that the flag asks for.
func open(ctx context.Context, flag, addr string) (*site, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-%s %s: %s", flag, addr, whyNot(flag, addr, err))
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("-%s %s: not a TCP address", flag, addr)
	}
	return &site{flag: flag, listener: &listener{TCPListener: tcp}, deaf: make(chan struct{})}, nil
}

// whyNot says what to do about an address that can't be had.
func whyNot(flag, addr string, err error) string {
	host, _, _ := net.SplitHostPort(addr)
	other := net.JoinHostPort(host, "0")
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("something else listens there: stop it, or choose another port (-%s %s takes any that is free)", flag, other)
	case errors.Is(err, syscall.EACCES):
		return "not permitted: ports below 1024 need a privilege, others don't"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "the host is no address of this machine"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("the host %s does not resolve", dns.Name)
	}
	return err.Error()
}

// url is where a browser on this machine finds the site.
func (s *site) url() string {
	addr := s.listener.Addr().String()
	host, port, _ := net.SplitHostPort(addr)
	if wildcard(host) {
		addr = net.JoinHostPort("localhost", port)
	}
	return "http://" + addr
}

// start serves h until the server is shut down. An end that nobody asked for
// goes to failed, which must have room for it.
func (s *site) start(h http.Handler, errorLog *log.Logger, failed chan<- error) {
	s.server = newServer(h, errorLog)
	s.server.ConnState = s.newcomers.connState
	go func() {
		defer close(s.deaf)
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) && !s.listener.stopping.Load() {
			failed <- fmt.Errorf("-%s %s: %w", s.flag, s.listener.Addr(), err)
		}
	}()
}

// close ends the site at once, whether it was started or not.
func (s *site) close() {
	if s.server != nil {
		s.server.Close()
	}
	s.listener.Close()
}
