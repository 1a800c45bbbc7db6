package infer_test

import (
	"fmt"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/infer"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/rewrite"
)

// Any model that can be read is prepared and inferred, or refused.
func FuzzAnalyse(f *testing.F) {
	b := onnxgraph.NewBuilder("g", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n"), onnxgraph.Known(6)})
	s := b.Op("Shape", []string{x})
	d := b.Op("Gather", []string{s, b.Const(onnxgraph.Int64s("zero", []int64{1}, []int64{0}))}, onnxgraph.IntAttr("axis", 0))
	to := b.Op("Concat", []string{d, b.Const(onnxgraph.Vector("", 2, 3))}, onnxgraph.IntAttr("axis", 0))
	y := b.Op("Reshape", []string{x, to})
	z := b.Op("Transpose", []string{y}, onnxgraph.IntsAttr("perm", 2, 0, 1))
	w := b.Op("Slice", []string{z, b.Const(onnxgraph.Vector("", 0)), b.Const(onnxgraph.Vector("", 2)), b.Const(onnxgraph.Vector("", 1))})
	b.Output(b.Op("Softmax", []string{w}, onnxgraph.IntAttr("axis", -1)), onnxgraph.Float, nil)
	m, err := b.Model()
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []*onnxgraph.Model{m, nestedLoops(f, 2)} {
		file, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	// One node of every operator, with made-up inputs: the fuzzer changes them.
	for _, def := range ops.Registry().All() {
		version := def.Versions[len(def.Versions)-1]
		b := onnxgraph.NewBuilder("g", 17)
		if def.Domain != "" {
			b.Import(def.Domain, version)
		}
		var in []string
		for i := range max(def.In.Min, 1) {
			if i == 1 {
				in = append(in, b.Const(onnxgraph.Vector("v", 1, 2)))
				continue
			}
			in = append(in, b.Input(fmt.Sprint("x", i), onnxgraph.Float, onnxgraph.StaticShape(2, 4)))
		}
		b.Node(def.Domain, def.Name, in, []string{"y"})
		b.Output("y", onnxgraph.Float, nil)
		m, err := b.Model()
		if err != nil {
			f.Fatal(err)
		}
		file, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := onnxgraph.Unmarshal(file)
		if err != nil {
			return
		}
		ready, err := rewrite.Standard(m, ops.Registry())
		if err != nil {
			return
		}
		_, _ = infer.Run(ready, ops.Registry(), infer.Options{})
	})
}
