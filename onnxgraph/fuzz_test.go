package onnxgraph

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// seeds are small models of every kind, and the attacks.
func seeds(f *testing.F) {
	f.Add([]byte{})
	f.Add(mustMarshal(f, sampleModel()))
	b := NewBuilder("small", 17)
	x := b.Input("x", Float, Shape{Sym("n"), Known(2)})
	b.Output(b.Named("y", "Relu", []string{x}), Float, Shape{Sym("n"), Known(2)})
	small, err := b.Model()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mustMarshal(f, small))
	for _, a := range attacks() {
		f.Add(a.file)
	}
}

// Any byte string is refused, or read as a model that is written and read again
// without change, with memory in proportion to its length.
func FuzzUnmarshal(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if used := allocated(func() { _, _ = Unmarshal(b) }); used > 40*uint64(len(b))+4*minStructs {
			t.Errorf("%d bytes of memory for %d", used, len(b))
		}
		_ = reread(t, b)
	})
}

// What is read and written again is the same message to protobuf's own
// implementation.
func FuzzRoundTrip(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Unmarshal(b)
		if err != nil {
			return
		}
		was, is := dynamicpb.NewMessage(schema(t)), dynamicpb.NewMessage(schema(t))
		if err := proto.Unmarshal(b, was); err != nil {
			return // types nested deeper than protobuf's own limit, or numbers of more than 64 bits
		}
		if err := proto.Unmarshal(mustMarshal(t, m), is); err != nil {
			t.Fatalf("protobuf refuses what was written: %v", err)
		}
		normalise(was)
		normalise(is)
		if !proto.Equal(was, is) {
			t.Errorf("another message: %s", difference(was, is))
		}
	})
}

// normalise removes what the codec completes or trims: types of attributes that
// old files leave out, bits beyond the element type in int32_data, and fields
// that protobuf does not know, whose order may change.
func normalise(m protoreflect.Message) {
	m.SetUnknown(nil)
	fields := m.Descriptor().Fields()
	switch m.Descriptor().Name() {
	case "AttributeProto":
		m.Clear(fields.ByName("type"))
		for _, scalar := range []protoreflect.Name{"f", "i", "s"} {
			if f := fields.ByName(scalar); !m.Get(f).IsValid() || m.Get(f).Equal(f.Default()) {
				m.Clear(f)
			}
		}
	case "TensorProto":
		bits := DType(m.Get(fields.ByName("data_type")).Int()).Bits()
		list := m.Get(fields.ByName("int32_data")).List()
		wide := m.Get(fields.ByName("uint64_data")).List()
		if bits > 0 && bits < 32 && list.Len() > 0 || bits == 32 && wide.Len() > 0 {
			m.Clear(fields.ByName("int32_data"))
			m.Clear(fields.ByName("uint64_data"))
		}
		m.Clear(fields.ByName("data_type")) // written where it is missing
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				normalise(v.List().Get(i).Message())
			}
		default:
			normalise(v.Message())
		}
		return true
	})
}

// A model in a folder with a data file, a secret beside the folder and links to
// it: whatever the model says, its tensors hold nothing of the secret, and what
// is read is the same after writing it in either form.
func FuzzExternalData(f *testing.F) {
	for _, a := range attacks() {
		f.Add(a.file, []byte("data of the model's own file, of some length"))
	}
	for _, location := range []string{"w.bin", "./w.bin", "link", "up/secret.bin", "hard", "sub/../w.bin", `..\secret.bin`} {
		f.Add(at(location, KeyValue{"offset", "4"}), make([]byte, 12))
	}
	const secret = "SECRET: what lies outside of the folder"
	f.Fuzz(func(t *testing.T, file, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "model")
		mustWrite(t, filepath.Join(outer, "secret.bin"), []byte(secret))
		mustWrite(t, filepath.Join(dir, "w.bin"), data)
		mustWrite(t, filepath.Join(dir, "m.onnx"), file)
		_ = os.Symlink("../secret.bin", filepath.Join(dir, "link"))
		_ = os.Symlink("..", filepath.Join(dir, "up"))
		_ = os.Link(filepath.Join(outer, "secret.bin"), filepath.Join(dir, "hard"))
		m, err := ReadFile(filepath.Join(dir, "m.onnx"))
		if err != nil {
			return
		}
		m.EachTensor(func(x *Tensor) {
			if x.External != nil && len(x.Data) >= 8 && string(x.Data[:7]) == secret[:7] && string(data[:min(7, len(data))]) != secret[:7] {
				t.Fatalf("%q leads to the secret", x.External.Location)
			}
		})
		for _, o := range []WriteOptions{{}, {External: "new.bin", ExternalMin: 1}} {
			out := filepath.Join(dir, "out"+o.External)
			if err := m.WriteFile(out, o); err != nil {
				t.Fatalf("a model that was read cannot be written: %v", err)
			}
			again, err := ReadFile(out)
			if err != nil {
				t.Fatalf("a model that was written cannot be read: %v", err)
			}
			var was, is [][]byte
			m.EachTensor(func(x *Tensor) { was = append(was, x.Data) })
			again.EachTensor(func(x *Tensor) { is = append(is, x.Data) })
			for i := range was {
				if len(was) != len(is) || string(was[i]) != string(is[i]) {
					t.Fatalf("tensor %d changed", i)
				}
			}
		}
	})
}
