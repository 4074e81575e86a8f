package cohort

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "cohort"

// layers says what each package may import of this module. A row covers the
// packages below it that have no row of their own, and a package may always
// import its own row's packages. There is no row for what nobody decided: a new
// package starts here.
var layers = []struct {
	pkg  string
	may  []string
	why  string
	pure bool
}{
	{pkg: "", why: "the root holds no code"},
	{pkg: "packet", why: "everything stands on it, so it stands on nothing"},
	{pkg: "bpf", why: "the programs are an artefact: loading and meaning belong to dataplane"},
	{pkg: "flowtable", may: []string{"packet"}, why: "a table knows keys, not who fills it"},
	{pkg: "policy", may: []string{"packet"}, why: "takes its own input types, so that files, API and tests can feed it"},
	{pkg: "nat", may: []string{"packet", "flowtable"}, why: "as policy; xlates hang on flows"},
	{pkg: "ccl/wire", may: []string{"packet"}, why: "formats only, shared by the pure core and the link"},
	{pkg: "ccl", may: []string{"packet", "ccl/wire"}, why: "a link carries messages and decides nothing"},
	{
		pkg: "cluster", may: []string{"packet", "flowtable", "ccl/wire", "policy", "nat"}, pure: true,
		why: "the decisions: the simulator runs them on a virtual clock, so nothing here may reach for a real one",
	},
	{pkg: "dataplane", may: []string{"packet", "flowtable", "policy", "nat", "bpf", "ccl/wire"}, why: "moves packets as it is told"},
	{pkg: "config", may: []string{"packet", "flowtable", "policy", "nat"}, why: "turns text into the inputs of policy and nat"},
	{pkg: "api", may: []string{"packet"}, why: "types of its own: what users see must not move with internals"},
	{
		pkg: "node/core", may: []string{"packet", "flowtable", "policy", "nat", "ccl", "cluster"}, pure: true,
		why: "the brain of a node without its body: the simulator runs it as it is",
	},
	{
		pkg: "node", may: []string{"packet", "flowtable", "policy", "nat", "bpf", "ccl", "cluster", "dataplane", "config", "api", "node/core"},
		why: "the only place that knows everybody",
	},
	{pkg: "sim", may: []string{"packet", "flowtable", "policy", "nat", "ccl", "cluster", "node/core"}, why: "runs whole cores on a virtual network"},
	{pkg: "testenv", may: []string{"packet", "config", "api", "node", "bpf", "cluster/sequence"}, why: "topologies around real daemons, and who looks at their packets"},
	{pkg: "bench", may: []string{"*"}, why: "measures anything; nothing imports it"},
	{pkg: "cmd", may: []string{"*"}, why: "thin mains; nothing can import them"},
	{pkg: "docs", may: []string{"*"}, why: "pages; its tests compare them with everything, nothing imports it"},
}

// row returns the layer that covers a package path below the module, or -1.
func row(pkg string) int {
	best := -1
	for i, l := range layers {
		covers := pkg == l.pkg || l.pkg != "" && strings.HasPrefix(pkg, l.pkg+"/")
		if covers && (best < 0 || len(l.pkg) > len(layers[best].pkg)) {
			best = i
		}
	}
	return best
}

// violations returns one sentence for every import or construct in file that
// the layer of pkg does not allow.
func violations(pkg string, fset *token.FileSet, file *ast.File) []string {
	i := row(pkg)
	if i < 0 {
		return []string{fmt.Sprintf("package %s has no row in arch_test.go: say there what it may import and why", pkg)}
	}
	layer := layers[i]
	var bad []string
	for _, imp := range file.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue
		}
		own, ours := strings.CutPrefix(path, module+"/")
		if !ours {
			continue
		}
		to := row(own)
		if to == i || slices.Contains(layer.may, "*") {
			continue
		}
		// A row's name allows the packages below it too, whichever row they have.
		allowed := to >= 0 && slices.ContainsFunc(layer.may, func(m string) bool {
			return own == m || strings.HasPrefix(own, m+"/")
		})
		if !allowed {
			bad = append(bad, fmt.Sprintf("%s: %s imports %s; it may import %v: %s",
				fset.Position(imp.Pos()), pkg, own, layer.may, layer.why))
		}
	}
	if layer.pure {
		for _, what := range impurities(fset, file) {
			bad = append(bad, what+": "+layer.why)
		}
	}
	return bad
}

