package view

import (
	"fmt"
	"slices"
	"strings"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
)

// row is one line of the table of layers: a linear map or another parameter,
// with the biases and norms that directly follow it.
type row struct {
	name       string
	kinds      []string // of its parameters, biases last
	kernel     string
	from, to   int64 // neurons; from 0 where there are no sources
	edges      int64 // fewer than from·to where neurons stand side by side, as of a grouped convolution
	parameters int64
	list       []int // indices of parameters
	reads      []int // rows
}

// rowReader finds the rows of a model.
type rowReader struct {
	v       *View
	rows    []*row
	made    map[string]*row  // values that come from a row, with nothing but changes of the view between
	behind  map[string][]int // the rows last passed on the way to a value
	placed  map[int]bool
	indexOf map[*row]int
}

// keepsRow are the operators that leave a row's values as they are.
var keepsRow = map[string]bool{"Reshape": true, "Transpose": true, "Cast": true, "Identity": true, "Squeeze": true, "Unsqueeze": true, "Flatten": true}

// layerRows lists the layers in the order of the flow.
func (v *View) layerRows() []*row {
	r := &rowReader{v: v, made: map[string]*row{}, behind: map[string][]int{}, placed: map[int]bool{}, indexOf: map[*row]int{}}
	r.graph(v.graph.Model().Graph)
	for i := range v.graph.Parameters { // what no operator reads directly
		if !r.placed[i] {
			r.open([]int{i}, nil)
		}
	}
	for _, x := range r.rows {
		r.finish(x)
	}
	return r.rows
}

func (r *rowReader) graph(g *onnxgraph.Graph) {
	for _, n := range g.Nodes {
		for _, sub := range n.Subgraphs() {
			r.graph(sub)
		}
		r.node(n)
	}
}

// node puts the parameters of an operator into a row.
func (r *rowReader) node(n *onnxgraph.Node) {
	var params, reads []int
	var before *row
	for _, in := range n.Reads() {
		if p, ok := r.v.paramIndex[in]; ok {
			if !r.placed[p] {
				r.placed[p] = true
				params = append(params, p)
			}
			continue
		}
		reads = merge(reads, r.behind[in])
		if before == nil {
			before = r.made[in]
		}
	}
	at := before
	switch {
	case len(params) > 0 && (before == nil || !r.follows(params)):
		at = r.open(params, reads)
	case len(params) > 0:
		before.list = append(before.list, params...)
	case !keepsRow[n.OpType]:
		at = nil
	}
	if len(params) > 0 {
		reads = []int{r.indexOf[at]}
	}
	if n.OpType == "Shape" || n.OpType == "Size" {
		reads = nil // no values pass
	}
	for _, out := range n.Outputs {
		r.behind[out] = reads
		if at != nil {
			r.made[out] = at
		}
	}
}

// merge unites two lists of rows and keeps the last two, so that what follows a
// residual sum depends on the sum's last terms.
func merge(a, b []int) []int {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	out = slices.Compact(out)
	return out[max(0, len(out)-2):]
}

// follows says whether parameters are biases and norm weights only, which
// belong to the layer in front of them.
func (r *rowReader) follows(params []int) bool {
	for _, p := range params {
		for _, b := range r.v.blocksOf[r.v.graph.Parameters[p].Name] {
			if b.Type != neuralgraph.EdgeBias && b.Type != neuralgraph.EdgeNorm {
				return false
			}
		}
		if len(r.v.blocksOf[r.v.graph.Parameters[p].Name]) == 0 {
			return false
		}
	}
	return true
}

func (r *rowReader) open(params, reads []int) *row {
	x := &row{list: params, reads: reads}
	r.indexOf[x] = len(r.rows)
	r.rows = append(r.rows, x)
	return x
}

