package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file: ten thousand rules take two megabytes.
const maxFile = 16 << 20

// document parses a file into its root mapping. On failure the mistake is in p
// and the result is nil.
func document(p *problems, data []byte, example string) *yaml.Node {
	if len(data) > maxFile {
		p.add(1, "the file is larger than 16 MiB", "use lists and networks instead of single entries")
		return nil
	}
	if i := unreadable(data); i >= 0 {
		p.add(1+bytes.Count(data[:i], []byte("\n")), fmt.Sprintf("the file holds byte %#02x, which is not text", data[i]), "write plain UTF-8 text")
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var root yaml.Node
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
		p.add(1, "the file is empty", "begin with "+example)
		return nil
	case err != nil:
		line, problem := syntax(err, data)
		p.add(line, problem, "check indentation, brackets and quotes around this line")
		return nil
	}
	// A second document would be ignored silently.
	var second yaml.Node
	switch err := decoder.Decode(&second); {
	case err == nil:
		p.add(second.Line, "a second document begins", "keep one document in the file")
		return nil
	case !errors.Is(err, io.EOF):
		line, problem := syntax(err, data)
		p.add(line, problem, "check indentation, brackets and quotes around this line")
		return nil
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		return root.Content[0]
	}
	p.add(1, "the file is empty", "begin with "+example)
	return nil
}

// unreadable returns the place of the first byte that is not part of printable
// UTF-8 text, or -1.
func unreadable(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		control := r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
		if control || r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

var (
	syntaxLine   = regexp.MustCompile(`^line (\d+): `)
	syntaxAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced$`)
)

// syntax takes a YAML parser's error apart. It does not say where an unknown
// anchor is named, so that is looked up.
func syntax(err error, data []byte) (line int, problem string) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := syntaxLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = text[len(m[0]):]
	} else if m := syntaxAnchor.FindStringSubmatch(text); m != nil {
		if before, _, found := bytes.Cut(data, []byte("*"+m[1])); found {
			line = 1 + bytes.Count(before, []byte("\n"))
		}
	}
	return line, "not YAML: " + strings.Join(strings.Fields(text), " ")
}
