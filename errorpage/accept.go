package errorpage

import (
	"net/http"
	"strings"
)

// format is a form that a page can take.
type format uint8

const (
	html format = iota
	problem
	json
	text
	empty
	grpc

	offers = empty // those before it can be negotiated
)

var formatNames = [...]string{"html", "problem", "json", "text", "empty", "grpc"}

func (f format) String() string { return formatNames[f] }

// The orders in which formats of equal weight are chosen: those that the client
// names, and those that only a wildcard admits, for a terminal and for a script.
var (
	namedOrder  = [offers]format{html, problem, json, text}
	plainOrder  = [offers]format{text, problem, json, html}
	scriptOrder = [offers]format{problem, json, text, html}
)

// What is read of Accept. Browsers send about 150 bytes and 8 ranges.
const (
	maxAcceptBytes  = 4096
	maxAcceptRanges = 64

	maxGRPCType = 256 // bytes read of a content type that begins like one of gRPC
)

// choose returns the format for a request with the header h.
func choose(h http.Header) format {
	if ct := h["Content-Type"]; len(ct) == 1 && grpcType(ct[0]) != "" {
		return grpc
	}
	dest := ""
	if d := h["Sec-Fetch-Dest"]; len(d) == 1 {
		dest = d[0]
	}
	if subresource(dest) {
		return empty
	}
	// "empty" is fetch and XMLHttpRequest. Nobody reads what a script gets before
	// the script does, and a problem document tells it when to try again.
	return negotiate(h["Accept"], dest == "empty")
}

// subresource tells whether a destination (Fetch Metadata) shows its response
// to nobody if it is not what it asked for.
func subresource(dest string) bool {
	switch dest {
	case "image", "script", "style", "font", "audio", "video", "track", "manifest", "xslt", "json", "text",
		"worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet",
		"dictionary", "speculationrules", "report":
		return true
	}
	return false
}

// grpcType returns the content type of a gRPC answer to a request of the type
// ct; "" if that is not gRPC.
func grpcType(ct string) string {
	const base = "application/grpc"
	if len(ct) < len(base) || !strings.EqualFold(ct[:len(base)], base) {
		return ""
	}
	rest, _, _ := strings.Cut(ct[len(base):min(len(ct), maxGRPCType)], ";")
	rest = strings.ToLower(strings.Trim(rest, " \t"))
	switch {
	case rest == "", rest[0] == '+':
		return base
	case rest == "-web", strings.HasPrefix(rest, "-web+"):
		return base + "-web"
	case rest == "-web-text", strings.HasPrefix(rest, "-web-text+"):
		return base + "-web-text"
	}
	return ""
}

// precision of a media range, from none to all. A range with parameters that
// none of our types has yields to one without.
type precision uint8

const (
	unmatched  precision = iota
	anything             // */*
	anySubtype           // text/*
	parameters           // text/html;level=1
	exact                // text/html
)

// preference is what the most precise range says about one format; weight in
// thousandths.
type preference struct {
	precision precision
	weight    int
}

// negotiate returns the format that the lines of an Accept field prefer (RFC
// 9110 section 12.5.1). A member that makes no sense is ignored; a field without
// a member that makes sense is as good as none. script tells that a script asks.
func negotiate(lines []string, script bool) format {
	var prefs [offers]preference
	suffixed := 0 // the highest weight of a type with the suffix +json
	budget, ranges := maxAcceptBytes, 0
	for _, line := range lines[:min(len(lines), maxAcceptRanges)] {
		for line != "" && ranges < maxAcceptRanges {
			member, _ := cutOutsideQuotes(line[:min(len(line), budget+1)], ',')
			size := min(len(member)+1, len(line)) // with its comma
			if budget -= size; budget < 0 {
				return prefer(prefs, suffixed, script)
			}
			line = line[size:]
			ranges++
			mediaRange, weight, prec := parseMember(member)
			if prec == unmatched {
				continue
			}
			if hasSuffixFold(mediaRange, "+json") {
				suffixed = max(suffixed, weight)
			}
			for f := range offers {
				p := precisionOf(f, mediaRange, prec)
				if p > prefs[f].precision || p == prefs[f].precision && p != unmatched && weight > prefs[f].weight {
					prefs[f] = preference{p, weight}
				}
			}
		}
	}
	return prefer(prefs, suffixed, script)
}

