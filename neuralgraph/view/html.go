package view

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strconv"

	"ninox/neuralgraph"
)

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

//go:embed page/layout.js
var pageLayout string

//go:embed page/draw.js
var pageDraw string

//go:embed page/page.js
var pageScript string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// HTML writes one page that needs no network: both views, the adjacency matrix,
// lists, search and details. Options choose what it shows first; with Expand it
// has the operators of shapes, too.
func (v *View) HTML(w io.Writer, o Options) error {
	data, err := json.Marshal(v.page(o))
	if err != nil {
		return fmt.Errorf("view: %w", err)
	}
	return pageTemplate.Execute(w, struct {
		Title                string
		Style                template.CSS
		Data                 template.JS
		Layout, Draw, Script template.JS
	}{v.name, template.CSS(pageCSS), template.JS(data), template.JS(pageLayout), template.JS(pageDraw), template.JS(pageScript)}) // json.Marshal escapes < and >
}

// page is the data of the HTML page.
type page struct {
	Numbers     string                    `json:"numbers"`
	View        string                    `json:"view"`
	Model       neuralgraph.ModelSummary  `json:"model"`
	NiNo        neuralgraph.NiNoSummary   `json:"nino"`
	Coverage    neuralgraph.Coverage      `json:"coverage"`
	Covered     string                    `json:"covered"`
	Certificate string                    `json:"certificate"`
	Certified   string                    `json:"certified"` // "good", "bad" or ""
	Failed      []string                  `json:"failed"`
	Groups      []neuralgraph.Group       `json:"groups"`
	Blocks      []pageBlock               `json:"blocks"`
	Attention   []neuralgraph.Attention   `json:"attention"`
	Residuals   []neuralgraph.Residual    `json:"residuals"`
	Params      []pageParam               `json:"params"`
	EdgeTypes   [][2]any                  `json:"edgeTypes"` // name and number
	Scenes      map[string]pageScene      `json:"scenes"`
	Adjacency   pageMatrix                `json:"adjacency"`
	Looks       map[string]map[string]any `json:"looks"`
}

type pageBlock struct {
	neuralgraph.ParameterBlock
	TypeName string `json:"typeName"`
}

type pageParam struct {
	Name     string `json:"name"`
	Shape    string `json:"shape"`
	Elements int64  `json:"elements"`
	Types    string `json:"types"`
	Blocks   []int  `json:"blocks"`
	Reason   string `json:"reason,omitempty"`
}

type pageScene struct {
	Nodes  []pageNode `json:"nodes"`
	Edges  [][]any    `json:"edges"` // from, to, kind, label, reversed, parameters
	Kinds  []string   `json:"kinds"`
	Labels []string   `json:"labels"`
	Items  []any      `json:"items"` // nodes, and boxes as pageBox
	Hidden int        `json:"hidden"`
}

type pageNode struct {
	Kind   string      `json:"kind"`
	Title  string      `json:"title"`
	Name   string      `json:"name,omitempty"`
	Inside string      `json:"inside,omitempty"`
	Result string      `json:"result,omitempty"`
	Lines  []string    `json:"lines,omitempty"`
	Facts  [][2]string `json:"facts,omitempty"`
	Params []int       `json:"params,omitempty"`
	Groups []string    `json:"groups,omitempty"`
	Dashed bool        `json:"dashed,omitempty"`
}

type pageBox struct {
	Title  string `json:"t"`
	First  int    `json:"f"`
	Period int    `json:"p"`
	Copies int    `json:"c"`
	Items  []any  `json:"i"`
	Empty  bool   `json:"e,omitempty"` // no parameters inside: closed at first
}

