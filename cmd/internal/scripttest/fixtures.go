package scripttest

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"ninox/onnxgraph"
)

// Sizes of the fixtures.
const (
	features = 4
	hidden   = 8
	classes  = 3
	samples  = 96
)

// Fixtures writes what scripts work with into a folder:
//
//	mlp.onnx      x [batch,4] → 8 → ReLU → scores [batch,3]; fc1.weight, fc1.bias, fc2.weight, fc2.bias
//	fixed.onnx    the same with batches of 16
//	blocked.onnx  the same with a node "wall" behind the ReLU that no gradient passes
//	unknown.onnx  two operators that no one knows
//	old.onnx      mlp.onnx in opset 9, with Clip in place of ReLU
//	dropout.onnx  mlp.onnx with Dropout in place of ReLU
//	fused.onnx    mlp.onnx with com.microsoft's Gelu in place of ReLU
//	train.npz     x [96,4], labels [96]: the class is the largest of the first three features
//	wrong.npz     x has 5 features
//	huge.npz      features so large that the loss overflows
//	stray.npz     the label of sample 90 is none of the classes
func Fixtures(dir string) error {
	for name, m := range map[string]func() (*onnxgraph.Model, error){
		"mlp.onnx":     func() (*onnxgraph.Model, error) { return mlp(onnxgraph.Sym("batch"), false) },
		"fixed.onnx":   func() (*onnxgraph.Model, error) { return mlp(onnxgraph.Known(16), false) },
		"blocked.onnx": func() (*onnxgraph.Model, error) { return mlp(onnxgraph.Sym("batch"), true) },
		"unknown.onnx": unknown,
		"old.onnx":     old,
		"fused.onnx":   fused,
		"dropout.onnx": func() (*onnxgraph.Model, error) { return replaced(onnxgraph.Node{OpType: "Dropout"}) },
	} {
		model, err := m()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := model.WriteFile(filepath.Join(dir, name), onnxgraph.WriteOptions{}); err != nil {
			return err
		}
	}
	for name, d := range map[string]struct {
		features int
		scale    float32
		edit     func(labels []int64)
	}{
		"train.npz": {features, 1, nil},
		"wrong.npz": {features + 1, 1, nil},
		"huge.npz":  {features, 3e38, nil},
		"stray.npz": {features, 1, func(labels []int64) { labels[90] = classes + 4 }},
	} {
		if err := writeNPZ(filepath.Join(dir, name), d.features, d.scale, d.edit); err != nil {
			return err
		}
	}
	return nil
}

func mlp(batch onnxgraph.Dim, wall bool) (*onnxgraph.Model, error) {
	b := onnxgraph.NewBuilder("mlp", 17)
	rng := rand.New(rand.NewPCG(1, 2))
	layer := func(name, x string, in, out int64) string {
		w := make([]float32, in*out)
		for i := range w {
			w[i] = float32(rng.NormFloat64()) / 2
		}
		weight := b.Init(onnxgraph.Floats(name+".weight", []int64{out, in}, w))
		bias := b.Init(onnxgraph.Floats(name+".bias", []int64{out}, make([]float32, out)))
		return b.Named(name, "Gemm", []string{x, weight, bias}, onnxgraph.IntAttr("transB", 1))
	}
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(features)})
	h := b.Named("relu", "Relu", []string{layer("fc1", x, features, hidden)})
	if wall {
		cond := b.Input("cond", onnxgraph.Bool, onnxgraph.Shape{})
		h = b.Named("wall", "If", []string{cond}, onnxgraph.GraphAttr("then_branch", branch(h, "Identity")), onnxgraph.GraphAttr("else_branch", branch(h, "Neg")))
	}
	b.Output(layer("fc2", h, hidden, classes), onnxgraph.Float, onnxgraph.Shape{batch, onnxgraph.Known(classes)})
	return b.Model()
}

