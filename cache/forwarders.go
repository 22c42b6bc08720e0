package cache

import (
	"net/http"
	"slices"
	"strings"
)

// handling is what is done about a request field that may change the answer
// although nobody names it in Vary.
type handling uint8

const (
	handleNot handling = iota
	handleKey          // its value is part of the key
	handleBypass
)

// handlingOf tells what is done about a field by its canonical name. Fields that
// say where a request came from (X-Forwarded-For, X-Real-Ip) are left alone: they
// differ with every client, and an origin that makes its answers from them has no
// answers to be shared.
func handlingOf(name string) handling {
	switch name {
	case "X-Forwarded-For", "X-Forwarded-By":
		return handleNot
	case "Forwarded", "Front-End-Https", "X-Host", "X-Original-Host", "X-Url-Scheme", "X-Scheme":
		return handleKey
	case "X-Original-Url", "X-Rewrite-Url", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override":
		return handleBypass
	}
	if strings.HasPrefix(name, "X-Forwarded-") {
		return handleKey
	}
	return handleNot
}

type foreignField struct {
	name   string
	values []string
}

// forwarderFields are the fields of a request that are part of its key without
// being configured, in a fixed order. bypass: it has one that keeps it from the
// store.
func (k *keyer) forwarderFields(h http.Header) (fields []foreignField, bypass bool) {
	for name, lines := range h {
		// Nearly all fields are done with here.
		if len(name) < 6 || name[0] != 'X' && name[0] != 'F' {
			continue
		}
		as := handlingOf(name)
		if as == handleNot && strings.IndexByte(name, '_') >= 0 {
			// Origins that make variables of the names (RFC 3875 section 4.1.18)
			// can't tell the two spellings apart.
			if plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-")); handlingOf(plain) != handleNot && !k.unkeyed[plain] {
				return nil, true
			}
		}
		if as == handleNot || k.unkeyed[name] {
			continue
		}
		if as == handleBypass && !slices.Contains(k.headers, name) {
			return nil, true
		}
		if as == handleKey && !slices.Contains(k.headers, name) {
			if name == "Forwarded" {
				lines = forwardedTarget(lines)
				if len(lines) == 0 {
					continue
				}
			}
			fields = append(fields, foreignField{name, lines})
		}
	}
	if len(fields) > 1 {
		slices.SortFunc(fields, func(a, b foreignField) int { return strings.Compare(a.name, b.name) })
	}
	return fields, false
}

// forwardedTarget are the host and proto parameters of Forwarded (RFC 7239
// section 4), as they are written. What is neither for nor by, or not to be
// parsed, counts too, and so does a for or by in which an origin that does not
// look at quotes could find more.
func forwardedTarget(lines []string) []string {
	var out []string
	for _, line := range lines {
		for start, i, quoted := 0, 0, false; i <= len(line); i++ {
			switch {
			case i+1 < len(line) && quoted && line[i] == '\\':
				i++
				continue
			case i < len(line) && line[i] == '"':
				quoted = !quoted
				continue
			case i < len(line) && (quoted || line[i] != ',' && line[i] != ';'):
				continue
			}
			end := min(i, len(line))
			part := strings.Trim(line[start:end], " \t")
			start = i + 1
			name, node, _ := strings.Cut(part, "=")
			if part != "" && (!strings.EqualFold(name, "for") && !strings.EqualFold(name, "by") || !isNode(node)) {
				out = append(out, part)
			}
		}
	}
	return out
}

// isNode tells whether s may be the value of for or by (RFC 7239 section 6), in
// quotes or not.
func isNode(s string) bool {
	return !strings.ContainsAny(s, ";,=\\") && (strings.IndexByte(s, '"') < 0 || len(s) > 1 && strings.IndexByte(s[1:], '"') == len(s)-2)
}

// takesAway tells whether Connection lists more than the options and fields that
// are a connection's own (RFC 9110 section 7.6.1): then the origin may not see
// what the response would be stored under.
func takesAway(connection []string) bool {
	for _, line := range connection {
		if line == "keep-alive" || line == "close" {
			continue
		}
		for option := range strings.SplitSeq(line, ",") {
			switch strings.ToLower(strings.Trim(option, " \t")) {
			case "", "close", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "proxy-connection":
			default:
				return true
			}
		}
	}
	return false
}

// misspelt tells whether a field is there that some origins can't tell from one
// of Key.Headers: see forwarderFields.
func (k *keyer) misspelt(h http.Header) bool {
	for name := range h {
		if strings.IndexByte(name, '_') >= 0 && slices.Contains(k.headers, http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))) && !slices.Contains(k.headers, name) {
			return true
		}
	}
	return false
}