// prefer chooses by weight, then by precision, then by our own order. Where no
// type of ours is named, one that is made of JSON tells that a program asks, too.
func prefer(prefs [offers]preference, suffixed int, script bool) format {
	var best preference
	for _, p := range prefs {
		p.precision = named(p.precision)
		if p.weight > best.weight || p.weight == best.weight && p.weight > 0 && p.precision > best.precision {
			best = p
		}
	}
	order := &plainOrder
	if script || suffixed > 0 && suffixed >= best.weight {
		order = &scriptOrder
	}
	if best.weight == 0 {
		return lastResort(prefs, order)
	}
	if best.precision == exact {
		order = &namedOrder
	}
	for _, f := range order {
		if p := prefs[f]; p.weight == best.weight && named(p.precision) == best.precision {
			return f
		}
	}
	return text
}

// lastResort returns what a client gets that accepts nothing of ours: the first
// that it does not refuse by name (RFC 9110 section 12.4.1), or else text.
func lastResort(prefs [offers]preference, order *[offers]format) format {
	for _, f := range order {
		if named(prefs[f].precision) != exact {
			return f
		}
	}
	return text
}

// named makes no difference between types with and without parameters.
func named(p precision) precision {
	if p == parameters {
		return exact
	}
	return p
}

// parseMember reads one member of Accept: "text/html;level=1;q=0.5". The
// precision is that of a type that the range names, or unmatched where the
// member makes no sense.
func parseMember(member string) (mediaRange string, weight int, prec precision) {
	mediaRange, rest := cutOutsideQuotes(member, ';')
	mediaRange = strings.Trim(mediaRange, " \t")
	if mediaRange == "*" { // sent by Java's HttpURLConnection
		mediaRange = "*/*"
	}
	if !strings.Contains(mediaRange, "/") {
		return "", 0, unmatched
	}
	weight, prec = 1000, exact
	for rest != "" {
		var param string
		param, rest = cutOutsideQuotes(rest, ';')
		key, value, _ := strings.Cut(param, "=")
		key, value = strings.Trim(key, " \t"), strings.Trim(value, " \t")
		switch {
		case key == "":
		case strings.EqualFold(key, "q"):
			w, ok := parseWeight(value)
			if !ok {
				return "", 0, unmatched
			}
			return mediaRange, w, prec
		case strings.EqualFold(key, "charset") && strings.EqualFold(strings.Trim(value, `"`), "utf-8"):
		default:
			prec = parameters
		}
	}
	return mediaRange, weight, prec
}

// parseWeight reads a qvalue (RFC 9110 section 12.4.2) in thousandths. More
// digits than three, a missing zero and values over 1 are let pass.
func parseWeight(s string) (weight int, ok bool) {
	whole, frac, _ := strings.Cut(s, ".")
	if len(whole)+len(frac) == 0 || len(s) > 16 || !allDigits(whole) || !allDigits(frac) {
		return 0, false
	}
	if strings.Trim(whole, "0") != "" {
		return 1000, true
	}
	for i, unit := 0, 100; unit > 0 && i < len(frac); i, unit = i+1, unit/10 {
		weight += int(frac[i]-'0') * unit
	}
	if weight == 0 && strings.Trim(frac, "0") != "" {
		weight = 1 // very little is not never
	}
	return weight, true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// precisionOf tells how precisely a media range means f. prec is the precision
// if it names f's type.
func precisionOf(f format, mediaRange string, prec precision) precision {
	switch {
	case mediaRange == "*/*":
		return anything
	case strings.EqualFold(mediaRange, mediaTypes[f]):
		return prec
	case strings.HasSuffix(mediaRange, "/*"):
		major := mediaRange[:len(mediaRange)-1]
		if t := mediaTypes[f]; len(t) > len(major) && strings.EqualFold(t[:len(major)], major) {
			return anySubtype
		}
	}
	return unmatched
}

var mediaTypes = [offers]string{"text/html", "application/problem+json", "application/json", "text/plain"}

// cutOutsideQuotes cuts s at the first sep that stands outside of a quoted
// string. A string that is not closed reaches to the end.
func cutOutsideQuotes(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}