func (v *View) page(o Options) *page {
	d := v.document
	p := &page{
		Numbers: v.numbers(), View: "neurons", Model: d.Model, NiNo: d.NiNo, Coverage: d.Coverage, Groups: d.Groups, Attention: d.Attention, Residuals: d.Residuals,
		Covered: percent(d.Coverage.InBlocks, d.Coverage.Parameters), Failed: []string{}, Blocks: []pageBlock{}, Params: []pageParam{}, EdgeTypes: [][2]any{},
		Looks: map[string]map[string]any{},
	}
	if o.Operators {
		p.View = "operators"
	}
	if v.verdict != nil {
		p.Certificate, p.Certified = fmt.Sprint(v.verdict.Certificate), "good"
		if p.Failed = append(p.Failed, v.verdict.Failed...); len(p.Failed) > 0 {
			p.Certified = "bad"
		}
	}
	neurons := v.neurons()
	titles := make([]string, len(neurons.nodes))
	for i := range neurons.nodes {
		titles[i] = neurons.nodes[i].title
	}
	p.Adjacency = v.matrix(titles)
	p.Scenes = map[string]pageScene{"neurons": neurons.page(), "operators": v.operators(o.Expand).page()}
	for k, l := range looks {
		p.Looks[k] = map[string]any{"name": l.name, "fill": l.fill, "line": l.line}
	}
	blocks := map[string][]int{}
	for i, b := range d.Blocks {
		p.Blocks = append(p.Blocks, pageBlock{b, b.Type.Name()})
		blocks[b.Parameter] = append(blocks[b.Parameter], i)
	}
	reasons := map[string]string{}
	for _, o := range d.Coverage.Opaque {
		reasons[o.Parameter] = o.Reason
	}
	for i := range v.graph.Parameters {
		q := &v.graph.Parameters[i]
		x := pageParam{Name: q.Name, Shape: dims(q.Shape), Elements: q.Elements(), Blocks: blocks[q.Name], Reason: reasons[q.Name]}
		if x.Blocks == nil {
			x.Blocks = []int{}
		}
		x.Types = (&row{kinds: v.kindsOf(q.Name)}).kind()
		p.Params = append(p.Params, x)
	}
	for t := neuralgraph.EdgePadding; t <= neuralgraph.EdgeSelfLoop; t++ {
		if n := d.NiNo.EdgesByType[strconv.Itoa(int(t))]; n > 0 {
			p.EdgeTypes = append(p.EdgeTypes, [2]any{t.Name(), n})
		}
	}
	return p
}

// kindsOf lists the types of a parameter's edges.
func (v *View) kindsOf(parameter string) []string {
	var out []string
	seen := map[string]bool{}
	for _, b := range v.blocksOf[parameter] {
		if name := b.Type.Name(); !seen[name] {
			seen[name] = true
			out = append(out, name)
		}
	}
	return out
}

// page puts a scene into the form of the page's data.
func (s *scene) page() pageScene {
	out := pageScene{Nodes: make([]pageNode, len(s.nodes)), Edges: make([][]any, len(s.edges)), Kinds: []string{}, Labels: []string{}, Hidden: s.hidden}
	for i := range s.nodes {
		n := &s.nodes[i]
		out.Nodes[i] = pageNode{Kind: n.kind, Title: n.title, Name: n.name, Result: n.result, Lines: n.lines, Params: n.params, Groups: n.group, Dashed: n.dashed}
		if n.inside != n.title {
			out.Nodes[i].Inside = n.inside
		}
		for _, f := range n.facts {
			if f.value != "" {
				out.Nodes[i].Facts = append(out.Nodes[i].Facts, [2]string{f.name, f.value})
			}
		}
	}
	kinds, labels := numbers{}, numbers{}
	for i, e := range s.edges {
		k, l := kinds.of(e.kind), labels.of(e.label)
		if k == len(out.Kinds) {
			out.Kinds = append(out.Kinds, e.kind)
		}
		if l == len(out.Labels) {
			out.Labels = append(out.Labels, e.label)
		}
		x := []any{e.from, e.to, k, l}
		if e.reversed || len(e.params) > 0 {
			reversed := 0
			if e.reversed {
				reversed = 1
			}
			x = append(x, reversed, e.params)
		}
		out.Edges[i] = x
	}
	out.Items = s.pageItems(s.items)
	return out
}

func (s *scene) pageItems(items []item) []any {
	out := make([]any, len(items))
	for i, it := range items {
		if it.box == nil {
			out[i] = it.node
			continue
		}
		b := it.box
		p := pageBox{Title: b.title, First: b.first, Period: b.period, Copies: b.copies, Items: s.pageItems(b.items), Empty: true}
		for _, n := range s.nodes[b.first : b.first+it.width()] {
			p.Empty = p.Empty && len(n.params) == 0
		}
		out[i] = p
	}
	return out
}
