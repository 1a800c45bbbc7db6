package schema_test

import (
	"slices"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/onnxgraph/schema"
)

func TestLookup(t *testing.T) {
	conv := schema.Lookup("", "Conv", 17)
	if conv == nil || conv.Since != 11 || len(conv.Inputs) != 3 || !conv.Inputs[2].Optional || conv.Attr("kernel_shape").Type != onnxgraph.AttrInts {
		t.Fatalf("Conv of opset 17 is %+v", conv)
	}
	if in := conv.Inputs[0]; in.Name != "X" || in.Var != "T" || !slices.Equal(in.Types, []string{"double", "float", "float16"}) || in.Allows("int64") || !in.Allows("float") {
		t.Errorf("input 0 of Conv is %+v", in)
	}
	if schema.Lookup("", "Gelu", 19) != nil || schema.Lookup("", "Gelu", 20) == nil || schema.Lookup("", "None", 20) != nil {
		t.Error("Gelu exists from opset 20 on")
	}
	if up := schema.Lookup("", "Upsample", 17); up == nil || !up.Deprecated || up.Since != 10 {
		t.Errorf("Upsample of opset 17 is %+v", up)
	}
	if v := schema.Versions("ai.onnx.ml", "LabelEncoder"); !slices.Equal(v, []int64{1, 2, 4}) {
		t.Errorf("versions of LabelEncoder are %v", v)
	}
	if to := schema.Lookup("", "Cast", 17).Attr("to"); to == nil || !to.Required {
		t.Errorf("attribute to of Cast is %+v", to)
	}
}

func TestArity(t *testing.T) {
	for _, k := range []struct {
		op            string
		least, most   int // inputs
		outs, outMost int
	}{
		{"Conv", 2, 3, 1, 1}, {"Concat", 1, -1, 1, 1}, {"Loop", 2, -1, 1, -1}, {"Clip", 1, 3, 1, 1}, {"Constant", 0, 0, 1, 1},
		{"LSTM", 3, 8, 0, 3}, {"SequenceMap", 1, -1, 1, -1}, {"Dropout", 1, 3, 1, 2}, {"If", 1, 1, 1, -1},
	} {
		s := schema.Lookup("", k.op, 17)
		a, b := schema.Arity(s.Inputs)
		c, d := schema.Arity(s.Outputs)
		if a != k.least || b != k.most || c != k.outs || d != k.outMost {
			t.Errorf("%s takes %d to %d and gives %d to %d", k.op, a, b, c, d)
		}
	}
	inputs := schema.Lookup("", "Loop", 17).Inputs
	if p := schema.At(inputs, 7); p == nil || !p.Mixed || p.Name != "v_initial" {
		t.Errorf("input 7 of Loop is %+v", p)
	}
	if schema.At(schema.Lookup("", "Neg", 17).Inputs, 1) != nil {
		t.Error("Neg has a second input")
	}
}

func TestKey(t *testing.T) {
	float := onnxgraph.TensorOf(onnxgraph.Float, nil)
	seq := onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &float}
	for want, typ := range map[string]onnxgraph.Type{
		"":                     {},
		"float":                float,
		"seq(float)":           seq,
		"optional(seq(float))": {Kind: onnxgraph.OptionalKind, Elem: &seq},
		"map(int64,float)":     {Kind: onnxgraph.MapKind, DType: onnxgraph.Int64, Elem: &float},
		"sparse_tensor(float)": {Kind: onnxgraph.SparseTensorKind, DType: onnxgraph.Float},
	} {
		if got := schema.Key(typ); got != want {
			t.Errorf("key of %s is %q, expected %q", typ, got, want)
		}
	}
	if schema.Key(onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &onnxgraph.Type{}}) != "" {
		t.Error("a sequence of nothing has a key")
	}
}

// Every type of the table is one that Key writes, and every operator with
// rules is in the table.
func TestTable(t *testing.T) {
	known := map[string]bool{}
	for d := onnxgraph.Undefined + 1; d.Valid(); d++ {
		known[d.String()] = true
	}
	compared := 0
	for _, def := range ops.Registry().All() {
		if !schema.Specified(def.Domain) {
			continue
		}
		s := schema.Lookup(def.Domain, def.Name, 1<<30)
		if s == nil {
			continue // an operator of ONNX Runtime in the default domain
		}
		compared++
		for _, p := range append(slices.Clone(s.Inputs), s.Outputs...) {
			if len(p.Types) == 0 || !slices.IsSorted(p.Types) {
				t.Errorf("%s: parameter %s has the types %v", def.Name, p.Name, p.Types)
			}
			if len(p.Types) == 1 && p.Var == "" && !known[p.Types[0]] {
				t.Errorf("%s: parameter %s has the unknown type %s", def.Name, p.Name, p.Types[0])
			}
		}
	}
	if compared < 180 {
		t.Errorf("%d operators compared, expected at least 180", compared)
	}
}
