package neuralgraph

import (
	"bytes"
	"html/template"
	"io"
)

// HTML writes one page without outside references: the drawing, and the tables
// of Text.
func (g *Graph) HTML(w io.Writer, verdict *Verdict) error {
	var drawing, text bytes.Buffer
	if err := g.SVG(&drawing); err != nil {
		return err
	}
	if err := g.Text(&text, verdict); err != nil {
		return err
	}
	return page.Execute(w, struct {
		Drawing template.HTML
		Text    string
	}{template.HTML(drawing.String()), text.String()}) // SVG escapes the names in it
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Neural graph</title>
<style>body{font-family:sans-serif;margin:2em}div{overflow:auto;border:1px solid #ccc}pre{font-size:12px}</style></head>
<body><h1>Neural graph</h1><div>{{.Drawing}}</div><pre>{{.Text}}</pre></body></html>
`))
