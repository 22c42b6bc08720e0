package holdfast_test

import (
	"fmt"
	"go/types"
	"strings"
	"testing"
)

// TestExportedSignatures: what is exported is made of the standard library and
// of our own types only, so that a library inside can be replaced without
// breaking anybody. observe may name Prometheus, which its users hand to it.
func TestExportedSignatures(t *testing.T) {
	x := loadExports(t)
	checked := 0
	for _, path := range x.paths {
		if strings.HasPrefix(path, module+"/examples/") {
			continue
		}
		pkg, err := x.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		var allowed []string
		if path == module+"/observe" {
			allowed = []string{"github.com/prometheus/"}
		}
		for _, leak := range leaks(pkg, allowed) {
			t.Error(leak)
		}
		checked++
	}
	if checked < len(arrows)-1 {
		t.Errorf("checked %d packages only", checked)
	}
}

// TestLeaksAreCaught runs the check over packages that do show what is inside.
func TestLeaksAreCaught(t *testing.T) {
	foreign := types.NewPackage("example.com/stranger", "stranger")
	hidden := types.NewNamed(types.NewTypeName(0, foreign, "Hidden", nil), types.NewStruct(nil, nil), nil)
	param := func(typ types.Type) *types.Tuple { return types.NewTuple(types.NewVar(0, nil, "", typ)) }
	field := func(name string) *types.Struct {
		return types.NewStruct([]*types.Var{types.NewField(0, nil, name, hidden, false)}, nil)
	}
	takes := types.NewSignatureType(nil, nil, nil, param(types.NewSlice(types.NewPointer(hidden))), nil, false)
	tests := []struct {
		name string
		add  func(pkg *types.Package)
		want int
	}{
		{"a parameter", func(pkg *types.Package) { pkg.Scope().Insert(types.NewFunc(0, pkg, "F", takes)) }, 1},
		{"a parameter of an unexported function", func(pkg *types.Package) { pkg.Scope().Insert(types.NewFunc(0, pkg, "f", takes)) }, 0},
		{"a variable", func(pkg *types.Package) {
			pkg.Scope().Insert(types.NewVar(0, pkg, "V", types.NewMap(types.Typ[types.String], types.NewChan(types.SendRecv, hidden))))
		}, 1},
		{"an exported field", func(pkg *types.Package) {
			name := types.NewTypeName(0, pkg, "T", nil)
			types.NewNamed(name, field("Field"), nil)
			pkg.Scope().Insert(name)
		}, 1},
		{"an unexported field", func(pkg *types.Package) {
			name := types.NewTypeName(0, pkg, "T", nil)
			types.NewNamed(name, field("field"), nil)
			pkg.Scope().Insert(name)
		}, 0},
		{"a method", func(pkg *types.Package) {
			name := types.NewTypeName(0, pkg, "T", nil)
			named := types.NewNamed(name, field("field"), nil)
			named.AddMethod(types.NewFunc(0, pkg, "M", takes))
			pkg.Scope().Insert(name)
		}, 1},
		{"a result of an unexported type with an exported method", func(pkg *types.Package) {
			named := types.NewNamed(types.NewTypeName(0, pkg, "t", nil), field("field"), nil)
			named.AddMethod(types.NewFunc(0, pkg, "M", takes))
			result := types.NewSignatureType(nil, nil, nil, nil, param(types.NewPointer(named)), false)
			pkg.Scope().Insert(types.NewFunc(0, pkg, "F", result))
		}, 1},
		{"an alias", func(pkg *types.Package) {
			name := types.NewTypeName(0, pkg, "A", nil)
			types.NewAlias(name, hidden)
			pkg.Scope().Insert(name)
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkg := types.NewPackage(module+"/made-up", "madeup")
			tt.add(pkg)
			if got := leaks(pkg, nil); len(got) != tt.want {
				t.Errorf("leaks = %q, want %d", got, tt.want)
			}
			if got := leaks(pkg, []string{"example.com/"}); len(got) != 0 {
				t.Errorf("leaks = %q though they are allowed", got)
			}
		})
	}
}

// leaks lists the foreign types that users of pkg get to see. The standard
// library's paths have no dot in their first element.
func leaks(pkg *types.Package, allowed []string) []string {
	s := &surface{pkg: pkg, allowed: allowed, seen: map[types.Type]bool{}}
	for _, name := range pkg.Scope().Names() {
		obj := pkg.Scope().Lookup(name)
		if !obj.Exported() {
			continue
		}
		s.where = pkg.Path() + "." + name
		if typeName, ok := obj.(*types.TypeName); ok && !typeName.IsAlias() {
			s.declared(obj.Type())
			continue
		}
		s.visit(obj.Type())
	}
	return s.found
}

type surface struct {
	pkg     *types.Package
	allowed []string
	where   string
	seen    map[types.Type]bool
	found   []string
}

// declared visits what a type of this package shows of itself.
func (s *surface) declared(typ types.Type) {
	if s.seen[typ] {
		return
	}
	s.seen[typ] = true
	s.visit(typ.Underlying())
	if named, ok := typ.(*types.Named); ok {
		for m := range named.Methods() {
			if m.Exported() {
				s.visit(m.Type())
			}
		}
	}
}

func (s *surface) named(obj *types.TypeName, typ types.Type) {
	switch pkg := obj.Pkg(); {
	case pkg == nil: // error, comparable
	case pkg.Path() == s.pkg.Path():
		s.declared(typ)
	case s.foreign(pkg.Path()):
		s.found = append(s.found, fmt.Sprintf("%s shows %s.%s", s.where, pkg.Path(), obj.Name()))
	}
}

func (s *surface) foreign(path string) bool {
	for _, prefix := range append(s.allowed, module) {
		if strings.HasPrefix(path, prefix) {
			return false
		}
	}
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

func (s *surface) visit(typ types.Type) {
	switch typ := typ.(type) {
	case *types.Alias:
		s.visit(types.Unalias(typ))
	case *types.Named:
		s.named(typ.Obj(), typ)
		for arg := range typ.TypeArgs().Types() {
			s.visit(arg)
		}
	case *types.Pointer:
		s.visit(typ.Elem())
	case *types.Slice:
		s.visit(typ.Elem())
	case *types.Array:
		s.visit(typ.Elem())
	case *types.Chan:
		s.visit(typ.Elem())
	case *types.Map:
		s.visit(typ.Key())
		s.visit(typ.Elem())
	case *types.Signature:
		s.visit(typ.Params())
		s.visit(typ.Results())
	case *types.Tuple:
		for v := range typ.Variables() {
			s.visit(v.Type())
		}
	case *types.Struct:
		for f := range typ.Fields() {
			if f.Exported() {
				s.visit(f.Type())
			}
		}
	case *types.Interface:
		for m := range typ.Methods() {
			if m.Exported() {
				s.visit(m.Type())
			}
		}
		for e := range typ.EmbeddedTypes() {
			s.visit(e)
		}
	}
}
