// Package breaker is a circuit breaker: it stops asking a backend that fails,
// so that visitors are answered at once (from a cache, or with an honest
// error) and the backend gets room to recover.
//
// While it is closed, calls pass, and their verdicts are counted over a rolling
// window. It opens if at least MinVolume verdicts fell in the window and the share
// of failures reaches FailureRatio, or that of slow calls SlowRatio; or after
// failures in a row, which is what protects a site of few requests a minute
// (Consecutive, LocalConsecutive). Then calls are refused for OpenFor with an error
// that matches [ErrOpen] and knows the time left. Then it is half-open: at most
// Trials calls are let through at once to see. If TrialsNeeded of them succeed it
// closes, if one fails it opens again, for longer if the outage goes on. After it
// closed a growing share of calls is admitted over Ramp.
//
// [Breaker.Force] takes the decision out of its hands, Config.DryRun takes the
// effect from its decisions, [Breaker.State] and [Breaker.Explain] show them.
//
// # One verdict per call
//
// A failure is a verdict at once, and so is the end of the call. A call without
// an answer at SlowCall is a failure then, while it goes on undisturbed: a
// backend that hangs trips the breaker though no call has ended. A call that
// was answered (its final header section came) and is still sending its body at
// SlowCall is a success: long downloads and event streams are no failures. In
// half-open the header section is the success, since recovery must not wait for
// a download. What happens to a call after its verdict does not count.
//
// A verdict counts in the moment in which it falls, not in the moment in which
// its call began, and only if the breaker has not changed its phase in between.
//
// What says nothing about the backend is neutral and counts neither way: a
// client that left, a permit that was not used ([failure.ErrUnused]), and
// whatever the table of causes calls neutral. A neutral trial gives its place
// back.
//
// # In front of a handler, of a transport, or as a gate
//
// [Breaker.Handler] wraps any handler and [Breaker.RoundTripper] any transport.
// [Breaker.Allow] is the decision alone;
// it has the form of the gate that the backend package asks before it uses an
// endpoint. [Breaker.AllowCall] also learns when a call was answered, which
// Handler sees by itself.
package breaker
