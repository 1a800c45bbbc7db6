package conformance

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sort"

	"ninox/onnxgraph"
)

// Case is one backend test.
type Case struct {
	Name string // folder below the root, e.g. "node/test_abs"
	Dir  string
}

// Find lists the cases below a folder, KIND/NAME/model.onnx, sorted by name.
func Find(root string) ([]Case, error) {
	models, err := filepath.Glob(filepath.Join(root, "*", "*", "model.onnx"))
	if err != nil {
		return nil, err
	}
	if len(models) == 0 {
		return nil, fmt.Errorf("%s: no KIND/NAME/model.onnx", root)
	}
	var out []Case
	for _, m := range models {
		dir := filepath.Dir(m)
		out = append(out, Case{Name: path.Join(filepath.Base(filepath.Dir(dir)), filepath.Base(dir)), Dir: dir})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// DataSet is one set of inputs and the outputs expected for it, in the order
// of the graph.
type DataSet struct {
	In, Out []*Value
}

// DataSets reads the test_data_set folders of the case.
func (c Case) DataSets(g *onnxgraph.Graph) ([]DataSet, error) {
	folders, err := filepath.Glob(filepath.Join(c.Dir, "test_data_set_*"))
	if err != nil {
		return nil, err
	}
	var out []DataSet
	for _, dir := range folders {
		var d DataSet
		if d.In, err = readValues(dir, "input", g.Inputs); err != nil {
			return nil, err
		}
		if d.Out, err = readValues(dir, "output", g.Outputs); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no test_data_set", c.Dir)
	}
	return out, nil
}

// readValues reads SIDE_0.pb, SIDE_1.pb … as far as there are files: inputs
// with a default may be left out.
func readValues(dir, side string, declared []*onnxgraph.Value) ([]*Value, error) {
	var out []*Value
	for i, v := range declared {
		file := filepath.Join(dir, fmt.Sprintf("%s_%d.pb", side, i))
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			break
		}
		if err != nil {
			return nil, err
		}
		value, err := parseValue(b, v.Type)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, value)
	}
	return out, nil
}
