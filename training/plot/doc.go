// Package plot draws the diagrams of reports as SVG: curves over steps, and
// points in a plane. Colours follow the surroundings, light or dark, by the
// variables of Style.
//
//	c := plot.Chart{Title: "Test accuracy", Unit: " %", X: "training step"}
//	c.Add(plot.Curve{Name: "adam", Points: points})
//	page := "<style>" + plot.Style + "</style>" + c.SVG()
package plot
