package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/rewrite"
	ort "ninox/runtime"
)

// Verdict is what came of one case, a word or a short reason per stage.
// Stages that could not be reached are "-".
type Verdict struct {
	Case string
	// RoundTrip is "bytes" where the file comes out as it went in, "equal" where
	// only its meaning does.
	RoundTrip string
	// Check is "ok" or the first finding.
	Check string
	// Infer is "exact" where inference finds every extent of the outputs from
	// the shapes of the inputs, "exact from values" where it needs what is in
	// them, "N of M extents open" or "no rank" where it does not, or tells what
	// it says that contradicts the stored outputs.
	Infer string
	// Run, Standard, Convert and Lower say how the outputs of the model as we
	// write it, after the standard rewrites, converted to the newest opset, and
	// after lowering, compare with the stored ones: "ok", the wider tolerance
	// that is met, or the reason. Convert is "-" where nothing is to be
	// converted, Lower where no operator has a lowering. A lowering that needs the
	// values of inputs, such as sizes, is given all but the first as constants.
	Run, Standard, Convert, Lower string
}

// Words of the verdicts.
const (
	open    = "extents open"
	noRank  = "no rank"
	differs = "differs: "
	notRun  = "not run: "
	newer   = "unknown version:"
)

// Columns are the names of the stages.
var Columns = []string{"case", "round trip", "check", "infer", "run", "standard", "convert", "lower"}

// Row is the verdict in the order of Columns.
func (v Verdict) Row() []string {
	return []string{v.Case, v.RoundTrip, v.Check, v.Infer, v.Run, v.Standard, v.Convert, v.Lower}
}

// Faults lists what is wrong whatever the case: a file that is not read, an
// inference that contradicts the outputs, a rewritten model that computes
// something else than the model.
func (v Verdict) Faults() []string {
	var out []string
	add := func(column, word string, bad bool) {
		if bad {
			out = append(out, column+": "+word)
		}
	}
	add("round trip", v.RoundTrip, v.RoundTrip != "bytes" && v.RoundTrip != "equal")
	add("check", v.Check, v.Check != "ok")
	add("infer", v.Infer, !strings.HasPrefix(v.Infer, "exact") && !strings.HasSuffix(v.Infer, open) && v.Infer != noRank)
	add("standard", v.Standard, v.Standard != "-" && !passed(v.Standard))
	add("convert", v.Convert, strings.HasPrefix(v.Convert, differs))
	add("lower", v.Lower, strings.HasPrefix(v.Lower, differs) || passed(v.Run) && strings.HasPrefix(v.Lower, notRun) && !strings.Contains(v.Lower, newer))
	return out
}

// Judge takes a case through all stages.
func Judge(engine *ort.Engine, reg *op.Registry, c Case) Verdict {
	v := Verdict{Case: c.Name, RoundTrip: "-", Check: "-", Infer: "-", Run: "-", Standard: "-", Convert: "-", Lower: "-"}
	m, word, err := roundTrip(filepath.Join(c.Dir, "model.onnx"))
	if v.RoundTrip = word; err != nil {
		v.RoundTrip = words(err)
		return v
	}
	v.Check = "ok"
	if err := rewrite.Check(m, reg); err != nil {
		v.Check = words(err)
	}
	sets, err := c.DataSets(m.Graph)
	if err != nil {
		v.Infer = words(err)
		return v
	}
	v.Infer = inference(m, reg, sets)
	on := machine{engine, reg}
	v.Run = on.execute(m, sets)
	if !passed(v.Run) && !strings.HasPrefix(v.Run, notRun) {
		return v
	}
	std, err := rewrite.Standard(m, reg)
	if err != nil {
		v.Standard = words(err)
		return v
	}
	if passed(v.Run) {
		v.Standard = on.execute(std, sets)
	}
	// What ONNX Runtime does not have may run when it is converted or lowered.
	v.Convert = on.converted(m, sets)
	v.Lower = on.lowered(std, sets)
	return v
}

// roundTrip reads a file, writes it and reads that again.
func roundTrip(path string) (*onnxgraph.Model, string, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	first, err := onnxgraph.Unmarshal(file)
	if err != nil {
		return nil, "", err
	}
	written, err := first.Marshal()
	if err != nil {
		return nil, "", err
	}
	second, err := onnxgraph.Unmarshal(written)
	if err != nil {
		return nil, "", err
	}
	if !reflect.DeepEqual(first, second) {
		return nil, "", errors.New("what was written reads differently")
	}
	if string(file) != string(written) {
		return second, "equal", nil
	}
	return second, "bytes", nil
}

// converted runs a model in the newest opset that rewrite knows.
func (on machine) converted(m *onnxgraph.Model, sets []DataSet) string {
	if v := m.OpsetVersion(""); v == 0 || v >= rewrite.Newest {
		return "-"
	}
	out, _, err := rewrite.Convert(m, on.reg, rewrite.Newest)
	if err != nil {
		return words(err)
	}
	return on.execute(out, sets)
}

// lowered runs a model with every lowering applied, in an opset that lowerings
// write for.
func (on machine) lowered(m *onnxgraph.Model, sets []DataSet) string {
	lowers := func(n *onnxgraph.Node) bool {
		def := on.reg.For(n)
		return def != nil && def.Lower.Rule() != nil
	}
	fires := false
	m.Graph.EachGraph(func(g *onnxgraph.Graph) { fires = fires || slices.ContainsFunc(g.Nodes, lowers) })
	if !fires {
		return "-"
	}
	if v := m.OpsetVersion(""); v > 0 && v < rewrite.Trainable {
		out, _, err := rewrite.Convert(m, on.reg, rewrite.Trainable)
		if err != nil {
			return words(err)
		}
		m = out
	}
	all := func(*onnxgraph.Node) bool { return true }
	low, err := rewrite.Lower(m, on.reg, all)
	if err != nil && len(sets) == 1 { // sizes are inputs here, which elsewhere are constants
		var rest DataSet
		m, rest = filled(m, sets[0], 1)
		sets = []DataSet{rest}
		low, err = rewrite.Lower(m, on.reg, all)
	}
	if err != nil {
		return words(err)
	}
	return on.execute(low, sets)
}

// words is the first line of an error, as it fits in a table.
func words(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ReplaceAll(line, "\t", " ")
}
