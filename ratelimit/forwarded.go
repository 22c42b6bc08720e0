package ratelimit

import (
	"slices"
	"strings"
)

// forwarded is xForwardedFor for the Forwarded field (RFC 7239).
//
// A line is read from its start, since only that tells which commas are in
// quotes. A line that breaks the grammar anywhere is worth nothing: where a
// client opens a quote that it does not close, the proxy's own element would end
// up inside it.
func (w *walk) forwarded(lines []string) {
	for _, line := range slices.Backward(lines) {
		nodes, ok := parseForwarded(line)
		if !ok {
			w.lost = true
			return
		}
		for i := nodes.n - 1; i >= 0 && i >= nodes.n-len(nodes.ring); i-- {
			if !w.visit(nodes.ring[i%len(nodes.ring)], true) {
				return
			}
		}
	}
}

// nodes are the last elements' for parameters, in a ring: "" where an element
// has none. It holds one more than anybody may walk.
type nodes struct {
	ring [maxHops + 1]string
	n    int // elements in all
}

func (v *nodes) add(node string) {
	v.ring[v.n%len(v.ring)] = node
	v.n++
}

// parseForwarded reads one line: elements separated by commas, each of pairs
// separated by semicolons, each a token, "=", and a token or quoted string
// (RFC 7239 section 4). Beyond that, white space around the separators is
// accepted, and an address without the quotes that its colons and brackets
// demand.
func parseForwarded(line string) (v nodes, ok bool) {
	s := scanner{rest: line}
	for {
		node, seen := "", false
		for {
			s.skipSpace()
			if name := s.token(); name != "" {
				if !s.accept('=') {
					return nodes{}, false
				}
				value, ok := s.value()
				if !ok {
					return nodes{}, false
				}
				if strings.EqualFold(name, "for") {
					if seen { // a parameter occurs once
						return nodes{}, false
					}
					node, seen = value, true
				}
				s.skipSpace()
			}
			if !s.accept(';') {
				break
			}
		}
		v.add(node)
		if s.rest == "" {
			return v, true
		}
		if !s.accept(',') {
			return nodes{}, false
		}
	}
}

// scanner reads a line from its start.
type scanner struct {
	rest string
}

func (s *scanner) skipSpace() { s.rest = strings.TrimLeft(s.rest, " \t") }

func (s *scanner) accept(c byte) bool {
	if s.rest == "" || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// token reads a token (RFC 9110 section 5.6.2), "" if there is none.
func (s *scanner) token() string { return s.span(isToken) }

func (s *scanner) span(in func(byte) bool) string {
	n := 0
	for n < len(s.rest) && in(s.rest[n]) {
		n++
	}
	span := s.rest[:n]
	s.rest = s.rest[n:]
	return span
}

// value reads a token or a quoted string (RFC 9110 section 5.6.4) without its
// quotes.
func (s *scanner) value() (string, bool) {
	if !s.accept('"') {
		v := s.span(func(c byte) bool { return isToken(c) || c == ':' || c == '[' || c == ']' })
		return v, v != ""
	}
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			v := s.rest[:i]
			s.rest = s.rest[i+1:]
			return v, true
		case c == '\\':
			// What is escaped stays escaped: it is no part of an address, and
			// elsewhere nobody reads it.
			if i++; i == len(s.rest) {
				return "", false
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", false
		}
	}
	return "", false
}

func isToken(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
