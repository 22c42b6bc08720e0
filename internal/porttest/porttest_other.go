//go:build !unix

// Package porttest keeps TCP ports for tests; not on this system.
package porttest
