// Package failure is the shared vocabulary of Holdfast: why a request could
// not be answered as asked, told once and understood everywhere.
//
// [Cause] has one value per reason that an operator must be able to tell
// apart. One table ([Cause.Row], printed in CAUSES.md) says for each what
// status it is sent with, what the Proxy-Status field claims, whether it may
// be retried, what it tells a circuit breaker, whether a stale copy may be
// served instead, whether those who wait for the same fetch share it, and what
// the operator is told. No other package has a mapping of its own.
//
// An [Error] is one failure: its cause, the facts and the wrapped error. It
// travels outward in two ways that always go together. The failing part calls
// [Serve], which first reports the Error to the slot of the request's context
// ([Track], [Report]) and then calls the part's ErrorHandler, [WriteError]
// unless configured otherwise. A layer further out that can do better, a cache
// with a stale copy, say, marks the failure as mended ([Mend]). What is still
// unmended at the outside ([From]) is what the visitor is told.
package failure
