// Package schema holds the operator schemas of the ONNX specification as data:
// which operators there are in which version of which domain, their inputs and
// outputs with the types these may have, and their attributes. The rules of
// operators lie in package ops; this is what a checker needs, for all
// operators of the specification.
//
//	conv := schema.Lookup("", "Conv", 17) // the definition of opset 11
//	fmt.Println(conv.Inputs[0].Name, conv.Inputs[0].Types)
package schema

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ninox/onnxgraph"
)

// Operator is one version of one operator.
type Operator struct {
	Domain     string
	Name       string
	Since      int64 // the opset that defined it
	Deprecated bool  // from this opset on; everything below is empty then
	Inputs     []Param
	Outputs    []Param
	Attrs      []Attr
}

// Param is an input or output.
type Param struct {
	Name string
	// Var is the type variable: parameters of the same variable have the same
	// type. "" where the parameter has a type of its own.
	Var string
	// Types are those allowed, as Key writes them, sorted.
	Types    []string
	Optional bool
	Variadic bool
	Mixed    bool // a variadic one whose values may differ in type
	Min      int  // of a variadic one: the least number of values
}

// Attr is an attribute.
type Attr struct {
	Name     string
	Type     onnxgraph.AttrType
	Required bool
}

// Attr finds an attribute by name, nil where there is none.
func (o *Operator) Attr(name string) *Attr {
	for i := range o.Attrs {
		if o.Attrs[i].Name == name {
			return &o.Attrs[i]
		}
	}
	return nil
}

// At is the parameter that value i of a list belongs to, nil where there are too
// many values.
func At(params []Param, i int) *Param {
	switch n := len(params); {
	case i < n:
		return &params[i]
	case n > 0 && params[n-1].Variadic:
		return &params[n-1]
	}
	return nil
}

// Arity is the range of numbers of values; the upper end is -1 where there is none.
func Arity(params []Param) (least, most int) {
	most = len(params)
	for i, p := range params {
		switch {
		case p.Variadic:
			least, most = i+p.Min, -1 // what stands before it must be given, if only as absent
		case !p.Optional:
			least = i + 1
		}
	}
	return least, most
}

// Lookup finds the definition that a model of the given opset uses, nil where
// the specification has none.
func Lookup(domain, name string, opset int64) *Operator {
	var found *Operator
	for _, o := range table()[[2]string{domain, name}] {
		if o.Since <= opset {
			found = o
		}
	}
	return found
}

// Versions lists the opsets that define an operator anew, ascending.
func Versions(domain, name string) []int64 {
	var out []int64
	for _, o := range table()[[2]string{domain, name}] {
		out = append(out, o.Since)
	}
	return out
}

// Specified says whether a domain is one of the specification, whose operators
// are all known.
func Specified(domain string) bool {
	switch domain {
	case "", "ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training":
		return true
	}
	return false
}

// Key writes a type without its shape: float, seq(int64), optional(seq(float)),
// map(int64,float); "" where it, or an element type in it, is not given.
func Key(t onnxgraph.Type) string {
	elem := func(format string) string {
		if t.Elem == nil {
			return ""
		}
		if k := Key(*t.Elem); k != "" {
			return fmt.Sprintf(format, k)
		}
		return ""
	}
	switch {
	case t.Kind == onnxgraph.SequenceKind:
		return elem("seq(%s)")
	case t.Kind == onnxgraph.OptionalKind:
		return elem("optional(%s)")
	case t.DType == onnxgraph.Undefined:
		return ""
	case t.Kind == onnxgraph.TensorKind:
		return t.DType.String()
	case t.Kind == onnxgraph.SparseTensorKind:
		return "sparse_tensor(" + t.DType.String() + ")"
	case t.Kind == onnxgraph.MapKind:
		return elem("map(" + t.DType.String() + ",%s)")
	}
	return ""
}

//go:embed operators.txt
var operators string

