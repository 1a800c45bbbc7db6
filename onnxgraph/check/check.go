package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ninox/onnxgraph"
	"ninox/onnxgraph/op"
	"ninox/onnxgraph/schema"
	"ninox/onnxgraph/text"
)

// Level says how much is checked.
type Level int

const (
	// All is what a model for others has to hold to.
	All Level = iota
	// Structure is what every rewrite has to keep: values are defined once and
	// before their use, domains imported, attributes set once and holding what
	// their types say.
	Structure
	// Operators is Structure, and operators as the registry knows them.
	Operators
)

// Options say what is checked. The zero value is everything that can be known
// without a registry.
type Options struct {
	Level    Level
	Registry *op.Registry // for the operators outside the specification
}

// maxIRVersion is the newest version of the format that is known here.
const maxIRVersion = 14

// Model lists what is wrong with a model, in the order of the file.
func Model(m *onnxgraph.Model, o Options) []*Finding {
	c := &checker{model: m, Options: o, functions: map[functionKey]*onnxgraph.Function{}, opsets: m.Opsets}
	if m.Graph == nil {
		c.report("the model has no graph")
		return c.found
	}
	domains := map[string]bool{}
	for _, f := range m.Functions {
		c.functions[keyOf(f)] = f
		domains[f.Domain] = true
	}
	c.functionDomains = domains
	if o.Level == All {
		c.header()
	}
	c.graph(m.Graph, nil)
	if o.Level == All {
		c.localFunctions()
	}
	return c.found
}

// functionKey names a function: domain, name, overload.
type functionKey [3]string

func keyOf(f *onnxgraph.Function) functionKey { return functionKey{f.Domain, f.Name, f.Overload} }
func calleeOf(n *onnxgraph.Node) functionKey  { return functionKey{n.Domain, n.OpType, n.Overload} }

func (k functionKey) String() string {
	n := onnxgraph.Node{Domain: k[0], OpType: k[1]}
	if k[2] != "" {
		return n.Op() + ":" + k[2]
	}
	return n.Op()
}

type checker struct {
	Options
	model           *onnxgraph.Model
	functions       map[functionKey]*onnxgraph.Function
	functionDomains map[string]bool
	function        *onnxgraph.Function // being checked, nil in the model's graph
	opsets          []onnxgraph.Opset   // that hold here
	graphs          []string            // names of the graphs around the place
	found           []*Finding
}

func (c *checker) add(f *Finding) {
	if c.function != nil {
		f.Function = keyOf(c.function).String()
	}
	if n := len(c.graphs); n > 0 {
		f.Graph = c.graphs[n-1]
	}
	c.found = append(c.found, f)
}

func (c *checker) report(format string, args ...any) {
	c.add(&Finding{Message: fmt.Sprintf(format, args...)})
}

func (c *checker) reportNode(n *onnxgraph.Node, attr, format string, args ...any) *Finding {
	f := &Finding{Node: n.Label(), Op: n.Op(), Opset: c.opset(n.Domain), Attr: attr, Message: fmt.Sprintf(format, args...)}
	if c.Level == All {
		f.Line = text.Node(n)
	}
	c.add(f)
	return f
}

// opset is the version of a domain that holds here, 0 where it is not imported.
func (c *checker) opset(domain string) int64 {
	for _, o := range c.opsets {
		if o.Domain == domain {
			return o.Version
		}
	}
	return 0
}

// header checks what stands outside the graph.
func (c *checker) header() {
	m := c.model
	switch {
	case m.IRVersion <= 0:
		c.report("ir_version is not given")
	case m.IRVersion > maxIRVersion:
		c.report("ir_version %d is newer than %d, the newest known", m.IRVersion, maxIRVersion)
	case m.IRVersion >= 3 && len(m.Opsets) == 0:
		c.report("opset_import is missing, which models have from ir_version 3 on")
	case m.IRVersion < 3 && len(m.Opsets) > 0:
		c.report("opset_import is given, but models have it from ir_version 3 on, and this one has %d", m.IRVersion)
	}
	if len(m.Opsets) == 0 && m.IRVersion < 3 {
		c.opsets = []onnxgraph.Opset{{Version: 1}}
	}
	c.imports(m.Opsets)
	keys := map[string]bool{}
	for _, kv := range m.Metadata {
		if keys[kv.Key] {
			c.report("metadata_props has the key %q twice", kv.Key)
		}
		keys[kv.Key] = true
	}
}

