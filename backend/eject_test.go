package backend

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

func ejectionDefaults(t *testing.T, e Ejection) *Ejection {
	t.Helper()
	e.check(func(format string, args ...any) { t.Errorf(format, args...) })
	return &e
}

func TestStreak(t *testing.T) {
	const (
		l = 'l' // could not even ask
		f = 'f' // failed
		e = 'e' // answered with an error
		L = 'L' // could not even ask, and took a whole time limit for it
		F = 'F' // failed so
	)
	cfg := ejectionDefaults(t, Ejection{})
	for run, want := range map[string]grounds{
		"l": noGrounds, "ll": noGrounds, "lll": unreachable,
		"ffff": noGrounds, "fffff": failing, "llfff": failing, "llff": noGrounds,
		"eeee": noGrounds, "eeeee": erring, "fffe": noGrounds, "fffee": erring, "eeelll": unreachable,
		"F": noGrounds, "FF": noGrounds, "FFF": failing, "fFF": failing, "ffF": noGrounds, "L": noGrounds, "LL": unreachable, "lL": unreachable,
		"FL": noGrounds, "FFL": failing, "eFF": erring, "eeeF": erring, "eF": noGrounds,
	} {
		var s streak
		var got grounds
		for _, c := range run {
			v := failure.BackendFailure
			if c == l || c == L {
				v = failure.LocalFailure
			}
			s, got = s.next(v, c == e, c == L || c == F, cfg)
		}
		if s.length() != len(run) {
			t.Errorf("%s is %d long, want %d", run, s.length(), len(run))
		}
		if got != want {
			t.Errorf("%s = %v, want %v", run, got, want)
		}
		_ = f
	}
}

func TestSentence(t *testing.T) {
	cfg := ejectionDefaults(t, Ejection{BaseTime: time.Second, MaxTime: 10 * time.Second})
	second := int64(time.Second)
	var s sentence
	now := second
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		s = s.next(now, cfg)
		if s.length != want*time.Second || s.until != now+int64(s.length) {
			t.Errorf("ejection %d lasts %v, want %v", i+1, s.length, want*time.Second)
		}
		now = s.until + 1
	}
	// It answers, and then goes without a fault for a while.
	s.at, s.until, s.released = 0, 0, now
	for _, test := range []struct {
		after int64
		want  int
	}{{0, 6}, {9 * second, 6}, {10 * second, 5}, {35 * second, 3}, {60 * second, 0}, {math.MaxInt64 / 2, 0}} {
		if got := s.remembered(now+test.after, cfg); got != test.want {
			t.Errorf("after %v it remembers %d ejections, want %d", time.Duration(test.after), got, test.want)
		}
	}
	if got := s.next(now+60*second, cfg); got.length != time.Second || got.times != 1 {
		t.Errorf("forgiven, it is ejected for %v, want 1s", got.length)
	}
}

func TestSentenceDoesNotOverflow(t *testing.T) {
	cfg := ejectionDefaults(t, Ejection{BaseTime: time.Nanosecond, MaxTime: math.MaxInt64 / 4})
	s := sentence{times: 1000, until: 1}
	if got := s.next(1, cfg); got.length != cfg.MaxTime {
		t.Errorf("the thousandth ejection lasts %v, want %v", got.length, cfg.MaxTime)
	}
}

func TestMayEject(t *testing.T) {
	for _, test := range []struct {
		share            float64
		all, out, others int
		want             bool
	}{
		{0.5, 1, 0, 0, false}, // the only one
		{0.5, 2, 0, 1, true},
		{0.5, 2, 0, 0, false}, // the last that could be used
		{0.5, 2, 1, 0, false},
		{0.5, 3, 0, 2, true},
		{0.5, 3, 1, 1, false},
		{0.1, 3, 0, 2, true}, // one at least
		{0.5, 4, 1, 2, true},
		{0.5, 4, 2, 1, false},
		{1, 4, 3, 0, false},
		{1, 4, 2, 1, true},
	} {
		cfg := ejectionDefaults(t, Ejection{MaxShare: test.share})
		if got := mayEject(cfg, test.all, test.out, test.others); got != test.want {
			t.Errorf("mayEject(share %v, all %d, out %d, others %d) = %v, want %v", test.share, test.all, test.out, test.others, got, test.want)
		}
	}
}

