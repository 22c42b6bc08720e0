package semantics

import (
	"net/http"
	"slices"
	"strings"
)

// Coding is a content coding (RFC 9110 section 8.4.1) that we can apply.
type Coding uint8

// The codings.
const (
	Identity Coding = iota
	Gzip
	Zstd
	// Codings is their number.
	Codings
)

// String is the coding's name in Content-Encoding.
func (c Coding) String() string { return [...]string{"identity", "gzip", "zstd"}[c] }

// codingOf is the coding with a name, which has no case. x-gzip is gzip (RFC
// 9110 section 8.4.1.3).
func codingOf(name string) (Coding, bool) {
	switch {
	case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
		return Gzip, true
	case strings.EqualFold(name, "zstd"):
		return Zstd, true
	case strings.EqualFold(name, "identity"):
		return Identity, true
	}
	return 0, false
}

// ChooseCoding chooses among the codings that are to be had, by the lines of
// Accept-Encoding (RFC 9110 section 12.5.3). sizes are the bodies' lengths, of
// which Identity's is always to be had and 0 is none.
//
// The highest weight wins. Between equals that is a coding that was named rather
// than covered by "*", then the smaller one. Identity is least wanted unless it
// is named, and is the answer where nothing is acceptable. part: the request
// wants a range, of which only Identity has any; so another coding is chosen
// only if Identity is ruled out.
func ChooseCoding(lines []string, sizes *[Codings]int64, part bool) Coding {
	var weights [Codings]int
	var named [Codings]bool
	star := -1
	for _, line := range lines {
		if len(line) > maxAcceptEncoding {
			return Identity
		}
		for more := true; more; {
			var member string
			member, line, more = nextMember(line)
			name, weight, ok := codingWeight(member)
			if !ok {
				continue
			}
			if name == "*" {
				star = weight
			} else if c, ok := codingOf(name); ok {
				weights[c], named[c] = weight, true
			}
		}
	}
	refused := named[Identity] && weights[Identity] == 0 || !named[Identity] && star == 0
	if part && !refused {
		return Identity
	}
	best, found := Identity, false
	for c := Identity + 1; c < Codings; c++ {
		if sizes[c] == 0 {
			continue
		}
		if !named[c] {
			weights[c] = max(star, 0)
		}
		switch {
		case weights[c] == 0, named[Identity] && weights[Identity] > weights[c]:
		case !found, weights[c] > weights[best],
			weights[c] == weights[best] && named[c] && !named[best],
			weights[c] == weights[best] && named[c] && sizes[c] < sizes[best]:
			best, found = c, true
		}
	}
	return best
}

// maxAcceptEncoding bounds what of Accept-Encoding is read for every hit. A
// longer line counts as none.
const maxAcceptEncoding = 1024

// codingWeight reads a member of Accept-Encoding, with its weight in
// thousandths. It is not ok where there is no name, or no weight where one should
// be.
func codingWeight(member string) (name string, weight int, ok bool) {
	name, rest, weighted := strings.Cut(member, ";")
	if name = strings.TrimRight(name, " \t"); name == "" {
		return "", 0, false
	}
	if !weighted {
		return name, 1000, true
	}
	rest = strings.TrimLeft(rest, " \t")
	if len(rest) < 3 || rest[0]|0x20 != 'q' || rest[1] != '=' {
		return "", 0, false
	}
	digits := rest[2:]
	if digits[0] != '0' && digits[0] != '1' || len(digits) > 5 || len(digits) > 1 && digits[1] != '.' {
		return "", 0, false
	}
	weight = int(digits[0]-'0') * 1000
	unit := 100
	for i := 2; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return "", 0, false
		}
		weight += int(digits[i]-'0') * unit
		unit /= 10
	}
	return name, weight, weight <= 1000
}

// NoTransform tells whether content must go on as it is (RFC 9111 sections
// 5.2.1.6 and 5.2.2.6). Of a response the targeted fields count, too, beside
// Cache-Control and not in its place: it takes only one to forbid it.
func NoTransform(h http.Header, targets ...string) bool {
	return noTransform(h["Cache-Control"]) || anyTarget(h, targets)
}

func anyTarget(h http.Header, targets []string) bool {
	for _, name := range targets {
		if noTransform(h[http.CanonicalHeaderKey(name)]) {
			return true
		}
	}
	return false
}

func noTransform(lines []string) (found bool) {
	for _, line := range lines {
		for more := true; more && !found; {
			var member string
			member, line, more = nextMember(line)
			name, _, _ := strings.Cut(member, "=")
			name, _, _ = strings.Cut(name, ";")
			found = strings.EqualFold(strings.TrimRight(name, " \t"), "no-transform")
		}
	}
	return found
}

// Compressible tells whether a stored response may be compressed on the way to
// clients, and is of a type that is worth it. It may not be where something else
// in it speaks of the bytes as they are.
func Compressible(status int, h http.Header, targets []string) bool {
	if status < 200 || status == http.StatusNoContent || status == http.StatusPartialContent || status == http.StatusNotModified {
		return false
	}
	for _, name := range [...]string{
		"Content-Encoding", "Content-Range", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest", "Trailer",
	} {
		if len(h[name]) > 0 {
			return false
		}
	}
	if len(h["Content-Type"]) != 1 || NoTransform(h, "Cdn-Cache-Control", "Surrogate-Control") || anyTarget(h, targets) {
		return false
	}
	typ, _, _ := strings.Cut(h["Content-Type"][0], ";")
	return compressibleType(strings.ToLower(strings.Trim(typ, " \t")))
}

// compressibleType is a list of what shrinks: text in all its forms, and the few
// binary types that don't bring a compression of their own.
func compressibleType(typ string) bool {
	switch kind, sub, _ := strings.Cut(typ, "/"); kind {
	case "text":
		return sub != "" && sub != "event-stream"
	case "application", "image", "font", "model", "message":
		for _, suffix := range [...]string{"+json", "+xml", "+text", "+yaml"} {
			if strings.HasSuffix(sub, suffix) {
				return true
			}
		}
	}
	switch typ {
	case "application/json", "application/javascript", "application/x-javascript", "application/ecmascript",
		"application/xml", "application/wasm", "application/x-ndjson", "application/jsonlines", "application/yaml",
		"application/toml", "application/graphql", "application/sql", "application/rtf", "application/x-sh",
		"application/vnd.ms-fontobject", "application/x-font-ttf", "application/x-font-opentype",
		"application/x-web-app-manifest+json", "application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml",
		"font/ttf", "font/otf", "font/sfnt", "font/collection",
		"image/x-icon", "image/vnd.microsoft.icon", "image/bmp", "image/x-ms-bmp":
		return true
	}
	return false
}

// VaryWith returns the lines of Vary with a name, and whether that was not in
// them yet.
func VaryWith(lines []string, name string) (with []string, added bool) {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.Trim(member, " \t"); member == "*" || strings.EqualFold(member, name) {
				return lines, false
			}
		}
	}
	return append(slices.Clip(lines), name), true
}

// WeakTag is an entity tag as it is for content that is equivalent, but not the
// same byte for byte (RFC 9110 section 8.8.3). What is no tag is as it was.
func WeakTag(etag string) string {
	if strings.HasPrefix(etag, `"`) {
		return "W/" + etag
	}
	return etag
}
