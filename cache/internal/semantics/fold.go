package semantics

import "strings"

// folding says in what of a field the case of letters means nothing.
type folding uint8

const (
	foldNothing folding = iota
	foldAll             // codings (RFC 9110 section 8.4.1) and language tags (RFC 4647 section 2)
	foldMedia           // all but the values of parameters (RFC 9110 section 8.3.1)
)

// appendFolded appends the members of a field of content negotiation so that
// those that mean the same are the same: white space around "," and ";" and
// empty members are gone (RFC 9110 section 5.6.1), letters are lower-cased, and
// weights are in their shortest form, which for a weight of 1 is none (section
// 12.4.2). The order stays: servers choose by it.
//
// Lines whose quoted strings don't end are taken as they are.
func appendFolded(dst []byte, lines []string, fold folding) []byte {
	start := len(dst)
	for _, line := range lines {
		if strings.IndexByte(line, '"') >= 0 && (fold == foldAll || !balanced(line)) {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = appendEscaped(dst, line)
			continue
		}
		dst = appendFoldedLine(dst, line, fold, len(dst) > start)
	}
	return dst
}

// appendFoldedLine appends the members of one line; after: others are there
// before it.
func appendFoldedLine(dst []byte, line string, fold folding, after bool) []byte {
	var (
		semi   = -1 // the last ";" of the member in dst
		begun  bool // the member has bytes
		edge   = true
		value  bool // within a parameter's value
		quoted bool
		space  = -1 // where white space begins that is kept if it is inside
	)
	for i := 0; i < len(line); i++ {
		c := line[i]
		if quoted {
			n := 1
			if c == '\\' {
				n = 2 // balanced, so there is one more
			}
			dst = appendEscaped(dst, line[i:i+n])
			i += n - 1
			quoted = c != '"'
			continue
		}
		switch c {
		case ' ', '\t':
			if !edge && space < 0 {
				space = i
			}
			continue
		case ',':
			if begun {
				dst, after = trimWeight(dst, semi), true
			}
			semi, begun, edge, value, space = -1, false, true, false, -1
			continue
		}
		if !begun {
			if begun = true; after {
				dst = append(dst, ',')
			}
		}
		if c == ';' {
			semi, edge, value, space = len(dst), true, false, -1
			dst = append(dst, c)
			continue
		}
		if space >= 0 {
			dst = append(dst, line[space:i]...)
			space = -1
		}
		edge = false
		if ordinary[c] {
			end := i + 1
			for end < len(line) && ordinary[line[end]] {
				end++
			}
			dst = append(dst, line[i:end]...)
			i = end - 1
			continue
		}
		switch {
		case c >= 'A' && c <= 'Z' && !value:
			c += 'a' - 'A'
		case c == '=' && semi >= 0 && fold == foldMedia:
			value = true
		case c == '"':
			quoted = true
		case c == 0:
			dst = append(dst, 0)
			c = 'n'
		}
		dst = append(dst, c)
	}
	if begun {
		dst = trimWeight(dst, semi)
	}
	return dst
}

// ordinary are the bytes that mean nothing by themselves and have no other form.
var ordinary = func() (is [256]bool) {
	for c := range is {
		is[c] = c != 0 && (c < 'A' || c > 'Z') && strings.IndexByte(" \t,;=\"", byte(c)) < 0
	}
	return is
}()

// trimWeight shortens the weight that the member at the end of dst ends in; it
// begins at semi.
func trimWeight(dst []byte, semi int) []byte {
	if semi < 0 || len(dst) < semi+4 || dst[semi+1] != 'q' || dst[semi+2] != '=' {
		return dst
	}
	q := dst[semi+3:]
	if !isWeight(string(q)) {
		return dst
	}
	if len(q) > 1 {
		for q[len(q)-1] == '0' {
			q = q[:len(q)-1]
		}
		if q[len(q)-1] == '.' {
			q = q[:len(q)-1]
		}
	}
	if q[0] == '1' {
		return dst[:semi]
	}
	return dst[:semi+3+len(q)]
}

// isWeight tells whether s is a qvalue (RFC 9110 section 12.4.2).
func isWeight(s string) bool {
	if len(s) == 0 || len(s) > 5 || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' || s[0] == '1' && s[i] != '0' {
			return false
		}
	}
	return true
}

// balanced tells whether all quoted strings of s end.
func balanced(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		}
	}
	return !quoted
}
