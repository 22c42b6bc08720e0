package ratelimit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
)

// Of x/time/rate only what was found to be sound is used: Reserve and Cancel
// burn permits, Allow and Tokens read the clock before the lock, SetBurst and
// SetLimit keep debts and refill nothing. And none of its types is in our API.
func TestUseOfRate(t *testing.T) {
	allowed := []string{"Limiter", "NewLimiter", "Limit"}
	methods := []string{"AllowN", "TokensAt", "Limit"} // of a *rate.Limiter
	forbidden := []string{
		"Reserve", "ReserveN", "Cancel", "CancelAt", "Wait", "WaitN", "SetLimit", "SetLimitAt", "SetBurst", "SetBurstAt", "Tokens",
	}
	files, err := fs.Glob(os.DirFS("."), "*.go")
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
		ast.Inspect(file, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "rate" && !slices.Contains(allowed, sel.Sel.Name) {
				t.Errorf("%s uses rate.%s, want only %q", name, sel.Sel.Name, allowed)
			}
			if slices.Contains(forbidden, sel.Sel.Name) {
				t.Errorf("%s uses %s", name, sel.Sel.Name)
			}
			used[sel.Sel.Name] = true
			return true
		})
		for _, decl := range file.Decls {
			if mentions(exported(decl), "rate") {
				t.Errorf("%s: an exported declaration mentions a type of x/time/rate", name)
			}
		}
	}
	for _, m := range methods {
		if !used[m] {
			t.Errorf("%s is not used: this test looks at the wrong thing", m)
		}
	}
}

// exported is what others see of a declaration: signatures, and the exported
// fields of exported types.
func exported(decl ast.Decl) []ast.Node {
	var seen []ast.Node
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() {
			seen = append(seen, d.Type)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok || !ts.Name.IsExported() {
				continue
			}
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				seen = append(seen, ts.Type)
				continue
			}
			for _, field := range st.Fields.List {
				if len(field.Names) == 0 || field.Names[0].IsExported() {
					seen = append(seen, field.Type)
				}
			}
		}
	}
	return seen
}

func mentions(nodes []ast.Node, pkg string) bool {
	found := false
	for _, n := range nodes {
		ast.Inspect(n, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if id, ok := sel.X.(*ast.Ident); ok && id.Name == pkg {
					found = true
				}
			}
			return !found
		})
	}
	return found
}
