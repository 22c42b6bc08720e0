package errorpage

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// kind is what a part of a page is.
type kind byte

const (
	constant    kind = 'c'
	statusHole  kind = 's'
	waitHole    kind = 'w'
	idHole      kind = 'i'
	secondsHole kind = 'n' // of Retry-After; 0 if it is unknown
	retryBegin  kind = 'b' // between these is what only an answer has that may be asked for again
	retryEnd    kind = 'e'

	kinds = "swinbe"
)

// part is one of those that a page is put together of.
type part struct {
	text  string // of a constant
	kind  kind
	retry bool // left out unless the page may be asked for again
}

// page is a rendered page, cut at its holes. It never changes.
type page struct {
	parts       []part
	policy      []string // Content-Security-Policy
	retryPolicy []string // the same with the script that asks again
}

// appendTo appends the page for f. retry tells whether it may ask for itself
// again.
func (pg *page) appendTo(b []byte, f *facts, retry bool) []byte {
	for i := range pg.parts {
		p := &pg.parts[i]
		if p.retry && !retry {
			continue
		}
		switch p.kind {
		case constant:
			b = append(b, p.text...)
		case statusHole:
			b = strconv.AppendInt(b, int64(f.status), 10)
		case waitHole:
			b = escapeQuotes(f.locale.appendWait(b, f.retryAfter), len(b))
		case idHole:
			b = append(b, f.id...)
		case secondsHole:
			b = strconv.AppendInt(b, int64(f.retryAfter), 10)
		case retryBegin, retryEnd:
		}
	}
	return b
}

// escapeQuotes makes b from start on fit for an attribute in single quotes, too.
func escapeQuotes(b []byte, start int) []byte {
	for i := start; ; {
		n := bytes.IndexByte(b[i:], '\'')
		if n < 0 {
			return b
		}
		b = slices.Replace(b, i+n, i+n+1, []byte("&#39;")...)
		i += n + len("&#39;")
	}
}

// cutter collects the parts of a page.
type cutter struct {
	rr    *renderer
	page  *page
	retry bool
}

// constant adds text. What most pages have in common is made a part of its own,
// and kept once.
func (c *cutter) constant(text string) {
	for _, cut := range [...]string{"<style>", "</style>", script} {
		if before, after, ok := strings.Cut(text, cut); ok {
			c.constant(before)
			c.add(part{text: cut, kind: constant})
			c.constant(after)
			return
		}
	}
	c.add(part{text: text, kind: constant})
}

func (c *cutter) hole(k kind) {
	switch k {
	case retryBegin, retryEnd:
		c.retry = k == retryBegin
	default:
		c.add(part{kind: k})
	}
}

func (c *cutter) add(p part) {
	if p.kind == constant {
		if p.text == "" {
			return
		}
		known, ok := c.rr.same[p.text]
		if !ok {
			known = strings.Clone(p.text)
			c.rr.same[known] = known
		}
		p.text = known
	}
	p.retry = c.retry
	c.page.parts = append(c.page.parts, p)
}

// book is all pages of a Page: by locale, by group, without and with a wait.
type book struct {
	pages [][groups][2]*page
	retry bool
}

// newBook renders all pages.
func newBook(rr *renderer, all []*locale) (*book, error) {
	bk := &book{pages: make([][groups][2]*page, len(all)), retry: rr.autoRetry > 0}
	for i, l := range all {
		for g := range groups {
			for wait := range 2 {
				pg, err := rr.render(l, g, wait == 1)
				if err != nil {
					return nil, err // more of them would tell the same
				}
				bk.pages[i][g][wait] = pg
			}
		}
	}
	return bk, nil
}

// of returns the page for f.
func (bk *book) of(f *facts) *page {
	wait := 0
	if f.retryAfter > 0 {
		wait = 1
	}
	return bk.pages[f.locale.index][f.group][wait]
}

// longest is the size of the largest page that can come of bk.
func (bk *book) longest(all []*locale) int {
	n := 0
	var b []byte
	f := facts{status: 599, id: strings.Repeat("x", maxRequestID)}
	for _, f.locale = range all {
		for f.group = range groups {
			for _, f.retryAfter = range [...]int{0, 100, 100 * 60, 40 * 3600, 1<<31 - 1} {
				b = bk.of(&f).appendTo(b[:0], &f, true)
				n = max(n, len(b))
			}
		}
	}
	return n
}
