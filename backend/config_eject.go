package backend

import (
	"math"
	"time"
)

// Ejection takes an endpoint out of use for a while when the traffic shows that
// it fails. The zero value is on, with the defaults below.
//
// What counts is the row of the failure's cause: a client that left, or a limit
// of this process, says nothing. A lone endpoint is never ejected, nor is the last
// one that could be used. After its time an ejected endpoint is on probation: it
// gets one request per second until one is answered, and one more failure ejects
// it again at once, for twice as long. Answers that are errors (500, 502, 503,
// 504) eject only where the other endpoints do clearly better: where all of them
// fail alike, none is to blame.
type Ejection struct {
	// Off switches ejection off.
	Off bool
	// DryRun has everything decided and reported, and nothing done.
	DryRun bool
	// Consecutive is how many failures in a row eject an endpoint, counting those
	// of Local and answers that are errors. One that took a whole time limit (to
	// connect, TLS, write, first byte, headers, body) counts as two, here and in
	// Local: by default three of them eject, or two of connecting. 0 is 5, negative
	// is refused.
	Consecutive int
	// Local is how many failures in a row to even ask eject an endpoint: no
	// connection, no TLS; 0 is 3, negative is refused.
	Local int
	// BaseTime is how long the first ejection lasts. Each further one takes twice
	// as long as the one before; each time that an endpoint then goes as long
	// without a fault forgives one. 0 is 10 s, negative is refused.
	BaseTime time.Duration
	// MaxTime bounds one ejection; 0 is 5 min, negative is refused. It is at least
	// BaseTime.
	MaxTime time.Duration
	// MaxShare is the share of the endpoints that may be out at once, rounded down,
	// but at least one; 0 is 0.5. It must not be negative or above 1.
	MaxShare float64

	// Interval is how often the success rates of the last ten seconds are
	// compared; 0 is 10 s, negative is refused.
	Interval time.Duration
	// MinVolume is how many attempts an endpoint must have had in the last ten
	// seconds for its success rate to be compared; 0 is 50, negative is refused.
	MinVolume int
	// MinPeers is how many endpoints must have that volume, the one that is judged
	// included; 0 is 3; it must be at least 2.
	MinPeers int
	// Deviations is how many standard deviations an endpoint's success rate must
	// lie below the mean of the better half of the others. It must also lie lower
	// than chance explains, and by a tenth at least. 0 is 1.9; negative: success
	// rates are not compared.
	Deviations float64
}

const (
	defaultConsecutive   = 5
	defaultLocal         = 3
	defaultBaseTime      = 10 * time.Second
	defaultMaxTime       = 5 * time.Minute
	defaultMaxShare      = 0.5
	defaultEjectInterval = 10 * time.Second
	defaultMinVolume     = 50
	defaultMinPeers      = 3
	defaultDeviations    = 1.9
)

// check notes what is wrong with e and fills the defaults in.
func (e *Ejection) check(fail failFunc) {
	for _, n := range []struct {
		name  string
		value *int
		def   int
		least int
	}{
		{"Consecutive", &e.Consecutive, defaultConsecutive, 1},
		{"Local", &e.Local, defaultLocal, 1},
		{"MinVolume", &e.MinVolume, defaultMinVolume, 1},
		{"MinPeers", &e.MinPeers, defaultMinPeers, 2},
	} {
		if *n.value == 0 {
			*n.value = n.def
		}
		if *n.value < n.least {
			fail("Config.Ejection.%s is %d: must be at least %d, or 0 for %d", n.name, *n.value, n.least, n.def)
		}
	}
	maxTime := e.MaxTime
	for _, d := range []durationField{
		{"Ejection.BaseTime", &e.BaseTime, defaultBaseTime, false},
		{"Ejection.MaxTime", &e.MaxTime, max(defaultMaxTime, e.BaseTime), false},
		{"Ejection.Interval", &e.Interval, defaultEjectInterval, false},
	} {
		d.check(fail)
	}
	if maxTime > 0 && maxTime < e.BaseTime {
		fail("Config.Ejection.MaxTime is %v: must be at least BaseTime, which is %v", maxTime, e.BaseTime)
	}
	if e.MaxShare == 0 {
		e.MaxShare = defaultMaxShare
	}
	if !(e.MaxShare > 0 && e.MaxShare <= 1) { // NaN included
		fail("Config.Ejection.MaxShare is %v: must be above 0 and at most 1, or 0 for %v", e.MaxShare, defaultMaxShare)
	}
	if e.Deviations == 0 {
		e.Deviations = defaultDeviations
	}
	if math.IsNaN(e.Deviations) {
		fail("Config.Ejection.Deviations is %v: must be a number, 0 for %v, or negative for none", e.Deviations, defaultDeviations)
	}
}
