package neuralgraph

import (
	"fmt"
	"strings"

	"ninox/onnxgraph"
)

// Graph is a model as layers of neurons and the parameters between them.
type Graph struct {
	Groups     []Group
	Parameters []Parameter
	Blocks     []ParameterBlock
	Attention  []Attention
	Residuals  []Residual
	Opaque     []OpaqueParameter
	Copies     []Copy // parameters that hold the values of another one and count with it
	Nodes      int    // operators of the model in standard form
	Opset      int64  // of the default domain

	standard *onnxgraph.Model
	analysis *analysis
	fine     *fine
	uses     map[string][]*use
	groupOf  map[*class]int
	views    map[string][]piece // fine pieces of each parameter's first use
}

// Group is a set of neurons that are permuted together wherever they occur:
// one factor of an axis of the model's values that parameters have, too.
type Group struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Role       Role   `json:"role"`
	Size       int64  `json:"size"`
	Permutable bool   `json:"permutable"`
	Reason     string `json:"reason"` // why it is not permutable, "" where it is
}

// Role is what the neurons of a group are.
type Role string

// Roles of groups.
const (
	RoleInput      Role = "input"
	RoleOutput     Role = "output"
	RoleHidden     Role = "hidden"
	RoleHead       Role = "head"
	RoleHeadDim    Role = "head_dim"
	RoleVocabulary Role = "vocabulary"
	RolePosition   Role = "position"
)

// Parameter is a float initializer of the model.
type Parameter struct {
	Name  string
	Shape []int64
}

