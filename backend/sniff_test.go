package backend

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestHeadScan(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		limit    int64
		err      error
		done     bool
		status   int
		interim  int
		largest  string
		conflict bool
	}{
		{name: "plain", in: "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello", done: true, status: 200, largest: "Content-Length"},
		{name: "bare line feeds", in: "HTTP/1.0 404 No\nA: b\n\n", done: true, status: 404, largest: "A"},
		{name: "no reason", in: "HTTP/1.1 200\r\n\r\n", done: true, status: 200},
		{name: "interim", in: "HTTP/1.1 103 X\r\nLink: a\r\n\r\nHTTP/1.1 100 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", done: true, status: 200, interim: 2},
		{name: "switch", in: "HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\n\x00\x01", done: true, status: 101, largest: "Upgrade"},
		{name: "unfinished", in: "HTTP/1.1 200 OK\r\nServer: x\r\n", status: 200, largest: "Server"},
		{name: "banner", in: "SSH-2.0-x\r\n", err: errNotHTTP},
		{name: "HTTP/2", in: "HTTP/2 200\r\n\r\n", err: errNotHTTP},
		{name: "status", in: "HTTP/1.1 20 OK\r\n\r\n", err: errNotHTTP},
		{name: "status 99", in: "HTTP/1.1 099 OK\r\n\r\n", err: errNotHTTP},
		{name: "large field", in: "HTTP/1.1 200 OK\r\nA: b\r\nBig: " + strings.Repeat("x", 100) + "\r\nC: " + strings.Repeat("x", 50), limit: 150, err: errHeadTooLarge, status: 200, largest: "Big"},
		{name: "field over the limit", in: "HTTP/1.1 200 OK\r\nBig: " + strings.Repeat("x", 500), limit: 150, err: errHeadTooLarge, status: 200, largest: "Big"},
		{name: "folded field", in: "HTTP/1.1 200 OK\r\nFold: a\r\n " + strings.Repeat("x", 90) + "\r\nB: " + strings.Repeat("x", 50), limit: 120, err: errHeadTooLarge, status: 200, largest: "Fold"},
		{name: "two lengths", in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n", err: errTwoLengths, status: 200, largest: "Content-Length"},
		{name: "two lengths in one", in: "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", err: errTwoLengths, status: 200, largest: "Content-Length"},
		{name: "one length twice", in: "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", err: errLength, status: 200, largest: "Content-Length"}, // net/http refuses it
		{name: "one length in two lines", in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", done: true, status: 200, largest: "Content-Length"},
		{name: "signed length", in: "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", err: errLength, status: 200, largest: "Content-Length"},
		{name: "space before the colon", in: "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", err: errObscured, status: 200},
		{name: "folded coding", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n , gzip\r\n\r\n", err: errObscured, status: 200, largest: "Transfer-Encoding"},
		{name: "coding", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", err: errCoding, status: 200, largest: "Transfer-Encoding"},
		{name: "coding twice", in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", err: errCoding, status: 200, largest: "Transfer-Encoding"},
		{name: "both", in: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: Chunked\r\n\r\n", done: true, status: 200, largest: "Transfer-Encoding", conflict: true},
		{name: "endless interim", in: strings.Repeat("HTTP/1.1 102 X\r\n\r\n", maxInterim+1), err: errInterim, status: 102},
	} {
		for _, step := range []int{1, 2, 3, 7, len(tt.in)} {
			s := headScan{limit: tt.limit}
			var err error
			for in := tt.in; in != "" && err == nil; {
				n := min(step, len(in))
				err = s.feed([]byte(in[:n]))
				in = in[n:]
			}
			if !errors.Is(err, tt.err) || s.done != tt.done || s.status != tt.status || s.conflict != tt.conflict || tt.interim != 0 && s.interim != tt.interim {
				t.Errorf("%s in steps of %d: %v, done %v, status %d, conflict %v, interim %d, want %v, %v, %d, %v, %d", tt.name, step,
					err, s.done, s.status, s.conflict, s.interim, tt.err, tt.done, tt.status, tt.conflict, tt.interim)
			}
			if got := string(s.largest); got != tt.largest && tt.largest != "" {
				t.Errorf("%s in steps of %d: largest = %q, want %q", tt.name, step, got, tt.largest)
			}
		}
	}
}

// FuzzHeadScan holds the scan against net/http's parser: what the scan accepts
// as complete ends where the parser says, however it comes in pieces.
func FuzzHeadScan(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "\x15\x03\x01",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\n\r\r\n\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		step = max(1, min(step, 1<<10))
		whole, pieces := headScan{limit: 1 << 12}, headScan{limit: 1 << 12}
		errWhole := whole.feed(in)
		var errPieces error
		for rest := in; len(rest) > 0 && errPieces == nil; {
			n := min(step, len(rest))
			errPieces = pieces.feed(rest[:n])
			rest = rest[n:]
		}
		if !errors.Is(errPieces, errWhole) || whole.done != pieces.done || whole.status != pieces.status || whole.conflict != pieces.conflict {
			t.Fatalf("whole: %v %v %d, in pieces: %v %v %d", errWhole, whole.done, whole.status, errPieces, pieces.done, pieces.status)
		}
		_, _ = whole.sizes(), whole.excerpt()
		if !whole.done || whole.interim > 0 {
			return
		}
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), &http.Request{Method: "GET"})
		if err != nil {
			return // the parser is stricter
		}
		if res.StatusCode != whole.status {
			t.Errorf("status = %d, the parser says %d", whole.status, res.StatusCode)
		}
		if chunked := len(res.TransferEncoding) > 0; chunked != whole.chunked && res.ProtoAtLeast(1, 1) && bodyAllowed(res.StatusCode) {
			t.Errorf("chunked = %v, the parser says %v", whole.chunked, chunked)
		}
	})
}

func TestFrameScan(t *testing.T) {
	var in []byte
	in = append(in, frame(frameSettings, 0, 0, make([]byte, 6))...)
	in = append(in, frame(0x0, 0, 1, bytes.Repeat([]byte{frameGoAway}, 100))...) // the payload is no frame
	for step := 1; step <= len(in); step++ {
		var s frameScan
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			s.feed(rest[:n])
			rest = rest[n:]
		}
		if s.goAway || s.garbage || s.frames != 2 {
			t.Fatalf("step %d: %+v, want two frames and no GOAWAY", step, s)
		}
		if s.feed(frame(frameGoAway, 0, 0, make([]byte, 8))); !s.goAway {
			t.Fatalf("step %d: GOAWAY not seen", step)
		}
	}
	var s frameScan
	if s.feed([]byte("HTTP/1.1 400 Bad Request\r\n")); !s.garbage || !strings.Contains(s.excerpt(), "HTTP/1.1 400") {
		t.Errorf("HTTP/1 taken for HTTP/2: %+v", s)
	}
}

