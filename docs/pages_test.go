package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"cohort/config"
)

// pages returns README.md and every page here, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files := []string{"../README.md"}
	for _, pattern := range []string{"*.md", "contributing/*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = string(b)
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for file, content := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(content, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", file, m[1], err)
			}
		}
	}
}

// TestEveryPageIsInTheReadme keeps pages from being written and never found.
func TestEveryPageIsInTheReadme(t *testing.T) {
	all := pages(t)
	for file := range all {
		if file != "../README.md" && !strings.Contains(all["../README.md"], "](docs/"+file) {
			t.Errorf("README.md does not link docs/%s", file)
		}
	}
}

// TestEveryResultIsLinked keeps measurements from being kept and never found.
func TestEveryResultIsLinked(t *testing.T) {
	linked := map[string]bool{}
	for file, content := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(content, -1) {
			linked[filepath.Join(filepath.Dir(file), m[1])] = true
		}
	}
	results, err := filepath.Glob("results/*.md")
	if err != nil || len(results) == 0 {
		t.Fatalf("%d results: %v", len(results), err)
	}
	for _, file := range results {
		if !linked[file] {
			t.Errorf("no page links docs/%s: say in figures.md what it shows", file)
		}
	}
}

// TestEveryKeyIsDocumented takes the keys from the complete examples of package
// config.
func TestEveryKeyIsDocumented(t *testing.T) {
	page, err := os.ReadFile("configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, example := range []string{config.ExampleNode, config.ExampleCluster} {
		var root yaml.Node
		if err := yaml.Unmarshal([]byte(example), &root); err != nil {
			t.Fatal(err)
		}
		walk(root.Content[0], "", func(path string) {
			keys++
			if !strings.Contains(string(page), "`"+path+"`") {
				t.Errorf("configuration.md does not explain `%s`", path)
			}
		})
	}
	if keys < 30 {
		t.Fatalf("the examples have only %d keys", keys)
	}
}

// walk visits the path of every key; names that users choose become capitals.
func walk(n *yaml.Node, path string, visit func(string)) {
	switch n.Kind {
	case yaml.SequenceNode:
		for _, e := range n.Content {
			if e.Kind == yaml.MappingNode {
				walk(e, path+"[]", visit)
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			p := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			switch {
			case path == "interfaces":
				p = "interfaces.NAME"
			case strings.HasSuffix(path, ".pin"):
				p = path + ".NODE"
			}
			visit(p)
			walk(n.Content[i+1], p, visit)
		}
	}
}

var block = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestExamplesAreGood reads every complete YAML file shown in a page as the
// daemon would. A complete file begins with a comment that says which it is.
func TestExamplesAreGood(t *testing.T) {
	good := 0
	for file, content := range pages(t) {
		for _, m := range block.FindAllStringSubmatch(content, -1) {
			first, _, _ := strings.Cut(m[1], "\n")
			var err error
			switch {
			case strings.Contains(first, "node.yaml"):
				_, err = config.ParseNode("node.yaml", []byte(m[1]))
			case strings.Contains(first, "cluster.yaml"):
				_, err = config.ParseCluster("cluster.yaml", []byte(m[1]))
			default:
				continue
			}
			good++
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if good < 4 {
		t.Errorf("only %d complete examples found", good)
	}
}
