package ort_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"ninox/onnxgraph"
	ort "ninox/runtime"
)

func sequenceOf(elem onnxgraph.Type) onnxgraph.Type {
	return onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}
}

// swapModel takes the list [x, y] apart and gives [y, x, x].
func swapModel(t *testing.T) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder("swap", 17)
	at := func(i int64) string {
		return b.Op("SequenceAt", []string{"list", b.Const(onnxgraph.Int64s("", []int64{}, []int64{i}))})
	}
	out := b.Op("SequenceConstruct", []string{at(1), at(0), at(0)})
	list := sequenceOf(onnxgraph.TensorOf(onnxgraph.Float, nil))
	b.Graph().Inputs = []*onnxgraph.Value{{Name: "list", Type: list}}
	b.Graph().Outputs = []*onnxgraph.Value{{Name: out, Type: list}}
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSequences(t *testing.T) {
	m := swapModel(t)
	s := newSession(t, m)
	list, err := ort.SequenceValue(floats(t, []int64{2}, 1, 2), floats(t, []int64{1, 1}, 3))
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	for range 2 { // a value can be given again
		out, err := s.Run(context.Background(), map[string]*ort.Value{"list": list})
		if err != nil {
			t.Fatal(err)
		}
		got := out[m.Graph.Outputs[0].Name]
		if got.Kind() != onnxgraph.SequenceKind || got.Tensor("") != nil || len(got.Elems()) != 3 {
			t.Fatalf("got %s", got)
		}
		for i, want := range [][]float32{{3}, {1, 2}, {1, 2}} {
			if e := got.Elems()[i]; !slices.Equal(e.Floats(), want) {
				t.Errorf("element %d: %v, want %v", i, e.Floats(), want)
			}
		}
	}
}

func TestSequenceOfWrongType(t *testing.T) {
	s := newSession(t, swapModel(t))
	x, err := ort.Int64Value([]int64{1}, []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	list, err := ort.SequenceValue(x)
	if err != nil {
		t.Fatal(err)
	}
	for got, in := range map[string]*ort.Value{"seq(int64[1])": list, "int64[1]": x} {
		_, err = s.Run(context.Background(), map[string]*ort.Value{"list": in})
		want := ort.ValueError{Session: "swap", Kind: "input", Name: "list", Got: got, Want: "seq(float[...])"}
		var have *ort.ValueError
		if !errors.As(err, &have) || *have != want {
			t.Errorf("error %v, want %v", err, &want)
		}
	}
	if _, err := ort.SequenceValue(); err == nil || !strings.Contains(err.Error(), "empty") {
		t.Errorf("empty sequence: %v", err)
	}
}

// mlModel is one operator of ai.onnx.ml from x to y.
func mlModel(t *testing.T, op string, in, out onnxgraph.Type, attr *onnxgraph.Attribute) *onnxgraph.Model {
	t.Helper()
	b := onnxgraph.NewBuilder(op, 17)
	b.Import("ai.onnx.ml", 3)
	b.Node("ai.onnx.ml", op, []string{"x"}, []string{"y"}, attr)
	b.Graph().Inputs = []*onnxgraph.Value{{Name: "x", Type: in}}
	b.Graph().Outputs = []*onnxgraph.Value{{Name: "y", Type: out}}
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func mapOf(key, value onnxgraph.DType) onnxgraph.Type {
	elem := onnxgraph.TensorOf(value, onnxgraph.Shape{})
	return onnxgraph.Type{Kind: onnxgraph.MapKind, DType: key, Elem: &elem}
}

// TestMaps: ZipMap gives a list of maps, DictVectorizer takes a map.
func TestMaps(t *testing.T) {
	names := &onnxgraph.Attribute{Name: "classlabels_strings", Type: onnxgraph.AttrStrings, Strings: [][]byte{[]byte("b"), []byte("a")}}
	zip := newSession(t, mlModel(t, "ZipMap", onnxgraph.TensorOf(onnxgraph.Float, onnxgraph.StaticShape(2, 2)), sequenceOf(mapOf(onnxgraph.String, onnxgraph.Float)), names))
	out, err := zip.Run(context.Background(), map[string]*ort.Value{"x": floats(t, []int64{2, 2}, 1, 2, 3, 4)})
	if err != nil {
		t.Fatal(err)
	}
	rows := out["y"].Elems()
	if out["y"].String() != "seq(map(string, float[]))" || len(rows) != 2 {
		t.Fatalf("got %s of %d", out["y"], len(rows))
	}
	second := map[string]float32{}
	for i, k := range rows[1].Elems()[0].Tensor("").Strings {
		second[string(k)] = rows[1].Elems()[1].Floats()[i]
	}
	if len(second) != 2 || second["b"] != 3 || second["a"] != 4 {
		t.Errorf("second row: %v", second)
	}

	vocabulary := &onnxgraph.Attribute{Name: "string_vocabulary", Type: onnxgraph.AttrStrings, Strings: [][]byte{[]byte("c"), []byte("b"), []byte("a")}}
	dict := newSession(t, mlModel(t, "DictVectorizer", mapOf(onnxgraph.String, onnxgraph.Float), onnxgraph.TensorOf(onnxgraph.Float, nil), vocabulary))
	if out, err = dict.Run(context.Background(), map[string]*ort.Value{"x": rows[1]}); err != nil {
		t.Fatal(err)
	}
	if got := out["y"].Floats(); !slices.Equal(got, []float32{0, 3, 4}) {
		t.Errorf("vector %v", got)
	}
	if _, err := ort.MapValue(floats(t, []int64{1}, 1), floats(t, []int64{2}, 1, 2)); err == nil {
		t.Error("a map of 1 key and 2 values was made")
	}
}