// Elements is the number of values of the parameter.
func (p *Parameter) Elements() int64 {
	n := int64(1)
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// ParameterBlock is a parameter, or a slice of it, as edges from every
// combination of neurons of the source groups to every combination of the
// target groups. A group in both lists is a group of layers side by side (of
// a grouped convolution): edges join equal indices of it. Biases and norm
// weights have no source groups: they come from a node of their own.
type ParameterBlock struct {
	Parameter string   `json:"parameter"`
	Slice     string   `json:"slice"` // in NumPy's notation, empty for the whole
	Type      EdgeType `json:"type"`
	Source    []string `json:"source"` // group ids
	Target    []string `json:"target"`
	Taps      int64    `json:"taps"`
	Edges     int64    `json:"edges"`
}

// Residual is a connection that adds equal neurons of two layers one to one.
type Residual struct {
	Node string `json:"node"` // the operator that adds
	Size int64  `json:"size"`
}

// OpaqueParameter is one whose values could not be placed on edges.
type OpaqueParameter struct {
	Parameter string `json:"parameter"`
	Reason    string `json:"reason"`
}

// piece is a part of a parameter without concatenations: the flat elements
// offset + Σ iₖ·strideₖ.
type piece struct {
	offset int64
	leaves []pieceLeaf
	slice  string
	use    *use
	kind   EdgeType
}

type pieceLeaf struct {
	leaf
	axis int
	role role
}

// maxPieces bounds the number of pieces of one parameter.
const maxPieces = 1 << 14

// piecesOf cuts a parameter into pieces: axes are its axes in some space, u
// says which role each atom has.
func piecesOf(axes []*class, u *use) ([]piece, string) {
	if u.loose != "" {
		return nil, u.loose
	}
	out := []piece{{use: u}}
	row := int64(1)
	for a := len(axes) - 1; a >= 0; a-- {
		list, ok := cells(axes[a])
		if !ok || len(list)*len(out) > maxPieces {
			return nil, "it falls into too many pieces"
		}
		next := make([]piece, 0, len(list)*len(out))
		for _, c := range list {
			part := sliceText(c, list)
			for _, p := range out {
				q := piece{offset: c.offset*row + p.offset, slice: part + p.slice, use: u}
				if a < len(axes)-1 {
					q.slice = part + ", " + p.slice
				}
				for _, l := range c.leaves {
					r := u.roleAt(a, c.offset, l.stride)
					q.leaves = append(q.leaves, pieceLeaf{leaf{find(l.c), l.size, l.stride * row}, a, r})
				}
				q.leaves = append(q.leaves, p.leaves...)
				next = append(next, q)
			}
		}
		out, row = next, row*find(axes[a]).dim.Value
	}
	for i := range out {
		if strings.Trim(out[i].slice, ":, ") == "" {
			out[i].slice = ""
		}
	}
	return out, ""
}

// sliceText is the part of an axis that a cell covers, in NumPy's notation,
// with the step left out where the cell is not contiguous.
func sliceText(c cell, all []cell) string {
	if len(all) == 1 {
		return ":"
	}
	last := c.offset
	n := int64(1)
	for _, l := range c.leaves {
		last += (l.size - 1) * l.stride
		n *= l.size
	}
	if last-c.offset+1 == n {
		return fmt.Sprintf("%d:%d", c.offset, last+1)
	}
	return fmt.Sprintf("%d:%d:…", c.offset, last+1)
}

// of lists the leaves of the given roles. Leaves of extent 1 count only where
// there is no other.
func (p *piece) of(roles ...role) []pieceLeaf {
	var wide, one []pieceLeaf
	for _, l := range p.leaves {
		for _, r := range roles {
			switch {
			case l.role != r:
			case l.size > 1:
				wide = append(wide, l)
			default:
				one = append(one, l)
			}
		}
	}
	if len(wide) == 0 {
		return one
	}
	return wide
}

func product64(list []pieceLeaf) int64 {
	n := int64(1)
	for _, l := range list {
		n *= l.size
	}
	return n
}

// windowed turns neurons that a window slides over into kernel positions,
// where the same side has other neurons: the inputs of a linear layer behind
// the flattened maps of a convolution are the channels, and the positions are
// several numbers of one edge. What is only added or multiplied has such
// positions where they share an axis with the channels.
func (p *piece) windowed(spatial func(c *class) bool) {
	plain := func(side role, axis int) bool {
		for _, l := range p.leaves {
			if (l.role == side || l.role == roleShared) && !spatial(l.c) && l.size > 1 && (p.use.linear || l.axis == axis) {
				return true
			}
		}
		return false
	}
	for i, l := range p.leaves {
		if (l.role == roleSource || l.role == roleTarget) && spatial(l.c) && plain(l.role, l.axis) {
			p.leaves[i].role = roleTaps
		}
	}
}

// positioned gives a parameter that is only added or multiplied sources, where
// it has axes that are no neurons: the positions of an embedding, whether it is
// added as it is or rows of it are picked at constant places.
func (p *piece) positioned(neuron func(c *class) bool) {
	if p.use.linear {
		return
	}
	found := false
	for _, l := range p.leaves {
		found = found || l.role == roleTarget && neuron(l.c) && l.size > 1
	}
	for i, l := range p.leaves {
		if found && l.size > 1 && (l.role == roleTarget && !neuron(l.c) || l.role == roleNone) {
			p.leaves[i].role = roleSource
		}
	}
}

// placed says whether every element of the piece lies on an edge; otherwise
// why not.
func (p *piece) placed() string {
	for _, l := range p.leaves {
		if l.role == roleNone && l.size > 1 {
			if r := find(l.c).fixed; r != "" {
				return r
			}
			return fmt.Sprintf("axis %d has no counterpart in %s %q", l.axis, p.use.node.Op(), p.use.node.Name)
		}
	}
	return ""
}

// real says whether a tensor holds real numbers: floats, or integers that stand
// for them. Numbers of 8 bits always do: they are too small for indices.
func (a *analysis) real(t *onnxgraph.Tensor) bool {
	return t.DType.IsFloat() || a.quantized[t.Name] || t.DType == onnxgraph.Int8 || t.DType == onnxgraph.Uint8
}

// realParameters lists the float and quantized initializers of the model as
// given, and which of them the standard form still has. A model without any has its
// weights in constants; those of more than one element count then.
func (a *analysis) realParameters(m *onnxgraph.Model) []Parameter {
	var out []Parameter
	given := map[string]bool{}
	for _, t := range m.Graph.Initializers {
		given[t.Name] = true
		if a.real(t) && len(t.Dims) > 0 {
			out = append(out, Parameter{t.Name, t.Dims})
		}
	}
	for _, t := range a.model.Graph.Initializers {
		if !given[t.Name] && a.real(t) && t.Len() > 1 {
			out = append(out, Parameter{t.Name, t.Dims})
			given[t.Name] = true
		}
	}
	return out
}
