//go:build load

package main

import (
	"slices"
	"testing"
	"time"
)

func init() { raced = nil }

// TestLoad prints what overloads come to, as clients see them: the goodput, and how
// long those take who are answered and those who are turned away. make load. The
// middle one of three runs counts: absolute figures are of this machine.
func TestLoad(t *testing.T) {
	inLine := []string{"-queue-wait", overloadInLine.String()}
	for _, tt := range []struct {
		name string
		site workforce
		args []string
		well bool
	}{
		{"20 workers of 50 ms, by default", workforce{20, 50 * time.Millisecond}, inLine, true},
		{"20 workers of 50 ms, the capacity given", workforce{20, 50 * time.Millisecond}, append([]string{"-max-in-flight", "20"}, inLine...), true},
		{"20 workers of 50 ms, without protection", workforce{20, 50 * time.Millisecond}, []string{"-shed", "off"}, false},
		{"10 workers of 100 ms, by default", workforce{10, 100 * time.Millisecond}, inLine, true},
		{"4 workers of 20 ms, by default", workforce{4, 20 * time.Millisecond}, inLine, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var runs []*overload
			for range 3 {
				p := start(t, append([]string{"-backend", crew(t, tt.site.workers, tt.site.service)}, tt.args...)...)
				runs = append(runs, overloaded(t, p, tt.site))
			}
			slices.SortFunc(runs, func(a, b *overload) int { return int(1000 * (a.share - b.share)) })
			t.Log(runs[1])
			if share := runs[1].share; tt.well && share < 0.85 || !tt.well && share > 0.5 {
				t.Errorf("goodput is %.0f %% of the capacity, want at least 85 with protection, and less than 50 without", share*100)
			}
		})
	}
	t.Run("an abuser", func(t *testing.T) {
		for range 3 {
			if a := abused(t, "-rate", "20/s", "-burst", "40"); a.offered < 0.9*abusive || a.served < 0.995 {
				t.Errorf("%.0f requests a second, %.2f %% of the others' answered; want 1500, and at least 99.5", a.offered, 100*a.served)
			}
		}
	})
}
