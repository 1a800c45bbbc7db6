package text

import (
	"ninox/onnxgraph"
)

// dtypes finds element types by name.
var dtypes = map[string]onnxgraph.DType{"undefined": onnxgraph.Undefined}

func init() {
	for d := onnxgraph.Undefined; d < 64; d++ {
		if d.Valid() {
			dtypes[d.String()] = d
		}
	}
}

func dtypeName(d onnxgraph.DType) string {
	if d == onnxgraph.Undefined {
		return "undefined"
	}
	return d.String()
}

// compound are the words with which types that are not tensors begin.
var compound = map[string]onnxgraph.TypeKind{
	"seq": onnxgraph.SequenceKind, "optional": onnxgraph.OptionalKind,
	"map": onnxgraph.MapKind, "sparse_tensor": onnxgraph.SparseTensorKind,
}

var compoundNames = map[onnxgraph.TypeKind]string{}

// attrTypes finds attribute types by name.
var attrTypes = map[string]onnxgraph.AttrType{
	"undefined": onnxgraph.AttrUndefined,
	"float":     onnxgraph.AttrFloat, "int": onnxgraph.AttrInt, "string": onnxgraph.AttrString, "tensor": onnxgraph.AttrTensor,
	"graph": onnxgraph.AttrGraph, "sparse_tensor": onnxgraph.AttrSparse, "type_proto": onnxgraph.AttrTypeProto,
	"floats": onnxgraph.AttrFloats, "ints": onnxgraph.AttrInts, "strings": onnxgraph.AttrStrings, "tensors": onnxgraph.AttrTensors,
	"graphs": onnxgraph.AttrGraphs, "sparse_tensors": onnxgraph.AttrSparses, "type_protos": onnxgraph.AttrTypes,
}

var attrTypeNames = map[onnxgraph.AttrType]string{}

// single is the type of the elements of a list attribute.
var single = map[onnxgraph.AttrType]onnxgraph.AttrType{
	onnxgraph.AttrFloats: onnxgraph.AttrFloat, onnxgraph.AttrInts: onnxgraph.AttrInt, onnxgraph.AttrStrings: onnxgraph.AttrString,
	onnxgraph.AttrTensors: onnxgraph.AttrTensor, onnxgraph.AttrGraphs: onnxgraph.AttrGraph,
	onnxgraph.AttrSparses: onnxgraph.AttrSparse, onnxgraph.AttrTypes: onnxgraph.AttrTypeProto,
}

// listOf is the inverse of single.
var listOf = map[onnxgraph.AttrType]onnxgraph.AttrType{}

func init() {
	for name, k := range compound {
		compoundNames[k] = name
	}
	for name, t := range attrTypes {
		attrTypeNames[t] = name
	}
	for list, one := range single {
		listOf[one] = list
	}
}

// isTypeName says whether a name begins a type.
func isTypeName(s string) bool {
	_, tensor := dtypes[s]
	_, other := compound[s]
	return tensor || other
}

// typ reads a type; "?" is one that is not given.
func (p *parser) typ(t *onnxgraph.Type) error {
	if err := p.enter(); err != nil {
		return err
	}
	defer p.leave()
	at := p.tok
	if ok, err := p.accept("?"); err != nil {
		return err
	} else if !ok {
		name, err := p.want(ident, "a type")
		if err != nil {
			return err
		}
		if err := p.namedType(t, name, at.pos); err != nil {
			return err
		}
	}
	return p.notes(noteTarget{denotation: &t.Denotation})
}

// namedType reads a type whose first word was at pos.
func (p *parser) namedType(t *onnxgraph.Type, name string, pos int) error {
	if d, ok := dtypes[name]; ok {
		t.Kind, t.DType = onnxgraph.TensorKind, d
		return p.shape(t)
	}
	k, ok := compound[name]
	if !ok {
		return p.errorAt(pos, "%q is not a type, expected an element type, seq, optional, map or sparse_tensor", name)
	}
	t.Kind = k
	if err := p.expect("("); err != nil {
		return err
	}
	if k == onnxgraph.SparseTensorKind || k == onnxgraph.MapKind {
		if err := p.dtype(t); err != nil {
			return err
		}
	}
	var err error
	switch k {
	case onnxgraph.SparseTensorKind:
		err = p.shape(t)
	case onnxgraph.MapKind:
		if err = p.expect(","); err != nil {
			return err
		}
		fallthrough
	default:
		t.Elem = &onnxgraph.Type{}
		err = p.typ(t.Elem)
	}
	if err != nil {
		return err
	}
	return p.expect(")")
}

func (p *parser) dtype(t *onnxgraph.Type) error {
	at := p.tok
	name, err := p.want(ident, "an element type")
	if err != nil {
		return err
	}
	var ok bool
	if t.DType, ok = dtypes[name]; !ok {
		return p.errorAt(at.pos, "%q is not an element type", name)
	}
	return nil
}

// shape reads the dims of a tensor: none for a scalar, [] for an unknown rank.
func (p *parser) shape(t *onnxgraph.Type) error {
	t.Shape = onnxgraph.Shape{}
	if ok, err := p.accept("["); !ok || err != nil {
		return err
	}
	if ok, err := p.accept("]"); ok || err != nil {
		t.Shape = nil
		return err
	}
	return p.list("]", func() error {
		d, err := p.dim()
		t.Shape = append(t.Shape, d)
		return err
	})
}

func (p *parser) dim() (onnxgraph.Dim, error) {
	switch t := p.tok; {
	case t.kind == ident || t.kind == quoted:
		return onnxgraph.Sym(t.text), p.advance()
	case t.kind == integer:
		n, err := p.int("a dim")
		if err == nil && n < 0 {
			err = p.errorAt(t.pos, "dim %d is negative", n)
		}
		return onnxgraph.Known(n), err
	case t.is("?"):
		return onnxgraph.UnknownDim(), p.advance()
	}
	return onnxgraph.Dim{}, p.unexpected("a dim (a number, a name or ?)")
}

// typ prints a type; nothing for one that is not given.
func (p *printer) typ(t onnxgraph.Type) {
	switch t.Kind {
	case onnxgraph.NoType:
		if t.Denotation == "" {
			return
		}
		p.str("?")
	case onnxgraph.TensorKind:
		p.str(dtypeName(t.DType))
		p.shape(t.Shape)
	default:
		p.str(compoundNames[t.Kind] + "(")
		switch t.Kind {
		case onnxgraph.SparseTensorKind:
			p.str(dtypeName(t.DType))
			p.shape(t.Shape)
		case onnxgraph.MapKind:
			p.str(dtypeName(t.DType) + ", ")
			p.elem(t.Elem)
		default:
			p.elem(t.Elem)
		}
		p.str(")")
	}
	p.notes(noteValues{denotation: t.Denotation})
}

func (p *printer) elem(t *onnxgraph.Type) {
	if t == nil || t.Kind == onnxgraph.NoType && t.Denotation == "" {
		p.str("?")
		return
	}
	p.typ(*t)
}

func (p *printer) shape(s onnxgraph.Shape) {
	if s == nil {
		p.str("[]")
		return
	}
	for i, d := range s {
		p.str(separator(i, "[", ","))
		switch {
		case d.IsKnown():
			p.int(d.Value)
		case d.Symbol != "":
			p.name(d.Symbol)
		default:
			p.str("?")
		}
	}
	if len(s) > 0 {
		p.str("]")
	}
}

// separator is open in front of the first element, sep in front of others.
func separator(i int, open, sep string) string {
	if i == 0 {
		return open
	}
	return sep
}
