package cache

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPartsAreTheOrigins: whatever is asked for in whatever order, with the origin
// changing in between, what a client gets is one representation's bytes, and the
// current one's whenever the origin was asked for anything.
func TestPartsAreTheOrigins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, err := New(Config{MemoryBytes: 1 << 20})
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = c.Shutdown(context.Background()) }()
		size := rapid.SampledFrom([]int{1, 2, 20, 5000, 70_000}).Draw(rt, "size")
		version := 0
		versions := []string{}
		o := &ranged{}
		change := func() {
			version++
			body := []byte(strings.Repeat(string(rune('A'+version%26)), size+version%3))
			for i := range body {
				body[i] += byte(i % 7)
			}
			versions = append(versions, string(body))
			o.become(string(body), "Cache-Control: max-age=60", fmt.Sprintf(`Etag: "%d"`, version))
		}
		change()
		h := c.Handler(o)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			if rapid.IntRange(0, 5).Draw(rt, "change") == 0 {
				change()
			}
			var headers []string
			field := ""
			from := rapid.IntRange(0, size).Draw(rt, "from")
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0, 1:
				field = fmt.Sprintf("%d-%d", from, from+rapid.IntRange(0, size).Draw(rt, "n"))
			case 2:
				field = fmt.Sprintf("%d-", from)
			case 3:
				field = fmt.Sprintf("-%d", from+1)
			}
			if field != "" {
				headers = []string{"Range: bytes=" + field}
			}
			a := do(h, "GET", "/", headers...)
			asked := o.asked() != "" || !strings.Contains(a.cacheStatus(), "hit")
			if rapid.Bool().Draw(rt, "wait") {
				settled(t, c)
			}
			var tag int
			if _, err := fmt.Sscanf(a.header.Get("Etag"), `"%d"`, &tag); err != nil && a.status != 416 {
				rt.Fatalf("%s: %d without a tag", field, a.status)
			}
			if asked && tag != version && a.status != 416 && !strings.Contains(a.cacheStatus(), "hit") {
				rt.Fatalf("%s: version %d after the origin was asked, want %d (%s)", field, tag, version, a.cacheStatus())
			}
			want := ""
			switch a.status {
			case 200:
				want = versions[tag-1]
			case 206:
				var first, last, total int
				if _, err := fmt.Sscanf(a.header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &total); err != nil || total != len(versions[tag-1]) {
					rt.Fatalf("%s: Content-Range %q of %d bytes", field, a.header.Get("Content-Range"), len(versions[tag-1]))
				}
				want = versions[tag-1][first : last+1]
			case 416:
				continue
			}
			if a.err != nil || a.body != want {
				rt.Fatalf("%s: got %d, %d bytes of version %d that are not its own (%s) %v", field, a.status, len(a.body), tag, a.cacheStatus(), a.err)
			}
		}
		settled(t, c)
	})
}

// TestSegments: adding parts in any order keeps the bytes in their places, within
// the bounds.
func TestSegments(t *testing.T) {
	body := []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 600))
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.Int64Range(100, 30_000).Draw(rt, "limit")
		var segs []segment
		for range rapid.IntRange(1, 60).Draw(rt, "n") {
			start := rapid.IntRange(0, len(body)-1).Draw(rt, "start")
			end := min(start+rapid.IntRange(1, int(limit)).Draw(rt, "len"), len(body))
			s := segment{body: [][]byte{body[start : start+(end-start)/2 : start+(end-start)/2], body[start+(end-start)/2 : end : end]}}
			s.Start, s.End = int64(start), int64(end)
			segs = addSegment(segs, s, limit)
			found, last := false, int64(-1)
			for _, e := range segs {
				var got []byte
				for _, chunk := range e.body {
					got = append(got, chunk...)
				}
				if e.Start <= last || string(got) != string(body[e.Start:e.End]) {
					rt.Fatalf("segment %v after %d has %d bytes that are not its own", e.Span, last, len(got))
				}
				last = e.End
				found = found || e.Start <= s.Start && s.End <= e.End
			}
			if !found || len(segs) > maxSegments || segmentBytes(segs) > limit {
				rt.Fatalf("%d segments of %d bytes, limit %d, the last one among them: %v", len(segs), segmentBytes(segs), limit, found)
			}
		}
	})
}

// TestWholeBehind: the second range that is forwarded has the whole fetched, once.
func TestWholeBehind(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		cc    string
		ident bool
		asked string
	}{
		{"the rest", Config{}, "max-age=60", false, `bytes=0-4|bytes=3-9|bytes=10- If-Range: "a"`},
		{"too large", Config{MaxObjectBytes: 15}, "max-age=60", false, "bytes=0-4|bytes=3-9|bytes=12-13|bytes=15-16"},
		{"not to be stored", Config{}, "no-store", false, "bytes=0-4|bytes=3-9|bytes=12-13|bytes=15-16"},
		{"one client's", Config{}, "max-age=60", true, "bytes=0-4|bytes=3-9|bytes=12-13|bytes=15-16"},
		{"everybody's", Config{}, "public, max-age=60", true, `bytes=0-4|bytes=3-9|bytes=10- If-Range: "a"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCache(t, tt.cfg)
			o := (&ranged{}).become(digits, "Cache-Control: "+tt.cc, `Etag: "a"`)
			h := c.Handler(o)
			for _, field := range []string{"0-4", "3-9", "12-13", "15-16"} {
				headers := []string{"Range: bytes=" + field}
				if tt.ident {
					headers = append(headers, "Authorization: x")
				}
				do(h, "GET", "/", headers...)
				settled(t, c)
			}
			if got := o.asked(); got != tt.asked {
				t.Errorf("asked for %q, want %q", got, tt.asked)
			}
			if n := c.wholes.Load(); n != 0 {
				t.Errorf("%d fetches of the whole are still counted", n)
			}
		})
	}
}

// TestPartsAtOnce: overlapping ranges over real connections, with purges in
// between and clients that leave.
func TestPartsAtOnce(t *testing.T) {
	c := newCache(t, Config{})
	body := strings.Repeat(digits, 5000)
	o := (&ranged{}).become(body, "Cache-Control: max-age=60", longAgo)
	s := serve(t, c.Handler(o))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 15 {
				from := (i*7919 + n*104729) % len(body)
				to := min(from+30_000, len(body)-1)
				switch {
				case n%7 == 3:
					do(c.Handler(o), http.MethodPost, s.URL+"/")
				case n%5 == 4:
					ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
					send(ctx, t, s.Client(), "GET", s.URL+"/", fmt.Sprintf("Range: bytes=%d-%d", from, to))
					cancel()
				case n%4 == 1:
					if a := send(t.Context(), t, s.Client(), "GET", s.URL+"/"); a.err != nil || a.body != body {
						t.Errorf("the whole: %d %v, %d bytes", a.status, a.err, len(a.body))
					}
				default:
					a := send(t.Context(), t, s.Client(), "GET", s.URL+"/", fmt.Sprintf("Range: bytes=%d-%d", from, to))
					if a.err != nil || a.status != 206 || a.body != body[from:to+1] {
						t.Errorf("%d-%d: %d %v, %d bytes", from, to, a.status, a.err, len(a.body))
					}
				}
			}
		})
	}
	wg.Wait()
	settled(t, c)
	until(t, "the budget to be given back", func() bool { return c.store.Stats().FillBytes == 0 })
}