func (c *checker) imports(list []onnxgraph.Opset) {
	versions := map[string]int64{}
	for _, o := range list {
		if v, ok := versions[o.Domain]; ok && v != o.Version {
			c.report("opset_import has domain %q in version %d and in version %d", o.Domain, v, o.Version)
		}
		versions[o.Domain] = o.Version
		if o.Version < 1 || o.Version > 1<<31-1 {
			c.report("opset_import has domain %q in version %d, expected a positive number of 32 bits", o.Domain, o.Version)
		}
	}
}

// scope holds the values that one graph has defined so far, with their types
// as far as they are known.
type scope struct {
	values map[string]onnxgraph.Type
	later  map[string]bool // outputs of all nodes of the graph
	outer  *scope
}

func (s *scope) find(name string) (onnxgraph.Type, bool) {
	for ; s != nil; s = s.outer {
		if t, ok := s.values[name]; ok {
			return t, true
		}
	}
	return onnxgraph.Type{}, false
}

func (s *scope) sees(name string) bool {
	_, ok := s.find(name)
	return ok
}

// comes says whether a node later in this or an outer graph gives the value.
func (s *scope) comes(name string) bool {
	for ; s != nil; s = s.outer {
		if s.later[name] {
			return true
		}
	}
	return false
}

func newScope(nodes []*onnxgraph.Node, outer *scope) *scope {
	s := &scope{values: map[string]onnxgraph.Type{}, later: map[string]bool{}, outer: outer}
	for _, n := range nodes {
		for _, out := range n.Outputs {
			s.later[out] = true
		}
	}
	return s
}

// graph checks one graph inside the scope of its enclosing graphs.
func (c *checker) graph(g *onnxgraph.Graph, outer *scope) {
	c.graphs = append(c.graphs, g.Name)
	defer func() { c.graphs = c.graphs[:len(c.graphs)-1] }()
	if c.Level == All && g.Name == "" {
		c.report("the graph has no name")
	}
	here := newScope(g.Nodes, outer)
	for _, v := range g.Inputs {
		if _, twice := here.values[v.Name]; twice {
			c.report("input %q is declared twice", v.Name)
		}
		here.values[v.Name] = v.Type
		c.value("input", v)
	}
	for _, v := range g.Outputs {
		c.value("output", v)
	}
	c.initializers(g, here)
	declared := map[string]onnxgraph.Type{}
	for _, list := range [][]*onnxgraph.Value{g.ValueInfo, g.Outputs} {
		for _, v := range list {
			declared[v.Name] = v.Type
		}
	}
	c.nodes(g.Nodes, here, declared)
	for _, v := range g.Outputs {
		_, own := here.values[v.Name]
		switch {
		case own || c.Level != All && here.sees(v.Name):
		case here.sees(v.Name):
			c.report("output %q is a value of an enclosing graph, expected one of its own", v.Name)
		default:
			c.report("output %q is defined by nothing", v.Name)
		}
	}
}

// value checks the declaration of an input or output of a graph.
func (c *checker) value(role string, v *onnxgraph.Value) {
	if c.Level != All {
		return
	}
	if v.Name == "" {
		c.report("an %s has no name", role)
	}
	if len(c.graphs) > 1 || c.function != nil { // types of subgraphs may be left out
		return
	}
	t := v.Type
	missing := ""
	switch t.Kind {
	case onnxgraph.NoType:
		missing = "type"
	case onnxgraph.TensorKind, onnxgraph.SparseTensorKind:
		if t.Shape == nil {
			missing = "shape"
		}
		if t.DType == onnxgraph.Undefined {
			missing = "element type"
		}
	case onnxgraph.MapKind:
		if t.DType == onnxgraph.Undefined {
			missing = "key type"
		}
	}
	if missing != "" {
		c.report("%s %q is declared without its %s", role, v.Name, missing)
	}
}

