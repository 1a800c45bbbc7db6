package conformance

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
	"ninox/runtime/runtimetest"
)

// tensorProto is a float vector as a file of a data set holds it.
func tensorProto(v ...float32) []byte {
	const dims, dataType, rawData = 1, 2, 9
	b := protowire.AppendVarint(protowire.AppendTag(nil, dims, protowire.VarintType), uint64(len(v)))
	b = protowire.AppendVarint(protowire.AppendTag(b, dataType, protowire.VarintType), uint64(onnxgraph.Float))
	return protowire.AppendBytes(protowire.AppendTag(b, rawData, protowire.BytesType), onnxgraph.Floats("", nil, v).Data)
}

// writeCase makes a case of one operator on a vector x.
func writeCase(t *testing.T, opType string, x, y []float32) Case {
	t.Helper()
	b := onnxgraph.NewBuilder("case", 17)
	in := b.Input("x", onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	b.Output(b.Named("y", opType, []string{in}), onnxgraph.Float, onnxgraph.Shape{onnxgraph.Sym("n")})
	m, err := b.Model()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "node", "test_"+opType)
	data := filepath.Join(dir, "test_data_set_0")
	if err := os.MkdirAll(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile(filepath.Join(dir, "model.onnx"), onnxgraph.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string][]float32{"input_0.pb": x, "output_0.pb": y} {
		if err := os.WriteFile(filepath.Join(data, name), tensorProto(v...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases, err := Find(filepath.Dir(filepath.Dir(dir)))
	if err != nil || len(cases) != 1 {
		t.Fatal(cases, err)
	}
	return cases[0]
}

// TestJudgeTells: what is wrong in a case shows in the verdict.
func TestJudgeTells(t *testing.T) {
	engine := runtimetest.Engine(t)
	for _, c := range []struct {
		op         string
		x, y       []float32
		infer, run string
		lower      string
	}{
		{"Neg", []float32{1, -2}, []float32{-1, 2}, "exact", "ok", "-"},
		{"Neg", []float32{1, -2}, []float32{-1, 2.001}, "exact", "ok 1e-3", "-"},
		{"Sin", []float32{1, -2}, []float32{-1, 2}, "with the inputs' values: output y: element 0 is 0.84", "differs: output y: element 0 is 0.84", "-"},
		{"Sin", []float32{1, -2}, []float32{1}, "with the inputs' shapes: output y: inferred as float[2], stored as float[1]", "differs: output y: it is float[2], stored as float[1]", "-"},
		{"Mean", []float32{3}, []float32{3}, "exact", "ok", "ok"},
	} {
		v := Judge(engine, ops.Registry(), writeCase(t, c.op, c.x, c.y))
		if v.RoundTrip != "bytes" || v.Check != "ok" || !strings.HasPrefix(v.Infer, c.infer) || !strings.HasPrefix(v.Run, c.run) || v.Lower != c.lower {
			t.Errorf("%s %v: %v, expected %q, %q and %q", c.op, c.y, v, c.infer, c.run, c.lower)
		}
	}
	if v := Judge(engine, ops.Registry(), writeCase(t, "NoSuchOperator", nil, nil)); len(v.Faults()) != 2 || !strings.Contains(v.Check, "unknown operator") {
		t.Errorf("unknown operator: %v", v)
	}
}

func TestEvaluate(t *testing.T) {
	extents := map[string]int64{"x.0": 5, "batch-size": 3}
	for symbol, want := range map[string]int64{
		"x.0": 5, "2*x.0 + 1": 11, "x.0*x.0 - 3*batch-size - 1": 15, "batch-size - 1 + x.0": 7, "floor((x.0 - 1)/(3))": 1,
		"2*floor((x.0 + 2)/(batch-size))*x.0 - floor((x.0)/(2))": 18, "floor((x.0 - 6)/(2))": -1,
	} {
		if n, ok := evaluate(onnxgraph.Sym(symbol), extents); !ok || n != want {
			t.Errorf("%s = %d, %v; expected %d", symbol, n, ok, want)
		}
	}
	for _, symbol := range []string{"y", "x.0 + y", "floor((y)/(2))", "ceil((x.0)/(2))"} {
		if n, ok := evaluate(onnxgraph.Sym(symbol), extents); ok {
			t.Errorf("%s = %d, expected no value", symbol, n)
		}
	}
	if _, ok := evaluate(onnxgraph.UnknownDim(), extents); ok {
		t.Error("an unknown extent has a value")
	}
}

func TestNear(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		want, got float64
		near      bool
	}{
		{1, 1.000009, true}, {1, 1.000011, false}, {0, 0.9e-7, true}, {0, 1.1e-7, false},
		{nan, nan, true}, {nan, 0, false}, {0, nan, false}, {inf, inf, true}, {inf, -inf, false}, {1, inf, false},
	} {
		if near(c.want, c.got, tolerances[0]) != c.near {
			t.Errorf("near(%g, %g) is %v", c.want, c.got, !c.near)
		}
	}
}

// TestParseLists reads a sequence of two vectors, alone and as an optional
// value, and an optional value that holds nothing.
func TestParseLists(t *testing.T) {
	field := func(b []byte, number protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, number, protowire.BytesType), content)
	}
	sequence := field(field(field(nil, 1, []byte("name")), fieldTensor, tensorProto(1, 2)), fieldTensor, tensorProto(3))
	elem := onnxgraph.TensorOf(onnxgraph.Float, nil)
	list := onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &elem}
	optional := onnxgraph.Type{Kind: onnxgraph.OptionalKind, Elem: &list}
	for _, c := range []struct {
		bytes    []byte
		declared onnxgraph.Type
		want     string
	}{
		{sequence, list, "seq(float[?])"}, {field(nil, fieldSequence, sequence), optional, "seq(float[?])"},
		{nil, optional, "undefined"}, {nil, list, "seq(undefined)"}, {tensorProto(1), elem, "float[1]"},
	} {
		v, err := parseValue(c.bytes, c.declared)
		if err != nil || v.Type().String() != c.want {
			t.Errorf("%s: got %v, %v; expected %s", c.declared, v, err, c.want)
		}
	}
	if _, err := parseValue([]byte{0x0a}, list); err == nil {
		t.Error("a cut file was read")
	}
}
