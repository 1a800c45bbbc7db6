package onnxgraph

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ninox/internal/testenv"
	"ninox/onnxgraph/internal/onnxpb"
)

// sharedModels lists every ONNX file of the shared folder.
func sharedModels(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{"models", "fixtures"} {
		root := testenv.Shared(t, dir)
		err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(p, ".onnx") {
				out = append(out, p)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 50 {
		t.Fatalf("%d ONNX files found, expected at least 50: the walk is broken", len(out))
	}
	return out
}

// canonical rewrites a message the way this package spells equal things: empty
// strings, zero numbers that mean "not given" and empty types are absent, the
// default domain is "", dims below zero are unknown.
func canonical(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				canonical(v.List().Get(i).Message())
			}
		case f.IsList():
		case f.Message() != nil:
			canonical(v.Message())
		case f.Kind() == protoreflect.StringKind && f.ContainingOneof() == nil && f.Parent().Name() != "StringStringEntryProto":
			if text := v.String(); text == "" || f.Name() == "domain" && text == "ai.onnx" {
				m.Clear(f)
			}
		}
		return true
	})
	switch p := m.Interface().(type) {
	case *onnxpb.TensorShapeProto_Dimension:
		n, isNumber := p.Value.(*onnxpb.TensorShapeProto_Dimension_DimValue)
		s, isSymbol := p.Value.(*onnxpb.TensorShapeProto_Dimension_DimParam)
		if isNumber && n.DimValue < 0 || isSymbol && s.DimParam == "" {
			p.Value = nil
		}
	case *onnxpb.ValueInfoProto:
		if p.Type != nil && p.Type.Value == nil && p.Type.Denotation == nil {
			p.Type = nil
		}
	case *onnxpb.TensorProto:
		if p.GetDataLocation() == 0 {
			p.DataLocation = nil
		}
	case *onnxpb.ModelProto:
		if p.GetModelVersion() == 0 {
			p.ModelVersion = nil
		}
	}
}

func mustProto(t testing.TB, b []byte) *onnxpb.ModelProto {
	t.Helper()
	p := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// Reading and writing loses nothing: the rewritten file is the original
// message, and the same bytes where the original is spelt as this package spells.
func TestRoundTripShared(t *testing.T) {
	alike := 0
	for _, path := range sharedModels(t) {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Unmarshal(raw)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		out, err := m.Marshal()
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		p := mustProto(t, raw)
		canonical(p.ProtoReflect())
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, want) {
			t.Errorf("%s: rewritten as %d bytes that are not the %d of the original message", path, len(out), len(want))
		}
		if bytes.Equal(raw, out) {
			alike++
		}
	}
	if alike < 50 { // most exporters write what we write
		t.Errorf("%d files are reproduced byte for byte, expected at least 50", alike)
	}
}
