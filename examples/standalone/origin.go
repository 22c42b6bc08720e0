package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// fault is a way in which the demonstration's origin is broken.
type fault string

// The faults. Each is one that origins really have.
const (
	healthy  fault = "healthy"
	refuse   fault = "refuse"
	stall    fault = "stall"
	fail     fault = "500"
	slow     fault = "slow"
	truncate fault = "truncate"
)

// slowBy is what a slow origin takes for every answer. It is less than the
// demonstration's -first-byte: slow is not yet broken.
const slowBy = 700 * time.Millisecond

// origin is a small web server that can be broken. It listens on a port of its
// own, so that a refused connection is really refused.
type origin struct {
	addr  string
	pages http.Handler

	mu      sync.Mutex // guards what follows
	fault   fault
	since   time.Time
	changed chan struct{} // closed with the next change
	server  *http.Server  // nil while it refuses
}

// openOrigin takes any free port of the loopback interface.
func openOrigin(ctx context.Context, pages http.Handler) (*origin, error) {
	o := &origin{addr: "127.0.0.1:0", pages: pages, fault: refuse, changed: make(chan struct{})}
	return o, o.set(ctx, healthy)
}

// set breaks the origin in another way, or heals it. While it refuses, its port
// is free: another program may take it, and then healing fails.
func (o *origin) set(ctx context.Context, f fault) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if f == o.fault {
		return nil
	}
	switch {
	case f == refuse:
		o.server.Close()
		o.server = nil
	case o.server == nil:
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
		if err != nil {
			return fmt.Errorf("the origin can't come back: %w", err)
		}
		o.addr = l.Addr().String()
		o.server = &http.Server{Handler: o, ReadHeaderTimeout: readHeaderTimeout}
		go func(s *http.Server) { _ = s.Serve(l) }(o.server) // ends by Close only
	}
	o.fault, o.since = f, time.Now()
	close(o.changed)
	o.changed = make(chan struct{})
	return nil
}

// state is the fault in force, since when, and what is closed when it changes.
func (o *origin) state() (fault, time.Time, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fault, o.since, o.changed
}

// close ends the origin and everything that waits in it.
func (o *origin) close() {
	_ = o.set(context.Background(), refuse) // only coming back can fail
}

// ServeHTTP answers as the fault has it.
func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, _, changed := o.state()
	switch f {
	case stall:
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	case fail:
		http.Error(w, "500: the application crashed (on purpose)", http.StatusInternalServerError)
		return
	case slow:
		pause(r.Context(), slowBy)
	case truncate:
		o.pages.ServeHTTP(&cutWriter{ResponseWriter: w}, r)
		return
	case healthy, refuse:
	}
	o.pages.ServeHTTP(w, r)
}

// cutWriter breaks a response off in the middle of its first write, as a worker
// does that is killed.
type cutWriter struct{ http.ResponseWriter }

func (c *cutWriter) Write(p []byte) (int, error) {
	_, _ = c.ResponseWriter.Write(p[:len(p)/2])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Unwrap lets a stream set its deadlines.
func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

var errNoFault = errors.New("there is no such fault")

// parseFault reads the fault of a request to the control page.
func parseFault(s string) (fault, error) {
	for _, f := range faults {
		if string(f.Name) == s {
			return f.Name, nil
		}
	}
	return "", errNoFault
}

// faults describes the faults on the control page.
var faults = []struct {
	Name  fault
	Title string
	Text  string
}{
	{refuse, "Refuse", "The origin is stopped: nothing listens on its port any more."},
	{stall, "Stall", "It takes the request and never answers. A worker waits for a lock."},
	{fail, "Error 500", "It answers every request with an error of its own."},
	{slow, "Slow", "It takes " + slowBy.String() + " for every answer."},
	{truncate, "Truncate", "It breaks every answer off in the middle."},
}
