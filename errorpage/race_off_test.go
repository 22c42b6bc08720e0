//go:build !race

package errorpage

const raceEnabled = false