func FuzzFrameScan(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 2)
	f.Add([]byte("HTTP/1.1 200 OK\r\n\r\n"), 5)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		step = max(1, min(step, 1<<10))
		var whole, pieces frameScan
		whole.feed(in)
		for rest := in; len(rest) > 0; {
			n := min(step, len(rest))
			pieces.feed(rest[:n])
			rest = rest[n:]
		}
		if whole.goAway != pieces.goAway || whole.garbage != pieces.garbage || whole.frames != pieces.frames {
			t.Errorf("whole %+v, pieces %+v", whole, pieces)
		}
	})
}

func TestUploadReplay(t *testing.T) {
	u := newUpload(io.MultiReader(strings.NewReader("abc"), strings.NewReader("def")), -1, 4)
	first := u.reader()
	buf := make([]byte, 10)
	if n, err := first.Read(buf); string(buf[:n]) != "abc" || err != nil {
		t.Fatalf("Read = %q, %v", buf[:n], err)
	}
	if !u.replayable() {
		t.Error("not replayable within the limit")
	}
	second := u.reader()
	if _, err := first.Read(buf); !errors.Is(err, errAbandoned) {
		t.Errorf("the reader before = %v, want %v", err, errAbandoned)
	}
	all, err := io.ReadAll(second)
	if string(all) != "abcdef" || err != nil {
		t.Errorf("ReadAll = %q, %v, want abcdef", all, err)
	}
	if u.replayable() || !u.finished() {
		t.Errorf("replayable %v, finished %v after 6 of 4 bytes", u.replayable(), u.finished())
	}
	if _, err := u.reader().Read(buf); !errors.Is(err, errAbandoned) {
		t.Errorf("a third reader = %v, want %v", err, errAbandoned)
	}
}

// A Read that waits for the client when its attempt is given up brings its bytes
// to the next attempt.
func TestUploadHandover(t *testing.T) {
	pr, pw := io.Pipe()
	u := newUpload(pr, -1, 100)
	first := u.reader()
	result := make(chan error, 1)
	go func() {
		_, err := first.Read(make([]byte, 10))
		result <- err
	}()
	await(t, "the first reader waits", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.reading
	})
	second := u.reader()
	go func() {
		_, _ = pw.Write([]byte("late"))
		pw.Close()
	}()
	all, err := io.ReadAll(second)
	if string(all) != "late" || err != nil {
		t.Errorf("the second reader got %q, %v, want late", all, err)
	}
	if err := <-result; !errors.Is(err, errAbandoned) {
		t.Errorf("the first reader = %v, want %v", err, errAbandoned)
	}
}
