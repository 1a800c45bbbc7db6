package training

import (
	"regexp"
	"slices"

	"ninox/onnxgraph"
)

// What PyTorch's exporter (torch.onnx.export with dynamo) notes in a model:
// the signature of the exported program in the graph, the kind of each input
// of that program at the value that it became, and at values that its optimizer
// computed beforehand, from which values.
const (
	programSignature = "pkg.torch.export.ExportedProgram.graph_signature"
	programInputKind = "pkg.torch.export.graph_signature.InputSpec.kind"
	foldedFrom       = "pkg.onnxscript.optimizer.folded_from"

	parameterKind = "PARAMETER"
)

var (
	signatureLine = regexp.MustCompile(`(?m)^\S+: (\w+) target='([^']*)'`)
	quotedName    = regexp.MustCompile(`'([^']*)'`)
)

// ConstantsOf tells the float initializers that are no parameters by the word of
// the program that wrote the model, and why. It is empty for models that say
// nothing: ONNX itself has no such distinction.
func ConstantsOf(m *onnxgraph.Model) map[string]string {
	parameters := map[string]bool{}
	for _, line := range signatureLine.FindAllStringSubmatch(meta(m.Graph.Metadata, programSignature), -1) {
		if line[1] == parameterKind {
			parameters[line[2]] = true
		}
	}
	if len(parameters) == 0 {
		return nil
	}
	notes := map[string][]onnxgraph.KeyValue{}
	for _, v := range m.Graph.ValueInfo {
		notes[v.Name] = v.Metadata
	}
	missing := len(parameters)
	var unnoted []*onnxgraph.Tensor
	out := map[string]string{}
	for _, t := range m.Graph.Initializers {
		kind, folded := meta(notes[t.Name], programInputKind), meta(notes[t.Name], foldedFrom)
		from := []string{t.Name}
		for _, name := range quotedName.FindAllStringSubmatch(folded, -1) {
			from = append(from, name[1])
		}
		used := slices.DeleteFunc(from, func(name string) bool { return !parameters[name] })
		missing -= len(used)
		switch {
		case t.DType != onnxgraph.Float || len(used) > 0 || kind == parameterKind:
		case kind != "":
			out[t.Name] = "the exported program has it as " + kind + ", not as " + parameterKind
		case folded != "":
			out[t.Name] = "the exporter computed it from other values than parameters"
		default:
			unnoted = append(unnoted, t)
		}
	}
	for _, t := range unnoted {
		// Exporters that note less fold parameters, too. Then only numbers are
		// taken for constants: a parameter of one element would be in the signature.
		if missing <= 0 || t.Len() == 1 {
			out[t.Name] = "the exported program has no parameter of that name"
		}
	}
	return out
}

// meta is the value of a key, "" where there is none.
func meta(entries []onnxgraph.KeyValue, key string) string {
	if i := slices.IndexFunc(entries, func(e onnxgraph.KeyValue) bool { return e.Key == key }); i >= 0 {
		return entries[i].Value
	}
	return ""
}
