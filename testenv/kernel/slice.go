package main

import (
	"slices"
	"strings"
)

// pkg is a package whose tests the machine runs.
type pkg struct {
	path, name string   // the name has dots for slashes
	tests      []string // all if empty; otherwise these, and each must pass
}

func packages(paths []string) (all []pkg) {
	for _, p := range paths {
		all = append(all, pkg{path: p, name: strings.ReplaceAll(p, "/", ".")})
	}
	return all
}

// slice is what fits into a minute on two cores without hardware
// virtualisation: the loader and its attachments, what the verifier says, a
// packet for every outcome, and each role of a node.
func slice() []pkg {
	all := packages([]string{"bpf", "dataplane"})
	all[0].tests = []string{
		"TestMG5_EveryOutcomeHappens", "TestFR1_FourNodesOneConnection", "TestTranslation", "TestFR6_DirectorRelaysToTheNewOwner",
		"TestTR2_ResetMustMatchTheAcknowledgement", "TestHL5_NothingPassesWithoutLease",
	}
	all[1].tests = []string{
		"TestVerifierHasRoomToSpare", "TestOpenStartsEmptyFencedAndSized", "TestHL5_RestartAdoptsMemoryAndLinks",
		"TestFR6_AttachedProgramsSteerAndRelay", "TestTR1_TransitThroughGoThenThroughXDPThenAcrossARestart",
	}
	return all
}

// pattern selects exactly the named tests of all packages.
func pattern(all []pkg) string {
	var names []string
	for _, p := range all {
		names = append(names, p.tests...)
	}
	slices.Sort(names)
	return "^(" + strings.Join(slices.Compact(names), "|") + ")$"
}
