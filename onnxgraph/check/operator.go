package check

import (
	"fmt"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/schema"
)

// experimental are operators that models of the first versions may contain
// although no version of the specification has them.
var experimental = map[string]bool{
	"ATen": true, "Affine": true, "ConstantFill": true, "Crop": true, "DynamicSlice": true, "GRUUnit": true,
	"GivenTensorFill": true, "ImageScaler": true, "ParametricSoftplus": true, "Scale": true, "ScaledTanh": true,
}

// operator checks a node against the schema of its operator: that of the
// specification at level All, else that of the registry. It fills in what
// follows for the types of the outputs.
func (c *checker) operator(n *onnxgraph.Node, here *scope, types []onnxgraph.Type) {
	opset := c.opset(n.Domain)
	def := schema.Lookup(n.Domain, n.OpType, opset)
	switch {
	case c.Level == Operators:
		c.registered(n)
	case def != nil && def.Deprecated:
		c.reportNode(n, "", "the operator is deprecated since opset %d", def.Since)
	case def != nil:
		c.attributes(n, def)
		least, most := schema.Arity(def.Inputs)
		c.arity(n, "inputs", len(n.Inputs), least, most)
		least, most = schema.Arity(def.Outputs)
		c.arity(n, "outputs", len(n.Outputs), least, most)
		c.required(n, "input", n.Inputs, def.Inputs)
		c.required(n, "output", n.Outputs, def.Outputs)
		c.types(n, def, here, types)
	case n.Domain == "" && experimental[n.OpType]:
	case schema.Specified(n.Domain):
		c.unspecified(n, opset)
	default:
		c.registered(n)
	}
}

// unspecified reports an operator that the specification does not have.
func (c *checker) unspecified(n *onnxgraph.Node, opset int64) {
	if v := schema.Versions(n.Domain, n.OpType); len(v) > 0 {
		c.reportNode(n, "", "unknown operator in opset %d, it exists since opset %d", opset, v[0])
		return
	}
	c.reportNode(n, "", "unknown operator")
}

// registered checks a node against the registry. At level All only operators
// outside the specification come here, which may be unknown.
func (c *checker) registered(n *onnxgraph.Node) {
	var def *op.Def
	if c.Registry != nil {
		def = c.Registry.For(n)
	}
	if def == nil {
		switch {
		case c.functionDomains[n.Domain]:
			c.reportNode(n, "", "the model has no function %s", calleeOf(n))
		case c.Level == Operators:
			c.reportNode(n, "", "unknown operator")
		}
		return
	}
	s := &schema.Operator{}
	for _, a := range def.Attrs {
		s.Attrs = append(s.Attrs, schema.Attr{Name: a.Name, Type: a.Type, Required: a.Required})
	}
	c.attributes(n, s)
	c.arity(n, "inputs", len(n.Inputs), def.In.Min, def.In.Max)
	c.arity(n, "outputs", len(n.Outputs), def.Out.Min, def.Out.Max)
}

func (c *checker) arity(n *onnxgraph.Node, what string, have, least, most int) {
	switch {
	case have < least || most >= 0 && have > most:
		want := fmt.Sprintf("%d to %d", least, most)
		if most < 0 {
			want = fmt.Sprintf("at least %d", least)
		} else if least == most {
			want = fmt.Sprint(least)
		}
		c.reportNode(n, "", "%d %s, expected %s", have, what, want)
	}
}

// required reports values that are absent although the operator needs them.
func (c *checker) required(n *onnxgraph.Node, role string, names []string, params []schema.Param) {
	for i, name := range names {
		if p := schema.At(params, i); name == "" && p != nil && !p.Optional && !p.Mixed {
			c.reportNode(n, "", "%s %d (%s) is absent, but required", role, i, p.Name)
		}
	}
}

// attributes checks names and types, and that none is missing.
func (c *checker) attributes(n *onnxgraph.Node, def *schema.Operator) {
	for _, a := range n.Attrs {
		switch s := def.Attr(a.Name); {
		case s == nil && strings.HasPrefix(a.Name, "__"): // by convention a matter of some implementation
		case s == nil:
			c.reportNode(n, a.Name, "the operator has no such attribute")
		case s.Type != a.Type:
			c.reportNode(n, a.Name, "has type %s, expected %s", typeName(a.Type), typeName(s.Type))
		}
	}
	for _, s := range def.Attrs {
		if s.Required && n.Attr(s.Name) == nil {
			c.reportNode(n, s.Name, "required, but not set")
		}
	}
}

