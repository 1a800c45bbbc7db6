package onnxgraph

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// sampleModel uses every kind of content that the codec knows.
func sampleModel() *Model {
	batch := Shape{Sym("batch"), Known(3), UnknownDim()}
	f := TensorOf(Float, batch)
	body := &Graph{
		Name:    "body",
		Inputs:  []*Value{{Name: "i", Type: TensorOf(Int64, Shape{})}, {Name: "c", Type: TensorOf(Bool, Shape{})}},
		Outputs: []*Value{{Name: "c2", Type: TensorOf(Bool, Shape{})}},
		Nodes:   []*Node{{OpType: "Identity", Inputs: []string{"c"}, Outputs: []string{"c2"}}},
	}
	typed := Floats("typed", []int64{2}, []float32{1, 2})
	typed.Typed = true
	return &Model{
		IRVersion: 9, ProducerName: "p", ProducerVersion: "v", Domain: "d", ModelVersion: 4, Doc: "doc",
		Opsets: []Opset{{"", 17}, {"custom", 1}}, Metadata: []KeyValue{{"k", "v"}, {"empty", ""}},
		Graph: &Graph{
			Name: "g", Doc: "doc", Inputs: []*Value{{Name: "x", Type: f, Doc: "an input"}}, Outputs: []*Value{{Name: "y", Type: f}},
			Initializers: []*Tensor{
				typed, Scalar("s", 0), Vector("v", -1, 2), Floats("none", []int64{0, 5}, nil),
				{Name: "names", DType: String, Dims: []int64{2}, Strings: [][]byte{[]byte("a"), {}}},
				{Name: "half", DType: Float16, Dims: []int64{1}, Data: []byte{0, 0xbc}, Typed: true},
				{Name: "nibbles", DType: Int4, Dims: []int64{3}, Data: []byte{0x21, 0x03}},
				{Name: "far", DType: Float, Dims: []int64{4}, External: &External{Location: "w.bin", Offset: 4096, Length: 16, Other: []KeyValue{{"note", "x"}}}},
			},
			Sparse:    []*SparseTensor{{Values: Floats("sp", []int64{1}, []float32{3}), Indices: Vector("", 2), Dims: []int64{9}}},
			ValueInfo: []*Value{{Name: "h", Type: Type{Kind: SequenceKind, Elem: &Type{Kind: OptionalKind, Elem: &f}}}, {Name: "m", Type: Type{Kind: MapKind, DType: String, Elem: &f, Denotation: "D"}}},
			Nodes: []*Node{
				{Name: "n", OpType: "Op", Domain: "custom", Overload: "o", Doc: "doc", Inputs: []string{"x", ""}, Outputs: []string{"y"}, Metadata: []KeyValue{{"a", "b"}}, Attrs: []*Attribute{
					IntAttr("zero", 0), FloatAttr("f", 0), StringAttr("text", ""), IntsAttr("ints", 1, -2), FloatsAttr("floats", 0.5),
					TensorAttr("t", Vector("", 1)), GraphAttr("body", body), {Name: "list", Type: AttrStrings, Strings: [][]byte{[]byte("q")}},
					{Name: "tp", Type: AttrTypeProto, TP: &f}, {Name: "from", Type: AttrInt, RefAttr: "outer"},
				}},
			},
		},
		Functions: []*Function{{
			Name: "F", Domain: "custom", Inputs: []string{"a"}, Outputs: []string{"b"}, Attrs: []string{"outer"}, Defaults: []*Attribute{IntAttr("d", 3)},
			Nodes: []*Node{{OpType: "Relu", Inputs: []string{"a"}, Outputs: []string{"b"}}}, Opsets: []Opset{{"", 17}},
		}},
	}
}

func mustMarshal(t testing.TB, m *Model) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reread checks the property of every input: an error, or a model that is
// written and read again without change.
func reread(t testing.TB, b []byte) error {
	t.Helper()
	m, err := Unmarshal(b)
	if err != nil {
		return err
	}
	once, err := m.Marshal()
	if err != nil {
		t.Fatalf("a model that was read cannot be written: %v", err)
	}
	again, err := Unmarshal(once)
	if err != nil {
		t.Fatalf("a model that was written cannot be read: %v", err)
	}
	if twice := mustMarshal(t, again); !bytes.Equal(once, twice) {
		t.Fatalf("written again, %d bytes become %d other ones", len(once), len(twice))
	}
	return nil
}