var table = sync.OnceValue(func() map[[2]string][]*Operator {
	t, err := parse(operators)
	if err != nil {
		panic("schema: operators.txt: " + err.Error()) // part of the program, found by any test
	}
	return t
})

var attrTypes = map[string]onnxgraph.AttrType{
	"float": onnxgraph.AttrFloat, "int": onnxgraph.AttrInt, "string": onnxgraph.AttrString, "tensor": onnxgraph.AttrTensor,
	"graph": onnxgraph.AttrGraph, "sparse_tensor": onnxgraph.AttrSparse, "type_proto": onnxgraph.AttrTypeProto,
	"floats": onnxgraph.AttrFloats, "ints": onnxgraph.AttrInts, "strings": onnxgraph.AttrStrings, "graphs": onnxgraph.AttrGraphs,
}

// parse reads the format that the head of operators.txt describes.
func parse(file string) (map[[2]string][]*Operator, error) {
	out := map[[2]string][]*Operator{}
	sets := map[string][]string{}
	domain := ""
	for n, line := range strings.Split(file, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0] == "#":
		case words[0] == "set":
			sets[words[1]] = words[2:]
		case words[0] == "domain":
			if domain = words[1]; domain == "ai.onnx" {
				domain = ""
			}
		default:
			o, err := parseOperator(line, sets)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n+1, err)
			}
			o.Domain = domain
			key := [2]string{domain, o.Name}
			out[key] = append(out[key], o)
		}
	}
	return out, nil
}

func parseOperator(line string, sets map[string][]string) (*Operator, error) {
	fields := strings.Split(line, ",")
	head := strings.Fields(fields[0])
	if len(head) < 2 {
		return nil, fmt.Errorf("expected name and version, found %q", fields[0])
	}
	o := &Operator{Name: head[0]}
	var err error
	if o.Since, err = strconv.ParseInt(head[1], 10, 64); err != nil {
		return nil, err
	}
	if o.Deprecated = len(head) == 3; o.Deprecated {
		return o, nil
	}
	parts := strings.Split(line, ", ")
	if len(parts) != 4 {
		return nil, fmt.Errorf("%d parts, expected 4", len(parts))
	}
	constraints := map[string][]string{}
	for _, word := range strings.Fields(parts[3]) {
		name, set, _ := strings.Cut(word, "=")
		if constraints[name] = sets[set]; constraints[name] == nil {
			return nil, fmt.Errorf("constraint %q names no set", word)
		}
	}
	in, out, _ := strings.Cut(parts[1], ">")
	o.Inputs, o.Outputs = parseParams(in, constraints), parseParams(out, constraints)
	for _, word := range strings.Fields(parts[2]) {
		name, kind, _ := strings.Cut(word, ":")
		kind, required := strings.CutSuffix(kind, "!")
		a := Attr{name, attrTypes[kind], required}
		if a.Type == onnxgraph.AttrUndefined {
			return nil, fmt.Errorf("attribute %q has no known type", word)
		}
		o.Attrs = append(o.Attrs, a)
	}
	return o, nil
}

func parseParams(list string, constraints map[string][]string) []Param {
	var out []Param
	for _, word := range strings.Fields(list) {
		name, kind, _ := strings.Cut(word, ":")
		p := Param{Name: name}
		kind, p.Optional = strings.CutSuffix(kind, "?")
		if i := strings.IndexAny(kind, "*~"); i >= 0 {
			p.Variadic, p.Mixed = true, kind[i] == '~'
			p.Min = int(kind[i+1] - '0')
			kind = kind[:i]
		}
		if types, ok := constraints[kind]; ok {
			p.Var, p.Types = kind, types
		} else {
			p.Types = []string{kind}
		}
		out = append(out, p)
	}
	return out
}

// Allows says whether a type, as Key writes it, fits the parameter.
func (p *Param) Allows(key string) bool {
	_, ok := slices.BinarySearch(p.Types, key)
	return ok
}
