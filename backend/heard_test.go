package backend

import (
	"bytes"
	"io"
	"sync"
)

// heard counts the requests that come in over plain connections: request lines
// of HTTP/1, header sections of HTTP/2.
type heard struct {
	mu sync.Mutex // guards n
	n  int
}

func (h *heard) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

func (h *heard) reader(src io.Reader) io.Reader { return &listener{h: h, src: src} }

type listener struct {
	h     *heard
	src   io.Reader
	all   []byte // what is not looked at yet
	http2 bool
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.src.Read(p)
	l.all = append(l.all, p[:n]...)
	l.h.mu.Lock()
	defer l.h.mu.Unlock()
	l.h.n += l.requests()
	return n, err
}

func (l *listener) requests() (n int) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	if rest, ok := bytes.CutPrefix(l.all, []byte(preface)); ok && !l.http2 {
		l.http2, l.all = true, rest
	}
	for l.http2 && len(l.all) >= 9 {
		size := 9 + (int(l.all[0])<<16 | int(l.all[1])<<8 | int(l.all[2]))
		if len(l.all) < size {
			return n
		}
		if l.all[3] == frameHeaders && l.all[4]&flagEndHeaders != 0 {
			n++
		}
		l.all = l.all[size:]
	}
	mark := []byte(" HTTP/1.1\r\nHost: ")
	for !l.http2 {
		i := bytes.Index(l.all, mark)
		if i < 0 {
			l.all = l.all[max(0, len(l.all)-len(preface)):]
			break
		}
		n++
		l.all = l.all[i+len(mark):]
	}
	return n
}
