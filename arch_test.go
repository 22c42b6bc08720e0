package holdfast_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-go/holdfast"

// five are the peers of floor 1.
var five = []string{"backend", "breaker", "cache", "errorpage", "ratelimit"}

// arrows says which rooms a room may import. A room is a directory of the
// module's root with all that is below it.
var arrows = map[string][]string{
	"":          {},
	"failure":   {},
	"internal":  {},
	"backend":   {"failure", "internal"},
	"breaker":   {"failure", "internal"},
	"cache":     {"failure", "internal"},
	"errorpage": {"failure", "internal"},
	"ratelimit": {"failure", "internal"},
	"observe":   append([]string{"failure", "internal"}, five...),
	"examples":  append([]string{"failure", "internal", "observe"}, five...),
}

// modules says which modules a room may link; one that ends in "/..." stands for
// itself and whatever it links.
var modules = map[string][]string{
	"breaker": {"github.com/sony/gobreaker/v2"},
	"cache": {
		"github.com/dgraph-io/ristretto/v2", "github.com/cespare/xxhash/v2", "github.com/dustin/go-humanize", "golang.org/x/sys",
		"github.com/dunglas/httpsfv", "github.com/klauspost/compress",
	},
	"errorpage": {"golang.org/x/text"},
	"observe":   {"github.com/prometheus/client_golang/..."},
	"examples":  {"github.com/prometheus/client_golang/..."},
	"ratelimit": {"golang.org/x/time"},
}

// testModules are for the tests of every room: tools, and parsers that check
// from outside what we write.
var testModules = []string{
	"go.uber.org/goleak", "github.com/google/go-cmp", "pgregory.net/rapid", "golang.org/x/net", "github.com/dunglas/httpsfv",
}

// node is a package of the import graph.
type node struct {
	Module      string // "" is the standard library
	Imports     []string
	TestImports []string // by tests inside and outside of the package; only of our own packages
}

// graph is keyed by import path.
type graph map[string]node

// room returns the room of one of our own packages.
func room(path string) (string, bool) {
	if path == module {
		return "", true
	}
	rest, ok := strings.CutPrefix(path, module+"/")
	name, _, _ := strings.Cut(rest, "/")
	return name, ok
}

