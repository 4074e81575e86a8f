package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cohort/bench/stat"
)

func scaled(nodes int, way, spread string, factor float64) ScaleResult {
	s := stat.Of([]float64{factor - 0.01, factor, factor + 0.01})
	return ScaleResult{
		Nodes: nodes, Forwarding: way, Spread: spread,
		Throughput: &ScaleThroughput{Factor: s}, Connections: &ScaleConnections{Factor: factor}, Rate: &ScaleRate{Factor: s},
	}
}

// TestCurvesAreDrawn: well-formed, three panels, one line for each way that was
// measured, each from one node on.
func TestCurvesAreDrawn(t *testing.T) {
	r := Report{Scale: []ScaleResult{
		scaled(1, forwardOwner, spreadFlows, 1), scaled(4, forwardOwner, spreadFlows, 0.5), scaled(16, forwardOwner, spreadFlows, 0.25),
		scaled(4, forwardDelegate, spreadPackets, 0.9),
	}}
	b := r.curves()
	d := xml.NewDecoder(strings.NewReader(string(b)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, b)
		}
	}
	if n := strings.Count(string(b), "<polyline"); n != 6 {
		t.Errorf("%d lines, want 6", n)
	}
	if n := strings.Count(string(b), "<circle"); n != 3*(3+2) {
		t.Errorf("%d points, want 15", n)
	}
	if x, y := placeX(16), placeY(0); x > panelWidth || y != panelTop+panelHeight || placeY(2) < panelTop {
		t.Errorf("points leave the panel: %v, %v, %v", x, y, placeY(2))
	}
}

// TestPiecesOfARunAreKept: what was measured now replaces what is on file, and
// nothing else.
func TestPiecesOfARunAreKept(t *testing.T) {
	o := options{out: filepath.Join(t.TempDir(), "bench"), add: true}
	first := Report{
		Seconds: 3, Entries: []EntryResult{{Role: "owner"}}, Link: []LinkResult{{Who: whoCohort}},
		Scale: []ScaleResult{scaled(16, forwardOwner, spreadFlows, 0.2), scaled(4, forwardOwner, spreadFlows, 0.5), scaled(4, forwardDelegate, spreadFlows, 0.9)},
	}
	o.note = "A shared machine."
	if err := first.store(o); err != nil {
		t.Fatal(err)
	}
	o.note = ""
	second := Report{
		Seconds: 4, Link: []LinkResult{{Who: whoConntrackd}, {Who: whoCohort}},
		Scale: []ScaleResult{scaled(4, forwardOwner, spreadFlows, 0.75), scaled(4, forwardOwner, spreadPackets, 0.4)},
	}
	if err := second.store(o); err != nil {
		t.Fatal(err)
	}
	var got []float64
	for _, x := range second.Scale {
		got = append(got, x.Connections.Factor)
	}
	if len(got) != 4 || got[0] != 0.9 || got[1] != 0.75 || got[2] != 0.2 || got[3] != 0.4 {
		t.Errorf("factors %v, want 0.9 (kept), 0.75 (4 nodes), 0.2 (16, kept), 0.4 (packets)", got)
	}
	if second.Note != "A shared machine." || second.Seconds != 7 || len(second.Entries) != 1 || len(second.Link) != 2 {
		t.Errorf("%+v", second)
	}
	for _, ext := range []string{".json", ".md", ".svg"} {
		if _, err := os.Stat(o.out + ext); err != nil {
			t.Error(err)
		}
	}
}

func TestScaleOptions(t *testing.T) {
	o, err := parse([]string{"-only", "scale,link", "-nodes", "2,16", "-spread", "packets", "-add"})
	if err != nil || len(o.nodes) != 2 || o.nodes[1] != 16 || len(o.spreads) != 1 || !o.add {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-nodes", "17"}, {"-nodes", "0"}, {"-nodes", "x"}, {"-spread", "hash"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
