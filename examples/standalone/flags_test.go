package main

import (
	"bytes"
	"flag"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/backend"
)

// runArgs runs the program to its end in this process.
func runArgs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongFlags(t *testing.T) {
	const site = "-backend=http://127.0.0.1:3000"
	for _, tt := range []struct {
		args []string
		flag string // what the line must name
		say  string // and what it must say
	}{
		{[]string{"-listen=8080", site}, "-listen", "HOST:PORT"},
		{[]string{"-listen=:80x", site}, "-listen", "0 to 65535"},
		{[]string{"-listen=:65536", site}, "-listen", "0 to 65535"},
		{[]string{"-listen=:-1", site}, "-listen", "0 to 65535"},
		{[]string{"-listen=:http", site}, "-listen", "0 to 65535"},
		{[]string{"-listen=127.0.0.1:", site}, "-listen", "0 to 65535"},
		{[]string{"-listen=", site}, "-listen", "HOST:PORT"},
		{[]string{"-listen=::1:80", site}, "-listen", "HOST:PORT"},
		{[]string{"-listen=300.1.1.1:80", site}, "-listen", "neither an IP address nor a name"},
		{[]string{"-listen=a b:80", site}, "-listen", "neither an IP address nor a name"},
		{[]string{"-listen=http://127.0.0.1:80", site}, "-listen", "HOST:PORT"},
		{[]string{"-listen=:1", "-listen=:2", site}, "-listen", "once"},
		{[]string{"-listen"}, "-listen", "needs an argument"},
		{[]string{"-admin=x", site}, "-admin", "HOST:PORT"},
		{[]string{"-admin=127.0.0.1:8080", site}, "-admin", "another address than -listen"},
		{[]string{"-admin=localhost:8080", site}, "-admin", "another address than -listen"},
		{[]string{"-listen=:8081", site}, "-admin", "another address than -listen"},
		{[]string{"-listen=[::]:8081", site}, "-admin", "another address than -listen"},
		{[]string{"-backend="}, "-backend", "must be a URL"},
		{[]string{"-backend=127.0.0.1:3000"}, "-backend", "is http://127.0.0.1:3000 meant?"},
		{[]string{"-backend=localhost:3000"}, "-backend", "is http://localhost:3000 meant?"},
		{[]string{"-backend=ftp://a"}, "-backend", "schemes: http, https, h2c"},
		{[]string{"-backend=unix://run/a.sock"}, "-backend", "unix:///run/app.sock"},
		{[]string{"-backend=unix:a.sock"}, "-backend", "unix:///run/app.sock"},
		{[]string{"-backend=unix:///run/"}, "-backend", "unix:///run/app.sock"},
		{[]string{"-backend=h2://u:p@a"}, "-backend", "user or password"},
		{[]string{"-backend=http://"}, "-backend", "must be a URL"},
		{[]string{"-backend=http:///x"}, "-backend", "must be a URL"},
		{[]string{"-backend=http:a"}, "-backend", "must be a URL"},
		{[]string{"-backend=http://a:"}, "-backend", "port"},
		{[]string{"-backend=http://a:0"}, "-backend", "1 to 65535"},
		{[]string{"-backend=http://a:99999"}, "-backend", "1 to 65535"},
		{[]string{"-backend=http://u:p@a"}, "-backend", "user or password"},
		{[]string{"-backend=http://a/?q"}, "-backend", "query"},
		{[]string{"-backend=http://a/?"}, "-backend", "query"},
		{[]string{"-backend=http://a/#f"}, "-backend", "fragment"},
		{[]string{"-backend=http://a\nb"}, "-backend", "must be a URL"},
		{[]string{site, site}, "-backend", "once"},
		{[]string{"-backend=http://127.0.0.1:8080"}, "-backend", "this proxy's own -listen"},
		{[]string{"-backend=http://localhost:8081"}, "-backend", "this proxy's own -admin"},
		{[]string{"-backend=http://localhost", "-listen=:80"}, "-backend", "this proxy's own -listen"},
		{[]string{"-backend=http://127.0.0.9", "-listen=:80"}, "-backend", "this proxy's own -listen"},
		{[]string{"-backend=https://[::]", "-admin=:443"}, "-backend", "this proxy's own -admin"},
		{[]string{"-listen=:9000"}, "-backend", "is missing"},
		{[]string{"-cache-memory=", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=lots", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=-64MB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=1e9", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=64XB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=0x10MB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=1.2.3MB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=MB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=99999999999TB", site}, "-cache-memory", "such as 64MB"},
		{[]string{"-cache-memory=64", site}, "-cache-memory", "at least 1MiB"},
		{[]string{"-cache-memory=0", site}, "-cache-memory", "at least 1MiB"},
		{[]string{"-cache-memory=100TB", site}, "-cache-memory", "at most 1TiB"}, // used to end in a crash for want of memory
		{[]string{"-backend=http://127.0.0.1:3000", "-backend=http://127.0.0.1:3000/"}, "-backend", "once"},
		{[]string{"-backend=http://site.example", "-backend=http://SITE.example:80"}, "-backend", "once"},
		{[]string{"-stale-if-error=24", site}, "-stale-if-error", "24h"},
		{[]string{"-stale-if-error=-1s", site}, "-stale-if-error", "0 for none"},
		{[]string{"-stale-if-error=1d", site}, "-stale-if-error", "24h"},
		{[]string{"-stale-if-error=9000h", site}, "-stale-if-error", "24h"},
		{[]string{"-max-object=0", site}, "-max-object", "at least 1B"},
		{[]string{"-max-object=big", site}, "-max-object", "such as 64MB"},
		{[]string{"-max-object=9MiB", site}, "-max-object", "an eighth of -cache-memory"},
		{[]string{"-max-object=1MiB", "-cache-memory=1MiB", site}, "-max-object", "an eighth of -cache-memory"},
		{[]string{"-stale-while-revalidate=-1s", site}, "-stale-while-revalidate", "0 for none"},
		{[]string{"-stale-while-revalidate=10", site}, "-stale-while-revalidate", "such as 10s"},
		{[]string{"-stale-if-slow=soon", site}, "-stale-if-slow", "such as 10s"},
		{[]string{"-key-ignore-query=", site}, "-key-ignore-query", "utm_*,fbclid"},
		{[]string{"-key-ignore-query=a,,b", site}, "-key-ignore-query", "utm_*,fbclid"},
		{[]string{"-key-ignore-query=a=b", site}, "-key-ignore-query", "utm_*,fbclid"},
		{[]string{"-key-ignore-query=*m", site}, "-key-ignore-query", "utm_*,fbclid"},
		{[]string{"-compress=often", site}, "-compress", "true or false"},
		{[]string{"-snapshot=", site}, "-snapshot", "the path of a file"},
		{[]string{"-snapshot=/", site}, "-snapshot", "something else"},
		{[]string{"-snapshot=/no/such/directory/pages", site}, "-snapshot", "/no/such/directory must exist"},
		{[]string{"-demo", "-snapshot=pages"}, "-snapshot", "needs -backend"},
		{[]string{"-brand=", site}, "-brand", "a name of at most 100 bytes"},
		{[]string{"-brand=  ", site}, "-brand", "a name of at most 100 bytes"},
		{[]string{"-brand=a\nb", site}, "-brand", "in one line"},
		{[]string{"-brand=a\xff", site}, "-brand", "UTF-8"},
		{[]string{"-brand=" + strings.Repeat("a", 101), site}, "-brand", "100 bytes"},
		{[]string{"-brand=a", "-brand=b", site}, "-brand", "once"},
		{[]string{"-brand-color=", site}, "-brand-color", "such as #0f766e, 0f766e or 07f"},
		{[]string{"-brand-color=teal", site}, "-brand-color", "hexadecimal digits"},
		{[]string{"-brand-color=#12", site}, "-brand-color", "3 or 6"},
		{[]string{"-brand-color=#12345678", site}, "-brand-color", "3 or 6"},
		{[]string{"-brand-color=##123", site}, "-brand-color", "3 or 6"},
		{[]string{"-brand-color=#12345g", site}, "-brand-color", "hexadecimal digits"},
		{[]string{"-brand-color=#fff;}", site}, "-brand-color", "hexadecimal digits"},
		{[]string{"-locales=", site}, "-locales", `"" is none of en, de`},
		{[]string{"-locales=en,", site}, "-locales", `"" is none of en, de`},
		{[]string{"-locales=en,xx", site}, "-locales", `"xx" is none of en, de, fr, es, pt, ar, ja and zh-Hans`},
		{[]string{"-locales=en de", site}, "-locales", "with commas between them"},
		{[]string{"-locales=english", site}, "-locales", "such as de-AT"},
		{[]string{"-locales=en,de,en", site}, "-locales", "must be different languages"},
		{[]string{"-locales=" + strings.Repeat("en,", 400), site}, "-locales", "at most 1000 bytes"},
		{[]string{"-maintenance-file=", site}, "-maintenance-file", "such as /run/holdfast/maintenance"},
		{[]string{"-maintenance-file=/", site}, "-maintenance-file", "a file or nothing yet"},
		{[]string{"-maintenance-file=/no/such/directory/maintenance", site}, "-maintenance-file", "/no/such/directory must exist"},
		{[]string{"-maintenance-place=inside", site}, "-maintenance-place", "needs -maintenance-file"},
		{[]string{"-maintenance-file=m", "-maintenance-place=beside", site}, "-maintenance-place", "outside (everybody gets the page) or inside"},
		{[]string{"-intercept-5xx=502", site}, "-intercept-5xx", "true or false"},
		{[]string{"-store-set-cookie=maybe", site}, "-store-set-cookie", "true or false"},
		{[]string{"-rate=10", site}, "-rate", "10/s"},
		{[]string{"-rate=0/s", site}, "-rate", "above 0"},
		{[]string{"-rate=-1/s", site}, "-rate", "above 0"},
		{[]string{"-rate=NaN/s", site}, "-rate", "above 0"},
		{[]string{"-rate=Inf/s", site}, "-rate", "above 0"},
		{[]string{"-rate=1e400/s", site}, "-rate", "above 0"},
		{[]string{"-rate=10/d", site}, "-rate", "second, minute or hour"},
		{[]string{"-rate=10/s/s", site}, "-rate", "10/s"},
		{[]string{"-rate=0.0000000001/h", site}, "-rate", "above 0"},
		{[]string{"-rate=10/s", "-burst=0", site}, "-burst", "at least 1"},
		{[]string{"-rate=10/s", "-burst=-1", site}, "-burst", "at least 1"},
		{[]string{"-rate=10/s", "-burst=2.5", site}, "-burst", "whole number"},
		{[]string{"-rate=10/s", "-burst=99999999999999999999", site}, "-burst", "whole number"},
		{[]string{"-burst=5", site}, "-burst", "needs -rate"},
		{[]string{"-first-byte=0", site}, "-first-byte", "above 0"},
		{[]string{"-first-byte=-1s", site}, "-first-byte", "above 0"},
		{[]string{"-first-byte=15", site}, "-first-byte", "15s"},
		{[]string{"-first-byte=", site}, "-first-byte", "15s"},
		{[]string{"-between-bytes=0s", site}, "-between-bytes", "above 0"},
		{[]string{"-between-bytes=soon", site}, "-between-bytes", "15s"},
		{[]string{"-health=", site}, "-health", "/healthz"},
		{[]string{"-health=healthz", site}, "-health", "/healthz"},
		{[]string{"-health=http://a/healthz", site}, "-health", "/healthz"},
		{[]string{"-health=//a/healthz", site}, "-health", "/healthz"},
		{[]string{"-health=/a b", site}, "-health", "/healthz"},
		{[]string{"-health=/a#b", site}, "-health", "/healthz"},
		{[]string{"-health=/%zz", site}, "-health", "/healthz"},
		{[]string{"-health=/a\nb", site}, "-health", "/healthz"},
		{[]string{"-demo", "-health=/"}, "-health", "needs -backend"},
		{[]string{"-dry-run=cache", site}, "-dry-run", "breaker, eject, rate, shed"},
		{[]string{"-dry-run=", site}, "-dry-run", "breaker, eject, rate, shed"},
		{[]string{"-dry-run=breaker,rate", site}, "-dry-run", "needs -rate"},
		{[]string{"-breaker-ratio=1.1", site}, "-breaker-ratio", "at most 1"},
		{[]string{"-breaker-min=0", site}, "-breaker-min", "at least 1"},
		{[]string{"-breaker-window=1ms", site}, "-breaker-window", "from 10ms to 24h"},
		{[]string{"-breaker-open=0", site}, "-breaker-open", "above 0"},
		{[]string{"-demo", "-breaker-slow=1s"}, "-breaker-slow", "need -backend"},
		{[]string{"-breaker-slow=5s", site}, "-breaker-slow", "half of -breaker-window 10s"},
		{[]string{"-breaker-slow=1s", "-breaker-window=2s", site}, "-breaker-slow", "half of -breaker-window 2s"},
		{[]string{"-trusted-proxy=0.0.0.0/0", site}, "-trusted-proxy", "not everybody"},
		{[]string{"-trusted-proxy=::ffff:10.0.0.0/104", site}, "-trusted-proxy", "10.0.0.0/8"},
		{[]string{"-trusted-proxy=proxy.example", site}, "-trusted-proxy", "10.0.0.0/8"},
		{[]string{"-health-interval=1s", site}, "-health-interval", "needs -health"},
		{[]string{"-health=/", "-health-interval=1ms", site}, "-health-interval", "at least 10ms"},
		{[]string{"-connect=0", site}, "-connect", "above 0"},
		{[]string{"-retries=-1", site}, "-retries", "from 0 to 10"},
		{[]string{"-retries=11", site}, "-retries", "from 0 to 10"},
		{[]string{"-restart-wait=-1s", site}, "-restart-wait", "0 for none"},
		{[]string{"-balance=random", site}, "-balance", "round-robin"},
		{[]string{"-max-in-flight=0", site}, "-max-in-flight", "at least 1"},
		{[]string{"-queue=1", "-shed=off", site}, "-queue", "-max-in-flight"},
		{[]string{"-max-in-flight=1", "-queue=1000001", site}, "-queue", "from 0 to 1000000"},
		{[]string{"-queue-wait=1s", "-shed", "off", site}, "-queue-wait", "-max-in-flight"},
		{[]string{"-shed=on", site}, "-shed", "adaptive or off"},
		{[]string{"-lame-duck=-1s", site}, "-lame-duck", "0 for none"},
		{[]string{"-lame-duck=30s", site}, "-lame-duck", "shorter than -drain-timeout"},
		{[]string{"-drain-timeout=0", site}, "-drain-timeout", "above 0"},
		{[]string{"-drain-timeout=1s", site}, "-drain-timeout", "-lame-duck 2s must be shorter"},
		{[]string{"-demo", site}, "-demo", "exclude each other"},
		{[]string{"-demo=perhaps"}, "-demo", "true or false"},
		{[]string{"-control=:1", site}, "-control", "needs -demo"},
		{[]string{"-demo", "-control=:8080"}, "-control", "another address than -listen"},
		{[]string{"-demo", "-control=127.0.0.1:8081"}, "-control", "another address than -admin"},
		{[]string{"-version=x"}, "-version", "true or false"},
		{[]string{"-lisen=:80"}, "-lisen", "not defined"},
		{[]string{"http://127.0.0.1:3000"}, "-backend http://127.0.0.1:3000 meant?", "unexpected argument"},
		{[]string{site, "more"}, `"more"`, "every setting is a flag"},
		{[]string{site, "mo\nre"}, `"mo\nre"`, "every setting is a flag"},
	} {
		code, stdout, stderr := runArgs(t, tt.args...)
		if code != exitUsage || stdout != "" || strings.Count(stderr, "\n") != 1 ||
			!strings.Contains(stderr, tt.flag) || !strings.Contains(stderr, tt.say) {
			t.Errorf("run(%q) = %d, stdout %q, stderr %q;\nwant %d and one line with %q and %q", tt.args, code, stdout, stderr, exitUsage, tt.flag, tt.say)
		}
	}
}

func TestFlags(t *testing.T) {
	cfg, err := parseFlags([]string{
		"-listen", "[::1]:80", "-admin", ":9", "-backend", "http://a", "-backend", "h2c://a:81/x", "--cache-memory", "1.5GiB",
		"-stale-if-error=0", "-store-set-cookie", "-rate", "90/m", "-burst", "7", "-first-byte", "90s", "-between-bytes", "1m",
		"-health", "/up?deep=1", "-lame-duck=0", "-drain-timeout=1s", "-max-object", "1MB", "-stale-while-revalidate", "10s",
		"-stale-if-slow", "0", "-key-ignore-query", "utm_*, gclid", "-compress", "-snapshot", "pages",
		"-connect", "1s", "-retries", "0", "-restart-wait", "0", "-balance", "least_in_flight", "-max-in-flight", "100", "-queue", "0",
		"-queue-wait", "50ms", "-shed", "off", "-health-interval", "1s",
		"-breaker-ratio", "0.9", "-breaker-min", "5", "-breaker-window", "30s", "-breaker-open", "2s", "-breaker-slow", "4s",
		"-dry-run", "breaker, rate", "-trusted-proxy", "10.1.2.3/8", "-trusted-proxy", "2001:db8::1",
		"-maintenance-file", "m", "-maintenance-place", "inside", "-intercept-5xx",
		"-brand", " Müller & Söhne ", "-brand-color", "0F766e", "-locales", "de-AT, en,zh",
	})
	if err != nil {
		t.Fatal(err)
	}
	urls := make([]string, 0, len(cfg.backends))
	for _, u := range cfg.backends {
		urls = append(urls, u.String())
	}
	if !slices.Equal(urls, []string{"http://a", "h2c://a:81/x"}) {
		t.Errorf("backends = %q", urls)
	}
	cfg.backends = nil
	want := config{
		listen: "[::1]:80", admin: ":9", control: defaultControl, cacheMemory: 3 << 29, storeSetCookie: true, rate: 1.5, burst: 7,
		firstByte: 90 * time.Second, betweenBytes: time.Minute, health: "/up?deep=1", drainTimeout: time.Second,
		maxObject: 1e6, staleWhileRevalidate: 10 * time.Second, keyIgnoreQuery: []string{"utm_*", "gclid"}, compress: true, snapshot: "pages",
		connect: time.Second, balance: backend.LeastInFlight, maxInFlight: 100, queueWait: 50 * time.Millisecond, healthInterval: time.Second,
		breakerRatio: 0.9, breakerMin: 5, breakerWindow: 30 * time.Second, breakerOpen: 2 * time.Second, breakerSlow: 4 * time.Second, dryRun: []string{"breaker", "rate"},
		trustedProxies:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")},
		maintenanceFile: "m", maintenancePlace: inside, intercept5xx: true,
		brand: "Müller & Söhne", brandColor: "#0F766e", locales: []string{"de-AT", "en", "zh"},
	}
	if got, want := sprint(cfg), sprint(want); got != want {
		t.Errorf("parseFlags = %s\nwant         %s", got, want)
	}
}

func TestDefaults(t *testing.T) {
	cfg, err := parseFlags([]string{"-backend", "http://a"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.backends = nil
	want := config{
		listen: "127.0.0.1:8080", admin: "127.0.0.1:8081", control: "127.0.0.1:8082", cacheMemory: 64 << 20, staleIfError: 24 * time.Hour,
		staleIfSlow: 500 * time.Millisecond, firstByte: 15 * time.Second, betweenBytes: 15 * time.Second, lameDuck: 2 * time.Second, drainTimeout: 30 * time.Second,
		connect: 3 * time.Second, retries: -1, restartWait: 2 * time.Second, queue: -1, queueWait: time.Second, shed: true, healthInterval: 500 * time.Millisecond,
	}
	if got, want := sprint(cfg), sprint(want); got != want {
		t.Errorf("defaults = %s\nwant       %s", got, want)
	}
	for _, tt := range []struct {
		args      []string
		firstByte time.Duration
		lameDuck  time.Duration
	}{
		{nil, time.Second, 0},
		{[]string{"-demo"}, time.Second, 0},
		{[]string{"-demo", "-listen=:0"}, time.Second, 0},
		{[]string{"-first-byte=15s", "-demo", "-lame-duck=1s"}, 15 * time.Second, time.Second},
	} {
		cfg, err := parseFlags(tt.args)
		if err != nil || !cfg.demo || cfg.firstByte != tt.firstByte || cfg.lameDuck != tt.lameDuck {
			t.Errorf("parseFlags(%q) = %s, %v; want a demonstration with first byte %v and lame duck %v", tt.args, sprint(cfg), err, tt.firstByte, tt.lameDuck)
		}
	}
}

// The usage text and the flags are two lists; this keeps them one.
func TestUsage(t *testing.T) {
	var defined, documented []string
	newLine(false).flags.VisitAll(func(f *flag.Flag) { defined = append(defined, f.Name) })
	for _, d := range flagDocs {
		documented = append(documented, d.name)
	}
	slices.Sort(defined)
	slices.Sort(documented)
	if !slices.Equal(defined, documented) {
		t.Errorf("flags %q, documented %q", defined, documented)
	}
	for _, args := range [][]string{{"-h"}, {"-help"}, {"--help"}, {"-listen=:1", "-h"}} {
		code, stdout, stderr := runArgs(t, args...)
		if code != exitOK || stderr != "" || stdout != usage() {
			t.Errorf("run(%q) = %d, stdout %q, stderr %q; want the usage on stdout and 0", args, code, stdout, stderr)
		}
	}
	for line := range strings.Lines(usage()) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 100 {
			t.Errorf("a line of the usage has %d columns: %s", n, line)
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := runArgs(t, "-version")
	if code != exitOK || stderr != "" || !strings.HasPrefix(stdout, "holdfast ") || strings.Count(stdout, "\n") != 1 {
		t.Errorf("run(-version) = %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	got := formatVersion(&debug.BuildInfo{
		GoVersion: "go1.26.8",
		Main:      debug.Module{Version: "v1.2.3"},
		Settings:  []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	})
	if !strings.HasPrefix(got, "holdfast v1.2.3 (go1.26.8 ") || !strings.HasSuffix(got, ", commit abc with changes)") {
		t.Errorf("formatVersion = %q", got)
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, args := range [][]string{
		{"-listen", taken, "-admin", "127.0.0.1:0", "-backend", "http://127.0.0.1:9"},
		{"-admin", taken, "-listen", "127.0.0.1:0", "-backend", "http://127.0.0.1:9"},
		{"-listen", taken, "-admin", "127.0.0.1:0", "-control", "127.0.0.1:0", "-demo"},
		{"-control", taken, "-listen", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-demo"},
	} {
		code, stdout, stderr := runArgs(t, args...)
		want := "holdfast: " + args[0] + " " + taken + ": something else listens there"
		if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("run(%q) = %d, stdout %q, stderr %q; want %d and one line %q…", args, code, stdout, stderr, exitFailed, want)
		}
	}
}
