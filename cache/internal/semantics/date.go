package semantics

import (
	"net/http"
	"time"
)

// ParseDate reads an HTTP-date in any of the three forms (RFC 9110 section
// 5.6.7), and nothing else: no other zone, no missing zero, no wrong day name.
func ParseDate(s string) (time.Time, bool) {
	// The parser of package time is lenient: it skips spaces, takes any zone
	// abbreviation, any letter case and any name of a day. What it understood is
	// therefore written again and compared.
	switch {
	case len(s) == len(http.TimeFormat) && s[3] == ',':
		return exactly(http.TimeFormat, s)
	case len(s) == len(time.ANSIC):
		return exactly(time.ANSIC, s)
	}
	t, ok := exactly(rfc850, s)
	return t, ok
}

const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"

func exactly(layout, s string) (time.Time, bool) {
	t, err := time.Parse(layout, s)
	if err != nil || t.Format(layout) != s {
		return time.Time{}, false
	}
	return t, true
}

// FormatDate writes t as an IMF-fixdate.
func FormatDate(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// singleDate reads a date from a field of one line. ok is false where the
// field is there but is no date, or is there several times with different
// values; present tells whether it is there at all.
func singleDate(lines []string) (t time.Time, ok, present bool) {
	if len(lines) == 0 {
		return time.Time{}, false, false
	}
	for _, other := range lines[1:] {
		if other != lines[0] {
			return time.Time{}, false, true
		}
	}
	t, ok = ParseDate(lines[0])
	return t, ok, true
}