func TestBlamed(t *testing.T) {
	run := streak{erred: 5}
	for _, test := range []struct {
		name       string
		own, peers [2]tally
		want       bool
	}{
		{"all fail alike", [2]tally{{0, 50}, {0, 50}}, [2]tally{{0, 100}, {0, 100}}, false},
		{"only this one", [2]tally{{0, 50}, {100, 50}}, [2]tally{{100, 0}, {900, 0}}, true},
		{"a third of all requests", [2]tally{{66, 34}, {660, 340}}, [2]tally{{130, 70}, {1300, 700}}, false},
		{"somewhat worse", [2]tally{{50, 50}, {50, 50}}, [2]tally{{140, 60}, {140, 60}}, false},
		{"a short window decides", [2]tally{{0, 6}, {1000, 6}}, [2]tally{{12, 0}, {2000, 0}}, true},
		{"little traffic: the long window", [2]tally{{0, 1}, {0, 5}}, [2]tally{{2, 0}, {10, 0}}, true},
		{"hardly any: the streak", [2]tally{{}, {0, 1}}, [2]tally{{}, {1, 0}}, true},
		{"hardly any, and they fail too", [2]tally{{}, {0, 1}}, [2]tally{{}, {0, 1}}, false},
		{"nobody to compare with", [2]tally{{0, 50}, {0, 50}}, [2]tally{}, false},
	} {
		if got := blamed(test.own, test.peers, run); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestLowest(t *testing.T) {
	of := func(rates ...float64) []tally {
		var all []tally
		for _, r := range rates {
			all = append(all, tally{good: int(r * 1000), bad: 1000 - int(r*1000)})
		}
		return all
	}
	for _, test := range []struct {
		name    string
		cfg     Ejection
		tallies []tally
		want    []int
	}{
		{"all alike", Ejection{}, of(0.99, 0.98, 0.99), nil},
		{"one of three", Ejection{}, of(0.99, 0.5, 1), []int{1}},
		{"one of three, by less than a tenth", Ejection{}, of(1, 0.92, 1), nil},
		{"two of five, the worst first", Ejection{}, of(1, 0.6, 1, 0.5, 1), []int{3, 1}},
		{"all bad", Ejection{}, of(0.5, 0.5, 0.5, 0.52), nil},
		{"the best is the measure", Ejection{}, of(0.2, 0.5, 0.9), []int{0, 1}},
		{"who is worse than one that is too bad is so too", Ejection{}, of(0.4, 0.5, 0.9), []int{0, 1}},
		{"two are too few", Ejection{}, of(1, 0.1), nil},
		{"two are enough if it is said so", Ejection{MinPeers: 2}, of(1, 0.1), []int{1}},
		{"switched off", Ejection{Deviations: -1}, of(0.99, 0.5, 1), nil},
		{"too little volume", Ejection{}, []tally{{0, 49}, {49, 0}, {49, 0}}, nil},
		{"volume of two alone", Ejection{}, []tally{{0, 50}, {50, 0}, {49, 0}}, nil},
		{"chance", Ejection{}, []tally{{40, 10}, {90, 10}, {91, 9}}, nil},
		{"not chance", Ejection{}, []tally{{400, 100}, {900, 10}, {910, 9}}, []int{0}},
		{"nothing", Ejection{}, nil, nil},
	} {
		if got := lowest(test.tallies, ejectionDefaults(t, test.cfg)); !slices.Equal(got, test.want) {
			t.Errorf("%s: lowest = %v, want %v", test.name, got, test.want)
		}
	}
}
