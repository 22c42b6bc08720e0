// Package admit is one semaphore with one bounded queue.
//
// A [Semaphore] lets as many in as its [Limiter] says at this moment. Who comes
// when it is full waits in line, for a while of its own, or is turned away at
// once. Slots are handed on: nobody who comes later takes one that a waiter is
// to have.
//
// The line is served by class, and in a class in order. In order is the wrong thing once the line has
// been refusing for long: all who are served then have waited almost for as long
// as they can, and some leave the moment they are served. So the newest goes
// first while a strain lasts that is older than [Patience]. A strain begins with
// a refusal (the line was full, or somebody waited in vain), and ends when the
// line was empty, or when nobody was refused for Patience.
package admit
