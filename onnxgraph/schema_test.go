package onnxgraph

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// The oracle of these tests is protobuf's own implementation, driven by
// onnx.proto.

var modelSchema = sync.OnceValues(func() (protoreflect.MessageDescriptor, error) {
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{ImportPaths: []string{"."}}}
	files, err := c.Compile(context.Background(), "onnx.proto")
	if err != nil {
		return nil, err
	}
	return files[0].Messages().ByName("ModelProto"), nil
})

func schema(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	d, err := modelSchema()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// parsed is a file as protobuf's own implementation reads it.
func parsed(t testing.TB, b []byte) *dynamicpb.Message {
	t.Helper()
	p := dynamicpb.NewMessage(schema(t))
	if err := proto.Unmarshal(b, p); err != nil {
		t.Fatalf("protobuf refuses the file: %v", err)
	}
	return p
}

// canonical serialises a message in the order of its field numbers, as the C++
// and Python implementations do.
func canonical(t testing.TB, m protoreflect.Message) []byte {
	var list []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		list = append(list, f)
		return true
	})
	slices.SortFunc(list, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number() - b.Number()) })
	var out []byte
	sub := func(f protoreflect.FieldDescriptor, v protoreflect.Value) {
		out = protowire.AppendTag(out, f.Number(), protowire.BytesType)
		out = protowire.AppendBytes(out, canonical(t, v.Message()))
	}
	for _, f := range list {
		v := m.Get(f)
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				sub(f, v.List().Get(i))
			}
		case f.Message() != nil:
			sub(f, v)
		default:
			one := m.New()
			one.Set(f, v)
			b, err := proto.Marshal(one.Interface())
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b...)
		}
	}
	return out
}

// generator makes random messages of the schema that are valid models.
type generator struct {
	t    testing.TB
	rng  *rand.Rand
	used map[string]bool // "Message.field" of every field that was set
}

func (g *generator) chance(p float64) bool { return g.rng.Float64() < p }

func (g *generator) word() string {
	if g.chance(0.1) {
		return ""
	}
	return fmt.Sprintf("%c%x", 'a'+g.rng.IntN(26), g.rng.Uint64())
}

func (g *generator) message(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Message() != nil && depth > 7 || g.chance(0.5) {
			continue
		}
		if f.IsList() {
			l := m.Mutable(f).List()
			for range g.rng.IntN(3) {
				l.Append(g.value(f, l.NewElement, depth))
			}
			continue
		}
		m.Set(f, g.value(f, func() protoreflect.Value { return m.NewField(f) }, depth))
	}
	repair(g, edit{g, m, depth})
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		g.used[string(f.FullName())] = true
		return true
	})
}

func (g *generator) value(f protoreflect.FieldDescriptor, fresh func() protoreflect.Value, depth int) protoreflect.Value {
	n := g.rng.Int64() >> g.rng.IntN(64)
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.word())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(g.word()))
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(n)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(uint64(n))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(n))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(n))
	case protoreflect.MessageKind:
		v := fresh()
		g.message(v.Message(), depth+1)
		return v
	}
	g.t.Fatalf("%s: kind %s is not generated", f.FullName(), f.Kind())
	return protoreflect.Value{}
}

// edit sets fields of a message by name.
type edit struct {
	*generator
	m     protoreflect.Message
	depth int
}

func (e edit) field(name string) protoreflect.FieldDescriptor {
	return e.m.Descriptor().Fields().ByName(protoreflect.Name(name))
}

func (e edit) set(name string, v any) { e.m.Set(e.field(name), protoreflect.ValueOf(v)) }

func (e edit) clear(names ...string) {
	for _, n := range names {
		e.m.Clear(e.field(n))
	}
}

// need fills a field with a random value where it is absent.
func (e edit) need(name string) {
	f := e.field(name)
	if !f.IsList() && !e.m.Has(f) {
		e.m.Set(f, e.value(f, func() protoreflect.Value { return e.m.NewField(f) }, e.depth))
	}
}

func (e edit) list(name string, values ...any) {
	l := e.m.Mutable(e.field(name)).List()
	l.Truncate(0)
	for _, v := range values {
		l.Append(protoreflect.ValueOf(v))
	}
}

// repair makes a random message keep the rules of the specification.
func repair(g *generator, e edit) {
	switch e.m.Descriptor().Name() {
	case "ModelProto":
		e.need("graph")
	case "OperatorSetIdProto":
		if g.chance(0.2) {
			e.set("domain", "ai.onnx")
		}
		e.set("version", g.rng.Int64())
	case "StringStringEntryProto":
		e.set("key", fmt.Sprintf("k%x", g.rng.Uint64())) // one key is spelt one way
	case "Tensor", "SparseTensor":
		e.set("elem_type", int32(g.rng.IntN(29)))
	case "Map":
		e.set("key_type", int32(g.rng.IntN(29)))
	case "SparseTensorProto":
		e.need("values")
		e.need("indices")
	case "AttributeProto":
		fields := []string{"", "f", "i", "s", "t", "g", "floats", "ints", "strings", "tensors", "graphs", "sparse_tensor", "sparse_tensors", "tp", "type_protos"}
		kind := 1 + g.rng.IntN(len(fields)-1)
		if e.depth > 9 && fields[kind] == "g" {
			kind = 1
		}
		e.set("type", int32(kind))
		e.need(fields[kind])
	case "TensorProto":
		repairTensor(g, e)
	}
}

