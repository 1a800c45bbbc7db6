// Package op defines what one operator is: its schema and its four rules
// (shape inference, axis flow, gradient, lowering), and the registry that
// holds them. The rules themselves live in package ops, one file per operator
// or family; the engines that drive them live in infer, neuralgraph,
// autodiff and rewrite.
//
// A rule states only the mathematics of its operator. Absence of a rule is
// said in words (Opaque, NotDifferentiable, ZeroGrad, Primitive); a nil rule
// is rejected when the registry is built.
package op

import (
	"fmt"
	"sort"

	"ninox/onnxgraph"
)

// Def is everything known about one operator.
type Def struct {
	Domain   string
	Name     string
	Versions []int64    // since-versions of the specification that the rules cover, ascending
	Attrs    []AttrSpec // every attribute of any covered version
	In       Arity
	Out      Arity
	Infer    InferFunc
	Flow     Flow
	Grad     Grad
	Lower    Lower
}

// AttrSpec is the schema of one attribute.
type AttrSpec struct {
	Name     string
	Type     onnxgraph.AttrType
	Required bool
}

// Arity is a range of counts; Max -1 means variadic.
type Arity struct{ Min, Max int }

// Exactly is the arity of a fixed count.
func Exactly(n int) Arity { return Arity{n, n} }

// Between is the arity of min required and max-min optional values.
func Between(min, max int) Arity { return Arity{min, max} }

// AtLeast is a variadic arity.
func AtLeast(n int) Arity { return Arity{n, -1} }

// Has says whether n values fit.
func (a Arity) Has(n int) bool { return n >= a.Min && (a.Max < 0 || n <= a.Max) }

// Since is the since-version of the definition that a model of the given
// opset uses, 0 where the operator did not exist yet.
func (d *Def) Since(opset int64) int64 {
	var v int64
	for _, s := range d.Versions {
		if s <= opset {
			v = s
		}
	}
	return v
}

// Registry finds operator definitions.
type Registry struct {
	defs map[[2]string]*Def
}

// NewRegistry checks the definitions and indexes them. It panics on a
// malformed definition: that is a mistake in this program, found by any test.
func NewRegistry(defs ...*Def) *Registry {
	r := &Registry{defs: map[[2]string]*Def{}}
	for _, d := range defs {
		key := [2]string{d.Domain, d.Name}
		switch {
		case d.Name == "" || len(d.Versions) == 0:
			panic(fmt.Sprintf("op: definition %q has no name or versions", d.Name))
		case d.Infer == nil || d.Flow.missing() || d.Grad.missing() || d.Lower.missing():
			panic(fmt.Sprintf("op: definition %q leaves a rule unsaid", d.Name))
		case r.defs[key] != nil:
			panic(fmt.Sprintf("op: %q defined twice", d.Name))
		}
		r.defs[key] = d
	}
	return r
}

// Lookup returns the definition of a domain's operator, nil where unknown.
func (r *Registry) Lookup(domain, name string) *Def { return r.defs[[2]string{domain, name}] }

// For returns the definition that a node uses, nil where unknown.
func (r *Registry) For(n *onnxgraph.Node) *Def { return r.Lookup(n.Domain, n.OpType) }

// All returns every definition, sorted by domain and name.
func (r *Registry) All() []*Def {
	out := make([]*Def, 0, len(r.defs))
	for _, d := range r.defs {
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Domain != out[j].Domain {
			return out[i].Domain < out[j].Domain
		}
		return out[i].Name < out[j].Name
	})
	return out
}
