//go:build race

package errorpage

const raceEnabled = true