// impure maps an import path to what a pure package may take from it: nothing
// (nil) or everything but the named selectors.
var impure = map[string][]string{
	"net":         nil,
	"os":          nil,
	"log":         nil,
	"syscall":     nil,
	"crypto/rand": nil,
	"time":        {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"math/rand": {
		"Int", "Intn", "Int31", "Int31n", "Int63", "Int63n", "Uint32", "Uint64", "Float32", "Float64",
		"ExpFloat64", "NormFloat64", "Perm", "Shuffle", "Read", "Seed",
	},
	"math/rand/v2": {
		"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint", "UintN", "Uint32", "Uint32N", "Uint64",
		"Uint64N", "Float32", "Float64", "ExpFloat64", "NormFloat64", "Perm", "Shuffle", "N",
	},
	"golang.org/x/sys/unix": nil,
}

// impurities finds the real clock, real randomness, real I/O and goroutines.
func impurities(fset *token.FileSet, file *ast.File) []string {
	var bad []string
	banned := map[string][]string{} // local name of an import -> banned selectors
	for _, imp := range file.Imports {
		path, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			continue
		}
		names, known := impure[path]
		switch {
		case !known:
		case names == nil:
			bad = append(bad, fmt.Sprintf("%s: imports %s", fset.Position(imp.Pos()), path))
		case imp.Name != nil:
			banned[imp.Name.Name] = names
		default:
			banned[strings.TrimSuffix(strings.TrimPrefix(path, "math/"), "/v2")] = names
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad = append(bad, fmt.Sprintf("%s: starts a goroutine", fset.Position(n.Pos())))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(banned[x.Name], n.Sel.Name) {
				bad = append(bad, fmt.Sprintf("%s: uses %s.%s", fset.Position(n.Pos()), x.Name, n.Sel.Name))
			}
		}
		return true
	})
	return bad
}

// TestImportsPointOneWay walks every Go file of the module that is not a test.
func TestImportsPointOneWay(t *testing.T) {
	fset := token.NewFileSet()
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "tools" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." {
			pkg = ""
		}
		for _, v := range violations(pkg, fset, file) {
			t.Error(v)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d files were read: the walk misses the module", files)
	}
}

// TestArchitectureTestNotices feeds the checker what it must refuse and what
// it must let through.
func TestArchitectureTestNotices(t *testing.T) {
	for _, c := range []struct {
		pkg, src string
		want     string // part of the only violation; "" = none
	}{
		{"packet", `import "cohort/flowtable"`, "packet imports flowtable"},
		{"flowtable", `import "cohort/packet"`, ""},
		{"cluster/ownership", `import "cohort/cluster"`, ""},
		{"cluster", `import "cohort/ccl/wire"`, ""},
		{"cluster", `import "cohort/ccl"`, "cluster imports ccl"},
		{"ccl/wire", `import "cohort/ccl"`, "ccl/wire imports ccl"},
		{"ccl", `import "cohort/ccl/wire"`, ""},
		{"api", `import "cohort/node"`, "api imports node"},
		{"testenv", `import "cohort/node"`, ""},
		{"sim", `import "cohort/node/core"`, ""},
		{"sim", `import "cohort/node"`, "sim imports node"},
		{"node", `import "cohort/node/core"`, ""},
		{"node/core", `import "cohort/dataplane"`, "node/core imports dataplane"},
		{"cmd/cohort", `import "cohort/api"`, ""},
		{"nowhere", ``, "no row"},
		{"cluster", `import "net"`, "imports net"},
		{"cluster", `import "net/netip"`, ""},
		{"cluster", `import "time"; var _ = time.Now()`, "uses time.Now"},
		{"cluster", `import clock "time"; var _ = clock.Now()`, "uses clock.Now"},
		{"cluster", `import "time"; var _ time.Duration`, ""},
		{"cluster", `func f() { go f() }`, "starts a goroutine"},
		{"cluster", `import "math/rand/v2"; var _ = rand.IntN(3)`, "uses rand.IntN"},
		{"cluster", `import "math/rand/v2"; var _ = rand.New(rand.NewPCG(1, 2))`, ""},
		{"node", `import "time"; var _ = time.Now()`, ""},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x\n"+c.src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		got := violations(c.pkg, fset, file)
		switch {
		case c.want == "" && len(got) != 0:
			t.Errorf("%s with %q: refused: %v", c.pkg, c.src, got)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0], c.want)):
			t.Errorf("%s with %q: got %v, want %q", c.pkg, c.src, got, c.want)
		}
	}
}
