package holdfast_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// libraryUse is what may be used of a library that is easy to use wrongly.
type libraryUse struct {
	dir, pkg  string
	allowed   []string // of the package
	forbidden []string // names of methods, whatever they are called on
	needed    []string // used for sure: else the test looks at the wrong thing
}

var libraryUses = []libraryUse{
	{
		// Execute makes text of panics, and the distributed breaker holds a lock for
		// the whole call.
		dir: "breaker", pkg: "gobreaker",
		allowed: []string{
			"TwoStepCircuitBreaker", "NewTwoStepCircuitBreaker", "Settings", "Counts", "State", "StateClosed", "StateHalfOpen", "StateOpen",
		},
		needed: []string{"NewTwoStepCircuitBreaker"},
	},
	{
		// Reserve and Cancel burn permits, Allow and Tokens read the clock before the
		// lock, SetBurst and SetLimit keep debts and refill nothing.
		dir: "ratelimit", pkg: "rate",
		allowed: []string{"Limiter", "NewLimiter", "Limit"},
		forbidden: []string{
			"Reserve", "ReserveN", "Cancel", "CancelAt", "Wait", "WaitN", "SetLimit", "SetLimitAt", "SetBurst", "SetBurstAt", "Tokens",
		},
		needed: []string{"AllowN", "TokensAt"},
	},
}

func TestUseOfLibraries(t *testing.T) {
	for _, u := range libraryUses {
		files, err := filepath.Glob(filepath.Join(u.dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, bad := range misuses(file, u, used) {
				t.Errorf("%s uses %s, want only %q", name, bad, u.allowed)
			}
		}
		for _, name := range u.needed {
			if !used[name] {
				t.Errorf("%s does not use %s of %s: this test looks at the wrong thing", u.dir, name, u.pkg)
			}
		}
	}
}

// misuses returns what file uses of the library beside what is allowed, and
// notes in used what it uses at all.
func misuses(file *ast.File, u libraryUse, used map[string]bool) (bad []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		used[sel.Sel.Name] = true
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == u.pkg && !slices.Contains(u.allowed, sel.Sel.Name) {
			bad = append(bad, u.pkg+"."+sel.Sel.Name)
		}
		if slices.Contains(u.forbidden, sel.Sel.Name) {
			bad = append(bad, "method "+sel.Sel.Name)
		}
		return true
	})
	return bad
}

func TestMisusesAreFound(t *testing.T) {
	for i, src := range []string{
		"package p; func f() { gobreaker.NewDistributedCircuitBreaker() }",
		"package p; func f(l *rate.Limiter) { l.ReserveN(now, 1) }",
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "p.go", src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if bad := misuses(file, libraryUses[i], map[string]bool{}); len(bad) != 1 {
			t.Errorf("%s: %q, want one finding", src, bad)
		}
	}
}
