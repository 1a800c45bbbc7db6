package ops_test

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ninox/onnxgraph"
	"ninox/onnxgraph/ops"
)

var attrTypes = map[string]onnxgraph.AttrType{
	"float": onnxgraph.AttrFloat, "int": onnxgraph.AttrInt, "string": onnxgraph.AttrString, "tensor": onnxgraph.AttrTensor,
	"graph": onnxgraph.AttrGraph, "floats": onnxgraph.AttrFloats, "ints": onnxgraph.AttrInts, "strings": onnxgraph.AttrStrings,
	"sparse_tensor": onnxgraph.AttrSparse, "type": onnxgraph.AttrTypeProto,
}

// departures are the versions that deliberately differ from the specification.
var departures = map[string][]int64{
	"LayerNormalization": {1, 17}, // ONNX Runtime had it in the default domain before the specification
}

// TestSchemas compares versions and attributes with the specification: every
// operator of every domain of ONNX is here.
func TestSchemas(t *testing.T) {
	file, err := os.Open("testdata/schemas.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	compared := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if fields[0] == "#" {
			continue
		}
		domain, name, other := strings.Cut(fields[0], ":")
		if !other {
			domain, name = "", domain
		}
		def := ops.Registry().Lookup(domain, name)
		if def == nil {
			t.Errorf("%s is not registered", fields[0])
			continue
		}
		compared++
		var versions []int64
		for _, v := range strings.Split(fields[1], ",") {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			versions = append(versions, n)
		}
		if v := departures[def.Name]; v != nil {
			versions = v
		}
		if !slices.Equal(def.Versions, versions) {
			t.Errorf("%s: versions %v, the specification has %v", def.Name, def.Versions, versions)
		}
		want := map[string]bool{}
		for _, a := range fields[2:] {
			name, types, _ := strings.Cut(a, ":")
			want[name] = true
			found := false
			for _, have := range def.Attrs {
				for _, typ := range strings.Split(types, "|") {
					found = found || have.Name == name && have.Type == attrTypes[typ]
				}
			}
			if !found {
				t.Errorf("%s: attribute %s of type %s is not listed", def.Name, name, types)
			}
		}
		for _, a := range def.Attrs {
			if !want[a.Name] {
				t.Errorf("%s: attribute %s is in no version of the specification", def.Name, a.Name)
			}
		}
	}
	if compared < 200 {
		t.Fatalf("only %d operators were compared", compared)
	}
}