// violations lists what in g breaks the rules of arrows and modules.
func violations(g graph) []string {
	var broken []string
	complain := func(format string, args ...any) { broken = append(broken, fmt.Sprintf(format, args...)) }
	for path, n := range g {
		from, ours := room(path)
		if !ours {
			continue
		}
		allowed, known := arrows[from]
		if !known {
			complain("%s: the house has no room %q", path, from)
			continue
		}
		if from == "" && len(n.Imports) > 0 {
			complain("%s imports %v: it is documentation only", path, n.Imports)
		}
		for _, dep := range slices.Concat(n.Imports, n.TestImports) {
			if to, ours := room(dep); ours && to != from && !slices.Contains(allowed, to) {
				complain("%s imports %s: no arrow goes from %q to %q", path, dep, from, to)
			}
		}
		for dep, via := range linked(g, path, modules[from]) {
			complain("%s links the module %s (through %s), which %q may not", path, dep, via, from)
		}
		for _, dep := range n.TestImports {
			m := g[dep].Module
			if m != "" && m != module && !permits(modules[from], m) && !slices.Contains(testModules, m) {
				complain("a test of %s imports %s, which %q may not", path, dep, from)
			}
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// linked returns the modules beyond the allow-list that path links by itself,
// each with a package that imports it. What another room links is that room's
// affair.
func linked(g graph, path string, allowed []string) map[string]string {
	home, _ := room(path)
	beyond := map[string]string{}
	seen := map[string]bool{}
	var visit func(path string)
	visit = func(path string) {
		if seen[path] {
			return
		}
		seen[path] = true
		for _, dep := range g[path].Imports {
			m := g[dep].Module
			switch to, ours := room(dep); {
			case ours && to != home, m == "", slices.Contains(allowed, m+"/..."):
				continue
			case !ours && !permits(allowed, m):
				beyond[m] = path
			}
			visit(dep)
		}
	}
	visit(path)
	return beyond
}

func permits(allowed []string, m string) bool {
	return slices.Contains(allowed, m) || slices.Contains(allowed, m+"/...")
}

func TestImportArrows(t *testing.T) {
	for _, goos := range []string{"linux", "darwin", "windows"} {
		t.Run(goos, func(t *testing.T) {
			g := list(t, goos).graph()
			for _, broken := range violations(g) {
				t.Error(broken)
			}
			for name := range arrows {
				if !slices.ContainsFunc(slices.Collect(maps.Keys(g)), func(path string) bool {
					r, ours := room(path)
					return ours && r == name
				}) {
					t.Errorf("the room %q is empty: is the graph whole?", name)
				}
			}
		})
	}
}

// TestForbiddenArrowsAreCaught feeds the rules with houses that break them.
func TestForbiddenArrowsAreCaught(t *testing.T) {
	const (
		ristretto = "github.com/dgraph-io/ristretto/v2"
		gobreaker = "github.com/sony/gobreaker/v2"
		prom      = "github.com/prometheus/client_golang"
		stranger  = "example.com/stranger"
	)
	own := func(imports ...string) node { return node{Module: module, Imports: imports} }
	foreign := graph{
		"net/http":                     {},
		ristretto:                      {Module: ristretto, Imports: []string{ristretto + "/z"}},
		ristretto + "/z":               {Module: ristretto, Imports: []string{"github.com/cespare/xxhash/v2"}},
		gobreaker:                      {Module: gobreaker},
		prom + "/prometheus":           {Module: prom, Imports: []string{stranger}},
		stranger:                       {Module: stranger, Imports: []string{"net/http"}},
		"go.uber.org/goleak":           {Module: "go.uber.org/goleak"},
		"github.com/cespare/xxhash/v2": {Module: "github.com/cespare/xxhash/v2"},
	}
	tests := []struct {
		name string
		own  graph
		want []string // a part of each complaint
	}{
		{"the house as it is drawn", graph{
			module:                               own(),
			module + "/failure":                  own("net/http"),
			module + "/internal/writer":          {Module: module, TestImports: []string{module + "/internal/writertest", "go.uber.org/goleak"}},
			module + "/breaker":                  own(module+"/failure", module+"/internal/writer", gobreaker),
			module + "/cache":                    own(module+"/cache/internal/semantics", ristretto),
			module + "/cache/internal/semantics": own("net/http"),
			module + "/observe":                  own(module+"/breaker", module+"/cache", prom+"/prometheus"),
			module + "/examples/embed":           own(module+"/observe", module+"/cache"),
		}, nil},
		{"documentation with an import", graph{module: own("net/http")}, []string{"documentation only"}},
		{"failure looks up", graph{module + "/failure": own(module + "/internal/writer")}, []string{`from "failure" to "internal"`}},
		{"internal looks up", graph{module + "/internal/writer": own(module + "/failure")}, []string{`from "internal" to "failure"`}},
		{"between siblings", graph{module + "/cache": own(module + "/breaker")}, []string{`from "cache" to "breaker"`}},
		{"from the cellar of a sibling", graph{module + "/cache/internal/semantics": own(module + "/backend")}, []string{`from "cache" to "backend"`}},
		{"between siblings, in a test", graph{
			module + "/errorpage": {Module: module, TestImports: []string{module + "/cache"}},
		}, []string{`from "errorpage" to "cache"`}},
		{"a sibling listens", graph{module + "/cache": own(module + "/observe")}, []string{`from "cache" to "observe"`}},
		{"the library imports an example", graph{module + "/observe": own(module + "/examples/embed")}, []string{`from "observe" to "examples"`}},
		{"a new room", graph{module + "/utils": own()}, []string{`no room "utils"`}},
		{"a neighbour's module", graph{module + "/cache": own(gobreaker)}, []string{"links the module " + gobreaker}},
		{"a stranger", graph{module + "/backend": own(stranger)}, []string{"links the module " + stranger}},
		{"a stranger behind a door of our own", graph{
			module + "/backend":            own(module + "/backend/internal/x"),
			module + "/backend/internal/x": own(stranger),
		}, []string{"backend links the module " + stranger, "backend/internal/x links the module " + stranger}},
		{"a module that a permitted one brings along", graph{module + "/breaker": own(ristretto)}, []string{
			"links the module github.com/cespare/xxhash/v2", "links the module " + ristretto,
		}},
		{"prometheus outside of observe", graph{module + "/cache": own(prom + "/prometheus")}, []string{
			"links the module " + stranger, "links the module " + prom,
		}},
		{"a stranger in a test", graph{
			module + "/failure": {Module: module, TestImports: []string{stranger}},
		}, []string{"a test of " + module + "/failure imports " + stranger}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := graph{}
			maps.Copy(g, foreign)
			maps.Copy(g, tt.own)
			got := violations(g)
			if len(got) != len(tt.want) {
				t.Fatalf("violations = %q, want %d", got, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("violation %d = %q, want something of %q", i, got[i], want)
				}
			}
		})
	}
}
