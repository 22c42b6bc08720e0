package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-go/holdfast/backend"
)

// The parsers of what stands behind a flag. Each is a pure function, and its
// error says what would be right.

// parseAddr checks a listen address: host:port, where host is an IP address, a
// name, or nothing for all interfaces, and port 0 is any free port.
func parseAddr(s string) (string, error) {
	const want = "must be HOST:PORT, for instance 127.0.0.1:8080, or :8080 for all interfaces"
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", errors.New(want)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", errors.New(want + "; the port is a number from 0 to 65535")
	}
	if host != "" && !validHost(host) {
		return "", errors.New(want + "; the host is neither an IP address nor a name")
	}
	return net.JoinHostPort(host, port), nil
}

// validHost tells whether s is an IP address or may be a host name.
func validHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Zone() == "" || validHost("zone-"+ip.Zone()) // netip takes anything for a zone
	}
	if s == "" || len(s) > 253 {
		return false
	}
	numeric := true
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_'
			if !letter && (c < '0' || c > '9') {
				return false
			}
			numeric = numeric && !letter
		}
	}
	return !numeric // 300.1.1.1 is a mistyped address, not a name
}

// overlap tells whether two listen addresses would compete for one port.
func overlap(a, b string) bool {
	hostA, portA, _ := net.SplitHostPort(a)
	hostB, portB, _ := net.SplitHostPort(b)
	if portA != portB || portA == "0" {
		return false
	}
	return wildcard(hostA) || wildcard(hostB) || canonicalHost(hostA) == canonicalHost(hostB)
}

func wildcard(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// canonicalHost makes the ways to write one host alike, as far as that can be
// told without asking a resolver.
func canonicalHost(host string) string {
	if strings.EqualFold(host, "localhost") {
		return "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(host)
}

// parseBackend checks the URL of one endpoint.
func parseBackend(s string) (*url.URL, error) {
	const want = "must be a URL such as http://127.0.0.1:3000 (schemes: http, https, h2c, h2, and unix:///PATH of a socket)"
	if strings.HasPrefix(s, "unix:") {
		return parseSocket(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Opaque != "" {
		if addr, err := parseAddr(s); err == nil && addr[0] != ':' {
			return nil, fmt.Errorf("%s: is http://%s meant?", want, s)
		}
		return nil, errors.New(want)
	}
	port := u.Port()
	switch {
	case !slices.Contains([]string{"http", "https", "h2c", "h2"}, u.Scheme):
		return nil, errors.New(want)
	case u.User != nil:
		return nil, errors.New("must not contain a user or password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must not contain a query or fragment")
	case !validHost(u.Hostname()):
		return nil, errors.New(want + "; the host is neither an IP address nor a name")
	}
	if strings.HasSuffix(u.Host, ":") {
		return nil, errors.New(want + "; the port after the colon is missing")
	}
	if port == "" {
		return u, nil
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, errors.New(want + "; the port is a number from 1 to 65535")
	}
	return u, nil
}

// parseSocket checks the URL of a Unix socket. The socket itself may come later.
func parseSocket(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasSuffix(u.Path, "/") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New("must be the path of a socket, such as unix:///run/app.sock")
	}
	return u, nil
}

// hostPort is the address that u leads to; that of a socket is its path.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case u.Scheme == "unix":
		return u.Path
	case port != "":
	case u.Scheme == "https", u.Scheme == "h2":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	// Longer suffixes first: "MiB" also ends in "B".
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"tib", 1 << 40},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"tb", 1e12},
	{"b", 1},
	{"", 1},
}

// parseSize reads a number of bytes: 64MB (10^6), 64MiB (2^20), 1.5GiB, 4096.
// Upper and lower case are alike.
func parseSize(s string) (int64, error) {
	errWant := errors.New("must be a size such as 64MB, 64MiB or 1.5GiB")
	lower := strings.ToLower(strings.TrimSpace(s))
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		n, ok := parseDecimal(strings.TrimSpace(number))
		if !ok {
			return 0, errWant
		}
		bytes := n * float64(unit.bytes)
		if bytes > 1<<53 { // beyond it a float is no longer exact, and no machine has as much
			return 0, errWant
		}
		return int64(bytes), nil
	}
	return 0, errWant
}

