package holdfast_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listed is a package as "go list" tells of it.
type listed struct {
	ImportPath   string
	Export       string // file with export data
	Imports      []string
	TestImports  []string
	XTestImports []string
	Module       *struct{ Path string }
	Error        *struct{ Err string }
}

type listing []listed

// list returns all packages of this module and all that they or their tests
// import, as they are for goos.
func list(t *testing.T, goos string) listing {
	t.Helper()
	fields := "-json=ImportPath,Imports,TestImports,XTestImports,Module,Error"
	return goList(t, []string{"GOOS=" + goos, "CGO_ENABLED=0"}, "-deps", "-test", fields, "./...")
}

func goList(t *testing.T, env []string, args ...string) listing {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs listing
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		if p.Error != nil {
			t.Fatalf("go list: %s: %s", p.ImportPath, p.Error.Err)
		}
		pkgs = append(pkgs, p)
	}
}

// graph leaves out the variants of packages that "go list" makes for tests.
func (l listing) graph() graph {
	g := graph{}
	for _, p := range l {
		if strings.Contains(p.ImportPath, " [") || strings.HasSuffix(p.ImportPath, ".test") {
			continue
		}
		var n node
		if p.Module != nil {
			n.Module = p.Module.Path
		}
		n.Imports = p.Imports
		n.TestImports = slices.Concat(p.TestImports, p.XTestImports)
		g[p.ImportPath] = n
	}
	return g
}

// exports reads the compiler's export data of this module's packages and all
// that they import.
type exports struct {
	types.Importer
	paths []string // our own packages
}

func loadExports(t *testing.T) exports {
	t.Helper()
	files := map[string]string{}
	var x exports
	for _, p := range goList(t, nil, "-export", "-deps", "-json=ImportPath,Export,Module,Error", "./...") {
		files[p.ImportPath] = p.Export
		if _, ours := room(p.ImportPath); ours {
			x.paths = append(x.paths, p.ImportPath)
		}
	}
	x.Importer = importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		file, ok := files[path]
		if !ok {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(file)
	})
	return x
}
