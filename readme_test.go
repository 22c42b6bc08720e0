package holdfast_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReadmeSnippet type-checks the first Go block of README.md as a newcomer
// would compile it, with the imports that an editor adds.
func TestReadmeSnippet(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := firstGoBlock(string(readme))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiles(loadExports(t), code); err != nil {
		t.Errorf("README.md: %v\n%s", err, code)
	}
}

func TestSnippetsThatDoNotCompileAreCaught(t *testing.T) {
	x := loadExports(t)
	tests := []struct {
		code string
		ok   bool
	}{
		{"func f() (*cache.Cache, error) { return cache.New(cache.Config{}) }", true},
		{"store, err := cache.New(cache.Config{})\n_, _ = store, err", true},
		{"package main\nimport \"net/http\"\nfunc main() { _ = http.StatusOK }", true},
		{"func f() { cache.Novel() }", false},
		{"store, err := cache.New(cache.Config{Novel: 1})\n_, _ = store, err", false},
		{"store, err := cache.New(cache.Config{})", false}, // unused
		{"func f() {", false},
	}
	for _, tt := range tests {
		if err := compiles(x, tt.code); (err == nil) != tt.ok {
			t.Errorf("compiles(%q) = %v, want ok %t", tt.code, err, tt.ok)
		}
	}
	if _, err := firstGoBlock("```sh\ngo run\n```\n"); err == nil {
		t.Error("a README without a Go block is accepted")
	}
}

func firstGoBlock(markdown string) (string, error) {
	_, rest, found := strings.Cut(markdown, "\n```go\n")
	if !found {
		return "", errors.New("there is no ```go block")
	}
	code, _, found := strings.Cut(rest, "\n```")
	if !found {
		return "", errors.New("the ```go block has no end")
	}
	return code, nil
}

// compiles type-checks a program, declarations, or statements.
func compiles(x exports, code string) error {
	fset := token.NewFileSet()
	if !strings.Contains("\n"+code, "\npackage ") {
		body := code
		if _, err := parser.ParseFile(fset, "README.md", "package snippet\n"+body, 0); err != nil {
			body = "func _() {\n" + code + "\n}"
		}
		draft, err := parser.ParseFile(fset, "README.md", "package snippet\n"+body, 0)
		if err != nil {
			return err
		}
		code = "package snippet\n" + importsFor(x, draft) + body
	}
	file, err := parser.ParseFile(fset, "README.md", code, 0)
	if err != nil {
		return err
	}
	_, err = (&types.Config{Importer: x}).Check("snippet", fset, []*ast.File{file}, nil)
	return err
}

// importsFor is what goimports would add: the packages of ours, and of the
// standard library, that the draft names.
func importsFor(x exports, draft *ast.File) string {
	var imports strings.Builder
	known := slices.Concat(x.paths, []string{"context", "errors", "log", "net/http", "os", "time"})
	for _, path := range known {
		name := path[strings.LastIndex(path, "/")+1:]
		if slices.ContainsFunc(draft.Unresolved, func(id *ast.Ident) bool { return id.Name == name }) {
			fmt.Fprintf(&imports, "import %q\n", path)
		}
	}
	return imports.String()
}
