package backend

import "sync"

// inFlight has the requests that are under way, and cuts them off.
type inFlight struct {
	mu     sync.Mutex // guards what follows
	calls  map[*call]struct{}
	closed bool
	zero   chan struct{} // closed when closed and there are none
}

func (f *inFlight) init() {
	f.calls = make(map[*call]struct{})
	f.zero = make(chan struct{})
}

// enter adds c, unless no more requests are taken.
func (f *inFlight) enter(c *call) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.calls[c] = struct{}{}
	return true
}

func (f *inFlight) leave(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, c)
	if f.closed && len(f.calls) == 0 {
		close(f.zero)
	}
}

func (f *inFlight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *inFlight) closing() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *inFlight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		if len(f.calls) == 0 {
			close(f.zero)
		}
	}
}

func (f *inFlight) wait() { <-f.zero }

// cut ends all requests for a reason of this side.
func (f *inFlight) cut(cause error) {
	f.mu.Lock()
	calls := make([]*call, 0, len(f.calls))
	for c := range f.calls {
		calls = append(calls, c)
	}
	f.mu.Unlock()
	for _, c := range calls {
		c.cut(cause)
	}
}