func parseCacheMemory(s string) (int64, error) {
	n, err := parseSize(s)
	if err == nil && n < minCacheMemory {
		return 0, errors.New("must be at least 1MiB")
	}
	if err == nil && n > maxCacheMemory {
		return 0, errors.New("must be at most 1TiB")
	}
	return n, err
}

func parseMaxObject(s string) (int64, error) {
	n, err := parseSize(s)
	if err == nil && n < 1 {
		return 0, errors.New("must be at least 1B")
	}
	return n, err
}

// parseDecimal reads digits with at most one point: no sign, no exponent, no
// hexadecimal, no "inf".
func parseDecimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// parseRate reads a rate and returns it in permits per second: 10/s, 600/m,
// 0.5/s, 100/h.
func parseRate(s string) (float64, error) {
	errWant := errors.New("must be a number above 0 per second, minute or hour, such as 10/s or 600/m")
	number, per, ok := strings.Cut(strings.TrimSpace(s), "/")
	if !ok {
		return 0, errWant
	}
	seconds, ok := map[string]float64{"s": 1, "m": 60, "h": 3600}[per]
	if !ok {
		return 0, errWant
	}
	n, ok := parseDecimal(number)
	if !ok || n <= 0 || n/seconds > 1e9 || n/seconds < 1e-6 {
		return 0, errWant
	}
	return n / seconds, nil
}

// parseCount reads a whole number from 1 to a thousand million.
func parseCount(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 || n > 1e9 {
		return 0, errors.New("must be a whole number of at least 1, such as 20")
	}
	return int(n), nil
}

// parseRetries reads a number of attempts from 0 to 10.
func parseRetries(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 10 {
		return 0, errors.New("must be a whole number from 0 to 10")
	}
	return int(n), nil
}

// parseQueue reads a number of places of which 0 is none.
func parseQueue(s string) (int, error) {
	if s == "0" {
		return 0, nil
	}
	n, err := parseCount(s)
	if err != nil || n > maxQueue {
		return 0, fmt.Errorf("must be a whole number from 0 to %d", maxQueue)
	}
	return n, nil
}

// maxQueue bounds who waits: each is a connection and its memory.
const maxQueue = 1_000_000

// parseShed reads the name of a way to shed load.
func parseShed(s string) (bool, error) {
	switch s {
	case "adaptive":
		return true, nil
	case "off":
		return false, nil
	}
	return false, errors.New("must be adaptive or off")
}

// parseBalance reads the name of a rule of balancing.
func parseBalance(s string) (backend.Balance, error) {
	b, err := backend.ParseBalance(strings.ToLower(strings.ReplaceAll(s, "_", "-")))
	if err != nil {
		return 0, errors.New("must be p2c, round-robin, least-in-flight or hash")
	}
	return b, nil
}

// maxDuration bounds what a flag may ask for. A year is for ever; more is a typing
// error, and would come near to what sums of durations can hold.
const maxDuration = 366 * 24 * time.Hour

// parsePositive reads a duration above 0.
func parsePositive(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > maxDuration {
		return 0, errors.New("must be a duration above 0, such as 500ms, 15s or 2m")
	}
	return d, nil
}

// parseShare reads a share above 0 and at most 1.
func parseShare(s string) (float64, error) {
	n, ok := parseDecimal(s)
	if !ok || n <= 0 || n > 1 {
		return 0, errors.New("must be a share above 0 and at most 1, such as 0.5")
	}
	return n, nil
}

// parseSpan reads the time of a rolling window.
func parseSpan(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 10*time.Millisecond || d > 24*time.Hour {
		return 0, errors.New("must be a duration from 10ms to 24h, such as 10s")
	}
	return d, nil
}

