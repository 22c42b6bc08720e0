// Package semantics has the rules of HTTP caching (RFC 9110, RFC 9111, RFC
// 5861, RFC 9211, RFC 9213) as pure functions over values: no I/O, no lock, no
// clock. The cache calls them and does what they say.
//
// Whatever is malformed is read the safe way: freshness that can't be
// understood is none, a restriction that can't be understood applies in full.
package semantics