func (c *checker) initializers(g *onnxgraph.Graph, here *scope) {
	given := map[string]bool{}
	claim := func(kind, name string, t onnxgraph.Type) {
		if given[name] {
			c.report("initializer %q is given twice", name)
		}
		given[name] = true
		declared, input := here.values[name]
		if c.Level == All {
			if name == "" {
				c.report("%s has no name", kind)
			}
			if c.model.IRVersion > 0 && c.model.IRVersion <= 3 && !input {
				c.report("initializer %q is not an input, as ir_version %d demands (from 4 on, it need not be)", name, c.model.IRVersion)
			}
			if want, have := schema.Key(declared), schema.Key(t); input && want != "" && want != have {
				c.report("initializer %q is of type %s, but the input of its name of type %s", name, have, want)
			}
		}
		here.values[name] = t // may repeat a graph input, as its default
	}
	for _, t := range g.Initializers {
		claim("an initializer", t.Name, onnxgraph.TensorOf(t.DType, t.Shape()))
		c.tensor(t, func(format string, args ...any) {
			c.report("initializer %q: "+format, append([]any{t.Name}, args...)...)
		})
	}
	for _, s := range g.Sparse {
		// A sparse initializer stands for the dense tensor.
		claim("a sparse initializer", s.Values.Name, onnxgraph.TensorOf(s.Values.DType, onnxgraph.StaticShape(s.Dims...)))
		c.sparse(s, func(format string, args ...any) {
			c.report("sparse initializer %q: "+format, append([]any{s.Values.Name}, args...)...)
		})
	}
}

// nodes checks the nodes of a graph or function, one after the other.
func (c *checker) nodes(list []*onnxgraph.Node, here *scope, declared map[string]onnxgraph.Type) {
	for _, n := range list {
		for i, in := range n.Inputs {
			switch {
			case in == "" || here.sees(in):
			case here.comes(in):
				c.reportNode(n, "", "input %d is %q, which only a later node gives: the nodes are not in order", i, in).Unsorted = true
			default:
				c.reportNode(n, "", "input %d is %q, which nothing before the node defines", i, in)
			}
		}
		types := c.node(n, here)
		for _, a := range n.Attrs {
			c.attribute(n, a, here)
		}
		for i, out := range n.Outputs {
			if out == "" {
				continue
			}
			if _, own := here.values[out]; own || c.Level == All && here.sees(out) {
				c.reportNode(n, "", "output %d is %q, which is defined already", i, out)
			}
			here.values[out] = c.settle(n, i, types[i], declared[out])
		}
	}
}

// node checks a node and says what follows for the types of its outputs.
func (c *checker) node(n *onnxgraph.Node, here *scope) []onnxgraph.Type {
	types := make([]onnxgraph.Type, len(n.Outputs))
	if c.Level == All {
		if n.OpType == "" {
			c.reportNode(n, "", "has no operator")
			return types
		}
		if len(n.Inputs) == 0 && len(n.Outputs) == 0 {
			c.reportNode(n, "", "has neither inputs nor outputs")
		}
	}
	f := c.functions[calleeOf(n)]
	imported := c.opset(n.Domain) != 0
	if !imported && (f == nil || c.Level == All) {
		c.reportNode(n, "", "the %s does not import the domain %q", c.place(), n.Domain)
	}
	seen := map[string]bool{}
	for _, a := range n.Attrs {
		if seen[a.Name] {
			c.reportNode(n, a.Name, "set twice")
		}
		seen[a.Name] = true
	}
	switch {
	case c.Level == Structure || !imported:
	case f != nil:
		c.call(n, f)
	default:
		c.operator(n, here, types)
	}
	return types
}

func (c *checker) place() string {
	if c.function != nil {
		return "function"
	}
	return "model"
}

// call checks a call of a local function.
func (c *checker) call(n *onnxgraph.Node, f *onnxgraph.Function) {
	if len(n.Inputs) > len(f.Inputs) {
		c.reportNode(n, "", "%d inputs, but the function %s has %d", len(n.Inputs), keyOf(f), len(f.Inputs))
	}
	if len(n.Outputs) > len(f.Outputs) {
		c.reportNode(n, "", "%d outputs, but the function %s has %d", len(n.Outputs), keyOf(f), len(f.Outputs))
	}
}

