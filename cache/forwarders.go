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
// parsed, counts too.
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
			name, _, _ := strings.Cut(part, "=")
			if part != "" && !strings.EqualFold(name, "for") && !strings.EqualFold(name, "by") {
				out = append(out, part)
			}
		}
	}
	return out
}
