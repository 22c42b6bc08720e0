package backend

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// grounds is what speaks for an ejection.
type grounds uint8

const (
	noGrounds   grounds = iota
	unreachable         // too many attempts in a row could not even ask
	failing             // too many failed in a row
	erring              // too many failed in a row, and only counting errors that were answered
	worse               // the success rate is far below that of the others
	relapse             // a failure on probation
	erringAgain         // an error that was answered on probation
)

// disproved tells that one answer does away with the grounds.
func (g grounds) disproved() bool { return g == unreachable || g == failing || g == relapse }

// streak is the failures since the last success.
type streak struct {
	local, failed, erred  int
	stalledLocal, stalled int // of local, of failed: those that took a whole time limit
}

// next is the streak with one more failure, and what it amounts to. One that
// took a whole time limit counts twice: each costs a visitor all of that time,
// and an endpoint that stalls is given few requests to show it.
func (s streak) next(v failure.Verdict, erred, stalled bool, cfg *Ejection) (streak, grounds) {
	switch {
	case v == failure.LocalFailure:
		if s.local++; stalled {
			s.stalledLocal++
		}
	case erred:
		s.erred++
	default:
		if s.failed++; stalled {
			s.stalled++
		}
	}
	local := s.local + s.stalledLocal
	failed := local + s.failed + s.stalled
	switch {
	case local >= cfg.Local:
		return s, unreachable
	case failed >= cfg.Consecutive:
		return s, failing
	case failed+s.erred >= cfg.Consecutive:
		return s, erring
	}
	return s, noGrounds
}

func (s streak) length() int { return s.local + s.failed + s.erred }

// clearlyBetter tells whether those that stand beside an endpoint do so much
// better that the fault lies with it, and not with what all are asked.
func clearlyBetter(own, peers tally) bool {
	return peers.volume() > 0 && peers.failing() <= own.failing()/2 && own.failing()-peers.failing() >= 0.3
}

// enough is the volume from which on a tally tells something.
const enough = 5

// blamed compares what an endpoint answered of late with what the others did,
// over the shortest time that tells something. The windows are the last two
// seconds and the last ten.
func blamed(own, peers [2]tally, run streak) bool {
	for i := range own {
		if own[i].volume() >= enough && peers[i].volume() >= enough {
			return clearlyBetter(own[i], peers[i])
		}
	}
	return clearlyBetter(tally{bad: run.length()}, peers[1])
}

// sentence is how long and why an endpoint is ejected, or was. Times are as
// evidence has them.
type sentence struct {
	times     int   // ejections that are not forgiven
	at, until int64 // of the ejection that lasts, or whose probation does; 0: none
	released  int64 // when the last one ended with an answer
	length    time.Duration
	grounds   grounds
	cause     failure.Cause // of the last failure
	why       string
}

// next is the sentence of one more ejection.
func (s sentence) next(now int64, cfg *Ejection) sentence {
	s.times = s.remembered(now, cfg) + 1
	s.length = cfg.BaseTime
	for range s.times - 1 {
		if s.length >= cfg.MaxTime/2 {
			s.length = cfg.MaxTime
			break
		}
		s.length *= 2
	}
	s.at, s.until = now, now+int64(s.length)
	return s
}

// remembered is how many ejections still count: each time as long as the last
// one without a fault forgives one.
func (s sentence) remembered(now int64, cfg *Ejection) int {
	if s.until != 0 || s.times == 0 {
		return s.times // on probation
	}
	forgiven := (now - s.released) / int64(max(s.length, cfg.BaseTime))
	return max(0, s.times-int(min(forgiven, int64(s.times))))
}

// mayEject tells whether one more of all endpoints may be out, of which out are
// and others could be used beside it.
func mayEject(cfg *Ejection, all, out, others int) bool {
	return others >= 1 && out < max(1, int(cfg.MaxShare*float64(all)))
}

// lowest are the endpoints whose success rates lie too far below those of the
// others, the worst first, as indexes into tallies.
//
// The mean of all would be drawn down by the very endpoint that is judged: of
// three none can lie two standard deviations below it. So each one is compared
// with the better half of the others. A difference that chance explains (three
// standard errors), or of less than a tenth, does not count.
func lowest(tallies []tally, cfg *Ejection) []int {
	var who []int
	for i, t := range tallies {
		if t.volume() >= cfg.MinVolume {
			who = append(who, i)
		}
	}
	if len(who) < cfg.MinPeers || cfg.Deviations < 0 {
		return nil
	}
	rate := func(i int) float64 { return 1 - tallies[i].failing() }
	slices.SortStableFunc(who, func(a, b int) int { return cmp.Compare(rate(a), rate(b)) })
	half := (len(who) + 1) / 2
	low := 0
	for at, i := range who[:len(who)-1] {
		better := who[max(at+1, len(who)-half):]
		mean, deviation := meanOf(better, rate)
		gap := max(cfg.Deviations*deviation, 3*math.Sqrt(mean*(1-mean)/float64(tallies[i].volume())), 0.1)
		if rate(i) < mean-gap {
			low = at + 1 // and those that are worse still
		}
	}
	return who[:low]
}

// meanOf is the mean and the standard deviation of what rate says of who.
func meanOf(who []int, rate func(int) float64) (mean, deviation float64) {
	for _, i := range who {
		mean += rate(i)
	}
	mean /= float64(len(who))
	for _, i := range who {
		deviation += (rate(i) - mean) * (rate(i) - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(who)))
}
