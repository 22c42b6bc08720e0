package cache

import (
	"fmt"
	"testing"
)

func TestGenerations(t *testing.T) {
	var g generations
	g.init(8)
	born := g.seq.Load()
	g.invalidate("a")
	for _, tt := range []struct {
		key  string
		born uint64
		want bool
	}{
		{"a", born, true},
		{"b", born, false},
		{"a", g.seq.Load(), false},
	} {
		if got := g.invalidated(tt.key, tt.born); got != tt.want {
			t.Errorf("invalidated(%s, %d) = %t, want %t", tt.key, tt.born, got, tt.want)
		}
	}
	// At the bound too much is invalidated, never too little.
	later := g.seq.Load()
	for i := range 100 {
		g.invalidate(fmt.Sprint("k", i))
		if n := len(g.newer) + len(g.older); n > 8 {
			t.Fatalf("%d keys, want at most 8", n)
		}
	}
	for i := range 100 {
		if !g.invalidated(fmt.Sprint("k", i), later) {
			t.Errorf("the invalidation of k%d was forgotten", i)
		}
	}
	if !g.invalidated("a", born) {
		t.Error("the invalidation of a was forgotten")
	}
	if g.invalidated("a", g.seq.Load()) {
		t.Error("what is asked for now is invalid already")
	}
}
