package neuralgraph

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"ninox/onnxgraph"
)

// shown prints the cells of a class: offset, and size×stride of each atom,
// atoms numbered by first appearance over all calls of one test.
type shown map[*class]int

func (s shown) cells(c *class) string {
	list, ok := cells(c)
	if !ok {
		return "?"
	}
	var parts []string
	for _, cl := range list {
		text := fmt.Sprint(cl.offset)
		for _, l := range cl.leaves {
			l.c = find(l.c)
			if _, ok := s[l.c]; !ok {
				s[l.c] = len(s)
			}
			text += fmt.Sprintf(" %c%dx%d", 'a'+s[l.c], l.size, l.stride)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func known(n ...int64) onnxgraph.Shape { return onnxgraph.StaticShape(n...) }

func TestUnify(t *testing.T) {
	type axis struct {
		k     kind
		sizes []int64
	}
	tests := map[string]struct {
		x, y  axis
		want  string
		fixed bool
	}{
		"atom with product":      {axis{product, []int64{24}}, axis{product, []int64{3, 8}}, "0 a3x8 b8x1", false},
		"common refinement":      {axis{product, []int64{4, 6}}, axis{product, []int64{8, 3}}, "0 a4x6 b2x3 c3x1", false},
		"ones drop out":          {axis{product, []int64{4, 1, 6}}, axis{product, []int64{1, 24}}, "0 a4x6 b6x1", false},
		"no common refinement":   {axis{product, []int64{4, 6}}, axis{product, []int64{6, 4}}, "", true},
		"nested cuts":            {axis{concat, []int64{4, 8}}, axis{concat, []int64{6, 6}}, "0 a4x1; 4 b2x1; 6 c6x1", false},
		"cuts between rows":      {axis{product, []int64{3, 4}}, axis{concat, []int64{4, 8}}, "0 a1x4 b4x1; 4 c2x4 b4x1", false},
		"cuts within rows":       {axis{product, []int64{3, 4}}, axis{concat, []int64{6, 6}}, "", true},
		"extents differ":         {axis{product, []int64{5}}, axis{product, []int64{6}}, "", true},
		"swapped segments agree": {axis{concat, []int64{3, 3}}, axis{concat, []int64{3, 3}}, "0 a3x1; 3 b3x1", false},
	}
	for name, tt := range tests {
		for _, swap := range []bool{false, true} {
			s := &space{}
			x := s.compose(tt.x.k, s.atoms(known(tt.x.sizes...)))
			y := s.compose(tt.y.k, s.atoms(known(tt.y.sizes...)))
			if swap {
				x, y = y, x
			}
			s.unify(x, y)
			s.settle()
			if fixed := find(x).fixed != "" && find(y).fixed != ""; fixed != tt.fixed {
				t.Errorf("%s: fixed %v, expected %v", name, fixed, tt.fixed)
			}
			if tt.fixed {
				for _, l := range append(leaves(x), leaves(y)...) {
					if l.fixed == "" {
						t.Errorf("%s: an atom is not fixed", name)
					}
				}
				continue
			}
			if find(x) != find(y) {
				t.Errorf("%s: not one class", name)
			}
			if got := (shown{}).cells(x); got != tt.want {
				t.Errorf("%s: %s, expected %s", name, got, tt.want)
			}
		}
	}
}

// TestUnifyOrder: the composition that several axes share does not depend on
// the order in which they are found to be the same.
func TestUnifyOrder(t *testing.T) {
	shapes := [][]int64{{48}, {2, 24}, {4, 12}, {12, 4}, {24, 2}}
	want := ""
	for seed := range uint64(50) {
		s := &space{}
		rng := rand.New(rand.NewPCG(seed, 0))
		axes := make([]*class, len(shapes))
		for i, sizes := range shapes {
			axes[i] = s.compose(product, s.atoms(known(sizes...)))
		}
		order := rng.Perm(len(axes))
		for i := 1; i < len(order); i++ {
			s.unify(axes[order[i]], axes[order[rng.IntN(i)]])
		}
		got := (shown{}).cells(axes[0])
		for _, c := range axes {
			if find(c) != find(axes[0]) {
				t.Fatalf("seed %d: not one class", seed)
			}
		}
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("seed %d: %s, expected %s", seed, got, want)
		}
	}
	if want != "0 a2x24 b2x12 c3x4 d2x2 e2x1" {
		t.Errorf("composition %s", want)
	}
}

func TestSymbolicFactors(t *testing.T) {
	s := &space{}
	b, u := onnxgraph.Sym("batch"), onnxgraph.Sym("time")
	x := s.compose(product, s.atoms(onnxgraph.Shape{b, u, onnxgraph.Known(24)}))
	y := s.compose(product, s.atoms(onnxgraph.Shape{b, u, onnxgraph.Known(3), onnxgraph.Known(8)}))
	last := flat(product, x)[2]
	s.unify(x, y)
	if got := (shown{}).cells(last); got != "0 a3x8 b8x1" {
		t.Errorf("the last factor is %s", got)
	}
	merged := s.atom(onnxgraph.UnknownDim()) // [batch·time, 24]
	z := s.compose(product, []*class{merged, s.atom(onnxgraph.Known(24))})
	s.unify(x, z)
	if m := find(merged); m.kind != product || len(flat(product, m)) != 2 || m.fixed != "" {
		t.Errorf("the merged axis is %+v", m)
	}
}

func TestConflicts(t *testing.T) {
	s := &space{}
	pair := s.atoms(known(4, 4))
	f := s.atom(onnxgraph.Known(4))
	x := s.compose(concat, pair)
	if swapped := s.compose(concat, []*class{pair[1], pair[0]}); !conflicting(x, swapped) {
		t.Error("halves of one axis would become the same neurons")
	}
	if table := s.compose(concat, []*class{f, f}); !conflicting(x, table) || !conflicting(s.atom(onnxgraph.Known(8)), table) {
		t.Error("a repeated table would make both halves the same")
	}
	if other := s.compose(concat, s.atoms(known(4, 4))); conflicting(x, other) {
		t.Error("two axes with halves of their own are no conflict")
	}
}