// types checks the types of a node's inputs, and says what follows for those of
// its outputs.
func (c *checker) types(n *onnxgraph.Node, def *schema.Operator, here *scope, types []onnxgraph.Type) {
	type binding struct {
		typ   onnxgraph.Type
		input int
	}
	bound := map[string]binding{}
	for i, name := range n.Inputs {
		p := schema.At(def.Inputs, i)
		t, _ := here.find(name)
		key := schema.Key(t)
		if name == "" || p == nil || key == "" {
			continue
		}
		if !p.Allows(key) {
			c.reportNode(n, "", "input %d (%s) is %s, expected %s", i, p.Name, key, list(p.Types))
			continue
		}
		if p.Var == "" || p.Mixed {
			continue
		}
		first, ok := bound[p.Var]
		if !ok {
			bound[p.Var] = binding{t, i}
		} else if have := schema.Key(first.typ); have != key {
			c.reportNode(n, "", "input %d (%s) is %s, but input %d %s, and both have the type %s", i, p.Name, key, first.input, have, p.Var)
		}
	}
	for i := range types {
		p := schema.At(def.Outputs, i)
		if p == nil || p.Mixed {
			continue
		}
		if b, ok := bound[p.Var]; ok {
			types[i] = withoutShape(b.typ)
			continue
		}
		if len(p.Types) == 1 {
			types[i] = onnxgraph.TensorOf(dtypeOf(p.Types[0]), nil)
		} else if i == 0 {
			types[i] = c.byAttribute(n, p)
		}
	}
}

// elementAttrs ask for the element type of the first output.
var elementAttrs = []string{"to", "dtype", "output_datatype", "output_dtype"}

// byAttribute is the type of the first output that an attribute decides, where
// one does.
func (c *checker) byAttribute(n *onnxgraph.Node, p *schema.Param) onnxgraph.Type {
	t := onnxgraph.Type{Kind: onnxgraph.TensorKind}
	attr := ""
	for _, name := range elementAttrs {
		if a := n.Attr(name); a != nil && a.Type == onnxgraph.AttrInt && a.RefAttr == "" && a.I != 0 {
			attr, t.DType = name, onnxgraph.DType(a.I)
		}
	}
	if a := n.Attr("value"); a != nil && a.T != nil {
		attr, t.DType = "value", a.T.DType
	}
	seq := onnxgraph.Type{Kind: onnxgraph.SequenceKind, Elem: &t}
	switch key := schema.Key(t); {
	case attr == "" || key == "":
		return onnxgraph.Type{}
	case p.Allows(key):
		return t
	case p.Allows(schema.Key(seq)):
		return seq
	default:
		c.reportNode(n, attr, "makes the output %s, expected %s", key, list(p.Types))
		return onnxgraph.Type{}
	}
}

// dtypeOf is the element type of a name, Undefined where it names none.
func dtypeOf(key string) onnxgraph.DType {
	for d := onnxgraph.Undefined + 1; d.Valid(); d++ {
		if d.String() == key {
			return d
		}
	}
	return onnxgraph.Undefined
}

func withoutShape(t onnxgraph.Type) onnxgraph.Type {
	t.Shape = nil
	return t
}

// settle is the type of an output: that which follows from the operator, or
// else from the file, where both must agree.
func (c *checker) settle(n *onnxgraph.Node, i int, follows, declared onnxgraph.Type) onnxgraph.Type {
	have, want := schema.Key(follows), schema.Key(declared)
	switch {
	case have == "":
		return declared
	case want != "" && want != have:
		c.reportNode(n, "", "output %d (%q) is %s, but declared as %s", i, n.Outputs[i], have, want)
	}
	return follows
}

// list writes types as "float, double or 8 others".
func list(types []string) string {
	const show = 5
	switch n := len(types); {
	case n == 1:
		return types[0]
	case n > show+1:
		return strings.Join(types[:show], ", ") + fmt.Sprintf(" or one of %d others", n-show)
	default:
		return strings.Join(types[:n-1], ", ") + " or " + types[n-1]
	}
}

var typeNames = [...]string{
	"undefined", "float", "int", "string", "tensor", "graph", "floats", "ints", "strings", "tensors", "graphs",
	"sparse_tensor", "sparse_tensors", "type_proto", "type_protos",
}

func typeName(t onnxgraph.AttrType) string {
	if t >= 0 && int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", t)
}