// finish sums up a row.
func (r *rowReader) finish(x *row) {
	var names, biases []string
	largest := int64(-1)
	for _, k := range x.list {
		p := &r.v.graph.Parameters[k]
		names = append(names, p.Name)
		x.parameters += p.Elements()
		blocks := r.v.blocksOf[p.Name]
		if len(blocks) == 0 && !slices.Contains(x.kinds, "opaque") {
			x.kinds = append(x.kinds, "opaque")
		}
		for _, b := range blocks {
			name := b.Type.Name()
			if b.Type == neuralgraph.EdgeBias {
				if !slices.Contains(biases, name) {
					biases = append(biases, name)
				}
			} else if !slices.Contains(x.kinds, name) {
				x.kinds = append(x.kinds, name)
			}
		}
		if len(blocks) > 0 && p.Elements() > largest {
			largest = p.Elements()
			r.ends(x, p.Name, blocks)
		}
	}
	if len(x.kinds) == 0 {
		x.kinds = biases
	}
	x.name = r.v.named(rowName(names), names[0])
}

// ends counts the neurons at both ends of a row's main parameter.
func (r *rowReader) ends(x *row, name string, blocks []*neuralgraph.ParameterBlock) {
	x.from, x.to, x.edges, x.kernel = 0, 0, 0, ""
	targets := map[string]bool{}
	for _, b := range blocks {
		key := b.Slice + strings.Join(b.Target, " ")
		if !targets[key] {
			x.to += r.v.extent(b.Target)
		}
		targets[key] = true
		if len(b.Source) > 0 {
			x.from = max(x.from, r.v.extent(b.Source))
		}
		x.edges += b.Edges
		if b.Taps > 1 {
			x.kernel = r.v.kernel(name, b.Taps)
		}
	}
}

// extent is the number of combinations of neurons of groups.
func (v *View) extent(ids []string) int64 {
	n := int64(1)
	for _, id := range ids {
		if g := v.groupOf[id]; g != nil {
			n *= max(g.Size, 1)
		}
	}
	return n
}

// kind prints what the row is: "convolution 3×3, norm".
func (x *row) kind() string {
	list := slices.Clone(x.kinds)
	switch {
	case len(list) == 0 || x.from < 2 || x.edges >= x.from*x.to || list[0] != "convolution":
	case x.edges == max(x.from, x.to):
		list[0] = "depthwise " + list[0]
	default:
		list[0] = "grouped " + list[0]
	}
	if len(list) > 0 && x.kernel != "" {
		list[0] += " " + x.kernel
	}
	return strings.Join(list, ", ")
}

// neurons prints the ends: "64 → 128".
func (x *row) neurons() string {
	switch {
	case x.to == 0:
		return ""
	case x.from == 0:
		return "→ " + count(x.to)
	}
	return count(x.from) + " → " + count(x.to)
}

// rowName is what the names of a row's parameters have in common, up to a
// separator; exporters' numbered names count only where there is no other.
func rowName(names []string) string {
	var good []string
	for _, n := range names {
		if !numbered(n) {
			good = append(good, n)
		}
	}
	if len(good) == 0 {
		good = names
	}
	common := good[0]
	for _, n := range good[1:] {
		for !strings.HasPrefix(n, common) {
			common = common[:len(common)-1]
		}
	}
	if len(good) > 1 {
		if i := strings.LastIndexAny(common, "./_"); i > 0 && !slices.Contains(good, common) {
			common = common[:i]
		}
		common = strings.TrimRight(common, "./_")
	}
	if common == "" || numbered(good[0]) {
		common = good[0]
	}
	for _, end := range []string{".weight", ".bias"} {
		common = strings.TrimSuffix(common, end)
	}
	return common
}

// rowSequence describes rows so that repeats among them can be found.
func rowSequence(rows []*row) *sequence {
	q := &sequence{}
	known := numbers{}
	for _, x := range rows {
		q.labels = append(q.labels, known.of(fmt.Sprint(x.kind(), x.neurons(), x.parameters, len(x.list))))
		q.reads = append(q.reads, x.reads)
	}
	return q
}
