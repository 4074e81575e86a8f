// Package deploy holds what installs Cohort on a machine; it has only tests.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstallLeavesAWorkingUnit installs into an empty root and has systemd read
// the unit there, with every program that it names.
func TestInstallLeavesAWorkingUnit(t *testing.T) {
	root := t.TempDir()
	// MAKEFLAGS of the make that runs this test are none of the inner one's business.
	install := exec.Command("make", "-C", "..", "install", "DESTDIR="+root)
	install.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	unit, err := os.ReadFile(filepath.Join(root, "etc/systemd/system/cohortd.service"))
	if err != nil {
		t.Fatal(err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd here")
	}
	here := filepath.Join(root, "cohortd.service")
	bin := filepath.Join(root, "usr/local/bin") + "/"
	if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(unit), "/usr/local/bin/", bin)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(analyze, "verify", "--man=no", here).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}
