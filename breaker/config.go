package breaker

import (
	"context"
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Config configures a [Breaker]. The zero Config works.
type Config struct {
	// Name identifies the breaker in errors and events. "" is "breaker".
	Name string

	// Window is the time over which verdicts are counted. It rolls in ten
	// buckets, so that a verdict counts for at least nine tenths of it. 0 is
	// 10 s; otherwise from 10 ms to 24 h.
	Window time.Duration

	// MinVolume is how many verdicts (of calls; not those in flight, nothing
	// neutral) must have fallen in the window before a ratio counts. 0 is 20, two
	// a second: fewer make a ratio of one unlucky page. Where traffic never
	// reaches it, runs of failures open (Consecutive). Negative is an error.
	//
	// As many calls in a row that have no answer at SlowCall, none answered between
	// them, open whatever the ratio is: a backend that stalls under load is noticed
	// after SlowCall, not when it has filled half of the window.
	//
	// While the breaker recovers (Ramp), five are enough for both.
	MinVolume int

	// FailureRatio is the share of failures among those verdicts at which the
	// breaker opens. 0 is 0.5: while more than half is answered well, refusing
	// everybody does more harm than the failures. Otherwise above 0 and at most 1.
	FailureRatio float64

	// Consecutive is how many failures in a row, with no success between them,
	// open the breaker, however few they are and however long they take.
	//
	// 0 is automatic, for sites with so few requests that MinVolume is never
	// reached, where each visitor would wait for a timeout: five in a row that
	// brought no answer at all and are spread over at least Window. A 5xx is an
	// answer: one broken page that a robot asks for again and again must not
	// close the others. With more traffic that rule never decides, the ratio does.
	//
	// A positive number counts any failure and opens in the same moment: under
	// much traffic with a few failures it will happen by chance (five in a row,
	// of one in ten and a thousand a second, every two minutes). Negative is never.
	Consecutive int

	// LocalConsecutive is the same for failures to reach the backend at all
	// ([failure.LocalFailure]: no such name, nothing listens, no handshake), which
	// count among all others, too. A success ends such a run and so does any other
	// failure of a backend that was reached.
	//
	// 0 is automatic: five in a row that are spread over at least OpenFor. There is
	// no doubt about a backend that is gone, however good the window's ratio still
	// is; but a restart that takes less than OpenFor must not be made longer by
	// refusing for OpenFor. A positive number opens in the same moment, negative is
	// never.
	LocalConsecutive int

	// OpenFor is how long calls are refused before trials are let through, give or
	// take Jitter. 0 is 5 s: long against a restart's last second, short against a
	// visitor's patience. Negative is an error.
	OpenFor time.Duration

	// OpenMax bounds how OpenFor grows while an outage goes on: a breaker that has
	// to open again stays open for a tenth of the time since the outage began, at
	// least OpenFor and at most OpenMax. So recovery is noticed with a delay of a
	// tenth of the outage, a short outage is not made longer by growth, and a long
	// one costs few trials. The outage is over when the breaker was closed for
	// Window, Ramp, or as long as it was open last, whichever is longest.
	//
	// 0 is ten times OpenFor, at least 60 s; the same as OpenFor is no growth;
	// less, or negative, is an error.
	OpenMax time.Duration

	// Jitter is by how much an open time differs at random, as a share of it: of
	// many breakers that opened in one moment not all try in one. What is told (in
	// Retry-After, State) is the time as it is. 0 is 0.2, that is ±20 %; negative
	// is none; 1 and more is an error.
	Jitter float64

	// Trials is how many calls are let through at once while half-open. 0 is 3: a
	// backend that is dead is asked no more than that, and its visitors wait no
	// longer for it; negative is an error.
	Trials int

	// TrialsNeeded is how many trials must succeed, without a failure among them,
	// to close the breaker. If it is more than Trials they are made one after the
	// other, Trials at a time. If it is less the first that succeed close it. 0 is
	// as many as Trials; negative is an error.
	TrialsNeeded int

	// Ramp is the time after closing over which a growing share of calls is
	// admitted, from none to all of them in a straight line, and the others are
	// refused: a backend that just came back has cold caches, and everybody waits
	// for it. But 20 calls at first, and 10 more each second, are always admitted,
	// so that little traffic notices nothing. Which calls is no matter of chance:
	// at 40 %, two of five.
	//
	// 0 is as long as OpenFor, at most 10 s; negative is none.
	Ramp time.Duration

	// SlowCall is the time at which a call that goes on gets its verdict: a
	// failure if it was not answered yet, a success if it was. Its own course
	// is not disturbed. Set it to what is broken rather than slow: a backend
	// whose every page takes longer is cut off.
	//
	// A positive SlowCall must be shorter than half of Window, so that the slow
	// calls that are counted are of the same time as the quick ones beside
	// them. With [Breaker.Allow], where nobody tells of the answer, it is the
	// time until done is called; not so with [Breaker.AllowCall].
	//
	// With a SlowRatio a call without an answer at SlowCall is slow instead of
	// failed; see there.
	//
	// 0 judges nothing for being slow, only for being hung: it is 60 s, longer
	// than working backends take to begin an answer, and does not apply to
	// Allow. (Holdfast's own backend fails a call without a first byte sooner,
	// and that counts as a failure anyway.) Negative is never.
	SlowCall time.Duration

	// SlowRatio is the share of slow calls among the verdicts of the window at
	// which the breaker opens, from MinVolume on, though they end well. A call is
	// slow if it has no answer at SlowCall, which must be set; it is counted then,
	// while it goes on, so that a backend that stalls opens the breaker though no
	// call has ended. If it fails in the end it is a failure, too, and one call all
	// the same; a slow trial has failed. 0 has no verdict of slowness: what goes on
	// unanswered at SlowCall has failed. Otherwise above 0 and at most 1.
	//
	// Set it where waiting is worse than the breaker's answer, since there is a
	// cache with stale pages or a second backend: at 0.8 or so, for when nearly
	// everything is slow.
	SlowRatio float64

	// Silence is after what time calls without an answer open the breaker, if there
	// are MinVolume of them and nobody else was answered for as long: the backend
	// has stalled. Unlike SlowCall it calls nobody failed, and it is kept from backends
	// that merely have slow pages: they go on answering others; and once a call that
	// took longer was answered all the same, this rule rests for a day. Nor does it
	// apply before the first answer.
	//
	// It does not apply to [Breaker.Allow], where nobody tells of answers. 0 is none;
	// otherwise from 1 ms to 30 s, and without SlowCall, which is for those who know
	// better.
	Silence time.Duration

	// TrialTimeout is the time after which a trial without a verdict counts as
	// failed, so that a lost one can't keep the breaker half-open for good. It
	// should exceed the time that the backend is given for an answer. 0 is
	// 20 s; negative is an error.
	TrialTimeout time.Duration

	// TrialRelease is how long a trial without an answer keeps another one from
	// being tried in its place. Its own verdict counts whenever it comes while the
	// phase lasts, so a backend that is merely slow closes the breaker, and one
	// that is well again need not wait until the calls that hung have timed out. At
	// most 32 trials are released at a time. 0 = as long as they go on; negative is
	// an error.
	TrialRelease time.Duration

	// IsFailure decides what is a failure, in place of the table of causes. It
	// is asked with the failure that was reported during the call, nil if there
	// was none, and the status, 0 if there is none. (An error that is none of
	// ours, given to a done func of Allow, comes wrapped in one without a
	// cause.) What it does not call a failure is a success, unless the table
	// calls the reported failure neutral. It is not asked about clients that
	// left, aborted handlers, unused permits, slow calls and panics. It runs on
	// the goroutine of the call, under no lock.
	IsFailure func(*failure.Error, int) bool

	// DryRun has everything decided and told to Observe (with DryRun set), and
	// nobody refused, whatever [Breaker.Force] says. What would have been refused
	// is not counted. As a backend in trouble gets no rest this way, it takes
	// longer to recover than it would.
	DryRun bool

	// ErrorHandler answers the requests that Handler refuses. nil is
	// [failure.WriteError].
	ErrorHandler failure.ErrorHandler

	// Observe is told of every change of phase and every refusal, also of those
	// of a dry run; nil is nobody. It runs on the goroutine of a call or of its timer, under no
	// lock, one change after the other in their order, and may call the
	// Breaker. The context is that of the request that brought it about where
	// Handler knows it.
	Observe func(context.Context, Event)
}
