package text

import (
	"strconv"

	"ninox/onnxgraph"
)

// attrs reads the attributes of a node where they stand here.
func (p *parser) attrs(n *onnxgraph.Node) error {
	if ok, err := p.accept("<"); !ok || err != nil {
		return err
	}
	return p.list(">", func() error {
		name, err := p.name("the name of an attribute")
		if err != nil {
			return err
		}
		a, err := p.attrValue(name)
		n.Attrs = append(n.Attrs, a)
		return err
	})
}

// attrValue reads what follows the name of an attribute: [: type] = value.
func (p *parser) attrValue(name string) (*onnxgraph.Attribute, error) {
	a := &onnxgraph.Attribute{Name: name}
	if err := p.notes(noteTarget{doc: &a.Doc, unknown: &a.Unknown}); err != nil {
		return nil, err
	}
	typed, err := p.accept(":")
	if err != nil {
		return nil, err
	}
	if typed {
		at := p.tok
		word, err := p.want(ident, "the type of an attribute")
		if err != nil {
			return nil, err
		}
		var ok bool
		if a.Type, ok = attrTypes[word]; !ok {
			return nil, p.errorAt(at.pos, "%q is not a type of attributes", word)
		}
	}
	if err := p.expect("="); err != nil {
		return nil, err
	}
	switch {
	case typed && a.Type == onnxgraph.AttrUndefined && p.tok.is("?"):
		return a, p.advance()
	case p.tok.is("@"):
		if err := p.advance(); err != nil {
			return nil, err
		}
		a.RefAttr, err = p.name("the name of the function's attribute")
		return a, err
	case p.tok.is("["):
		return a, p.attrList(a)
	case single[a.Type] != onnxgraph.AttrUndefined:
		return nil, p.unexpected("a list, as " + attrTypeNames[a.Type] + " are")
	}
	one, err := p.single(a.Type)
	if err != nil {
		return nil, err
	}
	a.Type, a.F, a.I, a.S, a.T, a.G, a.Sparse, a.TP = one.Type, one.F, one.I, one.S, one.T, one.G, one.Sparse, one.TP
	return a, nil
}

// attrList reads a list of values. The first one decides its type where none
// was given.
func (p *parser) attrList(a *onnxgraph.Attribute) error {
	at := p.tok
	if a.Type != onnxgraph.AttrUndefined && single[a.Type] == onnxgraph.AttrUndefined {
		return p.unexpected("one value, as the type " + attrTypeNames[a.Type] + " says")
	}
	err := p.listOrNone("[", "]", func() error {
		one, err := p.single(single[a.Type])
		if err != nil {
			return err
		}
		a.Type = listOf[one.Type]
		switch one.Type {
		case onnxgraph.AttrFloat:
			a.Floats = append(a.Floats, one.F)
		case onnxgraph.AttrInt:
			a.Ints = append(a.Ints, one.I)
		case onnxgraph.AttrString:
			a.Strings = append(a.Strings, one.S)
		case onnxgraph.AttrTensor:
			a.Tensors = append(a.Tensors, one.T)
		case onnxgraph.AttrGraph:
			a.Graphs = append(a.Graphs, one.G)
		case onnxgraph.AttrSparse:
			a.Sparses = append(a.Sparses, one.Sparse)
		case onnxgraph.AttrTypeProto:
			a.Types = append(a.Types, one.TP)
		}
		return nil
	})
	if err == nil && a.Type == onnxgraph.AttrUndefined {
		err = p.errorAt(at.pos, "an empty list needs a type: name: ints = []")
	}
	return err
}

// single reads one value of the wanted type; of the type that the value has
// where that is AttrUndefined.
func (p *parser) single(want onnxgraph.AttrType) (*onnxgraph.Attribute, error) {
	at := p.tok
	a := &onnxgraph.Attribute{Type: p.guess(want)}
	var err error
	switch a.Type {
	case onnxgraph.AttrInt:
		a.I, err = p.int("a value")
	case onnxgraph.AttrFloat:
		var f float64
		f, err = p.float(32)
		a.F = float32(f)
	case onnxgraph.AttrString:
		var s string
		s, err = p.want(quoted, "a string")
		a.S = []byte(s)
	case onnxgraph.AttrGraph:
		a.G, err = p.graph()
	case onnxgraph.AttrTensor, onnxgraph.AttrSparse, onnxgraph.AttrTypeProto:
		err = p.typedValue(a)
	default:
		err = p.unexpected("the value of an attribute")
	}
	if err == nil && want != onnxgraph.AttrUndefined && a.Type != want {
		err = p.errorAt(at.pos, "expected a value of type %s, found one of type %s", attrTypeNames[want], attrTypeNames[a.Type])
	}
	return a, err
}

// guess is the type of the value that comes next. A word could begin a tensor
// as well as a type: then it is AttrTypeProto.
func (p *parser) guess(want onnxgraph.AttrType) onnxgraph.AttrType {
	switch t := p.tok; t.kind {
	case integer:
		if want == onnxgraph.AttrFloat {
			return want
		}
		return onnxgraph.AttrInt
	case float:
		return onnxgraph.AttrFloat
	case quoted:
		if want == onnxgraph.AttrGraph { // its name may be quoted
			return want
		}
		return onnxgraph.AttrString
	case ident:
		switch {
		case want == onnxgraph.AttrGraph:
			return want
		case isTypeName(t.text):
			return onnxgraph.AttrTypeProto
		case isFloatWord(t.text):
			return onnxgraph.AttrFloat
		}
		return onnxgraph.AttrGraph
	}
	if p.tok.is("?") {
		return onnxgraph.AttrTypeProto
	}
	return onnxgraph.AttrUndefined
}