// localFunctions checks the functions of the model.
func (c *checker) localFunctions() {
	c.graphs = nil
	known := map[functionKey]bool{}
	for _, f := range c.model.Functions {
		if known[keyOf(f)] {
			c.report("function %s is there twice", keyOf(f))
		}
		known[keyOf(f)] = true
	}
	c.recursion()
	for _, f := range c.model.Functions {
		c.function, c.opsets = f, f.Opsets
		c.body(f)
	}
	c.function, c.opsets = nil, c.model.Opsets
}

func (c *checker) body(f *onnxgraph.Function) {
	if f.Name == "" {
		c.report("the function has no name")
	}
	c.imports(f.Opsets)
	here := newScope(f.Nodes, nil)
	for _, in := range f.Inputs {
		if here.sees(in) {
			c.report("input %q is there twice", in)
		}
		here.values[in] = onnxgraph.Type{}
	}
	c.unique("output", f.Outputs)
	attrs := slices.Clone(f.Attrs)
	for _, a := range f.Defaults {
		attrs = append(attrs, a.Name)
	}
	c.unique("attribute", attrs)
	declared := map[string]onnxgraph.Type{}
	for _, v := range f.ValueInfo {
		declared[v.Name] = v.Type
		if here.sees(v.Name) {
			here.values[v.Name] = v.Type
		}
	}
	for _, n := range f.Nodes {
		c.compatible(n)
	}
	c.nodes(f.Nodes, here, declared)
	for _, out := range f.Outputs {
		if !here.sees(out) {
			c.report("output %q is defined by nothing", out)
		}
	}
}

func (c *checker) unique(what string, names []string) {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			c.report("%s %q is there twice", what, name)
		}
		seen[name] = true
	}
}

// compatible checks that an operator in a function means the same in the opset
// of the model: functions are expanded into its graph.
func (c *checker) compatible(n *onnxgraph.Node) {
	function, model := c.opset(n.Domain), c.model.OpsetVersion(n.Domain)
	if function == model || function == 0 || model == 0 || c.functions[calleeOf(n)] != nil {
		return
	}
	f, m := schema.Lookup(n.Domain, n.OpType, function), schema.Lookup(n.Domain, n.OpType, model)
	if f == nil && m == nil {
		return
	}
	if f == nil || m == nil || f.Since != m.Since {
		c.reportNode(n, "", "the function imports opset %d, the model %d, and the operator differs between them", function, model)
	}
}

// recursion reports functions that call themselves, by way of others too.
func (c *checker) recursion() {
	const (
		open = iota + 1
		done
	)
	state := map[functionKey]int{}
	type frame struct {
		key   functionKey
		calls []functionKey
	}
	for _, f := range c.model.Functions {
		if state[keyOf(f)] != 0 {
			continue
		}
		stack := []frame{{keyOf(f), c.calls(f)}}
		state[keyOf(f)] = open
		for len(stack) > 0 {
			top := &stack[len(stack)-1]
			if len(top.calls) == 0 {
				state[top.key] = done
				stack = stack[:len(stack)-1]
				continue
			}
			next := top.calls[0]
			top.calls = top.calls[1:]
			switch state[next] {
			case done:
			case open:
				var path []string
				from := slices.IndexFunc(stack, func(f frame) bool { return f.key == next })
				for _, f := range stack[from:] {
					path = append(path, f.key.String())
				}
				c.report("functions call each other in a circle: %s", strings.Join(append(path, next.String()), " → "))
			default:
				state[next] = open
				stack = append(stack, frame{next, c.calls(c.functions[next])})
			}
		}
	}
}

// calls lists the local functions that a function calls, in subgraphs too.
func (c *checker) calls(f *onnxgraph.Function) []functionKey {
	found := map[functionKey]bool{}
	body := onnxgraph.Graph{Nodes: f.Nodes}
	body.EachGraph(func(g *onnxgraph.Graph) {
		for _, n := range g.Nodes {
			if c.functions[calleeOf(n)] != nil {
				found[calleeOf(n)] = true
			}
		}
	})
	return slices.SortedFunc(maps.Keys(found), func(a, b functionKey) int { return slices.Compare(a[:], b[:]) })
}
