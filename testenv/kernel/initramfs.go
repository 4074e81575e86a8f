package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// modules are the kernel's modules that tests need, in the order of loading, as
// paths below .../kernel.
var modules = []string{
	"net/ipv6/ip6_udp_tunnel.ko", "net/ipv4/udp_tunnel.ko", "drivers/net/vxlan/vxlan.ko", "drivers/net/veth.ko", "drivers/net/dummy.ko",
}

// archive writes an initramfs: the newc format of cpio, compressed.
type archive struct {
	zip *gzip.Writer
	err error
}

func newArchive(w io.Writer) *archive {
	z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is a valid one
	return &archive{zip: z}
}

// add appends a directory (no content) or an executable file.
func (a *archive) add(name string, content []byte, dir bool) {
	if a.err != nil {
		return
	}
	mode := 0o100755
	if dir {
		mode = 0o40755
	}
	var b bytes.Buffer
	b.WriteString("070701")
	for _, v := range []int{0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&b, "%08x", v)
	}
	b.WriteString(name)
	b.WriteByte(0)
	pad(&b)
	b.Write(content)
	pad(&b)
	_, a.err = a.zip.Write(b.Bytes())
}

// pad fills up to a multiple of four: every entry begins at one.
func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}

func (a *archive) close() error {
	a.add("TRAILER!!!", nil, false)
	if a.err != nil {
		return a.err
	}
	return a.zip.Close()
}

// pack writes the initramfs with the programs in dir (init, and tests/*), the
// modules, and the arguments of every test.
func pack(w io.Writer, dir, moduleDir string, arguments []string) error {
	a := newArchive(w)
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil && a.err == nil {
			a.err = err
		}
		return b
	}
	a.add("init", read(filepath.Join(dir, "init")), false)
	a.add("arguments", []byte(strings.Join(arguments, "\n")), false)
	a.add("modules", nil, true)
	var order []string
	for _, m := range modules {
		name := filepath.Base(m)
		a.add("modules/"+name, read(filepath.Join(moduleDir, m)), false)
		order = append(order, name)
	}
	a.add("modules/order", []byte(strings.Join(order, "\n")), false)
	a.add("tests", nil, true)
	tests, err := filepath.Glob(filepath.Join(dir, "tests", "*"))
	if err != nil {
		return err
	}
	for _, t := range tests {
		a.add("tests/"+filepath.Base(t), read(t), false)
	}
	return a.close()
}
