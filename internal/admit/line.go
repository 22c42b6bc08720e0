package admit

import "time"

// waiter is one in the line. It leaves the line exactly once: by grant, displace,
// Flush, or by itself; listed tells the last one that it was late.
type waiter struct {
	since      time.Time
	class      Class
	done       chan error // room for one: nil is a slot
	prev, next *waiter
	listed     bool
}

// line is a list of waiters, the oldest first.
type line struct {
	first, last *waiter
}

func (l *line) push(w *waiter) {
	w.listed, w.prev = true, l.last
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
}

func (l *line) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
}
