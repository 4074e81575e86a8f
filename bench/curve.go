package main

import (
	"bytes"
	"fmt"
	"math"
)

// The drawing's measures, in its own units.
const (
	panelWidth  = 300
	panelHeight = 240
	panelLeft   = 46
	panelTop    = 52
	panelGap    = 40
	legendRoom  = 60
)

// curve is one line of a panel: a factor by the number of nodes.
type curve struct {
	name   string
	class  string // of its style
	points []point
}

type point struct{ nodes, low, factor, high float64 }

// panel is one of the three factors.
type panel struct {
	title     string
	reference float64 // what a cluster of the reference keeps
	curves    []curve
}

// style is readable on light ground and dark: colours of middle brightness, and
// text that follows what the reader prefers.
const style = `<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.title { font-weight: 600; font-size: 14px }
.grid { stroke: #8884; stroke-width: 1 }
.axis { stroke: #888; stroke-width: 1 }
.reference { stroke: #888; stroke-width: 1.5; stroke-dasharray: 5 4 }
.line { fill: none; stroke-width: 2.2 }
.bar { stroke-width: 1.2 }
.a { stroke: #2f7ed8 } .a.dot { fill: #2f7ed8 }
.b { stroke: #e07b00 } .b.dot { fill: #e07b00 }
.c { stroke: #27a35a } .c.dot { fill: #27a35a }
.d { stroke: #c2478e } .d.dot { fill: #c2478e }
.packets { stroke-dasharray: 2 4 }
.dot { stroke: none }
@media (prefers-color-scheme: dark) { text { fill: #ddd } }
</style>
`

// curves draws the three factors by the number of nodes (SVG).
func (r *Report) curves() []byte {
	panels := r.panels()
	width := panelLeft + len(panels)*(panelWidth+panelGap)
	height := panelTop + panelHeight + 40 + legendRoom
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="Share of the combined capacity of n nodes that survives clustering">`+"\n", width, height)
	b.WriteString(style)
	fmt.Fprintf(&b, `<text x="%d" y="18">share of n nodes' combined capacity that the cluster has (dashed grey: reference product); bars: 95 %% interval, of fewer than six rounds the range</text>`+"\n", panelLeft)
	for i := range panels {
		panels[i].draw(&b, panelLeft+i*(panelWidth+panelGap))
	}
	if len(panels) > 0 {
		drawLegend(&b, panels[0].curves, panelTop+panelHeight+58)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// panels collects the factors, one curve for each way of forwarding and
// spreading.
func (r *Report) panels() []panel {
	all := []panel{{title: "throughput", reference: 0.70}, {title: "connections, all protected", reference: 0.60}, {title: "connection rate, all protected", reference: 0.50}}
	colours := map[string]string{forwardDelegate: "a", forwardOwner: "b"}
	for _, way := range []string{forwardDelegate, forwardOwner} {
		for _, spread := range spreads {
			var lines [3]curve
			for i := range lines {
				lines[i] = curve{name: way + ", routers spread " + spread, class: colours[way] + " " + spread, points: []point{{1, 1, 1, 1}}}
			}
			for _, x := range r.Scale {
				if x.Forwarding != way || x.Spread != spread || x.Nodes == 1 {
					continue
				}
				n := float64(x.Nodes)
				if t := x.Throughput; t != nil {
					lines[0].points = append(lines[0].points, point{n, t.Factor.Low, t.Factor.Median, t.Factor.High})
				}
				if c := x.Connections; c != nil {
					lines[1].points = append(lines[1].points, point{n, c.Factor, c.Factor, c.Factor})
				}
				if c := x.Rate; c != nil {
					lines[2].points = append(lines[2].points, point{n, c.Factor.Low, c.Factor.Median, c.Factor.High})
				}
			}
			if len(lines[0].points)+len(lines[1].points)+len(lines[2].points) == 3 {
				continue
			}
			for i := range lines {
				all[i].curves = append(all[i].curves, lines[i])
			}
		}
	}
	return all
}

// x and y place a point of a panel: nodes by their logarithm, the factor from 0
// to 1.1.
func placeX(nodes float64) float64 { return 12 + math.Log2(nodes)/4*(panelWidth-24) }

func placeY(factor float64) float64 {
	return panelTop + panelHeight - min(max(factor, 0), 1.1)/1.1*panelHeight
}

func (p *panel) draw(b *bytes.Buffer, left int) {
	fmt.Fprintf(b, `<g transform="translate(%d 0)">`+"\n", left)
	fmt.Fprintf(b, `<text class="title" x="0" y="%d">%s</text>`+"\n", panelTop-12, p.title)
	for v := 0.0; v < 1.05; v += 0.2 {
		fmt.Fprintf(b, `<line class="grid" x1="0" y1="%.1f" x2="%d" y2="%.1f"/><text x="-8" y="%.1f" text-anchor="end">%.1f</text>`+"\n", placeY(v), panelWidth, placeY(v), placeY(v)+4, v)
	}
	for _, n := range []float64{1, 2, 4, 8, 16} {
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f</text>`+"\n", placeX(n), panelTop+panelHeight+18, n)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">nodes</text>`+"\n", panelWidth, panelTop+panelHeight+34)
	fmt.Fprintf(b, `<line class="axis" x1="0" y1="%d" x2="%d" y2="%d"/>`+"\n", panelTop+panelHeight, panelWidth, panelTop+panelHeight)
	fmt.Fprintf(b, `<line class="reference" x1="0" y1="%.1f" x2="%d" y2="%.1f"/>`+"\n", placeY(p.reference), panelWidth, placeY(p.reference))
	for i := range p.curves {
		p.curves[i].draw(b)
	}
	b.WriteString("</g>\n")
}

func (c *curve) draw(b *bytes.Buffer) {
	fmt.Fprintf(b, `<polyline class="line %s" points="`, c.class)
	for _, p := range c.points {
		fmt.Fprintf(b, "%.1f,%.1f ", placeX(p.nodes), placeY(p.factor))
	}
	b.WriteString(`"/>` + "\n")
	for _, p := range c.points {
		if p.high > p.low {
			fmt.Fprintf(b, `<line class="bar %s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, c.class[:1], placeX(p.nodes), placeY(p.low), placeX(p.nodes), placeY(p.high))
		}
		fmt.Fprintf(b, `<circle class="%s dot" cx="%.1f" cy="%.1f" r="3.4"><title>%s: %.0f nodes, %.3f</title></circle>`+"\n", c.class[:1], placeX(p.nodes), placeY(p.factor), c.name, p.nodes, p.factor)
	}
}

func drawLegend(b *bytes.Buffer, curves []curve, top int) {
	for i, c := range curves {
		x, y := panelLeft+(i%2)*420, top+i/2*20
		fmt.Fprintf(b, `<line class="line %s" x1="%d" y1="%d" x2="%d" y2="%d"/><text x="%d" y="%d">%s</text>`+"\n", c.class, x, y, x+36, y, x+44, y+4, c.name)
	}
}