func repairTensor(g *generator, e edit) {
	e.clear("float_data", "int32_data", "string_data", "int64_data", "raw_data", "double_data", "uint64_data", "external_data", "data_location")
	d := DType(1 + g.rng.IntN(28))
	n := int64(g.rng.IntN(9))
	e.set("data_type", int32(d))
	e.list("dims", n)
	if g.chance(0.2) {
		e.set("data_location", int32(1))
		e.need("external_data")
		entry := e.m.Mutable(e.field("external_data")).List().AppendMutable().Message()
		edit{g, entry, e.depth}.set("key", "location")
		edit{g, entry, e.depth}.set("value", "w"+g.word())
		return
	}
	if d != String && g.chance(0.5) {
		raw := make([]byte, d.RawSize(n))
		for i := range raw {
			raw[i] = byte(g.rng.Uint32())
		}
		e.set("raw_data", raw)
		return
	}
	var list []any
	name := "int32_data"
	for range n {
		switch d {
		case Float, Complex64:
			name, list = "float_data", append(list, g.rng.Float32())
			if d == Complex64 {
				list = append(list, g.rng.Float32())
			}
		case Double, Complex128:
			name, list = "double_data", append(list, g.rng.Float64())
			if d == Complex128 {
				list = append(list, g.rng.Float64())
			}
		case Int64:
			name, list = "int64_data", append(list, g.rng.Int64())
		case Uint64:
			name, list = "uint64_data", append(list, g.rng.Uint64())
		case Uint32:
			name, list = "uint64_data", append(list, uint64(g.rng.Uint32()))
		case String:
			name, list = "string_data", append(list, []byte(g.word()))
		case Int32:
			list = append(list, int32(g.rng.Uint32()))
		case Int16:
			list = append(list, int32(int16(g.rng.Uint32())))
		case Uint16, Float16, BFloat16:
			list = append(list, int32(uint16(g.rng.Uint32())))
		case Int8:
			list = append(list, int32(int8(g.rng.Uint32())))
		case Float6E2M3, Float6E3M2:
			list = append(list, int32(g.rng.IntN(64)))
		case Uint4, Int4, Float4E2M1, Uint2, Int2:
			if int64(len(list)) < d.RawSize(n) {
				list = append(list, int32(g.rng.IntN(256)))
			}
		default:
			list = append(list, int32(g.rng.IntN(256)))
		}
	}
	if len(list) > 0 {
		e.list(name, list...)
	}
}

// Every field of the specification survives reading and writing, byte for
// byte: those that the representation models and those that it only keeps.
func TestEveryFieldSurvives(t *testing.T) {
	seed := rand.Uint64()
	g := &generator{t: t, rng: rand.New(rand.NewPCG(1, seed)), used: map[string]bool{}}
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	all := fieldNames(schema(t), map[string]bool{})
	for round := 0; round < rounds || len(g.used) < len(all) && round < 5000; round++ {
		p := dynamicpb.NewMessage(schema(t))
		g.message(p, 0)
		b := canonical(t, p)
		m, err := Unmarshal(b)
		if err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
		out := mustMarshal(t, m)
		if !bytes.Equal(out, b) {
			t.Fatalf("seed %d, round %d: %d bytes become %d other ones; first difference at %d:\n%s", seed, round, len(b), len(out), firstDifference(b, out), difference(p, parsed(t, out)))
		}
		if again := mustMarshal(t, m.Clone()); !bytes.Equal(again, b) {
			t.Fatalf("seed %d, round %d: a clone is written differently", seed, round)
		}
	}
	for name := range all {
		if !g.used[name] {
			t.Errorf("no model had the field %s", name)
		}
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// difference prints the first lines in which two messages differ.
func difference(a, b *dynamicpb.Message) string {
	x, y := strings.Split(fmt.Sprintf("%+v", a), " "), strings.Split(fmt.Sprintf("%+v", b), " ")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			at := max(0, i-8)
			return strings.Join(x[at:min(i+4, len(x))], " ") + "\nbut\n" + strings.Join(y[at:min(i+4, len(y))], " ")
		}
	}
	return fmt.Sprintf("%d and %d words", len(x), len(y))
}

// fieldNames collects the fields of a message and of all below it.
func fieldNames(d protoreflect.MessageDescriptor, into map[string]bool) map[string]bool {
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		name := string(f.FullName())
		if !into[name] {
			into[name] = true
			if f.Message() != nil {
				fieldNames(f.Message(), into)
			}
		}
	}
	return into
}