// parseProxy reads the network of a proxy, or its address.
func parseProxy(s string) (netip.Prefix, error) {
	const want = "must be the network or the address of the proxies in front of this one, such as 10.0.0.0/8 or 192.0.2.1"
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New(want)
	case p.Bits() == 0:
		return netip.Prefix{}, errors.New(want + "; not everybody: any visitor could then say who they are")
	case p.Addr().Is4In6():
		return netip.Prefix{}, errors.New(want + "; an IPv4 network is written as one")
	}
	return p.Masked(), nil
}

// parseInterval reads the time between two checks: a shorter one would be a flood.
func parseInterval(s string) (time.Duration, error) {
	d, err := parsePositive(s)
	if err == nil && d < 10*time.Millisecond {
		return 0, errors.New("must be at least 10ms")
	}
	return d, err
}

// parseWindow reads a duration of which 0 is off.
func parseWindow(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxDuration {
		return 0, errors.New("must be a duration such as 10s, 30m or 24h, or 0 for none")
	}
	return d, nil
}

// parsePath checks the path of a health check.
func parsePath(s string) (string, error) {
	u, err := url.ParseRequestURI(s)
	if err != nil || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") ||
		strings.ContainsAny(s, "# ") || u.Host != "" {
		return "", errors.New("must be a path such as /healthz")
	}
	return s, nil
}

// parseNames reads a list of names of query parameters, of which one may end in
// a star.
func parseNames(s string) ([]string, error) {
	const want = "must be names of query parameters with commas between them, such as utm_*,fbclid"
	var names []string
	for name := range strings.SplitSeq(s, ",") {
		name = strings.TrimSpace(name)
		if name == "" || strings.ContainsAny(name, "=&#? ") || strings.Contains(strings.TrimSuffix(name, "*"), "*") {
			return nil, errors.New(want)
		}
		names = append(names, name)
	}
	return names, nil
}

// dryRuns are the parts that can decide and tell without doing anything.
var dryRuns = []string{"breaker", "eject", "rate", "shed"}

// parseDryRun reads a list of them.
func parseDryRun(s string) ([]string, error) {
	var parts []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); !slices.Contains(dryRuns, part) {
			return nil, fmt.Errorf("must be a list of %s, with commas between them", strings.Join(dryRuns, ", "))
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// parseFile checks the path of a file that is going to be written: its directory
// must be there, or all that was to be kept would be lost at the end.
func parseFile(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", errors.New("must be the path of a file, such as /var/lib/holdfast/pages")
	}
	if info, err := os.Stat(s); err == nil && !info.Mode().IsRegular() {
		return "", errors.New("must be a file, this is something else")
	}
	if info, err := os.Stat(filepath.Dir(s)); err != nil || !info.IsDir() {
		return "", fmt.Errorf("the directory %s must exist", filepath.Dir(s))
	}
	return s, nil
}

// place is where maintenance stands.
type place uint8

const (
	outside place = iota // of the cache: everybody gets the page
	inside               // stored pages go on
)

// parsePlace reads the name of a place.
func parsePlace(s string) (place, error) {
	switch s {
	case "outside":
		return outside, nil
	case "inside":
		return inside, nil
	}
	return 0, errors.New("must be outside (everybody gets the page) or inside (stored pages go on)")
}

// parseSwitchFile checks the path of a file that somebody is going to put there:
// a typing error would show when it is needed.
func parseSwitchFile(s string) (string, error) {
	if s == "" || strings.ContainsRune(s, 0) {
		return "", errors.New("must be the path of a file, such as /run/holdfast/maintenance")
	}
	if info, err := os.Stat(s); err == nil && !info.Mode().IsRegular() {
		return "", errors.New("must be a file or nothing yet, this is something else")
	}
	if info, err := os.Stat(filepath.Dir(s)); err != nil || !info.IsDir() {
		return "", fmt.Errorf("the directory %s must exist", filepath.Dir(s))
	}
	return s, nil
}

// parseSwitch reads the value of a switch: true or false.
func parseSwitch(s string) (bool, error) {
	on, err := strconv.ParseBool(s)
	if err != nil {
		return false, errors.New("must be true or false, or have no value")
	}
	return on, nil
}
