package breaker

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

// Of gobreaker only the two-step type is used: Execute makes text of panics, and
// the distributed one holds a lock for the whole call. And none of its types is
// in our API.
func TestUseOfGobreaker(t *testing.T) {
	allowed := []string{
		"TwoStepCircuitBreaker", "NewTwoStepCircuitBreaker", "Settings", "Counts", "State", "StateClosed", "StateHalfOpen", "StateOpen",
	}
	used := map[string]bool{}
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
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
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "gobreaker" {
				used[sel.Sel.Name] = true
				if !slices.Contains(allowed, sel.Sel.Name) {
					t.Errorf("%s uses gobreaker.%s, want only %q", name, sel.Sel.Name, allowed)
				}
			}
			return true
		})
		for _, decl := range file.Decls {
			if mentions(exported(decl), "gobreaker") {
				t.Errorf("%s: an exported declaration mentions a type of gobreaker", name)
			}
		}
	}
	if !used["NewTwoStepCircuitBreaker"] {
		t.Error("gobreaker is not used: this test looks at the wrong thing")
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
