package cache

import (
	"fmt"
	"testing"
)

func testMarks(g *generations, url string) *marks {
	m := g.marksOf("\x00/http\x00/" + url)
	return &m
}

func TestGenerations(t *testing.T) {
	for _, soft := range []bool{false, true} {
		t.Run(fmt.Sprint("soft ", soft), func(t *testing.T) {
			var g generations
			g.init(8)
			want := purged
			p := &g.hard
			if soft {
				want, p = softened, &g.soft
			}
			url := func(i any) *marks { return testMarks(&g, fmt.Sprint("example.com\x00//", i)) }
			born := g.seq.Load()
			g.purge(soft, url("a").ids[0])
			for _, tt := range []struct {
				key  string
				born uint64
				want standing
			}{
				{"a", born, want},
				{"b", born, sound},
				{"a", g.seq.Load(), sound},
			} {
				if got := g.standing(url(tt.key), tt.born); got != tt.want {
					t.Errorf("standing(%s, %d) = %d, want %d", tt.key, tt.born, got, tt.want)
				}
			}
			// At the bound too much is purged, never too little.
			later := g.seq.Load()
			for i := range 100 {
				g.purge(soft, url(i).ids[0])
				if n := len(p.newer) + len(p.older); n > 8 {
					t.Fatalf("%d keys, want at most 8", n)
				}
			}
			for i := range 100 {
				if got := g.standing(url(i), later); got != want {
					t.Errorf("the purge of %d was forgotten: %d", i, got)
				}
			}
			if got := g.standing(url("a"), born); got != want {
				t.Errorf("the purge of a was forgotten: %d", got)
			}
			if got := g.standing(url("a"), g.seq.Load()); got != sound {
				t.Errorf("what is asked for now is %d already", got)
			}
		})
	}
}

// TestPrefixesOverflow: what the list has no room for becomes a purge of its
// host, and of no other.
func TestPrefixesOverflow(t *testing.T) {
	var g generations
	g.init(1 << 10)
	born := g.seq.Load()
	at := func(host, path string) *marks { return testMarks(&g, host+"\x00/"+path) }
	first := at("one.example", "/first/")
	g.purgePrefix(false, first.url, first.ids[1])
	if g.standing(at("one.example", "/first/page"), born) != purged || g.standing(at("one.example", "/other"), born) != sound {
		t.Fatal("a prefix reaches what it names, and no more")
	}
	for i := range 2 * maxPrefixes {
		m := at("two.example", fmt.Sprint("/", i, "/"))
		g.purgePrefix(false, m.url, m.ids[1])
	}
	if n := len(g.hard.prefixes); n != maxPrefixes {
		t.Errorf("%d prefixes, want %d", n, maxPrefixes)
	}
	for _, m := range []*marks{at("one.example", "/first/page"), at("one.example", "/other"), at("two.example", "/0/x")} {
		if g.standing(m, born) != purged {
			t.Errorf("%q is not purged", m.url)
		}
	}
	if g.standing(at("three.example", "/0/x"), born) != sound {
		t.Error("a host of which nothing was purged is")
	}
	all := at("two.example", "/")
	g.purgePrefix(false, all.url, all.ids[1])
	if n := len(g.hard.prefixes); n != 1 {
		t.Errorf("%d prefixes beside one that covers them, want 1", n)
	}
}
