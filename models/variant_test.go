package models

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"ninox/neuralgraph"
	"ninox/onnxgraph/ops"
	ort "ninox/runtime"
	"ninox/runtime/runtimetest"
)

// Every variant runs, and its neural graph places every parameter.
func TestVariants(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, v := range []Variant{
		{Hidden: []int{6, 6, 4}, Activation: "tanh", Residual: true},
		{Hidden: []int{8, 8}, Kernel: 3, Strides: []int{2}, Residual: true, Norm: "batch", Activation: "silu"},
		{Hidden: []int{8, 8, 12}, Kernel: 5, Strides: []int{2, 1, 2}, Norm: "group", Flatten: true},
		{Hidden: []int{3, 5}, Kernel: 1},
	} {
		v.Channels, v.Side, v.Classes = 2, 9, 3
		t.Run(fmt.Sprintf("%+v", v), func(t *testing.T) {
			m, err := v.Model(1)
			if err != nil {
				t.Fatal(err)
			}
			s, err := engine.NewSession(m, ort.SessionOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			in, err := ort.FloatValue([]int64{4, 2, 9, 9}, make([]float32, 4*2*9*9))
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			out, err := s.Run(context.Background(), map[string]*ort.Value{InputName: in})
			if err != nil {
				t.Fatal(err)
			}
			defer out[OutputName].Close()
			if d := out[OutputName].Dims(); !slices.Equal(d, []int64{4, 3}) {
				t.Errorf("logits of shape %v", d)
			}
			g, err := neuralgraph.Analyse(m, ops.Registry())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range m.Graph.Initializers {
				if !strings.Contains(p.Name, "running") {
					names = append(names, p.Name)
				}
			}
			n, err := g.NiNo(names)
			if err != nil {
				t.Fatal(err)
			}
			placed := 0
			for _, b := range n.Blocks {
				placed += b.Edges() * b.Taps
			}
			if placed != v.Parameters() {
				t.Errorf("the graph places %d parameters, the network has %d", placed, v.Parameters())
			}
		})
	}
}

func TestVariantRefuses(t *testing.T) {
	good := Variant{Channels: 1, Side: 8, Classes: 2, Hidden: []int{4}, Kernel: 3}
	for want, edit := range map[string]func(*Variant){
		"0 channels":           func(v *Variant) { v.Channels = 0 },
		"at least one layer":   func(v *Variant) { v.Hidden = nil },
		"kernel 2":             func(v *Variant) { v.Kernel = 2 },
		"strides [1 1]":        func(v *Variant) { v.Strides = []int{1, 1} },
		`norm "layer"`:         func(v *Variant) { v.Norm = "layer" },
		`activation "step"`:    func(v *Variant) { v.Activation = "step" },
		"multiples of 4":       func(v *Variant) { v.Norm, v.Hidden = "group", []int{6} },
		"are for convolutions": func(v *Variant) { v.Kernel, v.Flatten = 0, true },
	} {
		v := good
		edit(&v)
		if _, err := v.Model(1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, expected %q", v, err, want)
		}
	}
}

func TestTransformerRefuses(t *testing.T) {
	good := Transformer{Family: Llama, Vocab: 8, Positions: 4, Width: 8, Layers: 1, Heads: 2}
	for want, edit := range map[string]func(*Transformer){
		`family "bert"`:              func(v *Transformer) { v.Family = "bert" },
		"must be positive":           func(v *Transformer) { v.Layers = 0 },
		"no multiple of 3 heads":     func(v *Transformer) { v.Heads = 3 },
		"heads for keys":             func(v *Transformer) { v.Heads, v.KVHeads = 4, 3 },
		"as many heads for keys":     func(v *Transformer) { v.Family, v.KVHeads = GPT2, 1 },
		"an even head size, it is 1": func(v *Transformer) { v.Heads = 8 },
	} {
		v := good
		edit(&v)
		if _, err := v.Model(1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, expected %q", v, err, want)
		}
	}
}