func TestUnknownFieldsSurvive(t *testing.T) {
	extra := protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "from the future")
	m := sampleModel()
	m.Unknown, m.Graph.Unknown, m.Graph.Nodes[0].Unknown, m.Graph.Nodes[0].Attrs[0].Unknown = extra, extra, extra, extra
	m.Graph.Initializers[0].Unknown, m.Graph.Inputs[0].Unknown, m.Functions[0].Unknown, m.Graph.Sparse[0].Unknown = extra, extra, extra, extra
	b := mustMarshal(t, m)
	again, err := Unmarshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := mustMarshal(t, again); !bytes.Equal(got, b) || bytes.Count(got, extra) != 8 {
		t.Errorf("%d of 8 unknown fields survive", bytes.Count(got, extra))
	}
}

// Every prefix of a file is refused or read consistently, with memory in
// proportion to the file.
func TestTruncated(t *testing.T) {
	b := mustMarshal(t, sampleModel())
	if err := reread(t, b); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for n := range b {
		if reread(t, b[:n]) != nil {
			refused++
		}
	}
	if refused < len(b)*9/10 {
		t.Errorf("%d of %d truncations are refused, expected nearly all", refused, len(b))
	}
}

func TestBitFlips(t *testing.T) {
	b := mustMarshal(t, sampleModel())
	rng := rand.New(rand.NewPCG(7, 7))
	var before, after runtime.MemStats
	for at := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[at] ^= 1 << bit
			if rng.IntN(4) == 0 { // sometimes a second one
				c[rng.IntN(len(c))] ^= 1 << rng.IntN(8)
			}
			runtime.ReadMemStats(&before)
			_, err := Unmarshal(c)
			runtime.ReadMemStats(&after)
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
				t.Fatalf("byte %d bit %d: %d bytes of memory for a file of %d (%v)", at, bit, used, len(c), err)
			}
			if err == nil {
				_ = reread(t, c)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	edit := func(change func(m *Model)) []byte {
		m := sampleModel()
		change(m)
		b, err := m.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// deep is a chain of optional types, each inside the next.
	deep := func(levels int) []byte {
		return edit(func(m *Model) {
			for range levels {
				inner := m.Graph.Inputs[0].Type
				m.Graph.Inputs[0].Type = Type{Kind: OptionalKind, Elem: &inner}
			}
		})
	}
	if _, err := Unmarshal(deep(20)); err != nil {
		t.Errorf("types nested 20 deep: %v", err)
	}
	const far = "external data: "
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"empty", "it has no graph", nil},
		{"text", "not an ONNX model", []byte("<html>not a model</html>")},
		{"deep", "types nest more than 32 deep", deep(500)},
		{"element type", `graph "g": initializer tensor "s": element type 99`, edit(func(m *Model) {
			m.Graph.Initializers[1].DType = 99
			m.Graph.Initializers[1].External = &External{Location: "x", Length: -1}
		})},
		{"negative dim", `tensor "far": shape [-1] is negative`, edit(func(m *Model) { m.Graph.Initializers[7].Dims = []int64{-1} })},
		{"overflow", "is negative or too large", edit(func(m *Model) { m.Graph.Initializers[7].Dims = []int64{1 << 40, 1 << 40} })},
		{"no location", "external data without a location", edit(func(m *Model) { m.Graph.Initializers[7].External.Location = "" })},
		{"offset", far + `offset "-4" is not`, edit(func(m *Model) { m.Graph.Initializers[7].External.Offset = -4 })},
		{"attribute without its value", `node "n" (custom:Op), attribute "t": its type is 5`, edit(func(m *Model) { m.Graph.Nodes[0].Attrs[5].Type, m.Graph.Nodes[0].Attrs[5].T = AttrGraph, nil })},
		{"attribute type", "type 77", edit(func(m *Model) { m.Graph.Nodes[0].Attrs[0].Type = 77 })},
		{"value type", `value "x": element type 50`, edit(func(m *Model) { m.Graph.Inputs[0].Type.DType = 50 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Unmarshal(c.file); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, expected %q", err, c.want)
			}
		})
	}
	short := Floats("short", []int64{3}, []float32{1, 2})
	for _, m := range []*Model{{}, {Graph: &Graph{Initializers: []*Tensor{short}}}} {
		if b, err := m.Marshal(); err == nil {
			t.Errorf("an invalid model was written as %d bytes", len(b))
		}
	}
}