// typedValue reads a type, or the tensor or sparse tensor that it begins.
func (p *parser) typedValue(a *onnxgraph.Attribute) error {
	at := p.tok
	t := &onnxgraph.Type{}
	err := p.typ(t)
	if err != nil {
		return err
	}
	if !p.tok.is("{") && !p.tok.is("=") && p.tok.kind != ident && p.tok.kind != quoted && !p.tok.is("[") {
		a.TP = t
		return nil
	}
	name := ""
	if p.tok.kind == ident || p.tok.kind == quoted {
		if name, err = p.name("the name of a tensor"); err != nil {
			return err
		}
	}
	if _, err := p.accept("="); err != nil {
		return err
	}
	if t.Kind == onnxgraph.SparseTensorKind {
		a.Type = onnxgraph.AttrSparse
		a.Sparse, err = p.sparse(*t, name, at.pos)
		return err
	}
	a.Type = onnxgraph.AttrTensor
	a.T, err = p.tensor(*t, name, at.pos)
	return err
}

// attrs prints attributes in angle brackets, nothing where there are none.
func (p *printer) attrs(attrs []*onnxgraph.Attribute) {
	if len(attrs) == 0 {
		return
	}
	p.str(" <")
	for i, a := range attrs {
		p.str(separator(i, "", ", "))
		p.attr(a)
	}
	p.str(">")
}

// attrLines prints attributes on lines of their own, as suits subgraphs.
func (p *printer) attrLines(attrs []*onnxgraph.Attribute) {
	if p.line {
		p.attrs(attrs)
		return
	}
	p.str(" <")
	p.lines(len(attrs), func(i int) { p.attr(attrs[i]) })
	p.str(">")
}

func (p *printer) attr(a *onnxgraph.Attribute) {
	p.name(a.Name)
	p.notes(noteValues{doc: a.Doc, unknown: a.Unknown})
	if !p.line && (a.RefAttr == "" || a.Type != onnxgraph.AttrUndefined) {
		p.str(": " + attrTypeNames[a.Type])
	}
	p.str(" = ")
	switch {
	case a.RefAttr != "":
		p.str("@")
		p.name(a.RefAttr)
	case single[a.Type] != onnxgraph.AttrUndefined:
		p.attrList(a)
	case a.Type == onnxgraph.AttrInt:
		p.int(a.I)
	case a.Type == onnxgraph.AttrFloat:
		p.float(float64(a.F), 32)
	case a.Type == onnxgraph.AttrString:
		p.quoted(string(a.S))
	case a.Type == onnxgraph.AttrTensor && a.T != nil:
		p.tensor(a.T)
	case a.Type == onnxgraph.AttrGraph && a.G != nil:
		p.subgraph(a.G)
	case a.Type == onnxgraph.AttrSparse && a.Sparse != nil:
		p.sparse(a.Sparse)
	case a.Type == onnxgraph.AttrTypeProto && a.TP != nil:
		p.elem(a.TP)
	case a.Type == onnxgraph.AttrUndefined:
		p.str("?")
	default:
		p.fail("attribute %q has no value of its type, %s", a.Name, attrTypeNames[a.Type])
	}
}

func (p *printer) attrList(a *onnxgraph.Attribute) {
	switch a.Type {
	case onnxgraph.AttrFloats:
		printList(p, a.Floats, func(f float32) { p.float(float64(f), 32) })
	case onnxgraph.AttrInts:
		printList(p, a.Ints, p.int)
	case onnxgraph.AttrStrings:
		printList(p, a.Strings, func(s []byte) { p.quoted(string(s)) })
	case onnxgraph.AttrTensors:
		printList(p, a.Tensors, p.tensor)
	case onnxgraph.AttrGraphs:
		printList(p, a.Graphs, p.subgraph)
	case onnxgraph.AttrSparses:
		printList(p, a.Sparses, p.sparse)
	case onnxgraph.AttrTypes:
		printList(p, a.Types, p.elem)
	}
}

func printList[T any](p *printer, list []T, print func(T)) {
	p.str("[")
	for i, v := range list {
		p.str(separator(i, "", ", "))
		if p.cut(i) {
			break
		}
		print(v)
	}
	p.str("]")
}

// float reads a floating-point number of the given width, which may be written
// as an integer.
func (p *parser) float(bits int) (float64, error) {
	at := p.tok
	word := at.kind == ident && isFloatWord(at.text)
	if at.kind != integer && at.kind != float && !word {
		return 0, p.unexpected("a number")
	}
	f, err := parseFloat(at.text, bits)
	if err != nil {
		return 0, p.errorAt(at.pos, "%s does not fit into a float of %d bits", clip(at.text, 40), bits)
	}
	return f, p.advance()
}

func (p *printer) int(n int64) { p.buf = strconv.AppendInt(p.buf, n, 10) }
