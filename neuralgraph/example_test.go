package neuralgraph_test

import (
	"fmt"

	"ninox/neuralgraph"
	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

func Example() {
	b := onnxgraph.NewBuilder("mlp", 17)
	x := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(4)})
	w := func(name string, in, out int64) string {
		return b.Init(onnxgraph.Floats(name, []int64{in, out}, make([]float32, in*out)))
	}
	h := b.Op("Relu", []string{b.Op("MatMul", []string{x, w("first", 4, 8)})})
	b.Output(b.Op("MatMul", []string{h, w("second", 8, 2)}), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("batch"), onnxgraph.Known(2)})
	m, err := b.Model()
	if err != nil {
		fmt.Println(err)
		return
	}
	g, err := neuralgraph.Analyse(m, ops.Registry())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, group := range g.Groups {
		fmt.Println(group.Role, group.Size, group.Permutable)
	}
	n, err := g.NiNo(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n.Nodes, "nodes,", n.Summary().Edges, "edges")
	// Output:
	// input 4 false
	// hidden 8 true
	// output 2 false
	// 14 nodes, 62 edges
}