// branch is a subgraph that applies one operator to an outer value.
func branch(value, opType string) *onnxgraph.Graph {
	out := opType + "_out"
	return &onnxgraph.Graph{
		Name:    opType,
		Nodes:   []*onnxgraph.Node{{Name: opType, OpType: opType, Inputs: []string{value}, Outputs: []string{out}}},
		Outputs: []*onnxgraph.Value{{Name: out, Type: onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(hidden)})}},
	}
}

func unknown() (*onnxgraph.Model, error) {
	m, err := mlp(onnxgraph.Sym("batch"), false)
	if err != nil {
		return nil, err
	}
	g := m.Graph
	last := g.Nodes[len(g.Nodes)-1]
	last.OpType, last.Attrs = "Frobnicate", nil
	g.Nodes[0].OpType, g.Nodes[0].Domain, g.Nodes[0].Attrs = "Warp", "com.example", nil
	m.Opsets = append(m.Opsets, onnxgraph.Opset{Domain: "com.example", Version: 1})
	return m, nil
}

// replaced is the small network with another node in place of its ReLU.
func replaced(by onnxgraph.Node) (*onnxgraph.Model, error) {
	m, err := mlp(onnxgraph.Sym("batch"), false)
	if err != nil {
		return nil, err
	}
	for i, n := range m.Graph.Nodes {
		if n.OpType == "Relu" {
			by.Name, by.Inputs, by.Outputs = n.Name, n.Inputs, n.Outputs
			m.Graph.Nodes[i] = &by
		}
	}
	return m, nil
}

func old() (*onnxgraph.Model, error) {
	m, err := replaced(onnxgraph.Node{OpType: "Clip", Attrs: []*onnxgraph.Attribute{onnxgraph.FloatAttr("min", 0)}})
	if err != nil {
		return nil, err
	}
	m.IRVersion, m.Opsets = 4, []onnxgraph.Opset{{Version: 9}}
	return m, nil
}

func fused() (*onnxgraph.Model, error) {
	m, err := replaced(onnxgraph.Node{OpType: "Gelu", Domain: "com.microsoft"})
	if err != nil {
		return nil, err
	}
	m.Opsets = append(m.Opsets, onnxgraph.Opset{Domain: "com.microsoft", Version: 1})
	return m, nil
}

// writeNPZ writes the arrays x and labels, the latter edited where edit is given.
func writeNPZ(path string, features int, scale float32, edit func(labels []int64)) error {
	rng := rand.New(rand.NewPCG(3, 4))
	x, labels := make([]float32, samples*features), make([]int64, samples)
	for i := range labels {
		row := x[i*features : (i+1)*features]
		for j := range row {
			row[j] = scale * float32(2*rng.Float64()-1)
			if j < classes && row[j] > row[labels[i]] {
				labels[i] = int64(j)
			}
		}
	}
	if edit != nil {
		edit(labels)
	}
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, a := range map[string]struct {
		descr string
		dims  []int
		data  any
	}{"x": {"<f4", []int{samples, features}, x}, "labels": {"<i8", []int{samples}, labels}} {
		w, err := z.Create(name + ".npy")
		if err != nil {
			return err
		}
		if err := writeNPY(w.Write, a.descr, a.dims, a.data); err != nil {
			return err
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// writeNPY writes one array (format: numpy.lib.format, version 1.0).
func writeNPY(write func([]byte) (int, error), descr string, dims []int, data any) error {
	shape := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(dims)), ", "), "[]") + ","
	head := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape)
	head += strings.Repeat(" ", 63-(10+len(head))%64) + "\n"
	out, err := binary.Append([]byte("\x93NUMPY\x01\x00"), binary.LittleEndian, uint16(len(head)))
	if err != nil {
		return err
	}
	if out, err = binary.Append(append(out, head...), binary.LittleEndian, data); err != nil {
		return err
	}
	_, err = write(out)
	return err
}
