package main

import (
	"fmt"
	"strings"
)

// flagDoc is one flag of the usage text.
type flagDoc struct {
	name, value string
	text        string // lines
}

// flagDocs lists the flags in the order of the usage text. A test keeps it and
// register equal.
var flagDocs = []flagDoc{
	{"backend", "URL", "where the site is: http://, https://, h2c://, h2://HOST[:PORT][/PATH],\nor unix:///PATH of a socket. Repeat it for several endpoints of the\nsame site."},
	{"listen", "ADDR", "where visitors are answered (default 127.0.0.1:8080)"},
	{"admin", "ADDR", "/healthz, /readyz, /metrics, /backends, /purge and /explain; keep it\nprivate (default 127.0.0.1:8081)"},
	{"cache-memory", "SIZE", "memory for stored responses, such as 512MB or 2GiB (default 64MiB)"},
	{"max-object", "SIZE", "the largest page that is stored (default 8MiB, or an eighth of\n-cache-memory, which is the most that it may be)"},
	{"stale-while-revalidate", "D", "how long a stored page may answer at once while a refresh runs behind\nit, where the origin does not say so itself (default 0)"},
	{"stale-if-error", "D", "how long a stored page may stand in for a failing origin that does not\nsay so itself; 0 is not at all (default 24h)"},
	{"stale-if-slow", "D", "how long a visitor waits for a refresh before the stored page answers\nand the refresh goes on; 0 is until it ends (default 500ms)"},
	{"key-ignore-query", "LIST", "parameters that do not change the page, such as utm_*,fbclid: requests\nthat differ in nothing else share it"},
	{"compress", "", "store text as gzip and zstd as well, for clients that take it"},
	{"snapshot", "PATH", "write the stored pages to this file when draining, and begin with them\nat the next start"},
	{"store-set-cookie", "", "store responses that set a cookie, if they say that they may be stored"},
	{"trusted-proxy", "NET", "a proxy in front of this one, as a network or an address: what it says\nof a visitor's address, host and scheme is taken. Repeat it for more"},
	{"rate", "N/s", "requests per client address: 10/s, 600/m (default: no limit)"},
	{"burst", "N", "how many of them may come at once (default: as many as in a second)"},
	{"first-byte", "D", "how long the origin may take to begin its answer (default 15s)"},
	{"between-bytes", "D", "how long it may pause in the middle of one (default 15s)"},
	{"connect", "D", "how long a connection to the origin may take (default 3s)"},
	{"retries", "N", "how many more attempts may follow one that failed, where nothing can be\ndone twice by it; 0 is none (default 1, or 2 with several endpoints)"},
	{"restart-wait", "D", "how long after the site went away requests wait for it to come back\ninstead of failing; 0 is not at all (default 2s)"},
	{"balance", "NAME", "which endpoint is next: p2c (the faster and idler one of two, the\ndefault), round-robin, least-in-flight or hash (the same URL, the same\nendpoint)"},
	{"max-in-flight", "N", "how many requests the site is sent at once (default: what -shed finds\nout)"},
	{"queue", "N", "how many more may wait for one of them to end; 0 is none (default: as\nmany as the site is sent at once)"},
	{"queue-wait", "D", "how long they may wait (default 1s)"},
	{"shed", "HOW", "adaptive: find out by the times of its answers how many requests the\nsite can work on at once, never fewer than 10, and turn the rest away;\noff: send it everything (default adaptive)"},
	{"breaker-ratio", "SHARE", "stop asking an endpoint of whose answers this share fails (default 0.5)"},
	{"breaker-min", "N", "but not before so many have been judged within the window (default 20)"},
	{"breaker-window", "D", "the time over which they are (default 10s)"},
	{"breaker-open", "D", "how long to wait before the next trial (default 1s)"},
	{"breaker-slow", "D", "count what has no answer after this time as failed (default: only\nwhat -first-byte makes of it, but when an endpoint answers nobody any\nmore for a third of that, it is not asked)"},
	{"dry-run", "LIST", "decide and tell (in the log and in /metrics), but do nothing: a list of\nbreaker, eject (of failing endpoints), rate and shed"},
	{"brand", "NAME", "the name of the site, on the pages that visitors get when nothing\nelse is left (default: none)"},
	{"brand-color", "COLOR", "their accent, such as 0f766e; made lighter or darker where it could\nnot be read (default: a calm blue)"},
	{"locales", "LIST", "their languages, such as de,en; the first is for visitors who read\nnone of them (default: en,de,fr,es,pt,ar,ja,zh-Hans)"},
	{"maintenance-file", "PATH", "while this file is there visitors get a page that says so, with status\n503; a time in its first line (2027-01-31T04:00:00Z) is the end"},
	{"maintenance-place", "PLACE", "outside: everybody gets that page; inside: what is stored goes on, and\nthe site is asked for nothing (default outside)"},
	{"intercept-5xx", "", "replace the site's own error pages (500 to 599), too"},
	{"health", "PATH", "ask every endpoint for this path; leave out those that do not answer"},
	{"health-interval", "D", "how often they are asked (default 500ms)"},
	{"lame-duck", "D", "after SIGTERM: go on answering while load balancers learn from /readyz\nto send nothing more (default 2s)"},
	{"drain-timeout", "D", "after SIGTERM: the end of all patience, lame duck included\n(default 30s)"},
	{"demo", "", "the demonstration, for when its addresses need flags"},
	{"control", "ADDR", "the demonstration's control page (default 127.0.0.1:8082)"},
	{"version", "", "print the version"},
}

// usage is the text of -h.
func usage() string {
	var b strings.Builder
	b.WriteString(`Holdfast keeps a site answering while its origin is slow, broken or gone.

  standalone                                     a demonstration with an origin of its own
  standalone -backend http://127.0.0.1:3000      the real thing, in front of yours

Flags
`)
	for _, d := range flagDocs {
		head := "-" + d.name + " " + d.value
		for i, line := range strings.Split(d.text, "\n") {
			if i > 0 {
				head = ""
			}
			fmt.Fprintf(&b, "  %-25s  %s\n", strings.TrimSpace(head), line)
		}
	}
	b.WriteString(`
Durations (D) are written 500ms, 15s, 2m, 24h. Sizes are written 64MB or 64MiB.
SIGTERM or Ctrl-C drains: every request in flight is answered, nothing new is taken.
A second one ends at once.
`)
	return b.String()
}
